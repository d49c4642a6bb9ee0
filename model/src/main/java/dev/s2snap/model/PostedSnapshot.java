package dev.s2snap.model;

import dev.s2snap.vmsa.TableCopy;

/// The call as posted (v4 01/10, 18 December 2023). A specimen: nothing else may depend on it, and its defects (D-01 to
/// D-19, D-34) are there on purpose, marked where they sit.
final class PostedSnapshot implements SnapshotCall {
    private final Hypervisor el2;
    private final El2Memory memory;
    private final AddressMap map;
    private final MemProtect memProtect;
    private final Observer observer;
    private final long pageSize;
    private final int pageShift;

    PostedSnapshot(Hypervisor el2, Observer observer) {
        this.el2 = el2;
        this.observer = observer;
        memory = el2.memory;
        map = el2.map;
        memProtect = el2.memProtect;
        pageSize = el2.config.pageSize();
        pageShift = el2.config.pageShift;
    }

    @Override
    public int call(long pointer) {
        long snap = map.kernHypVa(pointer);
        if (!setUp(snap)) {
            return Errno.EPERM;
        }
        observer.reached(Phase.DONATED);
        int result = work(snap);
        if (result == 0) {
            memory.write64(snap + SnapshotStruct.PGD, map.hypPa(memory.read64(snap + SnapshotStruct.PGD)));
        }
        // D-01: also after a refusal, over whatever index and array the host wrote.
        tearDown(snap);
        if (result == 0) {
            observer.reached(Phase.RETURNED);
        }
        return result;
    }

    private boolean aligned(long address) {
        return (address & pageSize - 1) == 0;
    }

    private int donate(long va, long pages) {
        return memProtect.donateHyp(map.hypPa(va) >>> pageShift, pages);
    }

    private void giveBack(long va, long pages, String function) {
        if (memProtect.hypDonateHost(map.hypPa(va) >>> pageShift, pages) != 0) {
            throw HypPanic.warn(function);
        }
    }

    private boolean setUp(long snap) {
        if (!aligned(snap) || donate(snap, 1) != 0) {
            return false;
        }
        long pgd = map.kernHypVa(memory.read64(snap + SnapshotStruct.PGD_HVA));
        if (!aligned(pgd) || donate(pgd, memory.read64(snap + SnapshotStruct.PGD_PAGES)) != 0) {
            giveBack(snap, 1, "pkvm_setup_snapshot");
            return false;
        }
        long page = memory.read64(snap + SnapshotStruct.MC_HEAD);
        long count = memory.read64(snap + SnapshotStruct.MC_NR_PAGES);
        for (long i = 0; Long.compareUnsigned(i, count) < 0; i++) {
            if (!aligned(page) || donate(map.hypVa(page), 1) != 0) {
                throw rollBackForEver(snap);
            }
            page = memory.read64(map.hypVa(page));
        }
        long used = map.kernHypVa(memory.read64(snap + SnapshotStruct.USED_PAGES_HVA));
        if (!aligned(used) || donate(used, memory.read64(snap + SnapshotStruct.NUM_USED_PAGES)) != 0) {
            throw rollBackForEver(snap);
        }
        return true;
    }

    /// D-06, D-07: an unsigned counter is compared with zero, so the loop follows the links, from the head on and
    /// through the page that was refused, until one cannot be read or given back.
    private HypPanic rollBackForEver(long snap) {
        long page = memory.read64(snap + SnapshotStruct.MC_HEAD);
        while (true) {
            long next = memory.read64(map.hypVa(page));
            giveBack(map.hypVa(page), 1, "pkvm_setup_snapshot");
            page = next;
        }
    }

