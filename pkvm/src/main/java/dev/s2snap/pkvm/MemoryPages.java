package dev.s2snap.pkvm;

import java.util.ArrayList;
import java.util.List;

/// Whole pages of a region of memory, or a page that is memory in part: the kernel takes it for memory or not by the
/// address that it happens to ask for.
///
/// @param partly whether it is a page that is memory in part
record MemoryPages(long start, long end, boolean nomap, boolean partly) {

    /// @param regions ascending
    static List<MemoryPages> of(List<MemoryRegion> regions, long granule) {
        List<MemoryPages> pages = new ArrayList<>();
        for (MemoryRegion region : regions) {
            long first = (region.base() + granule - 1) & -granule;
            long last = region.end() & -granule;
            if (first != region.base()) {
                part(pages, first - granule, granule);
            }
            if (Long.compareUnsigned(first, last) < 0) {
                pages.add(new MemoryPages(first, last, region.nomap(), false));
            }
            if (last != region.end() && Long.compareUnsigned(first, last) <= 0) {
                part(pages, last, granule);
            }
        }
        return pages;
    }

    /// Two regions can have parts of one page.
    private static void part(List<MemoryPages> pages, long page, long granule) {
        if (pages.isEmpty() || pages.getLast().start() != page) {
            pages.add(new MemoryPages(page, page + granule, false, true));
        }
    }
}
