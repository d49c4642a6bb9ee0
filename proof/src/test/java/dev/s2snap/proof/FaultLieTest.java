package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.FailingPages;
import dev.s2snap.model.ModelConfig;
import java.util.List;
import java.util.function.Function;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;

/// Each allocation of a table page in each call made to fail, although the pool has pages: a hypervisor with a bug. No
/// call is safe from that, and none claims to be; what is held here is how it ends.
///
/// Of the host's table the first failure is no failure: the base unmaps all devices and tries again. The second in a
/// row, and each of EL2's own table, is fatal, because half of the transition is done by then.
class FaultLieTest {
    private static final long HVC = 0xC600_0000L;
    private static final long PAGE = 0x4100_0000L;

    /// One call on a new machine.
    ///
    /// @param host table pages that it takes for the host's table
    /// @param hyp those for EL2's table
    /// @param fatal how it ends if there is none
    record Call(
            String name,
            Function<Trial, List<Op>> preparation,
            Function<Trial, Op> op,
            int host,
            int hyp,
            String fatal) {
        @Override
        public String toString() {
            return name;
        }
    }

    private static Call alone(String name, Op op, int host, int hyp, String fatal) {
        return new Call(name, _ -> List.of(), _ -> op, host, hyp, fatal);
    }

    private static Call behind(String name, Op before, Op op) {
        return new Call(name, _ -> List.of(before), _ -> op, 0, 0, "");
    }

    private static Call ofVm(String name, int number, int host, int hyp) {
        return new Call(
                name,
                trial -> {
                    List<Op> life = FaultDonationTest.vmLife(trial);
                    return Stream.concat(
                                    FaultDonationTest.vmPreparation(trial).stream(), life.subList(0, number).stream())
                            .toList();
                },
                trial -> FaultDonationTest.vmLife(trial).get(number),
                host,
                hyp,
                "WARN do_donate");
    }

    private static HonestSnapshot snapshot(Trial trial) {
        return new HonestSnapshot(trial, 0x4004_1000L, 0x4004_8000L, 40);
    }

    private static final Op SHARE = Op.hvc(0, HVC + 9, PAGE >>> 12);
    private static final Op DONATE = new Op(Op.Kind.DONATE, PAGE >>> 12, 3);
    private static final Op SHARE_FFA = new Op(Op.Kind.SHARE_FFA, PAGE >>> 12, 3);

    static final List<Call> CALLS = List.of(
            alone("share_hyp", SHARE, 1, 1, "WARN do_share"),
            behind("unshare_hyp", SHARE, Op.hvc(0, HVC + 10, PAGE >>> 12)),
            alone("donate_hyp", DONATE, 1, 1, "WARN do_donate"),
            behind("hyp_donate_host", DONATE, new Op(Op.Kind.RETURN, PAGE >>> 12, 3)),
            alone("share_ffa", SHARE_FFA, 1, 0, "WARN do_share"),
            behind("unshare_ffa", SHARE_FFA, new Op(Op.Kind.UNSHARE_FFA, PAGE >>> 12, 3)),
            behind("pin", SHARE, new Op(Op.Kind.PIN, PAGE >>> 12, 1)),
            alone("fault in memory", new Op(Op.Kind.FAULT, PAGE), 0, 0, ""),
            ofVm("init_vm", 0, 2, 2),
            ofVm("init_vcpu", 1, 1, 1),
            ofVm("teardown_vm", 2, 0, 0),
            new Call(
                    "snapshot",
                    trial -> snapshot(trial).preparation(),
                    trial -> snapshot(trial).call(),
                    46,
                    46,
                    "WARN do_donate"));

    @ParameterizedTest
    @FieldSource("CALLS")
    void aPageThatIsNotThereForTheHostsTableIsFoundAmongThoseOfDevices(Call call) {
        for (int number = 0; number < call.host; number++) {
            try (Trial trial = prepared(call)) {
                FailingPages.ofHost(trial.model()).fail(number);
                Before before = new Before(trial);
                assertThat(Before.step(trial, call.op.apply(trial))).isNotNegative();
                if (call.name.equals("snapshot")) {
                    before.nothingChangedAnywhere();
                }
                assertThat(trial.all("all")).isEmpty();
            }
        }
    }

    @ParameterizedTest
    @FieldSource("CALLS")
    void thatItIsNotThereTwiceIsFatal(Call call) {
        for (int number = 0; number < call.host; number++) {
            try (Trial trial = prepared(call)) {
                FailingPages.ofHost(trial.model()).fail(number, number + 1);
                dies(trial, call);
            }
        }
    }

    @ParameterizedTest
    @FieldSource("CALLS")
    void aPageThatIsNotThereForTheTableOfEl2IsFatal(Call call) {
        for (int number = 0; number < call.hyp; number++) {
            try (Trial trial = prepared(call)) {
                FailingPages.ofHyp(trial.model()).fail(number);
                dies(trial, call);
            }
        }
    }

    /// The numbers above are all: no allocation is left out.
    @ParameterizedTest
    @FieldSource("CALLS")
    void aCallTakesAsManyTablePages(Call call) {
        try (Trial trial = prepared(call)) {
            FailingPages host = FailingPages.ofHost(trial.model());
            FailingPages hyp = FailingPages.ofHyp(trial.model());
            assertThat(Before.step(trial, call.op.apply(trial))).isNotNegative();
            assertThat(List.of(host.asked(), hyp.asked())).isEqualTo(List.of((long) call.host, (long) call.hyp));
        }
    }

    private static Trial prepared(Call call) {
        Trial trial = new Trial(ModelConfig.small());
        call.preparation
                .apply(trial)
                .forEach(op -> assertThat(Before.step(trial, op)).isNotNegative());
        return trial;
    }

    private static void dies(Trial trial, Call call) {
        List<Finding> findings = trial.step(call.op.apply(trial));
        assertThat(findings).extracting(Finding::kind).contains(Finding.Kind.PANIC);
        assertThat(trial.model().panic()).hasMessage(call.fatal);
    }

    /// A fault that needs a page: memory that ends in the middle of a 2 MiB range cannot be mapped as a block.
    @Test
    void aFaultThatFindsNoTablePageTwiceIsFatal() {
        for (boolean twice : new boolean[] {false, true}) {
            try (Trial trial = new Trial(ModelConfig.machine(129L << 20, 40, 12, 2))) {
                long last = trial.model().config().regions().getFirst().end() - 8;
                FailingPages pages = FailingPages.ofHost(trial.model()).fail(0, twice ? 1 : -1);
                List<Finding> findings = trial.step(new Op(Op.Kind.READ, last));
                assertThat(pages.asked()).isEqualTo(2);
                if (twice) {
                    assertThat(findings).extracting(Finding::kind).contains(Finding.Kind.PANIC);
                    assertThat(trial.model().panic()).hasMessage("BUG handle_host_mem_abort");
                } else {
                    assertThat(findings).isEmpty();
                    assertThat(trial.all("all")).isEmpty();
                }
            }
        }
    }
}
