package dev.s2snap.model;

import org.jspecify.annotations.Nullable;

/// One CPU of the host: the registers that a hypercall uses, and what the hypervisor keeps for each CPU.
public final class Cpu {
    /// x0 to x17, the registers that SMCCC passes.
    public static final int REGISTERS = 18;

    private final int id;
    private final long[] x = new long[REGISTERS];
    private boolean stage2;
    private int vmcr;

    /// Held while this CPU makes an access of the host or learns a translation, and while another one invalidates them.
    final Object translation = new Object();

    final El2Tlb el2Tlb = new El2Tlb();

    @Nullable
    HostTlb hostTlb;

    /// Of which ranks this CPU holds locks: a bit for each [HypLock.Rank].
    int locks;

    Cpu(int id) {
        this.id = id;
    }

    public int id() {
        return id;
    }

    public long x(int register) {
        return x[register];
    }

    public void x(int register, long value) {
        x[register] = value;
    }

    /// HCR_EL2.VM: whether the host runs under its stage 2 on this CPU. `__pkvm_prot_finalize` sets it, for good.
    public boolean stage2() {
        return stage2;
    }

    void enableStage2() {
        stage2 = true;
    }

    /// ICH_VMCR_EL2, which a GICv3 has on every CPU.
    int vmcr() {
        return vmcr;
    }

    void vmcr(int value) {
        vmcr = value;
    }
}
