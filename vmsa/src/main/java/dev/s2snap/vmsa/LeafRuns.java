package dev.s2snap.vmsa;

import dev.s2snap.vmsa.TableCounts.Kind;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/// Collects the leaves of a walk as maximal [LeafRun]s in ascending input address, with counts and findings.
public final class LeafRuns implements EntryVisitor {
    private final TableGeometry geometry;
    private final Consumer<LeafRun> sink;
    private final TableCounts counts = new TableCounts();
    private final List<Finding> findings = new ArrayList<>();

    // The open run; `open` false means none.
    private boolean open;
    private long start;
    private long end;
    private int level;
    private LeafRun.Kind kind = LeafRun.Kind.INVALID;
    private long output;
    private long bits;

    /// A collector that passes each run to `sink` as soon as it is complete.
    public LeafRuns(TableGeometry geometry, Consumer<LeafRun> sink) {
        this.geometry = geometry;
        this.sink = sink;
    }

    /// Walks the whole table and keeps everything.
    public static Result of(TranslationTable table) {
        List<LeafRun> runs = new ArrayList<>();
        LeafRuns collector = new LeafRuns(table.geometry(), runs::add);
        table.walk(collector);
        collector.finish();
        return new Result(runs, collector.counts, collector.findings);
    }

    /// A whole table as runs.
    ///
    /// @param findings empty if the table is completely readable and well formed
    public record Result(List<LeafRun> runs, TableCounts counts, List<Finding> findings) {
        /// Whether every table page could be read and entered.
        public boolean complete() {
            return findings.stream()
                    .noneMatch(f -> f.rule() == Finding.Rule.ABSENT_TABLE
                            || f.rule() == Finding.Rule.TABLE_CYCLE
                            || f.rule() == Finding.Rule.SHARED_TABLE);
        }
    }

    /// Passes on the last run. To be called once, behind the walk.
    public void finish() {
        if (open) {
            sink.accept(new LeafRun(start, end, level, kind, output, bits));
            open = false;
        }
    }

    public TableCounts counts() {
        return counts;
    }

    public List<Finding> findings() {
        return findings;
    }

    @Override
    public void table(long address, int level, long inputAddress) {
        counts.add(Kind.TABLES, level, 1);
    }

    @Override
    public void finding(Finding finding) {
        findings.add(finding);
    }

    @Override
    public void entries(MemorySegment bytes, long offset, int count, int level, long inputAddress) {
        long size = geometry.entrySize(level);
        long mask = geometry.outputMask(level);
        boolean last = level == TableGeometry.LAST_LEVEL;
        long leafType = last ? 3 : geometry.blocksAt(level) ? 1 : -1;
        int empty = 0;
        int leaves = 0;
        long input = inputAddress;
        for (int index = 0; index < count; index++, input += size) {
            long descriptor = bytes.get(PhysicalMemory.LE64, offset + (long) index * Long.BYTES);
            if (descriptor == 0) {
                empty++;
            } else if ((descriptor & 3) == leafType) {
                leaves++;
                long address = geometry.outputAddress(descriptor, level);
                if (open
                        && kind != LeafRun.Kind.INVALID
                        && this.level == level
                        && end == input
                        && bits == (descriptor & ~mask)
                        && address == output + (input - start)) {
                    end = input + size;
                } else {
                    begin(input, level, last ? LeafRun.Kind.PAGE : LeafRun.Kind.BLOCK, address, descriptor & ~mask);
                }
            } else if (open
                    && kind == LeafRun.Kind.INVALID
                    && this.level == level
                    && end == input
                    && bits == descriptor) {
                end = input + size;
            } else {
                begin(input, level, LeafRun.Kind.INVALID, 0, descriptor);
            }
        }
        counts.add(Kind.EMPTY, level, empty);
        counts.add(Kind.LEAVES, level, leaves);
        counts.add(Kind.ANNOTATED, level, (long) count - empty - leaves);
    }

    private void begin(long input, int level, LeafRun.Kind kind, long output, long bits) {
        finish();
        open = true;
        start = input;
        end = input + geometry.entrySize(level);
        this.level = level;
        this.kind = kind;
        this.output = output;
        this.bits = bits;
    }
}
