package dev.s2snap.inspect;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.inspect.ExplainFields.Keeper;
import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.vmsa.LeafAttributes;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Fields of descriptors against the tables of D8.3 in the Arm ARM.
class ExplainFieldsTest {
    private static final Map<String, Long> REGISTERS = Map.of(
            "HCR_EL2", 1L,
            "VTCR_EL2", 0x8002_3590L,
            "MAIR_EL2", 0x4_0044_ffffL,
            "SCTLR_EL2", 1L << 19,
            "MAIR_EL1", 0x4_0044_ffffL,
            "SCTLR_EL1", 0L);

    private static ExplainFields fields(TableGeometry geometry, Keeper keeper, Era era, Map<String, Long> values) {
        return fields(Reading.of(new MadeMachine(), era, "test"), geometry, keeper, values);
    }

    private static ExplainFields fields(
            Reading reading, TableGeometry geometry, Keeper keeper, Map<String, Long> values) {
        Registers registers = new Registers(values);
        LeafAttributes attributes = geometry.regime().stage2()
                ? LeafAttributes.stage2(
                        geometry,
                        registers.get("VTCR_EL2").orElse(0),
                        registers.get("HCR_EL2"),
                        OptionalLong.of(1 << 28))
                : LeafAttributes.stage1(
                        geometry,
                        0x3000,
                        OptionalLong.empty(),
                        registers.get(geometry.regime().id().startsWith("el1") ? "MAIR_EL1" : "MAIR_EL2"),
                        registers.get("SCTLR_EL2"));
        return new ExplainFields(reading, geometry, keeper, attributes, registers);
    }

    private static TableGeometry stage2(int granuleShift, boolean lpa2) {
        return new TableGeometry(
                TranslationRegime.STAGE2,
                granuleShift,
                granuleShift == 16 ? 42 : 48,
                granuleShift == 16 ? 2 : granuleShift == 14 ? 1 : 0,
                lpa2);
    }

    private static TableGeometry stage1(TranslationRegime regime, int granuleShift, boolean lpa2) {
        int bits = granuleShift == 14 ? 47 : 48;
        int levels = Math.ceilDiv(bits - granuleShift, granuleShift - 3);
        return new TableGeometry(regime, granuleShift, bits, 4 - levels, lpa2);
    }

    static List<TableGeometry> geometries() {
        List<TableGeometry> all = new ArrayList<>();
        for (int granuleShift : new int[] {12, 14, 16}) {
            for (boolean lpa2 : new boolean[] {false, true}) {
                if (!lpa2 || granuleShift != 16) {
                    all.add(stage2(granuleShift, lpa2));
                    for (TranslationRegime regime : TranslationRegime.values()) {
                        if (!regime.stage2()) {
                            all.add(stage1(regime, granuleShift, lpa2));
                        }
                    }
                }
            }
        }
        return all;
    }

    /// Whatever the bits are, each of the 64 is in exactly one field, and the fields have the bits that they claim.
    @ParameterizedTest
    @MethodSource("geometries")
    void theFieldsOfADescriptorAreAllOfIt(TableGeometry geometry) {
        Random random = new Random(42);
        for (Keeper keeper : Keeper.values()) {
            for (Era era : Era.values()) {
                ExplainFields fields = fields(geometry, keeper, era, REGISTERS);
                for (int i = 0; i < 200; i++) {
                    long descriptor = i == 0 ? 0 : random.nextLong() & -1L << random.nextInt(3);
                    for (int level = geometry.startLevel(); level <= TableGeometry.LAST_LEVEL; level++) {
                        assertTiled(fields.of(descriptor, level), descriptor);
                    }
                }
            }
        }
    }

    private static void assertTiled(List<ExplainedField> fields, long descriptor) {
        int next = 63;
        for (ExplainedField field : fields) {
            assertThat(field.high()).isEqualTo(next).isGreaterThanOrEqualTo(field.low());
            next = field.low() - 1;
            if (!field.name().equals("output address") && !field.name().equals("next-level table address")) {
                long bits = descriptor >>> field.low() & -1L >>> (63 - (field.high() - field.low()));
                assertThat(field.value()).as(field.toString()).isEqualTo(bits);
            }
        }
        assertThat(next).isEqualTo(-1);
    }

