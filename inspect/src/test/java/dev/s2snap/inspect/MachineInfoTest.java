package dev.s2snap.inspect;

import static dev.s2snap.inspect.MadeMachine.HOST_PAGE;
import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.MemoryRegion;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.junit.jupiter.api.Test;

class MachineInfoTest {

    private static String info(MadeMachine machine) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try {
            MachineInfo.write(Reading.of(machine), List.of(new MachineInfo.Line("name", "made", "")), out);
        } catch (IOException e) {
            throw new AssertionError(e);
        }
        return out.toString(StandardCharsets.UTF_8);
    }

    @Test
    void everyFactHasItsSource() {
        String info = info(new MadeMachine()
                .era(Era.V6_1)
                .regions(
                        new MemoryRegion(0x4000_0000L, 0x1000_0000L, 0),
                        new MemoryRegion(0x5000_0000L, 0x1000, MemoryRegion.NOMAP))
                .guest(3, 0, 0x1000, HOST_PAGE));
        assertThat(info)
                .contains("  name                made\n")
                .contains("  releases            6.1 to 6.13 (era 6.1)  [test]\n")
                .contains("  annotations         owner id in bits 9:2  [test]\n")
                .contains("  host page states    descriptor bits 56:55  [the kernel's releases]\n")
                .contains("  EL2                 nVHE (E2H = 0)  [HCR_EL2]\n")
                .contains("  0x000040000000-0x000050000000  256M  [test]\n")
                .contains("  0x000050000000-0x000050001000  4K NOMAP  [test]\n")
                .contains("                      VMID 3, FWB = 0\n")
                .contains("  VTCR_EL2            0x0000000080023590\n");
    }

    @Test
    void whatIsNotKnownIsListedWithTheReason() {
        assertThat(info(new MadeMachine().withoutHost().without("HCR_EL2")))
                .contains("  host                ?\n")
                .contains("  guests              none known\n")
                .endsWith("""
                        not known
                          releases            there is no host table to infer it from
                          annotations         there is no host table to infer it from
                          host page states    there is no host table to infer it from
                          hyp page states     there is no host table to infer it from
                          EL2                 HCR_EL2 is needed
                          host stage 2        HCR_EL2 is needed
                          physical address    ID_AA64MMFR0_EL1 is needed
                          stage 2 FWB         ID_AA64MMFR2_EL1 is needed
                          memory map          it was not said
                          host                there is none
                          hyp:upper           the registers lack TTBR1_EL2, TCR_EL2, HCR_EL2
                          el1:lower           the registers lack TTBR0_EL1, TCR_EL1
                          el1:upper           the registers lack TTBR1_EL1, TCR_EL1
                          hyp_vmemmap         the kernel is not known: there is no host table to infer it from
                        """);
    }
}
