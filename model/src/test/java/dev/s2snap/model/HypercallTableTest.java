package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.pkvm.Fact;
import java.io.BufferedReader;
import java.io.StringReader;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.EnumSource.Mode;
import org.junit.jupiter.params.provider.ValueSource;

/// The table of hypercalls, who may call what when, and the calls that are not about memory.
class HypercallTableTest {
    private static final long NOT_SUPPORTED = -1;

    /// A page of the small machine that the host owns.
    private static final long PAGE = 0x4200_0000L;

    /// What a register holds when nobody has written to it.
    private static final long UNTOUCHED = 0x5555_0000_1234L;

    private static PkvmModel off() {
        return new PkvmModel(ModelConfig.small());
    }

    /// After `__pkvm_init`, before any CPU has its stage 2.
    private static PkvmModel started() {
        PkvmModel model = off();
        assertThat(initialise(model)).isZero();
        return model;
    }

    private static long initialise(PkvmModel model) {
        ModelConfig config = model.config();
        long size = model.el2().sizes().total() << config.pageShift;
        return call(model, 0, Hypercall.PKVM_INIT.id(), config.carveout, size, config.cpus, 0, config.hypVaBits);
    }

    /// @return x1
    private static long call(PkvmModel model, int cpu, long id, long... arguments) {
        Cpu registers = model.cpu(cpu);
        registers.x(0, id);
        for (int i = 0; i < arguments.length; i++) {
            registers.x(i + 1, arguments[i]);
        }
        assertThat(model.hvc(registers)).as("%s", model.panic()).isTrue();
        return registers.x(1);
    }

    /// Arguments with which the call does not need anything else.
    private static long[] arguments(PkvmModel model, Hypercall call) {
        return switch (call) {
            case PKVM_CREATE_PRIVATE_MAPPING -> new long[] {PAGE, 0x1000, Stage2.RW, UNTOUCHED};
            case PKVM_HOST_SHARE_HYP, PKVM_HOST_UNSHARE_HYP ->
                new long[] {PAGE >>> 12, UNTOUCHED, UNTOUCHED, UNTOUCHED};
            case KVM_VCPU_RUN,
                    KVM_TLB_FLUSH_VMID_IPA,
                    KVM_TLB_FLUSH_VMID_IPA_NSH,
                    KVM_TLB_FLUSH_VMID,
                    KVM_TLB_FLUSH_VMID_RANGE,
                    KVM_FLUSH_CPU_CONTEXT -> {
                // A page that EL2 maps, which points to itself where a pointer is looked for.
                long shared = PAGE + 0x1000;
                assertThat(call(model, 0, Hypercall.PKVM_HOST_SHARE_HYP.id(), shared >>> 12))
                        .isZero();
                model.ram().set(shared, model.addresses().kern(shared));
                yield new long[] {model.addresses().kern(shared), UNTOUCHED, UNTOUCHED, UNTOUCHED};
            }
            default -> new long[] {UNTOUCHED, UNTOUCHED, UNTOUCHED, UNTOUCHED};
        };
    }

    @Test
    void theTableIsThatOf67WithTheSeedsCallBehindIt() {
        assertThat(Hypercall.values()).hasSize(29);
        assertThat(Hypercall.PKVM_PROT_FINALIZE.number()).isEqualTo(8).isEqualTo(Hypercalls.PROT_FINALIZE);
        assertThat(Hypercall.PKVM_HOST_SHARE_HYP.number()).isEqualTo(Hypercalls.HOST_SHARE_HYP);
        assertThat(Hypercall.PKVM_HOST_UNSHARE_HYP.number()).isEqualTo(Hypercalls.HOST_UNSHARE_HYP);
        assertThat(Hypercall.KVM_VCPU_RUN.number()).isEqualTo(12);
        assertThat(Hypercall.PKVM_INIT_VM.number()).isEqualTo(25);
        assertThat(Hypercall.PKVM_HOST_STAGE2_SNAPSHOT.id()).isEqualTo(0xC600_001CL);
        for (Hypercall call : Hypercall.values()) {
            assertThat(call.symbol().substring(2)).isEqualToIgnoringCase(call.name());
        }
        assertThat(Hypercall.of(29)).isNull();
        assertThat(Hypercall.of(-1)).isNull();
    }

