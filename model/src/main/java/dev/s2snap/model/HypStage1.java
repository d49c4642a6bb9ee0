package dev.s2snap.model;

import static dev.s2snap.vmsa.TableGeometry.LAST_LEVEL;

import dev.s2snap.vmsa.Descriptor;

/// Operations on EL2's own stage-1 table (`kvm_pgtable_hyp_*` of 6.12).
final class HypStage1 {
    /// PAGE_HYP, PAGE_HYP_RO, PAGE_HYP_EXEC.
    static final long RW = Stage2.R | Stage2.W;

    static final long RO = Stage2.R;
    static final long RX = Stage2.R | Stage2.X;

    // Stage-1 leaf attributes (D8.3.2): AttrIndx 4:2 = 0 is Normal, 4 Device-nGnRE, AP[2:1] 7:6, SH 9:8, AF 10, XN 54.
    private static final long DEVICE_ATTRIBUTES = 4 << 2;
    private static final long AP_READ_ONLY = 2 << 6;
    private static final long AP_EL1_RES1 = 1 << 6;
    private static final long SH_INNER = 3 << 8;
    private static final long XN = 1L << 54;

    private final PageTable table;
    private final El2Memory memory;
    private final boolean hvhe;

    HypStage1(PageTable table, El2Memory memory, boolean hvhe) {
        this.table = table;
        this.memory = memory;
        this.hvhe = hvhe;
    }

    PageTable table() {
        return table;
    }

    /// Leaf attributes for `prot`, or -EINVAL for what EL2 never maps: without R, writable and executable, executable
    /// devices.
    private long attributes(long prot) {
        boolean device = (prot & Stage2.DEVICE) != 0;
        boolean executable = (prot & Stage2.X) != 0;
        if ((prot & Stage2.R) == 0 || (executable && (device || (prot & Stage2.W) != 0))) {
            return Errno.EINVAL;
        }
        // AP[1] is RES1 in the EL2 regime, and means access from EL0 in the EL2&0 regime.
        long attributes = Descriptor.AF | (prot & Descriptor.SOFTWARE) | (hvhe ? 0 : AP_EL1_RES1);
        if (!table.geometry().lpa2()) {
            attributes |= SH_INNER;
        }
        if ((prot & Stage2.W) == 0) {
            attributes |= AP_READ_ONLY;
        }
        if (!executable) {
            attributes |= XN;
        }
        if (device) {
            attributes |= DEVICE_ATTRIBUTES;
        }
        return attributes;
    }

    /// Maps [address, address + size) to physical memory from `physical` on, in blocks where both are aligned.
    int map(long address, long size, long physical, long prot) {
        long attributes = attributes(prot);
        if (attributes < 0) {
            return (int) attributes;
        }
        int error = table.walk(address, size, PageTable.LEAF, (walk, entry, old, level, at, _) -> {
            long target = physical + (at - walk.start);
            if (table.blockSupported(level, at, walk.end, target)) {
                long leaf = table.leafDescriptor(target, attributes, level);
                if (old == leaf) {
                    return 0;
                }
                if (!Descriptor.valid(old)) {
                    table.getTable(entry);
                } else if (((old ^ leaf) & ~Descriptor.SOFTWARE) != 0) {
                    throw HypPanic.warn("hyp_map_walker_try_leaf");
                }
                table.storeRelease(entry, leaf);
                return 0;
            }
            if (level == LAST_LEVEL) {
                throw HypPanic.warn("hyp_map_walker");
            }
            long child = table.pages().allocate();
            if (child == 0) {
                return Errno.ENOMEM;
            }
            table.getTable(entry);
            table.storeRelease(entry, table.tableDescriptor(child));
            return 0;
        });
        table.dsb("ishst");
        table.isb();
        return error;
    }

    /// Unmaps a range that is completely mapped; stops at the first entry that is not.
    ///
    /// @return bytes unmapped
    long unmap(long address, long size) {
        long[] unmapped = new long[1];
        // How far the walk came is the answer, whatever stopped it; every caller compares it with the request.
        table.walk(address, size, PageTable.LEAF | PageTable.POST, (walk, entry, old, level, at, _) -> {
            if (!Descriptor.valid(old)) {
                return Errno.EINVAL;
            }
            if (Descriptor.table(old, level)) {
                long child = table.child(old);
                if (table.pages().count(child) != 1) {
                    return 0;
                }
                clear(entry, at, Recorder.LEVEL_UNKNOWN, false);
                table.putTable(entry);
                table.pages().put(child);
                return 0;
            }
            if (Long.compareUnsigned(walk.end - at, table.entrySize(level)) < 0) {
                return Errno.EINVAL;
            }
            clear(entry, at, level, true);
            unmapped[0] += table.entrySize(level);
            table.putTable(entry);
            return 0;
        });
        return unmapped[0];
    }

    private void clear(long entry, long address, int level, boolean leaf) {
        table.store(entry, 0);
        table.dsb("ishst");
        invalidate(address, level, leaf);
    }

    /// Clears only the valid bit of a page's entry, whose reference stays: how a fixmap slot is emptied.
    void invalidatePage(long address) {
        table.walk(address, 1L << table.pageShift, PageTable.LEAF, (_, entry, old, _, _, _) -> {
            table.store(entry, old & ~Descriptor.VALID);
            return 0;
        });
        table.dsb("ishst");
        invalidate(address, LAST_LEVEL, true);
    }

    private void invalidate(long address, int level, boolean leaf) {
        memory.invalidate(address);
        Recorder recorder = table.recorder;
        if (recorder != null) {
            recorder.tlbiEl2(address, level, leaf);
        }
        table.dsb("ish");
        table.isb();
    }
}
