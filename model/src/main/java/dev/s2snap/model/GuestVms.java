package dev.s2snap.model;

import dev.s2snap.vmsa.TableGeometry;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/// The hypervisor's VMs and vCPUs, from creation to teardown (`pkvm.c` of 6.12). It keeps metadata and an empty stage-2
/// table for each VM, in memory that the host donates; a guest that runs still uses the table that the host built.
///
/// The VM table is the carve-out page of that name: 255 words, each 0 or the EL2 address of a VM area. What lies in the
/// areas says [VmStructs]. Handle 0x1000 + slot, VMID slot + 1. Free lists and entries of the tables are in memory too;
/// only what a C structure holds of pool and table beside that is in Java objects.
///
/// Locks: [#tableLock], then host, then hypervisor or a VM's, then pools. Donations are made before the table lock is
/// taken, pins of vCPUs under it.
///
/// Base behaviour, as 6.12 has it:
/// - B-12: `__pkvm_init_vcpu` that fails behind the pin of the host's vCPU leaves it pinned for ever. The specification
///   does not say which failures; here there is one, the wrong index.
/// - B-22: a PGD of several pages that is not aligned to its size makes no block, and the null that the allocation
///   answers with is dereferenced.
final class GuestVms {
    static final int SLOTS = 255;
    static final int FIRST_HANDLE = 0x1000;

    /// ARM_EXCEPTION_IRQ, ARM_EXCEPTION_TRAP: exit codes of `__kvm_vcpu_run` (recorded in traces of 6.12 and 7.3).
    static final int EXIT_IRQ = 0;

    static final int EXIT_TRAP = 2;

    final HypLock tableLock;

    private final Hypervisor el2;
    private final AddressMap map;
    private final El2Memory memory;
    private final Vmemmap vmemmap;
    private final MemProtect memProtect;
    private final int pageShift;
    private final long pageSize;

    /// By address of the VM area. An entry goes when its VM cannot be found any more, with no lock held.
    private final Map<Long, Vm> objects = new ConcurrentHashMap<>();

    private @Nullable Runnable guest;

    /// The parts of a VM that are no plain words.
    private record Vm(HypLock lock, HypPool pool, Stage2 table) {}

    /// A VM as the table has it.
    ///
    /// @param area physical address of the VM area
    /// @param root physical address of the stage-2 root
    /// @param vcpus number of vCPUs that were initialised
    record Live(int handle, int vmid, long area, long root, int vcpus) {}

    GuestVms(Hypervisor el2) {
        this.el2 = el2;
        map = el2.map;
        memory = el2.memory;
        tableLock = new HypLock("vm_table", HypLock.Rank.VM_TABLE, memory.cpus());
        vmemmap = el2.vmemmap;
        memProtect = el2.memProtect;
        pageShift = el2.config.pageShift;
        pageSize = el2.config.pageSize();
    }

    void recorder(@Nullable Recorder recorder) {
        objects.values().forEach(vm -> vm.table.table().recorder = recorder);
    }

    /// What happens while a vCPU is loaded, in place of the guest; null for nothing. Runs at EL2 with no lock held.
    void guest(@Nullable Runnable value) {
        guest = value;
    }

    /// All VMs, by slot.
    List<Live> live() {
        List<Live> live = new ArrayList<>();
        for (int slot = 0; el2.vmTable() != 0 && slot < SLOTS; slot++) {
            long vm = memory.read64(entry(slot));
            if (vm != 0) {
                live.add(new Live(
                        (int) memory.read64(vm + VmStructs.HYP_VM_HANDLE),
                        (int) memory.read64(vm + VmStructs.HYP_VM_VMID),
                        map.hypPa(vm),
                        memory.read64(vm + VmStructs.HYP_VM_PGD),
                        (int) memory.read64(vm + VmStructs.HYP_VM_VCPUS)));
            }
        }
        return live;
    }

    // The VM table.

    private long entry(int slot) {
        return map.hypVa(el2.vmTable()) + (long) slot * Long.BYTES;
    }

    /// EL2 address of the VM, or 0. Without a table there is no VM; 6.12's behaviour then is not specified.
    private long find(int handle) {
        int slot = handle - FIRST_HANDLE;
        return el2.vmTable() == 0 || Integer.compareUnsigned(slot, SLOTS) >= 0 ? 0 : memory.read64(entry(slot));
    }

    private Vm object(long vm) {
        Vm object = objects.get(vm);
        if (object == null) {
            // Somebody wrote to the VM table, which only the hypervisor can reach.
            throw new HypPanic(HypPanic.Reason.ABORT, "no VM at va=0x" + Long.toHexString(vm));
        }
        return object;
    }

