package dev.s2snap.model;

import static dev.s2snap.vmsa.TableGeometry.LAST_LEVEL;

import dev.s2snap.vmsa.Descriptor;
import org.jspecify.annotations.Nullable;

/// Operations on a stage-2 table (`kvm_pgtable_stage2_*` of 6.12): the host's at EL2, and guests' at EL2 and EL1.
///
/// Addresses are input addresses of the table. TLB invalidation is recorded with its VMID; cache maintenance is done
/// where the table's owner has it ([CacheMaintenance]), that is for guests.
final class Stage2 {
    /// enum kvm_pgtable_prot.
    static final long X = 1;

    static final long W = 1 << 1;
    static final long R = 1 << 2;
    static final long DEVICE = 1 << 3;
    static final long NORMAL_NC = 1 << 4;
    static final long RWX = R | W | X;
    static final long RW = R | W;

    /// KVM_PGTABLE_S2_NOFWB and KVM_PGTABLE_S2_IDMAP.
    static final int FLAG_NOFWB = 1;

    static final int FLAG_IDMAP = 1 << 1;

    /// KVM_INVALID_PTE_LOCKED: break-before-make in progress.
    static final long LOCKED = 1 << 10;

    /// KVM_INVALID_PTE_OWNER_MASK starts at bit 2.
    static final int OWNER_SHIFT = 2;

    static final int OWNER_HOST = 0;
    static final int OWNER_HYP = 1;

    // Stage-2 leaf attributes (D8.3.2, and D8.6.5 with FWB): MemAttr 5:2, S2AP 7:6, SH 9:8, AF 10, XN 54.
    private static final int MEMATTR_SHIFT = 2;
    private static final long MEMATTR_MASK = 0xf << MEMATTR_SHIFT;
    private static final long S2AP_R = 1 << 6;
    private static final long S2AP_W = 1 << 7;
    private static final long SH_INNER = 3 << 8;
    private static final long XN = 1L << 54;
    private static final long PERMISSIONS = S2AP_R | S2AP_W | XN;

    /// Whether a request must be mapped page by page, because a block of it could not be restored lazily.
    @FunctionalInterface
    interface ForcePages {
        ForcePages NEVER = (_, _, _) -> false;

        boolean test(long start, long end, long prot);
    }

    /// Cache maintenance by physical address; what the hypervisor does not have for the host's table.
    interface CacheMaintenance {
        /// Cleans and invalidates data to the point of coherency.
        void cleanInvalidate(long physical, long size);

        /// Invalidates instructions to the point of unification.
        void invalidateInstructions(long physical, long size);
    }

    /// How a table is used.
    ///
    /// @param flags FLAG_NOFWB, FLAG_IDMAP
    /// @param fwb the CPU has stage-2 forced write-back
    /// @param rangeTlbi the CPU has TLB invalidation by range
    /// @param cache null where there is none
    record Traits(
            int flags,
            boolean fwb,
            boolean rangeTlbi,
            ForcePages forcePages,
            @Nullable CacheMaintenance cache) {
        boolean forcedWriteBack() {
            return fwb && (flags & FLAG_NOFWB) == 0;
        }
    }

    private final PageTable table;
    private final Traits traits;

    Stage2(PageTable table, Traits traits) {
        this.table = table;
        this.traits = traits;
    }

    PageTable table() {
        return table;
    }

    Traits traits() {
        return traits;
    }

    /// Leaf attributes for `prot`, or -EINVAL for a combination that does not exist: devices and non-cacheable memory
    /// are never executable, and nothing is both.
    private long attributes(long prot) {
        long memory = switch ((int) (prot & (DEVICE | NORMAL_NC))) {
            case 0 -> memAttr(0xf, 0x6);
            case (int) DEVICE -> (prot & X) != 0 ? Errno.EINVAL : memAttr(0x1, 0x1);
            case (int) NORMAL_NC -> (prot & X) != 0 ? Errno.EINVAL : memAttr(0x5, 0x5);
            default -> Errno.EINVAL;
        };
        if (memory < 0) {
            return memory;
        }
        long attributes = memory | Descriptor.AF | (prot & Descriptor.SOFTWARE);
        if (!table.geometry().lpa2()) {
            attributes |= SH_INNER;
        }
        if ((prot & R) != 0) {
            attributes |= S2AP_R;
        }
        if ((prot & W) != 0) {
            attributes |= S2AP_W;
        }
        if ((prot & X) == 0) {
            attributes |= XN;
        }
        return attributes;
    }

    private long memAttr(long plain, long forcedWriteBack) {
        return (traits.forcedWriteBack() ? forcedWriteBack : plain) << MEMATTR_SHIFT;
    }

    private boolean cacheable(long descriptor) {
        return Descriptor.valid(descriptor) && (descriptor & MEMATTR_MASK) == memAttr(0xf, 0x6);
    }

