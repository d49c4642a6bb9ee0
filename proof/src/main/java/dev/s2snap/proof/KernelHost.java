package dev.s2snap.proof;

import dev.s2snap.model.Errno;
import dev.s2snap.model.HostGuest;
import dev.s2snap.model.HostGuest.Access;
import dev.s2snap.model.HostGuest.Backing;
import dev.s2snap.model.HostKernel;
import dev.s2snap.model.HostKernel.HostException;
import dev.s2snap.model.HostKvm;
import dev.s2snap.model.Hypercalls;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.proof.GuestBook.Difference;
import dev.s2snap.proof.GuestBook.Leaf;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/// The machine's own kernel at work, beside the hostile host: VMs with memory slots, faults, dirty logs, aging, files
/// of
/// debugfs, honest snapshots; and what it does when memory runs out or the hypervisor refuses.
///
/// Its hypercalls and accesses are steps, which the oracle judges ([Trial#kernel]). What only the kernel knows, its
/// guests'
/// tables, is compared with a [GuestBook] after each act: rights, dirty logs, that no two guests have a page in common,
/// that a guest's pages are the host's, and that all memory comes back.
final class KernelHost {
    /// Steps of the hostile host for each of the kernel's.
    private static final int PATIENCE = 7;

    /// Most guests at once.
    private static final int GUESTS = 3;

    /// Most slots of a guest: each takes tables, all of which are read when it dies.
    private static final int SLOTS = 3;

    /// It ends the machine once in so many acts.
    private static final int SUICIDAL = 250;

    private static final int TEARDOWN_VM = 27;

    /// A guest address space with a small root.
    private static final int FEW_BITS = 36;

    /// The shortest guest address space.
    private static final int LEAST_BITS = 32;

    private final Trial trial;
    private final PkvmModel model;
    private final World world;
    private final SplittableRandom random;
    private final HostKernel kernel;
    private final HostKvm kvm;
    private final KernelMemory memory;
    private final KernelChores chores;
    private final KernelDoom doom;
    private final List<Vm> vms = new ArrayList<>();
    private final List<Finding> findings = new ArrayList<>();
    private final int mostBits;
    private long steps;
    private long acts;
    private int nextFile = 3;
    private boolean over;
    private String deed = "";

    /// A VM, with what has to be in its table.
    static final class Vm {
        final HostGuest guest;
        final GuestBook book;
        final int vcpus;

        /// The process is dead, and the table gone.
        boolean killed;

        /// Files of debugfs that are open of it.
        int files;

        private Vm(HostGuest guest, int vcpus) {
            this.guest = guest;
            this.vcpus = vcpus;
            TableGeometry shape = guest.geometry();
            book = new GuestBook(shape.granule(), shape.entrySize(TableGeometry.LAST_LEVEL - 1), shape.inputSize());
        }

        boolean alive() {
            return !killed && !guest.closed();
        }
    }

    KernelHost(Trial trial, SplittableRandom random) {
        this.trial = trial;
        this.random = random;
        model = trial.model();
        world = trial.world();
        kernel = model.hostKernel();
        kvm = kernel.kvm();
        memory = new KernelMemory(trial);
        chores = new KernelChores(this, model, memory, random);
        doom = new KernelDoom(trial, memory, chores, random);
        mostBits = model.host().optional().orElseThrow().geometry().inputBits();
    }

    // For a campaign.

    /// Whether it is the kernel's turn.
    boolean due(long hostSteps) {
        return !over && steps * PATIENCE < hostSteps;
    }

    /// A step of the kernel was made.
    void stepped() {
        steps++;
    }

    /// Whether a step of the hostile host would take from the kernel what it is at.
    boolean harmedBy(Op op) {
        return memory.harmedBy(op);
    }

    /// What was found since the last time.
    List<Finding> findings() {
        List<Finding> found = List.copyOf(findings);
        findings.clear();
        over |= !found.isEmpty();
        return found;
    }

    /// Does one thing, inside of [Trial#kernel].
    void act() {
        memory.sweep();
        try {
            if (random.nextInt(SUICIDAL) == 0) {
                die();
                return;
            }
            idea();
            while (!trial.over() && random.nextInt(4) != 0) {
                smallIdea();
            }
            if (!trial.over()) {
                check();
            }
        } catch (HostException | IllegalStateException e) {
            // A dead machine has no further steps; what is no refusal of the hypervisor is the kernel's own fault.
            over |= trial.over();
            if (!over) {
                finds(-1, "the kernel goes on", e.toString());
            }
        }
        over |= trial.over();
    }

