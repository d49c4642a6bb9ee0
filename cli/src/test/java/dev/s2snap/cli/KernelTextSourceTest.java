package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// `dump` of a kernel's text: what a real kernel wrote, what the model's tables are written as, and what is refused.
class KernelTextSourceTest {
    private static final Path RICH = Path.of("src/test/resources/ptdump-7.3-nvhe-rich");
    private static final List<String> DIALECTS =
            List.of("v4", "linux-6.12", "linux-6.18", "linux-7.3", "android-6.6", "android-6.12");

    @TempDir
    private Path folder;

    private Path file(String text) throws IOException {
        return Files.writeString(folder.resolve("table.txt"), text);
    }

    @ParameterizedTest
    @ValueSource(strings = {"ptdump-7.3-nvhe", "ptdump-7.3-nvhe-rich"})
    void theTextOfARealKernelIsReadAndWrittenBack(String name) throws IOException {
        Path text = RICH.resolveSibling(name).resolve("ptdump.txt");
        assertThat(Run.of("dump", text, "--dialect", "linux-7.3").succeeds().out())
                .isEqualTo(Files.readAllBytes(text));
        // And converted as the table itself is written.
        for (String earlier : List.of("linux-6.12", "linux-6.18")) {
            Object[] table = {
                "dump",
                text.resolveSibling("guest.core"),
                "--regs",
                text.resolveSibling("guest.regs.json"),
                "--table",
                "guest:0",
                "--dialect",
                earlier
            };
            assertThat(Run.of("dump", text, "--dialect", earlier).succeeds().text())
                    .isEqualTo(Run.of(table).succeeds().text());
        }
    }

    /// Every region of the text is what the table in memory says, in the bits that are told.
    @Test
    void theTextOfARealKernelAgreesWithItsTable() {
        Map<String, Object> text = JsonTree.parse(Run.of("dump", RICH.resolve("ptdump.txt"), "--format", "json")
                .succeeds()
                .out());
        Map<String, Object> table = JsonTree.parse(Run.of(
                        "dump",
                        RICH.resolve("guest.core"),
                        "--regs",
                        RICH.resolve("guest.regs.json"),
                        "--table",
                        "guest:0",
                        "--format",
                        "json")
                .succeeds()
                .out());
        assertThat(text)
                .containsEntry("schema", 1L)
                .containsEntry("table", "guest")
                .containsEntry("dialect", "linux-7.3")
                .containsEntry("complete", true);
        assertThat(JsonTree.object(text.get("geometry")))
                .containsEntry("inputBits", 40L)
                .containsEntry("startLevel", null);
        List<Object> regions = new ArrayList<>(JsonTree.list(text.get("leaves")));
        long mapped = 0;
        for (Object each : JsonTree.list(table.get("leaves"))) {
            Map<String, Object> leaf = JsonTree.object(each);
            Map<String, Object> region = regions.stream()
                    .map(JsonTree::object)
                    .filter(other -> number(other, "start") <= number(leaf, "start")
                            && number(other, "end") >= number(leaf, "end"))
                    .findFirst()
                    .orElseThrow();
            assertThat(region.get("level")).isEqualTo(leaf.get("level"));
            assertThat(region.get("kind")).isEqualTo(leaf.get("kind"));
            assertThat(region.get("pa")).isNull();
            assertThat((number(region, "bits") ^ number(leaf, "bits")) & number(region, "mask"))
                    .isZero();
            mapped += number(leaf, "end") - number(leaf, "start");
        }
        long told = regions.stream()
                .map(JsonTree::object)
                .mapToLong(region -> number(region, "end") - number(region, "start"))
                .sum();
        assertThat(told).isEqualTo(mapped);
    }

    private static long number(Map<String, Object> map, String key) {
        return Long.decode((String) map.get(key));
    }