    /// As `[7:6] S2AP 0b11 read and write`.
    private static List<String> words(ExplainFields fields, long descriptor, int level) {
        return fields.of(descriptor, level).stream()
                .filter(field -> !field.blank())
                .map(field ->
                        (field.range() + " " + field.name() + " " + field.digits() + " " + field.meaning()).strip())
                .toList();
    }

    private static List<String> blanks(ExplainFields fields, long descriptor, int level) {
        return fields.of(descriptor, level).stream()
                .filter(ExplainedField::blank)
                .map(field -> field.range() + " " + field.name())
                .toList();
    }

    @Test
    void aPageOfAStage2() {
        ExplainFields fields = fields(stage2(12, false), Keeper.HOST, Era.V6_1, REGISTERS);
        assertThat(words(fields, 0x0080_0000_4000_17ffL, 3))
                .containsExactly(
                        "[58:57] software 0b00 not used",
                        "[56:55] software 0b01 page state: shared",
                        "[54:53] XN[1:0] 0b00 EL1 and EL0 may execute, if they may read",
                        "[52] Contiguous 0 no hint",
                        "[51] DBM 0 not managed by hardware",
                        "[47:12] output address 0x40001000",
                        "[11] FnXS 0 XS is as stage 1 says",
                        "[10] AF 1 accessed",
                        "[9:8] SH 0b11 inner shareable",
                        "[7:6] S2AP 0b11 read and write",
                        "[5:2] MemAttr 0b1111 normal WB, unless stage 1 says less (HCR_EL2.FWB = 0)",
                        "[1] TYPE 1 page",
                        "[0] VALID 1 valid");
        assertThat(blanks(fields, 0x0080_0000_4000_17ffL, 3))
                .containsExactly("[63:59] IGNORED", "[50] RES0", "[49:48] RES0");
    }

    @Test
    void aBlockHasNoTranslationBitAndReservedBitsBelowItsSize() {
        ExplainFields fields = fields(stage2(12, false), Keeper.HOST, Era.V7_0, REGISTERS);
        assertThat(words(fields, 0x0040_0000_0801_0001L, 2))
                .contains(
                        "[58:55] software 0b0000 no page state: this kernel keeps it in the hyp_vmemmap",
                        "[54:53] XN[1:0] 0b10 neither EL1 nor EL0 may execute",
                        "[47:21] output address 0x8000000",
                        "[16] nT 1 not cached while its size changes (FEAT_BBM)",
                        "[10] AF 0 not accessed: an access flag fault, unless hardware sets it",
                        "[9:8] SH 0b00 non-shareable",
                        "[7:6] S2AP 0b00 no access",
                        "[5:2] MemAttr 0b0000 device nGnRnE, unless stage 1 says less (HCR_EL2.FWB = 0)",
                        "[1] TYPE 0 block");
        assertThat(blanks(fields, 0x0040_0000_0801_0001L, 2)).contains("[20:17] RES0", "[15:12] RES0");
        assertThat(words(fields, 0x0040_0000_0802_0001L, 2)).contains("[20:17] RES0 0b0001 has to be 0, and is not");
    }