    private static boolean executable(long descriptor) {
        return Descriptor.valid(descriptor) && (descriptor & XN) == 0;
    }

    /// Maps [address, address + size) to `physical` and up, in blocks where both are aligned.
    ///
    /// @return 0, -EINVAL, -ENOMEM or -ERANGE; what was mapped before an error stays
    int map(long address, long size, long physical, long prot) {
        boolean force = traits.forcePages.test(address, address + size, prot);
        if ((traits.flags & FLAG_IDMAP) != 0 && address != physical) {
            throw HypPanic.warn("kvm_pgtable_stage2_map");
        }
        long attributes = attributes(prot);
        if (attributes < 0) {
            return (int) attributes;
        }
        int error = table.walk(
                address,
                size,
                PageTable.PRE | PageTable.LEAF,
                new Map(force, attributes, physical & -(1L << table.pageShift), false));
        table.dsb("ishst");
        return error;
    }

    /// Gives every page of the range its own entry, which says who owns it; the host's entries become empty.
    int setOwner(long address, long size, int owner) {
        if (owner > OWNER_HYP) {
            return Errno.EINVAL;
        }
        return table.walk(
                address, size, PageTable.PRE | PageTable.LEAF, new Map(true, (long) owner << OWNER_SHIFT, 0, true));
    }

    /// Maps leaves, or writes annotations: blocks are split, and tables replaced by blocks, as needed.
    private final class Map implements PageTable.Visitor {
        private final boolean force;
        private final long bits;
        private final long physical;
        private final boolean annotation;

        /// @param bits leaf attributes, or the annotation
        Map(boolean force, long bits, long physical, boolean annotation) {
            this.force = force;
            this.bits = bits;
            this.physical = physical;
            this.annotation = annotation;
        }

        @Override
        public int visit(PageTable.Walk walk, long entry, long old, int level, long address, int kind) {
            long target = annotation ? 0 : physical + (address - walk.start);
            if (!leafAllowed(level, address, walk.end, target)) {
                return kind == PageTable.PRE ? 0 : install(entry, old, level, address);
            }
            long leaf = annotation ? bits : table.leafDescriptor(target, bits, level);
            int error = update(entry, old, level, address, leaf);
            if (error == 0 && kind == PageTable.PRE) {
                freeUnlinked(table.child(old), level + 1);
            }
            return error;
        }

        private boolean leafAllowed(int level, long address, long end, long target) {
            if (level == LAST_LEVEL && annotation) {
                return true;
            }
            return (!force || level == LAST_LEVEL) && table.blockSupported(level, address, end, target);
        }

        /// Puts a table where a leaf would be too large. What the old block mapped is lost, to be faulted in again.
        private int install(long entry, long old, int level, long address) {
            if (level == LAST_LEVEL) {
                throw HypPanic.warn("stage2_map_walk_leaf");
            }
            long child = table.pages().allocate();
            if (child == 0) {
                return Errno.ENOMEM;
            }
            breakEntry(entry, old, level, address);
            makeEntry(entry, table.tableDescriptor(child));
            return 0;
        }
    }

    /// The leaf update rule: nothing to do, software bits only, or break before make.
    private int update(long entry, long old, int level, long address, long leaf) {
        if (Descriptor.valid(old) && Descriptor.valid(leaf) && ((old ^ leaf) & ~PERMISSIONS) == 0) {
            return Errno.EAGAIN;
        }
        if (((old ^ leaf) & ~Descriptor.SOFTWARE) == 0) {
            if (old != 0 && leaf == 0) {
                table.putTable(entry);
            } else if (old == 0 && leaf != 0) {
                table.getTable(entry);
            }
            table.store(entry, leaf);
            return 0;
        }
        breakEntry(entry, old, level, address);
        CacheMaintenance cache = traits.cache;
        if (cache != null) {
            // Before the guest can see the page: its data in memory, its old instructions gone.
            long physical = table.geometry().outputAddress(leaf, level);
            if (cacheable(leaf)) {
                cache.cleanInvalidate(physical, table.entrySize(level));
            }
            if (executable(leaf)) {
                cache.invalidateInstructions(physical, table.entrySize(level));
            }
        }
        makeEntry(entry, leaf);
        return 0;
    }

    private void breakEntry(long entry, long old, int level, long address) {
        if (old == LOCKED) {
            throw HypPanic.warn("stage2_try_break_pte");
        }
        table.store(entry, LOCKED);
        if (Descriptor.table(old, level)) {
            flushRange(address & -table.entrySize(level), table.entrySize(level));
        } else if (Descriptor.valid(old)) {
            flushIpa(address, level);
        }
        if (old != 0) {
            table.putTable(entry);
        }
    }