    /// @return the handle, -EINVAL without a table, -ENOMEM without a free slot
    private int insert(long vm) {
        if (el2.vmTable() == 0) {
            return Errno.EINVAL;
        }
        for (int slot = 0; slot < SLOTS; slot++) {
            if (memory.read64(entry(slot)) == 0) {
                memory.write64(vm + VmStructs.HYP_VM_HANDLE, FIRST_HANDLE + slot);
                memory.write64(vm + VmStructs.HYP_VM_VMID, slot + 1);
                memory.write64(entry(slot), vm);
                return FIRST_HANDLE + slot;
            }
        }
        return Errno.ENOMEM;
    }

    // Memory of the host.

    private long roundUp(long size) {
        return size + pageSize - 1 & -pageSize;
    }

    private long frame(long va) {
        return map.hypPa(va) >>> pageShift;
    }

    private int pin(long va, long size) {
        long first = frame(va);
        return memProtect.pin(first, frame(roundUp(va + size)) - first);
    }

    private void unpin(long va, long size) {
        long first = frame(va);
        memProtect.unpin(first, frame(roundUp(va + size)) - first);
    }

    /// Takes whole pages that hold `size` bytes.
    ///
    /// @return EL2 address, or 0 if the address is not aligned or the host may not give that
    private long donated(long hostAddress, long size) {
        long va = map.kernHypVa(hostAddress);
        boolean aligned = (va & pageSize - 1) == 0;
        return aligned && memProtect.donateHyp(frame(va), roundUp(size) >>> pageShift) == 0 ? va : 0;
    }

    private long donatedAndCleared(long hostAddress, long size) {
        long va = donated(hostAddress, size);
        if (va != 0) {
            memory.zeroPages(va, roundUp(size));
        }
        return va;
    }

    /// Gives pages back as they are. They are cleaned to the point of coherency, because the host may map them with
    /// other attributes.
    private void giveBack(long va, long size) {
        Recorder recorder = el2.recorder();
        if (recorder != null) {
            recorder.cleanInvalidate(map.hypPa(va), roundUp(size));
        }
        if (memProtect.hypDonateHost(frame(va), roundUp(size) >>> pageShift) != 0) {
            throw HypPanic.warn("__pkvm_hyp_donate_host");
        }
    }

    private void clearAndGiveBack(long va, long size) {
        memory.zeroPages(va, roundUp(size));
        giveBack(va, size);
    }

    // Creation.

    private long rootSize() {
        return (long) el2.host.table().geometry().rootPages() << pageShift;
    }

    /// `__pkvm_init_vm`. Arguments are the host's addresses. The number of vCPUs is read once, unsigned.
    ///
    /// @param kvm its struct kvm, in pages that it shares with the hypervisor
    /// @param vmArea memory for the VM, of [VmStructs#vmArea] bytes
    /// @param root memory for the root of the stage 2, as large as the host's own
    /// @return the handle, or an errno and nothing has changed: that of the pin; -EINVAL without vCPUs; -ENOMEM if
    ///     memory was refused or all slots are taken
    int initVm(long kvm, long vmArea, long root) {
        long hostKvm = map.kernHypVa(kvm);
        int error = pin(hostKvm, VmStructs.KVM_SIZE);
        if (error != 0) {
            return error;
        }
        long vcpus = Integer.toUnsignedLong(memory.read32(hostKvm + VmStructs.KVM_CREATED_VCPUS));
        int result = vcpus < 1 ? Errno.EINVAL : create(hostKvm, vcpus, vmArea, root);
        if (result < 0) {
            unpin(hostKvm, VmStructs.KVM_SIZE);
        }
        return result;
    }

    private int create(long hostKvm, long vcpus, long vmArea, long rootArea) {
        long size = VmStructs.vmArea(vcpus);
        long vm = donatedAndCleared(vmArea, size);
        if (vm == 0) {
            return Errno.ENOMEM;
        }
        long root = donated(rootArea, rootSize());
        int result = root == 0 ? Errno.ENOMEM : register(vm, hostKvm, vcpus, root);
        if (result < 0) {
            clearAndGiveBack(vm, size);
            if (root != 0) {
                clearAndGiveBack(root, rootSize());
            }
        }
        return result;
    }

    private int register(long vm, long hostKvm, long vcpus, long root) {
        memory.write64(vm + VmStructs.HYP_VM_HOST_KVM, hostKvm);
        memory.write64(vm + VmStructs.HYP_VM_CREATED_VCPUS, vcpus);
        memory.write64(vm + VmStructs.HYP_VM_VTCR, el2.vtcr());
        tableLock.lock();
        int result = insert(vm);
        if (result >= 0) {
            prepareStage2(vm, root);
        }
        tableLock.unlock();
        return result;
    }

