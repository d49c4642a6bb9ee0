package dev.s2snap.proof;

import dev.s2snap.model.Errno;
import dev.s2snap.model.HostGuest;
import dev.s2snap.model.HostGuest.Access;
import dev.s2snap.model.HostGuest.Backing;
import dev.s2snap.proof.GuestBook.Difference;
import dev.s2snap.proof.GuestBook.Leaf;
import dev.s2snap.proof.KernelHost.Vm;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import java.util.List;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;

/// What the kernel does with one guest: memory, faults, dirty logs, aging, unmapping; each is done to the VM and to its
/// [GuestBook], and what both say is compared.
final class GuestDeeds {
    /// Most slots of a guest: each takes tables, all of which are read when it dies.
    private static final int SLOTS = 3;

    private final KernelHost host;
    private final Trial trial;
    private final KernelMemory memory;
    private final SplittableRandom random;

    GuestDeeds(KernelHost host, Trial trial, KernelMemory memory, SplittableRandom random) {
        this.host = host;
        this.trial = trial;
        this.memory = memory;
        this.random = random;
    }

    void run(Vm vm) {
        if (vm.vcpus == 0) {
            return;
        }
        host.deed("run VM " + vm.guest.name());
        int answer = vm.guest.run(random.nextInt(vm.vcpus));
        if (answer != 0 && !(answer == Errno.ENOMEM && vm.guest.vmid() == 0 && (memory.low() || host.spoiling()))) {
            host.finds(-1, "it runs", Errno.name(answer));
        }
    }

    void addMemory(Vm vm) {
        long granule = vm.guest.geometry().granule();
        long block = vm.guest.geometry().entrySize(TableGeometry.LAST_LEVEL - 1);
        long space = vm.guest.geometry().inputSize();
        long start = random.nextInt(4) * block + (random.nextInt(4) == 0 ? random.nextInt(64) * granule : 0);
        long size = random.nextInt(4) == 0 ? (1 + random.nextInt(64)) * granule : (1 + random.nextInt(3)) * block;
        switch (random.nextInt(24)) {
            case 0 -> start = space - size;
            case 1 -> start = random.nextLong();
            case 2 -> size = random.nextLong(-1, 3) * granule / 2;
            case 3 -> start = space;
            case 4 -> size = Long.MAX_VALUE & -granule;
            default -> {}
        }
        Backing backing = random.nextBoolean() ? Backing.PAGES : Backing.BLOCKS;
        boolean readOnly = random.nextInt(5) == 0;
        if (vm.book.slots().size() == SLOTS && start >= 0) {
            start = vm.book.slots().getFirst();
        }
        host.deed("slot of 0x" + Long.toHexString(size) + " bytes at 0x" + Long.toHexString(start) + " of VM "
                + vm.guest.name());
        boolean taken = true;
        try {
            vm.guest.addMemory(start, size, backing, readOnly);
        } catch (IllegalArgumentException e) {
            taken = false;
        }
        if (vm.book.addMemory(start, size, backing, readOnly) != taken) {
            host.finds(start, taken ? "there is no such slot" : "a slot", taken ? "it was taken" : "it was refused");
        }
    }

    /// An address in a slot, mostly; often the same.
    private long address(Vm vm) {
        List<Long> slots = vm.book.slots();
        if (slots.isEmpty() || random.nextInt(12) == 0) {
            return random.nextInt(3) == 0
                    ? vm.guest.geometry().inputSize() + random.nextInt(3) * 8L - 8
                    : random.nextLong(vm.guest.geometry().inputSize());
        }
        long start = slots.get(random.nextInt(slots.size()));
        long size = vm.book.slotSize(start);
        return start
                + switch (random.nextInt(4)) {
                    case 0 -> random.nextLong(size);
                    case 1 -> size - 1;
                    default ->
                        Math.min(
                                size - 1,
                                random.nextInt(8) * vm.guest.geometry().granule() + 8);
                };
    }