    @ParameterizedTest
    @EnumSource(
            mode = Mode.EXCLUDE,
            names = {"KVM_HYP_INIT", "PKVM_INIT"})
    void beforeTheFirstCpuIsFinalisedEveryCallButNumber0IsServed(Hypercall call) {
        try (PkvmModel model = started()) {
            long[] arguments = arguments(model, call);
            call(model, 0, call.id(), arguments);
            boolean corrected = call == Hypercall.PKVM_HOST_STAGE2_SNAPSHOT;
            assertThat(model.cpu(0).x(0)).isEqualTo(corrected ? NOT_SUPPORTED : 0);
            for (int register = 2; register <= arguments.length; register++) {
                assertThat(model.cpu(0).x(register)).isEqualTo(arguments[register - 1]);
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void inProtectedModeTheFirstEightAreGoneAndTheOthersStay(Hypercall call) {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            long[] arguments = arguments(model, call);
            long x1 = call(model, 0, call.id(), arguments);
            if (call.number() < 8) {
                assertThat(model.cpu(0).x(0)).isEqualTo(NOT_SUPPORTED);
                assertThat(x1).isEqualTo(arguments[0]);
            } else {
                assertThat(model.cpu(0).x(0)).isZero();
            }
            for (int register = 2; register <= arguments.length; register++) {
                assertThat(model.cpu(0).x(register)).isEqualTo(arguments[register - 1]);
            }
        }
    }

    @ParameterizedTest
    @ValueSource(
            longs = {
                0,
                0xC600_0000L,
                0xC600_001DL,
                0xC600_FFFFL,
                0xC5FF_FFFFL,
                0x1_C600_0009L,
                0xFFFF_FFFF_C600_0009L,
                0x8600_0009L,
                0x4600_0009L
            })
    void whatIsNotInTheTableChangesNothingButX0(long id) {
        for (PkvmModel each : List.of(off(), started(), PkvmModel.small(SnapshotCall.Variant.CORRECTED))) {
            try (PkvmModel model = each) {
                assertThat(call(model, 1, id, UNTOUCHED, UNTOUCHED)).isEqualTo(UNTOUCHED);
                assertThat(model.cpu(1).x(0)).isEqualTo(NOT_SUPPORTED);
                assertThat(model.cpu(1).x(2)).isEqualTo(UNTOUCHED);
            }
        }
    }

    @Test
    void theSveHintIsNoPartOfTheId() {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            long hinted = Hypercall.PKVM_HOST_SHARE_HYP.id() | Hypercalls.SVE_HINT;
            assertThat(call(model, 0, hinted, PAGE >>> 12)).isZero();
            assertThat(model.cpu(0).x(0)).isZero();
            assertThat(call(model, 0, hinted, PAGE >>> 12)).isEqualTo(Errno.EPERM);
        }
    }

    @ParameterizedTest
    @EnumSource(
            names = {
                "KVM_ENABLE_SSBS",
                "VGIC_V3_INIT_LRS",
                "KVM_ADJUST_PC",
                "KVM_TIMER_SET_CNTVOFF",
                "VGIC_V3_WRITE_VMCR",
                "VGIC_V3_SAVE_APRS",
                "VGIC_V3_RESTORE_APRS",
                "PKVM_VCPU_INIT_TRAPS",
                "KVM_FLUSH_VM_CONTEXT",
                "KVM_TLB_FLUSH_VMID",
                "KVM_FLUSH_CPU_CONTEXT"
            })
    void aCallWithoutResultLeavesX1(Hypercall call) {
        try (PkvmModel model = started()) {
            long[] arguments = arguments(model, call);
            assertThat(call(model, 0, call.id(), arguments)).isEqualTo(arguments[0]);
        }
    }

    @Test
    void theVirtualMachineControlRegisterIsThatOfTheCpu() {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            call(model, 0, Hypercall.VGIC_V3_WRITE_VMCR.id(), 0xFFFF_FFFF_F800_004CL);
            assertThat(call(model, 0, Hypercall.VGIC_V3_READ_VMCR.id(), UNTOUCHED))
                    .isEqualTo(0xF800_004CL);
            assertThat(call(model, 1, Hypercall.VGIC_V3_READ_VMCR.id(), UNTOUCHED))
                    .isZero();
        }
    }

