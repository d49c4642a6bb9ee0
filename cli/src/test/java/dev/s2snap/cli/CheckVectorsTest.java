package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.inspect.Check;
import dev.s2snap.inspect.Reading;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.ScriptRunner;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.Rule;
import dev.s2snap.pkvm.Violation;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// The recorded runs of the real code on the model, checked step by step. The code of 6.12 has two bugs that leave
/// inconsistent states (docs/check.md), and `check` finds these and nothing else.
class CheckVectorsTest {
    private static final Path FOLDER = Path.of("..", "model", "src", "test", "resources", "vectors");

    /// Of the random runs, which have hundreds of steps each, one in so many is checked, and the last one.
    private static final int STRIDE = 16;

    static List<String> normative() throws IOException {
        List<String> names = new ArrayList<>();
        for (String row : Files.readAllLines(FOLDER.resolve("MANIFEST.tsv"))) {
            String[] cells = row.split("\t", -1);
            if (cells[1].startsWith("normative")) {
                names.add(cells[0].replaceFirst("\\.txt(\\.gz)?$", ""));
            }
        }
        assertThat(names).hasSize(260);
        return names;
    }

    private static List<String> steps(String name) throws IOException {
        try (BufferedReader in = new BufferedReader(new InputStreamReader(
                new GZIPInputStream(Files.newInputStream(FOLDER.resolve(name + ".txt.gz"))), StandardCharsets.UTF_8))) {
            return in.readAllLines().stream()
                    .filter(line -> line.startsWith(">"))
                    .toList();
        }
    }

    /// Pages as a step names them: `> OPERATION PFN NUMBER`.
    private record Pages(long first, long number) {
        static Stream<Pages> of(String step, String... operations) {
            String[] words = step.split(" ", -1);
            if (words.length < 4 || !List.of(operations).contains(words[1])) {
                return Stream.empty();
            }
            return Stream.of(new Pages(Long.decode(words[2]), Long.decode(words[3])));
        }

        boolean holds(long start, long end, int shift) {
            return start >>> shift >= first && (end - 1) >>> shift < first + number;
        }
    }

    private static List<Violation> check(PkvmModel model) {
        return Check.of(Reading.of(model), true).report().violations();
    }

    @ParameterizedTest
    @MethodSource("normative")
    void afterEachStepThereIsWhatTheKnownBugsLeaveAndNothingElse(String name) throws Exception {
        List<String> steps = steps(name);
        int stride = name.startsWith("hand/") ? 1 : STRIDE;
        List<Pages> unshared = new ArrayList<>();
        List<Pages> taken = new ArrayList<>();
        try (ScriptRunner runner = new ScriptRunner(_ -> {})) {
            for (int i = 0; i < steps.size(); i++) {
                String step = steps.get(i);
                runner.run(new BufferedReader(new StringReader(step)));
                Pages.of(step, "unshare_ffa").forEach(unshared::add);
                Pages.of(step, "share_ffa", "donate_hyp").forEach(taken::add);
                PkvmModel model = runner.model();
                if (model == null || model.panic() != null || (i % stride != 0 && i != steps.size() - 1)) {
                    continue;
                }
                for (Violation violation : check(model)) {
                    boolean known = switch (violation.rule()) {
                        case I_21 -> within(unshared, violation, model);
                        case I_16 -> within(taken, violation, model) && !memory(model, violation.start());
                        default -> false;
                    };
                    assertThat(known).as("%s: %s", step, violation).isTrue();
                }
            }
        }
    }

    /// A violation's pages may come from several steps.
    private static boolean within(List<Pages> ranges, Violation violation, PkvmModel model) {
        int shift = model.config().pageShift();
        for (long page = violation.start(); page < violation.end(); page += 1L << shift) {
            long at = page;
            if (ranges.stream().noneMatch(range -> range.holds(at, at + 1, shift))) {
                return false;
            }
        }
        return true;
    }

    private static boolean memory(PkvmModel model, long address) {
        return model.config().regions().stream().anyMatch((MemoryRegion region) -> region.contains(address));
    }

    /// What is found once `last` was executed.
    private static List<String> after(String name, String last) throws Exception {
        try (ScriptRunner runner = new ScriptRunner(_ -> {})) {
            for (String step : steps(name)) {
                runner.run(new BufferedReader(new StringReader(step)));
                if (step.equals(last)) {
                    break;
                }
            }
            PkvmModel model = runner.model();
            assertThat(model).isNotNull();
            return model == null
                    ? List.of()
                    : check(model).stream()
                            .map(violation -> violation.rule().id() + " 0x" + Long.toHexString(violation.start())
                                    + "-0x" + Long.toHexString(violation.end()))
                            .toList();
        }
    }

    @Test
    void anUnshareForTheSecureWorldLeavesTheHypervisorBorrowing() throws Exception {
        assertThat(after("hand/h12_ffa_unshare_of_hyp_share", "> unshare_ffa 0x41000 1"))
                .containsExactly("I-21 0x41000000-0x41001000");
    }

    @Test
    void aRangeAcrossTheEndOfMemoryTakesWhatIsNoMemory() throws Exception {
        assertThat(after("hand/h17_straddle_empty_1g_slot", "> donate_hyp 0x87fff 2"))
                .containsExactly(Rule.I_16.id() + " 0x88000000-0x88001000");
    }

    @Test
    void theModelWithAGuestIsClean() {
        try (PkvmModel model = ModelSource.open("model:ram=256M", null)) {
            DemoGuest.run(model);
            assertThat(model.guests()).isNotEmpty();
            assertThat(check(model)).isEmpty();
        }
    }
}
