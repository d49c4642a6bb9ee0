package dev.s2snap.vmsa;

import dev.s2snap.vmsa.Finding.Rule;
import dev.s2snap.vmsa.TableCounts.Kind;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/// Collects the leaves of a walk as maximal [LeafRun]s in ascending input address, with counts and findings.
public final class LeafRuns implements EntryVisitor {
    /// No descriptor has these two low bits.
    private static final long NO_LEAVES = -1;

    private final TableGeometry geometry;
    private final Consumer<LeafRun> sink;
    private final TableCounts counts = new TableCounts();
    private final List<Finding> findings = new ArrayList<>();
    private final Map<Rule, Long> unlisted = new EnumMap<>(Rule.class);
    private final List<Unread> unread = new ArrayList<>();
    private long unreadBytes;
    private long tableAttributes;
    private boolean clean;

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
        return new Result(
                runs,
                collector.counts,
                collector.findings,
                collector.unlisted,
                collector.unread,
                collector.unreadBytes,
                collector.tableAttributes);
    }

    /// A range of input addresses about which the table could not be asked.
    ///
    /// @param end exclusive; 0 is the end of the upper range
    public record Unread(long start, long end) {}

    /// A whole table as runs.
    ///
    /// @param findings empty if the table is completely readable and well formed
    /// @param unlisted how many findings there are beyond [TranslationTable#LISTED_FINDINGS] of a rule
    /// @param unread what could not be read, ascending; the last one goes on to the end if there are very many
    /// @param unreadBytes how much of the input address space could not be read
    /// @param tableAttributes what table descriptors restrict: [Descriptor#TABLE_ATTRIBUTES] of all of them, or-ed
    public record Result(
            List<LeafRun> runs,
            TableCounts counts,
            List<Finding> findings,
            Map<Rule, Long> unlisted,
            List<Unread> unread,
            long unreadBytes,
            long tableAttributes) {

        /// Whether every table page could be read and entered.
        public boolean complete() {
            return unreadBytes == 0;
        }

        /// Number of findings of all rules, listed or not.
        public long totalFindings() {
            return findings.size()
                    + unlisted.values().stream().mapToLong(Long::longValue).sum();
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
    public void unlisted(Rule rule, long number) {
        unlisted.put(rule, number);
    }

    @Override
    public void tableAttributes(long bits) {
        tableAttributes = bits;
    }

    @Override
    public void unread(long inputAddress, long size) {
        unreadBytes += size;
        if (!unread.isEmpty()
                && (unread.getLast().end() == inputAddress || unread.size() >= TranslationTable.LISTED_FINDINGS)) {
            unread.add(new Unread(unread.removeLast().start(), inputAddress + size));
        } else {
            unread.add(new Unread(inputAddress, inputAddress + size));
        }
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
        long leafType = level == TableGeometry.LAST_LEVEL ? 3 : geometry.blocksAt(level) ? Descriptor.VALID : NO_LEAVES;
        long suspect = geometry.suspectBits(level);
        long mask = geometry.outputMask(level);
        long carry = geometry.addressEnd();
        int shift = geometry.shift(level);
        long suspicious = 0;
        int empty = 0;
        int leaves = 0;
        int index = 0;
        while (index < count) {
            long descriptor = bytes.get(PhysicalMemory.LE64, offset + (long) index * Long.BYTES);
            boolean leaf = (descriptor & 3) == leafType;
            // What most entries do: a mapping goes on where the one before it ended, anything else repeats itself.
            // Up to where adding would carry out of the address bits.
            int end = leaf ? (int) Math.min(count, index + ((carry - (descriptor & carry - size)) >>> shift)) : count;
            int same = alike(bytes, offset, index, end, descriptor, leaf ? size : 0);
            long input = inputAddress + index * size;
            if (descriptor == 0) {
                empty += same;
            } else {
                // The last one has the highest address; of the other bits all have the same.
                long last = descriptor + (leaf ? (same - 1) * size : 0);
                suspicious |= leaf ? (descriptor | last) & suspect : descriptor & Descriptor.VALID;
                leaves += leaf ? same : 0;
                extend(input, same * size, level, leaf, descriptor, leaf ? mask : 0);
            }
            index += same;
        }
        clean = suspicious == 0;
        counts.add(Kind.EMPTY, level, empty);
        counts.add(Kind.LEAVES, level, leaves);
        counts.add(Kind.ANNOTATED, level, (long) count - empty - leaves);
    }

    @Override
    public boolean clean() {
        return clean;
    }

    /// How many entries from `index` on, before `end`, are `descriptor` plus `step` for each one that they are away.
    private static int alike(MemorySegment bytes, long offset, int index, int end, long descriptor, long step) {
        int next = index + 1;
        long expected = descriptor + step;
        while (next < end && bytes.get(PhysicalMemory.LE64, offset + (long) next * Long.BYTES) == expected) {
            next++;
            expected += step;
        }
        return next - index;
    }

    /// Adds entries of one kind to the open run, or opens one with them.
    ///
    /// @param mask address bits of `descriptor`, none if it is no leaf
    private void extend(long input, long size, int level, boolean leaf, long descriptor, long mask) {
        long output = geometry.address(descriptor, mask);
        long rest = descriptor & ~mask;
        if (open
                && end == input
                && bits == rest
                && this.level == level
                && leaf == (kind != LeafRun.Kind.INVALID)
                && (!leaf || output == this.output + (input - start))) {
            end = input + size;
            return;
        }
        finish();
        open = true;
        start = input;
        end = input + size;
        this.level = level;
        kind = !leaf
                ? LeafRun.Kind.INVALID
                : level == TableGeometry.LAST_LEVEL ? LeafRun.Kind.PAGE : LeafRun.Kind.BLOCK;
        this.output = output;
        bits = rest;
    }
}
