package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class DebugfsCommandTest {

    @ParameterizedTest
    @CsvSource({"''", "model", "model:ram=256M"})
    void withoutAPathItListsTheFiles(String source) {
        assertThat((source.isEmpty() ? Run.of("debugfs") : Run.of("debugfs", source))
                        .succeeds()
                        .text())
                .isEqualTo("""
                        kvm:
                        842-9
                        host_page_tables

                        kvm/842-9:
                        ipa_range
                        stage2_levels
                        stage2_page_tables
                        """);
    }

    @ParameterizedTest
    @ValueSource(strings = {"kvm/842-9", "kvm/842-9/", "/sys/kernel/debug/kvm/842-9"})
    void aFolderIsListed(String path) {
        assertThat(Run.of("debugfs", "model", path).succeeds().text())
                .isEqualTo("kvm/842-9:\nipa_range\nstage2_levels\nstage2_page_tables\n");
        assertThat(Run.of("debugfs", path).succeeds().text()).startsWith("kvm/842-9:\n");
    }

    @Test
    void theHostsTableIsASnapshotInTheWordsOfTheSeries() {
        String text =
                Run.of("debugfs", "model", "kvm/host_page_tables").succeeds().text();

        List<String> lines = text.lines().toList();
        assertThat(lines.getFirst()).isEqualTo("---[ IPA bits 40 start lvl 1 ]---");
        // Without a gap from the first address to the last (D-32).
        String end = "0x0000000000000000";
        for (String line : lines.subList(1, lines.size())) {
            assertThat(line).startsWith(end + "-");
            end = line.substring(19, 37);
        }
        assertThat(end).isEqualTo("0x0000010000000000");
        // The 605 pages that are lent meanwhile are in it, as the hypervisor's (D-12).
        assertThat(text).contains(" PTE F                      HYP\n").doesNotContain("FF-A", "NOPAGE");
        assertThat(text).contains("PKVM_PAGE_OWNED", "PKVM_PAGE_SHARED_OWNED", "PKVM_PAGE_SHARED_BORROWED");
    }

    @Test
    void aGuestsTableIsWhatARealKernelWroteAboutSuchAGuest() throws IOException {
        assertThat(Run.of("debugfs", "model", "kvm/842-9/stage2_page_tables", "--dialect", "linux-7.3")
                        .succeeds()
                        .out())
                .isEqualTo(Files.readAllBytes(Path.of("src/test/resources/ptdump-7.3-nvhe-rich/ptdump.txt")));
    }

    @ParameterizedTest
    @CsvSource({
        "model:granule=16K, 40, 2",
        "model:granule=64K, 40, 2",
        "'model:ipa=48', 48, 4",
        "'model:ipa=52,ram=1G', 52, 4",
        "'model:ipa=32', 32, 2"
    })
    void everyMachineHasThem(String source, String bits, String levels) {
        assertThat(Run.of("debugfs", source, "kvm/842-9/ipa_range").succeeds().text())
                .isEqualTo(bits + "\n");
        assertThat(Run.of("debugfs", source, "kvm/842-9/stage2_levels")
                        .succeeds()
                        .text())
                .isEqualTo(levels + "\n");
        assertThat(Run.of("debugfs", source, "kvm/842-9/stage2_page_tables")
                        .succeeds()
                        .text())
                .contains("R W");
        assertThat(Run.of("debugfs", source, "kvm/host_page_tables").succeeds().text())
                .contains(" HYP\n");
    }

    @Test
    void mistakesAreOneLine(@TempDir Path folder) throws IOException {
        assertThat(Run.of("debugfs", "model", "kvm/none").isRefused().err())
                .contains("kvm/none: there is no such file; see s2snap debugfs model");
        assertThat(Run.of("debugfs", "model", "kvm/1-1/ipa_range").isRefused().err())
                .contains("there is no such file");
        assertThat(Run.of("debugfs", Run.core("host")).isRefused().err())
                .contains("host.core: only the model has a kernel that can be asked; see the tables of other sources"
                        + " with s2snap dump --dialect");
        assertThat(Run.of("debugfs", "model", "kvm", "more").isRefused().err()).contains("more");
        assertThat(Run.of("debugfs", "model:what=1").isRefused().err()).contains("what=1");
        Run.of("debugfs", "none.core").isRefused();
        // A hypervisor that was built without the call.
        Path script = Files.writeString(
                folder.resolve("script"),
                Files.readString(Path.of("..", "samples", "seed.txt"))
                                .lines()
                                .filter(line -> line.startsWith("> cfg "))
                                .collect(Collectors.joining("\n"))
                        + "\n> cfg debug 0\n> init\n");
        Run run = Run.of("debugfs", "model:script=" + script, "kvm/host_page_tables");
        assertThat(run.isRefused().err()).contains("EOPNOTSUPP");
    }

    @Test
    void itHasHelpWithAnExample() {
        assertThat(Run.of("debugfs", "--help").succeeds().text())
                .contains("Usage: s2snap debugfs")
                .contains("Examples:\n  s2snap debugfs model\n");
    }
}
