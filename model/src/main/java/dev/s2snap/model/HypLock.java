package dev.s2snap.model;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/// A spinlock of EL2. Not recursive; taking it twice on one CPU would spin for ever, hence is a bug of the model, and
/// so
/// is taking it out of order (I-45), or releasing what this CPU does not hold. All three are checked always.
///
/// While one thread is all CPUs nothing can wait: a lock that is held has been taken twice.
final class HypLock {
    /// The order in which locks are taken: each behind those before it, and never two of one kind.
    enum Rank {
        VM_TABLE,
        HOST,
        /// The hypervisor's, or that of a VM's stage 2: of all address spaces but the host's there is one at a time.
        SPACE,
        POOL
    }

    private static final VarHandle OWNER;

    static {
        try {
            OWNER = MethodHandles.lookup().findVarHandle(HypLock.class, "owner", int.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    private static final int SPINS = 100;
    private static final long PAUSE_NANOS = 20_000;

    private final String name;
    private final int bit;
    private final Cpus cpus;

    /// 1 more than the number of the CPU that holds the lock, or 0.
    private int owner;

    private @Nullable Runnable onRelease;

    HypLock(String name, Rank rank, Cpus cpus) {
        this.name = name;
        bit = 1 << rank.ordinal();
        this.cpus = cpus;
    }

    /// @throws HypPanic if another CPU has panicked
    void lock() {
        Cpu cpu = cpus.current();
        if (cpu.locks >= bit) {
            throw outOfOrder(cpu);
        }
        if (cpus.parallel()) {
            acquire(cpu);
        } else if (owner != 0) {
            throw takenTwice();
        } else {
            owner = cpu.id() + 1;
        }
        cpu.locks |= bit;
    }

    private IllegalStateException takenTwice() {
        return new IllegalStateException("deadlock: " + name + " lock taken twice");
    }

    private IllegalStateException outOfOrder(Cpu cpu) {
        if (owner == cpu.id() + 1) {
            return takenTwice();
        }
        return new IllegalStateException("lock order: " + name + " lock taken under "
                + Rank.values()[31 - Integer.numberOfLeadingZeros(cpu.locks)]);
    }

    private void acquire(Cpu cpu) {
        cpus.requireLife();
        for (int tries = 0; !OWNER.compareAndSet(this, 0, cpu.id() + 1); tries++) {
            cpus.requireLife();
            if (tries < SPINS) {
                Thread.onSpinWait();
            } else {
                // Whoever holds it may wait for this very processor.
                LockSupport.parkNanos(this, PAUSE_NANOS);
            }
        }
    }

    void unlock() {
        Cpu cpu = cpus.current();
        if (owner != cpu.id() + 1) {
            throw new IllegalStateException(name + " lock released by CPU " + cpu.id() + ", which does not hold it");
        }
        cpu.locks &= ~bit;
        OWNER.setRelease(this, 0);
        if (onRelease != null) {
            onRelease.run();
        }
    }

    boolean held() {
        return (int) OWNER.getAcquire(this) != 0;
    }

    /// Runs `action` after each release; null for none.
    void onRelease(@Nullable Runnable action) {
        onRelease = action;
    }
}
