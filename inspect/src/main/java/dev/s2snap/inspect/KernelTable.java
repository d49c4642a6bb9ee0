package dev.s2snap.inspect;

import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.AbstractList;
import java.util.List;
import java.util.OptionalInt;
import java.util.RandomAccess;

/// A stage-2 table as far as a kernel's text tells it; [KernelTextReader] makes one.
///
/// The regions begin at address 0 and follow each other without a gap. Of a descriptor some bits are told, see [Told];
/// no text tells an output address, the granule, or where the table is. pKVM maps the host's memory to itself, but that
/// is a rule of pKVM's and stands in no text.
///
/// Immutable, and compact: a region costs 13 bytes, and a [Region] is made when it is asked for.
public final class KernelTable {
    private final KernelTextDialect dialect;
    private final String title;
    private final boolean host;
    private final OptionalInt inputBits;
    private final OptionalInt startLevel;
    private final boolean cut;

    // Of each region; the first begins at 0.
    private final int size;
    private final long[] ends;
    private final byte[] levels;
    private final int[] words;

    private final List<Level> levelsByNumber;
    private final List<Told> toldByNumber;

    /// What is told about the descriptors of a region.
    ///
    /// @param words as they stand behind the level, with a blank in front and every trailing blank; empty if all bits
    ///     that this dialect prints are 0
    /// @param bits the value of the bits in `mask`, 0 elsewhere
    /// @param mask which bits of the descriptors are told
    public record Told(String words, long bits, long mask) {
        /// Whether all the bits of `field` are told.
        public boolean tells(long field) {
            return (mask & field) == field;
        }

        /// Whether `descriptor` can be one of those that this is about.
        public boolean fits(long descriptor) {
            return ((descriptor ^ bits) & mask) == 0;
        }
    }

    /// A level of the table.
    ///
    /// @param name as it stands in the text
    /// @param number as the Arm ARM counts; empty where `PGD` is the start level and that is not told
    public record Level(String name, OptionalInt number) {}

    /// What the descriptors of a region are.
    public enum Kind {
        /// All bits that this dialect prints are 0; others may be set.
        EMPTY("empty"),
        BLOCK("block"),
        PAGE("page"),
        /// Not valid and not empty, or an encoding that is reserved.
        INVALID("invalid");

        private final String id;

        Kind(String id) {
            this.id = id;
        }

        public String id() {
            return id;
        }

        public boolean mapped() {
            return this == BLOCK || this == PAGE;
        }
    }

    /// One line: a run of entries of one level that look alike to this dialect.
    ///
    /// @param end exclusive
    public record Region(long start, long end, Level level, Told told) {
        public Kind kind() {
            if (told.words.isEmpty()) {
                return Kind.EMPTY;
            }
            if ((told.bits & KernelTextDialect.VALID) == 0) {
                return Kind.INVALID;
            }
            boolean type = (told.bits & KernelTextDialect.TYPE) != 0;
            // Only PGD can be without a number, and is never the last level.
            if (level.number.orElse(0) < LAST_LEVEL) {
                return type ? Kind.INVALID : Kind.BLOCK;
            }
            return type ? Kind.PAGE : Kind.INVALID;
        }

        public long size() {
            return end - start;
        }
    }

    private static final int LAST_LEVEL = 3;

    KernelTable(Builder builder) {
        dialect = builder.dialect;
        title = builder.title;
        host = builder.host;
        startLevel = builder.startLevel;
        size = builder.size;
        ends = builder.ends;
        levels = builder.levels;
        words = builder.words;
        levelsByNumber = List.copyOf(builder.levelsByNumber);
        toldByNumber = List.copyOf(builder.toldByNumber);
        long end = end();
        boolean power = end > 0 && Long.bitCount(end) == 1;
        inputBits = builder.inputBits.isPresent()
                ? builder.inputBits
                : dialect.printsLastRegion() && power
                        ? OptionalInt.of(Long.numberOfTrailingZeros(end))
                        : OptionalInt.empty();
        cut = builder.inputBits.isEmpty() && dialect.printsLastRegion() && !power;
    }

    /// The parts of a table that is being read.
    static final class Builder {
        final KernelTextDialect dialect;
        final String title;
        final boolean host;
        OptionalInt inputBits = OptionalInt.empty();
        OptionalInt startLevel = OptionalInt.empty();
        int size;
        long[] ends = {};
        byte[] levels = {};
        int[] words = {};
        List<Level> levelsByNumber = List.of();
        List<Told> toldByNumber = List.of();

        Builder(KernelTextDialect dialect, String title, boolean host) {
            this.dialect = dialect;
            this.title = title;
            this.host = host;
        }
    }

    public KernelTextDialect dialect() {
        return dialect;
    }

    /// What stands between the brackets of the first line.
    public String title() {
        return title;
    }

    /// Whether it is the host's table: its title says so, or, in v4, which calls all tables alike, its words do.
    public boolean host() {
        return host;
    }

    /// Width of the input address, if the first line tells it, or a last region does that reaches a power of two.
    public OptionalInt inputBits() {
        return inputBits;
    }

