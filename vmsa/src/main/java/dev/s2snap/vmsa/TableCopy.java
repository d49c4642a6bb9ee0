package dev.s2snap.vmsa;

import java.lang.foreign.MemorySegment;

/// Makes an isomorphic copy of a table tree in other pages: leaves and annotations bit for bit, table pointers to the
/// copied pages.
///
/// Whole pages are copied, then the levels above the last are scanned for pointers to rewrite: last-level pages are
/// never looked into. Where original and copy lie in step, as tables made one after another do, a run of last-level
/// pages is one copy. Pages are allocated in pre-order, ascending input address, which makes the result predictable.
public final class TableCopy {

    /// Where the pages of the copy come from.
    @FunctionalInterface
    public interface Pages {
        /// Stands for "no more pages".
        long NONE = -1;

        /// Physical address of a page that is ours to overwrite, or [#NONE]. It is overwritten after further calls,
        /// but not looked into before.
        long next();
    }

    private final TableGeometry geometry;
    private final WritableMemory memory;
    private final Pages pages;

    // The run that waits to be copied: places in the memory's segment, and a size in bytes that may be 0.
    private long runSource;
    private long runTarget;
    private long runSize;

    /// @param memory holds both the tree and the pages of the copy
    public TableCopy(TableGeometry geometry, WritableMemory memory, Pages pages) {
        this.geometry = geometry;
        this.memory = memory;
        this.pages = pages;
    }

    /// Copies the root of `from` over the pages at `to`, then the tree below it. Bytes of a partial root page beyond
    /// the root's own are copied too: whole pages are.
    ///
    /// @param to physical address of as many contiguous pages as the root has
    /// @return false if [Pages] ran out: the copy is then incomplete and still has pointers into the original
    public boolean copy(long from, long to) {
        for (int page = 0; page < geometry.rootPages(); page++) {
            append(from + page * geometry.granule(), to + page * geometry.granule());
        }
        flush();
        boolean complete = true;
        for (int page = 0; complete && page < geometry.rootPages(); page++) {
            complete = copyChildren(to + page * geometry.granule(), geometry.startLevel(), rootEntries(geometry));
        }
        flush();
        return complete;
    }

    /// Number of pages that [#copy] takes from [Pages] for the tree at `root`.
    public static long pagesBelowRoot(TableGeometry geometry, PhysicalMemory memory, long root) {
        long sum = 0;
        for (int page = 0; page < geometry.rootPages(); page++) {
            long address = root + page * geometry.granule();
            sum += pagesBelow(geometry, memory, address, geometry.startLevel(), rootEntries(geometry));
        }
        return sum;
    }

    /// Entries to look at in each page of the root, which may use only a part of it.
    private static int rootEntries(TableGeometry geometry) {
        return Math.min(geometry.rootEntries(), geometry.entriesPerTable());
    }

    private static long pagesBelow(TableGeometry geometry, PhysicalMemory memory, long table, int level, int entries) {
        if (level == TableGeometry.LAST_LEVEL) {
            return 0;
        }
        MemorySegment bytes = memory.bytes();
        long offset = memory.offset(table, (long) entries * Long.BYTES);
        boolean childrenAreLast = level + 1 == TableGeometry.LAST_LEVEL;
        long sum = 0;
        for (int index = 0; index < entries; index++) {
            long descriptor = bytes.get(PhysicalMemory.LE64, offset + (long) index * Long.BYTES);
            if (Descriptor.table(descriptor, level)) {
                sum++;
                if (!childrenAreLast) {
                    long child = geometry.tableAddress(descriptor);
                    sum += pagesBelow(geometry, memory, child, level + 1, geometry.entriesPerTable());
                }
            }
        }
        return sum;
    }

    /// @param table of the copy: holds what the original holds, and gets pointers to copies for its pointers
    private boolean copyChildren(long table, int level, int entries) {
        if (level == TableGeometry.LAST_LEVEL) {
            return true;
        }
        MemorySegment bytes = memory.bytes();
        long offset = memory.writable(table, (long) entries * Long.BYTES);
        boolean childrenAreLast = level + 1 == TableGeometry.LAST_LEVEL;
        for (int index = 0; index < entries; index++) {
            long place = offset + (long) index * Long.BYTES;
            long descriptor = bytes.get(PhysicalMemory.LE64, place);
            if (Descriptor.table(descriptor, level)) {
                long child = pages.next();
                if (child == Pages.NONE) {
                    return false;
                }
                append(geometry.tableAddress(descriptor), child);
                bytes.set(PhysicalMemory.LE64, place, geometry.addressBits(child) | Descriptor.TYPE | Descriptor.VALID);
                if (!childrenAreLast) {
                    flush();
                    if (!copyChildren(child, level + 1, geometry.entriesPerTable())) {
                        return false;
                    }
                }
            }
        }
        return true;
    }

    /// Copies a page, now or with those behind it.
    private void append(long from, long to) {
        long source = memory.offset(from, geometry.granule());
        long target = memory.writable(to, geometry.granule());
        if (source != runSource + runSize || target != runTarget + runSize) {
            flush();
            runSource = source;
            runTarget = target;
        }
        runSize += geometry.granule();
    }

    private void flush() {
        MemorySegment bytes = memory.bytes();
        MemorySegment.copy(bytes, runSource, bytes, runTarget, runSize);
        runSize = 0;
    }
}