    void fault(Vm vm) {
        long ipa = address(vm);
        Access access = Access.values()[random.nextInt(3)];
        host.deed("fault of VM " + vm.guest.name() + " at 0x" + Long.toHexString(ipa) + ", " + access);
        int answer = vm.guest.fault(ipa, access);
        int expected = vm.book.emulated(ipa, access) ? GuestBook.EMULATED : 0;
        if (expected == 0 && answer == Errno.ENOMEM && (memory.low() || host.spoiling() || vm.vcpus == 0)) {
            return;
        }
        if (answer != expected) {
            host.finds(ipa, "the answer is " + expected, answer + "");
        } else if (answer == 0) {
            Leaf now = GuestSight.at(table(vm), ipa);
            vm.book.faulted(ipa, access, now).forEach(this::differs);
        }
    }

    void differs(Difference difference) {
        host.finds(difference.address(), difference.said(), difference.seen());
    }

    /// Without the host's stage 2 in between, whose faults would be steps.
    TranslationTable table(Vm vm) {
        TranslationTable table = vm.guest.table();
        if (table == null) {
            throw new IllegalStateException("VM " + vm.guest.name() + " has no table");
        }
        return new TranslationTable(trial.model().memory(), table.geometry(), table.root());
    }

    // Ranges.

    private record Range(long start, long size) {}

    private @Nullable Range range(Vm vm) {
        TableGeometry shape = vm.guest.geometry();
        long start = address(vm) & -shape.granule();
        if (!shape.covers(start)) {
            return null;
        }
        long most = Math.min(shape.inputSize() - start, 2 * shape.entrySize(TableGeometry.LAST_LEVEL - 1));
        long size = switch (random.nextInt(8)) {
            case 0 -> 0;
            case 1, 2 -> most;
            case 3, 4 -> (1 + random.nextInt(32)) * shape.granule();
            default -> shape.granule();
        };
        return new Range(start, Math.min(size, most));
    }

    void log(Vm vm) {
        long start = someSlot(vm);
        host.deed("dirty log of VM " + vm.guest.name() + " at 0x" + Long.toHexString(start));
        trial.invalidatedGuests();
        boolean logged = !KernelHost.refused(IllegalArgumentException.class, () -> vm.guest.logDirtyPages(start));
        invalidated(vm, logged);
        if (vm.book.log(start) != logged) {
            host.finds(
                    start, logged ? "there is no slot" : "the log is on", logged ? "the log is on" : "it was refused");
        }
    }

    private long someSlot(Vm vm) {
        List<Long> slots = vm.book.slots();
        return slots.isEmpty() || random.nextInt(6) == 0
                ? address(vm) & -vm.guest.geometry().granule()
                : slots.get(random.nextInt(slots.size()));
    }

    void readLog(Vm vm) {
        long start = someSlot(vm);
        host.deed("dirty pages of VM " + vm.guest.name() + " at 0x" + Long.toHexString(start));
        List<Long> dirty = null;
        trial.invalidatedGuests();
        try {
            dirty = vm.guest.readDirtyLog(start);
        } catch (IllegalArgumentException e) {
            // No log is on there, or no slot begins there: what the book says of it is compared below.
            dirty = null;
        }
        invalidated(vm, dirty != null && !dirty.isEmpty());
        List<Long> said = vm.book.readLog(start);
        if (dirty == null ? said != null : !dirty.equals(said)) {
            host.finds(start, "dirty: " + said, "" + dirty);
        }
    }

    void writeProtect(Vm vm) {
        Range range = range(vm);
        if (range != null) {
            host.deed("write-protect VM " + vm.guest.name() + ", " + range);
            trial.invalidatedGuests();
            vm.guest.writeProtect(range.start, range.size);
            invalidated(vm, true);
            vm.book.writeProtect(range.start, range.size);
        }
    }

    void age(Vm vm) {
        Range range = range(vm);
        if (range == null) {
            return;
        }
        host.deed("age VM " + vm.guest.name() + ", " + range);
        boolean said = vm.book.used(range.start, range.size);
        boolean seen = vm.guest.used(range.start, range.size);
        if (said == seen && random.nextBoolean()) {
            seen = vm.guest.age(range.start, range.size);
            vm.book.age(range.start, range.size);
        }
        if (said != seen) {
            host.finds(range.start, said ? "it was used" : "nothing was used", seen ? "it was" : "it was not");
        }
    }

