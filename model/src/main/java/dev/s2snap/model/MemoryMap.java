package dev.s2snap.model;

import dev.s2snap.pkvm.MemoryRegion;
import java.util.List;

/// The hypervisor's copy of the memory regions (`hyp_memory[]`), and the questions it asks of them.
///
/// Addresses are unsigned; a gap may end at 2^64 - 1.
final class MemoryMap {
    private final long[] base;
    private final long[] end;
    private final boolean[] nomap;

    MemoryMap(List<MemoryRegion> regions) {
        base = new long[regions.size()];
        end = new long[base.length];
        nomap = new boolean[base.length];
        for (int i = 0; i < base.length; i++) {
            base[i] = regions.get(i).base();
            end[i] = regions.get(i).end();
            nomap[i] = regions.get(i).nomap();
        }
    }

    int count() {
        return base.length;
    }

    long base(int region) {
        return base[region];
    }

    long end(int region) {
        return end[region];
    }

    /// Index of the region that contains `address`, or, in a gap, -1 less the number of regions below it.
    int find(long address) {
        int left = 0;
        int right = base.length;
        while (left < right) {
            int middle = (left + right) >>> 1;
            if (Long.compareUnsigned(address, base[middle]) < 0) {
                right = middle;
            } else if (Long.compareUnsigned(address, end[middle]) >= 0) {
                left = middle + 1;
            } else {
                return middle;
            }
        }
        return -1 - left;
    }

    /// First address of the region or gap that [#find] answered with.
    long rangeStart(int found) {
        int below = -1 - found;
        return found >= 0 ? base[found] : below == 0 ? 0 : end[below - 1];
    }

    /// End of the region or gap that [#find] answered with.
    long rangeEnd(int found) {
        int above = -1 - found;
        return found >= 0 ? end[found] : above == base.length ? -1 : base[above];
    }

    boolean isMemory(long address) {
        return find(address) >= 0;
    }

    /// In a region that may be mapped.
    boolean isAllowedMemory(long address) {
        int region = find(address);
        return region >= 0 && !nomap[region];
    }

    /// Whether first and last byte of [start, end) are in the same region.
    boolean isRangeMemory(long start, long end) {
        int region = find(start);
        return region >= 0 && contains(region, end - 1);
    }

    /// As [#isRangeMemory], for a region that may be mapped.
    boolean isRangeAllowedMemory(long start, long end) {
        int region = find(start);
        return region >= 0 && !nomap[region] && contains(region, end - 1);
    }

    private boolean contains(int region, long address) {
        return Long.compareUnsigned(base[region], address) <= 0 && Long.compareUnsigned(address, end[region]) < 0;
    }

    /// Bytes of all regions.
    long size() {
        long sum = 0;
        for (int i = 0; i < base.length; i++) {
            sum += end[i] - base[i];
        }
        return sum;
    }
}
