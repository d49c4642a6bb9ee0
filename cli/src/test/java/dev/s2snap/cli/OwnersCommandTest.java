package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// `owners` on tables that are damaged: what can be read is answered, and what cannot is said.
class OwnersCommandTest {
    private static final String PVM = "deb-7.3-pvm";
    private static final String HOST61 = "deb-6.1-host";
    private static final long NOWHERE = 0x7_0000_0003L;

    @TempDir
    private Path folder;

    /// @param remarks all of the answer
    record Damage(String what, String capture, Consumer<DamagedCore> change, List<String> remarks) {
        @Override
        public String toString() {
            return capture + ": " + what;
        }
    }

    static List<Damage> damages() {
        String host = "the host's table could not be read at 0x40000000-0x40200000: who owns that is not known";
        return List.of(
                new Damage("a table that is not there", PVM, m -> m.block("host", 0x40000000, NOWHERE), List.of(host)),
                new Damage("a cycle", PVM, m -> m.block("host", 0x40000000, m.root("host") | 3), List.of(host)),
                new Damage(
                        "a table that is not there", HOST61, m -> m.block("host", 0x40000000, NOWHERE), List.of(host)),
                new Damage("a cycle", HOST61, m -> m.block("host", 0x40000000, m.root("host") | 3), List.of(host)),
                new Damage(
                        "a table of EL2's linear map that is not there",
                        HOST61,
                        m -> m.set(m.entry("hyp", m.linear(0x4f800000), 2), NOWHERE),
                        List.of(
                                "some of EL2's table could not be read: memory that only this part maps counts as not"
                                        + " mapped at EL2",
                                "EL2's table could not be read where it tells of 0x4f800000-0x4fa00000: who owns that"
                                        + " is not known")),
                // This kernel has all states in the hyp_vmemmap.
                new Damage(
                        "a table of EL2's linear map that is not there",
                        PVM,
                        m -> m.set(m.entry("hyp", m.linear(0x4f800000), 2), NOWHERE),
                        List.of()),
                new Damage(
                        "a table of the guest that is not there",
                        PVM,
                        m -> m.set(m.entry("guest:0", 0x80004000L, 2), NOWHERE),
                        List.of("some of the table of guest:0 could not be read: what it maps there is not listed")));
    }

    @ParameterizedTest
    @MethodSource("damages")
    void theAnswerCoversWhatCanBeReadAndSaysWhatCannot(Damage damage) throws IOException {
        Run sound = DamagedCore.of(damage.capture).run(folder, "owners", "--format", "json");
        DamagedCore machine = DamagedCore.of(damage.capture);
        damage.change.accept(machine);

        Run text = machine.run(folder, "owners");
        assertThat(text.err()).isEmpty();
        assertThat(text.status()).isEqualTo(1);
        assertThat(text.text())
                .endsWith("some of the tables could not be read; dump shows what is missing\n")
                .contains("  host\n");
        damage.remarks.forEach(remark -> assertThat(text.text()).contains("note: " + remark + "\n"));

        Run json = machine.run(folder, "owners", "--format", "json");
        assertThat(json.err()).isEmpty();
        assertThat(json.status()).isEqualTo(1);
        Map<String, Object> tree = JsonTree.parse(json.out());
        assertThat(tree).containsEntry("complete", false).containsEntry("remarks", damage.remarks);
        // What is told of the rest is what it was.
        Owned before = new Owned(JsonTree.parse(sound.out()));
        assertThat(rows(tree)).isNotEmpty().allMatch(before::has);
    }

    private static List<Map<String, Object>> rows(Map<String, Object> tree) {
        return JsonTree.list(Objects.requireNonNull(tree.get("owners"))).stream()
                .map(JsonTree::object)
                .filter(row -> !"mapped to the host, owner not known".equals(row.get("owner")))
                .toList();
    }

    private record Owned(Map<String, Object> tree) {
        boolean has(Map<String, Object> row) {
            return rows(tree).stream()
                    .anyMatch(other -> Objects.equals(other.get("owner"), row.get("owner"))
                            && address(other, "start") <= address(row, "start")
                            && address(other, "end") >= address(row, "end"));
        }

        private static long address(Map<String, Object> row, String key) {
            return Long.decode((String) Objects.requireNonNull(row.get(key)));
        }
    }

    @Test
    void aHypVmemmapThatIsNotThereLeavesNothingToSay() throws IOException {
        DamagedCore machine = DamagedCore.of(PVM);
        machine.set(machine.entry("hyp", 0x6000_0020_0000L, 2), NOWHERE);
        assertThat(machine.run(folder, "owners").isRefused().err())
                .contains("this kernel keeps page states in its hyp_vmemmap");
    }

    @Test
    void aRootThatIsNotThereLeavesNothingToSay() throws IOException {
        Path regs = Files.writeString(
                folder.resolve("regs.json"),
                Files.readString(Run.registers("host"))
                        .replaceFirst("\"VTTBR_EL2\": *\"[^\"]*\"", "\"VTTBR_EL2\": \"0x700000000\""));
        assertThat(Run.of("owners", Run.core("host"), "--regs", regs)
                        .isRefused()
                        .err())
                .contains("0x700000000");
    }
}
