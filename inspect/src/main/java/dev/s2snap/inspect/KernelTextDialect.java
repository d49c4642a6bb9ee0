package dev.s2snap.inspect;

import dev.s2snap.vmsa.TableGeometry;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// How kernels write a stage-2 table as text: which attributes there are, what levels are called, and what the first
/// line says.
///
/// | | first line | levels | execute | last region |
/// |---|---|---|---|---|
/// | v4 | IPA bits and start level | PGD to PTE | XN | printed |
/// | linux-6.12 | Guest IPA | number | X means never (!) | missing |
/// | linux-6.18 | Guest IPA | number | x, NX | missing |
/// | linux-7.3 | Guest IPA | number | px, PXN and ux, UXN | printed |
/// | android-6.6 | Host IPA or Guest IPA | PGD to PTE | X | missing |
/// | android-6.12 | Host IPA or Guest IPA | number | X | missing |
///
/// `v4` is patches 07 to 09 of the series of December 2023 without their mistakes; the others are what those releases
/// print, mistakes included: 6.12 shows a letter for memory that cannot be executed, and before 7.3 (beca1b97a21d) the
/// region that ends the table has no line.
///
/// Android's common kernels have a text of the host's table. Their rows are those of `arch/arm64/kvm/ptdump.c` of the
/// 6.6 and 6.12 branches; no output of such a kernel was at hand to compare with.
public enum KernelTextDialect {
    /// What the series was to print for the host's table, with the tokens of ownership.
    V4("v4") {
        // The level at which a table starts is its PGD, the last one is PTE. D-28: the posted formula runs out of its
        // names where a table starts at level 1; where it does not, this says the same.
        @Override
        String levelName(int level, int startLevel) {
            return level == startLevel
                    ? "PGD"
                    : switch (level) {
                        case 0 -> "P4D";
                        case 1 -> "PUD";
                        case 2 -> "PMD";
                        default -> "PTE";
                    };
        }

        @Override
        String title(int inputBits, int startLevel, boolean host) {
            return "IPA bits " + (inputBits < 10 ? " " : "") + inputBits + " start lvl " + startLevel;
        }

        @Override
        boolean printsLastRegion() {
            // D-32: the posted dumper prints a region when the next one begins, and never the last.
            return true;
        }

        @Override
        List<Attribute> all() {
            return List.of(
                    new Attribute(VALID, VALID, " ", "F"),
                    new Attribute(XN, XN, "XN", "  "),
                    new Attribute(READ, READ, "R", " "),
                    new Attribute(WRITE, WRITE, "W", " "),
                    new Attribute(AF, AF, "AF", "  "),
                    new Attribute(FNXS, FNXS, "FnXS", "  "),
                    new Attribute(CONTIGUOUS, CONTIGUOUS, "CON", "   "),
                    // D-29: the posted row looks at bit 1 alone and calls every annotation a block.
                    BLOCK,
                    memory(0x1, "DEVICE/nGnRE", Condition.FWB_OFF),
                    memory(0x1, "DEVICE/nGnRE FWB", Condition.FWB_ON),
                    memory(0xf, "MEM/NORMAL", Condition.FWB_OFF),
                    memory(0x6, "MEM/NORMAL FWB", Condition.FWB_ON),
                    // D-30: there was a second owner, FF-A, whose id is never stored.
                    new Attribute(OWNER | VALID, 1 << 2, "HYP", ""),
                    state(0, "PKVM_PAGE_OWNED"),
                    state(1, "PKVM_PAGE_SHARED_OWNED"),
                    // D-31: there was a fourth state, NOPAGE, which is no value of these bits.
                    state(2, "PKVM_PAGE_SHARED_BORROWED"),
                    software(55, "SW0"),
                    software(56, "SW1"),
                    software(57, "SW2"),
                    software(58, "SW3"));
        }

        // The second one has the rows of the posted series, for the lines that only it writes.
        @Override
        List<List<Attribute>> readings() {
            List<Attribute> posted = new ArrayList<>(all());
            posted.replaceAll(row -> row.equals(BLOCK) ? new Attribute(TYPE, TYPE, "   ", "BLK") : row);
            int states = posted.indexOf(state(0, "PKVM_PAGE_OWNED"));
            posted.add(states + 3, state(3, "PKVM_NOPAGE"));
            posted.add(states, new Attribute(OWNER | VALID, 2 << 2, "FF-A", ""));
            return List.of(all(), List.copyOf(posted));
        }

        @Override
        boolean titled(String title) {
            return TITLE.matcher(title).matches();
        }
    },

