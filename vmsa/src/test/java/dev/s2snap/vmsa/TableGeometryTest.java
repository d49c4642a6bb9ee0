package dev.s2snap.vmsa;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.SplittableRandom;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

class TableGeometryTest {

    private static void refused(ThrowingCallable action, String message) {
        assertThatThrownBy(action).isInstanceOf(GeometryException.class).hasMessage(message);
    }

    /// The table of SPEC 1.2, with VTCR_EL2 as KVM programs it. Rows 33 and 43 have no value of their own there: theirs
    /// is
    /// that of the next larger PARange with another T0SZ.
    @ParameterizedTest(name = "4K/16K/64K {0}, {1} bits")
    @CsvSource({
        "12, 32, 2, 4, 0x80283520",
        "12, 33, 2, 8, 0x8029351f",
        "12, 36, 1, 1, 0x8029355c",
        "12, 40, 1, 2, 0x802a3558",
        "12, 42, 1, 8, 0x802b3556",
        "12, 43, 1, 16, 0x802c3555",
        "12, 44, 0, 1, 0x802c3594",
        "12, 48, 0, 1, 0x802d3590",
        "12, 52, 0, 16, 0x1802e358c",
        "14, 36, 2, 1, 0x8029b55c",
        "14, 40, 2, 16, 0x802ab558",
        "14, 42, 1, 1, 0x802bb596",
        "14, 44, 1, 1, 0x802cb594",
        "14, 48, 1, 2, 0x802db590",
        "14, 52, 0, 1, 0x1802eb5cc",
        "16, 36, 2, 1, 0x8029755c",
        "16, 40, 2, 1, 0x802a7558",
        "16, 42, 2, 1, 0x802b7556",
        "16, 44, 2, 4, 0x802c7554",
        "16, 48, 1, 1, 0x802d7590",
        "16, 52, 1, 1, 0x802e758c",
    })
    void vtcrDecodesToTheShapeThatKvmProgrammed(int granuleShift, int inputBits, int start, int pages, String vtcr) {
        TableGeometry geometry = TableGeometry.ofVtcr(Long.decode(vtcr));
        boolean lpa2 = inputBits == 52 && granuleShift != 16;
        assertThat(geometry)
                .isEqualTo(new TableGeometry(
                        TranslationRegime.STAGE2,
                        granuleShift,
                        inputBits,
                        start,
                        lpa2,
                        // The two sizes that are no PARange.
                        inputBits == 33 ? 36 : inputBits == 43 ? 44 : inputBits));
        assertThat(geometry.rootPages()).isEqualTo(pages);
        assertThat(geometry.inputSize()).isEqualTo(1L << inputBits);
        // Entries that are looked at cover the input exactly.
        assertThat((long) geometry.rootEntries() * geometry.entrySize(start)).isEqualTo(1L << inputBits);
        assertThat(geometry.rootBytes()).isEqualTo(geometry.rootEntries() * 8L);
    }

    @ParameterizedTest
    @CsvSource({
        // T0SZ 31 with SL0 3 and 4K is level 3 (FEAT_TTST): 16 pages of 512 entries at most.
        "0x800034e7, 12, 25, 3",
        // SL2:SL0 = 1:00 with DS is level -1.
        "0x30000350c, 12, 52, -1",
        // Without DS bit 33 is RES0 and means nothing.
        "0x200283520, 12, 32, 2",
        // DS has no meaning with 64K.
        "0x1802e758c, 16, 52, 1",
    })
    void rareStartLevelsAreDecoded(String vtcr, int granuleShift, int inputBits, int start) {
        TableGeometry geometry = TableGeometry.ofVtcr(Long.decode(vtcr));
        assertThat(geometry.granuleShift()).isEqualTo(granuleShift);
        assertThat(geometry.inputBits()).isEqualTo(inputBits);
        assertThat(geometry.startLevel()).isEqualTo(start);
        assertThat(geometry.lpa2()).isEqualTo(granuleShift != 16 && (Long.decode(vtcr) >>> 32 & 1) == 1);
    }

