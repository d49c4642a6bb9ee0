package dev.s2snap.bench;

import dev.s2snap.inspect.Diff;
import dev.s2snap.inspect.DiffSource;
import dev.s2snap.inspect.Reading;
import java.lang.foreign.MemorySegment;
import java.util.Optional;
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

/// [Diff] of two machines with 256 GiB of pages, [HugeMachine], of which the second shares [#SHARED] more pages,
/// against `MemorySegment.mismatch` of the same bytes, page after page in the order of their addresses. The two take
/// turns; the figure is the median of the ratios of pairs. The ranges that differ are the checksum.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 3, time = 5)
@Measurement(iterations = 3, time = 5)
@Fork(2)
public class DiffBenchmark {
    private static final int SHARED = 100;

    private HugeMachine old;
    private HugeMachine now;

    private final Result.Series ratios = new Result.Series();
    private final Result.Series gigabytesPerSecond = new Result.Series();
    private boolean diffFirst;
    private long pages;
    private long checksum;

    @Setup
    public void build() {
        old = new HugeMachine();
        now = new HugeMachine();
        for (int i = 0; i < SHARED; i++) {
            now.share(12_345 + i * 600_007);
        }
    }

    @TearDown(Level.Iteration)
    public void forgetWarmup(IterationParams iteration) {
        if (iteration.getType() == IterationType.WARMUP) {
            ratios.clear();
            gigabytesPerSecond.clear();
        }
    }

    @Benchmark
    public long pair() {
        diffFirst = !diffFirst;
        long start = Result.cpuTime();
        long sum = diffFirst ? diff() : mismatches();
        long middle = Result.cpuTime();
        sum += diffFirst ? mismatches() : diff();
        long end = Result.cpuTime();
        double diffed = diffFirst ? middle - start : end - middle;
        double compared = diffFirst ? end - middle : middle - start;
        ratios.add(diffed / compared);
        gigabytesPerSecond.add(2 * old.used() / compared);
        return sum;
    }

    private long diff() {
        Diff diff = Diff.of(
                new DiffSource.OfMachine(Reading.of(old)),
                new DiffSource.OfMachine(Reading.of(now)),
                Optional.empty());
        pages = 0;
        checksum = 0xcbf29ce484222325L;
        for (Diff.Group group : diff.groups()) {
            for (Diff.Change change : group.changes()) {
                pages += group.table().equals("host") ? (change.end() - change.start()) / HugeMachine.PAGE : 0;
                checksum = (checksum ^ change.start() ^ change.end() * 31) * 0x100000001b3L;
            }
        }
        return checksum;
    }

    private long mismatches() {
        long different = 0;
        MemorySegment first = old.bytes();
        MemorySegment second = now.bytes();
        for (long place = 0; place < old.used(); place += HugeMachine.PAGE) {
            long end = place + HugeMachine.PAGE;
            different += MemorySegment.mismatch(first, place, end, second, place, end) < 0 ? 0 : 1;
        }
        return different;
    }

    @TearDown
    public void report() {
        diff();
        if (pages != SHARED) {
            throw new IllegalStateException(pages + " pages of the host differ, and " + SHARED + " were shared");
        }
        new Result("diff-256G")
                .with("bytes", old.used())
                .with("pages", pages)
                .with("differentPages", mismatches())
                .with("pairs", ratios.size())
                .with("ratio", ratios.median())
                .with("GBperSecondOfBoth", gigabytesPerSecond.median())
                .print(checksum);
        old.close();
        now.close();
    }
}
