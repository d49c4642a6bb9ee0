package dev.s2snap.model;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.HypVmemmap;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.MachineTables;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.vmsa.LeafAttributes;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/// A machine under protected KVM, from power-on.
///
/// [#init] brings the hypervisor up; then [#hvc] serves hypercalls, and the host reads and writes memory through its
/// stage 2. When the hypervisor panics the machine is dead: it can still be read, everything else is refused with
/// [IllegalStateException].
///
/// One thread at a time may use a machine, and is whatever CPU it says, else CPU 0. [#run] is where the CPUs are
/// threads, one for each: inside, a thread may call [#hvc] for its own CPU, [#read] and [#write], [#primitives], and of
/// [#hostKernel] what allocates, calls, reads and frees; whatever else changes or reads the machine as a whole belongs
/// before or behind. A [Recorder] and an observer are called by all threads then; a [WriteLog] is refused.
public final class PkvmModel implements Machine, AutoCloseable {
    private final ModelConfig config;
    private final Ram ram;
    private final Hypervisor el2;
    private final SnapshotCall snapshot;
    private final Hypercalls hypercalls;
    private final Primitives primitives = new Primitives(this);
    private @Nullable HostKernel hostKernel;
    private final Cpus cpus;
    private SnapshotCall.@Nullable Observer observer;
    private boolean logged;
    private @Nullable HostWatch watch;

    /// A machine that is switched on, with nothing at EL2.
    ///
    /// @throws IllegalArgumentException if the configuration is incomplete
    public PkvmModel(ModelConfig config) {
        if (!config.problem().isEmpty()) {
            throw new IllegalArgumentException(config.problem());
        }
        this.config = config;
        ram = new Ram(config.regions, config.pageShift);
        cpus = new Cpus(Math.max(2, config.cpus));
        el2 = new Hypervisor(config, ram, cpus);
        SnapshotCall.Observer relay = phase -> {
            if (observer != null) {
                observer.reached(phase);
            }
        };
        snapshot = switch (config.variant) {
            case POSTED -> new PostedSnapshot(el2, relay);
            case CORRECTED -> new CorrectedSnapshot(el2, relay);
        };
        hypercalls = new Hypercalls(el2, snapshot);
    }

    /// The small machine of [ModelConfig#small], initialised.
    public static PkvmModel small(SnapshotCall.Variant variant) {
        PkvmModel model = new PkvmModel(ModelConfig.small().variant(variant));
        int error = model.init();
        if (error != 0) {
            throw new IllegalStateException("init of the small machine: " + Errno.name(error));
        }
        return model;
    }

    public ModelConfig config() {
        return config;
    }

    Ram ram() {
        return ram;
    }

    Hypervisor el2() {
        return el2;
    }

    SnapshotCall snapshotCall() {
        return snapshot;
    }

    /// The kernel that runs on this machine. There is one, because it knows which pages it has given away.
    public synchronized HostKernel hostKernel() {
        HostKernel running = hostKernel;
        if (running == null) {
            running = new HostKernel(this);
            hostKernel = running;
        }
        return running;
    }

    public AddressMap addresses() {
        return el2.map;
    }

    public Cpu cpu(int id) {
        return cpus.get(id);
    }

    public int cpus() {
        return cpus.count();
    }

    /// What a CPU does, in [#run].
    @FunctionalInterface
    public interface Program {
        void run(Cpu cpu) throws Exception;
    }

    /// Runs programs at the same time, the first on CPU 0 and so on, and returns when all are over.
    ///
    /// A panic of one CPU is the end for all: the others are stopped at the next lock that they want, and their calls
    /// answer as if they had panicked themselves. What a program throws is thrown here, a checked exception as the
    /// cause of an [IllegalStateException]; then too the others are stopped at the next lock.
    ///
    /// @throws IllegalArgumentException if there are more programs than CPUs
    public void run(Program... programs) {
        if (logged || watch != null) {
            throw new IllegalStateException(
                    "a write log and a watch are kept for one thread only; take them off before programs run");
        }
        cpus.run(List.of(programs));
    }

