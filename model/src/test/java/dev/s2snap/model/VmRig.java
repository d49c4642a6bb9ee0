package dev.s2snap.model;

import java.util.ArrayList;
import java.util.List;

/// A machine with the host memory that tests of VMs need, and the calls under their names.
final class VmRig implements AutoCloseable {
    final PkvmModel model;
    final HostPages pages;
    final Cpu cpu;
    final List<String> events = new ArrayList<>();

    VmRig() {
        this(ModelConfig.small());
    }

    VmRig(ModelConfig config) {
        model = new PkvmModel(config);
        int error = model.init();
        if (error != 0) {
            throw new IllegalStateException(Errno.name(error));
        }
        pages = new HostPages(config);
        cpu = model.cpu(0);
    }

    static ModelConfig config(int pageShift, int paRange) {
        ModelConfig config = new ModelConfig();
        config.pageShift = pageShift;
        config.paRange = paRange;
        config.addRegion(0x4000_0000L, 256L << 20, 0);
        config.carveout = 0x4c00_0000L;
        config.cpus = 1;
        config.percpu = new ModelConfig.Range(0x4002_0000L, 0x2000);
        config.stack = 0x4004_0000L;
        return config;
    }

    @Override
    public void close() {
        model.close();
    }

    long pageSize() {
        return 1L << model.config().pageShift();
    }

    long rootPages() {
        return model.hostTable().geometry().rootPages();
    }

    long pagesOf(long size) {
        return Math.ceilDiv(size, pageSize());
    }

    /// The host's address.
    long kern(long physical) {
        return model.addresses().kern(physical);
    }

    /// x1 after the call.
    long call(Hypercall call, long... arguments) {
        cpu.x(0, call.id());
        for (int i = 0; i < arguments.length; i++) {
            cpu.x(i + 1, arguments[i]);
        }
        if (!model.hvc(cpu)) {
            throw new AssertionError(model.panic());
        }
        if (cpu.x(0) != 0) {
            throw new AssertionError(call + ": x0=" + cpu.x(0));
        }
        return cpu.x(1);
    }

    long allocate(long count) {
        return pages.allocate(count, pageSize());
    }

    long allocateRoot() {
        return pages.allocate(rootPages(), rootPages() * pageSize());
    }

    long allocateVmArea(long vcpus) {
        return allocate(pagesOf(VmStructs.vmArea(vcpus)));
    }

    long allocateVcpuArea() {
        return allocate(pagesOf(VmStructs.HYP_VCPU_SIZE));
    }

    void share(long base, long count) {
        for (long i = 0; i < count; i++) {
            long result =
                    call(Hypercall.PKVM_HOST_SHARE_HYP, (base >>> model.config().pageShift()) + i);
            if (result != 0) {
                throw new AssertionError("share: " + result);
            }
        }
    }

    /// A shared struct kvm.
    long kvm(long vcpus) {
        long kvm = allocate(pagesOf(VmStructs.KVM_SIZE));
        model.ram().set(kvm + VmStructs.KVM_CREATED_VCPUS, vcpus);
        share(kvm, pagesOf(VmStructs.KVM_SIZE));
        return kvm;
    }

    /// A shared struct kvm_vcpu.
    long vcpu(long kvm, int index) {
        long vcpu = allocate(pagesOf(VmStructs.VCPU_SIZE));
        model.ram().set(vcpu + VmStructs.VCPU_KVM, kern(kvm));
        model.ram().set(vcpu + VmStructs.VCPU_INDEX, index);
        share(vcpu, pagesOf(VmStructs.VCPU_SIZE));
        return vcpu;
    }

    long initVm(long kvm, long area, long root) {
        long handle = call(Hypercall.PKVM_INIT_VM, kern(kvm), kern(area), kern(root));
        if (handle > 0) {
            model.ram().set(kvm + VmStructs.KVM_HANDLE, handle);
        }
        return handle;
    }

    /// A VM without vCPUs, which may have `vcpus`.
    long vm(long kvm, long vcpus) {
        return initVm(kvm, allocateVmArea(vcpus), allocateRoot());
    }

    long initVcpu(long handle, long vcpu, long area) {
        return call(Hypercall.PKVM_INIT_VCPU, handle, kern(vcpu), kern(area));
    }

    long teardown(long handle) {
        return call(Hypercall.PKVM_TEARDOWN_VM, handle);
    }

    int pins(long address) {
        return Audit.of(model).count(address) & 0xffff;
    }

    boolean zero(long base, long bytes) {
        for (long offset = 0; offset < bytes; offset += 8) {
            if (model.ram().get(base + offset) != 0) {
                return false;
            }
        }
        return true;
    }

    /// The pages in the teardown memcache, from the head on.
    List<Long> memcache(long kvm) {
        List<Long> list = new ArrayList<>();
        long page = model.ram().get(kvm + VmStructs.KVM_TEARDOWN_HEAD);
        for (long left = model.ram().get(kvm + VmStructs.KVM_TEARDOWN_PAGES); left > 0; left--) {
            list.add(page);
            page = model.ram().get(page);
        }
        return list;
    }

    /// Writes down TLB and cache maintenance.
    void record() {
        model.recorder(new Recorder() {
            @Override
            public void tlbiIpa(int vmid, long ipa, int level) {
                events.add("ipa " + vmid + " " + Long.toHexString(ipa) + " " + level);
            }

            @Override
            public void tlbiIpaNonShareable(int vmid, long ipa, int level) {
                events.add("ipa_nsh " + vmid + " " + Long.toHexString(ipa) + " " + level);
            }

            @Override
            public void tlbiRange(int vmid, long ipa, long pages) {
                events.add("range " + vmid + " " + Long.toHexString(ipa) + " " + pages);
            }

            @Override
            public void tlbiVmid(int vmid) {
                events.add("vmid " + vmid);
            }

            @Override
            public void tlbiVmidNonShareable(int vmid) {
                events.add("vmid_nsh " + vmid);
            }

            @Override
            public void tlbiAll() {
                events.add("all");
            }

            @Override
            public void cleanInvalidate(long physical, long bytes) {
                Audit now = Audit.of(model);
                events.add("clean " + Long.toHexString(physical) + " " + bytes
                        + (now.hyp(physical) == Audit.OWNED ? "" : " of the host's page"));
            }
        });
    }
}
