package dev.s2snap.cli;

import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.List;

/// What patches 07 to 09 of v4 print for a host table, attribute by attribute, beside what is true.
///
/// A row is matched by `(entry & mask) == value` and prints one text or the other; a region is a run of entries of one
/// level that agree in all bits that any row looks at. Rows that hold only with FWB, or without pKVM, are left out:
/// neither is the case for a host's table.
final class DefectsParser {
    /// Posted, or as it should be.
    enum Kind {
        POSTED,
        RIGHT
    }

    private record Row(long mask, long value, String set, String clear) {}

    private static final long STATE = 3L << 55;
    private static final long OWNER = 0xffL << 2;

    /// Tests the type bit alone.
    private static final Row BLOCK = new Row(1 << 1, 1 << 1, "   ", "BLK");

    private static final Row FFA = new Row(OWNER | 1, 2 << 2, "FF-A", "");

    /// The enumerator of NOPAGE is (SW0 | SW1) + 1, which is both software bits and the valid bit.
    private static final Row NOPAGE = new Row(STATE | 1, STATE | 1, "PKVM_NOPAGE", "");

    private static final List<Row> ROWS = List.of(
            new Row(1, 1, " ", "F"),
            new Row(1L << 54, 1L << 54, "XN", "  "),
            new Row(1 << 6, 1 << 6, "R", " "),
            new Row(1 << 7, 1 << 7, "W", " "),
            new Row(1 << 10, 1 << 10, "AF", "  "),
            new Row(1 << 11, 1 << 11, "FnXS", "  "),
            new Row(1L << 52, 1L << 52, "CON", "   "),
            BLOCK,
            new Row(0xf << 2 | 1, 1 << 2 | 1, "DEVICE/nGnRE", ""),
            new Row(0xf << 2 | 1, 0xf << 2 | 1, "MEM/NORMAL", ""),
            new Row(OWNER | 1, 1 << 2, "HYP", ""),
            FFA,
            new Row(STATE | 1, 1, "PKVM_PAGE_OWNED", ""),
            new Row(STATE | 1, 1L << 55 | 1, "PKVM_PAGE_SHARED_OWNED", ""),
            new Row(STATE | 1, 2L << 55 | 1, "PKVM_PAGE_SHARED_BORROWED", ""),
            NOPAGE);

    private static final long REGION = ROWS.stream().mapToLong(Row::mask).reduce(0, (a, b) -> a | b);

    private static final String[] NAMES = {"PGD", "PUD", "PMD", "PTE"};
    private static final String UNITS = "KMGTPE";

    /// A printed line.
    ///
    /// @param bits of the entries, as far as any row looks at them
    record Line(long start, long end, int level, long bits, String text) {}

    private final Kind kind;
    private final TableGeometry geometry;
    private final List<Line> lines = new ArrayList<>();
    private boolean open;
    private long start;
    private int level;
    private long bits;

    private DefectsParser(Kind kind, TableGeometry geometry) {
        this.kind = kind;
        this.geometry = geometry;
    }

    /// Index of a level's name in the posted parser.
    static int nameIndex(int level, int startLevel) {
        return (level - startLevel) * (1 + startLevel);
    }

    /// How many names there are.
    static int names() {
        return NAMES.length;
    }

    static String name(int index) {
        return NAMES[index];
    }

    /// The regions of a table, as printed.
    static List<Line> print(PhysicalMemory memory, TranslationTable table, Kind kind) {
        TableGeometry geometry = table.geometry();
        DefectsParser parser = new DefectsParser(kind, geometry);
        for (int page = 0; page < geometry.rootPages(); page++) {
            parser.table(
                    memory,
                    table.root() + ((long) page << geometry.granuleShift()),
                    geometry.startLevel(),
                    (long) page << geometry.shift(geometry.startLevel() - 1));
        }
        if (kind == Kind.RIGHT) {
            parser.region(geometry.inputSize());
        }
        return parser.lines;
    }

    private void table(PhysicalMemory memory, long address, int at, long input) {
        long offset = memory.offset(address, geometry.granule());
        for (int i = 0; i < geometry.entriesPerTable(); i++) {
            long entry = memory.bytes().get(PhysicalMemory.LE64, offset + i * 8L);
            long from = input + i * geometry.entrySize(at);
            if (Descriptor.table(entry, at)) {
                table(memory, geometry.tableAddress(entry), at + 1, from);
            } else {
                entry(from, at, entry & REGION);
            }
        }
    }

    private void entry(long from, int at, long value) {
        if (open && at == level && value == bits) {
            return;
        }
        region(from);
        open = true;
        start = from;
        level = at;
        bits = value;
    }

    /// Ends the region that is open, if any.
    private void region(long end) {
        if (!open) {
            return;
        }
        StringBuilder text = new StringBuilder("0x%012x-0x%012x".formatted(start, end));
        long size = (end - start) >>> 10;
        int unit = 0;
        while (size != 0 && (size & 1023) == 0 && unit < UNITS.length() - 1) {
            size >>>= 10;
            unit++;
        }
        text.append("%7d%c %s".formatted(size, UNITS.charAt(unit), NAMES[level]));
        if (bits != 0) {
            for (Row row : ROWS) {
                String token = token(row);
                text.append(token.isEmpty() ? "" : " ").append(token);
            }
        }
        lines.add(new Line(start, end, level, bits, text.toString().stripTrailing()));
    }

    private String token(Row row) {
        if (kind == Kind.RIGHT) {
            if (row.equals(BLOCK)) {
                return Descriptor.leaf(bits, level, geometry) && level < TableGeometry.LAST_LEVEL ? "BLK" : "   ";
            }
            if (row.equals(NOPAGE)) {
                return Descriptor.annotated(bits) ? "PKVM_NOPAGE" : "";
            }
        }
        return (bits & row.mask) == row.value ? row.set : row.clear;
    }

    /// How many lines have a token.
    static long with(List<Line> lines, String token) {
        return lines.stream()
                .filter(line -> List.of(line.text.split("\\s+")).contains(token))
                .count();
    }
}
