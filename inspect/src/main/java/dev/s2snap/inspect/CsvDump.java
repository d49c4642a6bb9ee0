package dev.s2snap.inspect;

import java.io.IOException;
import java.io.OutputStream;

/// A table as lines of comma-separated values, for spreadsheets and databases.
///
/// The first line names the columns. A line is a run of entries that are alike; in the host's table it is cut where the
/// ownership changes, as the rows of [TextDump] are. Fields are quoted as RFC 4180 says, lines end with a newline.
/// Addresses, sizes and bits are lower-case hex with `0x`, and ends exclusive. A field that does not apply, or is not
/// known, is empty:
/// `pa` of what maps nothing, `level` and `bits` where there is no entry, `mask` of a table that was read from memory,
/// whose bits are all known.
public final class CsvDump {
    private static final String HEADER = "start,end,size,level,kind,pa,bits,mask,perm,memory,owner";

    private final ByteText text;

    private CsvDump(OutputStream out) {
        text = new ByteText(out);
    }

    /// Writes a table of a machine.
    public static void write(TableDump dump, OutputStream out) throws IOException {
        CsvDump csv = new CsvDump(out);
        TextDump words = new TextDump(dump, OutputStream.nullOutputStream());
        csv.text.line(HEADER);
        words.rows(false, false, (start, end, kind, run, output, ownership) -> {
            csv.range(start, end);
            boolean entry = run.end() != run.start();
            csv.text.add(",");
            if (entry) {
                csv.text.decimal(run.level());
            }
            csv.field(entry ? run.kind().id() : kind);
            csv.text.add(",");
            if (run.mapped()) {
                csv.text.hex(output);
            }
            csv.text.add(",");
            if (entry) {
                csv.text.hex(run.bits());
            }
            // No mask.
            csv.text.add(",");
            csv.field(run.mapped() ? words.attribute(run).permissions() : "");
            csv.field(run.mapped() ? words.attribute(run).memory() : "");
            csv.field(ownership.words());
            csv.text.line();
        });
        csv.text.flush();
    }

    /// Writes what a kernel's text tells, without its empty regions.
    public static void write(KernelTable table, OutputStream out) throws IOException {
        CsvDump csv = new CsvDump(out);
        KernelTableWords words = new KernelTableWords(table);
        csv.text.line(HEADER);
        for (KernelTable.Region region : table.regions()) {
            if (region.kind() == KernelTable.Kind.EMPTY) {
                continue;
            }
            csv.range(region.start(), region.end());
            csv.text.add(",");
            if (region.level().number().isPresent()) {
                csv.text.decimal(region.level().number().getAsInt());
            }
            csv.field(region.kind().id());
            // No output address.
            csv.text
                    .add(",,")
                    .hex(region.told().bits())
                    .add(",")
                    .hex(region.told().mask());
            csv.field(words.permissions(region));
            csv.field(words.memory(region));
            csv.field(words.owner(region));
            csv.text.line();
        }
        csv.text.flush();
    }

    private void range(long start, long end) {
        text.hex(start).add(",");
        // The upper range of a stage 1 ends at 2^64.
        (end == 0 ? text.add(TextDump.TOP) : text.hex(end)).add(",").hex(end - start);
    }

    private void field(String value) {
        text.add(",");
        boolean plain = value.indexOf(',') < 0 && value.indexOf('"') < 0;
        text.add(plain ? value : "\"" + value.replace("\"", "\"\"") + "\"");
    }
}
