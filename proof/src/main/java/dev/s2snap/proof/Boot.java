package dev.s2snap.proof;

import dev.s2snap.model.Cpu;
import dev.s2snap.model.Errno;
import dev.s2snap.model.HostVm;
import dev.s2snap.model.Hypercall;
import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.PkvmModel.Access;
import dev.s2snap.model.Recorder;
import dev.s2snap.model.SnapshotCall.Variant;
import dev.s2snap.model.VmStructs;
import dev.s2snap.model.WriteLog;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.vmsa.Translation;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/// A machine brought up call by call, by a host that is not always right: memory for the hypervisor that is too little
/// or no whole pages, private mappings before, between and after, of what cannot be mapped, and CPUs that go under
/// their stage 2 one by one, and twice. In the end it is the machine that a boot in one go makes.
final class Boot {
    private static final String CALL = "the boot";

    /// ICH_VTR_EL2 with four list registers, and no memory-mapped interface.
    private static final long GIC = 0x90b8_0003L;

    private static final List<Hypercall> FLUSHES = List.of(
            Hypercall.KVM_FLUSH_VM_CONTEXT,
            Hypercall.KVM_TLB_FLUSH_VMID_IPA,
            Hypercall.KVM_TLB_FLUSH_VMID_IPA_NSH,
            Hypercall.KVM_TLB_FLUSH_VMID,
            Hypercall.KVM_TLB_FLUSH_VMID_RANGE,
            Hypercall.KVM_FLUSH_CPU_CONTEXT);

    // Permissions of a private mapping, as the call has them.
    private static final int X = 1;
    private static final int W = 2;
    private static final int R = 4;
    private static final int DEVICE = 8;

    private final ModelConfig config;
    private final PkvmModel model;
    private final SplittableRandom random;
    private final List<Finding> findings = new ArrayList<>();

    /// End of the last private mapping that was made.
    private long lastEnd;

    /// EL2 was told to execute what is not its text, which breaks a rule.
    private boolean executable;

    private Boot(ModelConfig config, PkvmModel model, SplittableRandom random) {
        this.config = config;
        this.model = model;
        this.random = random;
    }

    /// Brings a machine up.
    ///
    /// @return what was not as it must be
    static List<Finding> of(ModelConfig config, SplittableRandom random) {
        try (PkvmModel model = new PkvmModel(config)) {
            if (random.nextBoolean()) {
                // Nobody who looks: what is recorded must make no difference.
                model.recorder(new Recorder() {});
            }
            Boot boot = new Boot(config, model, random);
            boot.run();
            return boot.findings;
        }
    }

    private void expect(String what, long wanted, long answer) {
        if (answer != wanted) {
            found(what + " is answered with " + Trial.name(wanted), Trial.name(answer));
        }
    }

    private void found(String said, String seen) {
        findings.add(new Finding(Finding.Kind.BOOT, -1, said, seen, List.of(), CALL));
    }

    private long call(int cpu, Hypercall call, long... arguments) {
        Cpu caller = model.cpu(cpu);
        caller.x(0, call.id());
        for (int i = 0; i < arguments.length; i++) {
            caller.x(i + 1, arguments[i]);
        }
        if (!model.hvc(caller)) {
            return Expectation.PANIC;
        }
        return caller.x(0) == 0 ? caller.x(1) : Oracle.NOT_SUPPORTED;
    }

    /// A machine of nothing is none, and memory is where it can be.
    private void nothing() {
        none("a machine without memory", () -> new PkvmModel(new ModelConfig()).close());
        none(
                "a region of no bytes",
                () -> config.addRegion(config.regions().getLast().end(), 0, 0));
        none("a region below all addresses", () -> config.addRegion(-1, 1, 0));
        none("a region behind all addresses", () -> config.addRegion(1L << 62, Long.MAX_VALUE, 0));
        none("a region of another", () -> config.addRegion(config.carveout(), 1, 0));
    }

    private void none(String what, Runnable made) {
        try {
            made.run();
        } catch (IllegalArgumentException e) {
            return;
        }
        found(what + " is refused", "it is not");
    }