    /// The series as it was merged, for guests: 6.12 to 6.17.
    LINUX_6_12("linux-6.12") {
        @Override
        List<Attribute> all() {
            return List.of(
                    new Attribute(VALID, VALID, " ", "F"),
                    new Attribute(READ | VALID, READ | VALID, "R", " "),
                    new Attribute(WRITE | VALID, WRITE | VALID, "W", " "),
                    // The letter is the wrong way round, until 6.18 (8673e5b22e1e).
                    new Attribute(XN | VALID, VALID, " ", "X"),
                    new Attribute(AF | VALID, AF | VALID, "AF", "  "),
                    BLOCK);
        }
    },

    /// 6.18 and later, from the description of 8673e5b22e1e.
    LINUX_6_18("linux-6.18") {
        @Override
        List<Attribute> all() {
            return List.of(
                    new Attribute(VALID, VALID, " ", "F"),
                    new Attribute(READ, READ, "R", " "),
                    new Attribute(WRITE, WRITE, "W", " "),
                    new Attribute(XN, XN, "NX", "x "),
                    new Attribute(AF, AF, "AF", "  "),
                    BLOCK);
        }
    },

    /// 7.3, checked against the kernel's own output.
    LINUX_7_3("linux-7.3") {
        @Override
        boolean printsLastRegion() {
            return true;
        }

        @Override
        List<Attribute> all() {
            return List.of(
                    new Attribute(VALID, VALID, " ", "F"),
                    new Attribute(READ, READ, "R", " "),
                    new Attribute(WRITE, WRITE, "W", " "),
                    new Attribute(XN_FIELD, 0, "px ux ", ""),
                    new Attribute(XN_FIELD, XN0, "PXNux ", ""),
                    new Attribute(XN_FIELD, XN, "PXNUXN", ""),
                    new Attribute(XN_FIELD, XN_FIELD, "px UXN", ""),
                    new Attribute(AF, AF, "AF", "  "),
                    BLOCK);
        }
    },

    /// Android's common kernel 6.6, which has the rows of mainline's 6.12 with X the right way round, two more flags,
    /// and owners. The ids of guests and of FF-A are from its enum pkvm_component_id.
    ANDROID_6_6("android-6.6") {
        // As in version 5 of the series: by number, but the level at which the table starts is always PGD.
        @Override
        String levelName(int level, int startLevel) {
            return V4.levelName(level, startLevel);
        }

        @Override
        String title(int inputBits, int startLevel, boolean host) {
            return host ? HOST_TITLE : GUEST_TITLE;
        }

        @Override
        boolean titled(String title) {
            return title.equals(HOST_TITLE) || title.equals(GUEST_TITLE);
        }

        @Override
        List<Attribute> all() {
            return List.of(
                    new Attribute(VALID, VALID, " ", "F"),
                    new Attribute(READ | VALID, READ | VALID, "R", " "),
                    new Attribute(WRITE | VALID, WRITE | VALID, "W", " "),
                    new Attribute(XN_FIELD | VALID, VALID, "X", " "),
                    new Attribute(AF | VALID, AF | VALID, "AF", "  "),
                    new Attribute(FNXS, FNXS, "FnXS", "  "),
                    new Attribute(CONTIGUOUS | VALID, CONTIGUOUS | VALID, "CON", "   "),
                    BLOCK,
                    // These do not look at the valid bit.
                    new Attribute(OWNER, 1 << 2, "HYP", ""),
                    new Attribute(OWNER, 3 << 2, "FF-A", ""),
                    new Attribute(OWNER, 2 << 2, "GUEST", ""));
        }
    },

