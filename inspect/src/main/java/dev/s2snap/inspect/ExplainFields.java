package dev.s2snap.inspect;

import dev.s2snap.pkvm.Annotation;
import dev.s2snap.pkvm.Encodings.StateLocation;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.PageState;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.LeafAttributes;
import dev.s2snap.vmsa.TableGeometry;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;

/// Decodes the descriptors of one table field by field, all 64 bits, from the highest to the lowest (D8.3).
///
/// What the architecture leaves to software is told in the words of protected KVM, as far as it keeps something there.
/// Extensions that give bits another meaning (permission indirection and overlays, 128-bit descriptors, Realms) are not
/// decoded; where a register says that one is on, the field says so.
final class ExplainFields {

    /// Whose table it is: software bits and invalid entries mean something else in each.
    enum Keeper {
        HOST,
        HYP,
        GUEST,
        /// The host's own stage 1, which is Linux's.
        LINUX
    }

    private static final String NEXT_TABLE = "next-level table address";
    private static final String OUTPUT = "output address";

    private final Reading reading;
    private final TableGeometry geometry;
    private final Keeper keeper;
    private final LeafAttributes attributes;
    private final Registers registers;
    private final OptionalLong mair;

    /// @param registers of the CPU that walks the table
    ExplainFields(
            Reading reading, TableGeometry geometry, Keeper keeper, LeafAttributes attributes, Registers registers) {
        this.reading = reading;
        this.geometry = geometry;
        this.keeper = keeper;
        this.attributes = attributes;
        this.registers = registers;
        this.mair = registers.get("MAIR_" + el());
    }

    private String el() {
        return switch (geometry.regime()) {
            case EL1_0, EL1_0_UPPER -> "EL1";
            default -> "EL2";
        };
    }

    private boolean stage2() {
        return geometry.regime().stage2();
    }

    /// Table, block, page, empty, annotated, invalid or reserved.
    String kind(long descriptor, int level) {
        if (Descriptor.table(descriptor, level)) {
            return "table";
        }
        if (Descriptor.leaf(descriptor, level, geometry)) {
            return level == TableGeometry.LAST_LEVEL ? "page" : "block";
        }
        if (Descriptor.valid(descriptor)) {
            return "reserved";
        }
        return descriptor == 0 ? "empty" : stage2() ? "annotated" : "invalid";
    }

    List<ExplainedField> of(long descriptor, int level) {
        Fields fields = new Fields(descriptor);
        switch (kind(descriptor, level)) {
            case "table" -> table(fields);
            case "block", "page" -> leaf(fields, level);
            case "reserved" -> {
                fields.add(63, 2, "-", "not looked at");
                fields.add(
                        1,
                        0,
                        "TYPE",
                        "reserved at level " + level + ": hardware takes it for invalid, a translation fault");
            }
            default -> invalid(fields);
        }
        return fields.list;
    }

    // Table descriptors (D8.3.1).

    private void table(Fields fields) {
        if (stage2()) {
            fields.reserved(63, 59);
        } else {
            hierarchical(fields);
        }
        fields.ignored(58, 51);
        fields.reserved(50, geometry.lpa2() ? 50 : 48);
        address(fields, geometry.granuleShift(), NEXT_TABLE, geometry.tableAddress(fields.descriptor));
        switch (geometry.granuleShift()) {
            case 14 -> fields.reserved(13, 12);
            case 16 -> fields.add(15, 12, NEXT_TABLE + " 51:48", "");
            default -> {}
        }
        if (geometry.lpa2()) {
            ignoredOfTables(fields, 11, 10);
            fields.add(9, 8, NEXT_TABLE + " 51:50", "");
            fields.ignored(7, 2);
        } else {
            ignoredOfTables(fields, 11, 2);
        }
        fields.add(1, 1, "TYPE", "table");
        valid(fields);
    }

