package dev.s2snap.proof;

import dev.s2snap.model.HostGuest;
import dev.s2snap.model.HostGuest.Access;
import dev.s2snap.model.HostGuest.Backing;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/// The abstract state of one guest of the machine's own kernel: its memory slots, what its table may map, and which
/// pages it has written. A finite map from guest addresses to rights, with one function for each operation; no
/// descriptors.
///
/// Written from what KVM promises (`kvm_mmu_*`, `user_mem_abort` of 6.12) and from the Arm ARM, not from the model's
/// code. Where that is loose, so is the book: whether a fault in a slot of blocks maps the block or the page is left to
/// the kernel, if both are allowed; the book then keeps what it did, and is exact about the rights.
final class GuestBook {
    private final long granule;
    private final long block;
    private final long space;
    private final TreeMap<Long, Slot> slots = new TreeMap<>();
    private final TreeMap<Long, Leaf> leaves = new TreeMap<>();

    /// Memory of the process that was seen behind guest addresses, which never moves.
    private final TreeMap<Long, Memory> memory = new TreeMap<>();

    /// A range of guest addresses that one entry maps.
    ///
    /// @param read, write, execute what the guest may do
    /// @param young whether the guest may do it without a fault: the access flag
    /// @param physical where the range begins
    record Leaf(long start, long size, boolean read, boolean write, boolean execute, boolean young, long physical) {
        long end() {
            return start + size;
        }

        private Leaf with(boolean mayWrite, boolean mayExecute, boolean isYoung) {
            return new Leaf(start, size, read, mayWrite, mayExecute, isYoung, physical);
        }

        @Override
        public String toString() {
            return (read ? "r" : "-") + (write ? "w" : "-") + (execute ? "x" : "-") + (young ? "" : " not accessed")
                    + ", 0x" + Long.toHexString(size) + " bytes at 0x" + Long.toHexString(physical);
        }
    }

    private record Memory(long start, long end, long physical) {}

    private static final class Slot {
        final long start;
        final long end;
        final Backing backing;
        final boolean readOnly;
        boolean logged;
        final TreeSet<Long> dirty = new TreeSet<>();

        Slot(long start, long end, Backing backing, boolean readOnly) {
            this.start = start;
            this.end = end;
            this.backing = backing;
            this.readOnly = readOnly;
        }
    }

    /// Where a guest is not what the book says.
    ///
    /// @param address of the guest
    record Difference(long address, String said, String seen) {}

    /// @param granule bytes of a page
    /// @param block bytes of a block
    /// @param space bytes of guest addresses
    GuestBook(long granule, long block, long space) {
        this.granule = granule;
        this.block = block;
        this.space = space;
    }

    // Slots.

    /// A memory slot.
    ///
    /// @return false if there is no such slot to be: not of whole pages, not in the guest's addresses, or taken
    boolean addMemory(long start, long size, Backing backing, boolean readOnly) {
        boolean whole = (start | size) % granule == 0 && size > 0;
        if (!whole || start < 0 || start >= space || size > space - start) {
            return false;
        }
        for (Slot slot : slots.values()) {
            if (slot.start < start + size && start < slot.end) {
                return false;
            }
        }
        slots.put(start, new Slot(start, start + size, backing, readOnly));
        return true;
    }

    private @Nullable Slot slot(long ipa) {
        Map.Entry<Long, Slot> below = slots.floorEntry(ipa);
        return below != null && ipa < below.getValue().end ? below.getValue() : null;
    }

    /// First addresses of all slots.
    List<Long> slots() {
        return List.copyOf(slots.keySet());
    }

    long slotSize(long start) {
        Slot slot = slots.get(start);
        return slot == null ? 0 : slot.end - slot.start;
    }

    // Faults.

    /// Whether user space gets the access: there is no memory, or the guest stores to what it may only read.
    boolean emulated(long ipa, Access access) {
        Slot slot = slot(ipa);
        return slot == null || (access == Access.WRITE && slot.readOnly);
    }

    /// A fault was answered with 0. One for want of the access flag comes before one for want of a permission (Arm ARM,
    /// the priority of MMU faults), and it alone is served.
    ///
    /// @param now what maps the address afterwards
    List<Difference> faulted(long ipa, Access access, @Nullable Leaf now) {
        Slot slot = slot(ipa);
        if (slot == null) {
            return List.of(new Difference(ipa, "there is no memory: the access is user space's", "it was served"));
        }
        Leaf was = at(ipa);
        if (was != null && !was.young) {
            put(was.with(was.write, was.execute, true));
        } else if (was == null || !allows(was, access)) {
            if (now == null) {
                return List.of(new Difference(ipa, "it is mapped after a fault", "it is not"));
            }
            return map(ipa, access, slot, was, now);
        }
        return List.of();
    }

    private static boolean allows(Leaf leaf, Access access) {
        return switch (access) {
            case READ -> leaf.read;
            case WRITE -> leaf.write;
            case EXECUTE -> leaf.execute;
        };
    }

    private List<Difference> map(long ipa, Access access, Slot slot, @Nullable Leaf was, Leaf now) {
        long page = ipa & -granule;
        boolean blocks = slot.backing == Backing.BLOCKS && !slot.logged;
        boolean asBlock = blocks && now.size == block && now.start >= slot.start && now.end() <= slot.end;
        if (now.start != (ipa & -now.size) || (now.size != granule && !asBlock)) {
            return List.of(new Difference(
                    page, blocks ? "the page is mapped, or a block within the slot" : "the page is mapped", "" + now));
        }
        boolean write = !slot.readOnly && (access == Access.WRITE || !slot.logged);
        boolean execute = access == Access.EXECUTE;
        if (was != null && was.start == now.start && was.size == now.size) {
            // Rights come and none goes.
            put(was.with(was.write || write, was.execute || execute, true));
        } else {
            // What else a block had mapped comes back when it is touched.
            if (was != null) {
                leaves.remove(was.start);
            }
            remove(now.start, now.end());
            put(new Leaf(now.start, now.size, true, write, execute, true, now.physical));
        }
        if (access == Access.WRITE && slot.logged) {
            slot.dirty.add(page);
        }
        return remember(now);
    }

