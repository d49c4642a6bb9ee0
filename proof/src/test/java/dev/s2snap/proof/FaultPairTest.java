package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.AddressMap;
import dev.s2snap.model.FailingPages;
import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.VmStructs;
import dev.s2snap.proof.FaultLieTest.Call;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;

/// Two allocations of table pages in one call made to fail, on a machine with 64K pages, where a table page is for
/// 512 MiB. As in [FaultLieTest], of the host's table the first failure is none, but each transition has two attempts
/// only, with all its pages; of EL2's own table the first failure is the end, so that there is no second.
class FaultPairTest {
    private static final long HVC = 0xC600_0000L;
    private static final long START = 0x4000_0000L;
    private static final long TABLE = 512L << 20;
    private static final int SHIFT = 16;

    /// Of the pairs of a call with many, how many are tried: one of so many.
    private static final int TRIED = FaultDonationTest.ALL ? 1 : 23;

    private static ModelConfig machine() {
        return ModelConfig.machine(16L << 30, 40, SHIFT, 1);
    }

    private static long part(int number) {
        return START + number * TABLE;
    }

    // Each in a part of memory where there is no table yet.
    private static final long KVM = part(2);
    private static final long VCPU = part(3);
    private static final long VM_AREA = part(4);
    private static final long ROOT = part(5);
    private static final long VCPU_AREA = part(6);
    private static final int HANDLE = 0x1000;

    private static List<Op> vmPreparation(Trial trial) {
        AddressMap map = trial.model().addresses();
        return List.of(
                new Op(Op.Kind.WRITE, KVM + VmStructs.KVM_CREATED_VCPUS, 1),
                Op.hvc(0, HVC + 9, KVM >>> SHIFT),
                new Op(Op.Kind.WRITE, VCPU + VmStructs.VCPU_KVM, map.kern(KVM)),
                new Op(Op.Kind.WRITE, VCPU + VmStructs.VCPU_INDEX, 0),
                Op.hvc(0, HVC + 9, VCPU >>> SHIFT));
    }

    private static List<Op> vmLife(Trial trial) {
        AddressMap map = trial.model().addresses();
        return List.of(
                Op.hvc(0, HVC + 25, map.kern(KVM), map.kern(VM_AREA), map.kern(ROOT)),
                Op.hvc(0, HVC + 26, HANDLE, map.kern(VCPU), map.kern(VCPU_AREA)));
    }

    private static Call ofVm(String name, int number, int tables) {
        return new Call(
                name,
                trial -> Stream.concat(vmPreparation(trial).stream(), vmLife(trial).subList(0, number).stream())
                        .toList(),
                trial -> vmLife(trial).get(number),
                tables,
                tables,
                "WARN do_donate");
    }

    /// Its list has two pages in each part of memory.
    private static HonestSnapshot snapshot(Trial trial) {
        return new HonestSnapshot(trial, part(1), part(1) + (8L << SHIFT), (TABLE / 2) >>> SHIFT);
    }

    /// The page before the end of a part, and the first one of the next.
    private static final long BORDER = (part(3) >>> SHIFT) - 1;

    static final List<Call> CALLS = List.of(
            new Call("share_hyp", _ -> List.of(), _ -> Op.hvc(0, HVC + 9, BORDER), 1, 1, "WARN do_share"),
            new Call("donate_hyp", _ -> List.of(), _ -> new Op(Op.Kind.DONATE, BORDER, 2), 2, 2, "WARN do_donate"),
            new Call("share_ffa", _ -> List.of(), _ -> new Op(Op.Kind.SHARE_FFA, BORDER, 2), 2, 0, "WARN do_share"),
            ofVm("init_vm", 0, 2),
            ofVm("init_vcpu", 1, 1),
            new Call(
                    "snapshot",
                    trial -> snapshot(trial).preparation(),
                    trial -> snapshot(trial).call(),
                    29,
                    29,
                    "WARN do_donate"));

    /// Calls that are one transition of all their pages; the others make one for each page that they need.
    private static final Set<String> ONE_TRANSITION = Set.of("donate_hyp", "share_ffa");

    private static Trial prepared(Call call) {
        Trial trial = new Trial(machine());
        call.preparation()
                .apply(trial)
                .forEach(op -> assertThat(Before.step(trial, op)).isNotNegative());
        return trial;
    }

    @ParameterizedTest
    @FieldSource("CALLS")
    void aCallTakesAsManyTablePages(Call call) {
        try (Trial trial = prepared(call)) {
            FailingPages host = FailingPages.ofHost(trial.model());
            FailingPages hyp = FailingPages.ofHyp(trial.model());
            assertThat(Before.step(trial, call.op().apply(trial))).isNotNegative();
            assertThat(List.of(host.asked(), hyp.asked())).isEqualTo(List.of((long) call.host(), (long) call.hyp()));
        }
    }

    /// The pools of this machine are small, so that the oracle allows a panic; the reason is compared here.
    private static void dies(Trial trial, Call call) {
        trial.step(call.op().apply(trial));
        assertThat(trial.model().panic()).hasMessage(call.fatal());
    }

    /// Whether a pair is tried. Of calls with few all are; of others the first ones always are.
    private static boolean tried(int one, int other, int last) {
        boolean end = one == 0 && (other <= 2 || other == last);
        return end || (one * 31 + other) % TRIED == 0 || last <= 2;
    }

    @ParameterizedTest
    @FieldSource("CALLS")
    void twoPagesThatAreNotThereForTheHostsTableAreFatalIfTheyAreForOneTransition(Call call) {
        // The attempt behind the first failure is one more.
        for (int one = 0; one < call.host(); one++) {
            for (int other = one + 1; other <= call.host(); other++) {
                if (!tried(one, other, call.host())) {
                    continue;
                }
                try (Trial trial = prepared(call)) {
                    FailingPages pages = FailingPages.ofHost(trial.model()).fail(one, other);
                    Before before = new Before(trial);
                    if (other == one + 1 || ONE_TRANSITION.contains(call.name())) {
                        dies(trial, call);
                    } else {
                        assertThat(Before.step(trial, call.op().apply(trial))).isNotNegative();
                        if (call.name().equals("snapshot")) {
                            before.nothingChangedAnywhere();
                        }
                        assertThat(trial.all("all")).isEmpty();
                        assertThat(pages.asked()).isEqualTo(call.host() + 2);
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @FieldSource("CALLS")
    void aPageThatIsNotThereForEitherTableIsFatal(Call call) {
        for (int ofHost = 0; ofHost < call.host(); ofHost++) {
            for (int ofHyp = 0; ofHyp < call.hyp(); ofHyp++) {
                if (tried(ofHost, ofHyp, call.hyp() - 1)) {
                    try (Trial trial = prepared(call)) {
                        FailingPages.ofHost(trial.model()).fail(ofHost);
                        FailingPages hyp = FailingPages.ofHyp(trial.model()).fail(ofHyp);
                        dies(trial, call);
                        assertThat(hyp.asked()).isEqualTo(ofHyp + 1);
                    }
                }
            }
        }
    }
}