    /// Bit 10 of a table descriptor is an access flag under FEAT_HAFT, where VTCR_EL2 or TCR2_ELx enables it.
    private static void ignoredOfTables(Fields fields, int high, int low) {
        if (fields.value(high, low) == 0) {
            fields.ignored(high, low);
        } else {
            fields.add(high, low, ExplainedField.IGNORED, "not looked at; bit 10 is AF where FEAT_HAFT is enabled");
        }
    }

    /// NSTable, APTable, UXNTable or XNTable, PXNTable: they restrict everything below, unless TCR.HPDn is 1 (D8.4.1).
    private void hierarchical(Fields fields) {
        boolean el0 = geometry.regime().withEl0();
        fields.add(63, 63, "NSTable", "not looked at in Non-secure state");
        fields.add(
                62,
                61,
                "APTable",
                switch ((int) fields.value(62, 61)) {
                    case 0 -> "no restriction below";
                    case 1 -> el0 ? "no access from EL0 below" : "no restriction: APTable[0] is RES0 in this regime";
                    case 2 -> "read-only below";
                    default ->
                        el0 ? "read-only and no access from EL0 below" : "read-only below; APTable[0] is RES0 here";
                });
        fields.add(
                60,
                60,
                el0 ? "UXNTable" : "XNTable",
                fields.value(60, 60) == 0
                        ? "no restriction below"
                        : (el0 ? "EL0 executes" : "EL2 executes") + " nothing below");
        if (el0) {
            fields.add(
                    59,
                    59,
                    "PXNTable",
                    fields.value(59, 59) == 0 ? "no restriction below" : el() + " executes nothing below");
        } else {
            fields.reserved(59, 59);
        }
    }

    // Blocks and pages (D8.3.2).

    private void leaf(Fields fields, int level) {
        fields.add(
                63,
                59,
                ExplainedField.IGNORED,
                fields.value(63, 59) == 0
                        ? "not looked at"
                        : "not looked at, unless an extension uses them (PBHA in 62:59)");
        software(fields);
        if (stage2()) {
            stage2Execute(fields);
        } else {
            stage1Execute(fields);
        }
        fields.add(52, 52, "Contiguous", fields.value(52, 52) == 0 ? "no hint" : "hint: one of a run of alike entries");
        fields.add(
                51,
                51,
                "DBM",
                fields.value(51, 51) == 0
                        ? "not managed by hardware"
                        : "writable for hardware that manages dirty state");
        if (stage2()) {
            fields.reserved(50, 50);
        } else {
            fields.add(50, 50, "GP", fields.value(50, 50) == 0 ? "not guarded" : "guarded: branch targets are checked");
        }
        if (!geometry.lpa2()) {
            fields.reserved(49, 48);
        }
        outputAddress(fields, level);
        lower(fields);
        fields.add(1, 1, "TYPE", level == TableGeometry.LAST_LEVEL ? "page" : "block");
        valid(fields);
    }

    /// Bits from 49 or 47 to 12: the address, and below the size of a block RES0 but for nT. With 64K pages 15:12 are
    /// 51:48 of the address; 51:50 of LPA2 come further down.
    private void outputAddress(Fields fields, int level) {
        int shift = geometry.shift(level);
        address(fields, shift, OUTPUT, geometry.outputAddress(fields.descriptor, level));
        boolean block = level < TableGeometry.LAST_LEVEL;
        if (block) {
            fields.reserved(shift - 1, 17);
            fields.add(
                    16,
                    16,
                    "nT",
                    fields.value(16, 16) == 0 ? "an ordinary block" : "not cached while its size changes (FEAT_BBM)");
        }
        switch (geometry.granuleShift()) {
            case 16 -> fields.add(15, 12, OUTPUT + " 51:48", "");
            case 14 -> fields.reserved(block ? 15 : 13, 12);
            default -> {
                if (block) {
                    fields.reserved(15, 12);
                }
            }
        }
    }