    /// The VM's pool over exactly the root's pages, and a table without flags, always in pages, with cache maintenance.
    private void prepareStage2(long vm, long rootArea) {
        int vmid = (int) memory.read64(vm + VmStructs.HYP_VM_VMID);
        HypPool pool = HypPool.ofUsedPages(
                "vm " + vmid,
                vm + VmStructs.HYP_VM_POOL,
                memory,
                map,
                vmemmap,
                pageShift,
                map.hypPa(rootArea),
                rootSize() >>> pageShift);
        PageTable table = new PageTable(memory, pageShift);
        table.vmid = vmid;
        table.recorder = el2.recorder();
        Stage2 stage2 = new Stage2(
                table,
                new Stage2.Traits(
                        0, el2.config.fwb, el2.config.tlbRange, (_, _, _) -> true, new RecordedMaintenance()));
        Vm object = new Vm(new HypLock("vm " + vmid, HypLock.Rank.SPACE, memory.cpus()), pool, stage2);
        object.lock.lock();
        TableGeometry geometry = el2.host.table().geometry();
        long root = pool.allocate(HypPool.order(rootSize(), pageShift));
        if (root == 0) {
            // B-22: nobody looks; the struct hyp_page of address 0 is read, and the root would be at 0.
            pool.split(map.hypPa(0));
            throw new HypPanic(HypPanic.Reason.ABORT, "write va=0x0");
        }
        pool.split(root);
        table.init(geometry, root, el2.pagesOf(pool));
        table.dsb("ishst");
        object.lock.unlock();
        memory.write64(vm + VmStructs.HYP_VM_PGD, root);
        objects.put(vm, object);
    }

    private final class RecordedMaintenance implements Stage2.CacheMaintenance {
        @Override
        public void cleanInvalidate(long physical, long size) {
            Recorder recorder = el2.recorder();
            if (recorder != null) {
                recorder.cleanInvalidate(physical, size);
            }
        }

        @Override
        public void invalidateInstructions(long physical, long size) {
            Recorder recorder = el2.recorder();
            if (recorder != null) {
                recorder.invalidateInstructions(physical, size);
            }
        }
    }

    /// `__pkvm_init_vcpu`: the next vCPU of a VM, in the order of their indices.
    ///
    /// @param vcpu the host's address of its struct kvm_vcpu, in pages that it shares with the hypervisor
    /// @param area the host's address of memory for the vCPU, of [VmStructs#HYP_VCPU_SIZE] bytes
    /// @return 0, or an errno and the area is back: -ENOMEM if it was refused, -ENOENT for an unknown handle, -EINVAL
    ///     for one vCPU too many or the wrong index, -EBUSY if the struct cannot be pinned
    int initVcpu(int handle, long vcpu, long area) {
        long hypVcpu = donatedAndCleared(area, VmStructs.HYP_VCPU_SIZE);
        if (hypVcpu == 0) {
            return Errno.ENOMEM;
        }
        tableLock.lock();
        int error = addVcpu(find(handle), map.kernHypVa(vcpu), hypVcpu);
        tableLock.unlock();
        if (error != 0) {
            clearAndGiveBack(hypVcpu, VmStructs.HYP_VCPU_SIZE);
        }
        return error;
    }

    private int addVcpu(long vm, long hostVcpu, long hypVcpu) {
        if (vm == 0) {
            return Errno.ENOENT;
        }
        long index = memory.read64(vm + VmStructs.HYP_VM_VCPUS);
        if (Long.compareUnsigned(index, memory.read64(vm + VmStructs.HYP_VM_CREATED_VCPUS)) >= 0) {
            return Errno.EINVAL;
        }
        if (pin(hostVcpu, VmStructs.VCPU_SIZE) != 0) {
            return Errno.EBUSY;
        }
        if (memory.read32(hostVcpu + VmStructs.VCPU_INDEX) != (int) index) {
            // B-12: the pin stays.
            return Errno.EINVAL;
        }
        memory.write64(hypVcpu + VmStructs.HYP_VCPU_HOST_VCPU, hostVcpu);
        memory.write64(hypVcpu + VmStructs.HYP_VCPU_VM, vm);
        memory.write64(hypVcpu + VmStructs.HYP_VCPU_INDEX, index);
        memory.write64(vm + VmStructs.HYP_VM_VCPU_ARRAY + index * Long.BYTES, hypVcpu);
        memory.write64(vm + VmStructs.HYP_VM_VCPUS, index + 1);
        return 0;
    }

    // Running.