    /// What the model does not describe it says, and does nothing.
    private void refused(String what, Runnable call) {
        try {
            call.run();
        } catch (UnsupportedOperationException e) {
            return;
        }
        found(what + " is refused, because it is not modelled", "there is an answer");
    }

    /// The host has memory at any time.
    private void word(String when) {
        long address = freeFrame() << config.pageShift();
        long value = random.nextLong();
        if (!(model.write(address, value) instanceof Access.Done)
                || !(model.read(address) instanceof Access.Done(long read))
                || read != value) {
            found("the host reads what it wrote, " + when, "something else");
        }
    }

    /// A VM comes and goes.
    private void vm() {
        long pages = model.hostKernel().pagesAvailable();
        HostVm vm = model.hostKernel().createVm(model.cpu(0), 1 + random.nextInt(2));
        long mmu = model.addresses().kern(vm.kvm() + VmStructs.KVM_MMU);
        for (Hypercall flush : FLUSHES) {
            call(0, flush, mmu, random.nextLong(), random.nextLong(8));
        }
        expect("a vCPU that runs till it is interrupted", 0, vm.run(0));
        vm.destroy();
        if (model.hostKernel().pagesAvailable() != pages) {
            found(
                    "a VM leaves all its pages behind",
                    "there were " + pages + " pages, and now "
                            + model.hostKernel().pagesAvailable());
        }
    }

    private long init(long base, long size) {
        return call(0, Hypercall.PKVM_INIT, base, size, config.cpus(), 0, config.hypVaBits());
    }

    private void run() {
        long page = 1L << config.pageShift();
        long base = config.carveout();
        long demand = config.carveoutBytes();
        nothing();
        if (!model.guestRegisters().isEmpty()) {
            found("a machine without a kernel has no guests", "there is one");
        }
        if (model.registers().get("VTTBR_EL2").isPresent()) {
            found("no CPU is under a stage 2", "CPU 0 is");
        }
        expect("a call that belongs to the vectors", Oracle.NOT_SUPPORTED, call(0, Hypercall.KVM_HYP_INIT));
        if (random.nextBoolean()) {
            expect("a private mapping before there is a table", Errno.ERANGE, mapping(base, page, R));
        }
        expect("the end of a VM before there can be one", Errno.ENOENT, call(0, Hypercall.PKVM_TEARDOWN_VM, 0x1000));
        expect("sharing before there is a table", Errno.ERANGE, call(0, Hypercall.PKVM_HOST_SHARE_HYP, freeFrame()));
        word("before there is a hypervisor");
        refused(
                "another number of CPUs than the machine has",
                () -> call(0, Hypercall.PKVM_INIT, base, demand, config.cpus() + 1, 0, config.hypVaBits()));
        refused(
                "another size of addresses than the machine has",
                () -> call(0, Hypercall.PKVM_INIT, base, demand, config.cpus(), 0, config.hypVaBits() - 1));
        refused("a CPU's stage 2 before there is one", () -> call(0, Hypercall.PKVM_PROT_FINALIZE));
        switch (random.nextInt(5)) {
            case 0 -> expect("memory that begins within a page", Errno.EINVAL, init(base + 8, demand));
            case 1 -> expect("memory that ends within a page", Errno.EINVAL, init(base, demand + 8));
            case 2 ->
                expect("too little memory", Errno.ENOMEM, init(base, random.nextLong(config.carveoutDemand()) & -page));
            case 3 -> expect("no memory", Errno.ENOMEM, init(base, 0));
            default -> {}
        }
        expect("initialisation", 0, init(base, demand));
        if (!findings.isEmpty()) {
            return;
        }
        refused("initialisation again", () -> init(base, demand));
        lastEnd = 0;
        for (int i = random.nextInt(8); i > 0; i--) {
            privateMapping();
        }
        expect("MDCR_EL2", 6, call(0, Hypercall.KVM_GET_MDCR_EL2));
        expect("vectors of a CPU", 0, call(0, Hypercall.PKVM_CPU_SET_VECTOR, random.nextInt(4)));
        expect("the interrupt controller's configuration", GIC, call(0, Hypercall.VGIC_V3_GET_GIC_CONFIG));
        Cpu first = model.cpu(0);
        expect("a snapshot before the host is under its stage 2", Oracle.NOT_SUPPORTED, snapshot());
        long frame = freeFrame();
        expect("sharing, which is possible already", 0, call(0, Hypercall.PKVM_HOST_SHARE_HYP, frame));
        expect("the way back", 0, call(0, Hypercall.PKVM_HOST_UNSHARE_HYP, frame));
        for (int cpu = 0; cpu < model.cpus(); cpu++) {
            expect("CPU " + cpu + " under its stage 2", 0, call(cpu, Hypercall.PKVM_PROT_FINALIZE));
            if (random.nextBoolean()) {
                expect("the same CPU again", Errno.EPERM, call(cpu, Hypercall.PKVM_PROT_FINALIZE));
            }
        }
        expect("a private mapping in protected mode", Oracle.NOT_SUPPORTED, mapping(base, page, R));
        if (!first.stage2()) {
            found("CPU 0 is under its stage 2", "it is not");
        }
        word("under its stage 2");
        vm();
        World world = new World(config.regions(), config.pageShift(), model.cpus());
        findings.addAll(new Sight(model, world, new WriteLog()).all(CALL));
        if (!executable) {
            findings.addAll(Judge.judge(model, CALL));
        }
    }