    /// Android's common kernel 6.12. Under pKVM the hypervisor hands over a log of packed entries, which leaves out the
    /// access flag: its column is always empty in the host's table.
    ANDROID_6_12("android-6.12") {
        @Override
        String title(int inputBits, int startLevel, boolean host) {
            return ANDROID_6_6.title(inputBits, startLevel, host);
        }

        @Override
        boolean titled(String title) {
            return ANDROID_6_6.titled(title);
        }

        @Override
        long seen(boolean host) {
            return host ? ~AF : -1;
        }

        @Override
        List<Attribute> all() {
            return List.of(
                    new Attribute(VALID, VALID, " ", "F"),
                    new Attribute(READ | VALID, READ | VALID, "R", " "),
                    new Attribute(WRITE | VALID, WRITE | VALID, "W", " "),
                    new Attribute(XN_FIELD | VALID, VALID, "X", " "),
                    new Attribute(AF | VALID, AF | VALID, "AF", "  "),
                    BLOCK,
                    new Attribute(1L << 55 | VALID, 1L << 55 | VALID, "SW0", "   "),
                    new Attribute(1L << 56 | VALID, 1L << 56 | VALID, "SW1", "   "));
        }
    };

    static final String HOST_TITLE = "Host IPA";
    static final String GUEST_TITLE = "Guest IPA";

    /// The title of v4, with the width of the input address and the start level.
    static final Pattern TITLE = Pattern.compile("IPA bits ([ 1-9][0-9]) start lvl (-1|[0-2])");

    // Bits of a stage-2 descriptor (D8.3.2, D8.4.2).
    static final long VALID = 1;
    static final long TYPE = 1 << 1;
    static final long MEMATTR = 0xf << 2;
    static final long OWNER = 0xff << 2;
    static final long READ = 1 << 6;
    static final long WRITE = 1 << 7;
    static final long AF = 1 << 10;
    static final long FNXS = 1 << 11;
    static final long CONTIGUOUS = 1L << 52;
    static final long XN0 = 1L << 53;
    static final long XN = 1L << 54;
    static final long XN_FIELD = XN | XN0;
    static final long STATE = 3L << 55;

    private static final Attribute BLOCK = new Attribute(VALID | TYPE, VALID, "BLK", "   ");

    /// What a table is used for.
    ///
    /// @param host the host's under pKVM, whose software bits are page states; those of a guest's are just bits
    /// @param forcedWriteBack memory attributes have the encoding of FEAT_S2FWB
    public record Use(boolean host, boolean forcedWriteBack) {
        /// The host's table, which never has forced write-back in the kernels that v4 was made for.
        public static final Use HOST = new Use(true, false);
    }

    /// For which tables a row is there. The bits of all rows tell regions apart, whether a row is there or not.
    enum Condition {
        ALWAYS,
        FWB_ON,
        FWB_OFF,
        HOST,
        GUEST;

        boolean holds(Use use) {
            return switch (this) {
                case ALWAYS -> true;
                case FWB_ON -> use.forcedWriteBack;
                case FWB_OFF -> !use.forcedWriteBack;
                case HOST -> use.host;
                case GUEST -> !use.host;
            };
        }
    }

    /// One row.
    ///
    /// @param mask which bits are looked at
    /// @param bits what they have to be
    /// @param set the word if they are
    /// @param clear the word if they are not; none if empty, and then there is no blank for it either
    record Attribute(long mask, long bits, String set, String clear, Condition condition) {
        Attribute(long mask, long bits, String set, String clear) {
            this(mask, bits, set, clear, Condition.ALWAYS);
        }

