package dev.s2snap.inspect;

import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.vmsa.LeafAttributes;
import dev.s2snap.vmsa.TranslationTable;

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

    static LeafAttributes hyp(Machine machine, TranslationTable table) {
        Registers registers = machine.registers();
        return LeafAttributes.stage1(
                table.geometry(),
                registers.get("TCR_EL2").orElse(0),
                registers.get("TCR2_EL2"),
                registers.get("MAIR_EL2"),
                registers.get("SCTLR_EL2"));
    }
}
