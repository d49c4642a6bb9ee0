package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.pkvm.PageState;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.ToIntFunction;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/// Snapshots while other CPUs do something, on real threads: rows 17 to 19 of DEFECTS.md section 8, and what a copy
/// shows.
@Timeout(120)
class ConcurrentSnapshotTest {
    private static final long AT = 0x4100_0000L;
    private static final long OTHER = 0x4200_0000L;
    private static final long MILLIS = Long.getLong("s2snap.concurrent.millis", 800);

    private static PkvmModel machine(int cpus) {
        PkvmModel model = new PkvmModel(ModelConfig.small().cpus(cpus));
        assertThat(model.init()).isZero();
        return model;
    }

    /// The call as a CPU makes it.
    private static int call(Loan loan, Cpu cpu) {
        cpu.x(0, Hypercalls.id(Hypercalls.HOST_STAGE2_SNAPSHOT));
        cpu.x(1, loan.model.addresses().kern(loan.struct));
        assertThat(loan.model.hvc(cpu)).as("panic: %s", loan.model.panic()).isTrue();
        assertThat(cpu.x(0)).isEqualTo(Hypercalls.SUCCESS);
        return (int) cpu.x(1);
    }

    private static void await(CountDownLatch latch) {
        try {
            assertThat(latch.await(60, TimeUnit.SECONDS)).isTrue();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private static TranslationTable copy(Loan loan) {
        return new TranslationTable(
                loan.model.ram(), loan.model.hostTable().geometry(), loan.field(SnapshotStruct.PGD));
    }

    /// The entry of a table for an address, valid or not.
    private static long entry(TranslationTable table, long address) {
        return switch (table.translate(address)) {
            case Translation.Mapped mapped -> mapped.descriptor();
            case Translation.Fault fault -> fault.descriptor();
            default -> throw new AssertionError("no entry for 0x" + Long.toHexString(address));
        };
    }

    private static void nothingLost(PkvmModel model, Audit before) {
        Audit after = Audit.of(model);
        assertThat(after.changed(before)).isEmpty();
        assertThat(after.miscounted()).isEmpty();
        assertThat(after.hostFree + after.hostTables()).isEqualTo(before.hostFree + before.hostTables());
        assertThat(after.hypFree + after.hypTables()).isEqualTo(before.hypFree + before.hypTables());
    }

    // Two calls.

    /// Row 17, with both calls past their donations before either copies.
    @Test
    void twoCallsOnDisjointBuffersBothSucceedAndEachShowsTheOthersPagesAsTheHypervisors() {
        try (PkvmModel model = machine(2)) {
            Loan one = Loan.honest(model, AT).write();
            Loan other = Loan.honest(model, OTHER).write();
            CyclicBarrier donated = new CyclicBarrier(2);
            model.observer(phase -> {
                if (phase == SnapshotCall.Phase.DONATED) {
                    try {
                        donated.await(60, TimeUnit.SECONDS);
                    } catch (Exception e) {
                        throw new IllegalStateException(e);
                    }
                }
            });
            Audit before = Audit.of(model);
            model.run(
                    cpu -> assertThat(call(one, cpu)).isZero(),
                    cpu -> assertThat(call(other, cpu)).isZero());
            nothingLost(model, before);
            // That which copied first; the other may have seen pages on their way back.
            assertThat(showsAsHypervisors(one, other) || showsAsHypervisors(other, one))
                    .isTrue();
        }
    }

    private static boolean showsAsHypervisors(Loan loan, Loan other) {
        TranslationTable copy = copy(loan);
        return other.pages().stream().allMatch(page -> Descriptor.annotated(entry(copy, page)));
    }

    private enum Overlap {
        /// Row 18.
        EVERYTHING,
        PGD,
        /// Row 19.
        LIST,
        LAST_PAGE_OF_THE_LIST,
        ARRAY,
        STRUCT_IN_THE_LIST
    }

    private static Loan overlapping(Loan first, Overlap overlap) {
        Loan second = Loan.honest(first.model, OTHER).write();
        switch (overlap) {
            case EVERYTHING -> second.struct = first.struct;
            case PGD -> second.pgd = first.pgd;
            case LIST -> second.head = first.head;
            case LAST_PAGE_OF_THE_LIST ->
                second.model.ram().set(second.list[second.list.length - 2], first.list[first.list.length - 1]);
            case ARRAY -> second.array = first.array;
            case STRUCT_IN_THE_LIST -> second.head = first.struct;
        }
        if (overlap != Overlap.EVERYTHING) {
            second.list = overlap == Overlap.LAST_PAGE_OF_THE_LIST ? new long[0] : second.list;
            AddressMap map = second.model.addresses();
            second.model.ram().set(second.struct + SnapshotStruct.MC_HEAD, second.head);
            second.model.ram().set(second.struct + SnapshotStruct.PGD_HVA, map.kern(second.pgd));
            second.model.ram().set(second.struct + SnapshotStruct.USED_PAGES_HVA, map.kern(second.array));
        }
        return second;
    }

    /// Rows 18 and 19, with the later call in the middle of the first one.
    @ParameterizedTest
    @EnumSource
    void ofTwoCallsThatShareAPageTheLaterIsRefusedAndTheFirstSucceeds(Overlap overlap) {
        try (PkvmModel model = machine(2)) {
            Loan one = Loan.honest(model, AT).write();
            Loan other = overlapping(one, overlap);
            CountDownLatch donated = new CountDownLatch(1);
            CountDownLatch refused = new CountDownLatch(1);
            model.observer(phase -> {
                if (phase == SnapshotCall.Phase.DONATED) {
                    donated.countDown();
                    await(refused);
                }
            });
            Audit before = Audit.of(model);
            model.run(cpu -> assertThat(call(one, cpu)).isZero(), cpu -> {
                await(donated);
                assertThat(call(other, cpu)).isEqualTo(Errno.EPERM);
                refused.countDown();
            });
            nothingLost(model, before);
            // The first one's copy is whole.
            for (long page : one.list) {
                assertThat(Descriptor.annotated(entry(copy(one), page))).isTrue();
            }
        }
    }

    /// No order is forced here: whoever comes first.
    @ParameterizedTest
    @EnumSource
    void callsThatRaceForAPageAreServedOrRefusedAndNothingIsLost(Overlap overlap) {
        long end = System.nanoTime() + MILLIS * 1_000_000 / 4;
        try (PkvmModel model = machine(2)) {
            do {
                Loan one = Loan.honest(model, AT).write();
                Loan other = overlapping(one, overlap);
                Audit before = Audit.of(model);
                int[] result = new int[2];
                model.run(cpu -> result[0] = call(one, cpu), cpu -> result[1] = call(other, cpu));
                nothingLost(model, before);
                // Whoever comes when the other is through finds what that left in the buffers, which is no request.
                assertThat(List.of(result[0], result[1]))
                        .isSubsetOf(0, Errno.EPERM, Errno.EINVAL, Errno.ENOMEM)
                        .satisfies(results -> assertThat(results.contains(0) || overlap == Overlap.STRUCT_IN_THE_LIST)
                                .isTrue());
            } while (System.nanoTime() < end);
        }
    }

    // Others, in every phase.

    private enum Disturbance {
        SHARE(el2 -> el2.shareHyp(OTHER >>> 12)),
        DONATE(el2 -> el2.donateHyp(OTHER >>> 12, 3)),
        FAULT(el2 -> el2.fault(OTHER)),
        DEVICE(el2 -> el2.fault(0x0900_0000L));

        private final ToIntFunction<Primitives> action;

        Disturbance(ToIntFunction<Primitives> action) {
            this.action = action;
        }
    }

    @ParameterizedTest
    @EnumSource
    void whatAnotherCpuDoesInAPhaseIsInTheCopyIfItWasDoneBeforeTheCopy(Disturbance disturbance) {
        for (SnapshotCall.Phase when : SnapshotCall.Phase.values()) {
            try (PkvmModel model = machine(2)) {
                Loan loan = Loan.honest(model, AT).write();
                CountDownLatch reached = new CountDownLatch(1);
                CountDownLatch done = new CountDownLatch(1);
                List<String> live = new ArrayList<>();
                model.observer(phase -> {
                    if (phase == SnapshotCall.Phase.COPIED) {
                        live.addAll(shape(model.hostTable()));
                    }
                    if (phase == when) {
                        reached.countDown();
                        if (phase == SnapshotCall.Phase.COPIED) {
                            // The host lock is held: the other CPU has to wait.
                            assertThat(isDoneWithin(done, 20)).isFalse();
                        } else {
                            await(done);
                        }
                    }
                });
                model.run(cpu -> assertThat(call(loan, cpu)).isZero(), _ -> {
                    await(reached);
                    assertThat(disturbance.action.applyAsInt(model.primitives()))
                            .isZero();
                    done.countDown();
                });
                assertThat(shape(copy(loan))).isEqualTo(live);
                long seen = entry(copy(loan), disturbance == Disturbance.DEVICE ? 0x0900_0000L : OTHER);
                boolean before = when == SnapshotCall.Phase.DONATED;
                if (disturbance == Disturbance.DONATE) {
                    assertThat(Descriptor.annotated(seen)).isEqualTo(before);
                } else if (disturbance == Disturbance.SHARE) {
                    assertThat(PageState.ofSoftwareBits(seen))
                            .isEqualTo(before ? PageState.SHARED_OWNED : PageState.OWNED);
                } else {
                    assertThat(Descriptor.valid(seen)).isEqualTo(before);
                }
            }
        }
    }

    private static boolean isDoneWithin(CountDownLatch done, long millis) {
        try {
            return done.await(millis, TimeUnit.MILLISECONDS);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /// Everything that a table says, but for where its pages are.
    private static List<String> shape(TranslationTable table) {
        List<String> shape = new ArrayList<>();
        long limit = 0x4800_0000L;
        for (long address = 0; address < limit; ) {
            Translation translation = table.translate(address);
            int level = translation instanceof Translation.Mapped mapped
                    ? mapped.level()
                    : ((Translation.Fault) translation).level();
            shape.add(Long.toHexString(address) + " " + level + " " + Long.toHexString(entry(table, address)));
            address += table.geometry().entrySize(level);
        }
        return shape;
    }

    // A state that existed.

    /// Two CPUs share and donate pages, each page once and one after another; two others take snapshots. The state of
    /// the machine is how far each of the first two has got. A history is linearizable if each snapshot can be given a
    /// moment between its call and its answer: hence
    ///
    /// - it shows the beginning of what each CPU does, without gaps: no later change without the earlier ones;
    /// - all that was over before the call, and nothing that had not been begun when the answer came;
    /// - of any two snapshots one shows all that the other does, and the one that began when the other was over does.
    @Test
    void everySnapshotIsAStateThatExisted() {
        int pages = 400;
        try (PkvmModel model = machine(4)) {
            AtomicIntegerArray begun = new AtomicIntegerArray(2);
            AtomicIntegerArray over = new AtomicIntegerArray(2);
            AtomicInteger working = new AtomicInteger(2);
            AtomicLong clock = new AtomicLong();
            List<List<Seen>> seen = List.of(new ArrayList<>(), new ArrayList<>());
            PkvmModel.Program change = cpu -> {
                Primitives el2 = model.primitives();
                for (int i = 0; i < pages; i++) {
                    long frame = page(cpu.id(), i) >>> 12;
                    begun.set(cpu.id(), i + 1);
                    assertThat(i % 3 == 0 ? el2.donateHyp(frame, 1) : el2.shareHyp(frame))
                            .isZero();
                    over.set(cpu.id(), i + 1);
                    if (i % 25 == 24) {
                        // So that snapshots fit in between, also where there are fewer processors than threads.
                        long now = clock.get();
                        while (clock.get() == now) {
                            Thread.onSpinWait();
                        }
                    }
                }
                working.decrementAndGet();
            };
            PkvmModel.Program watch = cpu -> {
                Loan loan = Loan.honest(model, cpu.id() == 2 ? AT : AT + 0x80_0000L);
                boolean last;
                do {
                    last = working.get() == 0;
                    loan.write();
                    int[] least = {over.get(0), over.get(1)};
                    long call = clock.incrementAndGet();
                    assertThat(call(loan, cpu)).isZero();
                    long answer = clock.incrementAndGet();
                    int[] most = {begun.get(0), begun.get(1)};
                    Seen snapshot = new Seen(call, answer, progress(loan, 0, pages), progress(loan, 1, pages));
                    assertThat(snapshot.first).isBetween(least[0], most[0]);
                    assertThat(snapshot.second).isBetween(least[1], most[1]);
                    seen.get(cpu.id() - 2).add(snapshot);
                } while (!last);
            };
            model.run(change, change, watch, watch);
            assertThat(Audit.of(model).miscounted()).isEmpty();
            List<Seen> all = new ArrayList<>(seen.get(0));
            all.addAll(seen.get(1));
            for (Seen one : all) {
                for (Seen other : all) {
                    assertThat(one.atMost(other) || other.atMost(one)).isTrue();
                    assertThat(one.answer > other.call || one.atMost(other)).isTrue();
                }
            }
            long between = all.stream()
                    .filter(one -> one.first > 0 && one.first < pages)
                    .count();
            assertThat(between).as("snapshots in the middle of %s", all.size()).isGreaterThan(5);
        }
    }

    private record Seen(long call, long answer, int first, int second) {
        boolean atMost(Seen other) {
            return first <= other.first && second <= other.second;
        }
    }

    private static long page(int cpu, int index) {
        return 0x4200_0000L + ((2L * index + cpu) << 12);
    }

    /// How far a copy says that a CPU has got.
    private static int progress(Loan loan, int cpu, int pages) {
        TranslationTable copy = copy(loan);
        int progress = 0;
        for (int i = 0; i < pages; i++) {
            long entry = entry(copy, page(cpu, i));
            boolean changed = i % 3 == 0
                    ? Descriptor.annotated(entry)
                    : PageState.ofSoftwareBits(entry) == PageState.SHARED_OWNED;
            if (changed) {
                assertThat(progress)
                        .as("a later change without page %d", progress)
                        .isEqualTo(i);
                progress = i + 1;
            }
        }
        return progress;
    }

    // Access of the host.

    /// From the moment when EL2 maps a lent page for itself to the moment when it gives up its mapping, no access of
    /// the
    /// host gets there, from any CPU and with whatever its TLB holds.
    @Test
    void theHostReachesNoLentPageAtAnyInstant() {
        try (PkvmModel model = machine(3)) {
            model.keepHostTranslations();
            Loan loan = Loan.honest(model, AT).write();
            List<Long> pages = loan.pages();
            AtomicIntegerArray turns = watchOwnership(model);
            AtomicBoolean over = new AtomicBoolean();
            AtomicLong refused = new AtomicLong();
            CyclicBarrier touched = new CyclicBarrier(3);
            int rounds = 12;
            model.observer(phase -> {
                if (phase != SnapshotCall.Phase.RETURNED) {
                    long end = System.nanoTime() + 1_000_000;
                    while (System.nanoTime() < end) {
                        Thread.onSpinWait();
                    }
                }
            });
            PkvmModel.Program probe = cpu -> {
                SplittableRandom random = new SplittableRandom(cpu.id());
                for (int round = 0; round < rounds; round++) {
                    for (long page : pages) {
                        assertThat(model.read(cpu, page)).isInstanceOf(PkvmModel.Access.Done.class);
                    }
                    touched.await();
                    while (over.get() == (round % 2 != 0)) {
                        long page = pages.get(random.nextInt(pages.size()));
                        int before = turns.get(number(page));
                        boolean reached = model.attempt(cpu, page, false, 0) != null;
                        int after = turns.get(number(page));
                        if (before == after && before % 2 == 1) {
                            assertThat(reached)
                                    .as("page 0x%x of the hypervisor", page)
                                    .isFalse();
                            refused.incrementAndGet();
                        }
                    }
                    touched.await();
                }
            };
            model.run(
                    cpu -> {
                        for (int round = 0; round < rounds; round++) {
                            touched.await();
                            loan.write();
                            assertThat(call(loan, cpu)).isZero();
                            over.set(round % 2 == 0);
                            touched.await();
                        }
                    },
                    probe,
                    probe);
            assertThat(refused).hasValueGreaterThan(100);
        }
    }

    /// A store that was translated before the page was taken is over before the hypervisor uses it.
    @Test
    void noStoreOfTheHostLandsInAPageThatTheHypervisorHasTakenMeanwhile() {
        try (PkvmModel model = machine(4)) {
            long page = AT;
            AtomicBoolean over = new AtomicBoolean();
            AtomicLong stores = new AtomicLong();
            PkvmModel.Program store = cpu -> {
                while (!over.get()) {
                    if (model.attempt(cpu, page, true, 1) != null) {
                        stores.incrementAndGet();
                    }
                }
            };
            model.run(
                    cpu -> {
                        try {
                            Primitives el2 = model.primitives();
                            long va = model.addresses().hypVa(page);
                            long end = System.nanoTime() + MILLIS * 1_000_000;
                            while (System.nanoTime() < end) {
                                assertThat(model.write(cpu, page, 0)).isEqualTo(new PkvmModel.Access.Done(0));
                                long before = stores.get();
                                while (stores.get() == before) {
                                    Thread.onSpinWait();
                                }
                                assertThat(el2.donateHyp(page >>> 12, 1)).isZero();
                                model.el2().memory.write64(va, 2);
                                for (int i = 0; i < 100; i++) {
                                    assertThat(model.el2().memory.read64(va)).isEqualTo(2);
                                }
                                assertThat(el2.hypDonateHost(page >>> 12, 1)).isZero();
                            }
                        } finally {
                            over.set(true);
                        }
                    },
                    store,
                    store,
                    store);
        }
    }

    private static int number(long page) {
        return (int) ((page - 0x4000_0000L) >>> 12);
    }

    /// Counts, for each page, how often it came to the hypervisor and went: odd while it is there. It is told by what
    /// the hypervisor does to its own table, which is the inner part of both.
    private static AtomicIntegerArray watchOwnership(PkvmModel model) {
        AtomicIntegerArray turns = new AtomicIntegerArray(128 << 8);
        model.recorder(new Recorder() {
            @Override
            public void store(long address, long before, long after, boolean release) {
                // Normal memory, read and write, not executable: see [HypStage1].
                if (release && (after & 0xfff0_0000_0000_0fffL) == 0x0040_0000_0000_0743L) {
                    turns.incrementAndGet(number(after & 0x0000_ffff_ffff_f000L));
                }
            }

            @Override
            public void dsb(String domain) {}

            @Override
            public void tlbiEl2(long va, int level, boolean leaf) {
                if (leaf) {
                    turns.incrementAndGet(number(model.addresses().hypPa(va)));
                }
            }
        });
        return turns;
    }
}