    private void makeEntry(long entry, long value) {
        if (value != 0) {
            table.getTable(entry);
        }
        table.storeRelease(entry, value);
    }

    // Freeing.

    /// Frees the pages of a subtree that nothing points to any more.
    ///
    /// @param root physical address of its first page
    /// @param level of that page
    void freeUnlinked(long root, int level) {
        dropEntries(table.memory.virtual(root), level);
        if (table.pages().count(root) != 1) {
            throw HypPanic.warn("kvm_pgtable_stage2_free_unlinked");
        }
        table.pages().put(root);
    }

    private void dropEntries(long tableAddress, int level) {
        for (int index = 0; index < table.entriesPerTable(); index++) {
            long entry = tableAddress + (long) index * Long.BYTES;
            long old = table.memory.read64(entry);
            if (old == 0) {
                continue;
            }
            // The kernel's walk calls back on a leaf, or on a table behind its children.
            if (Descriptor.table(old, level)) {
                dropEntries(table.follow(old), level + 1);
            }
            table.putTable(entry);
            if (Descriptor.table(old, level)) {
                table.pages().put(table.child(old));
            }
        }
    }

    /// Frees all tables and the root; the table is unusable then. No TLB invalidation: the owner does that.
    void destroy() {
        int level = table.geometry().startLevel();
        long size = table.geometry().granule();
        for (int page = 0; page < table.geometry().rootPages(); page++) {
            dropEntries(table.memory.virtual(table.root() + page * size), level);
        }
        for (int page = 0; page < table.geometry().rootPages(); page++) {
            table.pages().put(table.root() + page * size);
        }
        table.clearRoot();
    }

    /// Removes all entries of the range, annotations too, and tables that become empty. A block that reaches beyond
    /// the range goes as a whole.
    int unmap(long address, long size) {
        boolean defer = traits.rangeTlbi && traits.forcedWriteBack();
        int error = table.walk(address, size, PageTable.LEAF | PageTable.POST, (_, entry, old, level, at, _) -> {
            if (!Descriptor.valid(old)) {
                if (old != 0) {
                    table.store(entry, 0);
                    table.putTable(entry);
                }
                return 0;
            }
            if (Descriptor.table(old, level)) {
                long child = table.child(old);
                if (table.pages().count(child) != 1) {
                    return 0;
                }
                table.store(entry, 0);
                flushIpa(at, Recorder.LEVEL_UNKNOWN);
                table.putTable(entry);
                table.pages().put(child);
                return 0;
            }
            table.store(entry, 0);
            if (!defer) {
                flushIpa(at, level);
            }
            table.putTable(entry);
            if (traits.cache != null && cacheable(old) && !traits.forcedWriteBack()) {
                traits.cache.cleanInvalidate(table.geometry().outputAddress(old, level), table.entrySize(level));
            }
            return 0;
        });
        if (defer) {
            flushRange(address, size);
        }
        return error;
    }

    // Attributes of existing leaves.

    /// Level and value of the last leaf that an update met; the value before the update.
    private int metLevel;

    private long metDescriptor;

    private int updateLeaves(long address, long size, long set, long clear) {
        return table.walk(address, size, PageTable.LEAF, (_, entry, old, level, _, _) -> {
            if (!Descriptor.valid(old)) {
                return Errno.EAGAIN;
            }
            metLevel = level;
            metDescriptor = old;
            long updated = (old & ~clear) | set;
            if (updated != old) {
                if (traits.cache != null && executable(updated) && !executable(old)) {
                    traits.cache.invalidateInstructions(
                            table.geometry().outputAddress(updated, level), table.entrySize(level));
                }
                table.store(entry, updated);
            }
            return 0;
        });
    }

    /// Takes write permission from all leaves of the range. The caller invalidates the TLB.
    int writeProtect(long address, long size) {
        return updateLeaves(address, size, 0, S2AP_W);
    }

    /// Sets the access flag of the leaf at `address`.
    ///
    /// @return the leaf as it was, 0 if there is none
    long makeYoung(long address) {
        metDescriptor = 0;
        int error = updateLeaves(address, 1, Descriptor.AF, 0);
        if (error == 0) {
            table.dsb("ishst");
        }
        return metDescriptor;
    }

    /// Whether a leaf of the range has the access flag; with `clear` it is taken away, without TLB invalidation.
    boolean testYoung(long address, long size, boolean clear) {
        boolean[] young = new boolean[1];
        int error = table.walk(address, size, PageTable.LEAF, (_, entry, old, _, _, _) -> {
            if (Descriptor.valid(old) && (old & Descriptor.AF) != 0) {
                young[0] = true;
                if (clear) {
                    table.store(entry, old & ~Descriptor.AF);
                }
            }
            return 0;
        });
        if (error != 0) {
            throw HypPanic.warn("kvm_pgtable_stage2_test_clear_young");
        }
        return young[0];
    }

