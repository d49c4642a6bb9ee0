package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.Cpu;
import dev.s2snap.model.Errno;
import dev.s2snap.model.Hypercalls;
import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.PkvmModel.Access;
import dev.s2snap.model.Primitives;
import dev.s2snap.model.WriteLog;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Function;
import java.util.function.IntFunction;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Four CPUs at once that share, donate, pin and touch pages, and what the machine looks like when they are done.
@Timeout(120)
class ConcurrentHostTest {
    private static final int CPUS = 4;
    private static final long MILLIS = Long.getLong("s2snap.concurrent.millis", 800);
    private static final long FIRST = 0x4100_0000L;

    private final AtomicLong operations = new AtomicLong();

    /// Runs a program on each CPU for a while, and judges the machine before and behind it.
    ///
    /// @return what it is behind it
    private World together(int pageShift, Function<PkvmModel, IntFunction<Workload>> workload) {
        ModelConfig config = ModelConfig.machine(128L << 20, 40, pageShift, 1).cpus(CPUS);
        try (PkvmModel model = new PkvmModel(config)) {
            assertThat(model.init()).isZero();
            long owned = adopted(model).owned();
            IntFunction<Workload> workloads = workload.apply(model);
            PkvmModel.Program program = cpu -> {
                Workload mine = workloads.apply(cpu.id());
                long end = System.nanoTime() + MILLIS * 1_000_000;
                long count = 0;
                while (System.nanoTime() < end) {
                    for (int i = 0; i < 100; i++, count++) {
                        mine.step(cpu);
                    }
                }
                operations.addAndGet(count);
            };
            model.run(program, program, program, program);
            assertThat(model.panic()).isNull();
            assertThat(operations).hasValueGreaterThan(1000);
            World world = adopted(model);
            assertThat(world.owned()).isEqualTo(owned);
            assertThat(Judge.judge(model, "the end")).isEmpty();
            return world;
        }
    }

    /// What the tables say that each page is.
    static World adopted(PkvmModel model) {
        World world = new World(model.config().regions(), model.config().pageShift(), model.cpus());
        assertThat(new Sight(model, world, new WriteLog()).all("adoption")).isEmpty();
        return world;
    }

    private interface Workload {
        void step(Cpu cpu);
    }

    private static long call(PkvmModel model, Cpu cpu, int function, long frame) {
        cpu.x(0, Hypercalls.id(function));
        cpu.x(1, frame);
        assertThat(model.hvc(cpu)).as("panic: %s", model.panic()).isTrue();
        assertThat(cpu.x(0)).isEqualTo(Hypercalls.SUCCESS);
        return cpu.x(1);
    }

    /// Every page belongs to one CPU, its neighbours to others. So each answer is known beforehand, and a page has the
    /// word that its CPU wrote last.
    @ParameterizedTest
    @ValueSource(ints = {12, 16})
    void eachCpuGetsTheAnswersItWouldGetAloneWhereNobodyElseUsesItsPages(int pageShift) {
        together(
                pageShift,
                model -> id -> new Workload() {
                    private static final int PAGES = 96;
                    private final SplittableRandom random = new SplittableRandom(id);
                    private final Primitives el2 = model.primitives();
                    private final byte[] state = new byte[PAGES];
                    private final long[] word = new long[PAGES];

                    @Override
                    public void step(Cpu cpu) {
                        int page = random.nextInt(PAGES);
                        long frame = (FIRST >>> pageShift) + (long) page * CPUS + id;
                        switch (random.nextInt(7)) {
                            case 0 ->
                                transition(
                                        page,
                                        World.OWNED,
                                        World.SHARED,
                                        call(model, cpu, Hypercalls.HOST_SHARE_HYP, frame));
                            case 1 ->
                                transition(
                                        page,
                                        World.SHARED,
                                        World.OWNED,
                                        call(model, cpu, Hypercalls.HOST_UNSHARE_HYP, frame));
                            case 2 -> transition(page, World.OWNED, World.NOPAGE, el2.donateHyp(frame, 1));
                            case 3 -> transition(page, World.NOPAGE, World.OWNED, el2.hypDonateHost(frame, 1));
                            case 4 -> access(page, frame << pageShift, false);
                            case 5 -> access(page, frame << pageShift, true);
                            default -> {
                                int expected = state[page] == World.NOPAGE ? Errno.EPERM : 0;
                                int answer = el2.idmap(frame << pageShift);
                                assertThat(answer == Errno.EAGAIN ? 0 : answer).isEqualTo(expected);
                            }
                        }
                    }

                    private void transition(int page, byte from, byte to, long answer) {
                        assertThat(answer).isEqualTo(state[page] == from ? 0 : Errno.EPERM);
                        state[page] = answer == 0 ? to : state[page];
                    }

                    private void access(int page, long address, boolean write) {
                        if (state[page] != World.NOPAGE) {
                            word[page] = write ? random.nextLong() : word[page];
                            Access access = write ? model.write(address, word[page]) : model.read(address);
                            assertThat(access).isEqualTo(new Access.Done(word[page]));
                        }
                    }
                });
    }

