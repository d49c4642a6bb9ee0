package dev.s2snap.model;

import dev.s2snap.vmsa.TableGeometry;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/// The CPUs of a machine: which of them runs the code that asks, and what one does to the others.
///
/// As a rule one thread has the whole machine and is one CPU at a time ([#enter]); then nothing here waits or
/// synchronises. Inside [#run] each CPU is a thread of its own. What is shared then is protected by a [HypLock], by
/// the monitor of a CPU's TLBs, or says itself how.
///
/// A TLBI is broadcast: it drops the entry from the TLBs of all CPUs, and like the DSB behind it waits for the accesses
/// of the host that other CPUs are in the middle of. Those of EL2 it does not wait for: what EL2 accesses is its own
/// as long as it does.
final class Cpus {
    /// Which translations a TLBI is about.
    enum Tlbi {
        EL2,
        HOST
    }

    private final Cpu[] all;
    private final AtomicReference<@Nullable HypPanic> panic = new AtomicReference<>();
    private final AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();
    private @Nullable Predicate<Tlbi> loss;

    /// Which CPU the only thread is.
    private Cpu running;

    /// Which CPU each of several threads is.
    private Supplier<Cpu> ofThread = this::ofCpuThread;

    private boolean parallel;
    private boolean hostRemembered;
    private @Nullable El2Memory memory;

    Cpus(int count) {
        all = new Cpu[count];
        Arrays.setAll(all, Cpu::new);
        running = all[0];
    }

    /// Tells EL2's memory from now on whose TLB it is to use.
    void accessThrough(El2Memory value) {
        memory = value;
        become(running);
    }

    private void become(Cpu cpu) {
        running = cpu;
        if (memory != null) {
            memory.use(parallel ? null : cpu.el2Tlb);
        }
    }

    int count() {
        return all.length;
    }

    Cpu get(int id) {
        return all[id];
    }

    List<Cpu> all() {
        return List.of(all);
    }

    /// Whether each CPU is a thread of its own, now.
    boolean parallel() {
        return parallel;
    }

    /// Makes threads that are not from here the CPUs, for good: those of a scheduler that tries their interleavings.
    ///
    /// @param who says which CPU the current thread is
    void scheduled(Supplier<Cpu> who) {
        ofThread = who;
        parallel = true;
        become(running);
    }

    /// The CPU that runs this.
    Cpu current() {
        return parallel ? ofThread.get() : running;
    }

    private Cpu ofCpuThread() {
        if (Thread.currentThread() instanceof CpuThread thread && thread.machine() == this) {
            return thread.cpu;
        }
        throw new IllegalStateException(
                "thread " + Thread.currentThread().getName() + " is no CPU of this machine, which runs its programs");
    }

    /// Goes on as `cpu`, till [#leave].
    ///
    /// @return the CPU that it was
    Cpu enter(Cpu cpu) {
        Cpu before = current();
        if (parallel) {
            if (before != cpu) {
                throw new IllegalStateException("CPU " + cpu.id() + " is another thread than this, CPU " + before.id());
            }
        } else if (before != cpu) {
            become(cpu);
        }
        return before;
    }

    void leave(Cpu before) {
        if (!parallel && before != running) {
            become(before);
        }
    }

    // The end.

    /// Why the hypervisor panicked, or null while it lives.
    @Nullable
    HypPanic panic() {
        return panic.get();
    }

    /// The first panic of any CPU is the machine's.
    void panicked(HypPanic fatal) {
        panic.compareAndSet(null, fatal);
    }

    /// Ends what this CPU does at EL2 if another one has ended the machine.
    void requireLife() {
        HypPanic fatal = panic.get();
        if (fatal != null) {
            throw fatal;
        }
        if (failure.get() != null) {
            throw new IllegalStateException("the program of another CPU has failed");
        }
    }

    // TLBs.