    @ParameterizedTest
    @CsvSource({
        // nVHE: TCR_EL2 as Linux has it for 48, 39 and 52 bits (DS = bit 32).
        "0x80823510, false, 12, 48, 0, false",
        "0x80823519, false, 12, 39, 1, false",
        "0x18086350c, false, 12, 52, -1, true",
        "0x8082b510, false, 14, 48, 0, false",
        "0x8082b511, false, 14, 47, 1, false",
        "0x80827516, false, 16, 42, 2, false",
        "0x80827510, false, 16, 48, 1, false",
        "0x8082750c, false, 16, 52, 1, false",
        // hVHE: the layout of TCR_EL1, where bit 32 is in IPS and DS is bit 59.
        "0x00000005_00003510, true, 12, 48, 0, false",
        "0x08000006_0000350c, true, 12, 52, -1, true",
        "0x08000006_0000b50c, true, 14, 52, 0, true",
        // In nVHE bit 59 is nothing, and with 64K DS is nothing.
        "0x08000000_80823510, false, 12, 48, 0, false",
        "0x1808e750c, false, 16, 52, 1, false",
    })
    void tcrDecodesToTheStartLevelThatTheInputNeeds(
            String tcr, boolean e2h, int granuleShift, int inputBits, int start, boolean lpa2) {
        TableGeometry geometry = TableGeometry.ofTcr(
                e2h ? TranslationRegime.EL2_0 : TranslationRegime.EL2, Long.decode(tcr.replace("_", "")));
        assertThat(geometry)
                .isEqualTo(new TableGeometry(
                        e2h ? TranslationRegime.EL2_0 : TranslationRegime.EL2,
                        granuleShift,
                        inputBits,
                        start,
                        lpa2,
                        geometry.outputBits()));
        assertThat(geometry.rootPages()).isEqualTo(1);
        assertThat(geometry.regime().stage2()).isFalse();
    }

    @ParameterizedTest
    @CsvSource({
        // What 6.12 programs at EL1 with 48 bits of both, IPS 48 bits.
        "EL1_0, 0x00000005_b5503510, 12, 48, 0, false, 48",
        "EL1_0_UPPER, 0x00000005_b5503510, 12, 48, 0, false, 48",
        // T1SZ and TG1 of the upper range; TG1 1, 2, 3 are 16K, 4K, 64K.
        "EL1_0_UPPER, 0x00000002_80190010, 12, 39, 1, false, 40",
        "EL1_0_UPPER, 0x00000005_40110010, 14, 47, 1, false, 48",
        "EL1_0_UPPER, 0x00000005_c0100010, 16, 48, 1, false, 48",
        "EL1_0_UPPER, 0x00000006_c00c0010, 16, 52, 1, false, 52",
        "EL2_0_UPPER, 0x08000006_800c0010, 12, 52, -1, true, 52",
        "EL2_0_UPPER, 0x08000006_400c0010, 14, 52, 0, true, 52",
        // IPS 6 means 52 bits only where descriptors carry them.
        "EL1_0, 0x00000006_b5503510, 12, 48, 0, false, 48",
        "EL1_0, 0x00000000_b5503510, 12, 48, 0, false, 32",
    })
    void bothRangesOfATcrDecode(
            TranslationRegime regime,
            String tcr,
            int granuleShift,
            int inputBits,
            int start,
            boolean lpa2,
            int outputBits) {
        TableGeometry geometry = TableGeometry.ofTcr(regime, Long.decode(tcr.replace("_", "")));
        assertThat(geometry).isEqualTo(new TableGeometry(regime, granuleShift, inputBits, start, lpa2, outputBits));
        assertThat(geometry.inputBase()).isEqualTo(regime.upper() ? -1L << inputBits : 0);
        assertThat(geometry.covers(geometry.inputBase())).isTrue();
        assertThat(geometry.covers(geometry.inputBase() - 1)).isFalse();
        assertThat(geometry.covers(geometry.inputBase() + geometry.inputSize() - 1))
                .isTrue();
        assertThat(geometry.covers(geometry.inputBase() + geometry.inputSize())).isFalse();
    }

