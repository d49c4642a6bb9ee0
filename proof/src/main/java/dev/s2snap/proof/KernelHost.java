package dev.s2snap.proof;

import dev.s2snap.model.Errno;
import dev.s2snap.model.HostGuest;
import dev.s2snap.model.HostKernel;
import dev.s2snap.model.HostKernel.HostException;
import dev.s2snap.model.HostKvm;
import dev.s2snap.model.Hypercalls;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.proof.GuestBook.Leaf;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;

/// The machine's own kernel at work, beside the hostile host: VMs with memory slots, faults, dirty logs, aging, files
/// of debugfs, honest snapshots; and what it does when memory runs out or the hypervisor refuses.
///
/// Its hypercalls and accesses are steps, which the oracle judges ([Trial#kernel]). What only the kernel knows, its
/// guests' tables, is compared with a [GuestBook] after each act: rights, dirty logs, that no two guests have a page in
/// common, that a guest's pages are the host's, and that all memory comes back.
final class KernelHost {
    /// Steps of the hostile host for each of the kernel's.
    private static final int PATIENCE = 7;

    /// Most guests at once.
    private static final int GUESTS = 3;

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
    private final GuestDeeds deeds;
    private final List<Vm> vms = new ArrayList<>();
    private final List<Finding> findings = new ArrayList<>();
    private final int mostBits;
    private long steps;
    private long acts;
    private int nextFile = 3;
    private boolean over;
    private boolean dying;
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
        deeds = new GuestDeeds(this, trial, memory, random);
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

    /// What it sees while it ends the machine is its own fault: a page of the hypervisor's may be one of those that it
    /// does not touch itself, and the machine lives.
    void finds(long address, String said, String seen) {
        if (dying) {
            return;
        }
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
                    deeds.addMemory(vm);
                    deeds.fault(vm);
                } else if (vm != null) {
                    file(vm);
                }
            }
        }
    }

    private void die() {
        over = true;
        dying = true;
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
                            deeds.fault(vm);
                            deeds.fault(vm);
                        }
                    });
            }
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
            deeds.addMemory(vm);
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
            case 0 -> deeds.run(vm);
            case 1, 2 -> deeds.addMemory(vm);
            case 3, 4 -> deeds.log(vm);
            case 5, 6, 7, 8 -> deeds.readLog(vm);
            case 9, 10 -> deeds.writeProtect(vm);
            case 11, 12 -> deeds.age(vm);
            case 13, 14 -> deeds.unmap(vm);
            case 15, 16 -> deeds.split(vm);
            case 17 -> deeds.flush(vm);
            case 18, 19, 20, 21 -> file(vm);
            case 22 -> {
                // Files stay open and the process dies.
                if (vm.files > 0) {
                    end(vm);
                }
            }
            default -> {
                for (int i = random.nextInt(10); i >= 0 && !trial.over(); i--) {
                    deeds.fault(vm);
                }
            }
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

    private void refusals() {
        if (!vms.isEmpty()) {
            deeds.refusals(vms.get(random.nextInt(vms.size())));
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
    /// it has to have everything back.
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
                deeds.run(vms.getLast());
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
        GuestSight.Whole whole = GuestSight.all(deeds.table(vm));
        whole.problems().forEach(problem -> finds(-1, "a guest's table has pages and blocks", problem));
        vm.book.compare(whole.leaves()).forEach(deeds::differs);
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
