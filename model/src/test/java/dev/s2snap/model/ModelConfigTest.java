package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.vmsa.LeafRuns;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ModelConfigTest {

    private static void refused(ModelConfig config, String message) {
        assertThat(config.problem()).isEqualTo(message);
        assertThatThrownBy(() -> new PkvmModel(config))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage(message);
    }

    @Test
    void aMachineNeedsAPageSizeMemoryAndACarveout() {
        ModelConfig config = new ModelConfig();
        refused(config, "cfg page_shift is missing (12, 14 or 16)");
        config.pageShift = 13;
        refused(config, "cfg page_shift is missing (12, 14 or 16)");
        config.pageShift = 14;
        refused(config, "cfg region is missing");
        config.addRegion(0x4000_0000L, 0x1000, 0);
        refused(config, "cfg carveout is missing");
        config.carveout = 0x4000_0000L;
        assertThat(config.problem()).isEmpty();
    }

    @ParameterizedTest
    @CsvSource({"0x4000_0000, 0", "0x4000_0000, -1", "-4096, 4096", "0x7fff_ffff_ffff_f000, 0x2000"})
    void aRegionHasASizeAndAnEnd(String base, String size) {
        ModelConfig config = new ModelConfig();
        assertThatThrownBy(() -> config.addRegion(Long.decode(base.replace("_", "")), Long.decode(size), 0))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageStartingWith("region of size 0x");
        assertThat(config.regions()).isEmpty();
    }

    @Test
    void regionsAscendAndDoNotOverlap() {
        ModelConfig config = new ModelConfig();
        config.addRegion(0x4000_0000L, 0x2000, 0);
        for (long base : new long[] {0x4000_1fffL, 0x4000_0000L, 0x3fff_0000L}) {
            assertThatThrownBy(() -> config.addRegion(base, 0x1000, 0))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("regions must be ascending and must not overlap");
        }
        config.addRegion(0x4000_2000L, 0x1000, MemoryRegion.NOMAP);
        assertThat(config.regions())
                .containsExactly(
                        new MemoryRegion(0x4000_0000L, 0x2000, 0),
                        new MemoryRegion(0x4000_2000L, 0x1000, MemoryRegion.NOMAP));
    }

    @Test
    void thereAreAtMost128Regions() {
        ModelConfig config = new ModelConfig();
        for (int i = 0; i < 128; i++) {
            config.addRegion(0x4000_0000L + i * 0x2000L, 0x1000, 0);
        }
        assertThatThrownBy(() -> config.addRegion(0x5000_0000L, 0x1000, 0))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("more than 128 regions");
    }

    @Test
    void theLinearMapStartsAtAGibibyteUnlessItIsSaid() {
        ModelConfig config = new ModelConfig();
        config.addRegion(0x4567_8000L, 0x1000, 0);
        assertThat(config.memstart()).isEqualTo(0x4000_0000L);
        config.memstart = 0x4560_0000L;
        assertThat(config.memstart()).isEqualTo(0x4560_0000L);
    }

    /// Capped at 48 bits unless 64K pages have LPA or others LPA2.
    @ParameterizedTest
    @CsvSource({
        "12, 40, false, false, 40",
        "12, 52, false, true, 48",
        "12, 52, true, false, 52",
        "14, 52, true, false, 52",
        "16, 52, true, false, 48",
        "16, 52, false, true, 52",
    })
    void theHostsInputSizeIsThePhysicalOneUpTo48Bits(int shift, int paRange, boolean lpa2, boolean pa52, int bits) {
        ModelConfig config = new ModelConfig();
        config.pageShift = shift;
        config.paRange = paRange;
        config.lpa2 = lpa2;
        config.pa52 = pa52;
        assertThat(config.hostInputBits()).isEqualTo(bits);
    }

    /// SPEC appendix C.
    @Test
    void theSmallMachineIsThatOfTheVectors() {
        try (PkvmModel model = new PkvmModel(ModelConfig.small())) {
            assertThat(model.config().pageShift()).isEqualTo(12);
            assertThat(model.config().variant()).isEqualTo(SnapshotCall.Variant.CORRECTED);
            assertThat(model.init()).isZero();
            assertThat(model.el2().hostTablePages()).isEqualTo(600);
            assertThat(model.el2().sizes().hypStage1()).isEqualTo(584);
            assertThat(model.el2().sizes().vmemmap()).isEqualTo(32);
            assertThat(model.el2().vtcr()).isEqualTo(0x802a_3558L);
            assertThat(model.el2().host.table().root()).isEqualTo(0x4626_a000L);
            assertThat(model.hostTable().geometry().rootPages()).isEqualTo(2);
            assertThat(model.cpus()).isEqualTo(2);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "0x8000000, 40, 12, 0, 'a machine has 1 to 128 regions, not 0'",
        "0x8000000, 40, 12, 129, 'a machine has 1 to 128 regions, not 129'",
        "0x3fff000, 40, 12, 1, a model has 64M to 1T of memory in whole pages",
        "0x10000001000, 48, 12, 1, a model has 64M to 1T of memory in whole pages",
        "0x8000800, 40, 12, 1, a model has 64M to 1T of memory in whole pages",
        "0x100000000, 32, 12, 1, 4096M of memory from 1G on do not fit into 32 bits of address",
        "0x4000000, 40, 16, 128, 128 regions are too many for 64M of memory",
    })
    void aMachineThatCannotBeIsRefused(String ram, int paRange, int pageShift, int regions, String message) {
        assertThatThrownBy(() -> ModelConfig.machine(Long.decode(ram), paRange, pageShift, regions))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage(message);
    }

    /// Whatever the shape, the machine comes up, keeps its invariants, and serves a snapshot to its own host.
    @ParameterizedTest
    @CsvSource({
        "0x4000000, 36, 12, 1", "0x8000000, 40, 12, 3", "0x40000000, 48, 12, 16", "0x20000000, 52, 12, 2",
        "0x8000000, 40, 14, 2", "0x40000000, 52, 14, 4", "0x10000000, 44, 16, 1", "0x100000000, 52, 16, 8",
        "0x100000000, 48, 12, 1"
    })
    void aMachineOfAnyShapeServesASnapshot(String ram, int paRange, int pageShift, int regions) {
        try (PkvmModel model = new PkvmModel(ModelConfig.machine(Long.decode(ram), paRange, pageShift, regions))) {
            assertThat(model.init()).isZero();
            assertThat(model.config().regions()).hasSize(regions);
            assertThat(model.config().regions().stream()
                            .mapToLong(MemoryRegion::size)
                            .sum())
                    .isEqualTo(Long.decode(ram));
            HostKernel kernel = model.hostKernel();
            HostKernel.Lent lent = kernel.allocate();
            assertThat(Errno.name(kernel.call(model.cpu(0), lent))).isEqualTo("0");
            assertThat(LeafRuns.of(kernel.read(lent)).findings()).isEmpty();
        }
    }

    @Test
    void variantsAreFoundByName() {
        for (SnapshotCall.Variant variant : SnapshotCall.Variant.values()) {
            assertThat(SnapshotCall.Variant.of(variant.id())).isEqualTo(variant);
        }
        assertThatThrownBy(() -> SnapshotCall.Variant.of("POSTED"))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("no snapshot variant 'POSTED': posted or corrected");
    }

    @Test
    void errnosHaveNames() {
        assertThat(Errno.name(0)).isEqualTo("0");
        assertThat(Errno.name(-7)).isEqualTo("-E2BIG");
        assertThat(Errno.name(Errno.EPERM)).isEqualTo("-EPERM");
        assertThat(Errno.name(Errno.ENOENT)).isEqualTo("-ENOENT");
        assertThat(Errno.name(Errno.EAGAIN)).isEqualTo("-EAGAIN");
        assertThat(Errno.name(Errno.ENOMEM)).isEqualTo("-ENOMEM");
        assertThat(Errno.name(Errno.EFAULT)).isEqualTo("-EFAULT");
        assertThat(Errno.name(Errno.EBUSY)).isEqualTo("-EBUSY");
        assertThat(Errno.name(Errno.EINVAL)).isEqualTo("-EINVAL");
        assertThat(Errno.name(Errno.ERANGE)).isEqualTo("-ERANGE");
        assertThat(Errno.name(-95)).isEqualTo("-EOPNOTSUPP");
        assertThat(Errno.name(-5)).isEqualTo("-5");
        assertThat(Errno.name(7)).isEqualTo("7");
    }
}
