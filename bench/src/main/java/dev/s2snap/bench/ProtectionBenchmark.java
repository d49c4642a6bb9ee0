package dev.s2snap.bench;

import dev.s2snap.model.Cpu;
import dev.s2snap.model.Hypercalls;
import dev.s2snap.model.PkvmModel.Access;
import dev.s2snap.model.Workbench;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;
import org.openjdk.jmh.infra.BenchmarkParams;
import org.openjdk.jmh.infra.IterationParams;
import org.openjdk.jmh.runner.IterationType;

/// What the hypervisor does all day, on one core, without a recorder: host faults, each of which stores a new level-3
/// leaf in a table that is there already, and pages shared and unshared by hypercall.
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(2)
public class ProtectionBenchmark {
    private static final int PAGES = 1 << 17;

    /// Pages under one level-3 table.
    private static final int STEP = 1 << 9;

    /// In the upper half of a machine of 4 GiB, away from everything of the hypervisor's.
    private static final long START = 0xc000_0000L;

    private static final long END = START + ((long) PAGES << 12);

    /// The machine of one benchmark, with the state that it needs to be in.
    @State(Scope.Benchmark)
    public abstract static class Prepared {
        final Workbench bench = new Workbench(4L << 30);
        private final Result.Series perSecond = new Result.Series();
        private String name = "";
        private long begun;

        @Setup
        public void name(BenchmarkParams benchmark) {
            name = benchmark.getBenchmark().replaceFirst(".*\\.", "");
        }

        final void begin() {
            begun = Result.cpuTime();
        }

        final void end(int operations) {
            perSecond.add(operations * 1e9 / (Result.cpuTime() - begun));
        }

        @TearDown(Level.Iteration)
        public void forgetWarmup(IterationParams iteration) {
            if (iteration.getType() == IterationType.WARMUP) {
                perSecond.clear();
            }
        }

        @TearDown
        public void report() {
            new Result(name)
                    .with("millionsPerCpuSecond", perSecond.median() / 1e6)
                    .print(bench.checksum());
            bench.close();
        }

        final long hvc(int function, int page) {
            Cpu cpu = bench.model().cpu(0);
            cpu.x(0, Hypercalls.id(function));
            cpu.x(1, (START >>> 12) + page);
            return bench.model().hvc(cpu) ? cpu.x(0) | cpu.x(1) : -1;
        }
    }

    private static long required(long errors) {
        if (errors != 0) {
            throw new IllegalStateException("the hypervisor refused: " + errors);
        }
        return errors;
    }

    /// All level-3 entries of the range are empty.
    public static class Empty extends Prepared {
        @Setup(Level.Invocation)
        public void empty() {
            bench.empty(START, END);
        }
    }

    /// The abort handler alone.
    @Benchmark
    @OperationsPerInvocation(PAGES)
    public long faultAtEl2(Empty machine) {
        machine.begin();
        long errors = 0;
        for (int i = 0; i < PAGES; i++) {
            errors |= machine.bench.fault(START + ((long) i << 12));
        }
        machine.end(PAGES);
        return required(errors);
    }

    /// A load of the host: its translation fails, the handler maps the page, the load is repeated.
    @Benchmark
    @OperationsPerInvocation(PAGES)
    public long hostLoadWithFault(Empty machine) {
        machine.begin();
        long loaded = 0;
        for (int i = 0; i < PAGES; i++) {
            if (machine.bench.model().read(START + ((long) i << 12)) instanceof Access.Done(long value)) {
                loaded += 1 + value;
            }
        }
        machine.end(PAGES);
        return required(loaded - PAGES);
    }

    /// All pages of the range are mapped, each by an entry of its own.
    public static class Split extends Prepared {
        @Setup
        public void prepare() {
            bench.empty(START, END);
            bench.touch(START, END);
        }
    }

    /// A page is shared and unshared again. Nothing else of its 2 MiB is shared: EL2 makes a table for the page, and
    /// frees it again.
    @Benchmark
    @OperationsPerInvocation(PAGES)
    public long loneShareAndUnshare(Split machine) {
        machine.begin();
        long errors = 0;
        for (int i = 0; i < PAGES; i++) {
            errors |= machine.hvc(Hypercalls.HOST_SHARE_HYP, i);
            errors |= machine.hvc(Hypercalls.HOST_UNSHARE_HYP, i);
        }
        machine.end(PAGES);
        return required(errors);
    }

    /// The first page of every 2 MiB is shared for good.
    public static class Neighboured extends Split {
        @Override
        public void prepare() {
            super.prepare();
            for (int i = 0; i < PAGES; i += STEP) {
                required(hvc(Hypercalls.HOST_SHARE_HYP, i));
            }
        }
    }

    /// The same beside a page that stays shared, so that EL2's tables need not come and go.
    @Benchmark
    @OperationsPerInvocation(PAGES - PAGES / STEP)
    public long shareAndUnshare(Neighboured machine) {
        machine.begin();
        long errors = 0;
        for (int i = 0; i < PAGES; i++) {
            if (i % STEP != 0) {
                errors |= machine.hvc(Hypercalls.HOST_SHARE_HYP, i);
                errors |= machine.hvc(Hypercalls.HOST_UNSHARE_HYP, i);
            }
        }
        machine.end(PAGES - PAGES / STEP);
        return required(errors);
    }
}
