package dev.s2snap.model;

/// SMCCC dispatch of the host's hypercalls, through the table of [Hypercall].
///
/// The handler's result goes to x1; a call without one leaves x1 as the caller had it, and every call leaves x2 and up.
/// What calls do that are not about memory, and who says so: the specification knows their names only, a trace of
/// 6.12.107 (one boot, one guest) shows some of them. Where neither says a thing, it is listed under "not specified".
///
/// | call | here | shown by the trace | not specified |
/// |---|---|---|---|
/// | get_mdcr_el2 | x1 = 6 | x1 = 6 (Neoverse N1 under QEMU) | the value elsewhere |
/// | pkvm_init | [Hypervisor#init(long, long)] | x1 = 0 | a second call: refused as not modelled |
/// | create_private_mapping | [Hypervisor#createPrivateMapping] | | errors, and size 0 |
/// | cpu_set_vector | x1 = 0; nothing is selected | slot 2: x1 = 0 | which slots there are |
/// | enable_ssbs, init_lrs | nothing | | whether they have a result |
/// | get_gic_config | x1 = 0x90b80003 | x1 = 0x90b80003 | the value elsewhere |
/// | prot_finalize | [#finalise] | x1 = 0, once on each CPU | before pkvm_init: refused as not modelled |
/// | adjust_pc, vcpu_init_traps | nothing: vCPU registers are not modelled | | whether they have a result |
/// | vcpu_run | [GuestVms#vcpuRun] | x1 = 0 or 2 | |
/// | flush_vm_context | TLBI of all VMIDs | | arguments |
/// | tlb_flush_* | TLBI for the VMID in the MMU that x1 points to; x2 IPA, x3 level or number of pages | | arguments |
/// | flush_cpu_context | TLBI of that VMID on this CPU | x1 points into the struct kvm and stays | |
/// | timer_set_cntvoff | nothing: the offset reaches no modelled register | x1 stays | |
/// | read_vmcr, write_vmcr | ICH_VMCR_EL2 of this CPU, 32 bits, 0 at first | | where value and result are |
/// | save_aprs, restore_aprs | nothing: no word of the host's memory is touched | | arguments |
///
/// Calls work before protected mode too, as at 6.7. While the host's table is the all-zero object, its walks refuse
/// every range, so that sharing and pinning are -ERANGE and donations fail.
public final class Hypercalls {
    /// Fast call, 64-bit, owner 6 (vendor hypervisor): function n is this plus n (SMCCC, DEN0028, 2.5).
    public static final long BASE = 0xC600_0000L;

    /// Bit 16 of a function id, the SVE hint (SMCCC 1.3); not part of the id.
    public static final long SVE_HINT = 1 << 16;

    public static final long SUCCESS = 0;
    public static final long NOT_SUPPORTED = -1;

    public static final int PROT_FINALIZE = 8;
    public static final int HOST_SHARE_HYP = 9;
    public static final int HOST_UNSHARE_HYP = 10;
    public static final int HOST_STAGE2_SNAPSHOT = 28;

    private static final long MDCR_EL2 = 0x6;
    private static final long GIC_CONFIG = 0x90b8_0003L;

    private final Hypervisor el2;
    private final SnapshotCall snapshot;

    Hypercalls(Hypervisor el2, SnapshotCall snapshot) {
        this.el2 = el2;
        this.snapshot = snapshot;
    }

    /// The id of function `number`, as the host puts it in x0.
    public static long id(int number) {
        return BASE + number;
    }

    /// Serves the call in the registers of `cpu`: x0 the function, x1 and up its arguments. The status goes to x0, the
    /// result to x1.
    ///
    /// @throws UnsupportedOperationException for what a machine would do that was not brought up as the host does it
    void dispatch(Cpu cpu) {
        long number = (cpu.x(0) & ~SVE_HINT) - BASE;
        long first = el2.protectedMode() ? PROT_FINALIZE : 0;
        Hypercall call = Long.compareUnsigned(number, first) < 0 ? null : Hypercall.of(number);
        if (call == null || call == Hypercall.KVM_HYP_INIT) {
            cpu.x(0, NOT_SUPPORTED);
            return;
        }
        cpu.x(0, SUCCESS);
        serve(call, cpu);
    }

    private void serve(Hypercall call, Cpu cpu) {
        switch (call) {
            case KVM_GET_MDCR_EL2 -> cpu.x(1, MDCR_EL2);
            case PKVM_INIT -> cpu.x(1, initialise(cpu));
            case PKVM_CREATE_PRIVATE_MAPPING -> cpu.x(1, el2.createPrivateMapping(cpu.x(1), cpu.x(2), cpu.x(3)));
            case PKVM_CPU_SET_VECTOR -> cpu.x(1, 0);
            case VGIC_V3_GET_GIC_CONFIG -> cpu.x(1, GIC_CONFIG);
            case PKVM_PROT_FINALIZE -> cpu.x(1, finalise(cpu));
            case PKVM_HOST_SHARE_HYP -> cpu.x(1, el2.memProtect.shareHyp(cpu.x(1)));
            case PKVM_HOST_UNSHARE_HYP -> cpu.x(1, el2.memProtect.unshareHyp(cpu.x(1)));
            case KVM_VCPU_RUN -> cpu.x(1, el2.guests.vcpuRun(cpu.x(1)));
            case KVM_FLUSH_VM_CONTEXT,
                    KVM_TLB_FLUSH_VMID_IPA,
                    KVM_TLB_FLUSH_VMID_IPA_NSH,
                    KVM_TLB_FLUSH_VMID,
                    KVM_TLB_FLUSH_VMID_RANGE,
                    KVM_FLUSH_CPU_CONTEXT -> flush(call, cpu);
            case VGIC_V3_READ_VMCR -> cpu.x(1, Integer.toUnsignedLong(cpu.vmcr()));
            case VGIC_V3_WRITE_VMCR -> cpu.vmcr((int) cpu.x(1));
            // A handle is 32 bits wide.
            case PKVM_INIT_VM -> cpu.x(1, el2.guests.initVm(cpu.x(1), cpu.x(2), cpu.x(3)));
            case PKVM_INIT_VCPU -> cpu.x(1, el2.guests.initVcpu((int) cpu.x(1), cpu.x(2), cpu.x(3)));
            case PKVM_TEARDOWN_VM -> cpu.x(1, el2.guests.teardownVm((int) cpu.x(1)));
            case PKVM_HOST_STAGE2_SNAPSHOT -> snapshot(cpu);
            case KVM_HYP_INIT,
                    KVM_ENABLE_SSBS,
                    VGIC_V3_INIT_LRS,
                    KVM_ADJUST_PC,
                    KVM_TIMER_SET_CNTVOFF,
                    VGIC_V3_SAVE_APRS,
                    VGIC_V3_RESTORE_APRS,
                    PKVM_VCPU_INIT_TRAPS -> {}
        }
    }

