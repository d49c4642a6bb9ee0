package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.CallAudit.Rule;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// Every example in docs/defects.md is run, and prints the lines that are written there. A line of three dots stands
/// for any lines.
class DefectsDocumentTest {
    private static final Path DOCUMENT = Path.of("..", "docs", "defects.md");
    private static final String PROMPT = "$ ./s2snap ";

    /// A command line and what it prints.
    record Example(String command, List<String> lines) {
        @Override
        public String toString() {
            return command;
        }
    }

    static List<Example> examples() throws IOException {
        List<Example> examples = new ArrayList<>();
        List<String> text = Files.readAllLines(DOCUMENT);
        for (int i = 0; i < text.size(); i++) {
            if (text.get(i).startsWith(PROMPT)) {
                int end = i + 1;
                while (!text.get(end).equals("```")) {
                    end++;
                }
                examples.add(new Example(text.get(i).substring(PROMPT.length()), text.subList(i + 1, end)));
            }
        }
        return examples;
    }

    @Test
    void everyDefectHasItsParagraphAndItsExample() throws IOException {
        List<String> text = Files.readAllLines(DOCUMENT);
        List<String> commands = examples().stream().map(Example::command).toList();
        for (DefectsCatalogue.Defect defect : DefectsCatalogue.ALL) {
            assertThat(text).anyMatch(line -> line.startsWith("### " + defect.id() + " "));
            assertThat(commands).contains("defects " + defect.id());
        }
    }

    @ParameterizedTest
    @EnumSource
    void everyRuleIsInTheTable(Rule rule) throws IOException {
        assertThat(Files.readAllLines(DOCUMENT)).contains("| " + rule.id() + " | " + rule.words() + " |");
    }

    @ParameterizedTest
    @MethodSource("examples")
    void theExamplePrintsWhatIsWritten(Example example) {
        List<String> printed = Run.of(Arrays.stream(example.command.split(" ", -1))
                        .map(word -> word.startsWith("samples/") ? "../" + word : word)
                        .toArray())
                .succeeds()
                .text()
                .lines()
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