    @Test
    void everyValueOfAStage2FieldHasItsWords() {
        ExplainFields fields = fields(stage2(12, false), Keeper.GUEST, Era.V7_0, REGISTERS);
        assertThat(words(fields, 0x8178_0000_0000_0a43L | 5 << 2, 3))
                .contains(
                        "[63:59] IGNORED 0x10 not looked at, unless an extension uses them (PBHA in 62:59)",
                        "[56:55] software 0b10 page state: borrowed",
                        "[54:53] XN[1:0] 0b11 EL1 may execute, if it may read; EL0 may not",
                        "[52] Contiguous 1 hint: one of a run of alike entries",
                        "[51] DBM 1 writable for hardware that manages dirty state",
                        "[11] FnXS 1 XS is 0, whatever stage 1 says (FEAT_XS)",
                        "[9:8] SH 0b10 outer shareable",
                        "[7:6] S2AP 0b01 read",
                        "[5:2] MemAttr 0b0101 normal NC, unless stage 1 says less (HCR_EL2.FWB = 0)");
        assertThat(words(fields, 0x0020_0000_0000_0183L, 3))
                .contains(
                        "[54:53] XN[1:0] 0b01 EL0 may execute, if it may read; EL1 may not",
                        "[9:8] SH 0b01 reserved",
                        "[7:6] S2AP 0b10 write");
    }

    @Test
    void withoutItsFeatureBit53IsReserved() {
        Reading without = Reading.of(new MadeMachine().register("ID_AA64MMFR1_EL1", 0), Era.V7_0, "test");
        assertThat(words(fields(without, stage2(12, false), Keeper.HOST, REGISTERS), 0x0060_0000_0000_0003L, 3))
                .contains("[54:53] XN[1:0] 0b11 neither EL1 nor EL0 may execute (bit 53 is RES0 without FEAT_XNX)");
        Reading unknown = Reading.of(new MadeMachine().without("ID_AA64MMFR1_EL1"), Era.V7_0, "test");
        assertThat(words(fields(unknown, stage2(12, false), Keeper.HOST, REGISTERS), 0x0060_0000_0000_0003L, 3))
                .contains("[54:53] XN[1:0] 0b11 EL1 may execute, if it may read; EL0 may not, if the CPU has FEAT_XNX:"
                        + " ID_AA64MMFR1_EL1 is needed");
    }

    @Test
    void registersThatChangeTheMeaningAreAsked() {
        TableGeometry geometry = stage2(12, false);
        ExplainFields forced = fields(
                geometry, Keeper.HOST, Era.V7_0, Map.of("HCR_EL2", LeafAttributes.HCR_FWB, "VTCR_EL2", 1L << 36));
        assertThat(words(forced, 7 << 2 | 3, 3))
                .contains(
                        "[5:2] MemAttr 0b0111 as stage 1 (HCR_EL2.FWB = 1)",
                        "[7:6] S2AP 0b00 part of a permission index: not decoded",
                        "[54:53] XN[1:0] 0b00 part of a permission index: not decoded");
        assertThat(words(fields(geometry, Keeper.HOST, Era.V7_0, Map.of()), 7 << 2 | 3, 3))
                .contains("[5:2] MemAttr 0b0111 depends on HCR_EL2.FWB, which is not known");
        TableGeometry el2 = stage1(TranslationRegime.EL2, 12, false);
        assertThat(words(fields(el2, Keeper.HYP, Era.V7_0, Map.of()), 0x743, 3))
                .contains(
                        "[4:2] AttrIndx 0b000 Attr0 of MAIR_EL2, which is not known",
                        "[54] XN 0 EL2 may execute, unless SCTLR_EL2.WXN is 1, which is not known");
        assertThat(words(fields(el2, Keeper.HYP, Era.V7_0, Map.of("TCR2_EL2", 2L)), 0x743, 3))
                .contains("[7:6] AP[2:1] 0b01 part of a permission index: not decoded");
    }

    @Test
    void aTableOfAStage2HasNoAttributes() {
        ExplainFields fields = fields(stage2(12, false), Keeper.HOST, Era.V6_1, REGISTERS);
        assertThat(words(fields, 0x4faca003L, 1))
                .containsExactly(
                        "[47:12] next-level table address 0x4faca000", "[1] TYPE 1 table", "[0] VALID 1 valid");
        assertThat(blanks(fields, 0x4faca003L, 1))
                .containsExactly("[63:59] RES0", "[58:51] IGNORED", "[50:48] RES0", "[11:2] IGNORED");
        assertThat(words(fields, 0x0800_0000_4fac_a403L, 1))
                .contains(
                        "[63:59] RES0 0x1 has to be 0, and is not",
                        "[11:2] IGNORED 0x100 not looked at; bit 10 is AF where FEAT_HAFT is enabled");
    }