    // Initialisation.

    /// `__pkvm_init(phys, size, nr_cpus, per_cpu_base, hyp_va_bits)`.
    ///
    /// x1 and x2 are taken from the caller. The number of CPUs and the bits of EL2's address space are the
    /// configuration's, which x3 and x5 have to agree with; x4, the addresses of the per-CPU areas in host memory, is
    /// not looked at: `cfg percpu` says where they are, as `cfg` says it of the stacks, the sections of the
    /// hypervisor and the regions of memory.
    private int initialise(Cpu cpu) {
        ModelConfig config = el2.config;
        if (el2.started()) {
            throw new UnsupportedOperationException("a second __pkvm_init is not modelled");
        }
        if (cpu.x(3) != config.cpus || (int) cpu.x(5) != config.hypVaBits) {
            throw new UnsupportedOperationException("__pkvm_init for " + cpu.x(3) + " CPUs and " + (int) cpu.x(5)
                    + " bits of addresses, but cfg says cpus " + config.cpus + " and hyp_va_bits "
                    + config.hypVaBits);
        }
        return el2.init(cpu.x(1), cpu.x(2));
    }

    /// `__pkvm_prot_finalize`: from here on the host runs under its stage 2 on this CPU.
    ///
    /// The host sets its static key before it makes this call on the first CPU. That is no hypercall, so the key is
    /// taken to be set when the first such call comes. The clean of the CPU's parameters to the point of coherency is
    /// not recorded: where they lie in its per-CPU area is not specified.
    ///
    /// @return 0, or -EPERM on a CPU that has done it
    private int finalise(Cpu cpu) {
        if (!el2.finalised()) {
            throw new UnsupportedOperationException(
                    "__pkvm_prot_finalize before __pkvm_init: a CPU with the all-zero stage 2 is not modelled");
        }
        el2.protect();
        if (cpu.stage2()) {
            return Errno.EPERM;
        }
        cpu.enableStage2();
        Recorder recorder = el2.recorder();
        if (recorder != null) {
            recorder.tlbiVmidNonShareable(0);
        }
        return 0;
    }

    // TLB.

    /// x1 points to the host's struct kvm_s2_mmu, which is read at EL2: an abort where EL2 does not map it.
    private void flush(Hypercall call, Cpu cpu) {
        Recorder recorder = el2.recorder();
        if (call == Hypercall.KVM_FLUSH_VM_CONTEXT) {
            if (recorder != null) {
                recorder.tlbiAll();
            }
            return;
        }
        int vmid = vmid(el2.map.kernHypVa(cpu.x(1)));
        if (recorder == null) {
            return;
        }
        long ipa = cpu.x(2) & -(1L << 12);
        switch (call) {
            case KVM_TLB_FLUSH_VMID_IPA -> recorder.tlbiIpa(vmid, ipa, level((int) cpu.x(3)));
            case KVM_TLB_FLUSH_VMID_IPA_NSH -> recorder.tlbiIpaNonShareable(vmid, ipa, level((int) cpu.x(3)));
            case KVM_TLB_FLUSH_VMID_RANGE -> recorder.tlbiRange(vmid, cpu.x(2) & -el2.config.pageSize(), cpu.x(3));
            case KVM_TLB_FLUSH_VMID -> recorder.tlbiVmid(vmid);
            default -> recorder.tlbiVmidNonShareable(vmid);
        }
    }

    private int vmid(long mmu) {
        return (int) el2.memory.read64(mmu + VmStructs.MMU_VMID) & (el2.config.vmid16 ? 0xffff : 0xff);
    }

    /// A number that is no level of a table is no hint.
    private static int level(int level) {
        return level >= -1 && level <= 3 ? level : Recorder.LEVEL_UNKNOWN;
    }

    // The snapshot.

    private void snapshot(Cpu cpu) {
        if (snapshot instanceof PostedSnapshot && !el2.config.debug) {
            // D-26: x1 keeps the pointer, which a caller that does not look at x0 takes for a result.
            cpu.x(0, NOT_SUPPORTED);
            return;
        }
        boolean early = snapshot instanceof CorrectedSnapshot && !el2.protectedMode();
        int result = early ? Errno.EOPNOTSUPP : snapshot.call(cpu.x(1));
        cpu.x(1, result);
        if (result == Errno.EOPNOTSUPP) {
            cpu.x(0, NOT_SUPPORTED);
        }
    }
}
