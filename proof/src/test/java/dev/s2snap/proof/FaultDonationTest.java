package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.AddressMap;
import dev.s2snap.model.Errno;
import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.Ram;
import dev.s2snap.model.SnapshotCall;
import dev.s2snap.model.VmStructs;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Each donation of each call refused: the host has given one of the pages away already, by each of the ways there are.
/// The steps are predicted and compared as in a campaign.
class FaultDonationTest {
    private static final long AT = 0x4004_1000L;
    private static final long LIST = 0x4004_8000L;

    /// Spreads the list of the small machine over nearly all of its memory.
    private static final int STRIDE = 40;

    private static final long HVC = 0xC600_0000L;

    /// Whether all is run that takes minutes: `-Ds2snap.faults=all`.
    static final boolean ALL = "all".equals(System.getProperty("s2snap.faults"));

    /// How often calls that must not differ are audited as well, and the whole machine is read.
    private static final int AUDITED_IN = ALL ? 1 : 32;

    private static Op giveAway(int way, long frame) {
        return switch (way % 3) {
            case 0 -> new Op(Op.Kind.SHARE_FFA, frame, 1);
            case 1 -> Op.hvc(0, HVC + 9, frame);
            default -> new Op(Op.Kind.DONATE, frame, 1);
        };
    }

    private static Op takeBack(int way, long frame) {
        return switch (way % 3) {
            case 0 -> new Op(Op.Kind.UNSHARE_FFA, frame, 1);
            case 1 -> Op.hvc(0, HVC + 10, frame);
            default -> new Op(Op.Kind.RETURN, frame, 1);
        };
    }

    @Test
    void everyRefusedDonationOfASnapshotIsAnErrnoAndLeavesNothing() {
        try (Trial trial = new Trial(ModelConfig.small())) {
            HonestSnapshot snapshot = new HonestSnapshot(trial, AT, LIST, STRIDE);
            assertThat(snapshot.donations()).isEqualTo(603);
            for (int number = 0; number < snapshot.donations(); number++) {
                refuse(trial, snapshot, number, number);
                if (ALL) {
                    refuse(trial, snapshot, number, number + 1);
                    refuse(trial, snapshot, number, number + 2);
                }
            }
            snapshot.steps().forEach(op -> assertThat(Before.step(trial, op)).isZero());
        }
    }

    private static void refuse(Trial trial, HonestSnapshot snapshot, int number, int way) {
        long frame = snapshot.donated(number) >>> trial.world().shift;
        snapshot.preparation().forEach(op -> Before.step(trial, op));
        assertThat(Before.step(trial, giveAway(way, frame))).isZero();
        Before before = new Before(trial);
        long answer = number % AUDITED_IN == 0 ? Before.audited(trial, snapshot) : Before.step(trial, snapshot.call());
        assertThat(Errno.name(answer)).as("donation %d", number).isEqualTo("-EPERM");
        if (number % AUDITED_IN == 0) {
            before.nothingChangedAnywhere();
        }
        before.nothingChanged();
        assertThat(Before.step(trial, takeBack(way, frame))).isZero();
    }

    // Give-backs.

    static IntStream donations() {
        return ALL ? IntStream.range(0, 603) : IntStream.of(0, 1, 2, 3, 47, 48, 601, 602);
    }

    /// EL2 keeps what it took until it gives it back, so no host can have one refused: the test spoils EL2's own table
    /// while the call runs. It is fatal by design, and the host has no page that it should not have.
    @ParameterizedTest
    @MethodSource("donations")
    void aRefusedGiveBackIsABugOfTheHypervisorAndFatal(int number) {
        try (Trial trial = new Trial(ModelConfig.small())) {
            HonestSnapshot snapshot = new HonestSnapshot(trial, AT, LIST, STRIDE);
            snapshot.preparation().forEach(op -> Before.step(trial, op));
            assertThat(trial.possible(snapshot.call())).isTrue();
            long page = snapshot.donated(number);
            trial.model().observer(phase -> {
                if (phase == SnapshotCall.Phase.DONATED) {
                    markShared(trial, page);
                }
            });
            trial.model().cpu(0).x(0, HVC + 28);
            trial.model().cpu(0).x(1, snapshot.pointer());
            assertThat(trial.model().hvc(trial.model().cpu(0))).isFalse();
            assertThat(trial.model().panic()).hasMessage("WARN __pkvm_host_stage2_snapshot");
            Ram ram = (Ram) trial.model().memory();
            assertThat(ram.get(entry(trial.model().host().optional().orElseThrow(), ram, page)))
                    .as("the host's entry is EL2's annotation")
                    .isEqualTo(4);
        }
    }

