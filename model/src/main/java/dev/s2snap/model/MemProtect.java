package dev.s2snap.model;

import static dev.s2snap.vmsa.TableGeometry.LAST_LEVEL;

import dev.s2snap.pkvm.PageState;
import dev.s2snap.vmsa.Descriptor;
import java.util.stream.Stream;

/// Who may use which page of host memory: the transitions between host and hypervisor, and the lazy identity map of
/// the host (`mem_protect.c` of 6.12.117). Page states are in bits 56:55 of the descriptors.
///
/// A transition checks both sides and then does both sides. Refusals change nothing and are errnos; a failure in the
/// second part is a panic. Locks: host, then hypervisor, over the whole transition.
///
/// Sizes are page counts times the page size modulo 2^64: a range of no bytes, or one that wraps, is accepted and does
/// nothing. That is how 6.12 is.
final class MemProtect {
    private static final long STATE_SHARED_OWNED = 1L << 55;
    private static final long STATE_SHARED_BORROWED = 1L << 56;

    private final int pageShift;
    private final boolean debug;
    private final AddressMap map;
    private final MemoryMap regions;
    private final Vmemmap vmemmap;
    private final Stage2 host;
    private final HypStage1 hyp;
    private final HypLock hostLock;
    private final HypLock hypLock;

    // By wanted state, made once: every transition asks.
    private final PageTable.Visitor[] hostChecks;
    private final PageTable.Visitor[] hypChecks;

    MemProtect(Hypervisor el2) {
        pageShift = el2.config.pageShift;
        debug = el2.config.debug;
        map = el2.map;
        regions = el2.regions;
        vmemmap = el2.vmemmap;
        host = el2.host;
        hyp = el2.hyp;
        hostLock = el2.hostLock;
        hypLock = el2.hypLock;
        hostChecks = Stream.of(PageState.values()).map(this::hostCheck).toArray(PageTable.Visitor[]::new);
        hypChecks = Stream.of(PageState.values()).map(MemProtect::hypCheck).toArray(PageTable.Visitor[]::new);
    }

    /// A test between the checks of a donation and the donation itself, under both locks.
    @FunctionalInterface
    interface Admission {
        Admission ANY = (_, _) -> 0;

        /// @return 0 or the errno to refuse with
        int test(long address, long size);
    }

    private interface Body {
        int run();
    }

    private int underHostLock(Body body) {
        hostLock.lock();
        int result = body.run();
        hostLock.unlock();
        return result;
    }

    private int underBothLocks(Body body) {
        hostLock.lock();
        hypLock.lock();
        int result = body.run();
        hypLock.unlock();
        hostLock.unlock();
        return result;
    }

    private long address(long frame) {
        return frame << pageShift;
    }

    private long size(long pages) {
        return pages << pageShift;
    }

    // States.

    private PageState hostState(long descriptor, long address) {
        if (!regions.isAllowedMemory(address) || Descriptor.annotated(descriptor)) {
            return PageState.NOPAGE;
        }
        return PageState.ofSoftwareBits(descriptor);
    }

    private static PageState hypState(long descriptor) {
        return Descriptor.valid(descriptor) ? PageState.ofSoftwareBits(descriptor) : PageState.NOPAGE;
    }

    /// The state is judged once for each leaf, at the address where the walk enters it: 6.12 looks no closer.
    private PageTable.Visitor hostCheck(PageState wanted) {
        return (_, _, old, _, at, _) -> hostState(old, at) == wanted ? 0 : Errno.EPERM;
    }

    private static PageTable.Visitor hypCheck(PageState wanted) {
        return (_, _, old, _, _, _) -> hypState(old) == wanted ? 0 : Errno.EPERM;
    }

    private int checkHost(long address, long size, PageState wanted) {
        return host.table().walk(address, size, PageTable.LEAF, hostChecks[wanted.ordinal()]);
    }

    private int checkHyp(long physical, long size, PageState wanted) {
        return hyp.table().walk(map.hypVa(physical), size, PageTable.LEAF, hypChecks[wanted.ordinal()]);
    }

    /// Host and hypervisor state of one page, read through EL2; an errno instead of a state where the walk fails.
    record States(Object host, Object hyp) {}

