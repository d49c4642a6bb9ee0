package dev.s2snap.proof;

import dev.s2snap.model.HostKernel;
import dev.s2snap.model.VmStructs;
import java.util.ArrayDeque;
import java.util.BitSet;
import java.util.Deque;

/// The memory that the machine's own kernel works with in a trial: the first eighth, of which it takes the lowest pages
/// that are free.
///
/// A hostile host has the same memory. Pages that it has given away the kernel leaves alone, as a kernel knows what it
/// has given away; and what the kernel uses the hostile host has to leave alone ([#harmedBy]), because a kernel whose
/// tables are overwritten behind its back has nothing left that could be predicted.
final class KernelMemory {
    private final Trial trial;
    private final World world;
    private final HostKernel kernel;

    /// Pages that the kernel may have.
    private final BitSet pages = new BitSet();

    /// Pages that are free when the kernel uses nothing.
    private long home;

    /// Pages of a snapshot's list.
    private final long demand;

    private record Held(long base, long pages) {}

    private final Deque<Held> held = new ArrayDeque<>();

    KernelMemory(Trial trial) {
        this.trial = trial;
        world = trial.world();
        kernel = trial.model().hostKernel();
        demand = new SnapshotOracle(world, trial.scene()).demand();
        int end = world.pages / Haunts.KERNEL_SHARE;
        kernel.leave(world.address(end), world.address(world.pages) - world.address(end));
        for (int page = 0; page < end; page++) {
            pages.set(page, kernel.available(world.address(page)));
        }
        home = kernel.pagesAvailable();
    }

    /// Leaves alone what the hostile host has given away since.
    void sweep() {
        for (int page = pages.nextSetBit(0); page >= 0; page = pages.nextSetBit(page + 1)) {
            if (!world.free(page) && kernel.available(world.address(page))) {
                kernel.leave(world.address(page), 1L << world.shift);
                pages.clear(page);
                home--;
            }
        }
    }

    /// Whether the kernel uses the page for something.
    private boolean used(int page) {
        return page >= 0 && pages.get(page) && !kernel.available(world.address(page));
    }

    private boolean used(int first, int count) {
        int end = (int) Math.min(pages.length(), (long) first + count);
        for (int page = Math.max(0, first); page < end; page++) {
            if (used(page)) {
                return true;
            }
        }
        return false;
    }

    private boolean usedAt(long address) {
        return used(world.number(address));
    }

    /// Whether a step of the hostile host would store to what the kernel uses, or give it away.
    boolean harmedBy(Op op) {
        return switch (op.kind()) {
            case WRITE -> usedAt(op.argument(0)) || usedAt(op.argument(0) + Long.BYTES - 1);
            case LIST -> listHarms(op);
            case STRUCT ->
                usedAt(op.argument(0))
                        || used(world.number(op.argument(3)), (int) (op.argument(4) & 0xff))
                        || used(world.number(op.argument(5)), (int) (op.argument(6) & 0xff));
            case READ, FAULT, IDMAP, UNMAP_DEVICES, TAKE_HOST_POOL, TAKE_HYP_POOL, GIVE_HOST_POOL, GIVE_HYP_POOL ->
                false;
            default -> changes(trial.expected(op));
        };
    }

    private boolean listHarms(Op op) {
        for (long i = 0; i < op.argument(1); i++) {
            if (usedAt(op.argument(0) + ((i * op.argument(2)) << world.shift))) {
                return true;
            }
        }
        return false;
    }

    private boolean changes(Expectation expected) {
        for (int i = 0; i < expected.changes(); i++) {
            if (used(expected.first(i), expected.count(i))) {
                return true;
            }
        }
        for (int i = 0; i < expected.pinned(); i++) {
            if (used(expected.pinFirst(i), expected.pinCount(i))) {
                return true;
            }
        }
        for (int i = 0; i < expected.lent(); i++) {
            if (used(expected.lentFirst(i), expected.lentCount(i))) {
                return true;
            }
        }
        return false;
    }

    /// Address of the page that is taken last of the next so many, or -1.
    long next(long count) {
        long base = kernel.take(count);
        if (base != -1) {
            kernel.give(base, count);
        }
        return base == -1 ? -1 : base + ((count - 1) << world.shift);
    }

    // Running out of it.

    private static final long MOST = 1 << 20;

    /// Takes nearly all for something else.
    void squeeze(long left) {
        for (long count = MOST; count > 0; count /= 2) {
            while (kernel.pagesAvailable() >= left + count) {
                long base = kernel.take(count);
                if (base == -1) {
                    break;
                }
                held.push(new Held(base, count));
            }
        }
    }

    void relax() {
        held.forEach(each -> kernel.give(each.base, each.pages));
        held.clear();
    }

    /// With fewer pages than this and those of a snapshot nobody can say what an allocation comes to.
    private static final long LOW = 320;

    /// Whether -ENOMEM is an answer: for want of memory, or of a slot for a VM.
    boolean low() {
        return kernel.pagesAvailable() < LOW + demand
                || trial.scene().poolsLow()
                || trial.world().vms.size() >= VmOracle.SLOTS;
    }

    /// Pages that are free when the kernel uses nothing.
    long home() {
        return home;
    }

    /// A VM with so many vCPUs has died whose hypervisor's side nobody can ask for any more: its structs stay shared,
    /// and what was donated for it is out of the kernel's books.
    void robbed(int vcpus) {
        int root = trial.scene().rootPages();
        lost(pagesOf(VmStructs.KVM_SIZE) + pagesOf(VmStructs.vmArea(vcpus)) + root);
        lost(vcpus * (pagesOf(VmStructs.VCPU_SIZE) + pagesOf(VmStructs.HYP_VCPU_SIZE)));
    }

    private long pagesOf(long size) {
        return (size + (1L << world.shift) - 1) >>> world.shift;
    }

    /// So many pages have gone for good.
    void lost(long count) {
        home -= count;
    }
}