    /// Sets bit 55, "shared by its owner", in EL2's entry of a page.
    private static void markShared(Trial trial, long page) {
        AddressMap map = trial.model().addresses();
        Ram ram = (Ram) trial.model().memory();
        long entry = entry(trial.model().hyp().optional().orElseThrow(), ram, map.hypVa(page));
        ram.set(entry, ram.get(entry) | 1L << 55);
    }

    /// Physical address of the last entry on the way to an address.
    private static long entry(TranslationTable table, Ram ram, long address) {
        TableGeometry shape = table.geometry();
        int level = shape.startLevel();
        long at = table.root() + (address >>> shape.shift(level)) * Long.BYTES;
        while (Descriptor.table(ram.get(at), level)) {
            level++;
            at = shape.tableAddress(ram.get(at)) + (long) shape.index(address, level) * Long.BYTES;
        }
        return at;
    }

    // VMs.

    private static final long KVM = 0x4100_0000L;
    private static final long VM_AREA = 0x4140_0000L;
    private static final long ROOT = 0x4180_0000L;
    private static final long VCPU = 0x41c0_0000L;
    private static final long VCPU_AREA = 0x4200_0000L;
    private static final int HANDLE = 0x1000;

    private static Op createVm(Trial trial) {
        AddressMap map = trial.model().addresses();
        return Op.hvc(0, HVC + 25, map.kern(KVM), map.kern(VM_AREA), map.kern(ROOT));
    }

    private static Op addVcpu(Trial trial) {
        AddressMap map = trial.model().addresses();
        return Op.hvc(0, HVC + 26, HANDLE, map.kern(VCPU), map.kern(VCPU_AREA));
    }

    /// What the host stores and shares before it makes a VM with a vCPU.
    static List<Op> vmPreparation(Trial trial) {
        return List.of(
                new Op(Op.Kind.WRITE, KVM + VmStructs.KVM_CREATED_VCPUS, 1),
                Op.hvc(0, HVC + 9, KVM >>> 12),
                new Op(
                        Op.Kind.WRITE,
                        VCPU + VmStructs.VCPU_KVM,
                        trial.model().addresses().kern(KVM)),
                new Op(Op.Kind.WRITE, VCPU + VmStructs.VCPU_INDEX, 0),
                Op.hvc(0, HVC + 9, VCPU >>> 12),
                Op.hvc(0, HVC + 9, (VCPU >>> 12) + 1));
    }

    /// The calls of a VM's life, in order.
    static List<Op> vmLife(Trial trial) {
        return List.of(createVm(trial), addVcpu(trial), Op.hvc(0, HVC + 27, HANDLE));
    }

    @Test
    void everyRefusedDonationOfAVmIsAnErrnoAndLeavesNothing() {
        try (Trial trial = new Trial(ModelConfig.small())) {
            vmPreparation(trial)
                    .forEach(op -> assertThat(Before.step(trial, op)).isZero());
            for (long page : new long[] {VM_AREA, VM_AREA + 0x1000, ROOT, ROOT + 0x1000}) {
                refuse(trial, createVm(trial), page);
            }
            assertThat(Before.step(trial, createVm(trial))).isEqualTo(HANDLE);
            for (long page : new long[] {VCPU_AREA, VCPU_AREA + 0x1000}) {
                refuse(trial, addVcpu(trial), page);
            }
            assertThat(Before.step(trial, addVcpu(trial))).isZero();
            assertThat(Before.step(trial, vmLife(trial).getLast())).isZero();
        }
    }

    private static void refuse(Trial trial, Op call, long page) {
        for (int way = 0; way < 3; way++) {
            assertThat(Before.step(trial, giveAway(way, page >>> 12))).isZero();
            Before before = new Before(trial);
            assertThat(Errno.name(Before.step(trial, call))).isEqualTo("-ENOMEM");
            before.nothingChangedAnywhere();
            assertThat(Before.step(trial, takeBack(way, page >>> 12))).isZero();
        }
    }

    /// Sharing and the primitives make one transition each: refused, they are errnos and change nothing.
    @Test
    void aRefusedTransitionIsAnErrnoAndLeavesNothing() {
        try (Trial trial = new Trial(ModelConfig.small())) {
            long frame = KVM >>> 12;
            for (int way = 0; way < 3; way++) {
                assertThat(Before.step(trial, giveAway(way, frame + 1))).isZero();
                for (int other = 0; other < 3; other++) {
                    Op call = other == 1 ? giveAway(other, frame + 1) : twoPages(other, frame);
                    Before before = new Before(trial);
                    assertThat(Errno.name(Before.step(trial, call))).isEqualTo("-EPERM");
                    before.nothingChangedAnywhere();
                }
                assertThat(Before.step(trial, takeBack(way, frame + 1))).isZero();
            }
        }
    }

    private static Op twoPages(int way, long frame) {
        return new Op(giveAway(way, frame).kind(), frame, 2);
    }
}
