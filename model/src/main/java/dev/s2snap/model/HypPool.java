package dev.s2snap.model;

import java.util.Arrays;
import java.util.stream.LongStream;

/// The hypervisor's buddy allocator. Free lists are first in, first out, hence allocation is deterministic.
///
/// The list nodes lie in the free pages themselves: the first two words are the EL2 addresses of the next and the
/// previous node. The list heads are objects of the hypervisor's data section, which is not part of the modelled
/// memory: their stand-in addresses lie below the private range and are never dereferenced.
final class HypPool {
    /// MAX_ORDER, inclusive: 10, 11, 13 for 4K, 16K, 64K pages.
    private static int maxOrder(int pageShift) {
        return switch (pageShift) {
            case 12 -> 10;
            case 14 -> 11;
            default -> 13;
        };
    }

    private static final long NO_PAGE = -1;
    private static final int NEXT = 0;
    private static final int PREVIOUS = Long.BYTES;

    private final El2Memory memory;
    private final AddressMap map;
    private final Vmemmap vmemmap;
    private final int pageShift;
    private final HypLock lock;
    private final long start;
    private final long end;
    private final int maxOrder;
    private final long headAddress;
    private final long[] first;
    private final long[] last;
    private long freePages;

    /// Takes `pages` pages from physical address `start` on, which nobody has used since power-on; the first `reserved`
    /// are in use already.
    ///
    /// @param id tells the pools of a machine apart, from 0
    HypPool(
            int id,
            El2Memory memory,
            AddressMap map,
            Vmemmap vmemmap,
            int pageShift,
            long start,
            long pages,
            long reserved) {
        this("pool " + id, map.ioBase() - ((long) (id + 1) << 12), memory, map, vmemmap, pageShift, start, pages);
        for (long i = 0; i < reserved; i++) {
            vmemmap.setRefcounted(start + (i << pageShift));
        }
        attachFresh(start + (reserved << pageShift));
    }

    private HypPool(
            String name,
            long headAddress,
            El2Memory memory,
            AddressMap map,
            Vmemmap vmemmap,
            int pageShift,
            long start,
            long pages) {
        this.memory = memory;
        this.map = map;
        this.vmemmap = vmemmap;
        this.pageShift = pageShift;
        this.start = start;
        this.end = start + (pages << pageShift);
        this.maxOrder = Math.min(maxOrder(pageShift), order(pages << pageShift, pageShift));
        this.lock = new HypLock("pool " + name, HypLock.Rank.POOL, memory.cpus());
        this.headAddress = headAddress;
        this.first = new long[maxOrder + 1];
        this.last = new long[maxOrder + 1];
        Arrays.fill(first, NO_PAGE);
        Arrays.fill(last, NO_PAGE);
    }

    /// A pool of pages that somebody has used: each is given a reference, then put, which zeroes it.
    ///
    /// @param headAddress EL2 address of the list heads, 16 bytes for each order
    static HypPool ofUsedPages(
            String name,
            long headAddress,
            El2Memory memory,
            AddressMap map,
            Vmemmap vmemmap,
            int pageShift,
            long start,
            long pages) {
        HypPool pool = new HypPool(name, headAddress, memory, map, vmemmap, pageShift, start, pages);
        for (long i = 0; i < pages; i++) {
            vmemmap.setRefcounted(start + (i << pageShift));
        }
        for (long i = 0; i < pages; i++) {
            pool.put(start + (i << pageShift));
        }
        return pool;
    }

    /// Frees [from, end), which nobody has used since power-on. The kernel does it page by page, zeroing each; what
    /// comes out is the largest aligned blocks, by address in the list of their order, and that is made here directly,
    /// so that a large machine does not cost the memory of its pools.
    private void attachFresh(long from) {
        long page = from;
        while (page < end) {
            int order = Math.min(maxOrder, Long.numberOfTrailingZeros(page >>> pageShift));
            while (page + (1L << (pageShift + order)) > end) {
                order--;
            }
            vmemmap.order(page, order);
            for (long i = 1; i < 1L << order; i++) {
                vmemmap.order(page + (i << pageShift), Vmemmap.NO_ORDER);
            }
            append(page, order);
            page += 1L << (pageShift + order);
        }
    }

