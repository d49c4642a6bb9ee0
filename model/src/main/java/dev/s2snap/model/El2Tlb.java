package dev.s2snap.model;

import java.util.Arrays;

/// What one CPU knows about EL2's pages: a word for each, the page's place in `bytes` and what may be done there. The
/// words
/// lie in chunks of neighbours, so that a walk over many tables, which lie close together, stays in the caches of
/// the machine that the model runs on; the chunks are found by open addressing and never go away.
///
/// Only its own CPU looks things up and adds them. Others remove, and then hold the monitor of the CPU's TLBs, as the
/// CPU
/// does when it adds: a walk that has read an entry before it was cleared is remembered before the TLBI, or not at all.
final class El2Tlb {
    static final long MISS = 0;
    static final long READABLE = 1;
    static final long WRITABLE = 2;
    static final long FLAGS = READABLE | WRITABLE;

    private static final int CHUNK_SHIFT = 9;
    private static final long NO_CHUNK = -1;
    private static final long[] UNKNOWN = new long[1 << CHUNK_SHIFT];

    private long[] numbers = new long[1 << 6];
    private long[][] chunks = new long[1 << 6][];
    private int size;

    El2Tlb() {
        Arrays.fill(numbers, NO_CHUNK);
        Arrays.fill(chunks, UNKNOWN);
    }

    /// Where the chunk `number` is, or where it would be put.
    private int slot(long number) {
        int mask = numbers.length - 1;
        int slot = (int) ((number * 0x9e3779b97f4a7c15L) >>> 32) & mask;
        while (numbers[slot] != number && numbers[slot] != NO_CHUNK) {
            slot = slot + 1 & mask;
        }
        return slot;
    }

    private static int inChunk(long page) {
        return (int) page & (1 << CHUNK_SHIFT) - 1;
    }

    long get(long page) {
        return chunks[slot(page >>> CHUNK_SHIFT)][inChunk(page)];
    }

    void put(long page, long entry) {
        long number = page >>> CHUNK_SHIFT;
        int slot = slot(number);
        if (numbers[slot] == NO_CHUNK) {
            slot = add(number, new long[1 << CHUNK_SHIFT]);
        }
        chunks[slot][inChunk(page)] = entry;
    }

    private int add(long number, long[] chunk) {
        if (++size * 2 > numbers.length) {
            grow();
        }
        int slot = slot(number);
        numbers[slot] = number;
        chunks[slot] = chunk;
        return slot;
    }

    private void grow() {
        long[] oldNumbers = numbers;
        long[][] oldChunks = chunks;
        numbers = new long[2 * oldNumbers.length];
        chunks = new long[2 * oldNumbers.length][];
        Arrays.fill(numbers, NO_CHUNK);
        Arrays.fill(chunks, UNKNOWN);
        for (int i = 0; i < oldNumbers.length; i++) {
            if (oldNumbers[i] != NO_CHUNK) {
                int slot = slot(oldNumbers[i]);
                numbers[slot] = oldNumbers[i];
                chunks[slot] = oldChunks[i];
            }
        }
    }

    void remove(long page) {
        if (size == 0) {
            return;
        }
        int slot = slot(page >>> CHUNK_SHIFT);
        if (numbers[slot] != NO_CHUNK) {
            chunks[slot][inChunk(page)] = MISS;
        }
    }
}