    // Coming up.

    private static List<String> run(String script) throws Exception {
        List<String> out = new ArrayList<>();
        try (ScriptRunner runner = new ScriptRunner(out::add)) {
            runner.run(new BufferedReader(new StringReader(script)));
        }
        return out;
    }

    private static final String SMALL = """
            > cfg page_shift 12
            > cfg region 0x40000000 0x8000000 0
            > cfg carveout 0x46000000 0x600000
            > cfg idmap 0x40010000 0x1000
            > cfg text 0x40010000 0x8000
            > cfg rodata 0x40018000 0x2000
            > cfg bss 0x4001a000 0x3000
            > cfg cpus 2
            > cfg percpu 0x40020000 0x2000
            > cfg stack 0x40028000
            > cfg vgic 0x40030100 0x80
            """;

    @Test
    void stepByStepTheMachineComesToTheSameState() throws Exception {
        List<String> once = run(SMALL + """
                > init
                > dump
                > hvc 1 0xc6000008 7
                """);
        List<String> steps = run(SMALL + """
                > init none
                > hvc 0 0xc6000002 0x46000000 0x600000 2 0 48
                > hvc 0 0xc6000008 7
                > hvc 1 0xc6000008 7
                > dump
                > hvc 1 0xc6000008 7
                """);
        assertThat(steps).contains("< 0x0 0x0 0x600000 0x2");
        assertThat(once.subList(once.indexOf("> dump"), once.size()))
                .hasSizeGreaterThan(10)
                .isEqualTo(steps.subList(steps.indexOf("> dump"), steps.size()))
                .last()
                .asString()
                .startsWith("< 0x0 0xffffffffffffffff ");
    }

    @Test
    void eachCpuIsFinalisedOnceAndThenHasAStage2() {
        try (PkvmModel model = started()) {
            VmidEvents events = new VmidEvents();
            model.recorder(events);
            long finalize = Hypercall.PKVM_PROT_FINALIZE.id();
            assertThat(model.host()).isInstanceOf(Fact.Unknown.class);
            assertThat(model.cpu(1).stage2()).isFalse();
            assertThat(call(model, 1, finalize)).isZero();
            assertThat(model.cpu(1).stage2()).isTrue();
            assertThat(call(model, 1, finalize)).isEqualTo(Errno.EPERM);
            assertThat(model.cpu(0).stage2()).isFalse();
            // The static key is one for all CPUs.
            call(model, 0, Hypercall.KVM_GET_MDCR_EL2.id());
            assertThat(model.cpu(0).x(0)).isEqualTo(NOT_SUPPORTED);
            assertThat(call(model, 0, finalize)).isZero();
            assertThat(call(model, 0, finalize)).isEqualTo(Errno.EPERM);
            assertThat(model.host()).isInstanceOf(Fact.Known.class);
            assertThat(events.flushed).containsExactly(0, 0);
        }
    }

    private static final class VmidEvents implements Recorder {
        final List<Integer> flushed = new ArrayList<>();

        @Override
        public void tlbiVmidNonShareable(int vmid) {
            flushed.add(vmid);
        }
    }

    @Test
    void untilItsStage2IsOnTheHostReachesAllMemory() {
        try (PkvmModel model = started()) {
            long own = model.config().carveout;
            assertThat(model.write(own + 8, 1)).isEqualTo(new PkvmModel.Access.Done(1));
            assertThat(call(model, 0, Hypercall.PKVM_PROT_FINALIZE.id())).isZero();
            assertThat(model.write(own + 8, 2)).isEqualTo(new PkvmModel.Access.Refused(Errno.EPERM));
            assertThat(model.ram().get(own + 8)).isEqualTo(1);
        }
    }

