package dev.s2snap.vmsa;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.Map;

/// Physical memory for tests: single pages anywhere, off-heap, in the order in which they were added. What was not
/// added
/// is absent. A first page that belongs to nobody keeps places apart from addresses.
final class TestMemory implements WritableMemory {
    private final int pageShift;
    private final MemorySegment bytes;
    private final Map<Long, Long> places = new HashMap<>();
    private long next;

    /// @param pages how many can be added
    TestMemory(int pageShift, int pages) {
        this.pageShift = pageShift;
        bytes = Arena.ofAuto().allocate((pages + 1L) << pageShift, 8);
        next = 1L << pageShift;
    }

    /// Adds `count` zeroed pages, which are contiguous also in the segment.
    ///
    /// @return `address`
    long add(long address, int count) {
        for (int i = 0; i < count; i++) {
            if (places.put((address >>> pageShift) + i, next) != null) {
                throw new IllegalArgumentException("page added twice");
            }
            next += 1L << pageShift;
        }
        return address;
    }

    int pages() {
        return places.size();
    }

    void set(long address, long value) {
        bytes.set(LE64, place(address), value);
    }

    long get(long address) {
        return bytes.get(LE64, place(address));
    }

    private long place(long address) {
        long offset = offset(address, Long.BYTES);
        if (offset == ABSENT) {
            throw new AssertionError("test memory has nothing at 0x" + Long.toHexString(address));
        }
        return offset;
    }

    /// All words of one page.
    long[] page(long address) {
        long[] words = new long[1 << (pageShift - 3)];
        for (int i = 0; i < words.length; i++) {
            words[i] = get(address + i * 8L);
        }
        return words;
    }

    @Override
    public MemorySegment bytes() {
        return bytes;
    }

    @Override
    public long offset(long address, long size) {
        Long place = places.get(address >>> pageShift);
        if (place == null) {
            return ABSENT;
        }
        long inPage = address & (1L << pageShift) - 1;
        for (long covered = (1L << pageShift) - inPage; covered < size; covered += 1L << pageShift) {
            Long behind = places.get((address + covered) >>> pageShift);
            if (behind == null || behind != place + inPage + covered) {
                return ABSENT;
            }
        }
        return place + inPage;
    }

    @Override
    public long writable(long address, long size) {
        return offset(address, size);
    }
}