    States states(long frame) {
        long address = address(frame);
        PageTable.Leaf ofHost = host.table().leaf(address);
        Object hostSide = ofHost.error != 0 ? ofHost.error : hostState(ofHost.descriptor, address);
        PageTable.Leaf ofHyp = hyp.table().leaf(map.hypVa(address));
        return new States(hostSide, ofHyp.error != 0 ? ofHyp.error : hypState(ofHyp.descriptor));
    }

    // What both sides do.

    private int mapHost(long address, long size, long prot) {
        int error = host.map(address, size, address, prot);
        return error == Errno.ENOMEM ? afterRecycling(() -> host.map(address, size, address, prot)) : error;
    }

    private int setHostOwner(long address, long size, int owner) {
        int error = host.setOwner(address, size, owner);
        return error == Errno.ENOMEM ? afterRecycling(() -> host.setOwner(address, size, owner)) : error;
    }

    /// Tries once more with the table pages of devices, which come back by themselves.
    private int afterRecycling(Body body) {
        int error = unmapDevices();
        return error != 0 ? error : body.run();
    }

    private int mapHyp(long physical, long size, long prot) {
        long page = 1L << pageShift;
        long start = map.hypVa(physical);
        long end = start + size;
        for (long va = start; Long.compareUnsigned(va, end) < 0; va += page) {
            int error = hyp.map(va, page, map.hypPa(va), prot);
            if (error != 0) {
                return error;
            }
        }
        return 0;
    }

    /// The byte count is kept in 32 bits, signed: 2 GiB and more never compare equal.
    private int unmapHyp(long physical, long size) {
        int unmapped = (int) hyp.unmap(map.hypVa(physical), size);
        return unmapped == size ? 0 : Errno.EFAULT;
    }

    private static int must(int error, String function) {
        if (error != 0) {
            throw HypPanic.warn(function);
        }
        return 0;
    }

    /// Unmaps everything that is not memory, to recycle its table pages.
    int unmapDevices() {
        long address = 0;
        for (int i = 0; i < regions.count(); i++) {
            int error = host.unmap(address, regions.base(i) - address);
            if (error != 0) {
                return error;
            }
            address = regions.end(i);
        }
        return host.unmap(address, host.table().geometry().inputSize() - address);
    }

    // Transitions.

    int shareHyp(long frame) {
        long address = address(frame);
        long size = size(1);
        return underBothLocks(() -> {
            int error = checkHost(address, size, PageState.OWNED);
            if (error == 0 && debug) {
                error = checkHyp(address, size, PageState.NOPAGE);
            }
            if (error != 0) {
                return error;
            }
            must(mapHost(address, size, Stage2.RWX | STATE_SHARED_OWNED), "do_share");
            return must(mapHyp(address, size, HypStage1.RW | STATE_SHARED_BORROWED), "do_share");
        });
    }

    int unshareHyp(long frame) {
        long address = address(frame);
        long size = size(1);
        return underBothLocks(() -> {
            int error = checkHost(address, size, PageState.SHARED_OWNED);
            if (error == 0 && vmemmap.refcount(address) != 0) {
                error = Errno.EBUSY;
            }
            if (error == 0 && debug) {
                error = checkHyp(address, size, PageState.SHARED_BORROWED);
            }
            if (error != 0) {
                return error;
            }
            must(mapHost(address, size, Stage2.RWX), "do_unshare");
            return must(unmapHyp(address, size), "do_unshare");
        });
    }

    int donateHyp(long frame, long pages) {
        return donateHyp(frame, pages, Admission.ANY);
    }

    /// Donation with one more condition, which is asked when all others hold.
    int donateHyp(long frame, long pages, Admission admission) {
        long address = address(frame);
        long size = size(pages);
        return underBothLocks(() -> {
            int error = checkHost(address, size, PageState.OWNED);
            if (error == 0 && debug) {
                error = checkHyp(address, size, PageState.NOPAGE);
            }
            if (error == 0) {
                error = admission.test(address, size);
            }
            if (error != 0) {
                return error;
            }
            must(setHostOwner(address, size, Stage2.OWNER_HYP), "do_donate");
            return must(mapHyp(address, size, HypStage1.RW), "do_donate");
        });
    }

    int hypDonateHost(long frame, long pages) {
        long address = address(frame);
        long size = size(pages);
        return underBothLocks(() -> {
            int error = checkHyp(address, size, PageState.OWNED);
            if (error == 0 && debug) {
                error = checkHost(address, size, PageState.NOPAGE);
            }
            if (error != 0) {
                return error;
            }
            must(unmapHyp(address, size), "do_donate");
            return must(setHostOwner(address, size, Stage2.OWNER_HOST), "do_donate");
        });
    }