    @Test
    void initRefusesACarveOutThatIsNotWholePagesOrTooSmall() {
        try (PkvmModel model = off()) {
            long id = Hypercall.PKVM_INIT.id();
            assertThat(call(model, 0, id, 0x4600_0800L, 0x60_0000, 2, 0, 48)).isEqualTo(Errno.EINVAL);
            assertThat(call(model, 0, id, 0x4600_0000L, 0x60_0800, 2, 0, 48)).isEqualTo(Errno.EINVAL);
            assertThat(call(model, 0, id, 0x4600_0000L, 0x1000, 2, 0, 48)).isEqualTo(Errno.ENOMEM);
            assertThat(initialise(model)).isZero();
        }
    }

    @Test
    void whatTheHostNeverDoesIsRefusedLoudly() {
        try (PkvmModel model = off()) {
            assertThatThrownBy(() -> call(model, 0, Hypercall.PKVM_PROT_FINALIZE.id()))
                    .isInstanceOf(UnsupportedOperationException.class)
                    .hasMessageContaining("before __pkvm_init");
            assertThatThrownBy(() -> call(model, 0, Hypercall.PKVM_INIT.id(), 0x4600_0000L, 0x60_0000, 3, 0, 48))
                    .isInstanceOf(UnsupportedOperationException.class)
                    .hasMessageContaining("3 CPUs");
            initialise(model);
            assertThatThrownBy(() -> initialise(model)).isInstanceOf(UnsupportedOperationException.class);
        }
    }

    @Test
    void beforeInitialisationNothingCanBeSharedOrDonated() {
        try (PkvmModel model = off()) {
            long pointer = model.addresses().kern(PAGE);
            assertThat(call(model, 0, Hypercall.PKVM_HOST_SHARE_HYP.id(), PAGE >>> 12))
                    .isEqualTo(Errno.ERANGE);
            assertThat(call(model, 0, Hypercall.PKVM_HOST_UNSHARE_HYP.id(), PAGE >>> 12))
                    .isEqualTo(Errno.ERANGE);
            assertThat(call(model, 0, Hypercall.PKVM_INIT_VM.id(), pointer, pointer, pointer))
                    .isEqualTo(Errno.ERANGE);
            assertThat(call(model, 0, Hypercall.PKVM_INIT_VCPU.id(), 0x1000, pointer, pointer))
                    .isEqualTo(Errno.ENOMEM);
            assertThat(call(model, 0, Hypercall.PKVM_TEARDOWN_VM.id(), 0x1000)).isEqualTo(Errno.ENOENT);
            assertThat(call(model, 0, Hypercall.PKVM_CREATE_PRIVATE_MAPPING.id(), PAGE, 0x1000, Stage2.RW))
                    .isEqualTo(Errno.ERANGE);
        }
        try (PkvmModel posted = new PkvmModel(ModelConfig.small().variant(SnapshotCall.Variant.POSTED))) {
            long pointer = posted.addresses().kern(PAGE);
            assertThat(call(posted, 0, Hypercall.PKVM_HOST_STAGE2_SNAPSHOT.id(), pointer))
                    .isEqualTo(Errno.EPERM);
        }
    }

    // Private mappings.

    @Test
    void aPrivateMappingGetsTheNextAddressesAndKeepsTheOffset() {
        try (PkvmModel model = started()) {
            long id = Hypercall.PKVM_CREATE_PRIVATE_MAPPING.id();
            long device = 0x0900_0040L;
            long first = call(model, 0, id, device, 0x1000, Stage2.RW | Stage2.DEVICE);
            long second = call(model, 0, id, PAGE, 0x3000, HypStage1.RX);
            // 0x40 bytes into a page, one page long: two pages.
            assertThat(second).isEqualTo(first - 0x40 + 0x2000);
            assertThat(first)
                    .isBetween(model.addresses().ioBase(), model.addresses().vmemmapBase());
            PageTable table = model.el2().hyp.table();
            assertThat(table.leaf(first).error).isZero();
            // Device-nGnRE is attribute 4; RW at EL2 is AP 1; execute-never.
            assertThat(table.leaf(first).descriptor)
                    .isEqualTo(0x0900_0000L | 1L << 54 | 1 << 10 | 3 << 8 | 1 << 6 | 4 << 2 | 3);
            assertThat(table.leaf(second + 0x2000).error).isZero();
            assertThat(table.leaf(second + 0x2000).descriptor).isEqualTo(PAGE + 0x2000 | 1 << 10 | 3 << 8 | 3 << 6 | 3);
            assertThat(table.leaf(second + 0x3000).error).isZero();
            assertThat(table.leaf(second + 0x3000).descriptor & 1).isZero();
        }
    }

