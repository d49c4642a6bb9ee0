package dev.s2snap.proof;

import dev.s2snap.model.Recorder;
import dev.s2snap.vmsa.Descriptor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/// Break before make (Arm ARM, D8.16.1), for the tables of the host and of EL2: a valid entry is made invalid first,
/// then the TLBs are told, with a hint that fits, and only then something else is put there; at the end of a step
/// nothing is left of which the TLBs were not told. Changes of software bits need none of it.
///
/// Tables that a step itself makes are not watched during that step: nothing in them was valid before.
final class TlbWatch implements Recorder {
    private final Sight sight;
    private final List<Finding> findings = new ArrayList<>();

    // Entries that were valid and are not any more: where, for which addresses, what they were.
    private int broken;
    private long[] entry = new long[16];
    private long[] input = new long[16];
    private long[] size = new long[16];
    private int[] level = new int[16];
    private boolean[] hyp = new boolean[16];
    private boolean[] table = new boolean[16];

    private final Set<Integer> guests = new TreeSet<>();

    TlbWatch(Sight sight) {
        this.sight = sight;
    }

    /// A step begins.
    void begin() {
        broken = 0;
        findings.clear();
    }

    /// What was not as it must be in the step that is over.
    List<Finding> end(Op op) {
        for (int i = 0; i < broken; i++) {
            add("an entry that is taken away is followed by a TLBI", "none for " + words(i));
        }
        return findings.stream()
                .map(found ->
                        new Finding(found.kind(), found.page(), found.said(), found.seen(), List.of(), op.toString()))
                .toList();
    }

    private String words(int index) {
        return (hyp[index] ? "EL2's " : "the host's ") + (table[index] ? "table" : "leaf") + " of level " + level[index]
                + " at input address 0x" + Long.toHexString(input[index]);
    }

    private void add(String said, String seen) {
        findings.add(new Finding(Finding.Kind.TLB, -1, said, seen, List.of(), ""));
    }

    @Override
    public void store(long address, long before, long after, boolean release) {
        boolean taken = Descriptor.valid(before);
        boolean made = Descriptor.valid(after);
        if ((!taken && !made) || !sight.entryAt(address)) {
            return;
        }
        if (taken && made) {
            if (((before ^ after) & ~Descriptor.SOFTWARE) != 0) {
                add(
                        "a valid entry is made invalid before it becomes another",
                        "0x" + Long.toHexString(before) + " became 0x" + Long.toHexString(after));
            }
        } else if (taken) {
            remember(address, before);
        } else {
            for (int i = 0; i < broken; i++) {
                if (entry[i] == address) {
                    add("the TLBs are told before an entry is made again", "they were not, of " + words(i));
                }
            }
        }
    }

    private void remember(long address, long before) {
        if (broken == entry.length) {
            entry = Arrays.copyOf(entry, 2 * broken);
            input = Arrays.copyOf(input, 2 * broken);
            size = Arrays.copyOf(size, 2 * broken);
            level = Arrays.copyOf(level, 2 * broken);
            hyp = Arrays.copyOf(hyp, 2 * broken);
            table = Arrays.copyOf(table, 2 * broken);
        }
        entry[broken] = address;
        input[broken] = sight.entryInput();
        size[broken] = sight.entrySize();
        level[broken] = sight.entryLevel();
        hyp[broken] = sight.entryOfHyp();
        table[broken] = Descriptor.table(before, sight.entryLevel());
        broken++;
    }

    private void guest(int vmid) {
        if (vmid != 0) {
            guests.add(vmid);
        }
    }

    /// VMIDs of guests whose translations EL2 has invalidated since this was asked last.
    Set<Integer> guests() {
        Set<Integer> told = Set.copyOf(guests);
        guests.clear();
        return told;
    }

    private interface Told {
        boolean of(int index);
    }

    private void told(Told told) {
        int left = 0;
        for (int i = 0; i < broken; i++) {
            if (!told.of(i)) {
                entry[left] = entry[i];
                input[left] = input[i];
                size[left] = size[i];
                level[left] = level[i];
                hyp[left] = hyp[i];
                table[left] = table[i];
                left++;
            }
        }
        broken = left;
    }

    private boolean within(int index, long address) {
        return address >= input[index] && address < input[index] + size[index];
    }

    @Override
    public void tlbiIpa(int vmid, long ipa, int hint) {
        guest(vmid);
        // A hint of a level is for a leaf of that level (D8.13.5, TTL).
        told(i -> vmid == 0 && !hyp[i] && within(i, ipa) && (hint == LEVEL_UNKNOWN || (hint == level[i] && !table[i])));
    }

    @Override
    public void tlbiRange(int vmid, long ipa, long pages) {
        guest(vmid);
        told(i -> vmid == 0 && !hyp[i] && input[i] >= ipa && input[i] + size[i] <= ipa + pages * sight.pageSize());
    }

    @Override
    public void tlbiVmid(int vmid) {
        guest(vmid);
        told(i -> vmid == 0 && !hyp[i]);
    }

    @Override
    public void tlbiAll() {
        told(i -> !hyp[i]);
    }

    @Override
    public void tlbiEl2(long va, int hint, boolean leaf) {
        told(i -> hyp[i]
                && within(i, va)
                && (leaf ? !table[i] && (hint == LEVEL_UNKNOWN || hint == level[i]) : hint == LEVEL_UNKNOWN));
    }
}