    /// From now on each CPU remembers translations of the host's stage 2 until they are invalidated, as a large TLB
    /// does. Else every access of the host walks the table.
    public void keepHostTranslations() {
        cpus.keepHostTranslations(hostTable().geometry());
    }

    Cpus allCpus() {
        return cpus;
    }

    /// Sees what the hypervisor does to its tables; null for nobody.
    public void recorder(@Nullable Recorder recorder) {
        el2.recorder(recorder);
    }

    /// Gets every store that EL2 makes; null for nobody.
    public void writeLog(@Nullable WriteLog log) {
        logged = log != null;
        el2.memory.log(log);
    }

    /// Sees what the host does; null for nobody. As a write log, it is refused by [#run].
    public void hostWatch(@Nullable HostWatch value) {
        watch = value;
    }

    /// Memory protection, without hypercalls.
    public Primitives primitives() {
        return primitives;
    }

    /// Is told of the phases of snapshot calls; null for nobody.
    public void observer(SnapshotCall.@Nullable Observer value) {
        observer = value;
    }

    /// Why the hypervisor panicked, or null while it lives.
    public @Nullable HypPanic panic() {
        return cpus.panic();
    }

    /// Runs something at EL2, on this CPU.
    ///
    /// @return the result, or null if the hypervisor panicked, now or on another CPU
    <T> @Nullable T atEl2(Supplier<T> action) {
        HypPanic before = cpus.panic();
        if (before != null) {
            if (cpus.parallel()) {
                return null;
            }
            throw new IllegalStateException("the hypervisor has panicked: " + before.getMessage());
        }
        Cpu cpu = cpus.current();
        int locks = cpu.locks;
        try {
            T result = action.get();
            if (cpu.locks != locks) {
                throw new IllegalStateException("EL2 returns with a lock held, or without one that it came with");
            }
            return result;
        } catch (HypPanic fatal) {
            cpus.panicked(fatal);
            return null;
        }
    }

    /// Initialises EL2, as the host's boot does, up to protected mode on all CPUs.
    ///
    /// @return 0 or an errno
    public int init() {
        Integer result = atEl2(this::bringUp);
        if (result == null) {
            throw new IllegalStateException("panic during initialisation: " + panic());
        }
        return result;
    }

    /// All of initialisation, at EL2: afterwards the static key is set and every CPU has its prot_finalize behind it.
    /// Nothing of the latter is recorded. Step by step the same is done by hypercalls: 2, then 8 on each CPU.
    ///
    /// @return 0 or an errno
    int bringUp() {
        int error = el2.init();
        if (error == 0) {
            el2.protect();
            cpus.all().forEach(Cpu::enableStage2);
        }
        return error;
    }

    /// A hypercall from the host on `cpu`, with what its registers hold.
    ///
    /// @return false if the hypervisor panicked
    public boolean hvc(Cpu cpu) {
        HostWatch seer = watch;
        if (seer != null) {
            seer.calls(cpu);
        }
        Cpu before = cpus.enter(cpu);
        boolean alive;
        try {
            alive = atEl2(() -> {
                        hypercalls.dispatch(cpu);
                        return true;
                    })
                    != null;
        } finally {
            cpus.leave(before);
        }
        if (seer != null) {
            seer.called(cpu, alive);
        }
        return alive;
    }

    // The host's accesses. Until a CPU's stage 2 is on, they go straight to memory.

    /// Where the host's access to `address` goes, or -1 if its stage 2 does not allow it. Bits 7:6 of a stage-2
    /// descriptor, S2AP, are the permissions (D8.4.2).
    private long hostTranslate(Cpu cpu, long address, boolean write) {
        if (!cpu.stage2()) {
            return address;
        }
        long needed = write ? 1 << 7 : 1 << 6;
        HostTlb tlb = cpu.hostTlb;
        long known = tlb == null ? -1 : tlb.output(address, needed);
        if (known != -1) {
            return known;
        }
        if (hostTable().translate(address) instanceof Translation.Mapped(var _, int level, long descriptor, long output)
                && (descriptor & needed) != 0) {
            if (tlb != null) {
                tlb.put(address, level, descriptor);
            }
            return output;
        }
        return -1;
    }

