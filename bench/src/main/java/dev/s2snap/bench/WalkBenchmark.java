package dev.s2snap.bench;

import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;
import org.openjdk.jmh.infra.IterationParams;
import org.openjdk.jmh.runner.IterationType;

/// [LeafRuns] of 128 MiB of tables against a plain sum of the entries of the same pages in the same order. The two take
/// turns; the figure is the median of the ratios of pairs.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 5, time = 2)
@Measurement(iterations = 5, time = 2)
@Fork(2)
public class WalkBenchmark {

    @Param({"sequential", "shuffled"})
    public String layout;

    @Param({"16", "4096"})
    public int run;

    private PlainMemory memory;
    private TranslationTable table;
    private long[] places;

    private final Result.Series ratios = new Result.Series();
    private final Result.Series gigabytesPerSecond = new Result.Series();
    private boolean walkFirst;
    private long runs;
    private long checksum;

    @Setup
    public void build() {
        memory = new PlainMemory(TableTree.PAGES * TableTree.PAGE);
        TableTree tree = new TableTree(memory, PlainMemory.BASE, layout.equals("shuffled"), 1).fill(run);
        table = new TranslationTable(memory, TableTree.GEOMETRY, tree.pages[0]);
        places = tree.places();
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
        walkFirst = !walkFirst;
        long start = Result.cpuTime();
        long sum = walkFirst ? walk() : sum();
        long middle = Result.cpuTime();
        sum += walkFirst ? sum() : walk();
        long end = Result.cpuTime();
        double walked = walkFirst ? middle - start : end - middle;
        double summed = walkFirst ? end - middle : middle - start;
        ratios.add(walked / summed);
        gigabytesPerSecond.add(TableTree.PAGES * TableTree.PAGE / summed);
        return sum;
    }

    private long walk() {
        runs = 0;
        checksum = 0xcbf29ce484222325L;
        LeafRuns collector = new LeafRuns(TableTree.GEOMETRY, this::take);
        table.walk(collector);
        collector.finish();
        return checksum;
    }

    private void take(LeafRun leaf) {
        runs++;
        checksum = (checksum ^ leaf.start() ^ leaf.output() * 31 ^ leaf.bits() ^ leaf.end()) * 0x100000001b3L;
    }

    private long sum() {
        long sum = 0;
        MemorySegment bytes = memory.bytes();
        for (long place : places) {
            sum += page(bytes, place);
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
        walk();
        new Result("walk-" + layout + "-" + run)
                .with("runs", runs)
                .with("pairs", ratios.size())
                .with("ratio", ratios.median())
                .with("GBperSecondOfTheSum", gigabytesPerSecond.median())
                .print(checksum);
        memory.close();
    }
}
