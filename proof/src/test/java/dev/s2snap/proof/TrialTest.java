package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.Errno;
import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.Ram;
import dev.s2snap.vmsa.Translation;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/// The oracle and its eyes see what is wrong: each test damages the machine behind their back.
class TrialTest {
    private static final long PAGE = 0x4100_0000L;
    private static final long FRAME = PAGE >>> 12;

    private final Trial trial = new Trial(ModelConfig.small());
    private final Ram ram = (Ram) trial.model().memory();

    @AfterEach
    void close() {
        trial.close();
    }

    private List<Finding> step(Op.Kind kind, long... arguments) {
        return trial.step(new Op(kind, arguments));
    }

    /// Where the host's entry for an address is.
    private long hostEntry(long address) {
        return switch (trial.model().host().optional().orElseThrow().translate(address)) {
            case Translation.Mapped mapped -> mapped.path().getLast().address();
            case Translation.Fault fault -> fault.path().getLast().address();
            case Translation other -> throw new IllegalStateException(other.toString());
        };
    }

    private long hypEntry(long address) {
        long virtual = trial.model().addresses().hypVa(address);
        return switch (trial.model().hyp().optional().orElseThrow().translate(virtual)) {
            case Translation.Mapped mapped -> mapped.path().getLast().address();
            case Translation.Fault fault -> fault.path().getLast().address();
            case Translation other -> throw new IllegalStateException(other.toString());
        };
    }

    private void isFound(Finding.Kind kind) {
        assertThat(trial.all(Shrinker.ALL))
                .isNotEmpty()
                .extracting(Finding::kind)
                .contains(kind);
    }

    @Test
    void aFreshMachineIsSound() {
        assertThat(trial.all(Shrinker.ALL)).isEmpty();
        assertThat(trial.world().owned()).isGreaterThan(32_000);
    }

    @Test
    void aPageThatTheHostKeepsAlthoughItWasDonatedIsFound() {
        assertThat(step(Op.Kind.DONATE, FRAME, 1)).isEmpty();
        ram.set(hostEntry(PAGE), PAGE | 0x7ff);
        isFound(Finding.Kind.HOST);
    }

    @Test
    void aPageThatTheHypervisorKeepsAlthoughItGaveItBackIsFound() {
        assertThat(step(Op.Kind.DONATE, FRAME, 2)).isEmpty();
        assertThat(step(Op.Kind.RETURN, FRAME, 1)).isEmpty();
        ram.set(hypEntry(PAGE), PAGE | 0x40000000000743L);
        isFound(Finding.Kind.HYP);
    }

    @Test
    void anAliasOfAHostPageIsFound() {
        assertThat(step(Op.Kind.SHARE, FRAME)).isEmpty();
        ram.set(hostEntry(PAGE), PAGE + 0x1000 | 0x800000000007ffL);
        isFound(Finding.Kind.HOST);
    }

    @Test
    void textThatBecomesWritableIsFound() {
        long text = 0x4001_0000L;
        ram.set(hypEntry(text), ram.get(hypEntry(text)) & ~0x80L);
        isFound(Finding.Kind.HYP);
    }

    @Test
    void aWrongCountIsFound() {
        assertThat(step(Op.Kind.SHARE, FRAME)).isEmpty();
        long virtual = trial.model().vmemmap().optional().orElseThrow().entry(FRAME);
        Translation.Mapped entry = (Translation.Mapped)
                trial.model().hyp().optional().orElseThrow().translate(virtual);
        ram.set(entry.output() & -8L, ram.get(entry.output() & -8L) + ((entry.output() & 4) == 0 ? 1 : 1L << 32));
        isFound(Finding.Kind.COUNT);
    }

    @Test
    void aTableThatTwoEntriesPointToIsFound() {
        assertThat(step(Op.Kind.SHARE, FRAME)).isEmpty();
        long table = hostEntry(PAGE) & -4096L;
        long free = hostEntry(0x4120_0000L);
        ram.set(free, table | 3);
        assertThat(trial.all(Shrinker.ALL)).isNotEmpty();
    }

    @Test
    void whatAStepDoesNotDoIsFoundBehindIt() {
        // The world is told that a page was shared; the machine never did.
        trial.world().host[trial.world().number(PAGE)] = World.SHARED;
        trial.world().hyp[trial.world().number(PAGE)] = World.BORROWED;
        assertThat(step(Op.Kind.UNSHARE, FRAME)).extracting(Finding::kind).contains(Finding.Kind.ANSWER);
        assertThat(trial.over()).isTrue();
    }

    @Test
    void itPredictsRefusals() {
        assertThat(step(Op.Kind.UNSHARE, FRAME)).isEmpty();
        assertThat(trial.answer()).isEqualTo(Errno.EPERM);
        assertThat(step(Op.Kind.SHARE, FRAME)).isEmpty();
        assertThat(step(Op.Kind.PIN, FRAME, 1)).isEmpty();
        assertThat(step(Op.Kind.UNSHARE, FRAME)).isEmpty();
        assertThat(trial.answer()).isEqualTo(Errno.EBUSY);
        assertThat(step(Op.Kind.SHARE, 1L << 40)).isEmpty();
        assertThat(trial.answer()).isEqualTo(Errno.ERANGE);
    }

    @Test
    void itPredictsThatTheHostsAccessToDonatedMemoryIsTheEnd() {
        assertThat(step(Op.Kind.DONATE, FRAME, 1)).isEmpty();
        assertThat(step(Op.Kind.READ, PAGE)).isEmpty();
        assertThat(trial.over()).isTrue();
        assertThat(trial.model().panic()).isNotNull();
    }

    @Test
    void itPredictsAnAccessAcrossTheEndOfAPage() {
        assertThat(step(Op.Kind.WRITE, PAGE - 4, 5)).isEmpty();
        assertThat(trial.answer()).isZero();
        assertThat(step(Op.Kind.DONATE, FRAME, 1)).isEmpty();
        assertThat(step(Op.Kind.WRITE, PAGE - 4, 6)).isEmpty();
        assertThat(trial.over()).isTrue();
    }

    @Test
    void itPredictsCountsThatWrap() {
        assertThat(step(Op.Kind.DONATE, FRAME, 1L << 52)).isEmpty();
        assertThat(trial.answer()).isZero();
        assertThat(trial.bugs()).containsExactly("B-04");
        assertThat(trial.world().free(trial.world().number(PAGE))).isTrue();
    }

    @Test
    void whatNoHostCanDoIsNoStep() {
        assertThat(trial.possible(new Op(Op.Kind.RETURN, 0x46000, 1)))
                .as("the carve-out")
                .isFalse();
        assertThat(trial.possible(new Op(Op.Kind.LIST, 0x4600_0000L, 1, 1, 0))).isFalse();
        assertThat(trial.possible(new Op(Op.Kind.UNPIN, FRAME, 1))).isFalse();
        assertThat(trial.possible(new Op(Op.Kind.RETURN, FRAME, 1)))
                .as("is refused")
                .isTrue();
    }
}
