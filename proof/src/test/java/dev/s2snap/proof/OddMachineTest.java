package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.AddressMap;
import dev.s2snap.model.Errno;
import dev.s2snap.model.Hypercall;
import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.ModelConfig.Feature;
import dev.s2snap.model.VmStructs;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// What the oracle says of machines that are not as usual, and that they do it.
class OddMachineTest {
    private static final long FRAME = 0x41000;

    private static Op call(Hypercall call, long... arguments) {
        return Op.hvc(0, call.id(), arguments);
    }

    private static ModelConfig twoRegions() {
        return ModelConfig.machine(128L << 20, 40, 12, 2);
    }

    private static void done(Trial trial, Op op, long answer) {
        assertThat(trial.step(op)).as(op.toString()).isEmpty();
        assertThat(trial.answer()).as(op.toString()).isEqualTo(answer);
    }

    @Test
    void withoutTheDebugOptionThereIsNoSnapshotCall() {
        try (Trial trial = new Trial(ModelConfig.small().with(Feature.DEBUG, false))) {
            done(trial, call(Hypercall.PKVM_HOST_STAGE2_SNAPSHOT, 0), Oracle.NOT_SUPPORTED);
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void withoutTheDebugOptionItIsFatalToTakeBackAsSharedWithEl2WhatTheSecureWorldHas(boolean debug) {
        try (Trial trial = new Trial(ModelConfig.small().with(Feature.DEBUG, debug))) {
            done(trial, new Op(Op.Kind.SHARE_FFA, FRAME, 1), 0);
            done(trial, call(Hypercall.PKVM_HOST_UNSHARE_HYP, FRAME), debug ? Errno.EPERM : Expectation.PANIC);
            assertThat(trial.bugs().contains("B-17")).isEqualTo(!debug);
        }
    }

    @Test
    void memoryThatIsNomapIsTouchedAndNotShared() {
        ModelConfig config = twoRegions();
        long gap = config.regions().getFirst().end();
        try (Trial trial = new Trial(config.nomap(gap, 0x4000))) {
            done(trial, new Op(Op.Kind.WRITE, gap, 1), 0);
            done(trial, call(Hypercall.PKVM_HOST_SHARE_HYP, gap >>> 12), Errno.EPERM);
            done(trial, new Op(Op.Kind.DONATE, gap >>> 12, 4), Errno.EPERM);
        }
    }

    @Test
    void aPageThatIsMemoryOnlyInPartIsGivenAwayInTheBaseAndThatIsTheEndOfWhatIsKnown() {
        ModelConfig config = twoRegions().shorten(0, 0x800);
        long edge = config.regions().getFirst().end() >>> 12;
        try (Trial trial = new Trial(config)) {
            done(trial, new Op(Op.Kind.READ, (edge << 12) + 0x900), 0);
            done(trial, call(Hypercall.PKVM_HOST_SHARE_HYP, edge), 0);
            assertThat(trial.over()).isTrue();
        }
    }

    @Test
    void theSnapshotDoesNotTakeAPageThatIsMemoryOnlyInPart() {
        ModelConfig config = twoRegions().shorten(0, 0x800);
        long edge = config.regions().getFirst().end() & -0x1000L;
        try (Trial trial = new Trial(config)) {
            done(
                    trial,
                    call(
                            Hypercall.PKVM_HOST_STAGE2_SNAPSHOT,
                            trial.model().addresses().kern(edge)),
                    Errno.EPERM);
            assertThat(trial.over()).isFalse();
        }
    }

    @Test
    void whatACpuWritesToItsControlRegisterOfTheVgicItReads() {
        try (Trial trial = new Trial(ModelConfig.small())) {
            assertThat(trial.step(Op.hvc(1, Hypercall.VGIC_V3_WRITE_VMCR.id(), 0xffff_fff7L)))
                    .isEmpty();
            done(trial, Op.hvc(1, Hypercall.VGIC_V3_READ_VMCR.id()), 0xffff_fff7L);
            done(trial, Op.hvc(0, Hypercall.VGIC_V3_READ_VMCR.id()), 0);
        }
    }

    @Test
    void whatWasTakenOutOfThePoolsAndPutBackIsThereAgain() {
        try (Trial trial = new Trial(ModelConfig.small())) {
            assertThat(trial.step(new Op(Op.Kind.TAKE_HYP_POOL, 100_000))).isEmpty();
            assertThat(trial.world().poolsHeld()).isTrue();
            assertThat(trial.step(new Op(Op.Kind.GIVE_HYP_POOL))).isEmpty();
            assertThat(trial.world().poolsHeld()).isFalse();
            assertThat(trial.all(Shrinker.ALL)).isEmpty();
        }
    }

    @Test
    void memoryForAVmThatGoesOnBehindTheEndOfMemoryIsTakenInTheBase() {
        // The first region ends in the middle of a 2 MiB range, of which nothing was touched.
        ModelConfig config = ModelConfig.machine(129L << 20, 40, 12, 2);
        long end = config.regions().getFirst().end();
        try (Trial trial = new Trial(config)) {
            long kvm = 0x4100_0000L;
            done(trial, new Op(Op.Kind.WRITE, kvm + VmStructs.KVM_CREATED_VCPUS, 1), 0);
            done(trial, call(Hypercall.PKVM_HOST_SHARE_HYP, kvm >>> 12), 0);
            AddressMap map = trial.model().addresses();
            assertThat(trial.step(call(
                            Hypercall.PKVM_INIT_VM, map.kern(kvm), map.kern(end - 0x1000), map.kern(0x4200_0000L))))
                    .isEmpty();
            assertThat(trial.bugs()).containsExactly("B-03");
            assertThat(trial.over()).isTrue();
        }
    }
}
