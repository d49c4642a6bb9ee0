package dev.s2snap.inspect;

import dev.s2snap.pkvm.Encodings.StateLocation;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.vmsa.EntryVisitor;
import dev.s2snap.vmsa.Finding;
import dev.s2snap.vmsa.LeafAttributes;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// The text that a kernel's debugfs has for a stage-2 table, byte for byte: one line for each region of equal
/// attributes
/// and level, unmapped ones included. One printer for all dialects; what differs between them says
/// [KernelTextDialect].
///
/// Where a table page cannot be read the line before it ends and the next one begins behind it, so no line speaks of
/// what is not known; [#write] returns what was found. A kernel has no such text, because it never meets the case.
///
/// Speed: an entry costs a load, a mask and a comparison; the attributes of a region are formatted once for each value
/// that occurs, and copied from then on.
public final class KernelText implements EntryVisitor {
    private static final byte[] DIGITS = "0123456789abcdef".getBytes(StandardCharsets.US_ASCII);
    private static final String UNITS = "KMGTPE";

    private static final int FLUSH_AT = 1 << 16;

    /// Two addresses, the size, blanks and the newline; what is longer has room of its own.
    private static final int LINE = 64;

    private static final int SIZE_COLUMNS = 9;

    private final OutputStream out;
    private final TableGeometry geometry;
    private final KernelTextDialect dialect;
    private final List<KernelTextDialect.Attribute> attributes;
    private final long mask;
    private final Map<Long, byte[]> attributeText = new HashMap<>();
    private final byte[][] levelNames = new byte[TableGeometry.LAST_LEVEL - TableGeometry.FIRST_LEVEL + 1][];
    private final List<Finding> findings = new ArrayList<>();

    private byte[] text = new byte[FLUSH_AT + 4096];
    private int length;

    // The open region; `end` is where the next entry has to begin to be part of it.
    private boolean open;
    private long start;
    private long end;
    private int level;
    private long value;

    private KernelText(TableGeometry geometry, KernelTextDialect dialect, KernelTextDialect.Use use, OutputStream out) {
        this.geometry = geometry;
        this.dialect = dialect;
        this.out = out;
        attributes = dialect.attributes(use);
        mask = dialect.mask();
        for (int each = geometry.startLevel(); each <= TableGeometry.LAST_LEVEL; each++) {
            levelNames[each - TableGeometry.FIRST_LEVEL] = ascii(dialect.levelName(each, geometry.startLevel()));
        }
    }

    /// Writes the text of `table`.
    ///
    /// @param use of the table, which decides about some attributes of v4
    /// @return what was wrong with the table; empty if the text says all there is
    /// @throws NoAnswerException if there is no such text: for a stage 1, and for a table of one level
    public static List<Finding> write(
            TranslationTable table, KernelTextDialect dialect, KernelTextDialect.Use use, OutputStream out)
            throws IOException {
        TableGeometry geometry = table.geometry();
        if (!geometry.regime().stage2()) {
            throw new NoAnswerException("the kernel's text is for stage-2 tables, and this is a stage 1");
        }
        if (geometry.startLevel() >= TableGeometry.LAST_LEVEL) {
            throw new NoAnswerException("the kernel's text is for tables that start at level 2 or below, and this one"
                    + " starts at level " + geometry.startLevel());
        }
        KernelText text = new KernelText(geometry, dialect, use, out);
        try {
            text.header();
            table.walk(text);
            text.finish();
            text.flush();
        } catch (UncheckedIOException e) {
            throw e.getCause();
        }
        return List.copyOf(text.findings);
    }

    /// Writes the text of a machine's table, in the words that are right for its kernel.
    ///
    /// @return what was wrong with the table
    /// @throws NoAnswerException if there is no such table or no such text, or if the dialect would misread the
    ///     ownership bits of this kernel
    public static List<Finding> write(
            Reading reading, TableSelector selector, KernelTextDialect dialect, OutputStream out) throws IOException {
        if (!(selector.of(reading.machine())
                instanceof Fact.Known<TranslationTable>(TranslationTable table, String _))) {
            throw new NoAnswerException("the " + selector.label() + " table is not known");
        }
        boolean host = selector.kind() == TableSelector.Kind.HOST;
        if (host && dialect == KernelTextDialect.V4) {
            requireStatesInDescriptors(reading);
        }
        Registers registers = switch (selector.kind()) {
            case HOST, HYP, HYP_UPPER, EL1_LOWER, EL1_UPPER, GIVEN ->
                reading.machine().registers();
            case GUEST, GUEST_VMID ->
                reading.machine()
                        .guestRegisters()
                        .get(selector.guest(reading.machine()).index());
        };
        boolean forcedWriteBack = (registers.get("HCR_EL2").orElse(0) & LeafAttributes.HCR_FWB) != 0;
        return write(table, dialect, new KernelTextDialect.Use(host, forcedWriteBack), out);
    }

