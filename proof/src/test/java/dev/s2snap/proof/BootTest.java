package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.SplittableRandom;
import java.util.function.BiFunction;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class BootTest {
    private static final int BOOTS = 60;

    @Test
    void machinesComeUpCallByCallAsTheyMust() {
        for (long seed = 1; seed <= BOOTS; seed++) {
            assertThat(Boot.of(Machines.any(seed), new SplittableRandom(seed)))
                    .as("seed %d", seed)
                    .isEmpty();
        }
    }

    /// A line of the model that is another, and what is said then.
    record Change(String file, String line, String instead, String said) {}

    static List<Change> changes() {
        return List.of(
                new Change(
                        "Hypercalls.java",
                        "            return Errno.EPERM;",
                        "            return 0;",
                        "the same CPU again is answered with -EPERM"),
                new Change(
                        "Hypervisor.java",
                        "        return error != 0 ? error : start + offset;",
                        "        return error != 0 ? error : start;",
                        "a private mapping keeps the place in the page"),
                new Change(
                        "Hypervisor.java",
                        "        long bytes = roundUp(size + offset);",
                        "        long bytes = roundUp(size);",
                        "is mapped to"),
                new Change(
                        "HostVm.java",
                        "            pages.free(head, 1);",
                        "            head = head + 0;",
                        "a VM leaves all its pages behind"),
                new Change(
                        "PkvmModel.java",
                        "            ram.set(output, value);",
                        "            ram.set(output, value + 1);",
                        "the host reads what it wrote"));
    }

    @ParameterizedTest
    @MethodSource("changes")
    void aBootThatIsNotAsItMustBeIsFound(Change change) throws Exception {
        BiFunction<String, long[], String> hunt =
                MutantHouse.with(change.file, change.line, change.instead).hunt();
        StringBuilder found = new StringBuilder();
        for (long seed = 1; seed <= 16; seed++) {
            found.append(hunt.apply("boot ", new long[] {seed, 0}));
        }
        assertThat(found.toString()).contains(change.said);
    }
}
