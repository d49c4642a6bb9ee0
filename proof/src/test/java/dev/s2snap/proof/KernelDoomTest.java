package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.model.HostGuest;
import dev.s2snap.model.HostKernel.HostException;
import dev.s2snap.model.ModelConfig;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// The ends that a kernel can make of its machine are ends, and the oracle says so before.
class KernelDoomTest {
    private final Trial trial = new Trial(ModelConfig.small());
    private final KernelHost host = new KernelHost(trial, new SplittableRandom(3));
    private final List<Finding> found = new ArrayList<>();

    @AfterEach
    void close() {
        trial.close();
    }

    private KernelDoom doom(long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        KernelMemory memory = new KernelMemory(trial);
        return new KernelDoom(trial, memory, new KernelChores(host, trial.model(), memory, random), random);
    }

    private void isTheEnd(Runnable deed) {
        Trial.Steps steps = new Trial.Steps() {
            @Override
            public void begins(Op op) {}

            @Override
            public void ended(List<Finding> findings) {
                found.addAll(findings);
            }
        };
        assertThatThrownBy(() -> trial.kernel(deed, steps)).isInstanceOf(HostException.class);
        assertThat(found).isEmpty();
        assertThat(trial.over()).isTrue();
        assertThat(trial.model().panic()).isNotNull();
    }

    @Test
    void aPageOfTheHypervisorsInTheAllocatorIsTheEnd() {
        isTheEnd(() ->
                doom(1).strangePage(false, () -> trial.model().hostKernel().allocate()));
    }

    @Test
    void soItIsForAGuestsRoot() {
        isTheEnd(() ->
                doom(1).strangePage(true, () -> trial.model().hostKernel().kvm().create(1, 3, 36, 1)));
    }

    @Test
    void aListOfPagesThatGoesOnIsTheEnd() {
        isTheEnd(() -> doom(1).endlessList());
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4})
    void aStructKvmThatWasTakenBackIsTheEnd(long seed) {
        isTheEnd(() -> {
            HostGuest guest = trial.model().hostKernel().kvm().create(1, 3, 0, 1);
            assertThat(guest.run(0)).isZero();
            doom(seed).takenBack(guest);
        });
    }
}
