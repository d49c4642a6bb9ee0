package dev.s2snap.bench;

import dev.s2snap.model.HostKernel;
import dev.s2snap.model.SnapshotCall.Phase;
import dev.s2snap.model.Workbench;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;
import org.openjdk.jmh.infra.IterationParams;
import org.openjdk.jmh.runner.IterationType;

/// One snapshot call, end to end, on a machine of 4 GiB whose whole memory is mapped page by page: as many table
/// pages as such a machine can have. Between two calls the host takes its buffers back and faults them in again.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(2)
public class SnapshotBenchmark {
    private final Workbench bench = new Workbench(4L << 30);
    private final HostKernel host = bench.model().hostKernel();
    private final Result.Series donation = new Result.Series();
    private final Result.Series copy = new Result.Series();
    private final Result.Series teardown = new Result.Series();
    private final long[] reached = new long[Phase.values().length];
    private HostKernel.Lent lent;

    @Setup
    public void touchAllMemory() {
        bench.hostMemory().forEach(bench::empty);
        bench.hostMemory().forEach(bench::touch);
        bench.model().observer(phase -> reached[phase.ordinal()] = Result.cpuTime());
    }

    @TearDown(Level.Iteration)
    public void forgetWarmup(IterationParams iteration) {
        if (iteration.getType() == IterationType.WARMUP) {
            donation.clear();
            copy.clear();
            teardown.clear();
        }
    }

    @Setup(Level.Invocation)
    public void lend() {
        lent = host.allocate();
        touch(lent.pgd(), lent.pgdPages());
        touch(lent.array(), lent.arrayPages());
    }

    private void touch(long base, int pages) {
        for (int i = 0; i < pages; i++) {
            bench.model().read(base + ((long) i << 12));
        }
    }

    @Benchmark
    public int call() {
        long start = Result.cpuTime();
        int error = host.call(bench.model().cpu(0), lent);
        long end = Result.cpuTime();
        donation.add((double) (reached[Phase.DONATED.ordinal()] - start));
        copy.add((double) (reached[Phase.COPIED.ordinal()] - reached[Phase.DONATED.ordinal()]));
        teardown.add((double) (end - reached[Phase.COPIED.ordinal()]));
        if (error != 0) {
            throw new IllegalStateException("snapshot refused: " + error);
        }
        return error;
    }

    @TearDown(Level.Invocation)
    public void free() {
        host.free(lent);
    }

    @TearDown
    public void report() {
        lend();
        call();
        double whole = donation.median() + copy.median() + teardown.median();
        new Result("snapshot-4GiB")
                .with("lentPages", lent.pages())
                .with("tablePages", host.pagesUsed(lent) + lent.pgdPages())
                .with("micros", whole / 1000)
                .with("donation", donation.median() / whole)
                .with("copy", copy.median() / whole)
                .with("teardown", teardown.median() / whole)
                .print(Workbench.checksum(host.read(lent)));
        bench.close();
    }
}
