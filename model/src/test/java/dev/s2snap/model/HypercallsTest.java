package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class HypercallsTest {
    private static final long NOT_SUPPORTED = -1;
    private static final long FRAME = 0x4_1234L;

    /// Calls with marks in all other registers, which must stay as they are.
    private static void call(PkvmModel model, long x0, long x1, long expected0, long expected1) {
        Cpu cpu = model.cpu(1);
        for (int i = 0; i < Cpu.REGISTERS; i++) {
            cpu.x(i, 0x1111_0000L + i);
        }
        cpu.x(0, x0);
        cpu.x(1, x1);
        assertThat(model.hvc(cpu)).isTrue();
        assertThat(cpu.x(0)).as("x0").isEqualTo(expected0);
        assertThat(cpu.x(1)).as("x1").isEqualTo(expected1);
        for (int i = 2; i < Cpu.REGISTERS; i++) {
            assertThat(cpu.x(i)).as("x%d", i).isEqualTo(0x1111_0000L + i);
        }
        // The other CPU's registers are its own.
        assertThat(model.cpu(0).x(1)).isZero();
    }

    @Test
    void idsAreThoseOfTheVendorHypervisor() {
        assertThat(Hypercalls.id(28)).isEqualTo(0xC600_001CL);
        assertThat(Hypercalls.id(Hypercalls.HOST_SHARE_HYP)).isEqualTo(0xC600_0009L);
    }

    @Test
    void resultsGoToX1AndSuccessToX0() {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            call(model, Hypercalls.id(9), FRAME, 0, 0);
            call(model, Hypercalls.id(9), FRAME, 0, -1);
            call(model, Hypercalls.id(10), FRAME, 0, 0);
            call(model, Hypercalls.id(10), FRAME, 0, -1);
        }
    }

    @Test
    void theSveHintIsNoPartOfTheId() {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            call(model, Hypercalls.id(9) | Hypercalls.SVE_HINT, FRAME, 0, 0);
            assertThat(Audit.of(model).host(FRAME << 12)).isEqualTo(Audit.SHARED);
        }
    }

    @ParameterizedTest
    @ValueSource(
            longs = {
                0,
                1,
                0xC600_001DL,
                0xC600_FFFFL,
                0xC5FF_FFFFL,
                0x8600_001CL,
                0xC400_001CL,
                0xC602_001CL,
                0x1_C600_001CL,
                0xFFFF_FFFF_C600_001CL,
                -1
            })
    void anIdOutsideOfTheTableIsNotSupportedAndChangesNothingElse(long id) {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            call(model, id, 0xabcd, NOT_SUPPORTED, 0xabcd);
        }
    }

    @Test
    void theCallsOfInitialisationAreGoneAfterwards() {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            for (int number = 0; number < 8; number++) {
                call(model, Hypercalls.id(number), 5, NOT_SUPPORTED, 5);
            }
            // prot_finalize itself stays, and refuses a CPU that has done it.
            call(model, Hypercalls.id(8), 5, 0, -1);
        }
    }

    @Test
    void function0HasNoEntryAtAnyTime() {
        try (PkvmModel model = new PkvmModel(ModelConfig.small())) {
            call(model, Hypercalls.id(0), 5, NOT_SUPPORTED, 5);
        }
    }

    @ParameterizedTest
    @EnumSource(SnapshotCall.Variant.class)
    void theSnapshotCallAnswersInX1(SnapshotCall.Variant variant) {
        try (PkvmModel model = PkvmModel.small(variant)) {
            Loan loan = Loan.honest(model, 0x4100_0000L).write();
            call(model, Hypercalls.id(28), model.addresses().kern(loan.struct), 0, 0);
            assertThat(loan.field(SnapshotStruct.PGD)).isEqualTo(loan.pgd);
            call(model, Hypercalls.id(28), model.addresses().kern(0x4600_0000L), 0, -1);
        }
    }

    static Stream<SnapshotCall.Variant> variants() {
        return Stream.of(SnapshotCall.Variant.values());
    }

    /// D-26: the posted call leaves the pointer in x1, where a caller looks for a result.
    @ParameterizedTest
    @MethodSource("variants")
    void withoutTheDebugOptionTheSnapshotIsNotSupported(SnapshotCall.Variant variant) {
        ModelConfig config = ModelConfig.small().variant(variant);
        config.debug = false;
        try (PkvmModel model = new PkvmModel(config)) {
            assertThat(model.init()).isZero();
            Loan loan = Loan.honest(model, 0x4100_0000L).write();
            long pointer = model.addresses().kern(loan.struct);
            Audit before = Audit.of(model);
            call(
                    model,
                    Hypercalls.id(28),
                    pointer,
                    NOT_SUPPORTED,
                    variant == SnapshotCall.Variant.POSTED ? pointer : Errno.EOPNOTSUPP);
            assertThat(Audit.of(model).since(before)).isEmpty();
        }
    }

    @ParameterizedTest
    @MethodSource("variants")
    void beforeInitialisationTheSnapshotIsRefused(SnapshotCall.Variant variant) {
        try (PkvmModel model = new PkvmModel(ModelConfig.small().variant(variant))) {
            boolean posted = variant == SnapshotCall.Variant.POSTED;
            call(
                    model,
                    Hypercalls.id(28),
                    model.addresses().kern(0x4100_0000L),
                    posted ? 0 : NOT_SUPPORTED,
                    posted ? Errno.EPERM : Errno.EOPNOTSUPP);
        }
    }

    @Test
    void aPanicIsAFinalStateAndNoException() {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.POSTED)) {
            Loan loan = Loan.honest(model, 0x4100_0000L);
            loan.head += 1;
            loan.write();
            Cpu cpu = model.cpu(0);
            cpu.x(0, Hypercalls.id(28));
            cpu.x(1, model.addresses().kern(loan.struct));
            assertThat(model.hvc(cpu)).isFalse();
            assertThat(model.panic()).isNotNull();
            assertThat(model.panic().reason()).isEqualTo(HypPanic.Reason.ABORT);
            assertThatThrownBy(() -> model.hvc(cpu))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageStartingWith("the hypervisor has panicked: ABORT");
        }
    }
}
