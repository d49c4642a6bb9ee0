package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SnapshotCommandTest {
    @TempDir
    private Path folder;

    @ParameterizedTest
    @ValueSource(strings = {"posted", "corrected"})
    void tellsTheSixStepsInTheirOrderAndReturnsEveryPage(String variant) {
        String text = Run.of("snapshot", "--variant", variant).succeeds().text();

        List<String> steps = text.lines()
                .map(String::strip)
                .filter(line -> line.matches("\\([1-6]\\).*"))
                .toList();
        assertThat(steps)
                .containsExactly(
                        "(1) allocate memory for the snapshot",
                        "(2) invoke the __pkvm_host_stage2_snapshot(snapshot) interface",
                        "(3) donate the snapshot from HOST -> HYP",
                        "(4) save the host stage-2 pagetables in the snapshot",
                        "(5) donate the snapshot from HYP -> HOST",
                        "(6) free the memory for the snapshot");
        assertThat(text.lines().filter(line -> line.contains("605 pages")).map(String::strip))
                .containsExactly(
                        "605 pages: host state owned, hyp has no access",
                        "605 pages: host has no access, hyp state owned",
                        "605 pages: host has no access, hyp state owned",
                        "605 pages: host state owned, hyp has no access");
        assertThat(text).contains("[--- return from HYP: 0 ---]", "from the snapshot", "findings   none");
    }

    @ParameterizedTest
    @ValueSource(strings = {"host", "hyp"})
    void captureOfTheModelDumpsToTheSameTextAndJsonAsTheLiveModel(String table) throws IOException {
        Path capture = folder.resolve("model.core");
        Run.of("snapshot", "model", "-o", capture).succeeds();

        assertThat(Run.of("dump", capture, "--table", table).succeeds().text())
                .isEqualTo(Run.of("dump", "model", "--table", table).succeeds().text());
        assertThat(withoutSource(Run.of("dump", capture, "--table", table, "--format", "json")
                        .succeeds()))
                .isEqualTo(withoutSource(Run.of("dump", "model", "--table", table, "--format", "json")
                        .succeeds()));
        try (var files = Files.list(folder)) {
            assertThat(files).containsExactly(capture);
        }
    }

    private static String withoutSource(Run run) {
        return run.text().replaceFirst("\"source\":\"[^\"]*\"", "");
    }

    @Test
    void realMachineIsReadAtRestAndItsCaptureNeedsNoRegisters() {
        Path capture = folder.resolve("npvm.s2snap");
        Run run = Run.of("snapshot", Run.core("npvm"), "--regs", Run.registers("npvm"), "-o", capture)
                .succeeds();

        assertThat(run.text()).contains("read at rest: ", "tables: host, hyp, guest:0", "capture: " + capture);
        assertThat(Run.of("dump", capture).succeeds().text())
                .isEqualTo(Run.of("dump", Run.core("npvm"), "--regs", Run.registers("npvm"))
                        .succeeds()
                        .text());
    }

    @Test
    void variantIsRefusedForARealMachine() {
        assertThat(Run.of("snapshot", Run.core("host"), "--regs", Run.registers("host"), "--variant", "posted")
                        .isRefused()
                        .err())
                .contains("only the model has variants");
    }

    @Test
    void captureIntoAMissingFolderIsRefusedBeforeAnythingIsPrinted() {
        Run.of("snapshot", "model", "-o", folder.resolve("none").resolve("x")).isRefused();
    }
}
