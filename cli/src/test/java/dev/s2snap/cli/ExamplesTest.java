package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Every example in README.md and in docs is run, and prints what is written there, all of it. A line of three dots
/// stands for any lines. Where one block has several commands, each ends where the next begins.
class ExamplesTest {
    private static final Path ROOT = Path.of("..");
    private static final String PROMPT = "$ ./s2snap ";

    /// The files of debugfs have blanks at the ends of their lines, which this document leaves out.
    private static final String WITHOUT_BLANKS = "debugfs.md";

    @TempDir
    private static Path folder;

    /// A command line and what it prints.
    ///
    /// @param document the name of the file
    record Example(String document, String command, List<String> lines) {
        /// An example in which a machine breaks a rule is bad news, and so is a difference.
        int status() {
            if (command.startsWith("diff ")) {
                return lines.getLast().equals("no difference") ? Main.DONE : Main.BAD_NEWS;
            }
            return command.startsWith("check ") && !lines.getFirst().startsWith("no rule is broken")
                    ? Main.BAD_NEWS
                    : Main.DONE;
        }

        @Override
        public String toString() {
            return document + ": " + command;
        }
    }

    static List<Example> examples() throws IOException {
        List<Example> examples = new ArrayList<>();
        List<Path> documents = new ArrayList<>(List.of(ROOT.resolve("README.md")));
        try (Stream<Path> docs = Files.list(ROOT.resolve("docs"))) {
            docs.filter(path -> path.toString().endsWith(".md")).sorted().forEach(documents::add);
        }
        for (Path document : documents) {
            examples.addAll(of(document));
        }
        return examples;
    }

    static List<Example> of(Path document) throws IOException {
        List<Example> examples = new ArrayList<>();
        List<String> text = Files.readAllLines(document);
        for (int i = 0; i < text.size(); i++) {
            if (text.get(i).startsWith(PROMPT)) {
                int end = i + 1;
                while (!text.get(end).equals("```") && !text.get(end).startsWith(PROMPT)) {
                    end++;
                }
                examples.add(new Example(
                        document.getFileName().toString(),
                        text.get(i).substring(PROMPT.length()),
                        text.subList(i + 1, end)));
            }
        }
        return examples;
    }

    /// Files of the checkout are found from here; a core without a folder is one of the tests' captures, unpacked.
    private static Object file(String word) throws IOException {
        if (word.startsWith("samples/") || word.startsWith("cli/")) {
            return ROOT.resolve(word);
        }
        if (!word.endsWith(".core")) {
            return word.replace("=samples/", "=" + ROOT + "/samples/");
        }
        Path core = folder.resolve(word);
        if (!Files.exists(core)) {
            Files.write(core, CapturesTest.unpacked(word + ".gz"));
        }
        return core;
    }

    @Test
    void documentsOfCommandsHaveExamples() throws IOException {
        assertThat(examples())
                .extracting(Example::document)
                .contains(
                        "README.md",
                        "check.md",
                        "debugfs.md",
                        "defects.md",
                        "diff.md",
                        "explain.md",
                        "kernel-text.md",
                        "owners.md",
                        "security.md")
                .hasSizeGreaterThanOrEqualTo(49);
    }

    @ParameterizedTest
    @MethodSource("examples")
    void theExamplePrintsWhatIsWritten(Example example) throws IOException {
        List<Object> words = new ArrayList<>();
        for (String word : example.command.split(" ", -1)) {
            words.add(file(word));
        }
        Run run = Run.of(words.toArray());
        assertThat(run.err()).isEmpty();
        assertThat(run.status()).isEqualTo(example.status());
        List<String> printed = run.text()
                .lines()
                .map(line -> line.replace("../samples/", "samples/"))
                .map(line -> example.document.equals(WITHOUT_BLANKS) ? line.stripTrailing() : line)
                .toList();
        int at = 0;
        boolean anywhere = false;
        for (String line : example.lines) {
            if (line.equals("...")) {
                anywhere = true;
                continue;
            }
            int found = printed.subList(at, printed.size()).indexOf(line);
            assertThat(found).as("'%s' behind line %d of the output", line, at).isNotNegative();
            assertThat(anywhere || found == 0)
                    .as("'%s' comes next, not '%s'", line, printed.get(at))
                    .isTrue();
            at += found + 1;
            anywhere = false;
        }
        assertThat(anywhere || at == printed.size()).as("the output ends here").isTrue();
    }
}