    @ParameterizedTest
    @CsvSource({"0, 32", "1, 36", "2, 40", "3, 42", "4, 44", "5, 48", "6, 48", "7, 48"})
    void outputSizeIsThatOfPs(int ps, int outputBits) {
        assertThat(TableGeometry.ofVtcr(0x8020_3590L | ps << 16).outputBits()).isEqualTo(outputBits);
        int with64K = ps >= 6 ? 52 : outputBits;
        assertThat(TableGeometry.ofVtcr(0x8020_7590L | ps << 16).outputBits()).isEqualTo(with64K);
    }

    @Test
    void reservedBitsAreThoseAroundTheAddress() {
        // 4K: nothing below a page, 20:17 and 15:12 below a 2M block (16 is nT), 49:48 above, in a stage 2 also 50.
        assertThat(Geometries.S2_4K_48.reservedBits(3)).isEqualTo(0x0007_0000_0000_0000L);
        assertThat(Geometries.EL2_4K_48.reservedBits(3)).isEqualTo(0x0003_0000_0000_0000L);
        assertThat(Geometries.S2_4K_48.reservedBits(2)).isEqualTo(0x0007_0000_001e_f000L);
        assertThat(Geometries.S2_4K_52.reservedBits(2)).isEqualTo(0x0004_0000_001e_f000L);
        assertThat(Geometries.S2_16K_40.reservedBits(3)).isEqualTo(0x0007_0000_0000_3000L);
        // 64K: 15:12 carry the top of the address.
        assertThat(Geometries.S2_64K_52.reservedBits(3)).isEqualTo(0x0007_0000_0000_0000L);
        assertThat(Geometries.S2_64K_52.reservedBits(2)).isEqualTo(0x0007_0000_1ffe_0000L);
        assertThat(Geometries.EL2_4K_48.reservedTableBits()).isEqualTo(0x0007_0000_0000_0000L);
        assertThat(Geometries.S2_16K_52.reservedTableBits()).isEqualTo(0x0004_0000_0000_3000L);
        assertThat(Geometries.S2_64K_52.reservedTableBits()).isEqualTo(0x0007_0000_0000_0000L);
    }

    @Test
    void bitsBeyondTheOutputSizeAreThoseOfTheAddressAboveIt() {
        assertThat(Geometries.S2_4K_48.beyondOutput()).isZero();
        assertThat(Geometries.S2_4K_52.beyondOutput()).isZero();
        assertThat(TableGeometry.ofVtcr(0x802a_3558L).beyondOutput()).isEqualTo(0x0000_ff00_0000_0000L);
        assertThat(TableGeometry.ofVtcr(0x802d_7590L).beyondOutput()).isEqualTo(0xf000L);
        var lpa2 = new TableGeometry(TranslationRegime.STAGE2, 12, 48, 0, true, 48);
        assertThat(lpa2.beyondOutput()).isEqualTo(0x0003_0000_0000_0300L);
    }

    @Nested
    class Refuses {

        @Test
        void anUpperRangeWithoutAGranule() {
            refused(
                    () -> TableGeometry.ofTcr(TranslationRegime.EL1_0_UPPER, 0x5_3550_3510L),
                    "TCR_EL1.TG1 = 0 is reserved");
            refused(
                    () -> TableGeometry.ofTcr(TranslationRegime.EL2_0_UPPER, 0x5_3550_3510L),
                    "TCR_EL2.TG1 = 0 is reserved");
        }

        @Test
        void outputSizesThatNoDescriptorCarries() {
            refused(
                    () -> new TableGeometry(TranslationRegime.EL2, 12, 48, 0, false, 52),
                    "an output address of 52 bits does not exist with the 4K granule");
            refused(
                    () -> new TableGeometry(TranslationRegime.EL2, 16, 48, 1, false, 31),
                    "an output address of 31 bits does not exist with the 64K granule");
        }