    /// One attempt at an access of the host, without the fault that may follow: translation and access are one to a
    /// TLBI of another CPU, which waits.
    ///
    /// @return null if the host's stage 2, and what this CPU remembers of it, do not allow it
    Access.@Nullable Done attempt(Cpu cpu, long address, boolean write, long value) {
        if (!cpus.parallel()) {
            return translateAndAccess(cpu, address, write, value);
        }
        synchronized (cpu.translation) {
            return translateAndAccess(cpu, address, write, value);
        }
    }

    private Access.@Nullable Done translateAndAccess(Cpu cpu, long address, boolean write, long value) {
        long output = hostTranslate(cpu, address, write);
        // Not aligned, it is no single access (Arm ARM, B2.2.1): across the end of a page both pages have to allow it.
        if (output == -1 || (crosses(address) && hostTranslate(cpu, lastByte(address), write) == -1)) {
            return null;
        }
        if (write) {
            ram.set(output, value);
            return new Access.Done(value);
        }
        return new Access.Done(ram.get(output));
    }

    private static long lastByte(long address) {
        return address + Long.BYTES - 1;
    }

    private boolean crosses(long address) {
        return ((address ^ lastByte(address)) & -config.pageSize()) != 0;
    }

    /// Where the fault of an access is: in its first page, unless only the second one is the reason.
    private long faulting(Cpu cpu, long address, boolean write) {
        boolean second = crosses(address) && hostTranslate(cpu, address, write) != -1;
        return second ? lastByte(address) & -config.pageSize() : address;
    }

    /// Result of an access of the host.
    public sealed interface Access {
        /// @param value what was read, or written
        record Done(long value) implements Access {}

        /// The abort handler refused with an errno, which is a panic; or another CPU panicked, then it is 0.
        record Refused(int error) implements Access {}

        /// Mapped again and again, and never accessible.
        record Livelock() implements Access {}
    }

    /// A 64-bit load of the host, on the CPU that this thread is.
    public Access read(long address) {
        return access(cpus.current(), address, false, 0);
    }

    /// A 64-bit store of the host, on the CPU that this thread is.
    public Access write(long address, long value) {
        return access(cpus.current(), address, true, value);
    }

    /// A 64-bit load of the host on a CPU, which in [#run] has to be this thread's.
    public Access read(Cpu cpu, long address) {
        return on(cpu, address, false, 0);
    }

    /// A 64-bit store of the host on a CPU, which in [#run] has to be this thread's.
    public Access write(Cpu cpu, long address, long value) {
        return on(cpu, address, true, value);
    }

    private Access on(Cpu cpu, long address, boolean write, long value) {
        Cpu before = cpus.enter(cpu);
        try {
            return access(cpu, address, write, value);
        } finally {
            cpus.leave(before);
        }
    }

    private Access access(Cpu cpu, long address, boolean write, long value) {
        HostWatch seer = watch;
        if (seer == null) {
            return attempts(cpu, address, write, value);
        }
        if (write) {
            seer.writes(address, value);
        } else {
            seer.reads(address);
        }
        Access done = attempts(cpu, address, write, value);
        seer.accessed(done);
        return done;
    }

    private Access attempts(Cpu cpu, long address, boolean write, long value) {
        // On one CPU what was mapped stays mapped; others can take a table away again before the access.
        int faults = cpus.parallel() ? PARALLEL_FAULTS : crosses(address) ? 2 * FAULTS : FAULTS;
        for (int fault = 0; fault <= faults; fault++) {
            Access done = attempt(cpu, address, write, value);
            if (done != null) {
                return done;
            }
            if (fault < faults) {
                int[] result = new int[1];
                long faulting = faulting(cpu, address, write);
                Boolean handled = atEl2(() -> {
                    result[0] = el2.memProtect.fault(faulting);
                    MemProtect.requireHandled(result[0]);
                    return true;
                });
                if (handled == null) {
                    return new Access.Refused(result[0]);
                }
            }
        }
        return new Access.Livelock();
    }

