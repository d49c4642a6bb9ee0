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
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// The text that a kernel's debugfs has for a stage-2 table, byte for byte: one line for each region of equal
/// attributes and level, unmapped ones included. One printer for all dialects; what differs between them says
/// [KernelTextDialect].
///
/// Where a table page cannot be read the line before it ends and the next one begins behind it, so no line speaks of
/// what is not known; [#write] returns what was found. A kernel has no such text, because it never meets the case.
///
/// Speed: an entry costs a load, a mask and a comparison; the attributes of a region are formatted once for each value
/// that occurs, and copied from then on.
public final class KernelText implements EntryVisitor {
    private static final byte[] NOTHING = {};

    private final KernelTextLines lines;
    private final TableGeometry geometry;
    private final KernelTextDialect dialect;
    private final List<KernelTextDialect.Attribute> attributes;
    private final long mask;
    private final Map<Long, byte[]> attributeText = new HashMap<>();
    private final byte[][] levelNames = new byte[TableGeometry.LAST_LEVEL - TableGeometry.FIRST_LEVEL + 1][];
    private final List<Finding> findings = new ArrayList<>();
    private long unlisted;
    private boolean unread;

    // The open region; `end` is where the next entry has to begin to be part of it.
    private boolean open;
    private long start;
    private long end;
    private int level;
    private long value;

    /// What was wrong with a table that was written.
    ///
    /// @param findings the first of each rule, in the order of the walk
    /// @param number how many there are in all
    /// @param complete whether all of the table could be read
    public record Written(List<Finding> findings, long number, boolean complete) {}

    private KernelText(TableGeometry geometry, KernelTextDialect dialect, KernelTextDialect.Use use, OutputStream out) {
        this.geometry = geometry;
        this.dialect = dialect;
        this.lines = new KernelTextLines(out);
        attributes = dialect.attributes(use);
        mask = dialect.mask() & dialect.seen(use.host());
        for (int each = geometry.startLevel(); each <= TableGeometry.LAST_LEVEL; each++) {
            levelNames[each - TableGeometry.FIRST_LEVEL] = ascii(dialect.levelName(each, geometry.startLevel()));
        }
    }

    /// Writes the text of `table`.
    ///
    /// @param use of the table, which decides about some attributes of v4
    /// @return what was wrong with the table; no findings if the text says all there is
    /// @throws NoAnswerException if there is no such text: for a stage 1, and for a table of one level
    public static Written write(
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
            text.lines.header(dialect.title(geometry.inputBits(), geometry.startLevel(), use.host()));
            table.walk(text);
            text.finish();
            text.lines.flush();
        } catch (UncheckedIOException e) {
            throw e.getCause();
        }
        return new Written(List.copyOf(text.findings), text.findings.size() + text.unlisted, !text.unread);
    }

    /// Writes the text of a machine's table, in the words that are right for its kernel.
    ///
    /// @return what was wrong with the table
    /// @throws NoAnswerException if there is no such table or no such text, or if the dialect would misread the
    ///     ownership bits of this kernel
    public static Written write(Reading reading, TableSelector selector, KernelTextDialect dialect, OutputStream out)
            throws IOException {
        TranslationTable table = selector.readable(reading.machine()).value();
        boolean host = selector.kind() == TableSelector.Kind.HOST;
        if (host && dialect.namesOwners()) {
            requireStatesInDescriptors(reading, dialect);
        }
        Registers registers = switch (selector.kind()) {
            case HOST, HYP, HYP_UPPER, EL1_LOWER, EL1_UPPER, GIVEN ->
                reading.machine().registers();
            case GUEST, GUEST_VMID, GUEST_HANDLE ->
                reading.machine()
                        .guestRegisters()
                        .get(selector.guest(reading.machine()).index());
        };
        boolean forcedWriteBack = (registers.get("HCR_EL2").orElse(0) & LeafAttributes.HCR_FWB) != 0;
        return write(table, dialect, new KernelTextDialect.Use(host, forcedWriteBack), out);
    }

    /// The words for states and owners are about bits that later kernels use for something else, or not at all.
    private static void requireStatesInDescriptors(Reading reading, KernelTextDialect dialect) {
        switch (reading.hostStates()) {
            case Fact.Known<StateLocation>(StateLocation states, String _) -> {
                if (states != StateLocation.DESCRIPTOR) {
                    throw new NoAnswerException(
                            dialect.id() + " reads page states from " + StateLocation.DESCRIPTOR.words()
                                    + ", and this kernel keeps them in the " + states.words()
                                    + "; leave out --dialect, which reads both");
                }
            }
            case Fact.Unknown<StateLocation>(String why) ->
                throw new NoAnswerException(dialect.id() + " reads page states from " + StateLocation.DESCRIPTOR.words()
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

    @Override
    public void unlisted(Finding.Rule rule, long number) {
        unlisted += number;
    }

    @Override
    public void unread(long inputAddress, long size) {
        unread = true;
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

    private void region(long regionEnd) {
        lines.region(
                start,
                regionEnd,
                levelNames[level - TableGeometry.FIRST_LEVEL],
                value == 0 ? NOTHING : attributeText.computeIfAbsent(value, this::attributes));
    }

    private byte[] attributes(long value) {
        return ascii(KernelTextDialect.text(attributes, value));
    }
}