        @Test
        void aGranuleThatDoesNotExist() {
            refused(
                    () -> new TableGeometry(TranslationRegime.EL2, 13, 48, 0, false),
                    "a granule of 2^13 bytes does not exist");
        }

        @Test
        void dsWith64KWhenGiven() {
            refused(
                    () -> new TableGeometry(TranslationRegime.EL2, 16, 48, 1, true),
                    "DS = 1 has no meaning with the 64K granule");
        }

        @Test
        void anInputSizeOutsideTheArchitecture() {
            refused(
                    () -> new TableGeometry(TranslationRegime.EL2, 12, 49, 0, false),
                    "an input address of 49 bits does not exist with the 4K granule");
            refused(
                    () -> new TableGeometry(TranslationRegime.EL2, 14, 53, 0, true),
                    "an input address of 53 bits does not exist with the 16K granule and DS = 1");
            refused(
                    () -> new TableGeometry(TranslationRegime.EL2, 16, 53, 1, false),
                    "an input address of 53 bits does not exist with the 64K granule");
            refused(
                    () -> new TableGeometry(TranslationRegime.EL2, 12, 15, 3, false),
                    "an input address of 15 bits does not exist with the 4K granule");
        }

        @Test
        void aStartLevelThatTheGranuleDoesNotHave() {
            refused(
                    () -> new TableGeometry(TranslationRegime.STAGE2, 12, 48, -1, false),
                    "start level -1 does not exist with the 4K granule");
            refused(
                    () -> new TableGeometry(TranslationRegime.STAGE2, 14, 48, -1, true),
                    "start level -1 does not exist with the 16K granule");
            refused(
                    () -> new TableGeometry(TranslationRegime.STAGE2, 16, 48, 0, false),
                    "start level 0 does not exist with the 64K granule");
            refused(
                    () -> new TableGeometry(TranslationRegime.STAGE2, 12, 48, 4, false),
                    "start level 4 does not exist with the 4K granule");
        }

        @Test
        void anInputTooSmallForItsStartLevel() {
            refused(
                    () -> TableGeometry.ofVtcr(0x8029_3594L + 14),
                    "an input address of 30 bits is too small for start level 0, whose entries cover 2^39 bytes");
        }

        @Test
        void aRootOfMorePagesThanMayBeConcatenated() {
            refused(
                    () -> TableGeometry.ofVtcr(0x802c_3554L),
                    "an input address of 44 bits needs a root of 32 pages at start level 1, more than the 16 that may "
                            + "be concatenated");
            refused(
                    () -> new TableGeometry(TranslationRegime.EL2, 12, 40, 1, false),
                    "an input address of 40 bits needs a root of 2 pages at start level 1, more than the 1 that may be "
                            + "concatenated");
        }

        @Test
        void theReservedGranuleOfEachRegister() {
            refused(() -> TableGeometry.ofVtcr(0x8028_f520L), "VTCR_EL2.TG0 = 3 is reserved");
            refused(() -> TableGeometry.ofTcr(TranslationRegime.EL2, 0x8082_f510L), "TCR_EL2.TG0 = 3 is reserved");
        }

        @Test
        void descriptorsOf128Bits() {
            refused(
                    () -> TableGeometry.ofVtcr(0x40_802d_3590L),
                    "VTCR_EL2.D128 = 1: tables of 128-bit descriptors are not read");
        }

        @Test
        void zeroRegisters() {
            refused(() -> TableGeometry.ofVtcr(0), "an input address of 64 bits does not exist with the 4K granule");
            refused(
                    () -> TableGeometry.ofTcr(TranslationRegime.EL2_0, 0),
                    "an input address of 64 bits does not exist with the 4K granule");
        }

        /// 64K with 16 bits of input: hardware has no level to start at.
        @Test
        void aStage1WithoutAnyLevel() {
            refused(
                    () -> TableGeometry.ofTcr(TranslationRegime.EL2, 0x4030),
                    "start level 4 does not exist with the 64K granule");
        }

