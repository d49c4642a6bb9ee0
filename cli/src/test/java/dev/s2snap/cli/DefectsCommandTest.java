package dev.s2snap.cli;

import static java.util.Map.entry;
import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.cli.DefectsCatalogue.Defect;
import dev.s2snap.cli.DefectsCatalogue.Show;
import dev.s2snap.model.CallAudit.Report;
import dev.s2snap.model.CallAudit.Rule;
import dev.s2snap.model.SnapshotCall;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Every defect is shown by what the posted call does to the machine, and the corrected call does not do it.
class DefectsCommandTest {
    private static final Path SCRIPTS = Path.of("..", "samples", "defects");
    private static final Path GOLDEN = Path.of("src", "test", "resources", "defects");

    private static final List<Defect> ALL = DefectsCatalogue.ALL;

    @TempDir
    private Path folder;

    static Stream<String> scripts() {
        return ALL.stream().flatMap(defect -> defect.scripts().stream());
    }

    static Stream<Defect> shown() {
        return ALL.stream().filter(defect -> defect.show().shown());
    }

    @Test
    void everyScriptBelongsToADefectAndEveryDefectHasItsNumber() throws IOException {
        try (Stream<Path> files = Files.list(SCRIPTS)) {
            assertThat(files.map(file -> file.getFileName().toString().replaceFirst("\\.txt$", "")))
                    .containsExactlyInAnyOrderElementsOf(scripts().toList());
        }
        assertThat(ALL).hasSize(34);
        for (int i = 0; i < ALL.size(); i++) {
            assertThat(ALL.get(i).id()).isEqualTo("D-%02d".formatted(i + 1));
        }
    }

    @ParameterizedTest
    @MethodSource("scripts")
    void theScriptIsItsOwnTranscriptOnThePostedCall(String script) throws IOException {
        Path file = SCRIPTS.resolve(script + ".txt");
        assertThat(Run.of("model", "--variant", "posted", "--script", file)
                        .succeeds()
                        .text())
                .isEqualTo(Files.readString(file));
    }

    /// Rules that the posted call breaks, in the main script of each defect.
    private static final Map<String, List<Rule>> BROKEN = Map.ofEntries(
            entry("D-01", List.of(Rule.I_14, Rule.I_50)),
            entry("D-02", List.of(Rule.I_23, Rule.I_50, Rule.I_51, Rule.N_1, Rule.N_3)),
            entry("D-03", List.of(Rule.I_51, Rule.N_1)),
            entry("D-04", List.of(Rule.I_52, Rule.N_1)),
            entry("D-05", List.of(Rule.I_52, Rule.N_1)),
            entry("D-06", List.of(Rule.I_50, Rule.N_2)),
            entry("D-07", List.of(Rule.I_14, Rule.I_50, Rule.N_2)),
            entry("D-08", List.of(Rule.I_50, Rule.N_2)),
            entry("D-09", List.of(Rule.I_20, Rule.I_23, Rule.I_50, Rule.N_2)),
            entry("D-10", List.of(Rule.I_51, Rule.N_1, Rule.N_3)),
            entry("D-11", List.of(Rule.I_51, Rule.N_1, Rule.N_3)),
            entry("D-12", List.of()),
            entry("D-13", List.of()),
            entry("D-14", List.of()),
            entry("D-15", List.of()),
            entry("D-16", List.of()),
            entry("D-17", List.of()),
            entry("D-18", List.of()),
            entry("D-19", List.of(Rule.I_14, Rule.I_50, Rule.N_2)),
            entry("D-23", List.of(Rule.N_1)),
            entry("D-26", List.of(Rule.N_4)),
            entry("D-34", List.of(Rule.I_20, Rule.I_23, Rule.I_50, Rule.N_2)));

