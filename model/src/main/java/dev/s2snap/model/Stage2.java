package dev.s2snap.model;

import static dev.s2snap.vmsa.TableGeometry.LAST_LEVEL;

import dev.s2snap.vmsa.Descriptor;

/// Operations on a stage-2 table (`kvm_pgtable_stage2_*` of 6.12), for the host's: an identity map without FWB and
/// without cache maintenance.
final class Stage2 {
    /// enum kvm_pgtable_prot.
    static final long X = 1;

    static final long W = 1 << 1;
    static final long R = 1 << 2;
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

    // Stage-2 leaf attributes (D8.3.2): MemAttr 5:2, S2AP 7:6, SH 9:8, AF 10, XN 54.
    private static final long MEMATTR_NORMAL_WB = 0xf << 2;
    private static final long S2AP_R = 1 << 6;
    private static final long S2AP_W = 1 << 7;
    private static final long SH_INNER = 3 << 8;
    private static final long XN = 1L << 54;
    private static final long PERMISSIONS = S2AP_R | S2AP_W | XN;

    /// Whether a request must be mapped page by page, because a block of it could not be restored lazily.
    @FunctionalInterface
    interface ForcePages {
        boolean test(long start, long end, long prot);
    }

    private final PageTable table;
    private final ForcePages forcePages;
    private final boolean rangeTlbi;

    Stage2(PageTable table, boolean rangeTlbi, ForcePages forcePages) {
        this.table = table;
        this.rangeTlbi = rangeTlbi;
        this.forcePages = forcePages;
    }

    PageTable table() {
        return table;
    }

    private long attributes(long prot) {
        long attributes = MEMATTR_NORMAL_WB | Descriptor.AF | (prot & Descriptor.SOFTWARE);
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

    /// Maps [address, address + size) to itself.
    int map(long address, long size, long prot) {
        boolean force = forcePages.test(address, address + size, prot);
        int error = table.walk(address, size, PageTable.PRE | PageTable.LEAF, new Map(force, attributes(prot), false));
        table.dsb("ishst");
        return error;
    }

    /// Gives every page of the range its own entry, which says who owns it; the host's entries become empty.
    int setOwner(long address, long size, int owner) {
        if (owner > OWNER_HYP) {
            return Errno.EINVAL;
        }
        return table.walk(
                address, size, PageTable.PRE | PageTable.LEAF, new Map(true, (long) owner << OWNER_SHIFT, true));
    }

    /// Maps leaves, or writes annotations: blocks are split, and tables replaced by blocks, as needed.
    private final class Map implements PageTable.Visitor {
        private final boolean force;
        private final long bits;
        private final boolean annotation;

        /// @param bits leaf attributes, or the annotation
        Map(boolean force, long bits, boolean annotation) {
            this.force = force;
            this.bits = bits;
            this.annotation = annotation;
        }

        @Override
        public int visit(PageTable.Walk walk, long entry, long old, int level, long address, int kind) {
            if (!leafAllowed(level, address, walk.end)) {
                return kind == PageTable.PRE ? 0 : install(entry, old, level, address);
            }
            int error = update(entry, old, level, address, newLeaf(level, address));
            if (error == 0 && kind == PageTable.PRE) {
                freeUnlinked(table.follow(old), level + 1);
            }
            return error;
        }

        private boolean leafAllowed(int level, long address, long end) {
            if (level == LAST_LEVEL && annotation) {
                return true;
            }
            return (!force || level == LAST_LEVEL)
                    && table.blockSupported(level, address, end, annotation ? 0 : address);
        }

        private long newLeaf(int level, long address) {
            return annotation ? bits : table.leafDescriptor(address, bits, level);
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

    /// Frees the pages of a subtree that nothing points to any more.
    private void freeUnlinked(long root, int level) {
        free(root, level);
        long page = table.map.hypPa(root);
        if (table.pages().count(page) != 1) {
            throw HypPanic.warn("kvm_pgtable_stage2_free_unlinked");
        }
        table.pages().put(page);
    }

    private void free(long tableAddress, int level) {
        for (int index = 0; index < table.entriesPerTable(); index++) {
            long entry = tableAddress + (long) index * Long.BYTES;
            long old = table.memory.read64(entry);
            if (old == 0) {
                continue;
            }
            // The walk calls back on a leaf, or on a table behind its children.
            if (Descriptor.table(old, level)) {
                free(table.follow(old), level + 1);
            }
            table.putTable(entry);
            if (Descriptor.table(old, level)) {
                table.pages().put(table.map.hypPa(table.follow(old)));
            }
        }
    }

    /// Removes all entries of the range, annotations too, and tables that become empty. A block that reaches beyond
    /// the range goes as a whole.
    int unmap(long address, long size) {
        return table.walk(address, size, PageTable.LEAF | PageTable.POST, (_, entry, old, level, at, _) -> {
            if (!Descriptor.valid(old)) {
                if (old != 0) {
                    table.store(entry, 0);
                    table.putTable(entry);
                }
                return 0;
            }
            if (!Descriptor.table(old, level)) {
                table.store(entry, 0);
                flushIpa(at, level);
                table.putTable(entry);
                return 0;
            }
            long child = table.map.hypPa(table.follow(old));
            if (table.pages().count(child) != 1) {
                return 0;
            }
            table.store(entry, 0);
            flushIpa(at, Recorder.LEVEL_UNKNOWN);
            table.putTable(entry);
            table.pages().put(child);
            return 0;
        });
    }

    private void flushIpa(long ipa, int level) {
        Recorder recorder = table.recorder;
        if (recorder != null) {
            recorder.tlbiIpa(ipa, level);
        }
    }

    /// `kvm_tlb_flush_vmid_range`: 2^21 pages at a time, or everything where the CPU has no range operations.
    private void flushRange(long address, long size) {
        Recorder recorder = table.recorder;
        if (recorder == null) {
            return;
        }
        if (!rangeTlbi) {
            recorder.tlbiVmid();
            return;
        }
        long start = address;
        for (long pages = size >>> table.pageShift; pages > 0; ) {
            long some = Math.min(pages, 1L << 21);
            recorder.tlbiRange(start, some);
            start += some << table.pageShift;
            pages -= some;
        }
    }
}