    void finds(long address, String said, String seen) {
        findings.add(new Finding(Finding.Kind.GUEST, address, said, seen, List.of(), deed));
    }

    /// What it is at, for findings.
    void deed(String words) {
        deed = words;
    }

    private void idea() {
        int vm = vms.isEmpty() ? -1 : random.nextInt(vms.size());
        switch (random.nextInt(64)) {
            case 0 -> chores.snapshot();
            case 1 -> chores.hostFile();
            case 2, 3 -> chores.bareVm();
            case 4, 5, 6, 7, 8 -> shortOfMemory();
            case 9, 10 -> spoilt();
            case 11 -> end();
            case 12 -> create();
            case 13 -> chores.touchFew();
            default -> {
                if (vm < 0) {
                    create();
                } else {
                    guest(vms.get(vm));
                }
            }
        }
    }

    /// What takes next to no steps.
    private void smallIdea() {
        Vm vm = vms.isEmpty() ? null : vms.get(random.nextInt(vms.size()));
        switch (random.nextInt(8)) {
            case 0, 1 -> refusals();
            case 2 -> chores.folders(vms);
            case 3 -> chores.touch();
            default -> {
                if (vm != null && random.nextInt(3) == 0 && vm.alive()) {
                    addMemory(vm);
                    fault(vm);
                } else if (vm != null) {
                    file(vm);
                }
            }
        }
    }

    private void die() {
        over = true;
        Vm vm = vms.isEmpty() ? null : vms.get(random.nextInt(vms.size()));
        boolean running = vm != null && vm.alive() && vm.guest.vmid() != 0;
        if (vm != null && running && random.nextBoolean()) {
            deed("the struct kvm of VM " + vm.guest.name() + " is taken back");
            doom.takenBack(vm.guest);
        } else if (random.nextInt(3) == 0) {
            deed("a list of pages that goes on");
            doom.endlessList();
        } else {
            deed("a page of the hypervisor's in the allocator");
            switch (random.nextInt(3)) {
                case 0 -> doom.strangePage(true, this::create);
                case 1 -> doom.strangePage(false, chores::snapshot);
                default ->
                    doom.strangePage(true, () -> {
                        if (vm != null && vm.alive()) {
                            fault(vm);
                            fault(vm);
                        }
                    });
            }
        }
    }

    /// What a guest may not do any more the hypervisor has told all CPUs, as far as it knows the guest.
    private void invalidated(Vm vm, boolean needed) {
        boolean done = trial.invalidatedGuests().contains(vm.guest.vmid());
        if (needed && vm.guest.vmid() != 0 && !done) {
            finds(-1, "what was taken from VMID " + vm.guest.vmid() + " is invalidated", "it was not");
        }
    }

    // VMs.

    private void create() {
        if (vms.size() >= GUESTS) {
            if (random.nextInt(3) == 0) {
                end(vms.get(random.nextInt(vms.size())));
            }
            return;
        }
        int pid = 100 + random.nextInt(3);
        int fd = random.nextInt(8) == 0 && !vms.isEmpty() ? nextFile - 1 : nextFile++;
        int bits = switch (random.nextInt(16)) {
            case 0 -> 1 + random.nextInt(LEAST_BITS);
            case 1 -> mostBits + random.nextInt(3);
            case 2 -> LEAST_BITS + random.nextInt(Math.max(1, mostBits - LEAST_BITS));
            case 3, 4, 5, 6 -> 0;
            default -> Math.min(FEW_BITS, mostBits);
        };
        int vcpus = random.nextInt(10) == 0 ? 0 : 1 + random.nextInt(2);
        deed("create VM " + pid + "-" + fd + " of " + bits + " bits");
        boolean taken = vms.stream()
                .anyMatch(vm -> !vm.guest.closed() && vm.guest.name().equals(pid + "-" + fd));
        boolean possible = bits == 0 || (bits >= LEAST_BITS && bits <= mostBits);
        try {
            HostGuest guest = kvm.create(pid, fd, bits, vcpus);
            Vm vm = new Vm(guest, vcpus);
            vms.add(vm);
            if (taken || !possible) {
                finds(-1, taken ? "the file is there already" : "-EINVAL", "a VM");
            }
            int wanted = bits == 0 ? mostBits : bits;
            if (guest.geometry().inputBits() != wanted) {
                finds(-1, "a guest of " + wanted + " bits", guest.geometry().toString());
            }
            addMemory(vm);
        } catch (IllegalArgumentException e) {
            answered(taken, "a VM", e);
        } catch (HostException e) {
            answered(possible ? e.error() == Errno.ENOMEM && memory.low() : e.error() == Errno.EINVAL, "a VM", e);
        }
    }

