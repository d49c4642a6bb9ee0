package dev.s2snap.bench;

import dev.s2snap.inspect.Check;
import dev.s2snap.inspect.Reading;
import dev.s2snap.pkvm.Violation;
import dev.s2snap.vmsa.PhysicalMemory;
import java.lang.foreign.MemorySegment;
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

/// [Check] of a machine with 256 GiB of pages, [HugeMachine], against the plain sum of the same 1 GiB of tables and
/// vmemmap. The two take turns; the figure is the median of the ratios of pairs. [#DAMAGED] pages break a rule, and
/// their addresses are the checksum.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 3, time = 5)
@Measurement(iterations = 3, time = 5)
@Fork(2)
public class CheckBenchmark {
    private static final int DAMAGED = 100;

    private HugeMachine machine;

    private final Result.Series ratios = new Result.Series();
    private final Result.Series gigabytesPerSecond = new Result.Series();
    private boolean checkFirst;
    private long violations;
    private long notChecked;
    private long checksum;

    @Setup
    public void build() {
        machine = new HugeMachine();
        check();
        if (violations != 0) {
            throw new IllegalStateException("the machine is not sound: " + violations + " violations");
        }
        for (int i = 0; i < DAMAGED; i++) {
            machine.damage(12_345 + i * 600_007);
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
        checkFirst = !checkFirst;
        long start = Result.cpuTime();
        long sum = checkFirst ? check() : sum();
        long middle = Result.cpuTime();
        sum += checkFirst ? sum() : check();
        long end = Result.cpuTime();
        double checked = checkFirst ? middle - start : end - middle;
        double summed = checkFirst ? end - middle : middle - start;
        ratios.add(checked / summed);
        gigabytesPerSecond.add(machine.used() / summed);
        return sum;
    }

    private long check() {
        Check check = Check.of(Reading.of(machine));
        violations = check.report().violations().size();
        notChecked = check.report().notChecked().size();
        checksum = 0xcbf29ce484222325L;
        for (Violation violation : check.report().violations()) {
            checksum = (checksum ^ violation.start() ^ violation.end() * 31 ^ violation.rule().ordinal())
                    * 0x100000001b3L;
        }
        return checksum;
    }

    private long sum() {
        long sum = 0;
        for (long place = 0; place < machine.used(); place += HugeMachine.PAGE) {
            sum += page(machine.bytes(), place);
        }
        return sum;
    }

    private static long page(MemorySegment bytes, long place) {
        long sum = 0;
        for (int index = 0; index < 512; index++) {
            sum += bytes.get(PhysicalMemory.LE64, place + index * 8L);
        }
        return sum;
    }

    @TearDown
    public void report() {
        check();
        if (violations != DAMAGED) {
            throw new IllegalStateException(violations + " violations, and " + DAMAGED + " pages are damaged");
        }
        new Result("check-256G")
                .with("bytes", machine.used())
                .with("violations", violations)
                .with("notChecked", notChecked)
                .with("pairs", ratios.size())
                .with("ratio", ratios.median())
                .with("GBperSecondOfTheSum", gigabytesPerSecond.median())
                .print(checksum);
        machine.close();
    }
}