    int shareFfa(long frame, long pages) {
        long address = address(frame);
        long size = size(pages);
        return underHostLock(() -> {
            int error = checkHost(address, size, PageState.OWNED);
            return error != 0 ? error : must(mapHost(address, size, Stage2.RWX | STATE_SHARED_OWNED), "do_share");
        });
    }

    int unshareFfa(long frame, long pages) {
        long address = address(frame);
        long size = size(pages);
        return underHostLock(() -> {
            int error = checkHost(address, size, PageState.SHARED_OWNED);
            return error != 0 ? error : must(mapHost(address, size, Stage2.RWX), "do_unshare");
        });
    }

    int pin(long frame, long pages) {
        long address = address(frame);
        long size = size(pages);
        return underBothLocks(() -> {
            int error = checkHost(address, size, PageState.SHARED_OWNED);
            if (error == 0) {
                error = checkHyp(address, size, PageState.SHARED_BORROWED);
            }
            if (error == 0) {
                for (long done = 0; done < size; done += 1L << pageShift) {
                    vmemmap.increment(address + done);
                }
            }
            return error;
        });
    }

    void unpin(long frame, long pages) {
        underBothLocks(() -> {
            for (long done = 0; done < size(pages); done += 1L << pageShift) {
                vmemmap.decrement(address(frame) + done);
            }
            return 0;
        });
    }

    // Faults.

    /// Maps what the host touched, as large as fits (`host_stage2_idmap`).
    int idmap(long address) {
        int region = regions.find(address);
        long rangeStart = regions.rangeStart(region);
        long rangeEnd = regions.rangeEnd(region);
        return underHostLock(() -> {
            PageTable table = host.table();
            PageTable.Leaf leaf = table.leaf(address);
            if (leaf.error != 0) {
                return leaf.error;
            }
            if (Descriptor.valid(leaf.descriptor)) {
                return Errno.EAGAIN;
            }
            if (leaf.descriptor != 0) {
                return Errno.EPERM;
            }
            // The test for block support looks at the level below the one whose range it accepts: with an empty
            // level-0 entry a whole 512G range passes. 6.16 corrected it (e728e705802f); 6.12.117 has it.
            int level = leaf.level;
            long start;
            long end;
            do {
                long granule = table.entrySize(level);
                start = address & -granule;
                end = start + granule;
                level++;
            } while (level <= LAST_LEVEL
                    && !(table.blocksAt(level)
                            && Long.compareUnsigned(rangeStart, start) <= 0
                            && Long.compareUnsigned(end, rangeEnd) <= 0));
            return mapHost(start, end - start, region >= 0 ? Stage2.RWX : Stage2.RW);
        });
    }

    /// `handle_host_mem_abort`, behind the decoding of the fault: HPFAR_EL2 has no bits below 12.
    int fault(long address) {
        return idmap(address & -(1L << 12));
    }

    /// What the handler does with the result of [#fault].
    static void requireHandled(int result) {
        if (result != 0 && result != Errno.EAGAIN) {
            throw HypPanic.bug("handle_host_mem_abort");
        }
    }

    // Initialisation.

    /// Makes the host's table agree with a mapping of the hypervisor's.
    int adoptHypMapping(long descriptor, int level, long physical) {
        if (level != LAST_LEVEL || !regions.isMemory(physical)) {
            return Errno.EINVAL;
        }
        return switch (hypState(descriptor)) {
            case OWNED -> setHostOwner(physical, size(1), Stage2.OWNER_HYP);
            case SHARED_OWNED -> mapHost(physical, size(1), Stage2.RWX | STATE_SHARED_BORROWED);
            case SHARED_BORROWED -> mapHost(physical, size(1), Stage2.RWX | STATE_SHARED_OWNED);
            case RESERVED, NOPAGE -> Errno.EINVAL;
        };
    }

    /// Whether the host's table may map a range in blocks (`host_stage2_force_pte_cb`): memory only with all
    /// permissions and unshared, devices only with theirs, because only those come back by themselves.
    static boolean forcePages(MemoryMap regions, long start, long end, long prot) {
        return prot != (regions.isRangeMemory(start, end) ? Stage2.RWX : Stage2.RW);
    }
}