    private void answered(boolean right, String said, RuntimeException e) {
        over |= trial.over();
        if (!right && !over) {
            finds(-1, said, String.valueOf(e.getMessage()));
        }
    }

    private void guest(Vm vm) {
        if (!vm.alive()) {
            file(vm);
            return;
        }
        switch (random.nextInt(32)) {
            case 0 -> run(vm);
            case 1, 2 -> addMemory(vm);
            case 3, 4 -> log(vm);
            case 5, 6, 7, 8 -> readLog(vm);
            case 9, 10 -> writeProtect(vm);
            case 11, 12 -> age(vm);
            case 13, 14 -> unmap(vm);
            case 15, 16 -> split(vm);
            case 17 -> flush(vm);
            case 18, 19, 20, 21 -> file(vm);
            case 22 -> {
                // Files stay open and the process dies.
                if (vm.files > 0) {
                    end(vm);
                }
            }
            default -> {
                for (int i = random.nextInt(10); i >= 0 && !trial.over(); i--) {
                    fault(vm);
                }
            }
        }
    }

    private void run(Vm vm) {
        if (vm.vcpus == 0) {
            return;
        }
        deed("run VM " + vm.guest.name());
        int answer = vm.guest.run(random.nextInt(vm.vcpus));
        if (answer != 0 && !(answer == Errno.ENOMEM && vm.guest.vmid() == 0 && (memory.low() || spoiling))) {
            finds(-1, "it runs", Errno.name(answer));
        }
    }