    /// All CPUs want the same few pages. Who gets one is open; but there are never two, and nothing gets lost: what was
    /// taken and not given back is what the tables say at the end.
    @ParameterizedTest
    @ValueSource(ints = {12, 14})
    void ofSeveralCpusThatWantAPageOneGetsIt(int pageShift) {
        int pages = 6;
        AtomicIntegerArray shared = new AtomicIntegerArray(pages);
        AtomicIntegerArray donated = new AtomicIntegerArray(pages);
        long first = FIRST >>> pageShift;
        AtomicLong wins = new AtomicLong();
        World world = together(pageShift, model -> id -> {
            SplittableRandom random = new SplittableRandom(id);
            Primitives el2 = model.primitives();
            return cpu -> {
                int page = random.nextInt(pages);
                long frame = first + page;
                switch (random.nextInt(8)) {
                    case 0 -> won(call(model, cpu, Hypercalls.HOST_SHARE_HYP, frame), shared, page, 1, wins);
                    case 1 -> won(call(model, cpu, Hypercalls.HOST_UNSHARE_HYP, frame), shared, page, -1, wins);
                    case 2 -> won(el2.donateHyp(frame, 1), donated, page, 1, wins);
                    case 3 -> won(el2.hypDonateHost(frame, 1), donated, page, -1, wins);
                    case 4 -> {
                        // While it is pinned, nobody can take it back.
                        if (el2.pin(frame, 1) == 0) {
                            assertThat(call(model, cpu, Hypercalls.HOST_UNSHARE_HYP, frame))
                                    .isEqualTo(Errno.EBUSY);
                            assertThat(el2.unpin(frame, 1)).isZero();
                        }
                    }
                    case 5 ->
                        assertThat(el2.fault(random.nextLong(0x4000) << pageShift))
                                .isIn(0, Errno.EAGAIN);
                    case 6 -> assertThat(el2.unmapDevices()).isZero();
                    default -> assertThat(el2.idmap(frame << pageShift)).isIn(List.of(0, Errno.EAGAIN, Errno.EPERM));
                }
            };
        });
        assertThat(wins).hasValueGreaterThan(100);
        for (int page = 0; page < pages; page++) {
            int number = world.number((first + page) << pageShift);
            assertThat(shared.get(page) + donated.get(page)).isIn(0, 1);
            assertThat(world.host[number])
                    .isEqualTo(
                            shared.get(page) == 1 ? World.SHARED : donated.get(page) == 1 ? World.NOPAGE : World.OWNED);
            assertThat(world.pins[number]).isEqualTo((char) 0);
        }
    }

    private static void won(long answer, AtomicIntegerArray balance, int page, int change, AtomicLong wins) {
        assertThat(answer).isIn(0L, (long) Errno.EPERM, (long) Errno.EBUSY);
        if (answer == 0) {
            balance.addAndGet(page, change);
            wins.incrementAndGet();
        }
    }
}
