package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Real machines, Debian's 6.1, 6.12 and 7.3 and a 7.3 of our own making, and what an independent walker found in each
/// of their tables. (Two more are in samples.)
class CapturesTest {

    static final Path CAPTURES = captures();

    @TempDir
    private static Path folder;

    private static Path captures() {
        try {
            return Path.of(Objects.requireNonNull(CapturesTest.class.getResource("/captures"))
                    .toURI());
        } catch (URISyntaxException e) {
            throw new AssertionError(e);
        }
    }

    static byte[] unpacked(String file) throws IOException {
        try (InputStream in = new GZIPInputStream(Files.newInputStream(CAPTURES.resolve(file)))) {
            return in.readAllBytes();
        }
    }

    private static Map<String, Object> dump(String capture, String table) throws IOException {
        Path core = folder.resolve(capture + ".core");
        if (!Files.exists(core)) {
            Files.write(core, unpacked(capture + ".core.gz"));
        }
        String registers = CAPTURES.resolve(capture + ".regs.json").toString();
        return JsonTree.parse(Run.of("dump", core.toString(), "--regs", registers, "--table", table, "--format", "json")
                .succeeds()
                .out());
    }

    static List<Arguments> everyTable() throws IOException {
        List<Arguments> tables = new ArrayList<>();
        try (var files = Files.list(CAPTURES)) {
            for (Path file : files.sorted().toList()) {
                String name = file.getFileName().toString();
                if (name.endsWith(".expected.json.gz")) {
                    String capture = name.substring(0, name.length() - ".expected.json.gz".length());
                    Map<String, Object> expected = JsonTree.parse(unpacked(name));
                    for (String table : List.of("host", "hyp")) {
                        if (expected.get(table) != null) {
                            tables.add(Arguments.of(capture, table, expected.get(table)));
                        }
                    }
                    List<Object> guests = JsonTree.list(expected.get("guests"));
                    for (int guest = 0; guest < guests.size(); guest++) {
                        tables.add(Arguments.of(capture, "guest:" + guest, guests.get(guest)));
                    }
                }
            }
        }
        assertThat(tables).hasSize(37);
        return tables;
    }

    @ParameterizedTest(name = "{0} {1}")
    @MethodSource("everyTable")
    void everyLeafAndEveryCountIsAsExpected(String capture, String table, Map<String, Object> expected)
            throws IOException {
        Map<String, Object> dump = dump(capture, table);
        assertThat(dump.get("leaves")).isEqualTo(expected.get("leaves"));
        assertThat(dump.get("counts")).isEqualTo(expected.get("counts"));
        assertThat(dump.get("complete")).isEqualTo(true);
        assertThat(JsonTree.list(dump.get("findings"))).isEmpty();
        assertGeometry(dump, expected);
    }

    /// The two have other names for the same things.
    static void assertGeometry(Map<String, Object> dump, Map<String, Object> expected) {
        Map<String, Object> wanted = JsonTree.object(expected.get("geometry"));
        assertThat(JsonTree.object(dump.get("geometry")))
                .isEqualTo(Map.of(
                        "granuleShift", wanted.get("granule_shift"),
                        "inputBits", wanted.get("ia_bits"),
                        "startLevel", wanted.get("start_level"),
                        "rootAddress", wanted.get("root_pa"),
                        "rootEntries", wanted.get("root_entries"),
                        "rootPages", wanted.get("root_pages"),
                        "lpa2", wanted.get("lpa2")));
    }

