package dev.s2snap.pkvm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.vmsa.GeometryException;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class MachineTablesTest {
    /// VM, RW.
    private static final long HCR = 0x8000_0001L;

    private static final PhysicalMemory NOTHING = new PhysicalMemory() {
        @Override
        public MemorySegment bytes() {
            return MemorySegment.NULL;
        }

        @Override
        public long offset(long address, long size) {
            return ABSENT;
        }
    };

    /// Pairs of register and value.
    private static Registers registers(Object... pairs) {
        Map<String, Long> values = new HashMap<>();
        for (int i = 0; i < pairs.length; i += 2) {
            values.put((String) pairs[i], ((Number) pairs[i + 1]).longValue());
        }
        return new Registers(values);
    }

    private static Registers host() {
        return registers("HCR_EL2", HCR, "VTTBR_EL2", 0x4626_a001L, "VTCR_EL2", 0x802a_3558L);
    }

    private static Registers without(Registers registers, String name) {
        Map<String, Long> values = new HashMap<>(registers.all());
        values.remove(name);
        return new Registers(values);
    }

    private static Registers with(Registers registers, String name, long value) {
        Map<String, Long> values = new HashMap<>(registers.all());
        values.put(name, value);
        return new Registers(values);
    }

    @Test
    void theHostsTableIsInVttbrWithItsShapeInVtcr() {
        assertThat(MachineTables.host(NOTHING, host()))
                .isEqualTo(Fact.known(
                        new TranslationTable(
                                NOTHING,
                                new TableGeometry(TranslationRegime.STAGE2, 12, 40, 1, false, 40),
                                0x4626_a000L),
                        "VTTBR_EL2, VTCR_EL2"));
    }

    @ParameterizedTest
    @CsvSource({"HCR_EL2", "VTTBR_EL2", "VTCR_EL2"})
    void aMissingRegisterMakesTheHostsTableUnknown(String name) {
        assertThat(MachineTables.host(NOTHING, without(host(), name)))
                .isEqualTo(Fact.unknown("the registers lack " + name));
    }

    @Test
    void allMissingRegistersAreNamed() {
        assertThat(MachineTables.host(NOTHING, registers()))
                .isEqualTo(Fact.unknown("the registers lack VTTBR_EL2, VTCR_EL2, HCR_EL2"));
        assertThat(MachineTables.hyp(NOTHING, registers("HCR_EL2", HCR)))
                .isEqualTo(Fact.unknown("the registers lack TTBR0_EL2, TCR_EL2"));
    }

    @Test
    void aHostWithoutStage2HasNoTable() {
        assertThat(MachineTables.host(NOTHING, with(host(), "HCR_EL2", 0x8000_0000L)))
                .isEqualTo(Fact.unknown("HCR_EL2.VM is 0: this host runs without a stage 2"));
    }

    @Test
    void aCpuThatRanAGuestDoesNotShowTheHostsTable() {
        assertThat(MachineTables.host(NOTHING, with(host(), "VTTBR_EL2", 0x8001_0000_4626_a000L)))
                .isEqualTo(Fact.unknown("VTTBR_EL2 holds VMID 32769: this CPU was running a guest"));
    }

    @Test
    void registersThatContradictEachOtherAreRefused() {
        // 44 bits of input do not fit a root at level 1.
        assertThatThrownBy(() -> MachineTables.host(NOTHING, with(host(), "VTCR_EL2", 0x802c_3554L)))
                .isInstanceOf(GeometryException.class)
                .hasMessageContaining("32 pages at start level 1");
        assertThatThrownBy(() ->
                        MachineTables.hyp(NOTHING, registers("HCR_EL2", HCR, "TTBR0_EL2", 0x1000, "TCR_EL2", 0xf510)))
                .isInstanceOf(GeometryException.class)
                .hasMessage("TCR_EL2.TG0 = 3 is reserved");
        assertThatThrownBy(() -> MachineTables.guests(
                        NOTHING, List.of(registers("VTTBR_EL2", 0x1_0000_0000_1000L, "VTCR_EL2", 0))))
                .isInstanceOf(GeometryException.class);
    }

    /// PA[51:48] are in bits 5:2, where the output size is 52 bits and the descriptors can hold them (D24.2).
    @ParameterizedTest
    @CsvSource({
        // 64K with LPA.
        "0x802e758c, 0x0000_0000_4001_002c, 0x000b_0000_4001_0000",
        // 4K with LPA2; 16 concatenated pages.
        "0x1802e358c, 0x0000_0000_4001_003c, 0x000f_0000_4001_0000",
        // The same bits mean nothing with an output size of 48 bits.
        "0x802d7590, 0x0000_0000_4001_002c, 0x0000_0000_4001_0000",
    })
    void the52BitRootIsFoldedIntoVttbr(String vtcr, String vttbr, String root) {
        Registers registers = registers(
                "HCR_EL2", HCR, "VTCR_EL2", Long.decode(vtcr), "VTTBR_EL2", Long.decode(vttbr.replace("_", "")));
        assertThat(MachineTables.host(NOTHING, registers).optional())
                .map(TranslationTable::root)
                .contains(Long.decode(root.replace("_", "")));
    }

    @ParameterizedTest
    @CsvSource({
        // nVHE: output size in TCR_EL2.PS, bits 18:16, DS in 32.
        "0x80000001, 0x80823510, 0x46021001, EL2, 48, 0, 0x0000000046021000, 40",
        "0x80000001, 0x18086350c, 0x46021004, EL2, 52, -1, 0x0001000046021000, 52",
        "0x80000001, 0x18085350c, 0x46021004, EL2, 52, -1, 0x0000000046021000, 48",
        // hVHE: IPS in 34:32, DS in 59.
        "0x480000001, 0x0000000200003510, 0x46021000, EL2_0, 48, 0, 0x0000000046021000, 40",
        "0x480000001, 0x080000060000350c, 0x46021008, EL2_0, 52, -1, 0x0002000046021000, 52",
        "0x480000001, 0x080000050006350c, 0x46021008, EL2_0, 52, -1, 0x0000000046021000, 48",
    })
    void theHypervisorsTableIsInTtbr0WithTheLayoutOfTcrThatE2hSays(
            String hcr,
            String tcr,
            String ttbr,
            TranslationRegime regime,
            int inputBits,
            int start,
            String root,
            int outputBits) {
        Registers registers =
                registers("HCR_EL2", Long.decode(hcr), "TCR_EL2", Long.decode(tcr), "TTBR0_EL2", Long.decode(ttbr));
        assertThat(MachineTables.hyp(NOTHING, registers))
                .isEqualTo(Fact.known(
                        new TranslationTable(
                                NOTHING,
                                new TableGeometry(regime, 12, inputBits, start, inputBits == 52, outputBits),
                                Long.decode(root)),
                        "TTBR0_EL2, TCR_EL2"));
    }

    @Test
    void theUpperRangeOfEl2IsInTtbr1IfThereIsOne() {
        Registers registers =
                registers("HCR_EL2", 0x4_8000_0000L, "TCR_EL2", 0x5_b550_3510L, "TTBR1_EL2", 0x4602_1000L);
        assertThat(MachineTables.hypUpper(NOTHING, registers))
                .isEqualTo(Fact.known(
                        new TranslationTable(
                                NOTHING,
                                new TableGeometry(TranslationRegime.EL2_0_UPPER, 12, 48, 0, false, 48),
                                0x4602_1000L),
                        "TTBR1_EL2, TCR_EL2"));
        assertThat(MachineTables.hypUpper(NOTHING, with(registers, "HCR_EL2", 0x8000_0000L)))
                .isEqualTo(Fact.unknown("HCR_EL2.E2H is 0: EL2 has one range of addresses, that of TTBR0_EL2"));
        // As pKVM has it under hVHE.
        assertThat(MachineTables.hypUpper(NOTHING, with(registers, "TCR_EL2", 0x35_b590_3510L)))
                .isEqualTo(Fact.unknown("TCR_EL2.EPD1 is 1: this range is not translated"));
        assertThat(MachineTables.hypUpper(NOTHING, without(registers, "TTBR1_EL2")))
                .isEqualTo(Fact.unknown("the registers lack TTBR1_EL2"));
    }

    @Test
    void theHostsOwnStage1HasTwoRanges() {
        // 6.12 on a Neoverse N1; the upper root has an ASID above it and CnP below.
        Registers registers = registers(
                "TCR_EL1", 0x50_01f5_b550_3510L, "TTBR0_EL1", 0x4327_2001L, "TTBR1_EL1", 0x46_0000_41f1_6001L);
        assertThat(MachineTables.el1(NOTHING, registers, true))
                .isEqualTo(Fact.known(
                        new TranslationTable(
                                NOTHING,
                                new TableGeometry(TranslationRegime.EL1_0_UPPER, 12, 48, 0, false, 48),
                                0x41f1_6000L),
                        "TTBR1_EL1, TCR_EL1"));
        assertThat(MachineTables.el1(NOTHING, registers, false))
                .isEqualTo(Fact.known(
                        new TranslationTable(
                                NOTHING,
                                new TableGeometry(TranslationRegime.EL1_0, 12, 48, 0, false, 48),
                                0x4327_2000L),
                        "TTBR0_EL1, TCR_EL1"));
        assertThat(MachineTables.el1(NOTHING, without(registers, "TCR_EL1"), false))
                .isEqualTo(Fact.unknown("the registers lack TCR_EL1"));
        assertThat(MachineTables.el1(NOTHING, with(registers, "TCR_EL1", 0x5_b550_3590L), false))
                .isEqualTo(Fact.unknown("TCR_EL1.EPD0 is 1: this range is not translated"));
        assertThat(MachineTables.el1(NOTHING, with(registers, "TCR2_EL1", 1 << 5), true))
                .isEqualTo(Fact.unknown("TCR2_EL1.D128 = 1: tables of 128-bit descriptors are not read"));
    }

    @ParameterizedTest
    @CsvSource({"HCR_EL2", "TTBR0_EL2", "TCR_EL2"})
    void aMissingRegisterMakesTheHypervisorsTableUnknown(String name) {
        Registers registers = registers("HCR_EL2", HCR, "TTBR0_EL2", 0x4602_1000L, "TCR_EL2", 0x8082_3510L);
        assertThat(MachineTables.hyp(NOTHING, without(registers, name)))
                .isEqualTo(Fact.unknown("the registers lack " + name));
    }

    @Test
    void guestsAreNumberedInTheOrderOfTheirRegisters() {
        List<Guest> guests = MachineTables.guests(
                NOTHING,
                List.of(
                        registers("VTTBR_EL2", 0x0002_0000_8000_0000L, "VTCR_EL2", 0x802a_3558L),
                        registers("VTCR_EL2", 0x802a_3558L),
                        registers("VTTBR_EL2", 0xffff_0000_9000_0000L)));
        assertThat(guests)
                .containsExactly(
                        new Guest(
                                0,
                                2,
                                Fact.known(
                                        new TranslationTable(
                                                NOTHING,
                                                new TableGeometry(TranslationRegime.STAGE2, 12, 40, 1, false, 40),
                                                0x8000_0000L),
                                        "VTTBR_EL2, VTCR_EL2")),
                        new Guest(1, 0, Fact.unknown("the registers lack VTTBR_EL2")),
                        new Guest(2, 0xffff, Fact.unknown("the registers lack VTCR_EL2")));
    }

    @Test
    void registersDoNotChangeWithTheMapTheyWereMadeFrom() {
        Map<String, Long> values = new HashMap<>(Map.of("VTTBR_EL2", 1L));
        Registers registers = new Registers(values);
        values.put("VTCR_EL2", 2L);
        assertThat(registers.get("VTTBR_EL2")).hasValue(1);
        assertThat(registers.get("VTCR_EL2")).isEmpty();
        assertThat(new ArrayList<>(registers("B", 1, "A", 2).all().keySet())).containsExactly("A", "B");
        assertThatThrownBy(() -> registers.all().clear()).isInstanceOf(UnsupportedOperationException.class);
    }
}
