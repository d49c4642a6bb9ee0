package dev.s2snap.model;

/// Hands out pages of a physical range one after another; nothing is ever given back. They are zero because nobody has
/// used them since power-on.
final class EarlyAllocator {
    private final int pageShift;
    private final long base;
    private final long end;
    private long current;

    EarlyAllocator(int pageShift, long base, long size) {
        this.pageShift = pageShift;
        this.base = base;
        this.end = base + size;
        this.current = base;
    }

    /// Physical address of `pages` contiguous pages, or 0 if there is not enough room or `pages` is 0.
    long allocate(long pages) {
        long size = pages << pageShift;
        if (pages == 0 || end - current < size) {
            return 0;
        }
        long allocated = current;
        current += size;
        return allocated;
    }

    long pagesUsed() {
        return (current - base) >>> pageShift;
    }
}
