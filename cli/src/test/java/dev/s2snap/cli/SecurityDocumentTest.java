package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.cli.DefectsCatalogue.Defect;
import dev.s2snap.model.CallAudit.Report;
import dev.s2snap.model.CallAudit.Rule;
import dev.s2snap.model.SnapshotCall.Variant;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeSet;
import java.util.regex.MatchResult;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// docs/security.md says what is so: its examples, which [ExamplesTest] runs, are about the defects that they stand
/// under, the rules that it says are broken are broken, and the tests that it names exist.
class SecurityDocumentTest {
    private static final Path ROOT = Path.of("..");
    private static final Path DOCUMENT = ROOT.resolve("docs").resolve("security.md");
    private static final Path SCRIPTS = ROOT.resolve("samples").resolve("security");
    private static final Pattern HEADING = Pattern.compile("### (D-\\d\\d)( and D-\\d\\d)? .*");
    private static final Pattern MODEL = Pattern.compile("model --variant (\\w+) --script (samples/\\S+)");
    private static final Pattern RULES = Pattern.compile("\\b(I-\\d\\d|N-\\d)\\b");
    private static final Pattern TEST = Pattern.compile("`(\\w+Test)\\.(\\w+)`");

    /// The text below one heading of a defect.
    ///
    /// @param heading with the ids
    record Section(String heading, List<String> lines) {
        List<String> scripts(Variant variant) {
            return lines.stream()
                    .map(line -> MODEL.matcher(line))
                    .filter(Matcher::find)
                    .filter(found -> found.group(1).equals(variant.name().toLowerCase(Locale.ROOT)))
                    .map(found -> found.group(2))
                    .toList();
        }

        String text() {
            return String.join(" ", lines);
        }

        /// The rules of the line that says what is broken.
        List<String> broken() {
            Matcher paragraph =
                    Pattern.compile("\\*\\*Breaks\\*\\* (.*?\\.)( |$)").matcher(text());
            assertThat(paragraph.find()).as("what %s breaks", heading).isTrue();
            return RULES.matcher(paragraph.group(1))
                    .results()
                    .map(MatchResult::group)
                    .toList();
        }

        @Override
        public String toString() {
            return heading;
        }
    }

    static List<Section> sections() throws IOException {
        Map<String, List<String>> sections = new LinkedHashMap<>();
        List<String> current = new ArrayList<>();
        for (String line : Files.readAllLines(DOCUMENT)) {
            if (line.startsWith("## ") || line.startsWith("### ")) {
                current = new ArrayList<>();
                if (HEADING.matcher(line).matches()) {
                    sections.put(line, current);
                }
            } else {
                current.add(line);
            }
        }
        return sections.entrySet().stream()
                .map(each -> new Section(each.getKey(), each.getValue()))
                .toList();
    }

    static Stream<Path> scripts() throws IOException {
        try (Stream<Path> files = Files.list(SCRIPTS)) {
            return files.sorted().toList().stream();
        }
    }

    private static List<Report> audits(Path script, Variant variant) throws IOException {
        return DefectsRun.of(script.toString(), Files.readString(script), variant, _ -> {})
                .audits();
    }

    @Test
    void everyDefectThatBreaksSomethingHasItsSectionAndNoneIsLeftOut() throws IOException {
        String text = Files.readString(DOCUMENT);
        List<String> headings = sections().stream().map(Section::heading).toList();
        for (Defect defect : DefectsCatalogue.ALL) {
            assertThat(text).contains(defect.id());
            boolean breaks =
                    defect.severity().matches("A.*|B|C") && !defect.id().equals("D-12");
            assertThat(headings.stream().anyMatch(heading -> heading.contains(defect.id())))
                    .as(defect.id())
                    .isEqualTo(breaks);
        }
        for (Section section : sections()) {
            Defect defect = DefectsCatalogue.ALL.stream()
                    .filter(each -> section.heading.startsWith("### " + each.id()))
                    .findFirst()
                    .orElseThrow();
            assertThat(section.heading).endsWith("(" + defect.severity() + ")");
        }
    }

    @ParameterizedTest
    @MethodSource("sections")
    void theSameScriptBreaksTheRulesThatAreNamedAndNoneOnTheCorrectedCall(Section section) throws IOException {
        List<String> scripts = section.scripts(Variant.POSTED);
        assertThat(scripts).hasSize(1).isEqualTo(section.scripts(Variant.CORRECTED));
        Path script = ROOT.resolve(scripts.getFirst());

        TreeSet<String> broken = new TreeSet<>();
        for (Report report : audits(script, Variant.POSTED)) {
            report.broken().keySet().stream().map(Rule::id).forEach(broken::add);
        }
        assertThat(section.broken()).containsExactlyElementsOf(broken);
        assertThat(audits(script, Variant.CORRECTED)).isNotEmpty().allSatisfy(report -> {
            assertThat(report.result()).isNegative();
            assertThat(report.broken()).isEmpty();
        });
    }

    @ParameterizedTest
    @MethodSource("scripts")
    void everyScriptIsNamedAndIsItsOwnTranscriptOnThePostedCall(Path script) throws IOException {
        assertThat(Files.readString(DOCUMENT)).contains("samples/security/" + script.getFileName());
        assertThat(Run.of("model", "--variant", "posted", "--script", script)
                        .succeeds()
                        .text())
                .isEqualTo(Files.readString(script));
        assertThat(audits(script, Variant.POSTED))
                .anySatisfy(report -> assertThat(report.broken()).isNotEmpty());
        assertThat(audits(script, Variant.CORRECTED))
                .allSatisfy(report -> assertThat(report.broken()).isEmpty());
    }

    @Test
    void everyTestThatIsNamedExists() throws IOException {
        List<MatchResult> named =
                TEST.matcher(Files.readString(DOCUMENT)).results().toList();
        assertThat(named).isNotEmpty();
        List<Path> tests = new ArrayList<>();
        for (String module : List.of("vmsa", "pkvm", "model", "capture", "inspect", "cli")) {
            try (Stream<Path> files =
                    Files.walk(ROOT.resolve(module).resolve("src").resolve("test"))) {
                files.filter(file -> file.toString().endsWith("Test.java")).forEach(tests::add);
            }
        }
        for (MatchResult each : named) {
            Path file = tests.stream()
                    .filter(test -> test.endsWith(each.group(1) + ".java"))
                    .findFirst()
                    .orElseThrow(() -> new AssertionError("no " + each.group(1)));
            assertThat(Files.readString(file)).contains(" " + each.group(2) + "(");
        }
    }
}
