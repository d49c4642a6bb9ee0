package dev.s2snap.model;

/// One CPU of the host: the registers that a hypercall uses.
public final class Cpu {
    /// x0 to x17, the registers that SMCCC passes.
    public static final int REGISTERS = 18;

    private final int id;
    private final long[] x = new long[REGISTERS];

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
}