    /// The tokens of v4 are about bits that later kernels use for something else, or not at all.
    private static void requireStatesInDescriptors(Reading reading) {
        switch (reading.hostStates()) {
            case Fact.Known<StateLocation>(StateLocation states, String _) -> {
                if (states != StateLocation.DESCRIPTOR) {
                    throw new NoAnswerException("v4 reads page states from " + StateLocation.DESCRIPTOR.words()
                            + ", and this kernel keeps them in the " + states.words()
                            + "; leave out --dialect, which reads both");
                }
            }
            case Fact.Unknown<StateLocation>(String why) ->
                throw new NoAnswerException("v4 reads page states from " + StateLocation.DESCRIPTOR.words()
                        + ", and where this kernel keeps them is not known: " + why + "; name its release with --era");
        }
    }

    private static byte[] ascii(String string) {
        return string.getBytes(StandardCharsets.US_ASCII);
    }

    // The walk.

    @Override
    public void entries(MemorySegment bytes, long offset, int count, int level, long inputAddress) {
        if (open && inputAddress != end) {
            // Something between could not be read.
            region(end);
            open = false;
        }
        int size = geometry.shift(level);
        long current = value;
        int index = 0;
        if (!open || level != this.level) {
            current = bytes.get(PhysicalMemory.LE64, offset) & mask;
            begin(inputAddress, level, current);
            index = 1;
        }
        for (; index < count; index++) {
            long next = bytes.get(PhysicalMemory.LE64, offset + (long) index * Long.BYTES) & mask;
            if (next != current) {
                begin(inputAddress + ((long) index << size), level, next);
                current = next;
            }
        }
        end = inputAddress + ((long) count << size);
    }

    @Override
    public void finding(Finding finding) {
        findings.add(finding);
    }

    private void begin(long address, int level, long value) {
        if (open) {
            region(address);
        }
        open = true;
        start = address;
        this.level = level;
        this.value = value;
    }

    /// The last region. It is missing where only the beginning of the next one makes a line.
    private void finish() {
        if (open && (dialect.printsLastRegion() || end != geometry.inputSize())) {
            region(end);
        }
        open = false;
    }

    // Text.

    private void header() {
        add(ascii("---[ " + dialect.title(geometry) + " ]---\n"));
    }

    private void region(long regionEnd) {
        if (length > FLUSH_AT) {
            flush();
        }
        reserve(LINE);
        hex(start);
        text[length++] = '-';
        hex(regionEnd);
        blanks(3);
        size(regionEnd - start);
        text[length++] = ' ';
        add(levelNames[level - TableGeometry.FIRST_LEVEL]);
        if (value != 0) {
            add(attributeText.computeIfAbsent(value, this::attributes));
        }
        reserve(1);
        text[length++] = '\n';
    }

    private byte[] attributes(long value) {
        StringBuilder line = new StringBuilder();
        for (KernelTextDialect.Attribute attribute : attributes) {
            String word = attribute.text(value);
            if (!word.isEmpty()) {
                line.append(' ').append(word);
            }
        }
        return ascii(line.toString());
    }

    private void hex(long address) {
        text[length++] = '0';
        text[length++] = 'x';
        for (int shift = 60; shift >= 0; shift -= 4) {
            text[length++] = DIGITS[(int) (address >>> shift) & 15];
        }
    }

    private void blanks(int count) {
        Arrays.fill(text, length, length + count, (byte) ' ');
        length += count;
    }

    /// KiB, or the largest unit that divides the size.
    private void size(long bytes) {
        long number = bytes >>> 10;
        int unit = 0;
        while ((number & 1023) == 0 && unit < UNITS.length() - 1) {
            number >>>= 10;
            unit++;
        }
        int digits = 1;
        for (long rest = number; rest >= 10; rest /= 10) {
            digits++;
        }
        blanks(Math.max(0, SIZE_COLUMNS - digits));
        for (int at = length + digits - 1; at >= length; at--) {
            text[at] = (byte) ('0' + number % 10);
            number /= 10;
        }
        length += digits;
        text[length++] = (byte) UNITS.charAt(unit);
    }

    private void add(byte[] bytes) {
        reserve(bytes.length);
        System.arraycopy(bytes, 0, text, length, bytes.length);
        length += bytes.length;
    }

    private void reserve(int more) {
        if (length + more > text.length) {
            text = Arrays.copyOf(text, Math.max(2 * text.length, length + more));
        }
    }

    private void flush() {
        try {
            out.write(text, 0, length);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        length = 0;
    }
}
