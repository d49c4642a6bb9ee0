package dev.s2snap.vmsa;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.OptionalLong;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class LeafAttributesTest {
    private static final TableGeometry STAGE2 = new TableGeometry(TranslationRegime.STAGE2, 12, 48, 0, false);
    private static final TableGeometry EL2 = new TableGeometry(TranslationRegime.EL2, 12, 48, 0, false);
    private static final TableGeometry EL2_0 = new TableGeometry(TranslationRegime.EL2_0, 12, 48, 0, false);

    /// XNX, bits 31:28, as on Neoverse N1.
    private static final OptionalLong XNX = OptionalLong.of(0x10212122);
    private static final OptionalLong NO_XNX = OptionalLong.of(0);
    private static final OptionalLong NONE = OptionalLong.empty();

    /// MAIR_EL2 as KVM writes it: 0 normal WB, 2 normal NC, 3 device nGnRnE, 4 device nGnRE.
    private static final OptionalLong MAIR = OptionalLong.of(0x4_0044_ffffL);
    private static final OptionalLong WXN = OptionalLong.of(1 << 19);
    private static final OptionalLong NO_WXN = OptionalLong.of(0);

    private static LeafAttributes stage2(OptionalLong hcr, OptionalLong mmfr1) {
        return LeafAttributes.stage2(STAGE2, 0, hcr, mmfr1);
    }

    private static LeafAttributes stage1(TableGeometry geometry, OptionalLong sctlr) {
        return LeafAttributes.stage1(geometry, 0, NONE, MAIR, sctlr);
    }

    @Nested
    class Stage2 {
        private final LeafAttributes attributes = stage2(OptionalLong.of(0), XNX);

        @ParameterizedTest
        @CsvSource({
            "0x00000000400007ff, rwx", // page, owned
            "0x00000000400007fd, rwx", // block
            "0x00800000400017ff, rwx", // shared, owned
            "0x01000000400017ff, rwx", // shared, borrowed
            "0x00400000080007fd, rw-", // MMIO block
            "0x004000000000077f, r--", // hypervisor text, readable from 7.3 on
            "0x000000000000073f, --x",
            "0x00000000000007bf, -wx",
        })
        void pKvmDescriptorsAllowWhatTheyWereMadeFor(String descriptor, String permissions) {
            assertThat(attributes.permissions(Long.decode(descriptor))).isEqualTo(permissions);
        }

        @Test
        void bit53SplitsExecutionWhereTheCpuHasXnx() {
            assertThat(attributes.permissions(1L << 53 | 0x7ff)).isEqualTo("rw-/rwx");
            assertThat(attributes.permissions(3L << 53 | 0x7ff)).isEqualTo("rwx/rw-");
        }

        @Test
        void bit53IsIgnoredWhereTheCpuHasNoXnx() {
            LeafAttributes without = stage2(OptionalLong.of(0), NO_XNX);
            assertThat(without.permissions(1L << 53 | 0x7ff)).isEqualTo("rwx");
            assertThat(without.permissions(3L << 53 | 0x7ff)).isEqualTo("rw-");
        }

        @Test
        void bit53LeavesExecutionOpenWhereTheCpuIsNotKnown() {
            LeafAttributes unknown = stage2(OptionalLong.of(0), NONE);
            assertThat(unknown.permissions(1L << 53 | 0x7ff)).isEqualTo("rw?");
            assertThat(unknown.permissions(0x7ff)).isEqualTo("rwx");
        }

        @Test
        void permissionIndirectionIsNotMistakenForPermissions() {
            LeafAttributes indirect = LeafAttributes.stage2(STAGE2, 1L << 36, OptionalLong.of(0), XNX);
            assertThat(indirect.permissions(0x7ff)).isEqualTo("???");
        }

        @ParameterizedTest
        @CsvSource({
            "0x0, device nGnRnE", "0x1, device nGnRE", "0x2, device nGRE", "0x3, device GRE",
            "0x4, reserved 0x4", "0x5, normal NC", "0x6, normal iWT oNC", "0x7, normal iWB oNC",
            "0x8, reserved 0x8", "0x9, normal iNC oWT", "0xa, normal WT", "0xb, normal iWB oWT",
            "0xc, reserved 0xc", "0xd, normal iNC oWB", "0xe, normal iWT oWB", "0xf, normal WB",
        })
        void memAttrIsOuterAndInnerCacheability(String memAttr, String type) {
            assertThat(attributes.memoryType(Long.decode(memAttr) << 2)).isEqualTo(type);
        }

        @ParameterizedTest
        @CsvSource({
            "0x0, device nGnRnE", "0x1, device nGnRE", "0x2, device nGRE", "0x3, device GRE",
            "0x4, reserved 0x4", "0x5, normal NC", "0x6, normal WB", "0x7, as stage 1",
            "0x8, reserved 0x8", "0x9, reserved 0x9", "0xa, reserved 0xa", "0xb, reserved 0xb",
            "0xc, reserved 0xc", "0xd, reserved 0xd", "0xe, normal WB no tags", "0xf, as stage 1 no tags",
        })
        void forcedWriteBackHasEncodingsOfItsOwn(String memAttr, String type) {
            LeafAttributes forced = stage2(OptionalLong.of(LeafAttributes.HCR_FWB), XNX);
            assertThat(forced.memoryType(Long.decode(memAttr) << 2)).isEqualTo(type);
        }

        @Test
        void withoutHcrTheTypeStaysANumber() {
            assertThat(stage2(NONE, XNX).memoryType(0x7ff)).isEqualTo("MemAttr 0xf");
        }

        @Test
        void shareabilityIsInBits9And8() {
            assertThat(attributes.shareability(0x7ff)).isEqualTo("inner");
            assertThat(attributes.shareability(0x6ff)).isEqualTo("outer");
            assertThat(attributes.shareability(0x5ff)).isEqualTo("reserved");
            assertThat(attributes.shareability(0x4ff)).isEqualTo("non");
        }

        @Test
        void shareabilityIsTheControlRegistersWhereBits9And8AreAddress() {
            TableGeometry lpa2 = new TableGeometry(TranslationRegime.STAGE2, 12, 48, 0, true);
            LeafAttributes attributes = LeafAttributes.stage2(lpa2, 3 << 12, OptionalLong.of(0), XNX);
            assertThat(attributes.shareability(0x4ff)).isEqualTo("inner");
        }

        @Test
        void anOrdinaryEntryHasNoFlags() {
            assertThat(attributes.flags(0x400007ffL, false)).isEmpty();
            assertThat(attributes.accessed(0x400007ffL)).isTrue();
        }

        @Test
        void everyUnusualBitIsNamed() {
            long descriptor = 3L << 51 | 1 << 16 | 1 << 11 | 0x3fd;
            assertThat(attributes.flags(descriptor, true)).isEqualTo("no-AF FnXS nT DBM contiguous");
            assertThat(attributes.flags(descriptor, false)).isEqualTo("no-AF FnXS DBM contiguous");
        }
    }

    @Nested
    class El2WithoutVhe {
        private final LeafAttributes attributes = stage1(EL2, WXN);

        @ParameterizedTest
        @CsvSource({
            "0x0040000040001743, rw-",
            "0x00000000400017c3, r-x",
            "0x00400000400017c3, r--",
            "0x0140000040001743, rw-",
        })
        void pKvmDescriptorsAllowWhatTheyWereMadeFor(String descriptor, String permissions) {
            assertThat(attributes.permissions(Long.decode(descriptor))).isEqualTo(permissions);
            assertThat(attributes.memoryType(Long.decode(descriptor))).isEqualTo("normal WB");
        }

        @Test
        void whatIsWritableIsExecutableOnlyIfWxnIsKnownToBeOff() {
            assertThat(attributes.permissions(0x743)).isEqualTo("rw-");
            assertThat(stage1(EL2, NO_WXN).permissions(0x743)).isEqualTo("rwx");
            assertThat(stage1(EL2, NONE).permissions(0x743)).isEqualTo("rw?");
        }

        @Test
        void theTypeIsLookedUpInMair() {
            assertThat(attributes.memoryType(4 << 2)).isEqualTo("device nGnRE");
            assertThat(attributes.memoryType(2 << 2)).isEqualTo("normal NC");
            assertThat(attributes.device(4 << 2)).isTrue();
            assertThat(attributes.device(0)).isFalse();
        }

        @Test
        void withoutMairTheTypeStaysAnIndex() {
            LeafAttributes unknown = LeafAttributes.stage1(EL2, 0, NONE, NONE, WXN);
            assertThat(unknown.memoryType(4 << 2)).isEqualTo("AttrIndx 4");
        }

        @ParameterizedTest
        @CsvSource({
            "0x00, device nGnRnE", "0x04, device nGnRE", "0x08, device nGRE", "0x0c, device GRE",
            "0x01, device nGnRnE nXS", "0x02, reserved 0x2", "0x44, normal NC", "0xff, normal WB",
            "0xee, normal WB", "0xbb, normal WT", "0x4f, normal iWB oNC", "0xf4, normal iNC oWB",
            "0x77, normal WB transient", "0x33, normal WT transient", "0x40, normal NC nXS", "0xa0, normal WT nXS",
            "0xf0, normal WB tagged", "0x80, reserved 0x80",
        })
        void everyKindOfMairAttributeHasAName(String attribute, String type) {
            LeafAttributes decoder = LeafAttributes.stage1(EL2, 0, NONE, OptionalLong.of(Long.decode(attribute)), WXN);
            assertThat(decoder.memoryType(0)).isEqualTo(type);
        }
    }

    @Nested
    class El2WithVhe {
        private final LeafAttributes attributes = stage1(EL2_0, WXN);

        @ParameterizedTest
        @CsvSource({
            "0x0060000000000703, rw-/---", // 7.3: data
            "0x0060000000000783, r--/---", // 7.3: read-only data
            "0x0000000000000783, r-x/--x", // text
            "0x0040000000000783, r-x/---", // 6.12: read-only data, of which only EL0 is kept from executing
        })
        void privilegedAndUnprivilegedAccessAreTwoThings(String descriptor, String permissions) {
            assertThat(attributes.permissions(Long.decode(descriptor))).isEqualTo(permissions);
        }

        @Test
        void whatEl0CanWriteEl2DoesNotExecute() {
            assertThat(stage1(EL2_0, NO_WXN).permissions(0x743)).isEqualTo("rw-/rwx");
            assertThat(stage1(EL2_0, NO_WXN).permissions(0x703)).isEqualTo("rwx/--x");
        }

        @Test
        void permissionIndirectionIsNotMistakenForPermissions() {
            LeafAttributes indirect = LeafAttributes.stage1(EL2_0, 0, OptionalLong.of(2), MAIR, WXN);
            assertThat(indirect.permissions(0x703)).isEqualTo("???/???");
        }

        @Test
        void guardedAndNotGlobalPagesAreFlagged() {
            assertThat(attributes.flags(1L << 50 | 1 << 11 | 0x703, false)).isEqualTo("nG guarded");
            assertThat(stage1(EL2, WXN).flags(1L << 50 | 1 << 11 | 0x743, false))
                    .isEqualTo("guarded");
        }
    }

    @Nested
    class El1 {
        private final LeafAttributes upper =
                stage1(new TableGeometry(TranslationRegime.EL1_0_UPPER, 12, 48, 0, false), NO_WXN);

        @ParameterizedTest
        @CsvSource({
            "0x0068000000000713, rw-/---", // a kernel's data
            "0x0040000000000793, r-x/---", // its text
            "0x00e8000000000f53, rw-/rw-", // a user's data
            "0x0020000000000fd3, r--/r-x", // a user's text
        })
        void theKernelAndItsUsersHaveEachTheirs(String descriptor, String permissions) {
            assertThat(upper.permissions(Long.decode(descriptor))).isEqualTo(permissions);
            assertThat(upper.permissionsTitle()).isEqualTo("EL1/EL0");
            assertThat(upper.flags(1 << 11 | 1 << 10, false)).isEqualTo("nG");
        }

        @Test
        void theUpperRangeHasAShareabilityOfItsOwn() {
            TableGeometry lpa2 = new TableGeometry(TranslationRegime.EL1_0_UPPER, 12, 52, -1, true);
            LeafAttributes attributes = LeafAttributes.stage1(lpa2, 2L << 28 | 3 << 12, NONE, MAIR, NO_WXN);
            assertThat(attributes.shareability(0x703)).isEqualTo("outer");
        }
    }
}
