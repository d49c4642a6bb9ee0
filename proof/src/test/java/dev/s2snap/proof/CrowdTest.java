package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.ModelConfig;
import java.util.SplittableRandom;
import java.util.function.BiFunction;
import org.junit.jupiter.api.Test;

class CrowdTest {
    @Test
    void allCpusAtTheSameTimeGetTheAnswersThatTheyMust() {
        for (long seed = 1; seed <= 24; seed++) {
            try (Trial trial = new Trial(ModelConfig.small().cpus(4))) {
                assertThat(trial.crowd(new SplittableRandom(seed)))
                        .as("seed %d", seed)
                        .isEmpty();
                assertThat(trial.over()).isTrue();
            }
        }
    }

    @Test
    void aLockThatLetsEverybodyInIsFound() throws Exception {
        String line = "        for (int tries = 0; !OWNER.compareAndSet(this, 0, cpu.id() + 1); tries++) {";
        assertThat(anything("HypLock.java", line, line.replace("; tries++", " && tries < 0; tries++")))
                .isNotEmpty();
    }

    @Test
    void anAnswerThatNobodyMayGetIsFound() throws Exception {
        String line = "            case PKVM_HOST_SHARE_HYP -> cpu.x(1, el2.memProtect.shareHyp(cpu.x(1)));";
        assertThat(anything("Hypercalls.java", line, line.replace("cpu.x(1)))", "cpu.x(1)) == 0 ? 0 : -16)")))
                .contains("of a page that nobody else uses")
                .contains("a page is shared once, then it is -EPERM");
    }

    private static String anything(String file, String line, String instead) throws Exception {
        BiFunction<String, long[], String> hunt =
                MutantHouse.with(file, line, instead).hunt();
        StringBuilder found = new StringBuilder();
        for (long seed = 1; seed <= 24; seed++) {
            found.append(hunt.apply("crowd ", new long[] {seed, 0}));
        }
        return found.toString();
    }
}
