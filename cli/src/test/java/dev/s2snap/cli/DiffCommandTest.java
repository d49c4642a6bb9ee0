package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.function.BiConsumer;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// `diff` of real machines, against what `dump` and `owners` say of each of them, page by page.
class DiffCommandTest {
    private static final Path CAPTURES = resource("/captures");

    @TempDir
    private static Path folder;

    private static Path resource(String name) {
        try {
            return Path.of(Objects.requireNonNull(DiffCommandTest.class.getResource(name))
                    .toURI());
        } catch (URISyntaxException e) {
            throw new AssertionError(e);
        }
    }

    private static Path core(String capture) throws IOException {
        if (capture.startsWith("deb-6.12-")) {
            return Run.core(capture.substring("deb-6.12-".length()));
        }
        Path core = folder.resolve(capture + ".core");
        if (!Files.exists(core)) {
            try (InputStream in = new GZIPInputStream(Files.newInputStream(CAPTURES.resolve(capture + ".core.gz")))) {
                Files.write(core, in.readAllBytes());
            }
        }
        return core;
    }

    private static Path registers(String capture) {
        return capture.startsWith("deb-6.12-")
                ? Run.registers(capture.substring("deb-6.12-".length()))
                : CAPTURES.resolve(capture + ".regs.json");
    }

    private static Run diff(String a, String b, Object... more) throws IOException {
        List<Object> words =
                new ArrayList<>(List.of("diff", core(a), core(b), "--regs-a", registers(a), "--regs-b", registers(b)));
        words.addAll(List.of(more));
        Run run = Run.of(words.toArray());
        assertThat(run.err()).isEmpty();
        return run;
    }

    static List<String> captures() throws IOException {
        List<String> captures = new ArrayList<>(List.of("deb-6.12-host", "deb-6.12-npvm"));
        try (var files = Files.list(CAPTURES)) {
            files.map(file -> file.getFileName().toString())
                    .filter(name -> name.endsWith(".core.gz"))
                    .map(name -> name.substring(0, name.length() - ".core.gz".length()))
                    .sorted()
                    .forEach(captures::add);
        }
        assertThat(captures).hasSize(17);
        return captures;
    }

    @ParameterizedTest
    @MethodSource("captures")
    void noMachineDiffersFromItself(String capture) throws IOException {
        assertThat(diff(capture, capture).succeeds().text()).endsWith("\n\nno difference\n");
        Map<String, Object> json = JsonTree.parse(
                diff(capture, capture, "--format", "json").succeeds().out());
        assertThat(json).containsEntry("equal", true);
        assertThat(JsonTree.list(json.get("groups"))).isEmpty();
        assertThat(JsonTree.list(json.get("tables")))
                .isNotEmpty()
                .allMatch(table -> JsonTree.object(table).get("way").equals("bulk"));
    }

    // Against dump and owners.

    /// The pages of a range in a list of JSON.
    private static void pages(Object range, BiConsumer<Integer, Integer> each) {
        long start = Long.decode(
                (String) Objects.requireNonNull(JsonTree.object(range).get("start")));
        long end = Long.decode(
                (String) Objects.requireNonNull(JsonTree.object(range).get("end")));
        each.accept((int) (start >>> 12), (int) (end >>> 12));
    }

    private static Map<String, Object> ask(String command, String capture, String... more) throws IOException {
        List<Object> words =
                new ArrayList<>(List.of(command, core(capture), "--regs", registers(capture), "--format", "json"));
        words.addAll(List.of(more));
        return JsonTree.parse(Run.of(words.toArray()).succeeds().out());
    }

    /// What each page of a table is.
    private static Map<Integer, String> entries(String capture, String table) throws IOException {
        Map<Integer, String> entries = new TreeMap<>();
        for (Object leaf : JsonTree.list(ask("dump", capture, "--table", table).get("leaves"))) {
            Map<String, Object> map = JsonTree.object(leaf);
            pages(leaf, (from, to) -> {
                for (int page = from; page < to; page++) {
                    String pa = map.get("pa") == null
                            ? ""
                            : " " + (Long.decode((String) map.get("pa")) - ((long) from << 12));
                    entries.put(page, map.get("level") + " " + map.get("kind") + " " + map.get("bits") + pa);
                }
            });
        }
        return entries;
    }

