package dev.s2snap.pkvm;

import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
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
        TableGeometry geometry = TableGeometry.ofTcrEl2(tcr.getAsLong(), e2h);
        int outputSize = (int) (tcr.getAsLong() >>> (e2h ? 32 : 16)) & 7;
        return Fact.known(
                new TranslationTable(memory, geometry, geometry.rootAddress(ttbr.getAsLong(), outputSize)),
                "TTBR0_EL2, TCR_EL2");
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
        int outputSize = (int) (vtcr.getAsLong() >>> 16) & 7;
        return Fact.known(
                new TranslationTable(memory, geometry, geometry.rootAddress(vttbr.getAsLong(), outputSize)),
                "VTTBR_EL2, VTCR_EL2");
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
