package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.Cpus.Tlbi;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// A TLB that keeps a translation until it is told to drop it: what the hypervisor takes away, it has to take out of
/// every TLB, and a single TLBI that is missing is seen.
class StaleTlbTest {
    private static final long AT = 0x4100_0000L;

    /// Whether each TLBI of EL2 is lost once, and not only a sample: `-Ds2snap.faults=all`.
    private static final boolean ALL = "all".equals(System.getProperty("s2snap.faults"));

    /// What can be reached that should not be.
    ///
    /// @param ofTables those of EL2 that follow the unlinking of a table
    private record Leaks(Set<String> found, int hostTlbis, int el2Tlbis, List<Integer> ofTables) {}

    /// A snapshot call on CPU 0 of a machine whose CPUs remember all pages that are going to be lent. CPU 1 has been at
    /// EL2 before, too.
    ///
    /// @param lost number of the TLBI that gets lost, or -1
    private static Leaks snapshot(String touched, Tlbi kind, int lost) {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            Loan loan = Loan.honest(model, AT).write();
            if (touched.equals("pages")) {
                // A page that was shared once leaves a table; what is touched afterwards comes back in pages.
                for (long block = AT; block < AT + 0x40_0000; block += 0x20_0000) {
                    assertThat(model.primitives().shareHyp(block >>> 12)).isZero();
                    assertThat(model.primitives().unshareHyp(block >>> 12)).isZero();
                }
            }
            List<Cpu> cpus = List.of(model.cpu(0), model.cpu(1));
            model.keepHostTranslations();
            for (Cpu cpu : cpus) {
                loan.pages()
                        .forEach(page -> assertThat(model.read(cpu, page)).isInstanceOf(PkvmModel.Access.Done.class));
            }
            Set<String> found = new TreeSet<>();
            Consumer<String> probe = when -> {
                for (Cpu cpu : cpus) {
                    for (long page : loan.pages()) {
                        if (model.attempt(cpu, page, false, 0) != null) {
                            found.add("host, CPU " + cpu.id() + " " + when);
                        }
                    }
                }
            };
            model.observer(phase -> {
                if (phase != SnapshotCall.Phase.RETURNED) {
                    probe.accept(phase.name());
                }
                if (phase == SnapshotCall.Phase.DONATED) {
                    // The other CPU reads the buffers at EL2 too, as if it served the call with the first one.
                    Cpu before = model.allCpus().enter(cpus.get(1));
                    loan.pages()
                            .forEach(page ->
                                    model.el2().memory.read64(model.addresses().hypVa(page)));
                    model.allCpus().leave(before);
                }
            });
            int[] count = new int[Tlbi.values().length];
            List<Integer> ofTables = new ArrayList<>();
            model.recorder(new Recorder() {
                @Override
                public void tlbiEl2(long va, int level, boolean leaf) {
                    if (!leaf) {
                        ofTables.add(count[Tlbi.EL2.ordinal()] - 1);
                    }
                }
            });
            model.allCpus().lose(tlbi -> count[tlbi.ordinal()]++ == lost && tlbi == kind);
            assertThat(loan.call()).isZero();
            model.allCpus().lose(null);
            for (Cpu cpu : cpus) {
                Cpu before = model.allCpus().enter(cpu);
                for (long page : loan.pages()) {
                    if (reachableAtEl2(model, page)) {
                        found.add("EL2, CPU " + cpu.id());
                    }
                }
                model.allCpus().leave(before);
            }
            return new Leaks(found, count[Tlbi.HOST.ordinal()], count[Tlbi.EL2.ordinal()], ofTables);
        }
    }

    private static boolean reachableAtEl2(PkvmModel model, long page) {
        try {
            model.el2().memory.read64(model.addresses().hypVa(page));
            return true;
        } catch (HypPanic abort) {
            return false;
        }
    }

    @ParameterizedTest
    @CsvSource({"blocks, 1", "pages, 100"})
    void noTlbOfAnyCpuKeepsWhatTheHypervisorTookAway(String touched, int atLeast) {
        Leaks leaks = snapshot(touched, Tlbi.HOST, -1);
        assertThat(leaks.found).isEmpty();
        assertThat(leaks.hostTlbis).isGreaterThanOrEqualTo(atLeast);
        assertThat(leaks.el2Tlbis).isGreaterThan(100);
    }

    @ParameterizedTest
    @CsvSource({"blocks", "pages"})
    void eachTlbiOfTheHostThatIsMissingLetsTheHostReachALentPage(String touched) {
        int all = snapshot(touched, Tlbi.HOST, -1).hostTlbis;
        for (int lost = 0; lost < all; lost++) {
            assertThat(snapshot(touched, Tlbi.HOST, lost).found)
                    .as("TLBI %d of %d", lost, all)
                    .contains("host, CPU 0 DONATED", "host, CPU 1 DONATED", "host, CPU 0 COPIED", "host, CPU 1 COPIED")
                    .noneMatch(leak -> leak.startsWith("EL2"));
        }
    }

    /// Those behind the unlinking of a table are not seen: what a TLB may keep of the way to a leaf is not modelled.
    /// Nor are those just before them, of the table's last page, because both name the same address.
    @Test
    void eachTlbiOfEl2ThatIsMissingLetsEl2ReachAPageThatItGaveBack() {
        Leaks whole = snapshot("blocks", Tlbi.EL2, -1);
        List<Integer> unseen = new ArrayList<>();
        // There is one for each lent page; of those that are like the others not every one is tried.
        int step = ALL ? 1 : 9;
        for (int lost = 0; lost < whole.el2Tlbis; lost += lost < whole.el2Tlbis - 20 ? step : 1) {
            Set<String> found = snapshot("blocks", Tlbi.EL2, lost).found;
            if (found.isEmpty()) {
                unseen.add(lost);
            } else {
                assertThat(found).contains("EL2, CPU 1").noneMatch(leak -> leak.startsWith("host"));
            }
        }
        assertThat(whole.ofTables.getFirst()).isGreaterThan(whole.el2Tlbis - 9);
        assertThat(unseen)
                .isEqualTo(whole.ofTables.stream()
                        .flatMap(ofTable -> Stream.of(ofTable - 1, ofTable))
                        .toList());
    }

    @Test
    void aTlbRemembersLeavesByLevelAndForgetsWhatItIsTold() {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            HostTlb tlb = new HostTlb(model.hostTable().geometry());
            long read = 1 << 6;
            tlb.put(0x4123_4567L, 2, 0x4120_0000L | read | 1);
            tlb.put(0x4200_1000L, 3, 0x4200_1000L | read | 3);
            assertThat(tlb.output(0x413f_fff8L, read)).isEqualTo(0x413f_fff8L);
            assertThat(tlb.output(0x413f_fff8L, 1 << 7)).isEqualTo(-1);
            assertThat(tlb.output(0x4140_0000L, read)).isEqualTo(-1);
            // A hint that names another level reaches nothing.
            tlb.remove(0x4120_0000L, 3);
            assertThat(tlb.output(0x4120_0000L, read)).isEqualTo(0x4120_0000L);
            tlb.remove(0x4130_0000L, 2);
            assertThat(tlb.output(0x4120_0000L, read)).isEqualTo(-1);
            tlb.remove(0x4200_1000L, Recorder.LEVEL_UNKNOWN);
            assertThat(tlb.output(0x4200_1000L, read)).isEqualTo(-1);
            tlb.put(0x4123_4567L, 2, 0x4120_0000L | read | 1);
            tlb.put(0x4200_1000L, 3, 0x4200_1000L | read | 3);
            tlb.removeRange(0x413f_f000L, 0x1000);
            assertThat(tlb.output(0x4120_0000L, read)).isEqualTo(-1);
            assertThat(tlb.output(0x4200_1000L, read)).isEqualTo(0x4200_1000L);
            tlb.clear();
            assertThat(tlb.output(0x4200_1000L, read)).isEqualTo(-1);
        }
    }

    /// An annotation of a whole table frees it: a TLBI by range, or of everything where there is none by range.
    @ParameterizedTest
    @CsvSource({"true", "false"})
    void aTableThatBecomesOneEntryIsForgottenAsAWhole(boolean rangeTlbi) {
        ModelConfig config = ModelConfig.small();
        config.tlbRange = rangeTlbi;
        try (PkvmModel model = new PkvmModel(config)) {
            assertThat(model.init()).isZero();
            model.keepHostTranslations();
            // One page shared and taken back leaves a table; its other pages are mapped one by one.
            long block = 0x4240_0000L;
            assertThat(model.primitives().shareHyp(block >>> 12)).isZero();
            assertThat(model.primitives().unshareHyp(block >>> 12)).isZero();
            for (long page = block; page < block + 0x20_0000; page += 0x1000) {
                assertThat(model.read(model.cpu(1), page)).isEqualTo(new PkvmModel.Access.Done(0));
            }
            Stage2 host = model.el2().host;
            assertThat(model.<Integer>atEl2(() -> host.unmap(block, 0x20_0000L)))
                    .isZero();
            for (long page = block; page < block + 0x20_0000; page += 0x1000) {
                assertThat(model.attempt(model.cpu(1), page, false, 0)).isNull();
            }
            // Mapped as a block where a table is: the table goes.
            assertThat(model.primitives().shareHyp(block >>> 12)).isZero();
            assertThat(model.primitives().unshareHyp(block >>> 12)).isZero();
            assertThat(model.read(model.cpu(1), block + 0x1000)).isInstanceOf(PkvmModel.Access.Done.class);
            List<String> invalidated = new ArrayList<>();
            model.recorder(new Recorder() {
                @Override
                public void tlbiRange(int vmid, long ipa, long pages) {
                    invalidated.add("range " + Long.toHexString(ipa) + " " + pages);
                }

                @Override
                public void tlbiVmid(int vmid) {
                    invalidated.add("all");
                }
            });
            assertThat(model.<Integer>atEl2(() -> host.map(block, 0x20_0000L, block, Stage2.RWX)))
                    .isZero();
            assertThat(invalidated).containsExactly(rangeTlbi ? "range 42400000 512" : "all");
            for (Cpu cpu : List.of(model.cpu(0), model.cpu(1))) {
                assertThat(cpu.hostTlb).isNotNull();
                assertThat(cpu.hostTlb.output(block + 0x1000, 1 << 6)).isEqualTo(-1);
            }
        }
    }
}
