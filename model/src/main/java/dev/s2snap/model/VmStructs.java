package dev.s2snap.model;

/// Where the life cycle of VMs finds its words: the host's `struct kvm` and `struct kvm_vcpu`, and the hypervisor's own
/// structures in the memory that the host donates. Sizes and offsets in bytes; every field is 64 bits wide and aligned
/// unless it says otherwise.
///
/// These depend on how a kernel was built. No source gives them, so they are chosen here, in the bounds that a recorded
/// 6.12.107 (4K pages, one vCPU) sets by the pages it shared, donated and got back:
///
/// | structure | recorded | here |
/// |---|---|---|
/// | struct kvm | one page shared, page-aligned; its MMU, the argument of __kvm_flush_cpu_context, at 0x9c8 | 0x1000 |
/// | struct kvm_vcpu | from 0xb90 in its first page into the third page: 0x1471 to 0x2470 | 0x1800 |
/// | VM area, one vCPU | two pages: 0x1001 to 0x2000 with the vCPU's pointer | 0x1200 + 8 for each vCPU |
/// | vCPU area | two pages: 0x1001 to 0x2000 | 0x1900 |
public final class VmStructs {
    /// struct kvm of the host.
    public static final int KVM_SIZE = 0x1000;

    /// kvm.created_vcpus, 32 bits.
    public static final int KVM_CREATED_VCPUS = 0x48;

    /// kvm.arch.mmu, a struct kvm_s2_mmu.
    public static final int KVM_MMU = 0x9c8;

    /// kvm_s2_mmu.vmid.id in that structure: VMID in its low bits.
    public static final int MMU_VMID = 0;

    /// kvm.arch.pkvm.handle, 32 bits.
    public static final int KVM_HANDLE = 0xb00;

    /// kvm.arch.pkvm.teardown_mc: where the hypervisor puts the pages that it gives back.
    public static final int KVM_TEARDOWN_HEAD = 0xb08;

    public static final int KVM_TEARDOWN_PAGES = 0xb10;

    /// struct kvm_vcpu of the host.
    public static final int VCPU_SIZE = 0x1800;

    /// kvm_vcpu.kvm: the host's address of its struct kvm.
    public static final int VCPU_KVM = 0;

    /// kvm_vcpu.vcpu_idx, 32 bits.
    public static final int VCPU_INDEX = 0x10;

    /// The hypervisor's VM, without the array of vCPUs behind it.
    public static final int HYP_VM_SIZE = 0x1200;

    public static final int HYP_VM_HANDLE = 0;

    /// EL2 address of the host's struct kvm.
    public static final int HYP_VM_HOST_KVM = 0x08;

    /// How many vCPUs the VM may have: created_vcpus, as it was when the VM was made.
    public static final int HYP_VM_CREATED_VCPUS = 0x10;

    /// How many it has.
    public static final int HYP_VM_VCPUS = 0x18;

    public static final int HYP_VM_VMID = 0x20;

    /// Physical address of the stage-2 root.
    public static final int HYP_VM_PGD = 0x28;

    public static final int HYP_VM_VTCR = 0x30;

    /// List heads of the VM's page pool, 16 bytes for each order. Free pages point to them; the words at the heads
    /// themselves are not kept in memory.
    public static final int HYP_VM_POOL = 0x40;

    /// EL2 addresses of the vCPU areas.
    public static final int HYP_VM_VCPU_ARRAY = HYP_VM_SIZE;

    /// The hypervisor's vCPU.
    public static final int HYP_VCPU_SIZE = 0x1900;

    /// EL2 address of the host's struct kvm_vcpu.
    public static final int HYP_VCPU_HOST_VCPU = 0;

    /// EL2 address of the VM.
    public static final int HYP_VCPU_VM = 0x08;

    public static final int HYP_VCPU_INDEX = 0x10;

    private VmStructs() {}

    /// Bytes of the VM area for a VM of `vcpus` vCPUs.
    public static long vmArea(long vcpus) {
        return HYP_VM_VCPU_ARRAY + vcpus * Long.BYTES;
    }
}
