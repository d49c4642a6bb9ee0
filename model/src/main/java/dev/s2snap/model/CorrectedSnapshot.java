package dev.s2snap.model;

import dev.s2snap.vmsa.TableCopy;

/// The call as it should be. Every refusal is an errno and leaves ownership, pools and all memory outside the lent
/// buffers as they were; no answer holds an address of EL2 or of a live table.
///
/// What makes it so:
///
/// - inputs are copied out of the struct once, after it was donated; the struct is written at the end, never read
/// again;
/// - counts are bounded before they are multiplied, and multi-page ranges lie in one region of memory;
/// - before each donation it is known that the table pages it needs are there, so that a donation cannot fail half-way;
/// - under the host lock the live tables are counted first and copied only if everything fits: a copy cannot fail;
/// - what is given back is what this call took: its private variables, and links inside pages that it owns.
///
/// A call with too few pages (-ENOMEM) still lends and returns its buffers, because the recorded runs of such calls
/// are normative for the state they leave behind.
final class CorrectedSnapshot implements SnapshotCall {
    /// The base gives back ranges of less than 2 GiB (its byte count has 31 bits), so no larger one is taken.
    private static final long MAX_BYTES = 1L << 31;

    private final Hypervisor el2;
    private final El2Memory memory;
    private final AddressMap map;
    private final MemProtect memProtect;
    private final Observer observer;
    private final long pageSize;
    private final int pageShift;

    CorrectedSnapshot(Hypervisor el2, Observer observer) {
        this.el2 = el2;
        this.observer = observer;
        memory = el2.memory;
        map = el2.map;
        memProtect = el2.memProtect;
        pageSize = el2.config.pageSize();
        pageShift = el2.config.pageShift;
    }

    /// What the host asks for, in physical addresses and pages.
    private record Request(long head, long listPages, long pgd, long pgdPages, long used, long usedPages, long index) {}

    @Override
    public int call(long pointer) {
        if (!el2.config.debug || !el2.finalised()) {
            return Errno.EOPNOTSUPP;
        }
        long snap = map.kernHypVa(pointer);
        if (!aligned(snap)) {
            return Errno.EINVAL;
        }
        int error = donate(map.hypPa(snap), 1);
        if (error != 0) {
            return error;
        }
        error = serve(snap, read(snap));
        if (error != 0) {
            memory.write64(snap + SnapshotStruct.IA_BITS, 0);
            memory.write64(snap + SnapshotStruct.PGD, 0);
            memory.write64(snap + SnapshotStruct.MM_OPS, 0);
            memory.write32(snap + SnapshotStruct.FLAGS, 0);
            memory.write64(snap + SnapshotStruct.USED_PAGES_INDX, 0);
        }
        giveBack(map.hypPa(snap), 1);
        if (error == 0) {
            observer.reached(Phase.RETURNED);
        }
        return error;
    }

    private Request read(long snap) {
        return new Request(
                memory.read64(snap + SnapshotStruct.MC_HEAD),
                memory.read64(snap + SnapshotStruct.MC_NR_PAGES),
                map.hypPa(map.kernHypVa(memory.read64(snap + SnapshotStruct.PGD_HVA))),
                memory.read64(snap + SnapshotStruct.PGD_PAGES),
                map.hypPa(map.kernHypVa(memory.read64(snap + SnapshotStruct.USED_PAGES_HVA))),
                memory.read64(snap + SnapshotStruct.NUM_USED_PAGES),
                memory.read64(snap + SnapshotStruct.USED_PAGES_INDX));
    }

    /// Everything between the donation of the struct and its return.
    private int serve(long snap, Request request) {
        int error = checkCounts(request);
        if (error != 0) {
            return error;
        }
        int shortage =
                request.pgdPages < el2.host.table().geometry().rootPages() || request.listPages < el2.hostTablePages()
                        ? Errno.ENOMEM
                        : 0;
        error = checkAddresses(request);
        if (error == 0) {
            error = lendAndCopy(snap, request, shortage);
        }
        return shortage != 0 ? shortage : error;
    }

    private int checkCounts(Request request) {
        long memory = el2.regions.size();
        // The list is donated and returned page by page.
        boolean sane = request.index == 0
                && saneCount(request.pgdPages, Math.min(memory, MAX_BYTES - 1))
                && saneCount(request.listPages, memory)
                && saneCount(request.usedPages, Math.min(memory, MAX_BYTES - 1));
        return sane ? 0 : Errno.EINVAL;
    }

    private boolean saneCount(long pages, long limit) {
        return pages != 0 && Long.compareUnsigned(pages, limit >>> pageShift) <= 0;
    }

    private int checkAddresses(Request request) {
        if (!aligned(request.pgd) || !aligned(request.used) || !aligned(request.head)) {
            return Errno.EINVAL;
        }
        boolean memory = el2.regions.isRangeAllowedMemory(request.pgd, request.pgd + (request.pgdPages << pageShift))
                && el2.regions.isRangeAllowedMemory(request.used, request.used + (request.usedPages << pageShift));
        return memory ? 0 : Errno.EPERM;
    }

    private int lendAndCopy(long snap, Request request, int shortage) {
        int error = donate(request.pgd, request.pgdPages);
        if (error != 0) {
            return error;
        }
        error = donateList(request.head, request.listPages);
        if (error == 0) {
            error = donate(request.used, request.usedPages);
            if (error != 0) {
                giveBackList(request.head, request.listPages);
            } else {
                error = copyAndReturn(snap, request, shortage);
            }
        }
        if (error != 0) {
            memory.zeroPages(map.hypVa(request.pgd), request.pgdPages << pageShift);
        }
        giveBack(request.pgd, request.pgdPages);
        return error;
    }