        /// AArch64.S2InvalidSL (DDI 0487, J1): with 4K, SL2 = 1 goes with SL0 = 0 only; hardware faults on others.
        @ParameterizedTest
        @CsvSource({"1", "2", "3"})
        void aStage2WhoseSl2AndSl0AreReserved(int sl0) {
            long vtcr = 0x3_0000_3500L | sl0 << 6 | (sl0 == 2 ? 16 : sl0 == 1 ? 25 : 39);
            assertThatThrownBy(() -> TableGeometry.ofVtcr(vtcr)).isInstanceOf(GeometryException.class);
        }

        /// AArch64.S2InvalidSL: with 16K, SL0 = 3 (level 0) needs DS; hardware faults without.
        @Test
        void aStage2At16KThatStartsAtLevel0WithoutDs() {
            assertThatThrownBy(() -> TableGeometry.ofVtcr(0x802d_b5d0L)).isInstanceOf(GeometryException.class);
        }
    }

    @Test
    void addressesAreWhereTheGranulePutsThem() {
        TableGeometry k4 = Geometries.S2_4K_40;
        assertThat(k4.tableAddress(0xffff_ffff_ffff_ffffL)).isEqualTo(0x0000_ffff_ffff_f000L);
        assertThat(k4.outputAddress(0xffff_ffff_ffff_ffffL, 2)).isEqualTo(0x0000_ffff_ffe0_0000L);
        assertThat(k4.outputAddress(0xffff_ffff_ffff_ffffL, 1)).isEqualTo(0x0000_ffff_c000_0000L);
        assertThat(Geometries.S2_16K_40.tableAddress(-1)).isEqualTo(0x0000_ffff_ffff_c000L);
        assertThat(Geometries.S2_16K_40.outputAddress(-1, 2)).isEqualTo(0x0000_ffff_fe00_0000L);
    }

    @Test
    void with64KBits15To12AreTheTopOfTheAddress() {
        TableGeometry geometry = Geometries.S2_64K_52;
        assertThat(geometry.tableAddress(0x4000_a003L)).isEqualTo(0x000a_0000_4000_0000L);
        assertThat(geometry.outputAddress(0x0000_1234_abcd_5fffL, 3)).isEqualTo(0x0005_1234_abcd_0000L);
        assertThat(geometry.outputAddress(0x0000_1234_abcd_5ffdL, 2)).isEqualTo(0x0005_1234_a000_0000L);
        assertThat(geometry.addressBits(0x000f_0000_4000_0000L)).isEqualTo(0x4000_f000L);
        assertThat(geometry.outputMask(3)).isEqualTo(0x0000_ffff_ffff_f000L);
    }

    @Test
    void withLpa2Bits9And8AreTheTopOfTheAddress() {
        TableGeometry geometry = Geometries.S2_4K_52;
        assertThat(geometry.tableAddress(0x0003_0000_4000_0303L)).isEqualTo(0x000f_0000_4000_0000L);
        assertThat(geometry.outputAddress(0x0002_0000_4020_06fdL, 2)).isEqualTo(0x000a_0000_4020_0000L);
        assertThat(geometry.addressBits(0x000d_0000_4000_0000L)).isEqualTo(0x0001_0000_4000_0300L);
        assertThat(geometry.outputMask(3)).isEqualTo(0x0003_ffff_ffff_f300L);
        assertThat(Geometries.S2_16K_52.tableAddress(-1)).isEqualTo(0x000f_ffff_ffff_c000L);
    }

    static TableGeometry[] all() {
        return Geometries.all();
    }