    @Test
    void aTableOfAStage1RestrictsWhatIsBelow() {
        ExplainFields two = fields(stage1(TranslationRegime.EL1_0_UPPER, 12, false), Keeper.LINUX, Era.V6_1, REGISTERS);
        assertThat(words(two, 0xf800_0000_4fac_a003L, 1))
                .startsWith(
                        "[63] NSTable 1 not looked at in Non-secure state",
                        "[62:61] APTable 0b11 read-only and no access from EL0 below",
                        "[60] UXNTable 1 EL0 executes nothing below",
                        "[59] PXNTable 1 EL1 executes nothing below");
        assertThat(words(two, 0x2000_0000_4fac_a003L, 1)).startsWith("[62:61] APTable 0b01 no access from EL0 below");
        assertThat(words(two, 0x4000_0000_4fac_a003L, 1)).startsWith("[62:61] APTable 0b10 read-only below");
        ExplainFields one = fields(stage1(TranslationRegime.EL2, 12, false), Keeper.HYP, Era.V6_1, REGISTERS);
        assertThat(words(one, 0x7800_0000_4fac_a003L, 1))
                .startsWith(
                        "[62:61] APTable 0b11 read-only below; APTable[0] is RES0 here",
                        "[60] XNTable 1 EL2 executes nothing below",
                        "[59] RES0 1 has to be 0, and is not");
        assertThat(words(one, 0x2000_0000_4fac_a003L, 1))
                .startsWith("[62:61] APTable 0b01 no restriction: APTable[0] is RES0 in this regime");
    }

    @Test
    void aPageOfEl2() {
        ExplainFields fields = fields(stage1(TranslationRegime.EL2, 12, false), Keeper.HYP, Era.V6_1, REGISTERS);
        assertThat(words(fields, 0x0140_0000_4000_1753L, 3))
                .containsExactly(
                        "[58:57] software 0b00 not used",
                        "[56:55] software 0b10 page state: borrowed",
                        "[54] XN 1 EL2 may not execute",
                        "[52] Contiguous 0 no hint",
                        "[51] DBM 0 not managed by hardware",
                        "[50] GP 0 not guarded",
                        "[47:12] output address 0x40001000",
                        "[10] AF 1 accessed",
                        "[9:8] SH 0b11 inner shareable",
                        "[7:6] AP[2:1] 0b01 EL2 reads and writes",
                        "[4:2] AttrIndx 0b100 device nGnRE (MAIR_EL2.Attr4 = 0x4)",
                        "[1] TYPE 1 page",
                        "[0] VALID 1 valid");
        assertThat(blanks(fields, 0x0140_0000_4000_1753L, 3))
                .containsExactly("[63:59] IGNORED", "[53] RES0", "[49:48] RES0", "[11] RES0", "[5] NS");
        assertThat(words(fields, 0x0004_0000_4000_1783L, 3))
                .contains(
                        "[54] XN 0 EL2 may execute",
                        "[50] GP 1 guarded: branch targets are checked",
                        "[7:6] AP[2:1] 0b10 EL2 reads; AP[1] is RES1, and is 0");
        assertThat(words(fields, 0x0000_0000_4000_1743L, 3))
                .contains("[54] XN 0 EL2 may execute, but it is writable and SCTLR_EL2.WXN is 1");
    }

