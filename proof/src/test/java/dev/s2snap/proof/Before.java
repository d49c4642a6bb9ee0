package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.CallAudit;
import java.util.Arrays;
import java.util.List;

/// A machine before a call that is going to fail, to compare with what it leaves.
final class Before {
    private static final int NONE = -1;

    private final Trial trial;
    private final byte[] host;
    private final byte[] hyp;
    private final char[] pins;
    private final long hostPages;
    private final long hypFree;

    Before(Trial trial) {
        this.trial = trial;
        host = trial.world().host.clone();
        hyp = trial.world().hyp.clone();
        pins = trial.world().pins.clone();
        hostPages = hostPages();
        hypFree = trial.model().primitives().hypPoolFree();
    }

    /// Free pages and tables together: a block that was split took a page, and it is in the table now.
    private long hostPages() {
        return trial.model().primitives().hostPoolFree() + trial.scene().tablePages();
    }

    /// Every owner and every pin is as before, and the pools miss nothing but the tables of split blocks.
    void nothingChanged() {
        assertThat(Arrays.mismatch(trial.world().host, host))
                .as("page that the host has otherwise")
                .isEqualTo(NONE);
        assertThat(Arrays.mismatch(trial.world().hyp, hyp))
                .as("page that EL2 has otherwise")
                .isEqualTo(NONE);
        assertThat(Arrays.mismatch(trial.world().pins, pins))
                .as("page that is pinned otherwise")
                .isEqualTo(NONE);
        assertThat(hostPages()).as("pages of the host's pool").isEqualTo(hostPages);
        assertThat(trial.model().primitives().hypPoolFree())
                .as("free pages of EL2's pool")
                .isEqualTo(hypFree);
    }

    /// The world says what it should be; this reads the whole machine for it, and asks the rules.
    void nothingChangedAnywhere() {
        nothingChanged();
        assertThat(trial.all("all")).isEmpty();
    }

    /// Makes a step that nothing unpredicted comes of.
    static long step(Trial trial, Op op) {
        assertThat(trial.possible(op)).as("possible: %s", op).isTrue();
        List<Finding> findings = trial.step(op);
        assertThat(findings).as("%s", op).isEmpty();
        return trial.answer();
    }

    /// Makes a snapshot call that nothing unpredicted comes of, and lets the audit of calls look at it as well.
    static long audited(Trial trial, HonestSnapshot snapshot) {
        CallAudit audit = CallAudit.begin(trial.model(), snapshot.pointer());
        long answer = step(trial, snapshot.call());
        CallAudit.Report report = audit.end((int) answer);
        assertThat(report.broken()).isEmpty();
        assertThat(report.pools().lost()).isZero();
        return answer;
    }
}
