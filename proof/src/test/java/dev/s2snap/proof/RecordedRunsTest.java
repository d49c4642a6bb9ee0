package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.Ram;
import dev.s2snap.model.ScriptException;
import dev.s2snap.model.ScriptRunner;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// The oracle against recorded runs of the kernel's own code: it has to predict every answer that was recorded, and
/// beside the model it has nothing to complain about.
///
/// A run is followed until it does what no host can do and what EL2's own code does not do, such as giving back what
/// was never lent; or what needs a second CPU.
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class RecordedRunsTest {
    private static final Path VECTORS = Path.of("../model/src/test/resources/vectors");
    private static final long SNAPSHOT = 0xC600_001CL;

    private long predicted;
    private int whole;
    private int runs;

    record Recorded(String file, String kind) {
        @Override
        public String toString() {
            return file;
        }
    }

    static List<Recorded> normative() throws IOException {
        List<Recorded> all = new ArrayList<>();
        for (String line : Files.readAllLines(VECTORS.resolve("MANIFEST.tsv"))) {
            String[] columns = line.split("\t", -1);
            if (columns[1].startsWith("normative")) {
                all.add(new Recorded(columns[0], columns[1]));
            }
        }
        return all;
    }

    private static List<String> lines(String file) throws IOException {
        String name = file.replaceFirst("\\.txt(\\.gz)?$", "") + ".txt.gz";
        try (InputStream packed = new GZIPInputStream(Files.newInputStream(VECTORS.resolve(name)))) {
            return new String(packed.readAllBytes(), StandardCharsets.UTF_8)
                    .lines()
                    .toList();
        }
    }

    /// The machine that the `cfg` lines make, if it comes up and the oracle describes it.
    private static Optional<ModelConfig> machine(List<String> lines) throws IOException, ScriptException {
        StringBuilder script = new StringBuilder();
        for (String line : lines) {
            if (line.equals("> cfg debug 0")) {
                return Optional.empty();
            }
            if (line.startsWith("> cfg") || line.equals("> init")) {
                script.append(line).append('\n');
            }
            if (line.equals("> init")) {
                break;
            }
        }
        try (ScriptRunner runner = new ScriptRunner(_ -> {})) {
            runner.run(new BufferedReader(new StringReader(script.toString())));
            PkvmModel model = runner.model();
            boolean up = model != null
                    && model.panic() == null
                    && model.hyp().optional().isPresent();
            return up ? Optional.of(model.config()).filter(RecordedRunsTest::wholePages) : Optional.empty();
        }
    }

    /// The oracle's world is made of whole pages, and of not too many.
    private static boolean wholePages(ModelConfig config) {
        long mask = (1L << config.pageShift()) - 1;
        long span =
                config.regions().getLast().end() - config.regions().getFirst().base();
        return span >>> config.pageShift() <= 1 << 22
                && config.regions().stream().allMatch(region -> ((region.base() | region.end()) & mask) == 0);
    }

    private static long number(String word) {
        return word.startsWith("0x") ? Long.parseUnsignedLong(word.substring(2), 16) : Long.parseUnsignedLong(word);
    }

    private static Optional<Op> step(String line, Trial trial) {
        String[] words = line.substring(2).split(" ", -1);
        if (words[0].equals("snapshot")) {
            return Optional.of(Op.hvc(0, SNAPSHOT, trial.model().addresses().kern(number(words[1]))));
        }
        if (words[0].equals("snapshot_hva")) {
            return Optional.of(Op.hvc(0, SNAPSHOT, number(words[1])));
        }
        Optional<Op.Kind> kind = Op.kind(words[0].equals("hostabort") ? "fault" : words[0]);
        if (kind.isEmpty()) {
            return Optional.empty();
        }
        boolean list = kind.get() == Op.Kind.LIST;
        int count = list ? 4 : kind.get() == Op.Kind.READ ? 1 : words.length - 1;
        long[] arguments = new long[count];
        for (int i = 0; i < count; i++) {
            arguments[i] = i + 1 < words.length ? number(words[i + 1]) : list && i == 2 ? 1 : 0;
        }
        return Optional.of(new Op(kind.get(), arguments));
    }

    /// The answer on the line behind a step; empty if that says something else.
    private static Optional<Long> answer(Op op, String recorded, String behind) {
        if (recorded.startsWith("< HYP_PANIC") || behind.startsWith("< HYP_PANIC")) {
            return Optional.of((long) Expectation.PANIC);
        }
        if (recorded.startsWith("< val ") || op.kind() == Op.Kind.LIST) {
            return Optional.of(0L);
        }
        return recorded.startsWith("< ret ") ? Optional.of(Long.parseLong(recorded.substring(6))) : Optional.empty();
    }

    @ParameterizedTest
    @MethodSource("normative")
    void itPredictsTheAnswers(Recorded recorded) throws Exception {
        List<String> lines = lines(recorded.file);
        Optional<ModelConfig> machine = machine(lines);
        if (machine.isPresent()) {
            runs++;
            try (Trial trial = new Trial(machine.get())) {
                follow(recorded, lines, trial);
            }
        }
    }

    private void follow(Recorded recorded, List<String> lines, Trial trial) {
        int at = lines.indexOf("> init");
        while (++at < lines.size()) {
            String line = lines.get(at);
            if (!line.startsWith("> ")) {
                continue;
            }
            if (line.startsWith("> arm ") || trial.over()) {
                return;
            }
            if (line.startsWith("> poke64 ")) {
                String[] words = line.split(" ", -1);
                if (!trial.world().accessible(trial.world().number(number(words[2])))) {
                    return;
                }
                ((Ram) trial.model().memory()).set(number(words[2]), number(words[3]));
                continue;
            }
            Optional<Op> op = step(line, trial);
            if (op.isEmpty()) {
                continue;
            }
            if (!trial.possible(op.get())) {
                return;
            }
            Optional<Long> answer = answer(op.get(), lines.get(at + 1), at + 2 < lines.size() ? lines.get(at + 2) : "");
            // Of some calls the effect is normative and the errno is the posted call's.
            boolean told = !line.startsWith("> hostabort")
                    && !(recorded.kind.equals("normative-effect") && op.get().kind() == Op.Kind.HVC);
            if (told && answer.isPresent()) {
                Expectation expected = trial.expected(op.get());
                assertThat(expected.answer() == Oracle.ANY || expected.allows(answer.get()))
                        .as("%s: recorded %s, predicted %s", line, answer.get(), expected.answer())
                        .isTrue();
                predicted++;
            }
            assertThat(trial.step(op.get())).as(line).isEmpty();
        }
        if (!trial.over()) {
            assertThat(trial.all(Shrinker.ALL)).isEmpty();
        }
        whole++;
    }

    @AfterAll
    void enoughWasPredicted() {
        assertThat(predicted).as("answers").isGreaterThan(8000);
        assertThat(runs).as("runs that it describes").isGreaterThan(230);
        assertThat(whole).as("runs that it follows to their end").isGreaterThan(90);
    }

    @Test
    void aLineOfTheLanguageIsAStepAndBack() {
        Op op = new Op(Op.Kind.DONATE, 0x40200, 3);
        assertThat(op).hasToString("donate_hyp 0x40200 3");
        assertThat(Op.kind("donate_hyp")).contains(Op.Kind.DONATE);
        assertThat(Op.kind("state")).isEmpty();
    }
}