    private long snapshot() {
        // The posted call has no such test; it would find no struct there and say so.
        return config.variant() == Variant.POSTED
                ? Oracle.NOT_SUPPORTED
                : call(0, Hypercall.PKVM_HOST_STAGE2_SNAPSHOT, 0);
    }

    /// A page in the middle of the first region, where the hypervisor has nothing.
    private long freeFrame() {
        MemoryRegion first = config.regions().getFirst();
        return (first.base() + first.size() / 2) >>> config.pageShift();
    }

    private long mapping(long physical, long size, long prot) {
        return call(0, Hypercall.PKVM_CREATE_PRIVATE_MAPPING, physical, size, prot);
    }

    private void privateMapping() {
        long page = 1L << config.pageShift();
        // Of devices below memory. The host could map memory as well, its own or the hypervisor's: who boots is
        // trusted.
        long physical = random.nextLong(config.regions().getFirst().base() - 4 * page);
        long size = switch (random.nextInt(6)) {
            case 0 -> 0;
            case 1 -> 1L << config.hypVaBits();
            case 2 -> random.nextLong() | 1L << 63;
            default -> 1 + random.nextLong(3 * page);
        };
        int prot = random.nextInt(16);
        boolean mappable = (prot & R) != 0 && ((prot & X) == 0 || (prot & (W | DEVICE)) == 0);
        long answer = mapping(physical, size, prot);
        boolean room = size > 0 && size < 1L << 40;
        if (!room) {
            expect("a private mapping for which there are no addresses", Errno.ENOMEM, answer);
        } else if (!mappable) {
            expect("a private mapping with permissions " + prot, Errno.EINVAL, answer);
        } else {
            executable |= (prot & X) != 0;
            mapped(physical, size, answer);
        }
    }

    private void mapped(long physical, long size, long address) {
        long mask = (1L << config.pageShift()) - 1;
        if (address < 0 || (address & mask) != (physical & mask)) {
            found("a private mapping keeps the place in the page", "0x" + Long.toHexString(address));
            return;
        }
        if (address < lastEnd) {
            found("private mappings do not overlap", "0x" + Long.toHexString(address) + " is in use");
        }
        lastEnd = address + size;
        for (long at : new long[] {address, address + size - 1}) {
            boolean right = model.hyp().optional().orElseThrow().translate(at) instanceof Translation.Mapped mapped
                    && mapped.output() == physical + (at - address);
            if (!right) {
                found(
                        "0x" + Long.toHexString(at) + " is mapped to 0x" + Long.toHexString(physical + (at - address)),
                        "it is not");
            }
        }
    }
}
