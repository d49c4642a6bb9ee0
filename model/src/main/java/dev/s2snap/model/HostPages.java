package dev.s2snap.model;

import dev.s2snap.pkvm.MemoryRegion;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/// The host's page allocator: physical pages that the kernel may use, first fit by address.
///
/// What the kernel does not use is what the configuration gives to the hypervisor, NOMAP regions, and pages at the
/// edges of regions that are memory only in part. All CPUs use it.
final class HostPages {
    private final int pageShift;
    /// Free extents: first byte to end, disjoint, not adjacent.
    private final TreeMap<Long, Long> free = new TreeMap<>();

    HostPages(ModelConfig config) {
        pageShift = config.pageShift;
        long mask = config.pageSize() - 1;
        for (MemoryRegion region : config.regions) {
            long start = region.base() + mask & ~mask;
            long end = region.end() & ~mask;
            if (!region.nomap() && start < end) {
                free.put(start, end);
            }
        }
        reserve(config.carveout, config.carveoutBytes());
        reserve(config.idmap);
        reserve(config.text);
        reserve(config.rodata);
        reserve(config.bss);
        reserve(config.vgic);
        long area = config.percpu.size() + mask & ~mask;
        reserve(config.percpu.base(), area * config.cpus);
        reserve(config.stack, config.pageSize() * config.cpus);
    }

    private void reserve(ModelConfig.Range range) {
        reserve(range.base(), range.size());
    }

    /// Takes whole pages out of the free extents, where they are in any.
    private void reserve(long base, long size) {
        if (size == 0) {
            return;
        }
        long mask = (1L << pageShift) - 1;
        long start = base & ~mask;
        long end = base + size + mask & ~mask;
        Map.Entry<Long, Long> extent = free.lowerEntry(end);
        while (extent != null && extent.getValue() > start) {
            free.remove(extent.getKey());
            if (extent.getKey() < start) {
                free.put(extent.getKey(), start);
            }
            if (extent.getValue() > end) {
                free.put(end, extent.getValue());
            }
            extent = free.lowerEntry(end);
        }
    }

    /// Physical address of `pages` contiguous pages, aligned to `alignment` bytes, or -1 if there are none.
    synchronized long allocate(long pages, long alignment) {
        long size = pages << pageShift;
        for (Map.Entry<Long, Long> extent : free.entrySet()) {
            long start = extent.getKey() + alignment - 1 & -alignment;
            if (start + size <= extent.getValue()) {
                reserve(start, size);
                return start;
            }
        }
        return -1;
    }

    /// Takes one page at a given address, if it is free.
    synchronized boolean take(long page) {
        if (!isFree(page)) {
            return false;
        }
        reserve(page, 1L << pageShift);
        return true;
    }

    /// Takes what is free of a range, for good.
    synchronized void leave(long base, long size) {
        reserve(base, size);
    }

    /// Whether the page with this address is free.
    synchronized boolean isFree(long address) {
        Map.Entry<Long, Long> extent = free.floorEntry(address);
        return extent != null && extent.getValue() > address;
    }

    /// Gives pages back.
    ///
    /// @throws IllegalStateException if some are free already
    synchronized void free(long base, long pages) {
        long end = base + (pages << pageShift);
        Map.Entry<Long, Long> below = free.lowerEntry(end);
        if (below != null && below.getValue() > base) {
            throw new IllegalStateException("page freed twice: 0x" + Long.toHexString(base));
        }
        long start = base;
        if (below != null && below.getValue() == base) {
            start = below.getKey();
        }
        Long above = free.remove(end);
        free.put(start, above != null ? above : end);
    }

    /// Free pages.
    synchronized long available() {
        return free.entrySet().stream()
                .mapToLong(extent -> (extent.getValue() - extent.getKey()) >>> pageShift)
                .sum();
    }

    /// First bytes and ends of the free extents, by address.
    synchronized SortedMap<Long, Long> extents() {
        return new TreeMap<>(free);
    }
}
