package dev.s2snap.pkvm;

/// A region of physical memory as the kernel's memblock lists it.
///
/// @param base first byte; not necessarily page-aligned
/// @param size bytes
/// @param flags memblock flags; [#NOMAP] is the one that matters
public record MemoryRegion(long base, long size, int flags) {

    /// MEMBLOCK_NOMAP: memory that the kernel must not map, and that pKVM lets nobody share or donate.
    public static final int NOMAP = 4;

    public long end() {
        return base + size;
    }

    public boolean contains(long address) {
        return Long.compareUnsigned(address, base) >= 0 && Long.compareUnsigned(address, end()) < 0;
    }

    public boolean nomap() {
        return (flags & NOMAP) != 0;
    }
}
