package dev.s2snap.model;

import org.jspecify.annotations.Nullable;

/// The host's hypercall table: 6.7 with the seed's call at the end. A constant's ordinal is its number; [#id] is what
/// the host puts in x0.
///
/// 6.12 merges the four vgic calls 20 to 23 into two, so that its numbers from [#PKVM_VCPU_INIT_TRAPS] on are two less;
/// a recorded trace of 6.12 has to be renumbered by name. [Hypercalls] says what each call does here.
public enum Hypercall {
    /// Served by the init vectors; the table has no handler.
    KVM_HYP_INIT("__kvm_hyp_init"),
    KVM_GET_MDCR_EL2("__kvm_get_mdcr_el2"),
    PKVM_INIT("__pkvm_init"),
    PKVM_CREATE_PRIVATE_MAPPING("__pkvm_create_private_mapping"),
    PKVM_CPU_SET_VECTOR("__pkvm_cpu_set_vector"),
    KVM_ENABLE_SSBS("__kvm_enable_ssbs"),
    VGIC_V3_INIT_LRS("__vgic_v3_init_lrs"),
    VGIC_V3_GET_GIC_CONFIG("__vgic_v3_get_gic_config"),
    /// The first one that is there for good: those before it go when protected mode is on.
    PKVM_PROT_FINALIZE("__pkvm_prot_finalize"),
    PKVM_HOST_SHARE_HYP("__pkvm_host_share_hyp"),
    PKVM_HOST_UNSHARE_HYP("__pkvm_host_unshare_hyp"),
    KVM_ADJUST_PC("__kvm_adjust_pc"),
    KVM_VCPU_RUN("__kvm_vcpu_run"),
    KVM_FLUSH_VM_CONTEXT("__kvm_flush_vm_context"),
    KVM_TLB_FLUSH_VMID_IPA("__kvm_tlb_flush_vmid_ipa"),
    KVM_TLB_FLUSH_VMID_IPA_NSH("__kvm_tlb_flush_vmid_ipa_nsh"),
    KVM_TLB_FLUSH_VMID("__kvm_tlb_flush_vmid"),
    KVM_TLB_FLUSH_VMID_RANGE("__kvm_tlb_flush_vmid_range"),
    KVM_FLUSH_CPU_CONTEXT("__kvm_flush_cpu_context"),
    KVM_TIMER_SET_CNTVOFF("__kvm_timer_set_cntvoff"),
    VGIC_V3_READ_VMCR("__vgic_v3_read_vmcr"),
    VGIC_V3_WRITE_VMCR("__vgic_v3_write_vmcr"),
    VGIC_V3_SAVE_APRS("__vgic_v3_save_aprs"),
    VGIC_V3_RESTORE_APRS("__vgic_v3_restore_aprs"),
    PKVM_VCPU_INIT_TRAPS("__pkvm_vcpu_init_traps"),
    PKVM_INIT_VM("__pkvm_init_vm"),
    PKVM_INIT_VCPU("__pkvm_init_vcpu"),
    PKVM_TEARDOWN_VM("__pkvm_teardown_vm"),
    /// The seed's addition, id 0xC600001C.
    PKVM_HOST_STAGE2_SNAPSHOT("__pkvm_host_stage2_snapshot");

    private static final Hypercall[] TABLE = values();

    private final String symbol;

    Hypercall(String symbol) {
        this.symbol = symbol;
    }

    public int number() {
        return ordinal();
    }

    /// The function id for x0.
    public long id() {
        return Hypercalls.id(ordinal());
    }

    /// The kernel's name.
    public String symbol() {
        return symbol;
    }

    /// The call with this number, or null behind the end of the table.
    ///
    /// @param number unsigned
    public static @Nullable Hypercall of(long number) {
        return Long.compareUnsigned(number, TABLE.length) < 0 ? TABLE[(int) number] : null;
    }
}
