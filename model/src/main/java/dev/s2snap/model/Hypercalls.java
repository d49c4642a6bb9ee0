package dev.s2snap.model;

/// SMCCC dispatch of the host's hypercalls: the table of 6.7 with the seed's entry 28.
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
    /// @throws UnsupportedOperationException for a function that exists and is not modelled
    void dispatch(Cpu cpu) {
        long number = (cpu.x(0) & ~SVE_HINT) - BASE;
        // Function 0 is served by the init vectors. Once protected mode is on, everything before prot_finalize is gone.
        long first = el2.finalised() ? PROT_FINALIZE : 1;
        if (Long.compareUnsigned(number, first) < 0 || Long.compareUnsigned(number, HOST_STAGE2_SNAPSHOT) > 0) {
            cpu.x(0, NOT_SUPPORTED);
            return;
        }
        cpu.x(0, SUCCESS);
        switch ((int) number) {
            // Initialisation has run it on every CPU, and nobody may run it twice.
            case PROT_FINALIZE -> cpu.x(1, el2.finalised() ? Errno.EPERM : unmodelled(number));
            case HOST_SHARE_HYP -> cpu.x(1, el2.memProtect.shareHyp(cpu.x(1)));
            case HOST_UNSHARE_HYP -> cpu.x(1, el2.memProtect.unshareHyp(cpu.x(1)));
            case HOST_STAGE2_SNAPSHOT -> snapshot(cpu);
            default -> unmodelled(number);
        }
    }

    private static long unmodelled(long number) {
        throw new UnsupportedOperationException("hypercall " + number + " is not modelled");
    }

    private void snapshot(Cpu cpu) {
        if (snapshot instanceof PostedSnapshot && !el2.config.debug) {
            // D-26: x1 keeps the pointer, which a caller that does not look at x0 takes for a result.
            cpu.x(0, NOT_SUPPORTED);
            return;
        }
        int result = snapshot.call(cpu.x(1));
        cpu.x(1, result);
        if (result == Errno.EOPNOTSUPP) {
            cpu.x(0, NOT_SUPPORTED);
        }
    }
}