    /// The process's memory stays where it is, mapped or not.
    private List<Difference> remember(Leaf leaf) {
        Map.Entry<Long, Memory> below = memory.floorEntry(leaf.start);
        boolean known = below != null && leaf.start < below.getValue().end;
        long from = known && below != null ? below.getKey() : leaf.start;
        for (Memory each : memory.subMap(from, leaf.end()).values()) {
            if (each.physical - each.start != leaf.physical - leaf.start) {
                return List.of(new Difference(
                        leaf.start,
                        "its memory is at 0x" + Long.toHexString(each.physical + leaf.start - each.start),
                        "0x" + Long.toHexString(leaf.physical)));
            }
        }
        if (!known) {
            memory.put(leaf.start, new Memory(leaf.start, leaf.end(), leaf.physical));
        }
        return List.of();
    }

    // Operations on ranges: whole pages, and blocks as a whole that reach into the range.

    /// From now on the slot's pages are writable only once they were written.
    ///
    /// @return false if no slot begins there
    boolean log(long start) {
        Slot slot = slots.get(start);
        if (slot == null) {
            return false;
        }
        slot.logged = true;
        writeProtect(slot.start, slot.end - slot.start);
        return true;
    }

    /// The pages that were written since the log was turned on or read, or null if there is no log.
    @Nullable
    List<Long> readLog(long start) {
        Slot slot = slots.get(start);
        if (slot == null || !slot.logged) {
            return null;
        }
        List<Long> dirty = List.copyOf(slot.dirty);
        slot.dirty.clear();
        dirty.forEach(page -> writeProtect(page, granule));
        return dirty;
    }

    void writeProtect(long start, long size) {
        within(start, start + size).forEach(leaf -> put(leaf.with(false, leaf.execute, leaf.young)));
    }

    /// Whether anything of the range was used since it last grew old.
    boolean used(long start, long size) {
        return within(start, start + size).stream().anyMatch(Leaf::young);
    }

    void age(long start, long size) {
        within(start, start + size).forEach(leaf -> put(leaf.with(leaf.write, leaf.execute, false)));
    }

    /// Whether anything of the range is mapped.
    boolean maps(long start, long size) {
        return !within(start, start + size).isEmpty();
    }

    void unmap(long start, long size) {
        remove(start, start + size);
    }

    /// Number of blocks that reach into the range.
    long blocks(long start, long size) {
        return within(start, start + size).stream()
                .filter(leaf -> leaf.size > granule)
                .count();
    }

    /// The first so many blocks of the range became pages that map the same.
    void split(long start, long size, long count) {
        within(start, start + size).stream()
                .filter(leaf -> leaf.size > granule)
                .limit(count)
                .forEach(leaf -> {
                    for (long at = 0; at < leaf.size; at += granule) {
                        put(new Leaf(
                                leaf.start + at,
                                granule,
                                leaf.read,
                                leaf.write,
                                leaf.execute,
                                leaf.young,
                                leaf.physical + at));
                    }
                });
    }

    // The table.

    /// What maps an address.
    @Nullable
    Leaf at(long ipa) {
        Map.Entry<Long, Leaf> below = leaves.floorEntry(ipa);
        return below != null && ipa < below.getValue().end() ? below.getValue() : null;
    }

    private void put(Leaf leaf) {
        leaves.put(leaf.start, leaf);
    }

    private List<Leaf> within(long start, long end) {
        if (end <= start) {
            return List.of();
        }
        Leaf first = at(start);
        return List.copyOf(
                leaves.subMap(first == null ? start : first.start, end).values());
    }

    private void remove(long start, long end) {
        within(start, end).forEach(leaf -> leaves.remove(leaf.start));
    }

    /// All that is mapped, ascending.
    Collection<Leaf> leaves() {
        return leaves.values();
    }

    /// Compares with what a table maps, and with what holds whatever was done: a slot that is only read is never
    /// writable, and in one with a log only what is in the log.
    ///
    /// @param seen all leaves of the table, ascending
    List<Difference> compare(List<Leaf> seen) {
        List<Difference> differences = new ArrayList<>();
        TreeMap<Long, Leaf> missing = new TreeMap<>(leaves);
        for (Leaf leaf : seen) {
            Leaf said = missing.remove(leaf.start);
            if (!leaf.equals(said)) {
                differences.add(
                        new Difference(leaf.start, said == null ? "it is not mapped" : said.toString(), "" + leaf));
            }
            Slot slot = slot(leaf.start);
            if (slot == null || leaf.end() > slot.end) {
                differences.add(new Difference(leaf.start, "only memory of a slot is mapped", "" + leaf));
            } else if (leaf.write && (slot.readOnly || (slot.logged && !slot.dirty.contains(leaf.start)))) {
                differences.add(new Difference(
                        leaf.start,
                        slot.readOnly ? "the guest only reads here" : "what is writable is in the log",
                        "" + leaf));
            }
        }
        missing.values()
                .forEach(leaf -> differences.add(new Difference(leaf.start, leaf.toString(), "it is not mapped")));
        return differences;
    }

    /// What a fault answers for what user space has to do.
    static final int EMULATED = HostGuest.MMIO;
}