    @ParameterizedTest
    @CsvSource({"host, host", "npvm, host", "npvm, guest:0"})
    void everyTableOfADebian6_12IsReadBackFromEveryDialect(String stage, String table) throws IOException {
        roundTrips("dump", Run.core(stage), "--regs", Run.registers(stage), "--table", table);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "model:touch=boot",
                "model:ram=1G,touch=random,seed=3",
                "model:granule=16K,ipa=48,touch=random,seed=7"
            })
    void everyTableOfTheModelIsReadBackFromEveryDialect(String model) throws IOException {
        roundTrips("dump", model);
    }

    private void roundTrips(Object... dump) throws IOException {
        for (String dialect : DIALECTS) {
            Object[] arguments = Arrays.copyOf(dump, dump.length + 2);
            arguments[dump.length] = "--dialect";
            arguments[dump.length + 1] = dialect;
            String text = Run.of(arguments).succeeds().text();
            Path file = file(text);
            assertThat(Run.of("dump", file, "--from", dialect, "--dialect", dialect)
                            .succeeds()
                            .text())
                    .as(dialect)
                    .isEqualTo(text);
        }
    }

    @Test
    void theTextIsShownInTheColumnsOfADump() {
        assertThat(Run.of("dump", RICH.resolve("ptdump.txt")).succeeds().text())
                .startsWith("""
                guest: stage 2, 40-bit input, from a text of linux-7.3
                  such a text has no output addresses, no granule and no root

                input address              size  level    perm
                0x0040000000-0x0040001000    4K  3 page   rwx
                """)
                .endsWith("empty      1023G 1021M 920K\n");
    }

    @Test
    void csvHasOneHeaderForTextsAndTables() {
        String text = Run.of("dump", RICH.resolve("ptdump.txt"), "--format", "csv")
                .succeeds()
                .text();
        String table = Run.of("dump", Run.core("npvm"), "--regs", Run.registers("npvm"), "--format", "csv")
                .succeeds()
                .text();
        assertThat(text).contains("\n0x40000000,0x40001000,0x1000,3,page,,0x4c3,0x600000000004c3,rwx,,\n");
        assertThat(table).contains(",\"! host, yet EL2 owns it too\"\n");
        assertThat(text.lines().findFirst()).isEqualTo(table.lines().findFirst());
        assertThat(table.lines())
                .allMatch(line -> line.replaceAll("\"[^\"]*\"", "").split(",", -1).length == 11);
    }

    @Test
    void whatTheTextDoesNotTellIsNotConverted() {
        assertThat(Run.of("dump", RICH.resolve("ptdump.txt"), "--dialect", "v4")
                        .isRefused()
                        .err())
                .contains("ptdump.txt: v4 needs the start level, which linux-7.3 does not tell");
    }

    @Test
    void aTextThatLeavesItsDialectOpenAsksForIt() throws IOException {
        Path file = file("---[ Guest IPA ]---\n0x0000000000000000-0x0000000080000000           2G 2\n");
        assertThat(Run.of("dump", file).isRefused().err())
                .contains("line 2: up to here", "say which it is with --from");
        assertThat(Run.of("dump", file, "--from", "linux-6.12").succeeds().text())
                .contains("from a text of linux-6.12\n", "nothing is told about what is behind 0x80000000\n");
        assertThat(Run.of("dump", Run.core("npvm"), "--from", "v4").isRefused().err())
                .contains("--from is for a kernel's text");
    }

    @Test
    void aTextThatIsCutIsBadNews() throws IOException {
        Run run = Run.of(
                "dump",
                file("---[ Guest IPA ]---\n0x0000000000000000-0x0000000000003000          12K 3\n"),
                "--from",
                "linux-7.3");
        assertThat(run.status()).isEqualTo(1);
        assertThat(run.text()).contains("the text is cut");
    }

    @Test
    void aDamagedTextIsRefusedWithItsLine() throws IOException {
        String whole = Files.readString(RICH.resolve("ptdump.txt"), StandardCharsets.US_ASCII);
        assertThat(Run.of("dump", file(whole.replaceFirst("60K", "61K")))
                        .isRefused()
                        .err())
                .contains("table.txt: line 4: its size is 60K, and the size column says \"61K\"; copy the text again");
        assertThat(Run.of("dump", file(whole.substring(whole.indexOf('\n') + 1)))
                        .isRefused()
                        .err())
                .contains("table.txt: line 1: it is not \"---[ Guest IPA ]---\"");
    }

    @ParameterizedTest
    @ValueSource(strings = {"--table=guest:0", "--regs=x.json", "--era=6.12"})
    void optionsAboutAMachineAreRefused(String option) {
        assertThat(Run.of("dump", RICH.resolve("ptdump.txt"), option)
                        .isRefused()
                        .err())
                .contains("one table and has no registers; leave out " + option.substring(0, option.indexOf('=')));
    }

    @Test
    void commandsThatNeedAMachineSaySo() {
        assertThat(Run.of("info", RICH.resolve("ptdump.txt")).isRefused().err())
                .contains("it is a kernel's text of one table, and this needs a whole machine; see s2snap dump");
    }

    @Test
    void aDialectIsNoOtherFormat() {
        assertThat(Run.of("dump", RICH.resolve("ptdump.txt"), "--dialect", "linux-6.12", "--format", "csv")
                        .isRefused()
                        .err())
                .contains("a dialect is text; leave out --dialect or --format csv");
    }
}
