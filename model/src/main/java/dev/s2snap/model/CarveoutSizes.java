package dev.s2snap.model;

import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.vmsa.TableGeometry;
import java.util.List;

/// How large the slices of the hypervisor's reservation are, in pages, in the order in which they lie there.
///
/// The pools hold the tables of the worst case: every page of memory mapped by itself, plus 1 GiB of devices.
///
/// @param hostStage2 also what a snapshot has to bring along
record CarveoutSizes(long vmemmap, long vmTable, long hypStage1, long hostStage2, long ffa) {

    /// 255 pointers, one for each VM.
    private static final long VM_TABLE_BYTES = 255L * Long.BYTES;

    /// Room for the root of the host's table: 16 concatenated pages.
    private static final int ROOT_PAGES = 16;

    long total() {
        return vmemmap + vmTable + hypStage1 + hostStage2 + ffa;
    }

    static CarveoutSizes of(List<MemoryRegion> regions, int pageShift) {
        long page = 1L << pageShift;
        long vmemmapBytes = 0;
        long tables = worstCase((1L << 30) >>> pageShift, pageShift);
        for (MemoryRegion region : regions) {
            long pages = region.size() >>> pageShift;
            long start = (region.base() >>> pageShift) * Vmemmap.ENTRY_SIZE;
            long end = start + pages * Vmemmap.ENTRY_SIZE;
            vmemmapBytes += ((end + page - 1) & -page) - (start & -page);
            tables += worstCase(pages, pageShift);
        }
        return new CarveoutSizes(
                vmemmapBytes >>> pageShift,
                (VM_TABLE_BYTES + page - 1) >>> pageShift,
                tables,
                tables + ROOT_PAGES,
                ffaPages(pageShift));
    }

    /// Table pages for `pages` pages in the worst case, over five levels (6.8 and later; 6.7 had four).
    private static long worstCase(long pages, int pageShift) {
        long total = 0;
        long count = pages;
        for (int level = TableGeometry.LAST_LEVEL; level >= TableGeometry.FIRST_LEVEL; level--) {
            count = Math.ceilDiv(count, 1L << (pageShift - 3));
            total += count;
        }
        return total;
    }

    /// The FF-A proxy's slice: its mailboxes and the descriptor buffer, as 6.12 sizes them.
    private static long ffaPages(int pageShift) {
        return switch (pageShift) {
            case 12 -> 11;
            case 14 -> 5;
            default -> 3;
        };
    }
}
