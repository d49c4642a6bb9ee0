package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.inspect.Check;
import dev.s2snap.inspect.Lint;
import dev.s2snap.inspect.Reading;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.ScriptRunner;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.PageState;
import dev.s2snap.pkvm.Rule;
import dev.s2snap.pkvm.Violation;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// The recorded runs of the real code on the model, checked after every step. The code of 6.12 has two bugs that leave
/// inconsistent states (docs/check.md), and `check` finds these, wherever they struck, and nothing else.
///
/// A step that changes nothing of what the check before it read, and no register, has the same answer and is not asked
/// again ([WatchedMachine]).
class CheckVectorsTest {
    private static final Path FOLDER = Path.of("..", "model", "src", "test", "resources", "vectors");

    private static final AtomicInteger STEPS = new AtomicInteger();
    private static final AtomicInteger CHECKS = new AtomicInteger();

    private static final AtomicInteger RUNS = new AtomicInteger();

    /// docs/check.md says how many.
    @AfterAll
    static void allStepsWereLookedAt() throws IOException {
        if (RUNS.get() == normative().size()) {
            assertThat(Files.readString(Path.of("..", "docs", "check.md")))
                    .contains(String.format(Locale.ROOT, "%,d steps", STEPS.get()));
            assertThat(CHECKS).hasValueGreaterThan(44_000);
        }
    }

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

    private static List<Violation> check(Reading reading) {
        return Check.of(reading).report().violations();
    }

    @ParameterizedTest
    @MethodSource("normative")
    void afterEachStepThereIsWhatTheKnownBugsLeaveAndNothingElse(String name) throws Exception {
        List<Pages> unshared = new ArrayList<>();
        List<Pages> taken = new ArrayList<>();
        WatchedMachine watched = null;
        // Some runs take pages out of a pool by hand, to make it short: these are in no table.
        boolean scarce = false;
        try (ScriptRunner runner = new ScriptRunner(_ -> {})) {
            for (String step : steps(name)) {
                runner.run(new BufferedReader(new StringReader(step), step.length() + 1));
                Pages.of(step, "unshare_ffa").forEach(unshared::add);
                Pages.of(step, "share_ffa", "donate_hyp").forEach(taken::add);
                scarce |= step.contains("pool_take");
                PkvmModel model = runner.model();
                if (model == null || model.panic() != null) {
                    continue;
                }
                STEPS.incrementAndGet();
                if (watched == null) {
                    watched = new WatchedMachine(model);
                } else if (!watched.changed()) {
                    continue;
                }
                CHECKS.incrementAndGet();
                SortedMap<Long, Rule> found = new TreeMap<>();
                long page = 1L << model.config().pageShift();
                Reading reading = Reading.of(watched);
                Check check = Check.of(reading);
                if (!scarce) {
                    assertThat(check.lint()).as(step).noneMatch(lint -> lint.kind() == Lint.Kind.LEAKED_TABLE);
                }
                for (Violation violation : check.report().violations()) {
                    boolean known = switch (violation.rule()) {
                        case I_21 -> within(unshared, violation, model);
                        case I_16 -> within(taken, violation, model);
                        default -> false;
                    };
                    assertThat(known).as("%s: %s", step, violation).isTrue();
                    for (long at = violation.start(); at < violation.end(); at += page) {
                        found.put(at, violation.rule());
                    }
                }
                assertThat(found).as(step).isEqualTo(left(model, reading));
            }
        }
        RUNS.incrementAndGet();
    }

    /// What the two bugs have left in the tables, found without any rule: pages that the hypervisor borrows and the
    /// host does not share, and pages that are no memory and that the host does not simply own.
    private static SortedMap<Long, Rule> left(PkvmModel model, Reading reading) {
        SortedMap<Long, Rule> left = new TreeMap<>();
        long page = 1L << model.config().pageShift();
        TranslationTable host = reading.machine().host().optional().orElse(null);
        TranslationTable hyp = reading.machine().hyp().optional().orElse(null);
        if (host == null || hyp == null) {
            return left;
        }
        for (LeafRun run : reading.walk(hyp).runs()) {
            boolean borrowed = run.mapped() && PageState.ofSoftwareBits(run.bits()) == PageState.SHARED_BORROWED;
            for (long at = run.output(); borrowed && at < run.output() + run.size(); at += page) {
                boolean shared = host.translate(at) instanceof Translation.Mapped mapped
                        && PageState.ofSoftwareBits(mapped.descriptor()) == PageState.SHARED_OWNED;
                if (!shared) {
                    left.put(at, Rule.I_21);
                }
            }
        }
        for (LeafRun run : reading.walk(host).runs()) {
            boolean changed = !run.mapped() || PageState.ofSoftwareBits(run.bits()) != PageState.OWNED;
            for (long at = run.start(); changed && at < run.end(); at += page) {
                if (!memory(model, at, at + page)) {
                    left.put(at, Rule.I_16);
                }
            }
        }
        return left;
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

    private static boolean memory(PkvmModel model, long start, long end) {
        for (MemoryRegion region : model.config().regions()) {
            if (region.base() < end && start < region.end()) {
                return true;
            }
        }
        return false;
    }

    /// What is found once `last` was executed.
    private static List<String> after(String name, String last) throws Exception {
        try (ScriptRunner runner = new ScriptRunner(_ -> {})) {
            for (String step : steps(name)) {
                runner.run(new BufferedReader(new StringReader(step), step.length() + 1));
                if (step.equals(last)) {
                    break;
                }
            }
            PkvmModel model = runner.model();
            assertThat(model).isNotNull();
            return model == null
                    ? List.of()
                    : check(Reading.of(model)).stream()
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
            assertThat(check(Reading.of(model))).isEmpty();
        }
    }
}