    /// Pages of RAM in each pair of states, host and hypervisor, and how many have a count of guests. What 7.3 keeps in
    /// its hyp_vmemmap was counted there when the captures were made.
    @ParameterizedTest
    @CsvSource({
        "custom-7.3-host, 0, OWNED/NOPAGE=63952 NOPAGE/OWNED=1584",
        "custom-7.3-npvm, 33, OWNED/NOPAGE=63900 SHARED_OWNED/NOPAGE=33 SHARED_OWNED/SHARED_BORROWED=5"
                + " NOPAGE/OWNED=1598",
        "custom-7.3-pvm, 0, OWNED/NOPAGE=63900 SHARED_OWNED/SHARED_BORROWED=5 NOPAGE/OWNED=1598 NOPAGE/NOPAGE=33",
        "custom-7.3-rich-npvm, 538, OWNED/NOPAGE=63394 SHARED_OWNED/NOPAGE=538 SHARED_OWNED/SHARED_BORROWED=5"
                + " NOPAGE/OWNED=1599",
        "custom-7.3-rich-pvm, 0, OWNED/NOPAGE=63900 SHARED_OWNED/SHARED_BORROWED=5 NOPAGE/OWNED=1598"
                + " NOPAGE/NOPAGE=33",
        "deb-7.3-host, 0, OWNED/NOPAGE=63953 NOPAGE/OWNED=1583",
        "deb-7.3-npvm, 33, OWNED/NOPAGE=63901 SHARED_OWNED/NOPAGE=33 SHARED_OWNED/SHARED_BORROWED=5"
                + " NOPAGE/OWNED=1597",
        "deb-7.3-pvm, 0, OWNED/NOPAGE=63901 SHARED_OWNED/SHARED_BORROWED=5 NOPAGE/OWNED=1597 NOPAGE/NOPAGE=33",
        "trace-custom-7.3-pvm, 0, OWNED/NOPAGE=63952 NOPAGE/OWNED=1584",
        "trace-deb-7.3-npvm, 0, OWNED/NOPAGE=63953 NOPAGE/OWNED=1583",
    })
    void everyPageOfMemoryHasTheStateThatTheVmemmapHas(String capture, long shared, String expected)
            throws IOException {
        Map<String, Long> pages = new TreeMap<>();
        long guestShares = 0;
        for (Object run : JsonTree.list(dump(capture, "host").get("states"))) {
            Map<String, Object> state = JsonTree.object(run);
            long start = Long.decode((String) state.get("start"));
            long number = (Long.decode((String) state.get("end")) - start) / 4096;
            if (start >= 0x4000_0000L && start < 0x5000_0000L) {
                pages.merge(state.get("host") + "/" + state.get("hyp"), number, Long::sum);
                guestShares += Objects.equals(state.get("guestShares"), 0L) ? 0 : number;
            }
        }
        Map<String, Long> wanted = new TreeMap<>();
        for (String pair : expected.split(" ", -1)) {
            wanted.put(pair.substring(0, pair.indexOf('=')), Long.parseLong(pair.substring(pair.indexOf('=') + 1)));
        }
        assertThat(pages).isEqualTo(wanted);
        assertThat(guestShares).isEqualTo(shared);
    }

    /// States included: a capture has the pages of the hyp_vmemmap.
    @ParameterizedTest
    @ValueSource(strings = {"deb-6.1-npvm", "custom-7.3-pvm", "deb-7.3-npvm"})
    void aCaptureDumpsAsItsSourceDoes(String capture) throws IOException {
        dump(capture, "host");
        Path copy = folder.resolve(capture + ".s2snap");
        Run.of(
                        "snapshot",
                        folder.resolve(capture + ".core").toString(),
                        "--regs",
                        CAPTURES.resolve(capture + ".regs.json").toString(),
                        "-o",
                        copy.toString())
                .succeeds();
        for (String table : List.of("host", "hyp", "guest:0")) {
            Map<String, Object> again =
                    JsonTree.parse(Run.of("dump", copy.toString(), "--table", table, "--format", "json")
                            .succeeds()
                            .out());
            Map<String, Object> first = dump(capture, table);
            again.remove("source");
            first.remove("source");
            assertThat(again).isEqualTo(first);
        }
    }

    @Test
    void theTextNamesWhatEachPageIs() throws IOException {
        dump("custom-7.3-pvm", "host");
        String text = Run.of(
                        "dump",
                        folder.resolve("custom-7.3-pvm.core").toString(),
                        "--regs",
                        CAPTURES.resolve("custom-7.3-pvm.regs.json").toString())
                .succeeds()
                .text();
        assertThat(text)
                .contains("hyp, the host may read it")
                .contains("guest handle 0x1000 frames ")
                .contains("host, shared with hyp")
                .doesNotContain("!");
    }
}
