package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Every example in README.md and in the documents beside it is run, and prints what is written there. A line of three
/// dots stands for any lines.
class ReadmeTest {
    private static final Path ROOT = Path.of("..");

    /// A command line and what it prints.
    record Example(String command, List<String> lines) {
        @Override
        public String toString() {
            return command;
        }
    }

    static List<Example> examples() throws IOException {
        List<Example> examples = new ArrayList<>();
        for (String file : List.of("README.md", "docs/owners.md")) {
            examples.addAll(examples(Files.readAllLines(ROOT.resolve(file))));
        }
        return examples;
    }

    private static List<Example> examples(List<String> text) {
        List<Example> examples = new ArrayList<>();
        for (int i = 0; i < text.size(); i++) {
            if (text.get(i).startsWith("$ ./s2snap ")) {
                int end = i + 1;
                while (!text.get(end).equals("```")) {
                    end++;
                }
                examples.add(new Example(text.get(i).substring("$ ./s2snap ".length()), text.subList(i + 1, end)));
            }
        }
        return examples;
    }

    @Test
    void hasExamples() throws IOException {
        assertThat(examples()).hasSizeGreaterThanOrEqualTo(3);
    }

    @ParameterizedTest
    @MethodSource("examples")
    void exampleOfTheReadmePrintsWhatItSays(Example example) {
        Object[] words = Stream.of(example.command.split(" ", -1))
                .map(word -> word.startsWith("samples/") ? ROOT.resolve(word).toString() : word)
                .toArray();

        List<String> printed = Run.of(words).succeeds().text().lines().toList();

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