    /// `__kvm_vcpu_run`. The guest itself is not executed: the vCPU is loaded, which takes a reference on the VM, and
    /// put at once, as if an interrupt had been pending before the guest's first instruction. [#guest] is called
    /// between the two.
    ///
    /// What finds the VM is read from the host's structures, which nobody has checked: a pointer to memory that the
    /// hypervisor does not map is an abort.
    ///
    /// @param vcpu the host's address of its struct kvm_vcpu
    /// @return [#EXIT_IRQ], or -EINVAL for an unknown handle or index
    int vcpuRun(long vcpu) {
        long hostVcpu = map.kernHypVa(vcpu);
        long hostKvm = map.kernHypVa(memory.read64(hostVcpu + VmStructs.VCPU_KVM));
        long vm = load(memory.read32(hostKvm + VmStructs.KVM_HANDLE), memory.read32(hostVcpu + VmStructs.VCPU_INDEX));
        if (vm == 0) {
            return Errno.EINVAL;
        }
        if (guest != null) {
            guest.run();
        }
        put(vm);
        return EXIT_IRQ;
    }

    private long load(int handle, int index) {
        tableLock.lock();
        long vm = find(handle);
        if (vm != 0
                && Long.compareUnsigned(Integer.toUnsignedLong(index), memory.read64(vm + VmStructs.HYP_VM_VCPUS))
                        >= 0) {
            vm = 0;
        }
        if (vm != 0) {
            vmemmap.increment(map.hypPa(vm));
        }
        tableLock.unlock();
        return vm;
    }

    private void put(long vm) {
        tableLock.lock();
        vmemmap.decrement(map.hypPa(vm));
        tableLock.unlock();
    }

    // Teardown.

    /// `__pkvm_teardown_vm`: all memory of the VM goes back to the host, listed in the teardown memcache of its struct
    /// kvm: the pool's pages, then each vCPU area, then the VM area, every page pushed on top of those before it.
    ///
    /// @return 0, or -ENOENT for an unknown handle. A VM with a loaded vCPU is fatal
    int teardownVm(int handle) {
        tableLock.lock();
        long vm = find(handle);
        if (vm == 0) {
            tableLock.unlock();
            return Errno.ENOENT;
        }
        if (vmemmap.refcount(map.hypPa(vm)) != 0) {
            throw HypPanic.warn("__pkvm_teardown_vm");
        }
        Vm object = object(vm);
        // Before the slot can be taken again, and its VMID with it.
        Recorder recorder = el2.recorder();
        if (recorder != null) {
            recorder.tlbiVmid(object.table.table().vmid);
        }
        memory.write64(entry(handle - FIRST_HANDLE), 0);
        tableLock.unlock();
        objects.remove(vm);
        long hostKvm = memory.read64(vm + VmStructs.HYP_VM_HOST_KVM);
        reclaim(object, vm, hostKvm);
        giveBackMetadata(vm, hostKvm);
        unpin(hostKvm, VmStructs.KVM_SIZE);
        return 0;
    }

    private void reclaim(Vm object, long vm, long hostKvm) {
        object.lock.lock();
        object.table.destroy();
        memory.write64(vm + VmStructs.HYP_VM_PGD, 0);
        object.lock.unlock();
        for (long page = object.pool.allocate(0); page != 0; page = object.pool.allocate(0)) {
            vmemmap.clear(page);
            push(hostKvm, page);
            if (memProtect.hypDonateHost(page >>> pageShift, 1) != 0) {
                throw HypPanic.warn("__pkvm_hyp_donate_host");
            }
        }
    }

    private void giveBackMetadata(long vm, long hostKvm) {
        long size = VmStructs.vmArea(memory.read64(vm + VmStructs.HYP_VM_CREATED_VCPUS));
        int vcpus = (int) memory.read64(vm + VmStructs.HYP_VM_VCPUS);
        for (int i = 0; i < vcpus; i++) {
            unpin(memory.read64(vcpu(vm, i) + VmStructs.HYP_VCPU_HOST_VCPU), VmStructs.VCPU_SIZE);
        }
        for (int i = 0; i < vcpus; i++) {
            retire(vcpu(vm, i), VmStructs.HYP_VCPU_SIZE, hostKvm);
        }
        retire(vm, size, hostKvm);
    }

    private long vcpu(long vm, int index) {
        return memory.read64(vm + VmStructs.HYP_VM_VCPU_ARRAY + (long) index * Long.BYTES);
    }

    private void retire(long va, long size, long hostKvm) {
        memory.zeroPages(va, roundUp(size));
        for (long done = 0; done < roundUp(size); done += pageSize) {
            push(hostKvm, map.hypPa(va + done));
        }
        giveBack(va, size);
    }

    /// Puts a page on top of the host's teardown memcache, whose words the host can change at any time.
    private void push(long hostKvm, long page) {
        memory.write64(map.hypVa(page), memory.read64(hostKvm + VmStructs.KVM_TEARDOWN_HEAD));
        memory.write64(hostKvm + VmStructs.KVM_TEARDOWN_HEAD, page);
        memory.write64(
                hostKvm + VmStructs.KVM_TEARDOWN_PAGES, memory.read64(hostKvm + VmStructs.KVM_TEARDOWN_PAGES) + 1);
    }
}
