package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.pkvm.PageState;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TableCounts;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class HostKernelTest {
    private static final HostKernel.Ownership HOST = new HostKernel.Ownership(PageState.OWNED, PageState.NOPAGE);
    private static final HostKernel.Ownership HYP = new HostKernel.Ownership(PageState.NOPAGE, PageState.OWNED);

    @ParameterizedTest
    @EnumSource(HostKernel.Touch.class)
    void aSnapshotIsTakenReadAndFreedWhateverTheHostDidBefore(HostKernel.Touch touch) {
        for (SnapshotCall.Variant variant : SnapshotCall.Variant.values()) {
            try (PkvmModel model = PkvmModel.small(variant)) {
                HostKernel kernel = model.hostKernel();
                assertThat(model.hostKernel()).isSameAs(kernel);
                kernel.touch(touch, 1);
                long free = kernel.pagesAvailable();
                HostKernel.Lent lent = kernel.allocate();
                assertThat(lent.pages()).isEqualTo(605);
                assertThat(kernel.pagesAvailable()).isEqualTo(free - 605);
                assertThat(kernel.owners(lent)).isEqualTo(Map.of(HOST, 605));
                List<Map<HostKernel.Ownership, Integer>> seen = new ArrayList<>();
                model.observer(_ -> seen.add(kernel.owners(lent)));
                assertThat(kernel.call(model.cpu(0), lent)).isZero();
                assertThat(seen).containsExactly(Map.of(HYP, 605), Map.of(HYP, 605), Map.of(HOST, 605));
                TranslationTable copy = kernel.read(lent);
                assertThat(copy.root()).isEqualTo(lent.pgd());
                LeafRuns.Result result = LeafRuns.of(copy);
                assertThat(result.findings()).isEmpty();
                assertThat(result.counts().total(TableCounts.Kind.TABLES)).isEqualTo(2 + kernel.pagesUsed(lent));
                // The lent pages are the hypervisor's in the copy.
                Set<Long> annotated = new HashSet<>();
                for (LeafRun run : result.runs()) {
                    for (long page = run.start(); !run.mapped() && page < run.end(); page += 0x1000) {
                        annotated.add(page);
                    }
                }
                assertThat(annotated).containsAll(lent.list()).contains(lent.struct(), lent.pgd(), lent.array());
                kernel.free(lent);
                assertThat(kernel.pagesAvailable()).isEqualTo(free);
                assertThat(model.panic()).isNull();
            }
        }
    }

    @Test
    void touchingPagesGivesEachPageAnEntryOfItsOwn() {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            model.hostKernel().touch(HostKernel.Touch.PAGES, 0);
            LeafRuns.Result result = LeafRuns.of(model.hostTable());
            assertThat(result.counts().get(TableCounts.Kind.TABLES, 3)).isEqualTo(64);
            assertThat(result.counts().get(TableCounts.Kind.LEAVES, 2)).isZero();
        }
    }

    @Test
    void bootingMapsMemoryInBlocksAndADevice() {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            model.hostKernel().touch(HostKernel.Touch.BOOT, 0);
            assertThat(LeafRuns.of(model.hostTable()).counts().get(TableCounts.Kind.LEAVES, 2))
                    .isGreaterThan(50);
            assertThat(LeafRuns.of(model.hostTable()).runs())
                    .anyMatch(run -> run.start() <= 0x0900_0000L && 0x0900_0000L < run.end() && run.mapped());
            assertThat(LeafRuns.of(model.hostTable()).runs())
                    .filteredOn(run -> (run.bits() >>> 55 & 3) == 1)
                    .isNotEmpty();
        }
    }

    @Test
    void theSameSeedTouchesTheSameMemory() {
        List<List<LeafRun>> runs = new ArrayList<>();
        for (long seed : new long[] {7, 7, 8}) {
            try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
                model.hostKernel().touch(HostKernel.Touch.RANDOM, seed);
                runs.add(LeafRuns.of(model.hostTable()).runs());
            }
        }
        assertThat(runs.get(0)).isEqualTo(runs.get(1)).isNotEqualTo(runs.get(2));
    }

    @Test
    void memoryIsTakenForOtherThingsGivenBackAndLeftAlone() {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            HostKernel kernel = model.hostKernel();
            long free = kernel.pagesAvailable();
            long first = kernel.take(3);
            assertThat(kernel.available(first)).isFalse();
            assertThat(kernel.pagesAvailable()).isEqualTo(free - 3);
            assertThat(kernel.take(free)).isEqualTo(-1);
            kernel.give(first, 3);
            assertThat(kernel.available(first)).isTrue();
            assertThat(kernel.pagesAvailable()).isEqualTo(free);
            kernel.leave(first, 0x1000);
            assertThat(kernel.take(1)).isNotEqualTo(first);
            assertThat(kernel.available(0x4600_0000L)).as("the carve-out").isFalse();
        }
    }

    @Test
    void aHostWithoutMemorySaysSo() {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            HostKernel kernel = model.hostKernel();
            assertThatThrownBy(() -> {
                        for (int i = 0; i < 100; i++) {
                            kernel.allocate();
                        }
                    })
                    .isInstanceOf(HostKernel.HostException.class)
                    .hasMessageStartingWith("the host has no ");
        }
    }

    @Test
    void aHostWhoseHypervisorPanicsSaysWhy() {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.POSTED)) {
            HostKernel kernel = model.hostKernel();
            HostKernel.Lent lent = kernel.allocate();
            model.write(lent.struct() + SnapshotStruct.MC_HEAD, 0x0900_0000L);
            assertThatThrownBy(() -> kernel.call(model.cpu(0), lent))
                    .isInstanceOf(HostKernel.HostException.class)
                    .hasMessageStartingWith("the hypervisor panicked: ");
        }
    }

    @Test
    void aCallThatIsNotSupportedIsAnErrnoWhateverIsInX1() {
        for (SnapshotCall.Variant variant : SnapshotCall.Variant.values()) {
            ModelConfig config = ModelConfig.small().variant(variant);
            config.debug = false;
            try (PkvmModel model = new PkvmModel(config)) {
                assertThat(model.init()).isZero();
                HostKernel kernel = model.hostKernel();
                assertThat(kernel.call(model.cpu(0), kernel.allocate())).isEqualTo(Errno.EOPNOTSUPP);
            }
        }
    }
}