    private static final int FAULTS = 2;
    private static final int PARALLEL_FAULTS = 1000;

    // The machine as it is read.

    @Override
    public PhysicalMemory memory() {
        return ram;
    }

    TranslationTable hostTable() {
        PageTable table = el2.host.table();
        return new TranslationTable(ram, table.geometry(), table.root());
    }

    @Override
    public Registers registers() {
        Map<String, Long> values = new TreeMap<>();
        values.put("ID_AA64MMFR0_EL1", (long) Hypervisor.paRangeCode(config.paRange));
        // VMIDBits 7:4, VH 11:8, XNX 31:28 (none); FWB 43:40.
        values.put("ID_AA64MMFR1_EL1", (config.vmid16 ? 2L << 4 : 0) | (config.hvhe ? 1L << 8 : 0));
        values.put("ID_AA64MMFR2_EL1", config.fwb ? 1L << 40 : 0);
        boolean on = cpus.get(0).stage2();
        values.put("HCR_EL2", hcr(on));
        if (on) {
            values.put("VTTBR_EL2", vttbr(el2.host.table().root()));
            values.put("VTCR_EL2", el2.vtcr());
        }
        if (el2.finalised()) {
            values.put("TTBR0_EL2", vttbr(el2.hyp.table().root()));
            values.put("TCR_EL2", el2.tcr());
            // Attribute 0 Normal write-back, 2 Normal non-cacheable, 4 Device-nGnRE: Linux' MAIR_EL2.
            values.put("MAIR_EL2", 0x4_0044_ffffL);
        }
        return new Registers(values);
    }

    /// HCR_EL2: VM 0, RW 31, E2H 34.
    private long hcr(boolean stage2) {
        return (stage2 ? MachineTables.HCR_VM : 0) | 1L << 31 | (config.hvhe ? MachineTables.HCR_E2H : 0);
    }

    /// A table base register: VMID or ASID 0, CnP 0, and with 52-bit addresses PA[51:48] in bits 5:2.
    private long vttbr(long root) {
        return (root & (1L << 48) - 1) | root >>> 48 << 2;
    }

    @Override
    public List<Registers> guestRegisters() {
        List<Registers> registers = new ArrayList<>();
        HostKernel running = hostKernel;
        if (running != null) {
            for (HostGuest guest : running.kvm().guests()) {
                if (guest.vmid() != 0 && guest.table() != null) {
                    registers.add(new Registers(Map.of(
                            "VTTBR_EL2",
                            (long) guest.vmid() << 48 | vttbr(guest.root()),
                            "VTCR_EL2",
                            guest.vtcr(),
                            "HCR_EL2",
                            hcr(true) | (guest.forcedWriteBack() ? LeafAttributes.HCR_FWB : 0))));
                }
            }
        }
        return registers;
    }

    @Override
    public Fact<List<MemoryRegion>> regions() {
        return Fact.known(config.regions(), "hyp_memory[]");
    }

    @Override
    public Fact<TranslationTable> host() {
        return MachineTables.host(ram, registers());
    }

    @Override
    public Fact<TranslationTable> hyp() {
        return MachineTables.hyp(ram, registers());
    }

    @Override
    public List<Guest> guests() {
        return MachineTables.guests(ram, guestRegisters());
    }

    @Override
    public Fact<HypVmemmap> vmemmap() {
        return Fact.known(new HypVmemmap(addresses().vmemmapBase(), Vmemmap.ENTRY_SIZE), "the model");
    }

    @Override
    public Fact<Era> era() {
        return Fact.known(Era.V6_1, "the model's base, 6.12.117");
    }

    /// The script's `share_ffa` gives pages to a secure world that is not modelled itself.
    @Override
    public Fact<Boolean> ffa() {
        return Fact.known(true, "the model");
    }

    @Override
    public void close() {
        ram.close();
    }
}