    /// What there is to count, where no rule is broken: posted, corrected.
    private static final Map<String, List<String>> NUMBERS = Map.ofEntries(
            entry("D-12", List.of("1852 hyp pages in the copy", "1852 hyp pages in the copy")),
            entry("D-13", List.of("5 mistakes: -EPERM", "5 mistakes: -EINVAL, -EPERM")),
            entry("D-14", List.of("605 pages donated and returned", "605 pages donated and returned")),
            entry("D-15", List.of("4 of 4 blocks lost", "4 of 4 blocks lost")),
            entry("D-16", List.of("7 of 600 pages used", "7 of 600 pages used")),
            entry("D-17", List.of("x0 = 0, x1 = 0xffffffffffffffff", "x0 = -1, x1 = 0xffffffffffffffa1")),
            entry("D-18", List.of("7 tables, 4601 other entries", "7 tables, 4601 other entries")),
            entry("D-24", List.of("PGD and array: 4 pages taken, 2 back", "all buffers: 605 pages taken, 605 back")),
            entry("D-28", List.of("reads name 4 of 4", "prints the number of the level")),
            entry("D-29", List.of("BLK on 6 invalid regions", "BLK on 0")),
            entry("D-30", List.of("FF-A in 0 of 26 regions", "FF-A in 1, by EL2's table")),
            entry("D-31", List.of("NOPAGE in 0 of 26 regions", "NOPAGE in 6")),
            entry("D-32", List.of("ends at 0x8000000000", "ends at 0x1000000000000")));

    @ParameterizedTest
    @MethodSource("shown")
    void thePostedCallShowsTheDefectAndTheCorrectedOneBreaksNoRule(Defect defect) throws IOException {
        DefectsStory story = DefectsStory.of(defect, false);

        assertThat(story.posted().summary()).isNotEmpty().isNotEqualTo("0, no change");
        assertThat(BROKEN.containsKey(defect.id()) || NUMBERS.containsKey(defect.id()))
                .isTrue();
        if (defect.show() != Show.PARSER) {
            List<Report> audits = story.posted().audits();
            assertThat(audits.stream().flatMap(each -> each.broken().keySet().stream()))
                    .containsExactlyInAnyOrderElementsOf(BROKEN.getOrDefault(defect.id(), List.of()));
        }
        if (NUMBERS.containsKey(defect.id())) {
            assertThat(List.of(
                            story.posted().numbers().getFirst(),
                            story.corrected().numbers().getFirst()))
                    .isEqualTo(NUMBERS.get(defect.id()));
        }
        assertThat(story.corrected().audits()).allSatisfy(report -> {
            assertThat(report.broken()).isEmpty();
            assertThat(report.owners()).isEmpty();
            assertThat(report.written()).isZero();
            assertThat(report.leaks()).isEmpty();
            assertThat(report.panic()).isNull();
        });
    }

    /// What the corrected call answers to each script; null where the host kills the machine itself.
    private static final Map<String, String> CORRECTED = Map.ofEntries(
            entry("D-01", "-EINVAL"),
            entry("D-01-text-table", "-EINVAL"),
            entry("D-01-twice", "-EINVAL"),
            entry("D-02", "-EINVAL"),
            entry("D-02-vm-table", "-EINVAL"),
            entry("D-03", "-EINVAL"),
            entry("D-03-el2-stacks", "-EINVAL"),
            entry("D-03-overrun", "-EINVAL"),
            entry("D-03-wrap", "-EINVAL"),
            entry("D-04", "-EPERM"),
            entry("D-04-nomap", "-EPERM"),
            entry("D-05", "-ENOMEM"),
            entry("D-05-swapped", "-ENOMEM"),
            entry("D-05-abort", "-ENOMEM"),
            entry("D-06", "-EINVAL"),
            entry("D-07", "-EPERM"),
            entry("D-07-shared", "-EPERM"),
            entry("D-07-two-cpus", "0"),
            entry("D-08", "-EPERM"),
            entry("D-08-array-is-struct", "-EPERM"),
            entry("D-08-miscount", "-EPERM"),
            entry("D-09", "-ENOMEM"),
            entry("D-09-host-pool", "-ENOMEM"),
            entry("D-10", "-EINVAL"),
            entry("D-11", "-EINVAL"),
            entry("D-12", "0"),
            entry("D-13", "-EINVAL, -EINVAL, -EPERM, -EINVAL, -EPERM"),
            entry("D-14", "0"),
            entry("D-15", "0, 0"),
            entry("D-16", "0, -ENOMEM"),
            entry("D-17", "NOT_SUPPORTED, -EOPNOTSUPP"),
            entry("D-18", "0"),
            entry("D-19", "-EPERM"),
            entry("D-19-late-store", "panic"),
            entry("D-26", "NOT_SUPPORTED, -EOPNOTSUPP"),
            entry("D-34", "-EINVAL"));

