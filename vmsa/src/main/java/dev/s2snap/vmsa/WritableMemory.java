package dev.s2snap.vmsa;

/// Physical memory that can be written in place, as far as an address is writable at all.
public interface WritableMemory extends PhysicalMemory {

    /// As [#offset(long, long)], for a store: the place of `size` bytes that may be written, or [#ABSENT].
    long writable(long address, long size);
}
