package dev.s2snap.model;

import java.util.ArrayList;
import java.util.List;

/// A VM as the host's KVM keeps it: a struct kvm and a struct kvm_vcpu for each vCPU, shared with the hypervisor, and
/// what was donated for them. [#destroy] gives every page back.
///
/// The structures have the layout of [VmStructs]; each begins a page of its own. All loads and stores go through the
/// host's stage 2.
public final class HostVm {
    private final PkvmModel model;
    private final HostPages pages;
    private final Cpu cpu;
    private final int pageShift;

    private final List<Shared> shared = new ArrayList<>();
    private final List<Shared> areas = new ArrayList<>();
    private final List<Long> vcpus = new ArrayList<>();
    private final List<Long> drained = new ArrayList<>();
    private long kvm;
    private int handle;

    /// Pages, by physical address of the first one.
    private record Shared(long base, long pages) {}

    private HostVm(PkvmModel model, HostPages pages, Cpu cpu) {
        this.model = model;
        this.pages = pages;
        this.cpu = cpu;
        pageShift = model.config().pageShift();
    }

    /// Creates a VM with `count` vCPUs, by calls on `cpu`.
    ///
    /// @throws HostKernel.HostException if there is no memory or the hypervisor refuses; then all is given back, unless
    ///     the hypervisor panicked
    static HostVm create(PkvmModel model, HostPages pages, Cpu cpu, int count) {
        HostVm vm = new HostVm(model, pages, cpu);
        try {
            vm.start(count);
        } catch (HostKernel.HostException e) {
            if (model.panic() == null) {
                vm.release();
            }
            throw e;
        }
        return vm;
    }

    private void start(int count) {
        kvm = share(VmStructs.KVM_SIZE);
        store(kvm + VmStructs.KVM_CREATED_VCPUS, count);
        store(kvm + VmStructs.KVM_TEARDOWN_HEAD, 0);
        store(kvm + VmStructs.KVM_TEARDOWN_PAGES, 0);
        int rootPages = model.hostTable().geometry().rootPages();
        long area = area(pagesOf(VmStructs.vmArea(count)), 1);
        long root = area(rootPages, rootPages);
        handle = must(Hypercall.PKVM_INIT_VM, address(kvm), address(area), address(root));
        areas.clear();
        store(kvm + VmStructs.KVM_HANDLE, handle);
        for (int index = 0; index < count; index++) {
            long vcpu = share(VmStructs.VCPU_SIZE);
            store(vcpu + VmStructs.VCPU_KVM, address(kvm));
            store(vcpu + VmStructs.VCPU_INDEX, index);
            long vcpuArea = area(pagesOf(VmStructs.HYP_VCPU_SIZE), 1);
            must(Hypercall.PKVM_INIT_VCPU, handle, address(vcpu), address(vcpuArea));
            areas.clear();
            vcpus.add(vcpu);
        }
    }

    /// The handle, or 0 if there is no VM at EL2.
    public int handle() {
        return handle;
    }

    /// Physical address of the struct kvm.
    public long kvm() {
        return kvm;
    }

    /// Physical addresses of the structs kvm_vcpu, by index.
    public List<Long> vcpus() {
        return List.copyOf(vcpus);
    }

    /// Pages that came back through the teardown memcache, in the order in which the host took them.
    public List<Long> drained() {
        return List.copyOf(drained);
    }

    /// Runs a vCPU until it exits, which is at once: the model executes no guest.
    ///
    /// @return the exit code, or an errno
    public int run(int index) {
        return call(Hypercall.KVM_VCPU_RUN, address(vcpus.get(index)));
    }

    /// Tears the VM down and frees all its memory.
    ///
    /// @throws HostKernel.HostException if the hypervisor refuses or panics; what is still its own is lost
    public void destroy() {
        release();
    }

    private void release() {
        if (handle != 0) {
            must(Hypercall.PKVM_TEARDOWN_VM, handle);
            handle = 0;
            drain();
        }
        areas.forEach(area -> pages.free(area.base, area.pages));
        areas.clear();
        vcpus.clear();
        for (Shared range : shared.reversed()) {
            for (long i = 0; i < range.pages; i++) {
                must(Hypercall.PKVM_HOST_UNSHARE_HYP, (range.base >>> pageShift) + i);
            }
            pages.free(range.base, range.pages);
        }
        shared.clear();
    }

    private void drain() {
        long head = load(kvm + VmStructs.KVM_TEARDOWN_HEAD);
        for (long left = load(kvm + VmStructs.KVM_TEARDOWN_PAGES); left > 0; left--) {
            drained.add(head);
            long next = load(head);
            pages.free(head, 1);
            head = next;
        }
        store(kvm + VmStructs.KVM_TEARDOWN_HEAD, 0);
        store(kvm + VmStructs.KVM_TEARDOWN_PAGES, 0);
    }

    // Memory.

    private long pagesOf(long size) {
        return (size + (1L << pageShift) - 1) >>> pageShift;
    }

    /// The host's address of a physical one.
    private long address(long physical) {
        return model.addresses().kern(physical);
    }

    private long allocate(long count, long alignmentPages) {
        long base = pages.allocate(count, alignmentPages << pageShift);
        if (base == -1) {
            throw new HostKernel.HostException("the host has no " + count + " contiguous pages left");
        }
        return base;
    }

    /// A structure that the hypervisor may read.
    private long share(long size) {
        long count = pagesOf(size);
        long base = allocate(count, 1);
        long done = 0;
        try {
            for (; done < count; done++) {
                must(Hypercall.PKVM_HOST_SHARE_HYP, (base >>> pageShift) + done);
            }
        } finally {
            // After a refusal: those that are shared are taken back like the others, the rest is free at once.
            if (done > 0) {
                shared.add(new Shared(base, done));
            }
            if (done < count) {
                pages.free(base + (done << pageShift), count - done);
            }
        }
        return base;
    }

    /// Memory to donate; the host's again if the call is refused.
    private long area(long count, long alignmentPages) {
        long base = allocate(count, alignmentPages);
        areas.add(new Shared(base, count));
        return base;
    }

    private long load(long address) {
        return value(model.read(address), address);
    }

    private void store(long address, long value) {
        value(model.write(address, value), address);
    }

    private static long value(PkvmModel.Access access, long address) {
        if (access instanceof PkvmModel.Access.Done(long value)) {
            return value;
        }
        throw new HostKernel.HostException("host access to 0x" + Long.toHexString(address) + ": " + access);
    }

    // Calls.

    private int call(Hypercall call, long... arguments) {
        cpu.x(0, call.id());
        for (int i = 0; i < arguments.length; i++) {
            cpu.x(i + 1, arguments[i]);
        }
        if (!model.hvc(cpu)) {
            throw new HostKernel.HostException("the hypervisor panicked: " + model.panic());
        }
        return cpu.x(0) == Hypercalls.SUCCESS ? (int) cpu.x(1) : Errno.EOPNOTSUPP;
    }

    private int must(Hypercall call, long... arguments) {
        int result = call(call, arguments);
        if (result < 0) {
            throw new HostKernel.HostException(call.symbol() + ": " + Errno.name(result));
        }
        return result;
    }
}