    static Stream<String> calls() {
        return shown().filter(defect -> defect.show() == Show.CALL).flatMap(defect -> defect.scripts().stream());
    }

    @ParameterizedTest
    @MethodSource("calls")
    void theCorrectedCallAnswersTheSameInputAndChangesNothing(String script) throws IOException {
        List<Report> audits =
                DefectsRun.of(script, SnapshotCall.Variant.CORRECTED).audits();
        assertThat(DefectsStory.answers(audits)).isEqualTo(CORRECTED.get(script));
        if (!"panic".equals(CORRECTED.get(script))) {
            assertThat(audits).allSatisfy(report -> assertThat(report.broken()).isEmpty());
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"D-01", "D-09", "D-13", "D-30"})
    void theStoryIsAsItWasReviewed(String id) throws IOException {
        assertThat(Run.of("defects", id).succeeds().text())
                .isEqualTo(Files.readString(GOLDEN.resolve(id + ".expected")));
    }

    @ParameterizedTest
    @FieldSource("ALL")
    void noLineOfAStoryIsWiderThanAPage(Defect defect) throws IOException {
        assertThat(DefectsText.story(DefectsStory.of(defect, true)).lines())
                .allSatisfy(line -> assertThat(line.length()).isLessThanOrEqualTo(DefectsText.WIDTH));
    }

    @Test
    void theTableHasALineForEachAndAReasonForWhatIsNotShown() {
        List<String> lines = Run.of("defects").succeeds().text().lines().toList();

        assertThat(lines).allSatisfy(line -> assertThat(line.length()).isLessThanOrEqualTo(DefectsText.WIDTH));
        assertThat(lines.stream().filter(line -> line.matches("D-\\d\\d .*")).map(line -> line.substring(0, 4)))
                .isEqualTo(ALL.stream().map(Defect::id).toList());
        assertThat(lines)
                .contains(
                        "D-01  A   teardown gives back whatever pages the host lists   -EINVAL, 1 hyp page to the host"
                                + "      -EINVAL, no change")
                .anyMatch(line -> line.startsWith("D-25") && line.contains("not shown: "))
                .anyMatch(line -> line.startsWith("D-20") && line.contains("not on this base: "));
    }

    @Test
    void jsonHasAllOfThemWithTheirAudits() throws IOException {
        Path file = folder.resolve("defects.json");
        Run.of("defects", "--format", "json", "-o", file).succeeds();
        Map<String, Object> tree = JsonTree.parse(Files.readAllBytes(file));

        assertThat(tree.get("schema")).isEqualTo(1L);
        List<Map<String, Object>> defects = JsonTree.list(tree.get("defects")).stream()
                .map(JsonTree::object)
                .toList();
        assertThat(defects.stream().map(each -> each.get("id")))
                .isEqualTo(ALL.stream().map(Defect::id).toList());
        assertThat(new TreeSet<>(defects.stream()
                        .map(each -> (String) each.get("status"))
                        .toList()))
                .containsExactly("notApplicable", "notShown", "shown");
        Map<String, Object> call = JsonTree.object(
                JsonTree.list(JsonTree.object(defects.getFirst().get("posted")).get("calls"))
                        .getFirst());
        assertThat(call).containsEntry("result", -22L).containsEntry("panic", null);
        assertThat(JsonTree.object(call.get("broken"))).containsOnlyKeys("I-14", "I-50");
        assertThat(JsonTree.object(JsonTree.list(call.get("owners")).getFirst()))
                .containsEntry("from", "hyp")
                .containsEntry("to", "host")
                .containsEntry("pages", 1L);
    }

    @Test
    void severalAreToldOneAfterTheOther() {
        String text = Run.of("defects", "D-24", "d-6").succeeds().text();
        assertThat(text).startsWith("D-24  ").contains("\n" + "-".repeat(120) + "\n\nD-06  ");
    }

    @ParameterizedTest
    @ValueSource(strings = {"D-35", "D-00", "nonsense", ""})
    void anUnknownNumberIsOneLine(String id) {
        Run run = Run.of("defects", id);
        assertThat(run.status()).isEqualTo(2);
        assertThat(run.out()).isEmpty();
        assertThat(run.err())
                .isEqualTo("s2snap: there is no defect \"" + id + "\", only D-01 to D-34; see s2snap defects --help\n");
    }
}
