package dev.s2snap.bench;

import dev.s2snap.vmsa.WritableMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// The simplest physical memory there is: one contiguous run of bytes, off-heap.
final class PlainMemory implements WritableMemory, AutoCloseable {
    static final long BASE = 0x8000_0000L;

    private final Arena arena = Arena.ofConfined();
    private final MemorySegment bytes;

    PlainMemory(long size) {
        bytes = arena.allocate(size, 1 << 12);
    }

    @Override
    public MemorySegment bytes() {
        return bytes;
    }

    @Override
    public long offset(long address, long size) {
        long offset = address - BASE;
        return offset < 0 || offset > bytes.byteSize() - size ? ABSENT : offset;
    }

    @Override
    public long writable(long address, long size) {
        return offset(address, size);
    }

    @Override
    public void close() {
        arena.close();
    }
}