    private int work(long snap) {
        if (memory.read64(snap + SnapshotStruct.USED_PAGES_INDX) != 0) {
            return Errno.EINVAL;
        }
        PageTable host = el2.host.table();
        long rootPages = host.geometry().rootPages();
        if (Long.compareUnsigned(memory.read64(snap + SnapshotStruct.PGD_PAGES), rootPages) < 0) {
            return Errno.ENOMEM;
        }
        if (Long.compareUnsigned(memory.read64(snap + SnapshotStruct.MC_NR_PAGES), el2.hostTablePages()) < 0) {
            return Errno.ENOMEM;
        }
        long pgd = map.kernHypVa(memory.read64(snap + SnapshotStruct.PGD_HVA));
        long stackObject = stackObject();
        memory.write32(snap + SnapshotStruct.IA_BITS, host.geometry().inputBits());
        memory.write8(snap + SnapshotStruct.START_LEVEL, host.geometry().startLevel());
        memory.write32(snap + SnapshotStruct.FLAGS, Stage2.FLAG_NOFWB | Stage2.FLAG_IDMAP);
        memory.write64(snap + SnapshotStruct.MM_OPS, stackObject);
        el2.hostLock.lock();
        memory.write64(snap + SnapshotStruct.PGD, pgd);
        TableCopy copy = new TableCopy(host.geometry(), memory, () -> allocate(snap, stackObject));
        boolean complete = copy.copy(host.root(), map.hypPa(pgd));
        if (complete) {
            observer.reached(Phase.COPIED);
        }
        el2.hostLock.unlock();
        // D-10, D-11: on failure pgtable.pgd stays an EL2 address, and the copy keeps pointers to live tables.
        return complete ? 0 : Errno.ENOMEM;
    }

    /// Where the local mm_ops object is while the call works: on the stack of the first CPU.
    private long stackObject() {
        var tops = el2.layout().stackTops();
        return tops.isEmpty() ? map.ioBase() : tops.getFirst() - 0x100;
    }

    private long allocate(long snap, long stackObject) {
        if (memory.read64(snap + SnapshotStruct.MM_OPS) != stackObject) {
            // D-03 with the struct page as its own target: the walker calls through an overwritten pointer.
            throw new HypPanic(HypPanic.Reason.ABORT, "call through overwritten pgtable.mm_ops");
        }
        long used = map.kernHypVa(memory.read64(snap + SnapshotStruct.USED_PAGES_HVA));
        long index = memory.read64(snap + SnapshotStruct.USED_PAGES_INDX);
        long capacity = memory.read64(snap + SnapshotStruct.NUM_USED_PAGES) << pageShift;
        // D-05: the entry behind the last one passes. D-02: so does the first of an array of no pages.
        if (Long.compareUnsigned(index * Long.BYTES, capacity) > 0) {
            return TableCopy.Pages.NONE;
        }
        long count = memory.read64(snap + SnapshotStruct.MC_NR_PAGES);
        if (count == 0) {
            return TableCopy.Pages.NONE;
        }
        long page = memory.read64(snap + SnapshotStruct.MC_HEAD);
        memory.write64(snap + SnapshotStruct.MC_HEAD, memory.read64(map.hypVa(page)));
        memory.write64(snap + SnapshotStruct.MC_NR_PAGES, count - 1);
        memory.write64(used + index * Long.BYTES, page);
        memory.write64(snap + SnapshotStruct.USED_PAGES_INDX, index + 1);
        memory.zeroPages(map.hypVa(page), pageSize);
        el2.vmemmap.clear(page);
        return page;
    }

    private void tearDown(long snap) {
        long used = map.kernHypVa(memory.read64(snap + SnapshotStruct.USED_PAGES_HVA));
        long pgd = map.kernHypVa(memory.read64(snap + SnapshotStruct.PGD_HVA));
        for (long i = 0; Long.compareUnsigned(i, memory.read64(snap + SnapshotStruct.USED_PAGES_INDX)) < 0; i++) {
            giveBack(map.hypVa(memory.read64(used + i * Long.BYTES)), 1, "pkvm_teardown_snapshot");
        }
        giveBack(used, memory.read64(snap + SnapshotStruct.NUM_USED_PAGES), "pkvm_teardown_snapshot");
        long page = memory.read64(snap + SnapshotStruct.MC_HEAD);
        for (long i = 0; Long.compareUnsigned(i, memory.read64(snap + SnapshotStruct.MC_NR_PAGES)) < 0; i++) {
            long next = memory.read64(map.hypVa(page));
            giveBack(map.hypVa(page), 1, "pkvm_teardown_snapshot");
            page = next;
        }
        memory.write64(snap + SnapshotStruct.MM_OPS, 0);
        giveBack(pgd, memory.read64(snap + SnapshotStruct.PGD_PAGES), "pkvm_teardown_snapshot");
        giveBack(snap, 1, "pkvm_teardown_snapshot");
    }
}
