package dev.s2snap.inspect;

import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.vmsa.LeafAttributes;
import dev.s2snap.vmsa.TranslationTable;
import java.util.OptionalLong;

/// Which registers the attributes of which table depend on.
final class Attributes {

    private Attributes() {}

    static LeafAttributes host(Machine machine, TranslationTable table) {
        return stage2(table, machine.registers(), machine.registers());
    }

    static LeafAttributes guest(Machine machine, TranslationTable table, int index) {
        return stage2(table, machine.guestRegisters().get(index), machine.registers());
    }

    private static LeafAttributes stage2(TranslationTable table, Registers registers, Registers identification) {
        return LeafAttributes.stage2(
                table.geometry(),
                registers.get("VTCR_EL2").orElse(0),
                registers.get("HCR_EL2"),
                identification.get("ID_AA64MMFR1_EL1"));
    }

    /// Of any stage 1: each exception level has its registers.
    static LeafAttributes stage1(Machine machine, TranslationTable table) {
        Registers registers = machine.registers();
        String level = switch (table.geometry().regime()) {
            case EL1_0, EL1_0_UPPER -> "_EL1";
            default -> "_EL2";
        };
        return LeafAttributes.stage1(
                table.geometry(),
                registers.get("TCR" + level).orElse(0),
                registers.get("TCR2" + level),
                registers.get("MAIR" + level),
                registers.get("SCTLR" + level));
    }

    /// Of a table of which only its geometry is known.
    static LeafAttributes given(Machine machine, TranslationTable table) {
        return table.geometry().regime().stage2()
                ? LeafAttributes.stage2(
                        table.geometry(),
                        0,
                        OptionalLong.empty(),
                        machine.registers().get("ID_AA64MMFR1_EL1"))
                : stage1(machine, table);
    }
}