    /// From now on the host's accesses go through a TLB of each CPU, which only a TLBI empties. Without, each access
    /// walks the host's table.
    void keepHostTranslations(TableGeometry geometry) {
        for (Cpu cpu : all) {
            cpu.hostTlb = new HostTlb(geometry);
        }
        hostRemembered = true;
    }

    /// Asked for each TLBI whether it gets lost; null for none. A mutation, for tests.
    void lose(@Nullable Predicate<Tlbi> value) {
        loss = value;
    }

    private boolean lost(Tlbi tlbi) {
        return loss != null && loss.test(tlbi);
    }

    /// TLBI VAE2IS and VALE2IS.
    ///
    /// @param page number of the page of EL2's addresses
    void invalidateEl2(long page) {
        if (lost(Tlbi.EL2)) {
            return;
        }
        for (Cpu cpu : all) {
            if (parallel) {
                synchronized (cpu.translation) {
                    cpu.el2Tlb.remove(page);
                }
            } else {
                cpu.el2Tlb.remove(page);
            }
        }
    }

    /// TLBI IPAS2E1IS of the host.
    ///
    /// @param level hint, or [Recorder#LEVEL_UNKNOWN]
    void invalidateHost(long ipa, int level) {
        if (parallel || hostRemembered) {
            forget(tlb -> tlb.remove(ipa, level));
        }
    }

    /// TLBI RIPAS2E1IS of the host.
    void invalidateHostRange(long ipa, long size) {
        if (parallel || hostRemembered) {
            forget(tlb -> tlb.removeRange(ipa, size));
        }
    }

    /// TLBI VMALLS12E1IS of the host.
    void invalidateHost() {
        if (parallel || hostRemembered) {
            forget(HostTlb::clear);
        }
    }

    private void forget(Consumer<HostTlb> what) {
        if (lost(Tlbi.HOST)) {
            return;
        }
        for (Cpu cpu : all) {
            // Also where nothing is remembered: an access may be under way.
            synchronized (cpu.translation) {
                HostTlb tlb = cpu.hostTlb;
                if (tlb != null) {
                    what.accept(tlb);
                }
            }
        }
    }

    // Threads.

    private final class CpuThread extends Thread {
        final Cpu cpu;
        private final PkvmModel.Program program;

        CpuThread(Cpu cpu, PkvmModel.Program program) {
            super("cpu " + cpu.id());
            this.cpu = cpu;
            this.program = program;
            setDaemon(true);
        }

        Cpus machine() {
            return Cpus.this;
        }

        @Override
        public void run() {
            try {
                program.run(cpu);
            } catch (Throwable thrown) {
                failure.compareAndSet(null, thrown);
            }
        }
    }

    /// Runs programs at the same time, program n on CPU n, and returns when all are over.
    ///
    /// @throws IllegalStateException for the first checked exception of a program; others are thrown as they are
    void run(List<PkvmModel.Program> programs) {
        if (programs.size() > all.length) {
            throw new IllegalArgumentException(
                    programs.size() + " programs on " + all.length + " CPUs; configure more CPUs");
        }
        if (parallel) {
            throw new IllegalStateException("the CPUs run programs already");
        }
        parallel = true;
        become(running);
        List<CpuThread> threads = new ArrayList<>();
        for (int i = 0; i < programs.size(); i++) {
            threads.add(new CpuThread(all[i], programs.get(i)));
        }
        threads.forEach(Thread::start);
        try {
            for (CpuThread thread : threads) {
                thread.join();
            }
        } catch (InterruptedException e) {
            // The threads go on, and the machine is theirs: nobody can use it any more.
            failure.compareAndSet(null, e);
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while programs ran", e);
        }
        parallel = false;
        become(running);
        switch (failure.getAndSet(null)) {
            case null -> {}
            case RuntimeException unchecked -> throw unchecked;
            case Error error -> throw error;
            case Throwable other -> throw new IllegalStateException(other);
        }
    }
}
