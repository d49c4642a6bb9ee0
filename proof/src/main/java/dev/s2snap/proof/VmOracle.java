package dev.s2snap.proof;

import static dev.s2snap.proof.World.BORROWED;
import static dev.s2snap.proof.World.NOPAGE;
import static dev.s2snap.proof.World.OWNED;
import static dev.s2snap.proof.World.PLAIN;
import static dev.s2snap.proof.World.SHARED;

import dev.s2snap.model.Errno;
import dev.s2snap.model.VmStructs;
import dev.s2snap.proof.World.Range;
import dev.s2snap.proof.World.Vcpu;
import dev.s2snap.proof.World.Vm;
import java.util.ArrayList;
import java.util.List;

/// What the life cycle of VMs must do (pkvm.c of 6.12): which memory of the host becomes a VM's, and that all of it
/// comes back. Known bugs: B-12, a pin that stays behind a failed `__pkvm_init_vcpu`; B-22, a root of several pages
/// that is not aligned to its size.
final class VmOracle {
    /// VMs that there can be at a time.
    static final int SLOTS = 255;
    private static final int FIRST_HANDLE = 0x1000;

    private final World world;
    private final Scene scene;

    VmOracle(World world, Scene scene) {
        this.world = world;
        this.scene = scene;
    }

    private long pageSize() {
        return 1L << world.shift;
    }

    /// The pages that hold `size` bytes from `address` on; none if they do not lie in memory.
    private Range pages(long address, long size) {
        int first = world.number(address & -pageSize());
        long count = ((address + size + pageSize() - 1 & -pageSize()) - (address & -pageSize())) >>> world.shift;
        return first < 0 || count > world.pages - first ? NONE : new Range(first, (int) count);
    }

    private static final Range NONE = new Range(-1, 0);

    private boolean all(Range range, byte host, byte hyp) {
        for (int page = range.first(); page < range.first() + range.pages(); page++) {
            if (world.memory[page] != World.ALLOWED || world.host[page] != host || world.hyp[page] != hyp) {
                return false;
            }
        }
        return range.pages() != 0;
    }

    private boolean overlap(Range one, Range other) {
        return one.first() < other.first() + other.pages() && other.first() < one.first() + one.pages();
    }

    /// Memory that the host may not give. What goes on behind the end of memory may be taken all the same.
    private void refused(Expectation expected, long address, long size) {
        expected.answers(Errno.ENOMEM);
        long count = Math.ceilDiv(size, pageSize());
        if ((address & pageSize() - 1) == 0 && scene.straddles(world, world.number(address), count)) {
            expected.knownBug("B-03").unknowable();
        }
    }

    /// Whether EL2 can read a word there.
    private boolean readable(long address, int bytes) {
        int first = world.number(address);
        int last = world.number(address + bytes - 1);
        return first >= 0 && last >= 0 && world.hyp[first] != NOPAGE && world.hyp[last] != NOPAGE;
    }

    /// `__pkvm_init_vm`.
    void create(Expectation expected, long kvmPointer, long areaPointer, long rootPointer) {
        long kvm = scene.physical(kvmPointer);
        Range kvmPages = pages(kvm, VmStructs.KVM_SIZE);
        if (!all(kvmPages, SHARED, BORROWED)) {
            expected.answers(Errno.EPERM);
            return;
        }
        long vcpus = scene.half(kvm + VmStructs.KVM_CREATED_VCPUS);
        if (vcpus < 1) {
            expected.answers(Errno.EINVAL);
            return;
        }
        long area = scene.physical(areaPointer);
        Range areaPages = pages(area, VmStructs.vmArea(vcpus));
        if ((area & pageSize() - 1) != 0 || !all(areaPages, OWNED, NOPAGE)) {
            refused(expected, area, VmStructs.vmArea(vcpus));
            return;
        }
        expected.lends(areaPages.first(), areaPages.pages()).roundTrips(areaPages.pages());
        long root = scene.physical(rootPointer);
        long rootSize = scene.rootPages() * pageSize();
        Range rootPages = pages(root, rootSize);
        if ((root & pageSize() - 1) != 0 || !all(rootPages, OWNED, NOPAGE) || overlap(rootPages, areaPages)) {
            refused(expected, root, rootSize);
            return;
        }
        expected.lends(rootPages.first(), rootPages.pages()).roundTrips(rootPages.pages());
        int slot = 0;
        while (world.vms.containsKey(slot)) {
            slot++;
        }
        if (slot == SLOTS) {
            expected.answers(Errno.ENOMEM);
            return;
        }
        if ((root & rootSize - 1) != 0) {
            expected.answers(Expectation.PANIC).knownBug("B-22");
            return;
        }
        Vm vm = new Vm(slot, kvm, areaPages, rootPages, vcpus, new ArrayList<>());
        expected.answers(FIRST_HANDLE + slot)
                .change(areaPages.first(), areaPages.pages(), NOPAGE, OWNED, World.VM)
                .change(rootPages.first(), rootPages.pages(), NOPAGE, OWNED, World.VM)
                .pin(kvmPages.first(), kvmPages.pages(), 1)
                .vm(() -> world.vms.put(vm.slot(), vm));
    }

