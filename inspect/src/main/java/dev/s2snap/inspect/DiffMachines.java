package dev.s2snap.inspect;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.MachineTables;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.vmsa.LeafAttributes;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.TreeMap;

/// How two machines differ, apart from what their tables map.
final class DiffMachines {
    /// SCTLR_ELx.WXN (D24.2).
    private static final long WXN = 1 << 19;

    /// ID_AA64MMFR1_EL1.XNX (D24.2).
    private static final long XNX = 0xfL << 28;

    /// Registers that say what entries mean, and the bits of them that do.
    private static final Map<String, Long> STAGE2 = new TreeMap<>(Map.of(
            "VTCR_EL2",
            -1L,
            "HCR_EL2",
            LeafAttributes.HCR_FWB | MachineTables.HCR_VM | MachineTables.HCR_E2H,
            "ID_AA64MMFR1_EL1",
            XNX));

    private static final Map<String, Long> EL2 =
            new TreeMap<>(Map.of("TCR_EL2", -1L, "TCR2_EL2", -1L, "MAIR_EL2", -1L, "SCTLR_EL2", WXN));

    private static final Map<String, Long> EL1 =
            new TreeMap<>(Map.of("TCR_EL1", -1L, "TCR2_EL1", -1L, "MAIR_EL1", -1L, "SCTLR_EL1", WXN));

    private DiffMachines() {}

    static List<String> of(Reading a, Reading b) {
        List<String> differences = new ArrayList<>();
        if (!a.era().optional().equals(b.era().optional())) {
            differences.add("kernel: " + era(a) + " -> " + era(b));
        }
        geometry("host", a.machine().host(), b.machine().host(), differences);
        geometry("hyp", a.machine().hyp(), b.machine().hyp(), differences);
        if (!a.machine().regions().optional().equals(b.machine().regions().optional())) {
            differences.add("memory: " + regions(a) + " -> " + regions(b));
        }
        linearMap(a, b, differences);
        Map<String, Long> registers = new TreeMap<>(STAGE2);
        registers.putAll(EL2);
        registers.forEach((name, mask) -> {
            OptionalLong old = masked(a.machine().registers(), name, mask);
            OptionalLong now = masked(b.machine().registers(), name, mask);
            if (!old.equals(now)) {
                differences.add(name + ": " + value(old) + " -> " + value(now)
                        + (mask == -1 ? "" : ", as far as it matters here"));
            }
        });
        return differences;
    }

    /// Whether equal bits in a table that `selector` names mean the same in both.
    static boolean alike(Machine a, Machine b, TableSelector selector, TableSelector other) {
        Map<String, Long> registers = switch (selector.kind()) {
            case HOST, GUEST, GUEST_VMID, GUEST_HANDLE, GIVEN -> STAGE2;
            case HYP, HYP_UPPER -> EL2;
            case EL1_LOWER, EL1_UPPER -> EL1;
        };
        Registers mine = registers(a, selector);
        Registers theirs = registers(b, other);
        return registers.entrySet().stream()
                .allMatch(register -> masked(mine, register.getKey(), register.getValue())
                        .equals(masked(theirs, register.getKey(), register.getValue())));
    }

    private static Registers registers(Machine machine, TableSelector selector) {
        return switch (selector.kind()) {
            case GUEST, GUEST_VMID, GUEST_HANDLE ->
                machine.guestRegisters().get(selector.guest(machine).index());
            default -> machine.registers();
        };
    }

    private static OptionalLong masked(Registers registers, String name, long mask) {
        OptionalLong value = registers.get(name);
        return value.isEmpty() ? value : OptionalLong.of(value.getAsLong() & mask);
    }

    private static String value(OptionalLong value) {
        return value.isEmpty() ? "not known" : "0x" + Long.toHexString(value.getAsLong());
    }

    private static String era(Reading reading) {
        return switch (reading.era()) {
            case Fact.Known<Era>(Era era, String _) -> era.releases();
            case Fact.Unknown<Era> _ -> "not known";
        };
    }

    private static void geometry(
            String label, Fact<TranslationTable> a, Fact<TranslationTable> b, List<String> differences) {
        String old = geometry(a);
        String now = geometry(b);
        if (!old.equals(now)) {
            differences.add(label + ": " + old + " -> " + now);
        }
    }

    private static String geometry(Fact<TranslationTable> fact) {
        if (!(fact instanceof Fact.Known<TranslationTable>(TranslationTable table, String _))) {
            return "not known";
        }
        TableGeometry geometry = table.geometry();
        return geometry.regime().title() + ", " + (geometry.granule() >>> 10) + "K granule, " + geometry.inputBits()
                + "-bit input, start level " + geometry.startLevel() + ", " + geometry.outputBits() + "-bit output";
    }

    /// Kernels put the linear map of EL2 at a random address each time they start.
    private static void linearMap(Reading a, Reading b, List<String> differences) {
        if (a.machine().hyp() instanceof Fact.Known<TranslationTable>(TranslationTable mine, String _)
                && b.machine().hyp() instanceof Fact.Known<TranslationTable>(TranslationTable theirs, String _)) {
            long old = OwnershipRuns.linearDistance(a.walk(mine).runs());
            long now = OwnershipRuns.linearDistance(b.walk(theirs).runs());
            if (old != now) {
                differences.add("EL2 has physical addresses at 0x" + Long.toHexString(old) + " -> 0x"
                        + Long.toHexString(now) + " and up, which is chosen anew at each start");
            }
        }
    }

    private static String regions(Reading reading) {
        if (!(reading.machine().regions()
                instanceof Fact.Known<List<MemoryRegion>>(List<MemoryRegion> regions, String _))) {
            return "not known";
        }
        long size = regions.stream().mapToLong(MemoryRegion::size).sum();
        return ByteText.sum(size) + " in " + regions.size() + (regions.size() == 1 ? " region" : " regions")
                + (regions.isEmpty()
                        ? ""
                        : " from 0x" + Long.toHexString(regions.getFirst().base()));
    }
}