    /// The field down to bit `shift`; its value is the whole address.
    private void address(Fields fields, int shift, String name, long address) {
        boolean beyond = (fields.descriptor & geometry.beyondOutput()) != 0;
        fields.add(
                geometry.lpa2() ? 49 : 47,
                shift,
                name,
                address,
                beyond
                        ? "beyond the " + geometry.outputBits() + " bits of the output size: an Address size fault"
                        : "");
    }

    /// XN[1:0] in 54:53 (FEAT_XNX), or XN in 54 alone (D8.4.2).
    private void stage2Execute(Fields fields) {
        OptionalLong mmfr1 = reading.machine().registers().get("ID_AA64MMFR1_EL1");
        boolean xnx = mmfr1.isPresent() && (mmfr1.getAsLong() >>> 28 & 0xf) != 0;
        String[] words = {
            "EL1 and EL0 may execute, if they may read",
            "EL0 may execute, if it may read; EL1 may not",
            "neither EL1 nor EL0 may execute",
            "EL1 may execute, if it may read; EL0 may not"
        };
        int value = (int) fields.value(54, 53);
        String without = words[value & 2];
        String meaning = xnx || value == (value & 2)
                ? words[value]
                : mmfr1.isPresent()
                        ? without + " (bit 53 is RES0 without FEAT_XNX)"
                        : words[value] + ", if the CPU has FEAT_XNX: ID_AA64MMFR1_EL1 is needed";
        fields.add(54, 53, "XN[1:0]", indirect(meaning));
    }

    private void stage1Execute(Fields fields) {
        boolean el0 = geometry.regime().withEl0();
        boolean never = fields.value(54, 54) != 0;
        if (el0) {
            fields.add(54, 54, "UXN", indirect(never ? "EL0 may not execute" : "EL0 may execute"));
            fields.add(
                    53,
                    53,
                    "PXN",
                    indirect(el() + (fields.value(53, 53) != 0 ? " may not execute" : " may execute" + wxn(fields))));
        } else {
            fields.add(54, 54, "XN", indirect(never ? "EL2 may not execute" : "EL2 may execute" + wxn(fields)));
            fields.reserved(53, 53);
        }
    }

    /// SCTLR_ELx.WXN, and what EL0 can write (D8.4.1).
    private String wxn(Fields fields) {
        boolean writable = fields.value(7, 7) == 0;
        if (writable && geometry.regime().withEl0() && fields.value(6, 6) != 0) {
            return ", but not what EL0 can write";
        }
        OptionalLong sctlr = registers.get("SCTLR_" + el());
        return !writable
                ? ""
                : sctlr.isEmpty()
                        ? ", unless SCTLR_" + el() + ".WXN is 1, which is not known"
                        : (sctlr.getAsLong() & 1 << 19) != 0
                                ? ", but it is writable and SCTLR_" + el() + ".WXN is 1"
                                : "";
    }

    /// Permissions that registers give and not these bits (FEAT_S2PIE, FEAT_S1PIE): VTCR_EL2.S2PIE, TCR2_ELx.PIE.
    private String indirect(String meaning) {
        boolean on = stage2()
                ? (registers.get("VTCR_EL2").orElse(0) >>> 36 & 1) != 0
                : (registers.get("TCR2_" + el()).orElse(0) >>> 1 & 1) != 0;
        return on ? "part of a permission index: not decoded" : meaning;
    }

