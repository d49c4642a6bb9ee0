package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.pkvm.Rule;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// `check` on machines as they are, and what it prints.
class CheckCommandTest {
    private static final Path DOCUMENT = Path.of("..", "docs", "check.md");

    @TempDir
    private Path folder;

    @ParameterizedTest
    @ValueSource(
            strings = {
                "custom-7.3-host",
                "custom-7.3-npvm",
                "custom-7.3-pvm",
                "custom-7.3-rich-npvm",
                "custom-7.3-rich-pvm",
                "deb-7.3-host",
                "deb-7.3-npvm",
                "deb-7.3-pvm",
                "trace-custom-7.3-pvm",
                "trace-deb-7.3-npvm",
                "ptdump-7.3-nvhe-guest",
                "ptdump-7.3-nvhe-rich-guest",
            })
    void aKernelThatKeepsTheRulesIsClean(String capture) throws IOException {
        Run run = DamagedCore.of(capture).check(folder, "--format", "json").succeeds();
        assertThat(CheckCorruptionsTest.violations(run)).isEmpty();
    }

    @ParameterizedTest
    @CsvSource({
        "deb-6.1-host, I-14 0x43036000-0x43037000, I-14 0x43037000-0x43038000",
        "deb-6.1-npvm, I-20 0x42c60000-0x42c61000, I-20 0x42c61000-0x42c62000",
        "deb-6.12-host, I-14 0x43039000-0x4303a000, I-14 0x4303a000-0x4303b000",
        "deb-6.12-npvm, I-20 0x433c6000-0x433c7000, I-20 0x433c7000-0x433c8000",
        "trace-deb-6.12-npvm, I-20 0x4324e000-0x4324f000, I-20 0x4324f000-0x43250000",
    })
    void theStacksThatTwoKernelsLeaveToTheHostAreFoundAndNothingElse(String capture, String first, String second)
            throws IOException {
        Run run = DamagedCore.of(capture).check(folder, "--format", "json");
        assertThat(run.status()).isEqualTo(1);
        assertThat(CheckCorruptionsTest.violations(run)).containsExactly(first, second);
        assertThat(run.text()).contains("an EL2 stack");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "model",
                "model:touch=none",
                "model:ram=4G,touch=pages",
                "model:ram=1G,granule=16K,ipa=48,regions=3,touch=random,seed=7",
                "model:ram=1G,granule=64K,touch=random,seed=3",
                "model:ram=2G,ipa=52,regions=5,touch=random,seed=5",
                "model:ram=64M,ipa=32",
            })
    void theModelIsCleanAfterBoot(String source) {
        Run run = Run.of("check", source).succeeds();
        assertThat(run.text()).startsWith("no rule is broken in host, hyp\n");
    }

    /// What the secure world has, no table tells, but the machine and its capture both know that there is one.
    @Test
    void aCaptureOfPagesSharedWithTheSecureWorldGivesTheAnswerOfTheModel() throws IOException {
        Path script = Files.writeString(folder.resolve("share.s2s"), "> share_ffa 0x41000 3\n");
        Path capture = folder.resolve("shared.core");
        String model = "model:script=" + script;
        Run live = Run.of("check", model).succeeds();
        assertThat(live.text()).contains("I-22                of 12K: the secure world may have them (FF-A)");
        Run.of("snapshot", model, "-o", capture).succeeds();
        assertThat(Run.of("check", capture).succeeds().text()).isEqualTo(live.text());
        Path unprotected = Files.writeString(folder.resolve("m.json"), "{\"schema\":1,\"ffa\":false}");
        Run strict = Run.of("check", capture, "--machine", unprotected);
        assertThat(strict.status()).isEqualTo(1);
        assertThat(strict.text()).contains("the host shares memory with nobody, unless the secure world has it (FF-A)");
    }

    @Test
    void pagesOfAPoolThatNoTableReachesAreLintAndNoViolation() throws IOException {
        Path script = Files.writeString(folder.resolve("take.s2s"), "> hpool_take 3\n");
        assertThat(Run.of("check", "model:script=" + script).succeeds().text())
                .contains("could be better: 2 places, 12K of tables\n")
                .contains("  pools   0x000046260000-0x000046262000  in use as tables, and no table reaches it,"
                        + " saves 8K\n");
        Path back = Files.writeString(folder.resolve("back.s2s"), "> hpool_take 3\n> hpool_give\n");
        assertThat(Run.of("check", "model:script=" + back).succeeds().text()).doesNotContain("could be better");
    }

    @Test
    void whatCouldBeBetterIsNoViolation() {
        Run run = Run.of("check", "model:ram=4G,touch=pages").succeeds();
        assertThat(run.text())
                .contains("could be better: 1 place, 7M 968K of tables")
                .contains("could be 2034 blocks of 2M, saves 8136K");
    }

    @Test
    void jsonHasWhatProgramsExpect() throws IOException {
        Run run = DamagedCore.of("deb-6.12-host").check(folder, "--format", "json");
        Map<String, Object> tree = JsonTree.parse(run.out());
        assertThat(tree.keySet()).containsExactly("schema", "violations", "lint", "notChecked");
        assertThat(tree.get("schema")).isEqualTo(1L);
        Map<String, Object> violation = JsonTree.object(
                JsonTree.list(Objects.requireNonNull(tree.get("violations"))).getFirst());
        assertThat(violation.keySet()).startsWith("rule", "severity", "start", "end", "message", "evidence");
        assertThat(violation.get("severity")).isEqualTo("critical");
        Map<String, Object> evidence = JsonTree.object(
                JsonTree.list(Objects.requireNonNull(violation.get("evidence"))).getFirst());
        assertThat(evidence.get("table")).isEqualTo("host");
        assertThat(evidence.get("start")).isEqualTo("0x43039000");
        List<Object> path = JsonTree.list(Objects.requireNonNull(evidence.get("path")));
        assertThat(path).hasSize(3);
        assertThat(path.getLast())
                .isEqualTo(Map.of(
                        "level", 2L,
                        "address", "0x4faca0c0",
                        "inputAddress", "0x43000000",
                        "descriptor", "0x430007fd"));
        assertThat(JsonTree.list(Objects.requireNonNull(tree.get("notChecked"))))
                .anySatisfy(left -> assertThat(JsonTree.object(left).keySet()).containsExactly("rule", "reason"));
    }

    @Test
    void lintIsInTheJsonToo() {
        Map<String, Object> tree = JsonTree.parse(Run.of("check", "model:ram=1G,touch=pages", "--format", "json")
                .succeeds()
                .out());
        assertThat(JsonTree.object(
                        JsonTree.list(Objects.requireNonNull(tree.get("lint"))).getFirst()))
                .containsEntry("kind", "coalesce")
                .containsEntry("table", "host");
    }

    @Test
    void theAnswerCanGoToAFile() throws IOException {
        Path file = folder.resolve("check.txt");
        assertThat(Run.of("check", "model", "-o", file).succeeds().text()).isEmpty();
        assertThat(Files.readString(file)).startsWith("no rule is broken");
    }

    @Test
    void aKernelThatIsNotKnownIsCheckedAsFarAsItGoes() throws IOException {
        Run run = DamagedCore.of("ptdump-7.3-nvhe-guest").check(folder).succeeds();
        assertThat(run.text())
                .contains("no rule is broken in hyp, guest:0")
                .contains("there is no host table: HCR_EL2.VM is 0");
    }

    @Test
    void aSourceThatIsNotThereIsRefused() {
        assertThat(Run.of("check", "nowhere.core").isRefused().err()).contains("there is no such file");
    }

    @ParameterizedTest
    @EnumSource
    void everyRuleIsInTheDocument(Rule rule) throws IOException {
        assertThat(Files.readAllLines(DOCUMENT))
                .contains("| " + rule.id() + " | " + rule.words() + " | "
                        + rule.severity().id() + " | " + rule.releases() + " |")
                .contains("- " + rule.id() + ": " + rule.meaning() + ".");
    }

    @Test
    void theIdsAreInOrder() {
        assertThat(Arrays.stream(Rule.values())
                        .map(rule -> Integer.parseInt(rule.id().substring(2))))
                .isSorted();
    }
}
