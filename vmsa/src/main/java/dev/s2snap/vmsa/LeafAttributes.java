package dev.s2snap.vmsa;

import java.util.OptionalLong;

/// Says in words what a block or page descriptor allows, and as what kind of memory.
///
/// The bits mean different things in each regime, and control registers change them further; the decoder is made once
/// per table from the registers and then asked per descriptor. Where a register that matters is not known the answer
/// has a `?` in it. Hierarchical attributes of table descriptors (APTable, XNTable) are not applied;
/// [LeafRuns.Result#tableAttributes()] tells whether there are any.
public final class LeafAttributes {

    /// HCR_EL2.FWB: stage 2 decides the memory type alone (FEAT_S2FWB, D24.2).
    public static final long HCR_FWB = 1L << 46;

    /// SCTLR_EL2.WXN: what is writable is not executable (D24.2).
    private static final long SCTLR_WXN = 1 << 19;

    /// VTCR_EL2.S2PIE and TCR2_EL2.PIE: permissions are looked up in registers, not in these bits (FEAT_S2PIE,
    /// FEAT_S1PIE).
    private static final long VTCR_S2PIE = 1L << 36;

    private static final long TCR2_PIE = 1 << 1;

    private static final String UNKNOWN = "???";

    private final TableGeometry geometry;
    private final boolean indirect;
    private final int shareability;

    // Stage 2.
    private final OptionalLong hcr;
    private final OptionalLong mmfr1;

    // Stage 1.
    private final OptionalLong mair;
    private final OptionalLong sctlr;

    private LeafAttributes(
            TableGeometry geometry,
            boolean indirect,
            long control,
            OptionalLong hcr,
            OptionalLong mmfr1,
            OptionalLong mair,
            OptionalLong sctlr) {
        this.geometry = geometry;
        this.indirect = indirect;
        // SH0, bits 13:12 of VTCR_EL2 and of all layouts of a TCR; SH1, bits 29:28, is for the upper range.
        this.shareability = (int) (control >>> (geometry.regime().upper() ? 28 : 12)) & 3;
        this.hcr = hcr;
        this.mmfr1 = mmfr1;
        this.mair = mair;
        this.sctlr = sctlr;
    }

    /// @param hcr HCR_EL2 of a CPU that walks this table; its FWB bit changes the memory types
    /// @param mmfr1 ID_AA64MMFR1_EL1; its XNX field tells whether bit 53 means anything
    public static LeafAttributes stage2(TableGeometry geometry, long vtcr, OptionalLong hcr, OptionalLong mmfr1) {
        return new LeafAttributes(
                geometry, (vtcr & VTCR_S2PIE) != 0, vtcr, hcr, mmfr1, OptionalLong.empty(), OptionalLong.empty());
    }

    /// @param tcr2 TCR2_EL2, absent from CPUs that have no permission indirection
    public static LeafAttributes stage1(
            TableGeometry geometry, long tcr, OptionalLong tcr2, OptionalLong mair, OptionalLong sctlr) {
        return new LeafAttributes(
                geometry,
                (tcr2.orElse(0) & TCR2_PIE) != 0,
                tcr,
                OptionalLong.empty(),
                OptionalLong.empty(),
                mair,
                sctlr);
    }

    /// Whose permissions [#permissions(long)] lists, for a column header: one, or two with a slash.
    public String permissionsTitle() {
        return switch (geometry.regime()) {
            case STAGE2, EL2 -> "perm";
            case EL2_0, EL2_0_UPPER -> "EL2/EL0";
            case EL1_0, EL1_0_UPPER -> "EL1/EL0";
        };
    }

    /// Read, write and execute as `rwx`, with `-` for what is not allowed and `?` for what depends on a register that
    /// is
    /// not known. In EL2&0 and EL1&0, and in a stage 2 whose levels differ, it is the higher exception level's, a
    /// slash, and EL0's.
    public String permissions(long descriptor) {
        return switch (geometry.regime()) {
            case STAGE2 -> stage2Permissions(descriptor);
            case EL2 -> el2Permissions(descriptor);
            case EL2_0, EL2_0_UPPER, EL1_0, EL1_0_UPPER -> permissionsWithEl0(descriptor);
        };
    }