    @Test
    void aPageOfARegimeWithEl0() {
        ExplainFields fields = fields(stage1(TranslationRegime.EL1_0, 12, false), Keeper.LINUX, Era.V6_1, REGISTERS);
        assertThat(words(fields, 0x0060_0000_4000_1f03L, 3))
                .contains(
                        "[58:55] software 0b0000 Linux's own",
                        "[54] UXN 1 EL0 may not execute",
                        "[53] PXN 1 EL1 may not execute",
                        "[11] nG 1 not global: of one ASID",
                        "[7:6] AP[2:1] 0b00 EL1 reads and writes, EL0 has no access");
        assertThat(words(fields, 0x0000_0000_4000_1743L, 3))
                .contains(
                        "[54] UXN 0 EL0 may execute",
                        "[53] PXN 0 EL1 may execute, but not what EL0 can write",
                        "[11] nG 0 global",
                        "[7:6] AP[2:1] 0b01 EL1 and EL0 read and write");
        assertThat(words(fields, 0x783, 3)).contains("[7:6] AP[2:1] 0b10 EL1 reads, EL0 has no access");
        assertThat(words(fields, 0x7c3, 3)).contains("[7:6] AP[2:1] 0b11 EL1 and EL0 read");
        assertThat(words(fields, 0x703, 3)).contains("[53] PXN 0 EL1 may execute");
    }

    @Test
    void largerPagesHaveTheirAddressesElsewhere() {
        ExplainFields of64K = fields(stage2(16, false), Keeper.HOST, Era.V6_1, REGISTERS);
        assertThat(words(of64K, 0x0000_0000_4001_a7ffL, 3))
                .contains("[47:16] output address 0xa000040010000", "[15:12] output address 51:48 0b1010");
        assertThat(words(of64K, 0x0000_0000_4000_a7fdL, 2))
                .contains(
                        "[47:29] output address 0xa000040000000",
                        "[16] nT 0 an ordinary block",
                        "[15:12] output address 51:48 0b1010");
        assertThat(words(of64K, 0x0000_0000_4001_a003L, 2))
                .contains(
                        "[47:16] next-level table address 0xa000040010000",
                        "[15:12] next-level table address 51:48 0b1010");
        ExplainFields of16K = fields(stage2(14, false), Keeper.HOST, Era.V6_1, REGISTERS);
        assertThat(blanks(of16K, 0x4000_47ffL, 3)).contains("[13:12] RES0");
        assertThat(blanks(of16K, 0x4000_07fdL, 2)).contains("[24:17] RES0", "[15:12] RES0");
        assertThat(blanks(of16K, 0x4000_4003L, 2)).contains("[13:12] RES0");
    }

    @Test
    void lpa2HasAddressBitsInsteadOfShareability() {
        ExplainFields fields = fields(stage2(12, true), Keeper.HOST, Era.V6_1, REGISTERS);
        assertThat(words(fields, 0x0003_0000_4000_12ffL | 0x400, 3))
                .contains(
                        "[49:12] output address 0xb000040001000",
                        "[9:8] output address 51:50 0b10 shareability is in the control register: inner");
        assertThat(words(fields, 0x0003_0000_4000_1203L, 2))
                .contains(
                        "[49:12] next-level table address 0xb000040001000",
                        "[9:8] next-level table address 51:50 0b10");
        assertThat(blanks(fields, 0x0003_0000_4000_1203L, 2)).contains("[50] RES0", "[11:10] IGNORED", "[7:2] IGNORED");
    }

    @Test
    void anAddressBeyondTheOutputSizeIsAFault() {
        TableGeometry small = new TableGeometry(TranslationRegime.STAGE2, 12, 40, 1, false, 40);
        assertThat(words(fields(small, Keeper.HOST, Era.V6_1, REGISTERS), 0x0100_0000_07ffL, 3))
                .contains(
                        "[47:12] output address 0x10000000000 beyond the 40 bits of the output size: an Address size fault");
    }

    @Test
    void whatIsReservedSaysSo() {
        ExplainFields fields = fields(stage2(12, false), Keeper.HOST, Era.V6_1, REGISTERS);
        assertThat(fields.kind(0x4000_07fdL, 3)).isEqualTo("reserved");
        assertThat(words(fields, 0x4000_07fdL, 3))
                .contains("[1:0] TYPE 0b01 reserved at level 3: hardware takes it for invalid, a translation fault");
    }