    /// The level at which the table starts, if the text tells it.
    public OptionalInt startLevel() {
        return startLevel;
    }

    /// The address behind the last region.
    public long end() {
        return size == 0 ? 0 : ends[size - 1];
    }

    /// Whether the regions certainly reach the end of the table. Kernels before 7.3 write no line for the last region,
    /// so that of their texts nobody knows.
    public boolean complete() {
        return inputBits.isPresent() && end() == 1L << inputBits.getAsInt();
    }

    /// Whether the end of the text is certainly missing.
    public boolean cut() {
        return cut;
    }

    /// All lines in ascending order, from address 0 on and without gaps.
    public List<Region> regions() {
        return new Regions();
    }

    private final class Regions extends AbstractList<Region> implements RandomAccess {
        @Override
        public Region get(int index) {
            return new Region(
                    index == 0 ? 0 : ends[index - 1],
                    ends[index],
                    levelsByNumber.get(levels[index]),
                    toldByNumber.get(words[index]));
        }

        @Override
        public int size() {
            return size;
        }
    }

    /// Writes it as the kernel did: what was read, with its trailing blanks and with newlines at the ends of lines.
    public void write(OutputStream out) throws IOException {
        try {
            KernelTextLines lines = new KernelTextLines(out);
            lines.header(title);
            byte[][] names =
                    levelsByNumber.stream().map(level -> ascii(level.name)).toArray(byte[][]::new);
            byte[][] texts =
                    toldByNumber.stream().map(told -> ascii(told.words)).toArray(byte[][]::new);
            long start = 0;
            for (int i = 0; i < size; i++) {
                lines.region(start, ends[i], names[levels[i]], texts[words[i]]);
                start = ends[i];
            }
            lines.flush();
        } catch (UncheckedIOException e) {
            throw e.getCause();
        }
    }

    /// Writes it as a kernel of another dialect would have.
    ///
    /// @throws NoAnswerException if that dialect prints something that this text does not tell
    public void write(KernelTextDialect other, OutputStream out) throws IOException {
        if (other == dialect) {
            write(out);
            return;
        }
        long mask = other.mask() & other.seen(host);
        boolean sameBits = mask == (dialect.mask() & dialect.seen(host));
        if (other.printsLastRegion() ? !complete() : !complete() && !sameBits) {
            throw new NoAnswerException(other.id() + " needs the region that ends the table, which " + dialect.id()
                    + " does not print; make the text anew from the machine's memory");
        }
        String first = otherTitle(other);
        requireTold(other, mask);
        try {
            write(other, first, mask, new KernelTextLines(out));
        } catch (UncheckedIOException e) {
            throw e.getCause();
        }
    }

    private void write(KernelTextDialect other, String first, long mask, KernelTextLines lines) {
        List<KernelTextDialect.Attribute> rows = other.attributes(new KernelTextDialect.Use(host, false));
        byte[][] texts = new byte[toldByNumber.size()][];
        for (int i = 0; i < texts.length; i++) {
            long value = toldByNumber.get(i).bits & mask;
            texts[i] = ascii(value == 0 ? "" : KernelTextDialect.text(rows, value));
        }
        lines.header(first);
        long start = 0;
        for (int i = 0; i < size; i++) {
            boolean last = i + 1 == size;
            if (!last
                    && levels[i] == levels[i + 1]
                    && ((toldByNumber.get(words[i]).bits ^ toldByNumber.get(words[i + 1]).bits) & mask) == 0) {
                continue;
            }
            if (!last || !complete() || other.printsLastRegion()) {
                String name = other.levelName(
                        levelsByNumber.get(levels[i]).number.getAsInt(), startLevel.orElse(Integer.MIN_VALUE));
                lines.region(start, ends[i], ascii(name), texts[words[i]]);
            }
            start = ends[i];
        }
        lines.flush();
    }

    private String otherTitle(KernelTextDialect other) {
        boolean told = inputBits.isPresent() && startLevel.isPresent();
        if (other.namesLevels() && startLevel.isEmpty()) {
            throw new NoAnswerException(other.id() + " needs the start level, which " + dialect.id()
                    + " does not tell; make the text anew from the machine's memory");
        }
        for (Level level : levelsByNumber) {
            if (level.number.isEmpty()) {
                throw new NoAnswerException(other.id() + " needs the number of level " + level.name + ", which "
                        + dialect.id() + " does not tell; make the text anew from the machine's memory");
            }
        }
        return told ? other.title(inputBits.getAsInt(), startLevel.getAsInt(), host) : other.title(0, 0, host);
    }

    private void requireTold(KernelTextDialect other, long mask) {
        for (Region region : regions()) {
            long missing = mask & ~region.told.mask;
            if (missing != 0) {
                throw new NoAnswerException(other.id() + " prints bit " + Long.numberOfTrailingZeros(missing)
                        + ", which " + dialect.id() + " does not tell of 0x" + Long.toHexString(region.start)
                        + "-0x" + Long.toHexString(region.end)
                        + "; make the text anew from the machine's memory");
            }
        }
    }

    private static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }
}