    /// S2AP in bits 7:6, XN in 54 and with FEAT_XNX in 54:53 (D8.4.2).
    private String stage2Permissions(long descriptor) {
        if (indirect) {
            return UNKNOWN;
        }
        boolean read = bit(descriptor, 6);
        boolean write = bit(descriptor, 7);
        boolean xn1 = bit(descriptor, 54);
        boolean xn0 = bit(descriptor, 53);
        if (xn0 && mmfr1.isEmpty()) {
            return letters(read, write, '?');
        }
        // ID_AA64MMFR1_EL1.XNX, bits 31:28; without the feature bit 53 is RES0 and ignored.
        if (!xn0 || (mmfr1.getAsLong() >>> 28 & 0xf) == 0) {
            return letters(read, write, xn1 ? '-' : 'x');
        }
        // 01: not at EL1, but at EL0. 11: at EL1, but not at EL0.
        return letters(read, write, xn1 ? 'x' : '-') + '/' + letters(read, write, xn1 ? '-' : 'x');
    }

    /// AP[2] in bit 7, XN in bit 54; AP[1] is RES1 in a regime of one exception level (D8.4.1).
    private String el2Permissions(long descriptor) {
        if (indirect) {
            return UNKNOWN;
        }
        boolean write = !bit(descriptor, 7);
        return letters(true, write, execute(!bit(descriptor, 54), write));
    }

    /// AP[2:1] in bits 7:6, UXN in 54, PXN in 53; what EL0 can write the higher level does not execute (D8.4.1).
    private String permissionsWithEl0(long descriptor) {
        if (indirect) {
            return UNKNOWN + '/' + UNKNOWN;
        }
        boolean write = !bit(descriptor, 7);
        boolean el0 = bit(descriptor, 6);
        char execute = execute(!bit(descriptor, 53) && !(el0 && write), write);
        char execute0 = execute(!bit(descriptor, 54), el0 && write);
        return letters(true, write, execute) + '/' + letters(el0, el0 && write, execute0);
    }

    private char execute(boolean allowed, boolean writable) {
        if (!allowed) {
            return '-';
        }
        if (!writable) {
            return 'x';
        }
        return sctlr.isEmpty() ? '?' : (sctlr.getAsLong() & SCTLR_WXN) != 0 ? '-' : 'x';
    }

    private static String letters(boolean read, boolean write, char execute) {
        return "" + (read ? 'r' : '-') + (write ? 'w' : '-') + execute;
    }

    /// The memory type, such as "normal WB" or "device nGnRE". Where inner and outer cacheability differ both are
    /// named.
    public String memoryType(long descriptor) {
        if (!geometry.regime().stage2()) {
            int index = (int) (descriptor >>> 2) & 7;
            return mair.isEmpty() ? "AttrIndx " + index : mairType((int) (mair.getAsLong() >>> (8 * index)) & 0xff);
        }
        int memAttr = (int) (descriptor >>> 2) & 0xf;
        if (hcr.isEmpty()) {
            return "MemAttr 0x" + Integer.toHexString(memAttr);
        }
        return (hcr.getAsLong() & HCR_FWB) == 0 ? stage2Type(memAttr) : stage2TypeFwb(memAttr);
    }

    /// Whether the descriptor certainly says device memory.
    public boolean device(long descriptor) {
        return memoryType(descriptor).startsWith("device");
    }

    /// MemAttr[3:0] with FWB = 0: outer cacheability or device in 3:2, inner or the kind of device in 1:0 (D8.6.5).
    private static String stage2Type(int memAttr) {
        int outer = memAttr >>> 2;
        int inner = memAttr & 3;
        if (outer == 0) {
            return device(inner);
        }
        if (inner == 0) {
            return "reserved 0x" + Integer.toHexString(memAttr);
        }
        return normal(cacheability(outer), cacheability(inner));
    }