    /// `get_order`: log2 of the number of pages that hold `size` bytes, rounded up.
    static int order(long size, int pageShift) {
        long pages = (size - 1) >>> pageShift;
        return 64 - Long.numberOfLeadingZeros(pages);
    }

    long start() {
        return start;
    }

    long end() {
        return end;
    }

    int maxOrder() {
        return maxOrder;
    }

    /// Pages in the free lists, of all orders: so many single pages can be allocated.
    long freePages() {
        return freePages;
    }

    /// A zeroed block of 2^order pages with reference count 1, or 0 if there is none.
    ///
    /// @return physical address
    long allocate(int order) {
        lock.lock();
        int found = order;
        while (found <= maxOrder && first[found] == NO_PAGE) {
            found++;
        }
        if (found > maxOrder) {
            lock.unlock();
            return 0;
        }
        long page = first[found];
        remove(page, found);
        vmemmap.order(page, found);
        while (found > order) {
            found--;
            vmemmap.order(page, found);
            long buddy = page ^ 1L << (pageShift + found);
            vmemmap.order(buddy, found);
            append(buddy, found);
        }
        vmemmap.setRefcounted(page);
        lock.unlock();
        return page;
    }

    /// Makes the pages of a block independent of each other.
    void split(long page) {
        int order = vmemmap.order(page);
        vmemmap.order(page, 0);
        for (long i = 1; i < 1L << order; i++) {
            long tail = page + (i << pageShift);
            vmemmap.order(tail, 0);
            vmemmap.setRefcounted(tail);
        }
    }

    void get(long page) {
        lock.lock();
        vmemmap.increment(page);
        lock.unlock();
    }

    /// Drops a reference; the last one frees the block.
    void put(long page) {
        lock.lock();
        if (vmemmap.decrement(page) == 0) {
            attach(page);
        }
        lock.unlock();
    }

    private void attach(long freed) {
        long page = freed;
        int order = vmemmap.order(page);
        memory.zeroPages(map.hypVa(page), 1L << (pageShift + order));
        if (Long.compareUnsigned(page, start) >= 0 && Long.compareUnsigned(page, end) < 0) {
            while (order + 1 <= maxOrder) {
                long buddy = page ^ 1L << (pageShift + order);
                if (Long.compareUnsigned(buddy, start) < 0
                        || Long.compareUnsigned(buddy, end) >= 0
                        || vmemmap.order(buddy) != order
                        || vmemmap.refcount(buddy) != 0) {
                    break;
                }
                remove(buddy, order);
                vmemmap.order(buddy, Vmemmap.NO_ORDER);
                vmemmap.order(page, Vmemmap.NO_ORDER);
                page = Math.min(page, buddy);
                order++;
            }
        }
        vmemmap.order(page, order);
        append(page, order);
    }

    private void append(long page, int order) {
        long node = map.hypVa(page);
        long head = headAddress + order * 16L;
        long previous = last[order];
        memory.write64(node + NEXT, head);
        memory.write64(node + PREVIOUS, previous == NO_PAGE ? head : map.hypVa(previous));
        if (previous == NO_PAGE) {
            first[order] = page;
        } else {
            memory.write64(map.hypVa(previous) + NEXT, node);
        }
        last[order] = page;
        freePages += 1L << order;
    }

    private void remove(long page, int order) {
        long node = map.hypVa(page);
        long head = headAddress + order * 16L;
        long next = memory.read64(node + NEXT);
        long previous = memory.read64(node + PREVIOUS);
        if (previous == head) {
            first[order] = next == head ? NO_PAGE : map.hypPa(next);
        } else {
            memory.write64(previous + NEXT, next);
        }
        if (next == head) {
            last[order] = previous == head ? NO_PAGE : map.hypPa(previous);
        } else {
            memory.write64(next + PREVIOUS, previous);
        }
        memory.write64(node + NEXT, 0);
        memory.write64(node + PREVIOUS, 0);
        freePages -= 1L << order;
    }

    /// Physical addresses of the free blocks of one order, head to tail, read from physical memory.
    long[] freeList(int order, Ram ram) {
        LongStream.Builder pages = LongStream.builder();
        long head = headAddress + order * 16L;
        for (long page = first[order]; page != NO_PAGE; ) {
            pages.add(page);
            long next = ram.get(page + NEXT);
            page = next == head ? NO_PAGE : map.hypPa(next);
        }
        return pages.build().toArray();
    }
}