    /// Adds permissions to the leaf at `address`.
    ///
    /// @return 0, or -EINVAL if `prot` has software bits
    int relaxPermissions(long address, long prot) {
        if ((prot & Descriptor.SOFTWARE) != 0) {
            return Errno.EINVAL;
        }
        long set = ((prot & R) != 0 ? S2AP_R : 0) | ((prot & W) != 0 ? S2AP_W : 0);
        metLevel = Recorder.LEVEL_UNKNOWN;
        int error = updateLeaves(address, 1, set, (prot & X) != 0 ? XN : 0);
        if (error == 0) {
            Recorder recorder = table.recorder;
            if (recorder != null) {
                recorder.tlbiIpaNonShareable(table.vmid, address, metLevel);
            }
        }
        return error;
    }

    /// Cleans the data of all cacheable leaves of the range; nothing to do with forced write-back.
    int flush(long address, long size) {
        CacheMaintenance cache = traits.cache;
        if (traits.forcedWriteBack() || cache == null) {
            return 0;
        }
        return table.walk(address, size, PageTable.LEAF, (_, _, old, level, _, _) -> {
            if (cacheable(old)) {
                cache.cleanInvalidate(table.geometry().outputAddress(old, level), table.entrySize(level));
            }
            return 0;
        });
    }

    // Splitting.

    /// Replaces the blocks of the range by subtrees of pages that map the same.
    ///
    /// @param available table pages that may be used; a block that needs more is split by one level, or not at all
    /// @return 0, or -ENOMEM if a block could not be split
    int split(long address, long size, int available) {
        int[] left = {available};
        return table.walk(address, size, PageTable.LEAF, (_, entry, old, level, at, _) -> {
            if (level == LAST_LEVEL || !Descriptor.valid(old)) {
                return 0;
            }
            // A level-1 block takes one table of blocks and one table of pages for each of them; level 2 takes one.
            int all = level == LAST_LEVEL - 1 ? 1 : table.entriesPerTable() + 1;
            boolean whole = left[0] >= all;
            if (left[0] < 1) {
                return Errno.ENOMEM;
            }
            long root = unlinked(old, level, whole);
            if (root == 0) {
                return Errno.ENOMEM;
            }
            left[0] -= whole ? all : 1;
            breakEntry(entry, old, level, at);
            makeEntry(entry, table.tableDescriptor(root));
            return 0;
        });
    }

    /// A detached table that maps what `block` of `level` maps, one level finer or with `whole` down to pages.
    ///
    /// @return its physical address, or 0 if there is no memory; then nothing is left behind
    private long unlinked(long block, int level, boolean whole) {
        long page = table.pages().allocate();
        if (page == 0) {
            return 0;
        }
        int below = level + 1;
        long attributes = block & ~table.geometry().outputMask(level) & ~(Descriptor.VALID | Descriptor.TYPE);
        long physical = table.geometry().outputAddress(block, level);
        for (int index = 0; index < table.entriesPerTable(); index++) {
            long leaf = table.leafDescriptor(physical + index * table.entrySize(below), attributes, below);
            if (whole && below != LAST_LEVEL) {
                long child = unlinked(leaf, below, true);
                if (child == 0) {
                    freeUnlinked(page, below);
                    return 0;
                }
                leaf = table.tableDescriptor(child);
            }
            long entry = table.memory.virtual(page) + (long) index * Long.BYTES;
            table.getTable(entry);
            table.storeRelease(entry, leaf);
        }
        return page;
    }

    // TLB.

    private void flushIpa(long ipa, int level) {
        Cpus cpus = table.cpus;
        if (cpus != null) {
            cpus.invalidateHost(ipa, level);
        }
        Recorder recorder = table.recorder;
        if (recorder != null) {
            recorder.tlbiIpa(table.vmid, ipa, level);
        }
    }

    /// `kvm_tlb_flush_vmid_range`: 2^21 pages at a time, or everything where the CPU has no range operations.
    private void flushRange(long address, long size) {
        Cpus cpus = table.cpus;
        if (cpus != null && traits.rangeTlbi) {
            cpus.invalidateHostRange(address, size);
        } else if (cpus != null) {
            cpus.invalidateHost();
        }
        Recorder recorder = table.recorder;
        if (recorder == null) {
            return;
        }
        if (!traits.rangeTlbi) {
            recorder.tlbiVmid(table.vmid);
            return;
        }
        long start = address;
        for (long pages = size >>> table.pageShift; pages > 0; ) {
            long some = Math.min(pages, 1L << 21);
            recorder.tlbiRange(table.vmid, start, some);
            start += some << table.pageShift;
            pages -= some;
        }
    }
}
