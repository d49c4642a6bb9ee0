package dev.s2snap.vmsa;

import java.lang.foreign.MemorySegment;

/// Makes an isomorphic copy of a table tree in other pages: leaves and annotations bit for bit, table pointers to the
/// copied pages.
///
/// One page copy per table, then a scan of the levels above the last for pointers to rewrite: last-level pages are
/// never looked into. Pages are allocated in pre-order, ascending input address, which makes the result predictable.
public final class TableCopy {

    /// Where the pages of the copy come from.
    @FunctionalInterface
    public interface Pages {
        /// Stands for "no more pages".
        long NONE = -1;

        /// Physical address of a page that is ours to overwrite, or [#NONE].
        long next();
    }

    private final TableGeometry geometry;
    private final WritableMemory memory;
    private final Pages pages;

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
            copyPage(from + page * geometry.granule(), to + page * geometry.granule());
        }
        for (int page = 0; page < geometry.rootPages(); page++) {
            if (!copyChildren(to + page * geometry.granule(), geometry.startLevel())) {
                return false;
            }
        }
        return true;
    }

    /// Number of pages that [#copy] takes from [Pages] for the tree at `root`.
    public static long pagesBelowRoot(TableGeometry geometry, PhysicalMemory memory, long root) {
        long sum = 0;
        for (int page = 0; page < geometry.rootPages(); page++) {
            sum += pagesBelow(geometry, memory, root + page * geometry.granule(), geometry.startLevel());
        }
        return sum;
    }

    private static long pagesBelow(TableGeometry geometry, PhysicalMemory memory, long table, int level) {
        if (level == TableGeometry.LAST_LEVEL) {
            return 0;
        }
        MemorySegment bytes = memory.bytes();
        long offset = memory.offset(table, geometry.granule());
        long sum = 0;
        for (int index = 0; index < geometry.entriesPerTable(); index++) {
            long descriptor = bytes.get(PhysicalMemory.LE64, offset + (long) index * Long.BYTES);
            if (Descriptor.table(descriptor, level)) {
                sum += 1 + pagesBelow(geometry, memory, geometry.tableAddress(descriptor), level + 1);
            }
        }
        return sum;
    }

    private boolean copyChildren(long table, int level) {
        if (level == TableGeometry.LAST_LEVEL) {
            return true;
        }
        MemorySegment bytes = memory.bytes();
        long offset = memory.writable(table, geometry.granule());
        for (int index = 0; index < geometry.entriesPerTable(); index++) {
            long place = offset + (long) index * Long.BYTES;
            long descriptor = bytes.get(PhysicalMemory.LE64, place);
            if (Descriptor.table(descriptor, level)) {
                long child = pages.next();
                if (child == Pages.NONE) {
                    return false;
                }
                copyPage(geometry.tableAddress(descriptor), child);
                bytes.set(PhysicalMemory.LE64, place, geometry.addressBits(child) | Descriptor.TYPE | Descriptor.VALID);
                if (!copyChildren(child, level + 1)) {
                    return false;
                }
            }
        }
        return true;
    }

    private void copyPage(long from, long to) {
        MemorySegment bytes = memory.bytes();
        long source = memory.offset(from, geometry.granule());
        long target = memory.writable(to, geometry.granule());
        MemorySegment.copy(bytes, source, bytes, target, geometry.granule());
    }
}
