package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Tables of Debian 6.12 against what an independent walker found in the whole memory image.
class GoldenDumpTest {

    private static Map<String, Object> dump(String stage, String table) {
        return JsonTree.parse(
                Run.of("dump", Run.core(stage), "--regs", Run.registers(stage), "--table", table, "--format", "json")
                        .succeeds()
                        .out());
    }

    private static Map<String, Object> expected(String stage, String table) throws IOException {
        Map<String, Object> all = JsonTree.parse(Files.readAllBytes(Run.SAMPLES.resolve(stage + ".expected.json")));
        return JsonTree.object(
                table.startsWith("guest") ? JsonTree.list(all.get("guests")).getFirst() : all.get(table));
    }

    @ParameterizedTest
    @CsvSource({"host, host", "host, hyp", "npvm, host", "npvm, hyp", "npvm, guest:0", "npvm, guest:vmid=1"})
    void everyLeafAndEveryCountIsAsExpected(String stage, String table) throws IOException {
        Map<String, Object> dump = dump(stage, table);
        Map<String, Object> expected = expected(stage, table);
        assertThat(dump.get("leaves")).isEqualTo(expected.get("leaves"));
        assertThat(dump.get("counts")).isEqualTo(expected.get("counts"));
        assertThat(dump.get("complete")).isEqualTo(true);

        CapturesTest.assertGeometry(dump, expected);
        Map<String, Object> wanted = JsonTree.object(expected.get("geometry"));
        assertThat(dump.get("regime")).isEqualTo(wanted.get("stage").equals(2L) ? "stage2" : "el2&0");
    }

    @Test
    void ownershipOfEveryPageIsWhatTheKernelKept() {
        Map<String, Long> pages = new TreeMap<>();
        List<Object> states = JsonTree.list(dump("npvm", "host").get("states"));
        long end = 0;
        for (Object run : states) {
            Map<String, Object> state = JsonTree.object(run);
            long start = Long.decode((String) state.get("start"));
            assertThat(start).isGreaterThanOrEqualTo(end);
            end = Long.decode((String) state.get("end"));
            if (start >= 0x4000_0000L) {
                pages.merge(state.get("host") + "/" + state.get("hyp"), (end - start) / 4096, Long::sum);
            }
            assertThat(state.get("guestShares")).isNull();
        }
        // 1576 annotated pages, all mapped at EL2; the two EL2 stack pages, which this kernel forgets to annotate;
        // three pages that the host shares and one that EL2 shares.
        assertThat(pages)
                .containsEntry("NOPAGE/OWNED", 1576L)
                .containsEntry("OWNED/OWNED", 2L)
                .containsEntry("SHARED_OWNED/SHARED_BORROWED", 3L)
                .containsEntry("SHARED_BORROWED/SHARED_OWNED", 1L)
                .containsOnlyKeys(
                        "NOPAGE/OWNED",
                        "OWNED/OWNED",
                        "OWNED/NOPAGE",
                        "SHARED_OWNED/SHARED_BORROWED",
                        "SHARED_BORROWED/SHARED_OWNED");
        assertThat(states)
                .filteredOn(run -> JsonTree.object(run).get("start").equals("0x433c6000"))
                .singleElement()
                .satisfies(run -> assertThat(JsonTree.object(run))
                        .containsEntry("end", "0x433c8000")
                        .containsEntry("host", "OWNED")
                        .containsEntry("hyp", "OWNED"));
    }

    @Test
    void theTextShowsTheStacksThatTheHostCanWrite() {
        assertThat(Run.of("dump", Run.core("npvm"), "--regs", Run.registers("npvm"))
                        .succeeds()
                        .text())
                .contains("0x0000433c6000-0x0000433c8000    8K  empty                               "
                        + "! host, yet EL2 owns it too\n")
                .contains(
                        "0x0000418df000-0x0000418e0000    4K  3 page       rwx   normal WB inner  hyp, shared with host\n")
                .contains(
                        "0x000043555000-0x000043557000    8K  3 page       rwx   normal WB inner  host, shared with hyp\n")
                .endsWith("findings   none\n");
    }

    @ParameterizedTest
    @ValueSource(strings = {"host", "hyp", "guest:0"})
    void noLineIsWiderThanAPage(String table) {
        assertThat(Run.of("dump", Run.core("npvm"), "--regs", Run.registers("npvm"), "--table", table)
                        .text()
                        .lines())
                .allSatisfy(line -> assertThat(line.length()).isLessThanOrEqualTo(120));
    }
}