        String text(long value) {
            return (value & mask) == bits ? set : clear;
        }
    }

    private static Attribute memory(long memAttr, String word, Condition condition) {
        return new Attribute(MEMATTR | VALID, memAttr << 2 | VALID, word, "", condition);
    }

    private static Attribute state(long state, String word) {
        return new Attribute(STATE | VALID, state << 55 | VALID, word, "", Condition.HOST);
    }

    private static Attribute software(int bit, String word) {
        return new Attribute(1L << bit, 1L << bit, word, "", Condition.GUEST);
    }

    private final String id;

    KernelTextDialect(String id) {
        this.id = id;
    }

    /// The name on the command line.
    public String id() {
        return id;
    }

    /// @throws IllegalArgumentException if there is none of this name; the message is for a person
    public static KernelTextDialect of(String id) {
        for (KernelTextDialect dialect : values()) {
            if (dialect.id.equals(id)) {
                return dialect;
            }
        }
        throw new IllegalArgumentException(
                "\"" + id + "\" is no dialect; there are v4, linux-6.12, linux-6.18, linux-7.3, android-6.6 and"
                        + " android-6.12");
    }

    /// The attributes of an entry, each with a blank in front.
    static String text(List<Attribute> rows, long value) {
        StringBuilder line = new StringBuilder();
        for (Attribute row : rows) {
            String word = row.text(value);
            if (!word.isEmpty()) {
                line.append(' ').append(word);
            }
        }
        return line.toString();
    }

    /// All rows, in the order in which they are printed.
    abstract List<Attribute> all();

    /// The rows for a table of this use.
    List<Attribute> attributes(Use use) {
        List<Attribute> rows = new ArrayList<>(all());
        rows.removeIf(row -> !row.condition.holds(use));
        return rows;
    }

    /// The bits that tell regions apart: those of all rows.
    long mask() {
        long mask = 0;
        for (Attribute row : all()) {
            mask |= row.mask;
        }
        return mask;
    }

    /// The bits that reach the printer.
    long seen(boolean host) {
        return -1;
    }

    /// The rows by which a line is read; the first that fit.
    List<List<Attribute>> readings() {
        return List.of(all());
    }

    /// What a level is called.
    String levelName(int level, int startLevel) {
        return String.valueOf(level);
    }

    /// Whether levels have names, of which one depends on the start level.
    boolean namesLevels() {
        return !levelName(2, 0).equals("2");
    }

    /// The level of this name, or null if there is none.
    ///
    /// @param startLevel if the text tells it
    KernelTable.@Nullable Level level(String name, OptionalInt startLevel) {
        for (int level = TableGeometry.LAST_LEVEL; level >= TableGeometry.FIRST_LEVEL; level--) {
            boolean start = level == startLevel.orElse(Integer.MIN_VALUE);
            boolean below = level > startLevel.orElse(TableGeometry.FIRST_LEVEL - 1);
            if ((start || below)
                    && levelName(level, startLevel.orElse(Integer.MIN_VALUE)).equals(name)) {
                return new KernelTable.Level(name, OptionalInt.of(level));
            }
        }
        return namesLevels() && startLevel.isEmpty() && name.equals("PGD")
                ? new KernelTable.Level(name, OptionalInt.empty())
                : null;
    }

    /// What stands in the first line.
    String title(int inputBits, int startLevel, boolean host) {
        return GUEST_TITLE;
    }

    /// Whether this dialect has such a first line.
    boolean titled(String title) {
        return title.equals(GUEST_TITLE);
    }

    /// Whether the invalid entries of the host have words for their owners, which are right for one encoding only.
    boolean namesOwners() {
        return all().stream().anyMatch(row -> row.set.equals("HYP"));
    }

    /// Whether the region that ends the table has a line.
    boolean printsLastRegion() {
        return false;
    }
}