    /// Bits 11:2.
    private void lower(Fields fields) {
        boolean nG = geometry.regime().withEl0();
        if (stage2()) {
            fields.add(
                    11,
                    11,
                    "FnXS",
                    fields.value(11, 11) == 0 ? "XS is as stage 1 says" : "XS is 0, whatever stage 1 says (FEAT_XS)");
        } else if (nG) {
            fields.add(11, 11, "nG", fields.value(11, 11) == 0 ? "global" : "not global: of one ASID");
        } else {
            fields.reserved(11, 11);
        }
        fields.add(
                10,
                10,
                "AF",
                fields.value(10, 10) == 0 ? "not accessed: an access flag fault, unless hardware sets it" : "accessed");
        if (geometry.lpa2()) {
            fields.add(
                    9,
                    8,
                    OUTPUT + " 51:50",
                    "shareability is in the control register: " + attributes.shareability(fields.descriptor));
        } else {
            fields.add(
                    9,
                    8,
                    "SH",
                    switch ((int) fields.value(9, 8)) {
                        case 0 -> "non-shareable";
                        case 2 -> "outer shareable";
                        case 3 -> "inner shareable";
                        default -> "reserved";
                    });
        }
        if (stage2()) {
            fields.add(
                    7,
                    6,
                    "S2AP",
                    indirect(
                            switch ((int) fields.value(7, 6)) {
                                case 0 -> "no access";
                                case 1 -> "read";
                                case 2 -> "write";
                                default -> "read and write";
                            }));
            fields.add(5, 2, "MemAttr", memoryOfStage2(fields.descriptor));
        } else {
            fields.add(7, 6, "AP[2:1]", indirect(access((int) fields.value(7, 6))));
            fields.add(5, 5, "NS", "not looked at in Non-secure state");
            fields.add(4, 2, "AttrIndx", memoryOfStage1((int) fields.value(4, 2), fields.descriptor));
        }
    }

    private String memoryOfStage2(long descriptor) {
        OptionalLong hcr = registers.get("HCR_EL2");
        String type = attributes.memoryType(descriptor);
        return hcr.isEmpty()
                ? "depends on HCR_EL2.FWB, which is not known"
                : (hcr.getAsLong() & LeafAttributes.HCR_FWB) == 0
                        ? type + ", unless stage 1 says less (HCR_EL2.FWB = 0)"
                        : type + " (HCR_EL2.FWB = 1)";
    }

    private String memoryOfStage1(int index, long descriptor) {
        return mair.isEmpty()
                ? "Attr" + index + " of MAIR_" + el() + ", which is not known"
                : attributes.memoryType(descriptor) + " (MAIR_" + el() + ".Attr" + index + " = 0x"
                        + Long.toHexString(mair.getAsLong() >>> (8 * index) & 0xff) + ")";
    }

    /// AP[2:1] (D8.4.1). In a regime of one exception level AP[1] is RES1.
    private String access(int ap) {
        if (!geometry.regime().withEl0()) {
            return ((ap & 2) == 0 ? "EL2 reads and writes" : "EL2 reads")
                    + ((ap & 1) == 0 ? "; AP[1] is RES1, and is 0" : "");
        }
        return switch (ap) {
            case 0 -> el() + " reads and writes, EL0 has no access";
            case 1 -> el() + " and EL0 read and write";
            case 2 -> el() + " reads, EL0 has no access";
            default -> el() + " and EL0 read";
        };
    }

    private void valid(Fields fields) {
        fields.add(0, 0, "VALID", "valid");
    }

    // Bits that are software's.

    private void software(Fields fields) {
        if (keeper == Keeper.LINUX) {
            fields.add(58, 55, "software", "Linux's own");
            return;
        }
        StateLocation location = switch (keeper) {
            case HYP -> reading.hypStates().optional().orElse(null);
            // Guests' tables have states from 6.14 on, when the host's moved away.
            default -> reading.hostStates().optional().orElse(null);
        };
        if (location == null) {
            fields.add(58, 55, "software", "not known: the kernel's release is not");
            return;
        }
        boolean here = (location == StateLocation.DESCRIPTOR) == (keeper != Keeper.GUEST);
        if (!here) {
            String why = keeper == Keeper.GUEST
                    ? "no page state: the host's KVM writes this table"
                    : "no page state: this kernel keeps it in the hyp_vmemmap";
            fields.add(58, 55, "software", why);
            return;
        }
        fields.add(58, 57, "software", "not used");
        PageState state = PageState.ofSoftwareBits(fields.descriptor);
        fields.add(56, 55, "software", "page state: " + state.words());
    }