    @Test
    void annotationsOf6_12() {
        ExplainFields fields = fields(stage2(12, false), Keeper.HOST, Era.V6_1, REGISTERS);
        assertThat(fields.kind(4, 3)).isEqualTo("annotated");
        assertThat(words(fields, 4, 3))
                .containsExactly(
                        "[63:11] annotation 0x0 not used",
                        "[10] locked 0 no update under way",
                        "[9:2] owner id 0x1 the hypervisor",
                        "[1] annotation 0 not used",
                        "[0] VALID 0 invalid: a translation fault");
        assertThat(words(fields, 0x400, 3))
                .contains("[10] locked 1 an update was under way", "[9:2] owner id 0x0 the host");
        assertThat(words(fields, 0x80a, 3))
                .contains(
                        "[63:11] annotation 0x1 no kernel writes this",
                        "[9:2] owner id 0x2 no owner that kernels annotate",
                        "[1] annotation 1 no kernel writes this");
    }

    @Test
    void annotationsOf7_3() {
        ExplainFields fields = fields(stage2(12, false), Keeper.HOST, Era.V7_0, REGISTERS);
        assertThat(words(fields, 0x2000_0080_0001_0004L, 3))
                .containsExactly(
                        "[63:60] type 0b0010 donation",
                        "[59:20] guest frame 0x80000 where the guest has the page",
                        "[19:4] VM handle 0x1000 the guest",
                        "[3:1] owner id 0b010 a guest",
                        "[0] VALID 0 invalid: a translation fault");
        assertThat(words(fields, 0x2000_0000_0000_0002L, 3))
                .contains("[59:4] payload 0x0 none", "[3:1] owner id 0b001 the hypervisor");
        assertThat(words(fields, 0x2000_0000_0000_0010L, 3))
                .contains("[59:4] payload 0x1 no kernel writes this", "[3:1] owner id 0b000 the host");
        assertThat(words(fields, 0x2000_0000_0000_000eL, 3))
                .contains("[3:1] owner id 0b111 no owner that kernels annotate");
        assertThat(words(fields, 0x1000_0000_0000_0000L, 3))
                .contains("[63:60] type 0b0001 locked: an update was under way", "[59:1] payload 0x0 none");
        assertThat(words(fields, 0x3000_0000_0000_0002L, 3))
                .contains(
                        "[63:60] type 0b0011 poisoned: taken back by force",
                        "[59:1] payload 0x1 no kernel writes this");
        assertThat(words(fields, 0x4000_0000_0000_0000L, 3)).contains("[63:60] type 0b0100 no kernel writes this");
    }

    @Test
    void aKernelThatIsNotKnownLeavesSoftwareBitsOpen() {
        Reading unknown = Reading.of(new MadeMachine().withoutHost());
        ExplainFields host = fields(unknown, stage2(12, false), Keeper.HOST, REGISTERS);
        assertThat(words(host, 4, 3)).contains("[63:1] annotation 0x2 not known: the kernel's release is not");
        assertThat(words(host, 0x7ff, 3)).contains("[58:55] software 0b0000 not known: the kernel's release is not");
        ExplainFields hyp = fields(unknown, stage1(TranslationRegime.EL2, 12, false), Keeper.HYP, REGISTERS);
        assertThat(hyp.kind(0x702, 3)).isEqualTo("invalid");
        assertThat(words(hyp, 0x702, 3)).contains("[63:1] IGNORED 0x381 left over from a mapping that was here");
    }

    @Test
    void guestsHaveStatesWhenTheHypervisorMapsTheirPages() {
        assertThat(words(fields(stage2(12, false), Keeper.GUEST, Era.V6_1, REGISTERS), 0x7ff, 3))
                .contains("[58:55] software 0b0000 no page state: the host's KVM writes this table");
        assertThat(words(fields(stage2(12, false), Keeper.GUEST, Era.V6_14, REGISTERS), 0x7ff, 3))
                .contains("[56:55] software 0b00 page state: owned");
        assertThat(words(fields(stage1(TranslationRegime.EL2, 12, false), Keeper.HYP, Era.V6_14, REGISTERS), 0x743, 3))
                .contains("[56:55] software 0b00 page state: owned");
    }
}
