package dev.s2snap.bench;

import dev.s2snap.model.Workbench;
import dev.s2snap.vmsa.TableCopy;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import dev.s2snap.vmsa.WritableMemory;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.TimeUnit;
import java.util.stream.LongStream;
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

/// [TableCopy] of 64 GiB mapped with 4K pages, 128 MiB of tables, against a copy of exactly the same pages with one
/// `MemorySegment.copy` each. The two take turns inside one invocation, and their order changes with every one: what
/// the machine does meanwhile, it does to both. The figure is the median of the ratios of pairs.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 5, time = 2)
@Measurement(iterations = 5, time = 2)
@Fork(3)
public class TableCopyBenchmark {
    private static final TableGeometry GEOMETRY = TableTree.GEOMETRY;
    private static final long PAGE = TableTree.PAGE;
    private static final int PAGES = TableTree.PAGES;

    /// Leaves between changes of attributes: each table page is one run.
    private static final int RUN = Integer.MAX_VALUE;

    @Param({"plain", "el2"})
    public String memory;

    @Param({"sequential", "shuffled"})
    public String layout;

    private AutoCloseable owner;
    private WritableMemory tables;
    private long source;
    private long target;

    /// Pages of the tree and of the copy, in pre-order, the root first; then their places.
    private long[] from;

    private long[] to;
    private long[] fromPlace;
    private long[] toPlace;

    private final Result.Series ratios = new Result.Series();
    private final Result.Series counting = new Result.Series();
    private final Result.Series gigabytesPerSecond = new Result.Series();
    private boolean tableCopyFirst;
    private int taken;

    @Setup
    public void build() {
        if (memory.equals("plain")) {
            PlainMemory plain = new PlainMemory(2 * PAGES * PAGE);
            owner = plain;
            tables = plain;
            source = PlainMemory.BASE;
        } else {
            Workbench bench = new Workbench(3L << 30);
            owner = bench;
            tables = bench.el2Memory();
            source = 0xc000_0000L;
            bench.donate(source, source + 2 * PAGES * PAGE);
        }
        target = source + PAGES * PAGE;
        boolean shuffled = layout.equals("shuffled");
        TableTree tree = new TableTree(tables, source, shuffled, 1).fill(RUN);
        from = tree.pages;
        to = new TableTree(tables, target, shuffled, 2).pages;
        for (long page : to) {
            tree.set(page, 1);
        }
        fromPlace = LongStream.of(from).map(page -> tables.offset(page, PAGE)).toArray();
        toPlace = LongStream.of(to).map(page -> tables.writable(page, PAGE)).toArray();
    }

    @TearDown(Level.Iteration)
    public void forgetWarmup(IterationParams iteration) {
        if (iteration.getType() == IterationType.WARMUP) {
            ratios.clear();
            counting.clear();
            gigabytesPerSecond.clear();
        }
    }

    @Benchmark
    public long pair() {
        tableCopyFirst = !tableCopyFirst;
        long start = Result.cpuTime();
        if (tableCopyFirst) {
            copyTable();
        } else {
            copyPages();
        }
        long middle = Result.cpuTime();
        if (tableCopyFirst) {
            copyPages();
        } else {
            copyTable();
        }
        long end = Result.cpuTime();
        long count = TableCopy.pagesBelowRoot(GEOMETRY, tables, from[0]);
        long counted = Result.cpuTime();
        double table = tableCopyFirst ? middle - start : end - middle;
        double pages = tableCopyFirst ? end - middle : middle - start;
        ratios.add(table / pages);
        counting.add((counted - end) / pages);
        gigabytesPerSecond.add(PAGES * PAGE / pages);
        return count;
    }

    private void copyTable() {
        taken = TableTree.ROOT_PAGES;
        if (!new TableCopy(GEOMETRY, tables, this::next).copy(from[0], to[0])) {
            throw new IllegalStateException("pages ran out");
        }
    }

    private long next() {
        return to[taken++];
    }

    private void copyPages() {
        MemorySegment bytes = tables.bytes();
        for (int i = 0; i < PAGES; i++) {
            MemorySegment.copy(bytes, fromPlace[i], bytes, toPlace[i], PAGE);
        }
    }

    @TearDown
    public void report() throws Exception {
        copyTable();
        new Result("table-copy-" + memory + "-" + layout)
                .with("tablePages", PAGES)
                .with("pairs", ratios.size())
                .with("ratio", ratios.median())
                .with("ratioOfCountingPass", counting.median())
                .with("GBperSecond", gigabytesPerSecond.median())
                .print(Workbench.checksum(new TranslationTable(tables, GEOMETRY, to[0])));
        owner.close();
    }
}