    /// `__pkvm_init_vcpu`.
    void addVcpu(Expectation expected, int handle, long vcpuPointer, long areaPointer) {
        long area = scene.physical(areaPointer);
        Range areaPages = pages(area, VmStructs.HYP_VCPU_SIZE);
        if ((area & pageSize() - 1) != 0 || !all(areaPages, OWNED, NOPAGE)) {
            refused(expected, area, VmStructs.HYP_VCPU_SIZE);
            return;
        }
        expected.lends(areaPages.first(), areaPages.pages());
        Vm vm = world.vms.get(handle - FIRST_HANDLE);
        if (vm == null) {
            expected.answers(Errno.ENOENT).roundTrips(areaPages.pages());
            return;
        }
        if (vm.vcpus().size() >= vm.created()) {
            expected.answers(Errno.EINVAL).roundTrips(areaPages.pages());
            return;
        }
        long vcpu = scene.physical(vcpuPointer);
        Range hostPages = pages(vcpu, VmStructs.VCPU_SIZE);
        if (!all(hostPages, SHARED, BORROWED)) {
            expected.answers(Errno.EBUSY).roundTrips(areaPages.pages());
            return;
        }
        if (scene.half(vcpu + VmStructs.VCPU_INDEX) != vm.vcpus().size()) {
            expected.answers(Errno.EINVAL)
                    .knownBug("B-12")
                    .leaks(hostPages.first(), hostPages.pages())
                    .roundTrips(areaPages.pages());
            return;
        }
        expected.change(areaPages.first(), areaPages.pages(), NOPAGE, OWNED, World.VM)
                .pin(hostPages.first(), hostPages.pages(), 1)
                .lends(vm.area().first(), vm.area().pages())
                .vm(() -> vm.vcpus().add(new Vcpu(areaPages, hostPages)));
    }

    /// `__pkvm_teardown_vm`.
    void tearDown(Expectation expected, int handle) {
        Vm vm = world.vms.get(handle - FIRST_HANDLE);
        if (vm == null) {
            expected.answers(Errno.ENOENT);
            return;
        }
        // The host's struct gets the list of what comes back, its links lie in the pages themselves.
        Range kvm = pages(vm.kvm(), VmStructs.KVM_SIZE);
        expected.lends(kvm.first(), kvm.pages()).pin(kvm.first(), kvm.pages(), -1);
        List<Range> back = new ArrayList<>(List.of(vm.root(), vm.area()));
        for (Vcpu vcpu : vm.vcpus()) {
            expected.pin(vcpu.host().first(), vcpu.host().pages(), -1);
            back.add(vcpu.area());
        }
        for (Range range : back) {
            expected.change(range.first(), range.pages(), OWNED, NOPAGE, PLAIN).lends(range.first(), range.pages());
        }
        expected.vm(() -> world.vms.remove(vm.slot()));
    }

    /// `__kvm_vcpu_run`, which follows pointers of the host that nobody has checked.
    void run(Expectation expected, long vcpuPointer) {
        long vcpu = scene.physical(vcpuPointer);
        if (!readable(vcpu + VmStructs.VCPU_KVM, Long.BYTES)) {
            expected.answers(Expectation.PANIC);
            return;
        }
        long kvm = scene.physical(scene.word(vcpu + VmStructs.VCPU_KVM));
        if (!readable(kvm + VmStructs.KVM_HANDLE, Integer.BYTES)
                || !readable(vcpu + VmStructs.VCPU_INDEX, Integer.BYTES)) {
            expected.answers(Expectation.PANIC);
            return;
        }
        Vm vm = world.vms.get((int) scene.half(kvm + VmStructs.KVM_HANDLE) - FIRST_HANDLE);
        long index = scene.half(vcpu + VmStructs.VCPU_INDEX);
        // 0 is an interrupt: the guest is not executed.
        expected.answers(vm == null || index >= vm.vcpus().size() ? Errno.EINVAL : 0);
    }

    /// TLB invalidation for the VMID in a struct of the host: reads it, and changes no memory.
    void flush(Expectation expected, long mmuPointer) {
        boolean readable = readable(scene.physical(mmuPointer) + VmStructs.MMU_VMID, Long.BYTES);
        expected.answers(readable ? Oracle.ANY : Expectation.PANIC);
    }
}