    private static void owners(String capture, Map<Integer, String> entries) throws IOException {
        for (Object run : JsonTree.list(ask("owners", capture).get("owners"))) {
            pages(run, (from, to) -> {
                for (int page = from; page < to; page++) {
                    entries.merge(page, " " + JsonTree.object(run).get("owner"), String::concat);
                }
            });
        }
    }

    private static BitSet differing(Map<Integer, String> old, Map<Integer, String> now) {
        BitSet pages = new BitSet();
        old.forEach((page, said) -> pages.set(page, !said.equals(now.get(page))));
        now.forEach((page, said) -> pages.set(page, !said.equals(old.get(page))));
        return pages;
    }

    private static BitSet found(Map<String, Object> diff, String table) {
        BitSet pages = new BitSet();
        for (Object group : JsonTree.list(diff.get("groups"))) {
            if (table.equals(JsonTree.object(group).get("table"))) {
                int before = pages.cardinality();
                for (Object range : JsonTree.list(JsonTree.object(group).get("ranges"))) {
                    pages(range, pages::set);
                }
                assertThat(JsonTree.object(group).get("pages")).isEqualTo((long) pages.cardinality() - before);
            }
        }
        return pages;
    }

    @ParameterizedTest
    @CsvSource({
        "deb-6.12-host, deb-6.12-npvm",
        "deb-6.1-host, deb-6.1-npvm",
        "deb-6.1-npvm, deb-6.1-host",
        "deb-7.3-host, deb-7.3-npvm",
        "deb-7.3-npvm, deb-7.3-pvm",
        "deb-7.3-pvm, trace-deb-7.3-npvm",
        "custom-7.3-host, custom-7.3-pvm",
        "custom-7.3-pvm, custom-7.3-npvm",
        "custom-7.3-rich-npvm, custom-7.3-rich-pvm",
        "custom-7.3-rich-pvm, trace-custom-7.3-pvm",
    })
    void thePagesAreThoseThatDumpAndOwnersTellApart(String a, String b) throws IOException {
        Run run = diff(a, b, "--format", "json");
        assertThat(run.status()).isEqualTo(Main.BAD_NEWS);
        Map<String, Object> json = JsonTree.parse(run.out());
        assertThat(json).containsEntry("equal", false).containsEntry("notCompared", List.of());
        Map<Integer, String> old = entries(a, "host");
        owners(a, old);
        Map<Integer, String> now = entries(b, "host");
        owners(b, now);
        assertThat(found(json, "host")).isEqualTo(differing(old, now));
        Run table = diff(a, b, "--table", "host", "--format", "json");
        assertThat(found(JsonTree.parse(table.out()), "host")).isEqualTo(found(json, "host"));
    }

    @ParameterizedTest
    @CsvSource({
        "deb-7.3-npvm, deb-7.3-pvm, guest:0, VM 0x1000",
        "custom-7.3-npvm, custom-7.3-rich-npvm, guest:0, VM 0x1000",
        "custom-7.3-pvm, custom-7.3-rich-pvm, guest:0, VM 0x1000",
        "deb-6.12-npvm, trace-deb-6.12-npvm, hyp, hyp",
    })
    void otherTablesAreComparedToo(String a, String b, String table, String label) throws IOException {
        Map<String, Object> json = JsonTree.parse(diff(a, b, "--format", "json").out());
        if (table.startsWith("guest")) {
            assertThat(found(json, label)).isEqualTo(differing(entries(a, table), entries(b, table)));
        } else {
            assertThat(JsonTree.list(json.get("tables"))).hasSizeGreaterThan(1);
        }
    }

