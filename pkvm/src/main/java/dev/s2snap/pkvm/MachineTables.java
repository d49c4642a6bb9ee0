package dev.s2snap.pkvm;

import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;

/// Which registers hold which table.
///
/// Under pKVM every CPU that is not running a guest has the host's table in VTTBR_EL2, with VMID 0, and
/// HCR_EL2.VM set once `__pkvm_prot_finalize` ran on it. The hypervisor's own table is always in TTBR0_EL2.
public final class MachineTables {

    /// HCR_EL2.VM: stage 2 is on.
    public static final long HCR_VM = 1;

    /// HCR_EL2.E2H (bit 34): TCR_EL2 has the layout of TCR_EL1. Set under hVHE, clear under nVHE.
    public static final long HCR_E2H = 1L << 34;

    private MachineTables() {}

    /// @throws dev.s2snap.vmsa.GeometryException if the registers contradict each other
    public static Fact<TranslationTable> host(PhysicalMemory memory, Registers registers) {
        OptionalLong hcr = registers.get("HCR_EL2");
        OptionalLong vttbr = registers.get("VTTBR_EL2");
        if (hcr.isEmpty() || vttbr.isEmpty() || registers.get("VTCR_EL2").isEmpty()) {
            return missing(registers, "VTTBR_EL2", "VTCR_EL2", "HCR_EL2");
        }
        if ((hcr.getAsLong() & HCR_VM) == 0) {
            return Fact.unknown("HCR_EL2.VM is 0: this host runs without a stage 2");
        }
        if (vmid(vttbr.getAsLong()) != 0) {
            return Fact.unknown("VTTBR_EL2 holds VMID " + vmid(vttbr.getAsLong()) + ": this CPU was running a guest");
        }
        return stage2(memory, registers);
    }

    /// @throws dev.s2snap.vmsa.GeometryException if the registers contradict each other
    public static Fact<TranslationTable> hyp(PhysicalMemory memory, Registers registers) {
        OptionalLong hcr = registers.get("HCR_EL2");
        OptionalLong ttbr = registers.get("TTBR0_EL2");
        OptionalLong tcr = registers.get("TCR_EL2");
        if (hcr.isEmpty() || ttbr.isEmpty() || tcr.isEmpty()) {
            return missing(registers, "TTBR0_EL2", "TCR_EL2", "HCR_EL2");
        }
        boolean e2h = (hcr.getAsLong() & HCR_E2H) != 0;
        return stage1(memory, registers, e2h ? TranslationRegime.EL2_0 : TranslationRegime.EL2, 0);
    }

    /// The upper range of the hypervisor's stage 1. pKVM does not use it, and turns it off where the register has a bit
    /// for that (TCR_EL2.EPD1).
    ///
    /// @throws dev.s2snap.vmsa.GeometryException if the registers contradict each other
    public static Fact<TranslationTable> hypUpper(PhysicalMemory memory, Registers registers) {
        OptionalLong hcr = registers.get("HCR_EL2");
        if (hcr.isEmpty()
                || registers.get("TTBR1_EL2").isEmpty()
                || registers.get("TCR_EL2").isEmpty()) {
            return missing(registers, "TTBR1_EL2", "TCR_EL2", "HCR_EL2");
        }
        if ((hcr.getAsLong() & HCR_E2H) == 0) {
            return Fact.unknown("HCR_EL2.E2H is 0: EL2 has one range of addresses, that of TTBR0_EL2");
        }
        return stage1(memory, registers, TranslationRegime.EL2_0_UPPER, 1);
    }

    /// A range of the host's own stage 1. Its tables, and what it maps, are at addresses that the host's stage 2
    /// translates; under pKVM that is the identity, and so the tables are read where the register says.
    ///
    /// @throws dev.s2snap.vmsa.GeometryException if the registers contradict each other
    public static Fact<TranslationTable> el1(PhysicalMemory memory, Registers registers, boolean upper) {
        String ttbr = upper ? "TTBR1_EL1" : "TTBR0_EL1";
        if (registers.get(ttbr).isEmpty() || registers.get("TCR_EL1").isEmpty()) {
            return missing(registers, ttbr, "TCR_EL1");
        }
        return stage1(
                memory, registers, upper ? TranslationRegime.EL1_0_UPPER : TranslationRegime.EL1_0, upper ? 1 : 0);
    }

    /// A stage 1 whose registers are there.
    private static Fact<TranslationTable> stage1(
            PhysicalMemory memory, Registers registers, TranslationRegime regime, int range) {
        String el = regime == TranslationRegime.EL1_0 || regime == TranslationRegime.EL1_0_UPPER ? "EL1" : "EL2";
        long tcr = registers.get("TCR_" + el).orElseThrow();
        // EPD0, bit 7, and EPD1, bit 23, of the layout with two ranges: no walk, every access faults (D24.2).
        if (regime.withEl0() && (tcr >>> (range == 0 ? 7 : 23) & 1) != 0) {
            return Fact.unknown("TCR_" + el + ".EPD" + range + " is 1: this range is not translated");
        }
        // TCR2_ELx.D128, bit 5 (FEAT_D128, D24.2).
        if ((registers.get("TCR2_" + el).orElse(0) & 1 << 5) != 0) {
            return Fact.unknown("TCR2_" + el + ".D128 = 1: tables of 128-bit descriptors are not read");
        }
        TableGeometry geometry = TableGeometry.ofTcr(regime, tcr);
        String ttbr = "TTBR" + range + "_" + el;
        long root = geometry.rootAddress(registers.get(ttbr).orElseThrow());
        return Fact.known(new TranslationTable(memory, geometry, root), ttbr + ", TCR_" + el);
    }

    /// @throws dev.s2snap.vmsa.GeometryException if the registers contradict each other
    public static List<Guest> guests(PhysicalMemory memory, List<Registers> guestRegisters) {
        List<Guest> guests = new ArrayList<>();
        for (Registers registers : guestRegisters) {
            int vmid = vmid(registers.get("VTTBR_EL2").orElse(0));
            guests.add(new Guest(guests.size(), vmid, stage2(memory, registers)));
        }
        return List.copyOf(guests);
    }

    private static Fact<TranslationTable> stage2(PhysicalMemory memory, Registers registers) {
        OptionalLong vttbr = registers.get("VTTBR_EL2");
        OptionalLong vtcr = registers.get("VTCR_EL2");
        if (vttbr.isEmpty() || vtcr.isEmpty()) {
            return missing(registers, "VTTBR_EL2", "VTCR_EL2");
        }
        TableGeometry geometry = TableGeometry.ofVtcr(vtcr.getAsLong());
        return Fact.known(
                new TranslationTable(memory, geometry, geometry.rootAddress(vttbr.getAsLong())), "VTTBR_EL2, VTCR_EL2");
    }

    /// Says which of the registers that are needed are not there.
    private static <T> Fact<T> missing(Registers registers, String... needed) {
        List<String> names = new ArrayList<>(List.of(needed));
        names.removeIf(name -> registers.get(name).isPresent());
        return Fact.unknown("the registers lack " + String.join(", ", names));
    }

    /// VTTBR_EL2.VMID, bits 63:48.
    public static int vmid(long vttbr) {
        return (int) (vttbr >>> 48);
    }
}
