package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.function.BiFunction;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Each known defect of isolation and rollback is put back into the corrected call, and TLB invalidations are
/// forgotten, one line at a time; each is found.
class MutantTest {
    private static final Path DOCUMENT = Path.of("..", "docs", "mutants.md");
    private static final int SEEDS = 5;
    private static final int ENOUGH = 3;

    /// Calls for which a campaign lasts; some seconds on one core.
    private static final long CALLS = 20_000;

    static List<Mutant> mutants() {
        return Mutant.ALL;
    }

    @ParameterizedTest
    @MethodSource("mutants")
    void aMutantIsKilled(Mutant mutant) throws IOException, ReflectiveOperationException {
        BiFunction<String, long[], String> hunt = mutant.house().hunt();
        int wanted = mutant.byCampaign() ? ENOUGH : 1;
        int found = 0;
        for (long seed = 1; seed <= SEEDS && found < wanted; seed++) {
            String finding = hunt.apply(mutant.steps() + " " + mutant.shows(), new long[] {seed, CALLS});
            found += finding.isEmpty() ? 0 : 1;
        }
        assertThat(found).as("seeds that show %s", mutant.shows()).isEqualTo(wanted);
    }

    /// What makes a kill mean something: the lines as they are, compiled in the same way and given as many calls, show
    /// nothing at all.
    @ParameterizedTest
    @ValueSource(strings = {"CorrectedSnapshot.java", "MemoryMap.java", "Stage2.java", "HypStage1.java"})
    void theLinesAsTheyAreShowNothing(String file) throws IOException, ReflectiveOperationException {
        Mutant any = Mutant.ALL.stream()
                .filter(each -> each.file().equals(file))
                .findFirst()
                .orElseThrow();
        BiFunction<String, long[], String> hunt =
                MutantHouse.with(file, any.line(), any.line()).hunt();
        for (Mutant mutant : Mutant.ALL) {
            if (!mutant.byCampaign()) {
                assertThat(hunt.apply(mutant.steps() + " ", new long[] {1, CALLS}))
                        .as(mutant.steps())
                        .isEmpty();
            }
        }
        // A change in the other file was compiled in, and the campaign need not be run for each.
        for (long seed = 1; file.equals("CorrectedSnapshot.java") && seed <= SEEDS; seed++) {
            assertThat(hunt.apply("campaign ", new long[] {seed, CALLS}))
                    .as("seed %d", seed)
                    .isEmpty();
        }
    }

    @Test
    void everyDefectThatIsAskedForHasAMutant() {
        assertThat(Mutant.ALL.stream().map(Mutant::defect).distinct())
                .containsExactly(
                        "D-01", "D-02", "D-03", "D-04", "D-05", "D-06", "D-07", "D-08", "D-09", "D-10", "D-11", "D-12",
                        "D-34", "TLBI");
    }

    @Test
    void theDocumentHasTheseMutantsAndNoOthers() throws IOException {
        List<String> lines = Files.readAllLines(DOCUMENT);
        List<String> rows = lines.stream()
                .filter(line -> line.startsWith("| D-") || line.startsWith("| TLBI "))
                .map(line -> line.substring(0, line.lastIndexOf('|', line.length() - 2) + 1))
                .toList();
        assertThat(rows).isEqualTo(Mutant.ALL.stream().map(Mutant::row).toList());
        String diff = Mutant.ALL.stream().map(Mutant::diff).collect(Collectors.joining("\n\n"));
        assertThat(Collections.indexOfSubList(lines, List.of(diff.split("\n", -1))))
                .as("the lines of all mutants, as a diff")
                .isNotNegative();
    }
}