    private void addMemory(Vm vm) {
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
        deed("slot of 0x" + Long.toHexString(size) + " bytes at 0x" + Long.toHexString(start) + " of VM "
                + vm.guest.name());
        boolean taken = true;
        try {
            vm.guest.addMemory(start, size, backing, readOnly);
        } catch (IllegalArgumentException e) {
            taken = false;
        }
        if (vm.book.addMemory(start, size, backing, readOnly) != taken) {
            finds(start, taken ? "there is no such slot" : "a slot", taken ? "it was taken" : "it was refused");
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

    private void fault(Vm vm) {
        long ipa = address(vm);
        Access access = Access.values()[random.nextInt(3)];
        deed("fault of VM " + vm.guest.name() + " at 0x" + Long.toHexString(ipa) + ", " + access);
        int answer = vm.guest.fault(ipa, access);
        int expected = vm.book.emulated(ipa, access) ? GuestBook.EMULATED : 0;
        if (expected == 0 && answer == Errno.ENOMEM && (memory.low() || spoiling || vm.vcpus == 0)) {
            return;
        }
        if (answer != expected) {
            finds(ipa, "the answer is " + expected, answer + "");
        } else if (answer == 0) {
            Leaf now = GuestSight.at(table(vm), ipa);
            vm.book.faulted(ipa, access, now).forEach(this::differs);
        }
    }

    private void differs(Difference difference) {
        finds(difference.address(), difference.said(), difference.seen());
    }

    /// Without the host's stage 2 in between, whose faults would be steps.
    private TranslationTable table(Vm vm) {
        TranslationTable table = vm.guest.table();
        if (table == null) {
            throw new IllegalStateException("VM " + vm.guest.name() + " has no table");
        }
        return new TranslationTable(model.memory(), table.geometry(), table.root());
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

    private void log(Vm vm) {
        long start = someSlot(vm);
        deed("dirty log of VM " + vm.guest.name() + " at 0x" + Long.toHexString(start));
        trial.invalidatedGuests();
        boolean logged = !refused(IllegalArgumentException.class, () -> vm.guest.logDirtyPages(start));
        invalidated(vm, logged);
        if (vm.book.log(start) != logged) {
            finds(start, logged ? "there is no slot" : "the log is on", logged ? "the log is on" : "it was refused");
        }
    }

    private long someSlot(Vm vm) {
        List<Long> slots = vm.book.slots();
        return slots.isEmpty() || random.nextInt(6) == 0
                ? address(vm) & -vm.guest.geometry().granule()
                : slots.get(random.nextInt(slots.size()));
    }

    private void readLog(Vm vm) {
        long start = someSlot(vm);
        deed("dirty pages of VM " + vm.guest.name() + " at 0x" + Long.toHexString(start));
        List<Long> dirty = null;
        trial.invalidatedGuests();
        try {
            dirty = vm.guest.readDirtyLog(start);
        } catch (IllegalArgumentException e) {
            answered(true, "", e);
        }
        invalidated(vm, dirty != null && !dirty.isEmpty());
        List<Long> said = vm.book.readLog(start);
        if (dirty == null ? said != null : !dirty.equals(said)) {
            finds(start, "dirty: " + said, "" + dirty);
        }
    }

    private void writeProtect(Vm vm) {
        Range range = range(vm);
        if (range != null) {
            deed("write-protect VM " + vm.guest.name() + ", " + range);
            trial.invalidatedGuests();
            vm.guest.writeProtect(range.start, range.size);
            invalidated(vm, true);
            vm.book.writeProtect(range.start, range.size);
        }
    }

    private void age(Vm vm) {
        Range range = range(vm);
        if (range == null) {
            return;
        }
        deed("age VM " + vm.guest.name() + ", " + range);
        boolean said = vm.book.used(range.start, range.size);
        boolean seen = vm.guest.used(range.start, range.size);
        if (said == seen && random.nextBoolean()) {
            seen = vm.guest.age(range.start, range.size);
            vm.book.age(range.start, range.size);
        }
        if (said != seen) {
            finds(range.start, said ? "it was used" : "nothing was used", seen ? "it was" : "it was not");
        }
    }

    private void unmap(Vm vm) {
        Range range = range(vm);
        if (range != null) {
            deed("unmap of VM " + vm.guest.name() + ", " + range);
            trial.invalidatedGuests();
            vm.guest.unmap(range.start, range.size);
            invalidated(vm, vm.book.maps(range.start, range.size));
            vm.book.unmap(range.start, range.size);
        }
    }

    private void split(Vm vm) {
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
        deed("split blocks of VM " + vm.guest.name() + ", " + range + ", " + tables + " tables");
        long blocks = vm.book.blocks(range.start, range.size);
        trial.invalidatedGuests();
        int answer = vm.guest.split(range.start, range.size, tables);
        invalidated(vm, blocks > 0 && answer == 0);
        boolean enough = blocks <= tables;
        boolean nothing = answer == Errno.ENOMEM && memory.low() && tables > 0;
        if (!nothing && answer != (enough ? 0 : Errno.ENOMEM)) {
            finds(range.start, blocks + " blocks, " + tables + " tables", Errno.name(answer));
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

    private void flush(Vm vm) {
        Range range = range(vm);
        if (range != null) {
            deed("flush VM " + vm.guest.name() + ", " + range);
            vm.guest.flush(range.start, range.size);
        }
    }

    // What is refused.

    /// Whether a call is refused, as it should be, with an exception of the kind.
    static boolean refused(Class<? extends RuntimeException> how, Runnable call) {
        try {
            call.run();
            return false;
        } catch (IllegalStateException | IllegalArgumentException e) {
            if (how.isInstance(e)) {
                return true;
            }
            throw e;
        }
    }

    private void mustBeRefused(String what, Runnable call) {
        deed(what);
        if (!refused(IllegalStateException.class, call)) {
            finds(-1, "this is refused", "it was done");
        }
    }

    private void refusals() {
        if (vms.isEmpty()) {
            return;
        }
        Vm vm = vms.get(random.nextInt(vms.size()));
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

    // Running out of memory, and of the hypervisor's favour.

    private boolean spoiling;

    private void shortOfMemory() {
        memory.squeeze(random.nextInt(1 << random.nextInt(7)));
        try {
            for (int i = random.nextInt(3); i >= 0 && !trial.over(); i--) {
                switch (random.nextInt(8)) {
                    case 0, 1 -> create();
                    case 2 -> chores.snapshot();
                    case 3 -> chores.bareVm();
                    case 4 -> chores.hostFile();
                    default -> {
                        if (!vms.isEmpty()) {
                            guest(vms.get(random.nextInt(vms.size())));
                        }
                    }
                }
            }
        } finally {
            memory.relax();
        }
    }

    /// One of the next pages that it takes is shared with the hypervisor already: what it asks for then is refused, and
    /// it
    /// has to have everything back.
    private void spoilt() {
        long page = memory.next(1 + random.nextInt(12));
        if (page == -1) {
            return;
        }
        deed("a page that is shared already");
        chores.hypercall(Hypercalls.HOST_SHARE_HYP, page >>> world.shift);
        spoiling = true;
        if (random.nextBoolean()) {
            chores.bareVm();
        } else {
            create();
            if (!vms.isEmpty() && vms.getLast().alive()) {
                run(vms.getLast());
            }
        }
        spoiling = false;
        if (!trial.over()) {
            chores.hypercall(Hypercalls.HOST_UNSHARE_HYP, page >>> world.shift);
        }
    }

    boolean spoiling() {
        return spoiling;
    }

    // Files.

    private void file(Vm vm) {
        chores.guestFile(vm);
        forget(vm);
    }

    /// Forgets a VM to which nothing refers any more.
    private void forget(Vm vm) {
        if (vm.guest.closed() && vm.files == 0) {
            vms.remove(vm);
            if (kvm.guests().contains(vm.guest)) {
                finds(-1, "nothing refers to VM " + vm.guest.name() + ", so it is gone", "the kernel still has it");
            }
        }
    }

    // The end of VMs.

    private void end(Vm vm) {
        deed("end of VM " + vm.guest.name());
        if (vm.guest.closed() && !vm.killed && random.nextBoolean()) {
            vm.guest.kill();
            vm.killed = true;
        } else if (vm.guest.closed()) {
            chores.release(vm);
        } else {
            if (vm.guest.vmid() != 0 && random.nextInt(12) == 0) {
                rob(vm);
                return;
            }
            if (random.nextBoolean()) {
                vm.guest.kill();
                vm.killed = true;
            } else {
                vm.guest.close();
            }
        }
        forget(vm);
    }

    /// The hypervisor has forgotten the VM when it goes: what it had is lost to the kernel, which says so and goes on.
    private void rob(Vm vm) {
        deed("a VM whose hypervisor's side is torn down by somebody else");
        chores.release(vm);
        chores.hypercall(TEARDOWN_VM, 0xfff + vm.guest.vmid());
        if (trial.over()) {
            return;
        }
        try {
            vm.guest.kill();
            finds(-1, "the teardown is refused", "it succeeded");
        } catch (HostException e) {
            answered(true, "", e);
        }
        vms.remove(vm);
        memory.robbed(vm.vcpus);
    }

    /// All that it has goes, and all memory comes back.
    private void end() {
        for (Vm vm : List.copyOf(vms)) {
            while (vms.contains(vm) && !trial.over()) {
                end(vm);
            }
        }
        chores.end();
    }

    // What must hold.

    /// Compares everything with the books.
    void check() {
        acts++;
        for (Vm vm : vms) {
            compare(vm);
        }
        if (acts % 4 == 0) {
            pages();
            registers();
        }
        if (vms.isEmpty() && chores.idle() && kernel.pagesAvailable() != memory.home()) {
            finds(-1, memory.home() + " pages are free, since the kernel uses none", "" + kernel.pagesAvailable());
        }
    }

    private void compare(Vm vm) {
        TranslationTable table = vm.guest.table();
        if (vm.killed != (table == null)) {
            finds(-1, vm.killed ? "with the process goes the table" : "a table", table == null ? "none" : "a table");
        }
        if (table == null) {
            return;
        }
        GuestSight.Whole whole = GuestSight.all(table(vm));
        whole.problems().forEach(problem -> finds(-1, "a guest's table has pages and blocks", problem));
        vm.book.compare(whole.leaves()).forEach(this::differs);
        int vmid = vm.guest.vmid();
        if (vmid != 0 && !world.vms.containsKey(vmid - 1)) {
            finds(-1, "VMID " + vmid + " is the hypervisor's slot plus 1", "it has no VM there");
        }
    }

    /// A guest's pages are the host's and nobody else's, no other guest's either.
    private void pages() {
        TreeMap<Long, Long> taken = new TreeMap<>();
        for (Vm vm : vms) {
            for (Leaf leaf : vm.killed ? List.<Leaf>of() : vm.book.leaves()) {
                long end = leaf.physical() + leaf.size();
                Map.Entry<Long, Long> below = taken.lowerEntry(end);
                if (below != null && below.getValue() > leaf.physical()) {
                    finds(leaf.start(), "no page of memory is behind two guest pages", "" + leaf);
                }
                taken.put(leaf.physical(), end);
                int first = world.number(leaf.physical());
                int count = (int) (leaf.size() >>> world.shift);
                for (int page = first; page < first + count; page++) {
                    if (page < 0 || !world.free(page)) {
                        finds(leaf.start(), "a guest's page is the host's alone", "" + leaf);
                        break;
                    }
                }
            }
        }
    }

    private void registers() {
        long running =
                vms.stream().filter(vm -> vm.guest.vmid() != 0 && !vm.killed).count();
        int said = model.guestRegisters().size();
        if (said != running || model.guests().size() != running) {
            finds(-1, running + " guests have run and live", said + " have registers");
        }
        if (model.registers().all().isEmpty()) {
            finds(-1, "the machine has registers", "none");
        }
    }
}