    // Invalid entries, of which hardware looks at bit 0 alone.

    private void invalid(Fields fields) {
        if (fields.descriptor == 0 || !stage2()) {
            fields.add(
                    63,
                    1,
                    ExplainedField.IGNORED,
                    fields.descriptor == 0 ? "not looked at" : "left over from a mapping that was here");
        } else if (keeper == Keeper.LINUX
                || !(reading.annotations()
                        instanceof Fact.Known<Annotation.Format>(Annotation.Format format, String _))) {
            fields.add(63, 1, "annotation", "not known: the kernel's release is not");
        } else if (format == Annotation.Format.OWNER_ID) {
            ownerId(fields);
        } else {
            typed(fields);
        }
        fields.add(0, 0, "VALID", "invalid: a translation fault");
    }

    /// KVM_INVALID_PTE_OWNER_MASK and KVM_INVALID_PTE_LOCKED, 6.1 to 6.19.
    private static void ownerId(Fields fields) {
        fields.add(63, 11, "annotation", fields.value(63, 11) == 0 ? "not used" : "no kernel writes this");
        fields.add(10, 10, "locked", fields.value(10, 10) == 0 ? "no update under way" : "an update was under way");
        fields.add(
                9,
                2,
                "owner id",
                switch ((int) fields.value(9, 2)) {
                    case 0 -> "the host";
                    case 1 -> "the hypervisor";
                    default -> "no owner that kernels annotate";
                });
        fields.add(1, 1, "annotation", fields.value(1, 1) == 0 ? "not used" : "no kernel writes this");
    }

    /// kvm_invalid_pte_type, 7.0 and later.
    private static void typed(Fields fields) {
        int type = (int) fields.value(63, 60);
        fields.add(
                63,
                60,
                "type",
                switch (type) {
                    case 1 -> "locked: an update was under way";
                    case 2 -> "donation";
                    case 3 -> "poisoned: taken back by force";
                    default -> "no kernel writes this";
                });
        if (type != 2) {
            fields.add(59, 1, "payload", fields.value(59, 1) == 0 ? "none" : "no kernel writes this");
            return;
        }
        int owner = (int) fields.value(3, 1);
        if (owner == 2) {
            fields.add(59, 20, "guest frame", "where the guest has the page");
            fields.add(19, 4, "VM handle", "the guest");
        } else {
            fields.add(59, 4, "payload", fields.value(59, 4) == 0 ? "none" : "no kernel writes this");
        }
        fields.add(
                3,
                1,
                "owner id",
                switch (owner) {
                    case 0 -> "the host";
                    case 1 -> "the hypervisor";
                    case 2 -> "a guest";
                    default -> "no owner that kernels annotate";
                });
    }

    /// The fields of one descriptor, in descending order and without a gap.
    private static final class Fields {
        private final long descriptor;
        private final List<ExplainedField> list = new ArrayList<>();
        private int next = 63;

        Fields(long descriptor) {
            this.descriptor = descriptor;
        }

        long value(int high, int low) {
            return descriptor >>> low & -1L >>> (63 - (high - low));
        }

        void add(int high, int low, String name, String meaning) {
            add(high, low, name, value(high, low), meaning);
        }

        void add(int high, int low, String name, long value, String meaning) {
            if (high != next) {
                throw new AssertionError("bit " + next + " of the descriptor comes next, not bit " + high);
            }
            list.add(new ExplainedField(high, low, name, value, meaning));
            next = low - 1;
        }

        void reserved(int high, int low) {
            add(high, low, ExplainedField.RES0, value(high, low) == 0 ? "has to be 0" : "has to be 0, and is not");
        }

        void ignored(int high, int low) {
            add(high, low, ExplainedField.IGNORED, "not looked at");
        }
    }
}
