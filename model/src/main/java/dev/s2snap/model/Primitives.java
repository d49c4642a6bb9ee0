package dev.s2snap.model;

import java.util.ArrayList;
import java.util.List;
import java.util.function.IntSupplier;

/// What code at EL2 can ask of memory protection without a hypercall: the functions that the recorded vectors call one
/// by one. Page frame numbers and counts are taken as they come, unsigned and unchecked, as EL2 takes them.
///
/// Each answers with 0 or an errno, or with [#PANICKED] if that was the end of the hypervisor; why it was says
/// [PkvmModel#panic].
public final class Primitives {
    /// No errno.
    public static final int PANICKED = Integer.MIN_VALUE;

    private final PkvmModel model;
    private final List<Long> hostPagesHeld = new ArrayList<>();
    private final List<Long> hypPagesHeld = new ArrayList<>();

    Primitives(PkvmModel model) {
        this.model = model;
    }

    private MemProtect protect() {
        return model.el2().memProtect;
    }

    private int atEl2(IntSupplier action) {
        Integer result = model.atEl2(action::getAsInt);
        return result == null ? PANICKED : result;
    }

    public int shareHyp(long frame) {
        return atEl2(() -> protect().shareHyp(frame));
    }

    public int unshareHyp(long frame) {
        return atEl2(() -> protect().unshareHyp(frame));
    }

    public int donateHyp(long frame, long pages) {
        return atEl2(() -> protect().donateHyp(frame, pages));
    }

    public int hypDonateHost(long frame, long pages) {
        return atEl2(() -> protect().hypDonateHost(frame, pages));
    }

    public int shareFfa(long frame, long pages) {
        return atEl2(() -> protect().shareFfa(frame, pages));
    }

    public int unshareFfa(long frame, long pages) {
        return atEl2(() -> protect().unshareFfa(frame, pages));
    }

    public int pin(long frame, long pages) {
        return atEl2(() -> protect().pin(frame, pages));
    }

    public int unpin(long frame, long pages) {
        return atEl2(() -> {
            protect().unpin(frame, pages);
            return 0;
        });
    }

    /// The host's stage-2 abort at an address, with its handler: all but 0 and -EAGAIN is a panic.
    public int fault(long address) {
        return atEl2(() -> {
            int result = protect().fault(address);
            MemProtect.requireHandled(result);
            return result;
        });
    }

    /// The lazy map alone.
    public int idmap(long address) {
        return atEl2(() -> protect().idmap(address));
    }

    /// What a transition does that lacks table pages: under the host lock, which a transition holds already.
    public int unmapDevices() {
        return atEl2(() -> {
            HypLock lock = model.el2().hostLock;
            lock.lock();
            int result = protect().unmapDevices();
            lock.unlock();
            return result;
        });
    }

    /// The snapshot call behind dispatch, as the recording entered it.
    ///
    /// @param pointer the host's address of the struct
    public int snapshot(long pointer) {
        return atEl2(() -> model.snapshotCall().call(pointer));
    }

    /// Takes up to `count` single pages out of the pool of the host's table.
    ///
    /// @return how many there were
    public int takeFromHostPool(long count) {
        return atEl2(() -> take(model.el2().hostPool(), count, hostPagesHeld));
    }

    /// Takes up to `count` single pages out of the pool of EL2's own table.
    ///
    /// @return how many there were
    public int takeFromHypPool(long count) {
        return atEl2(() -> take(model.el2().hypPool(), count, hypPagesHeld));
    }

    /// Gives back what [#takeFromHostPool] took.
    ///
    /// @return how many pages
    public int giveToHostPool() {
        return atEl2(() -> give(model.el2().hostPool(), hostPagesHeld));
    }

    /// Gives back what [#takeFromHypPool] took.
    ///
    /// @return how many pages
    public int giveToHypPool() {
        return atEl2(() -> give(model.el2().hypPool(), hypPagesHeld));
    }

    /// Free pages of the pool of the host's table.
    public long hostPoolFree() {
        return model.el2().hostPool().freePages();
    }

    /// Free pages of the pool of EL2's own table.
    public long hypPoolFree() {
        return model.el2().hypPool().freePages();
    }

    /// Whether a physical address lies in one of the two pools, in a table or free.
    public boolean inPools(long address) {
        return in(model.el2().hostPool(), address) || in(model.el2().hypPool(), address);
    }

    private static boolean in(HypPool pool, long address) {
        return address >= pool.start() && address < pool.end();
    }

    /// Physical address of the page that lists the VMs, or 0.
    public long vmTable() {
        return model.el2().vmTable();
    }

    private static int take(HypPool pool, long count, List<Long> held) {
        synchronized (held) {
            int taken = 0;
            while (taken < count) {
                long page = pool.allocate(0);
                if (page == 0) {
                    break;
                }
                held.add(page);
                taken++;
            }
            return taken;
        }
    }

    private static int give(HypPool pool, List<Long> held) {
        synchronized (held) {
            int given = held.size();
            held.forEach(pool::put);
            held.clear();
            return given;
        }
    }
}