    @Test
    void aGuestThatStartedIsTold() throws IOException {
        assertThat(diff("custom-7.3-host", "custom-7.3-pvm").text())
                .contains("\nhost: donated to VM 0x1000: 132K\n")
                .contains("\nVM 0x1000: created: 132K\n")
                .contains("\n  host          132K  donated to VM 0x1000\n");
        assertThat(diff("custom-7.3-pvm", "custom-7.3-host", "--stat").text())
                .contains("  VM 0x1000     132K  gone\n")
                .doesNotContain("0x0000");
    }

    @Test
    void kernelsOfTwoErasAreCompared() throws IOException {
        Run run = diff("deb-6.12-host", "deb-7.3-host", "--format", "json");
        assertThat(run.status()).isEqualTo(Main.BAD_NEWS);
        Map<String, Object> json = JsonTree.parse(run.out());
        assertThat(JsonTree.list(json.get("machines"))).contains("kernel: 6.1 to 6.13 -> 7.0 and later");
        assertThat(JsonTree.list(json.get("tables")))
                .allMatch(table -> JsonTree.object(table).get("way").equals("runs"));
        assertThat(diff("deb-6.12-host", "deb-7.3-host").text())
                .contains("\n\nthe sources themselves differ\n  kernel: 6.1 to 6.13 -> 7.0 and later\n");
    }

    // Models and texts.

    @Test
    void aScriptsWorkIsADifference() {
        Path script = Path.of("..", "samples", "give-and-take.txt");
        Run run = Run.of("diff", "model", "model:script=" + script);
        assertThat(run.err()).isEmpty();
        assertThat(run.status()).isEqualTo(Main.BAD_NEWS);
        assertThat(run.text()).contains("\nhost: donated to hyp: 4K\n").contains("\nhost: shared with hyp: 4K\n");
        assertThat(Run.of("diff", "model:script=" + script, "model").text())
                .contains("\nhost: returned to host: 4K\n")
                .contains("\nhost: unshared: 4K\n");
    }

    @ParameterizedTest
    @ValueSource(strings = {"model:granule=16K,ram=64M", "model:granule=64K,ram=1G", "model:ipa=52,ram=64M"})
    void machinesOfOtherShapesAreCompared(String other) {
        assertThat(Run.of("diff", other, other).succeeds().text()).endsWith("no difference\n");
        Run run = Run.of("diff", "model:ram=64M", other, "--stat");
        assertThat(run.err()).isEmpty();
        assertThat(run.status()).isEqualTo(Main.BAD_NEWS);
        assertThat(run.text()).contains("the sources themselves differ\n").contains("\ntotal\n");
    }

    @ParameterizedTest
    @ValueSource(strings = {"ptdump-7.3-nvhe", "ptdump-7.3-nvhe-rich"})
    void aTextIsEqualToTheTableThatTheKernelPrinted(String machine) {
        Path text = resource("/" + machine + "/ptdump.txt");
        Path core = resource("/" + machine + "/guest.core");
        Path registers = resource("/" + machine + "/guest.regs.json");
        assertThat(Run.of("diff", text, core, "--regs-b", registers).succeeds().text())
                .endsWith("no difference\n");
        assertThat(Run.of("diff", core, text, "--regs-a", registers).succeeds().text())
                .contains("compared: guest:0\n");
        assertThat(Run.of("diff", text, text).succeeds().text()).endsWith("no difference\n");
        assertThat(Run.of("diff", text, core, "--regs-a", registers).isRefused().err())
                .contains("a kernel's text is one table and has no registers; leave out --regs-a");
    }

    @Test
    void textsOfTwoGuestsDiffer() {
        Run run = Run.of("diff", resource("/ptdump-7.3-nvhe/ptdump.txt"), resource("/ptdump-7.3-nvhe-rich/ptdump.txt"));
        assertThat(run.err()).isEmpty();
        assertThat(run.status()).isEqualTo(Main.BAD_NEWS);
        assertThat(run.text()).contains("guest: coalesced: 64K\n").contains("  empty -> 3 page, r--\n");
    }

    // Status 2.