    /// MemAttr[3:0] with FWB = 1 (D8.6.6); MemAttr[3] is RES0 without FEAT_MTE_PERM.
    private static String stage2TypeFwb(int memAttr) {
        return switch (memAttr) {
            case 0, 1, 2, 3 -> device(memAttr);
            case 5 -> "normal NC";
            case 6 -> "normal WB";
            case 7 -> "as stage 1";
            // FEAT_MTE_PERM
            case 14 -> "normal WB no tags";
            case 15 -> "as stage 1 no tags";
            default -> "reserved 0x" + Integer.toHexString(memAttr);
        };
    }

    /// A byte of MAIR_EL2 (D24.2).
    private static String mairType(int attribute) {
        int outer = attribute >>> 4;
        int inner = attribute & 0xf;
        if (outer == 0) {
            return switch (attribute & 3) {
                case 0 -> device(inner >>> 2);
                case 1 -> device(inner >>> 2) + " nXS";
                default -> "reserved 0x" + Integer.toHexString(attribute);
            };
        }
        if (inner == 0) {
            return switch (attribute) {
                case 0x40 -> "normal NC nXS";
                case 0xa0 -> "normal WT nXS";
                case 0xf0 -> "normal WB tagged";
                default -> "reserved 0x" + Integer.toHexString(attribute);
            };
        }
        return normal(mairCacheability(outer), mairCacheability(inner));
    }

    /// 0100 NC; otherwise bits 1:0 are allocation hints, bit 2 clear is write-through (00, 10), set write-back (01,
    /// 11),
    /// bit 3 clear is transient.
    private static String mairCacheability(int nibble) {
        if (nibble == 4) {
            return "NC";
        }
        return ((nibble & 4) == 0 ? "WT" : "WB") + ((nibble & 8) == 0 ? " transient" : "");
    }

    private static String cacheability(int field) {
        return switch (field) {
            case 1 -> "NC";
            case 2 -> "WT";
            default -> "WB";
        };
    }

    private static String normal(String outer, String inner) {
        return outer.equals(inner) ? "normal " + inner : "normal i" + inner + " o" + outer;
    }

    private static String device(int kind) {
        return switch (kind) {
            case 0 -> "device nGnRnE";
            case 1 -> "device nGnRE";
            case 2 -> "device nGRE";
            default -> "device GRE";
        };
    }

    /// "non", "outer" or "inner": bits 9:8, or with LPA2, where those are address bits, the SH0 field of the control
    /// register. Device memory is outer shareable whatever the bits say.
    public String shareability(long descriptor) {
        int field = geometry.lpa2() ? shareability : (int) (descriptor >>> 8) & 3;
        return switch (field) {
            case 0 -> "non";
            case 2 -> "outer";
            case 3 -> "inner";
            default -> "reserved";
        };
    }

    /// Whether the access flag, bit 10, is set; the first access to an entry without it traps, unless hardware sets it.
    public boolean accessed(long descriptor) {
        return (descriptor & Descriptor.AF) != 0;
    }

    /// What else is set, separated by blanks; empty for an ordinary entry. Bits that hardware ignores are not listed.
    public String flags(long descriptor, boolean block) {
        StringBuilder flags = new StringBuilder();
        append(flags, !accessed(descriptor), "no-AF");
        switch (geometry.regime()) {
            case STAGE2 -> append(flags, bit(descriptor, 11), "FnXS");
            case EL2 -> {}
            case EL2_0, EL2_0_UPPER, EL1_0, EL1_0_UPPER -> append(flags, bit(descriptor, 11), "nG");
        }
        append(flags, block && bit(descriptor, 16), "nT");
        append(flags, !geometry.regime().stage2() && bit(descriptor, 50), "guarded");
        append(flags, bit(descriptor, 51), "DBM");
        append(flags, bit(descriptor, 52), "contiguous");
        return flags.toString();
    }

    private static void append(StringBuilder flags, boolean set, String name) {
        if (set) {
            flags.append(flags.isEmpty() ? "" : " ").append(name);
        }
    }

    private static boolean bit(long descriptor, int bit) {
        return (descriptor >>> bit & 1) != 0;
    }
}