    @ParameterizedTest
    @MethodSource("all")
    void addressBitsIsTheInverseOfDecoding(TableGeometry geometry) {
        SplittableRandom random = new SplittableRandom(geometry.hashCode());
        int width = geometry.lpa2() || geometry.granuleShift() == 16 ? 52 : 48;
        for (int i = 0; i < 2000; i++) {
            int level = random.nextInt(Math.max(0, geometry.startLevel()), 4);
            long address = random.nextLong() >>> (64 - width) & -geometry.granule();
            // Whatever the other bits say.
            long noise = random.nextLong() & ~geometry.tableAddressMask();
            long bits = geometry.addressBits(address);
            assertThat(bits & ~geometry.tableAddressMask()).isZero();
            assertThat(bits).isEqualTo(TestTables.encode(geometry, address));
            assertThat(geometry.tableAddress(bits | noise)).isEqualTo(address);
            long block = address & -geometry.entrySize(level);
            assertThat(geometry.outputAddress(geometry.addressBits(block) | noise, level))
                    .isEqualTo(block);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "12, 3, 12",
        "12, 2, 21",
        "12, 1, 30",
        "12, 0, 39",
        "12, -1, 48",
        "14, 3, 14",
        "14, 2, 25",
        "14, 1, 36",
        "14, 0, 47",
        "16, 3, 16",
        "16, 2, 29",
        "16, 1, 42",
    })
    void anEntryCoversWhatTheTableOfGranulesSays(int granuleShift, int level, int shift) {
        TableGeometry geometry = new TableGeometry(
                TranslationRegime.EL2, granuleShift, 48, granuleShift == 16 ? 1 : 0, granuleShift == 12);
        assertThat(geometry.shift(level)).isEqualTo(shift);
        assertThat(geometry.entrySize(level)).isEqualTo(1L << shift);
        assertThat(geometry.granule()).isEqualTo(1L << granuleShift);
        assertThat(geometry.entriesPerTable()).isEqualTo(1 << (granuleShift - 3));
        long address = 0x000a_bcde_f123_4567L;
        assertThat(geometry.index(address, level)).isEqualTo((int) (address >>> shift & (1 << (granuleShift - 3)) - 1));
    }

    @Nested
    class RootAddress {

        @Test
        void isWithoutVmidAndCnp() {
            assertThat(Geometries.S2_4K_40.rootAddress(0x0001_0000_4626_a001L)).isEqualTo(0x4626_a000L);
        }

        @Test
        void isAlignedToTheWholeRoot() {
            assertThat(Geometries.S2_4K_40.rootAddress(0x4626_b000L)).isEqualTo(0x4626_a000L);
            // A partial root may lie inside a page, on a multiple of its own size.
            assertThat(Geometries.S2_4K_36.rootAddress(0x4626_b3feL)).isEqualTo(0x4626_b200L);
        }

        @Test
        void hasItsTopBitsIn5To2WithAnOutputSizeOf52Bits() {
            assertThat(Geometries.S2_64K_52.rootAddress(0x0001_0000_4001_003dL)).isEqualTo(0x000f_0000_4001_0000L);
            assertThat(Geometries.S2_4K_52.rootAddress(0x4001_0014L)).isEqualTo(0x0005_0000_4001_0000L);
        }

        @Test
        void hasNoTopBitsWithoutLpaOrWithASmallerOutputSize() {
            // PS = 5.
            assertThat(TableGeometry.ofVtcr(0x802d_7590L).rootAddress(0x4001_003cL))
                    .isEqualTo(0x4001_0000L);
            assertThat(Geometries.S2_4K_48.rootAddress(0x4001_003cL)).isEqualTo(0x4001_0000L);
        }
    }

    @Test
    void regimesHaveTheirNames() {
        assertThat(TranslationRegime.values())
                .extracting(TranslationRegime::id)
                .containsExactly("stage2", "el2", "el2&0", "el2&0-upper", "el1&0", "el1&0-upper");
        assertThat(TranslationRegime.values())
                .extracting(TranslationRegime::title)
                .containsExactly(
                        "stage 2",
                        "EL2 stage 1",
                        "EL2&0 stage 1, lower range",
                        "EL2&0 stage 1, upper range",
                        "EL1&0 stage 1, lower range",
                        "EL1&0 stage 1, upper range");
    }
}
