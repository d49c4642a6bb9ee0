package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.CallAudit.Rule;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/// docs/defects.md has everything that there is to say about. Its examples are run by [ExamplesTest].
class DefectsDocumentTest {
    private static final Path DOCUMENT = Path.of("..", "docs", "defects.md");

    @Test
    void everyDefectHasItsParagraphAndItsExample() throws IOException {
        List<String> text = Files.readAllLines(DOCUMENT);
        List<String> commands = ExamplesTest.of(DOCUMENT).stream()
                .map(ExamplesTest.Example::command)
                .toList();
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
}
