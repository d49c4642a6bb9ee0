package dev.s2snap.model;

import java.util.Arrays;

/// Every store that EL2 made since [#clear], in order: what a checker has to look at after a call, and nothing else.
///
/// Addresses are EL2's, as the store named them: most lie in the linear map, those of the hyp_vmemmap do not. A store
/// of
/// several pages is one entry for each page.
public final class WriteLog {
    private long[] addresses = new long[1 << 10];
    private long[] sizes = new long[1 << 10];
    private int size;

    void add(long address, long bytes) {
        if (size == addresses.length) {
            addresses = Arrays.copyOf(addresses, 2 * size);
            sizes = Arrays.copyOf(sizes, 2 * size);
        }
        addresses[size] = address;
        sizes[size] = bytes;
        size++;
    }

    public int size() {
        return size;
    }

    /// EL2 address of the first byte of store `index`.
    public long address(int index) {
        return addresses[index];
    }

    /// Number of bytes of store `index`.
    public long bytes(int index) {
        return sizes[index];
    }

    public void clear() {
        size = 0;
    }
}
