package dev.s2snap.vmsa;

import java.util.Arrays;

/// Ranges of addresses, ascending, without overlap, and joined where they meet. Two words each, whatever they cover.
public final class AddressRanges {
    private long[] edges = new long[16];
    private int length;

    public AddressRanges() {}

    /// One range.
    public AddressRanges(long start, long end) {
        add(start, end);
    }

    /// Adds a range that begins at or behind the start of the last one.
    ///
    /// @param end exclusive; nothing is added where it is `start`
    public void add(long start, long end) {
        if (start >= end) {
            return;
        }
        if (length > 0 && start < edges[length - 2]) {
            throw new IllegalArgumentException("ranges come in ascending order");
        }
        if (length > 0 && start <= edges[length - 1]) {
            edges[length - 1] = Math.max(edges[length - 1], end);
            return;
        }
        if (length == edges.length) {
            edges = Arrays.copyOf(edges, 2 * length);
        }
        edges[length++] = start;
        edges[length++] = end;
    }

    /// Number of ranges.
    public int count() {
        return length / 2;
    }

    public boolean isEmpty() {
        return length == 0;
    }

    public long start(int index) {
        return edges[2 * index];
    }

    /// Exclusive.
    public long end(int index) {
        return edges[2 * index + 1];
    }

    /// Addresses in all ranges together.
    public long size() {
        long size = 0;
        for (int i = 0; i < length; i += 2) {
            size += edges[i + 1] - edges[i];
        }
        return size;
    }

    /// What is in these or in `others`.
    public AddressRanges with(AddressRanges others) {
        AddressRanges all = new AddressRanges();
        int mine = 0;
        int theirs = 0;
        while (mine < length || theirs < others.length) {
            if (theirs == others.length || (mine < length && edges[mine] <= others.edges[theirs])) {
                all.add(edges[mine], edges[mine + 1]);
                mine += 2;
            } else {
                all.add(others.edges[theirs], others.edges[theirs + 1]);
                theirs += 2;
            }
        }
        return all;
    }

    /// What is in these and in none of `others`.
    public AddressRanges without(AddressRanges others) {
        AddressRanges rest = new AddressRanges();
        int theirs = 0;
        for (int i = 0; i < length; i += 2) {
            long at = edges[i];
            while (theirs < others.length && others.edges[theirs + 1] <= at) {
                theirs += 2;
            }
            // The last one may reach into the next range of these.
            for (int next = theirs; next < others.length && others.edges[next] < edges[i + 1]; next += 2) {
                rest.add(at, others.edges[next]);
                at = Math.max(at, others.edges[next + 1]);
            }
            rest.add(at, edges[i + 1]);
        }
        return rest;
    }
}
