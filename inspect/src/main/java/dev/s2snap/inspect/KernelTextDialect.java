package dev.s2snap.inspect;

import dev.s2snap.vmsa.TableGeometry;
import java.util.ArrayList;
import java.util.List;

/// How kernels write a stage-2 table as text: which attributes there are, what levels are called, and what the first
/// line says.
///
/// | | first line | levels | execute | last region |
/// |---|---|---|---|---|
/// | v4 | IPA bits and start level | PGD to PTE | XN | printed |
/// | linux-6.12 | Guest IPA | number | X means never (!) | missing |
/// | linux-6.18 | Guest IPA | number | x, NX | missing |
/// | linux-7.3 | Guest IPA | number | px, PXN and ux, UXN | printed |
///
/// `v4` is patches 07 to 09 of the series of December 2023 without their mistakes; the others are what those releases
/// print, mistakes included: 6.12 shows a letter for memory that cannot be executed, and before 7.3 (beca1b97a21d) the
/// region that ends the table has no line.
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
        String title(TableGeometry geometry) {
            String bits = String.valueOf(geometry.inputBits());
            return "IPA bits " + (bits.length() < 2 ? " " : "") + bits + " start lvl " + geometry.startLevel();
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
    };

    // Bits of a stage-2 descriptor (D8.3.2, D8.4.2).
    private static final long VALID = 1;
    private static final long TYPE = 1 << 1;
    private static final long MEMATTR = 0xf << 2;
    private static final long OWNER = 0xff << 2;
    private static final long READ = 1 << 6;
    private static final long WRITE = 1 << 7;
    private static final long AF = 1 << 10;
    private static final long FNXS = 1 << 11;
    private static final long CONTIGUOUS = 1L << 52;
    private static final long XN0 = 1L << 53;
    private static final long XN = 1L << 54;
    private static final long XN_FIELD = XN | XN0;
    private static final long STATE = 3L << 55;

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
                "\"" + id + "\" is no dialect; there are v4, linux-6.12, linux-6.18 and linux-7.3");
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

    /// What a level is called.
    String levelName(int level, int startLevel) {
        return String.valueOf(level);
    }

    /// What stands in the first line.
    String title(TableGeometry geometry) {
        return "Guest IPA";
    }

    /// Whether the region that ends the table has a line.
    boolean printsLastRegion() {
        return false;
    }
}