    /// Donates the pages of the list, whose links are read after the page that holds them is ours. All or nothing.
    private int donateList(long head, long pages) {
        long page = head;
        for (long i = 0; i < pages; i++) {
            int error = aligned(page) ? donate(page, 1) : Errno.EINVAL;
            if (error != 0) {
                giveBackList(head, i);
                return error;
            }
            page = memory.read64(map.hypVa(page));
        }
        return 0;
    }

    /// Gives back the first `pages` pages of a list, last page first. The links are turned round for it and restored
    /// on the way, which needs no memory.
    private void giveBackList(long head, long pages) {
        long previous = 0;
        long page = head;
        for (long i = 0; i < pages; i++) {
            long next = memory.read64(map.hypVa(page));
            memory.write64(map.hypVa(page), previous);
            previous = page;
            page = next;
        }
        long link = page;
        page = previous;
        for (long i = 0; i < pages; i++) {
            long before = memory.read64(map.hypVa(page));
            memory.write64(map.hypVa(page), link);
            giveBack(page, 1);
            link = page;
            page = before;
        }
    }

    /// All buffers are ours: copies, unless there is a shortage, and returns the array and the list.
    private int copyAndReturn(long snap, Request request, int shortage) {
        observer.reached(Phase.DONATED);
        PageTable host = el2.host.table();
        Memcache list = new Memcache(request.head, request.listPages, request.used);
        boolean fits = false;
        if (shortage == 0) {
            el2.hostLock.lock();
            long needed = TableCopy.pagesBelowRoot(host.geometry(), memory, host.root());
            fits = needed <= request.listPages && needed * Long.BYTES <= request.usedPages << pageShift;
            if (fits && !new TableCopy(host.geometry(), memory, list).copy(host.root(), request.pgd)) {
                throw HypPanic.bug("__pkvm_host_stage2_snapshot");
            }
            if (fits) {
                observer.reached(Phase.COPIED);
            }
            el2.hostLock.unlock();
        }
        if (!fits) {
            memory.zeroPages(map.hypVa(request.used), request.usedPages << pageShift);
            giveBack(request.used, request.usedPages);
            giveBackList(request.head, request.listPages);
            return Errno.ENOMEM;
        }
        memory.write32(snap + SnapshotStruct.IA_BITS, host.geometry().inputBits());
        memory.write8(snap + SnapshotStruct.START_LEVEL, host.geometry().startLevel());
        memory.write64(snap + SnapshotStruct.PGD, request.pgd);
        memory.write64(snap + SnapshotStruct.MM_OPS, 0);
        memory.write32(snap + SnapshotStruct.FLAGS, Stage2.FLAG_NOFWB | Stage2.FLAG_IDMAP);
        memory.write64(snap + SnapshotStruct.MC_HEAD, list.head);
        memory.write64(snap + SnapshotStruct.MC_NR_PAGES, list.pages);
        memory.write64(snap + SnapshotStruct.USED_PAGES_INDX, list.taken);
        for (long i = 0; i < list.taken; i++) {
            giveBack(memory.read64(map.hypVa(request.used) + i * Long.BYTES), 1);
        }
        giveBack(request.used, request.usedPages);
        long page = list.head;
        for (long i = 0; i < list.pages; i++) {
            long next = memory.read64(map.hypVa(page));
            giveBack(page, 1);
            page = next;
        }
        return 0;
    }

    /// Pops pages off the lent list and writes down which, in the lent array.
    private final class Memcache implements TableCopy.Pages {
        private final long array;
        long head;
        long pages;
        long taken;

        Memcache(long head, long pages, long array) {
            this.head = head;
            this.pages = pages;
            this.array = array;
        }

        @Override
        public long next() {
            if (pages == 0) {
                return NONE;
            }
            long page = head;
            head = memory.read64(map.hypVa(page));
            pages--;
            memory.write64(map.hypVa(array) + taken * Long.BYTES, page);
            taken++;
            // The base gives nothing for the counts of a page that the host owns, and the posted call resets them.
            el2.vmemmap.clear(page);
            return page;
        }
    }

    private boolean aligned(long address) {
        return (address & pageSize - 1) == 0;
    }

    /// Donates pages of one region. A page that is memory only in part is refused too: the base forgets who owns it
    /// when
    /// it recycles the tables of devices.
    private int donate(long physical, long pages) {
        if (!el2.regions.isRangeAllowedMemory(physical, physical + (pages << pageShift))) {
            return Errno.EPERM;
        }
        int error = memProtect.donateHyp(physical >>> pageShift, pages, this::admit);
        return error == 0 || error == Errno.ENOMEM ? error : Errno.EPERM;
    }

    /// Whether the pools have the table pages that a donation of the range needs, counting those that the host's
    /// table would recycle on the way.
    private int admit(long start, long size) {
        long end = start + size;
        TableDemand host = new TableDemand(el2.host.table());
        long missing = host.missing(start, end);
        if (missing > el2.hostPool().freePages()
                && missing > el2.hostPool().freePages() + host.recyclable(el2.regions, start, end)) {
            return Errno.ENOMEM;
        }
        long hypMissing = new TableDemand(el2.hyp.table()).missing(map.hypVa(start), map.hypVa(end));
        return hypMissing > el2.hypPool().freePages() ? Errno.ENOMEM : 0;
    }

    /// Needs no memory, so a refusal is a bug of the hypervisor.
    private void giveBack(long physical, long pages) {
        if (memProtect.hypDonateHost(physical >>> pageShift, pages) != 0) {
            throw HypPanic.warn("__pkvm_host_stage2_snapshot");
        }
    }
}