    void unmap(Vm vm) {
        Range range = range(vm);
        if (range != null) {
            host.deed("unmap of VM " + vm.guest.name() + ", " + range);
            trial.invalidatedGuests();
            vm.guest.unmap(range.start, range.size);
            invalidated(vm, vm.book.maps(range.start, range.size));
            vm.book.unmap(range.start, range.size);
        }
    }

    void split(Vm vm) {
        long granule = vm.guest.geometry().granule();
        List<Leaf> blockLeaves =
                vm.book.leaves().stream().filter(leaf -> leaf.size() > granule).toList();
        Leaf leaf = blockLeaves.isEmpty() ? null : blockLeaves.get(random.nextInt(blockLeaves.size()));
        Range range =
                leaf == null ? range(vm) : new Range(leaf.start(), random.nextBoolean() ? granule : 2 * leaf.size());
        if (range == null || range.size > vm.guest.geometry().inputSize() - range.start) {
            return;
        }
        int tables = random.nextInt(4);
        host.deed("split blocks of VM " + vm.guest.name() + ", " + range + ", " + tables + " tables");
        long blocks = vm.book.blocks(range.start, range.size);
        trial.invalidatedGuests();
        int answer = vm.guest.split(range.start, range.size, tables);
        invalidated(vm, blocks > 0 && answer == 0);
        boolean enough = blocks <= tables;
        boolean nothing = answer == Errno.ENOMEM && memory.low() && tables > 0;
        if (!nothing && answer != (enough ? 0 : Errno.ENOMEM)) {
            host.finds(range.start, blocks + " blocks, " + tables + " tables", Errno.name(answer));
        }
        // With -ENOMEM none is split for want of memory, or as many as there were tables.
        boolean untouched = nothing && sameBlocks(vm, range, blocks);
        vm.book.split(range.start, range.size, untouched ? 0 : Math.min(blocks, tables));
    }

    private boolean sameBlocks(Vm vm, Range range, long blocks) {
        List<Leaf> seen = GuestSight.all(table(vm)).leaves();
        long granule = vm.guest.geometry().granule();
        return seen.stream()
                        .filter(leaf -> leaf.size() > granule
                                && leaf.start() < range.start + range.size
                                && leaf.end() > range.start)
                        .count()
                == blocks;
    }

    void flush(Vm vm) {
        Range range = range(vm);
        if (range != null) {
            host.deed("flush VM " + vm.guest.name() + ", " + range);
            vm.guest.flush(range.start, range.size);
        }
    }

    /// What a guest may not do any more the hypervisor has told all CPUs, as far as it knows the guest.
    private void invalidated(Vm vm, boolean needed) {
        boolean done = trial.invalidatedGuests().contains(vm.guest.vmid());
        if (needed && vm.guest.vmid() != 0 && !done) {
            host.finds(-1, "what was taken from VMID " + vm.guest.vmid() + " is invalidated", "it was not");
        }
    }

    private void mustBeRefused(String what, Runnable call) {
        host.deed(what);
        if (!KernelHost.refused(IllegalStateException.class, call)) {
            host.finds(-1, "this is refused", "it was done");
        }
    }

    /// What may not be asked of a VM that is dead or closed, or of addresses that it has not.
    void refusals(Vm vm) {
        HostGuest guest = vm.guest;
        if (vm.killed) {
            mustBeRefused("fault after the process's death", () -> guest.fault(0, Access.READ));
            mustBeRefused("second death", guest::kill);
        }
        if (guest.closed()) {
            mustBeRefused("second close", guest::close);
            return;
        }
        if (vm.killed) {
            return;
        }
        // Beyond the table: nothing happens, and the kernel says so.
        long beyond = guest.geometry().inputSize();
        long page = guest.geometry().granule();
        switch (random.nextInt(4)) {
            case 0 -> mustBeRefused("write-protect beyond the guest", () -> guest.writeProtect(beyond, page));
            case 1 -> mustBeRefused("age beyond the guest", () -> guest.age(beyond, page));
            case 2 -> mustBeRefused("unmap beyond the guest", () -> guest.unmap(beyond - page, 2 * page));
            default -> {
                // With forced write-back there is nothing to flush anywhere.
                if (!guest.forcedWriteBack()) {
                    mustBeRefused("flush beyond the guest", () -> guest.flush(beyond, page));
                }
            }
        }
    }
}