    @Test
    void aPrivateMappingIsRefusedWithoutReadWritableExecutableOrTooLarge() {
        try (PkvmModel model = started()) {
            long id = Hypercall.PKVM_CREATE_PRIVATE_MAPPING.id();
            for (long prot : new long[] {0, Stage2.W, Stage2.X, Stage2.RWX, Stage2.R | Stage2.X | Stage2.DEVICE}) {
                assertThat(call(model, 0, id, PAGE, 0x1000, prot)).isEqualTo(Errno.EINVAL);
            }
            long all = model.addresses().vmemmapBase() - model.addresses().ioBase();
            assertThat(call(model, 0, id, PAGE, all, Stage2.RW)).isEqualTo(Errno.ENOMEM);
            assertThat(call(model, 0, id, PAGE, -1, Stage2.RW)).isEqualTo(Errno.ENOMEM);
            assertThat(call(model, 0, id, PAGE, 0, Stage2.RW)).isEqualTo(Errno.ENOMEM);
        }
    }

    // TLB.

    @Test
    void tlbFlushesAreForTheVmidOfTheMmuTheyAreGiven() {
        try (VmRig rig = new VmRig()) {
            long kvm = rig.kvm(1);
            rig.model.ram().set(kvm + VmStructs.KVM_MMU + VmStructs.MMU_VMID, 0xABCD_0042);
            long mmu = rig.kern(kvm) + VmStructs.KVM_MMU;
            rig.record();
            rig.call(Hypercall.KVM_TLB_FLUSH_VMID_IPA, mmu, 0x8000_1234L, 3);
            rig.call(Hypercall.KVM_TLB_FLUSH_VMID_IPA_NSH, mmu, 0x8000_1234L, 0x7FFF_FFFF);
            rig.call(Hypercall.KVM_TLB_FLUSH_VMID, mmu);
            rig.call(Hypercall.KVM_TLB_FLUSH_VMID_RANGE, mmu, 0x8000_0000L, 512);
            rig.call(Hypercall.KVM_FLUSH_CPU_CONTEXT, mmu);
            rig.call(Hypercall.KVM_FLUSH_VM_CONTEXT);
            assertThat(rig.events)
                    .containsExactly(
                            "ipa 66 80001000 3",
                            "ipa_nsh 66 80001000 " + Recorder.LEVEL_UNKNOWN,
                            "vmid 66",
                            "range 66 80000000 512",
                            "vmid_nsh 66",
                            "all");
        }
    }

    @Test
    void aTlbFlushThroughAPointerThatEl2DoesNotMapAborts() {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            model.cpu(0).x(0, Hypercall.KVM_TLB_FLUSH_VMID.id());
            model.cpu(0).x(1, model.addresses().kern(PAGE));
            assertThat(model.hvc(model.cpu(0))).isFalse();
            assertThat(model.panic().reason()).isEqualTo(HypPanic.Reason.ABORT);
        }
    }

    @Test
    void aTraceShowsTheNewEventsToo() throws Exception {
        List<String> out = run(SMALL + """
                > init
                > hvc 0 0xc6000009 0x42000
                > events
                > trace on
                > hvc 0 0xc600000d
                > hvc 0 0xc6000012 0xffffff8002000000
                > hvc 0 0xc600000f 0xffffff8002000000 0x1000 3
                > trace off
                > events
                """);
        assertThat(out.stream().filter(line -> line.startsWith("< ev ")).collect(Collectors.joining("\n")))
                .isEqualTo("""
                        < ev TLBI_ALL
                        < ev TLBI_VMID_NSH host
                        < ev TLBI_IPA_NSH host ipa=0x1000 level=3""");
        assertThat(out).last().isEqualTo("< events TLBI_IPA_NSH=1 TLBI_VMID_NSH=1 TLBI_ALL=1");
    }
}
