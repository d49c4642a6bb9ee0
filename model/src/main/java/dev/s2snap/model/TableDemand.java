package dev.s2snap.model;

import static dev.s2snap.vmsa.TableGeometry.LAST_LEVEL;

import dev.s2snap.vmsa.Descriptor;

/// How many table pages an operation is going to need, without doing it.
final class TableDemand {
    private final PageTable table;

    TableDemand(PageTable table) {
        this.table = table;
    }

    /// Table pages that are missing for every page of [start, end) to have a level-3 entry of its own.
    long missing(long start, long end) {
        int level = table.geometry().startLevel();
        long size = table.entrySize(level);
        long sum = 0;
        for (long slot = start & -size; slot < end; slot += size) {
            // Entries of concatenated root pages are numbered through.
            long entry = map(table.root() + (slot >>> table.geometry().shift(level)) * Long.BYTES);
            sum += missing(entry, level, Math.max(slot, start), Math.min(slot + size, end));
        }
        return sum;
    }

    private long map(long physical) {
        return table.memory.virtual(physical);
    }

    /// [start, end) lies inside the slot of `entry`.
    private long missing(long entry, int level, long start, long end) {
        if (level == LAST_LEVEL) {
            return 0;
        }
        long descriptor = table.memory.read64(entry);
        if (!Descriptor.table(descriptor, level)) {
            return subtree(level, start, end);
        }
        long size = table.entrySize(level + 1);
        long sum = 0;
        for (long slot = start & -size; slot < end && level + 1 < LAST_LEVEL; slot += size) {
            long child = table.follow(descriptor) + (long) table.geometry().index(slot, level + 1) * Long.BYTES;
            sum += missing(child, level + 1, Math.max(slot, start), Math.min(slot + size, end));
        }
        return sum;
    }

    /// Tables below an entry of `level` that is none yet: one for each slot that the range touches, at each level.
    private long subtree(int level, long start, long end) {
        long sum = 0;
        for (int l = level; l < LAST_LEVEL; l++) {
            long size = table.entrySize(l);
            sum += ((end + size - 1 & -size) - (start & -size))
                    >>> table.geometry().shift(l);
        }
        return sum;
    }

    /// Table pages that `unmap_dev_all` would set free, without those on the way to [start, end): if one of them is
    /// freed, it is needed again at once.
    long recyclable(MemoryMap regions, long start, long end) {
        Recycle recycle = new Recycle(regions, start, end);
        int level = table.geometry().startLevel();
        for (long i = 0; i < table.geometry().rootEntries(); i++) {
            recycle.remains(
                    map(table.root() + i * Long.BYTES),
                    level,
                    i << table.geometry().shift(level));
        }
        return recycle.freed;
    }

    private final class Recycle {
        private final MemoryMap regions;
        private final long start;
        private final long end;
        long freed;

        Recycle(MemoryMap regions, long start, long end) {
            this.regions = regions;
            this.start = start;
            this.end = end;
        }

        /// Whether the entry is still there afterwards.
        boolean remains(long entry, int level, long address) {
            long descriptor = table.memory.read64(entry);
            if (descriptor == 0) {
                return false;
            }
            long size = table.entrySize(level);
            if (!touchesDevices(address, address + size)) {
                return true;
            }
            if (!Descriptor.table(descriptor, level)) {
                return false;
            }
            boolean any = false;
            for (int i = 0; i < table.entriesPerTable(); i++) {
                any |= remains(
                        table.follow(descriptor) + (long) i * Long.BYTES,
                        level + 1,
                        address + i * table.entrySize(level + 1));
            }
            boolean onTheWay = address < end && start < address + size;
            if (!any && !onTheWay) {
                freed++;
                return false;
            }
            return true;
        }

        /// Whether a walk over what is not memory, rounded out to pages, touches [from, to).
        private boolean touchesDevices(long from, long to) {
            long page = 1L << table.pageShift;
            long gap = 0;
            for (int i = 0; i < regions.count(); i++) {
                if (overlaps(from, to, gap, regions.base(i), page)) {
                    return true;
                }
                gap = regions.end(i);
            }
            return overlaps(from, to, gap, table.geometry().inputSize(), page);
        }

        private boolean overlaps(long from, long to, long gap, long gapEnd, long page) {
            long first = gap & -page;
            long last = first + (gapEnd - gap) + page - 1 & -page;
            return first < last && first < to && from < last;
        }
    }
}
