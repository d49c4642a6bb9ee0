package dev.s2snap.vmsa;

import java.util.Arrays;

/// A set of page addresses, open addressing with linear probing. Addresses are not all ones.
final class AddressSet {
    private static final long FREE = -1;

    private long[] slots = new long[64];
    private int size;

    AddressSet() {
        Arrays.fill(slots, FREE);
    }

    /// Adds `address`; false if it was there.
    boolean add(long address) {
        int mask = slots.length - 1;
        int slot = (int) ((address * 0x9e3779b97f4a7c15L) >>> 32) & mask;
        while (slots[slot] != FREE) {
            if (slots[slot] == address) {
                return false;
            }
            slot = slot + 1 & mask;
        }
        slots[slot] = address;
        if (++size * 2 > slots.length) {
            grow();
        }
        return true;
    }

    private void grow() {
        long[] old = slots;
        slots = new long[old.length * 2];
        Arrays.fill(slots, FREE);
        size = 0;
        for (long address : old) {
            if (address != FREE) {
                add(address);
            }
        }
    }
}
