package dev.s2snap.proof;

import dev.s2snap.model.HostGuest;
import dev.s2snap.model.HostKernel;
import dev.s2snap.model.HostVm;
import dev.s2snap.model.Hypercalls;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.VmStructs;
import java.util.SplittableRandom;

/// What a kernel does once: it goes on with memory that it has not got, or that the hypervisor has not got any more.
/// The oracle says that this is the end of the machine.
final class KernelDoom {
    private static final int TEARDOWN_VM = 27;

    private final PkvmModel model;
    private final World world;
    private final HostKernel kernel;
    private final KernelMemory memory;
    private final KernelChores chores;
    private final SplittableRandom random;

    KernelDoom(Trial trial, KernelMemory memory, KernelChores chores, SplittableRandom random) {
        model = trial.model();
        world = trial.world();
        kernel = model.hostKernel();
        this.memory = memory;
        this.chores = chores;
        this.random = random;
    }

    /// Has memory of the hypervisor's in its allocator, and does something with memory.
    ///
    /// @param alone whether nothing else is there
    void strangePage(boolean alone, Runnable deed) {
        if (alone) {
            memory.squeeze(0);
        }
        kernel.give(hypervisors(), 1);
        deed.run();
    }

    /// Follows a list of pages that came back which does not end where it says.
    void endlessList() {
        HostVm vm = kernel.createVm(model.cpu(0), 1);
        model.write(vm.kvm() + VmStructs.KVM_TEARDOWN_HEAD, hypervisors());
        model.write(vm.kvm() + VmStructs.KVM_TEARDOWN_PAGES, 1);
        vm.destroy();
    }

    /// A page that is the hypervisor's since it came up.
    private long hypervisors() {
        int page = 0;
        while (world.role[page] != World.SYSTEM || world.memory[page] != World.ALLOWED) {
            page++;
        }
        return world.address(page);
    }

    /// Takes the struct kvm of a VM back that the hypervisor has torn down, and asks it for an invalidation, or to run.
    void takenBack(HostGuest guest) {
        World.Vm vm = world.vms.get(guest.vmid() - 1);
        if (vm == null) {
            return;
        }
        chores.hypercall(TEARDOWN_VM, 0xfff + guest.vmid());
        for (long at = vm.kvm(); at < vm.kvm() + VmStructs.KVM_SIZE; at += 1L << world.shift) {
            chores.hypercall(Hypercalls.HOST_UNSHARE_HYP, at >>> world.shift);
        }
        if (random.nextBoolean()) {
            guest.writeProtect(0, guest.geometry().granule());
        } else {
            guest.run(0);
        }
    }
}