    @Test
    void whatCannotBeAnsweredIsOneLine() throws IOException {
        assertThat(Run.of("diff", "model").isRefused().err()).contains("Missing required parameter");
        assertThat(Run.of("diff", "model", "nowhere").isRefused().err()).contains("nowhere: there is no such file");
        assertThat(Run.of("diff", "model", "model", "--table", "guest:0")
                        .isRefused()
                        .err())
                .startsWith("s2snap: model, model: there is no guest:0;");
        assertThat(Run.of("diff", "model", "model", "--regs-b", Run.registers("host"))
                        .isRefused()
                        .err())
                .contains("the model knows its own registers");
        Path text = resource("/ptdump-7.3-nvhe/ptdump.txt");
        assertThat(Run.of("diff", text, text, "--era-b", "6.12").isRefused().err())
                .contains("leave out --era-b");
        assertThat(Run.of("diff", text, text, "--machine-a", core("deb-7.3-host"))
                        .isRefused()
                        .err())
                .contains("leave out --machine-a");
    }

    @Test
    void tablesThatNoRegisterTellsOfAreCompared() throws IOException {
        String table = "at:0x4fac9000,ia=48,start=0";
        Run run = Run.of("diff", Run.core("host"), Run.core("host"), "--table", table);
        assertThat(run.succeeds().text()).contains("compared: at:0x4fac9000");
        assertThat(core("deb-7.3-host")).exists();
    }

    @Test
    void theAnswerGoesToAFile() throws IOException {
        Path file = folder.resolve("answer.txt");
        Run run = Run.of("diff", "model", "model", "-o", file);
        assertThat(run.succeeds().text()).isEmpty();
        assertThat(Files.readString(file)).endsWith("no difference\n");
    }

    /// A capture that lacks a table page: what is there is compared, and nothing is said to be equal.
    @Test
    void aDamagedCoreIsNeverEqual() throws IOException {
        DamagedCore damaged = DamagedCore.of("deb-7.3-pvm");
        long entry = damaged.entry("host", 0x4000_0000L, 2);
        damaged.set(entry, 0x7_0000_0003L);
        // To check it writes it.
        Path damage = Files.createDirectories(folder.resolve("damage"));
        assertThat(damaged.check(damage).err()).isEmpty();
        Path file = damage.resolve("deb-7.3-pvm.core");
        Path registers = registers("deb-7.3-pvm");
        Run run = Run.of(
                "diff", file, file, "--regs-a", registers, "--regs-b", registers, "--era-a", "7.3", "--era-b", "7.3");
        assertThat(run.err()).isEmpty();
        assertThat(run.status()).isEqualTo(Main.BAD_NEWS);
        assertThat(run.text())
                .contains("\nnot compared\n  0x000040000000-0x000040200000")
                .contains("of both a table is not in this memory\n")
                .endsWith("\nno difference in what could be compared\n");
    }

    /// Whatever stands in the tables, there is an answer, and it is not that nothing differs where owners do.
    @ParameterizedTest
    @ValueSource(strings = {"deb-6.12-host", "deb-7.3-pvm", "deb-6.1-npvm"})
    void scribbledTablesAreCompared(String capture) throws IOException {
        Path damage = Files.createDirectories(folder.resolve("scribbled"));
        for (int seed = 0; seed < 25; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            DamagedCore damaged = DamagedCore.of(capture);
            for (int i = 0; i <= seed; i++) {
                damaged.scribble(random);
            }
            damaged.check(damage);
            Path file = damage.resolve(capture + ".core");
            Run run =
                    Run.of("diff", core(capture), file, "--regs-a", registers(capture), "--regs-b", registers(capture));
            assertThat(run.err()).as("seed %d", seed).doesNotContain("defect");
            assertThat(run.status()).as("seed %d: %s", seed, run.err()).isBetween(0, 1);
            Run owners = Run.of("owners", file, "--regs", registers(capture));
            if (run.status() == 0) {
                assertThat(owners.text())
                        .as("seed %d", seed)
                        .isEqualTo(Run.of("owners", core(capture), "--regs", registers(capture))
                                .text());
            }
        }
    }
}
