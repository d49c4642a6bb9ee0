package dev.s2snap.capture;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.HypVmemmap;
import dev.s2snap.pkvm.MemoryRegion;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Facts from a file beside the core, and which of several sources wins.
class MachineFileTest {
    private static final String TABLE = "\"VTCR_EL2\":\"0x802d3590\",\"HCR_EL2\":\"0x1\"";

    @TempDir
    private Path folder;

    private Path file(String name, String content) throws IOException {
        return Files.writeString(folder.resolve(name), content);
    }

    /// A core, with a note if there is content for one.
    private Path core(String note) {
        CoreBytes core = new CoreBytes(note.isEmpty() ? 1 : 2);
        if (!note.isEmpty()) {
            core.note("S2SNAP", 1, note.getBytes(StandardCharsets.UTF_8));
        }
        return core.load(0x1_0000, new byte[1 << 16]).write(folder);
    }

    private static String registers(String vttbr) {
        return "{\"VTTBR_EL2\":\"" + vttbr + "\"," + TABLE + "}";
    }

    @Test
    void aCoreWithoutNoteIsReadWithTheFactsOfTheFile() throws IOException {
        Path facts = file(
                "m.json",
                "{\"schema\":1,\"era\":\"6.14\",\"registers\":" + registers("0x12000")
                        + ",\"guests\":[{\"VTTBR_EL2\":\"0x3000000014000\",\"VTCR_EL2\":\"0x802d3590\"}],"
                        + "\"regions\":[{\"base\":\"0x10000\",\"size\":\"0x10000\",\"flags\":0}],"
                        + "\"vmemmap\":{\"base\":\"0x400000000000\",\"entrySize\":8,\"new\":[1]},\"later\":{\"a\":[]}}");
        try (CapturedMachine machine = CapturedMachine.open(core(""), Optional.empty(), Optional.of(facts))) {
            assertThat(machine.host().optional().orElseThrow().root()).isEqualTo(0x1_2000);
            assertThat(machine.host().provenance()).isEqualTo("VTTBR_EL2, VTCR_EL2");
            assertThat(machine.registerSource()).isEqualTo("--machine");
            assertThat(machine.guests().getFirst().vmid()).isEqualTo(3);
            assertThat(machine.era()).isEqualTo(Fact.known(Era.V6_14, "--machine"));
            assertThat(machine.regions())
                    .isEqualTo(Fact.known(List.of(new MemoryRegion(0x1_0000, 0x1_0000, 0)), "--machine"));
            assertThat(machine.vmemmap()).isEqualTo(Fact.known(new HypVmemmap(0x4000_0000_0000L, 8), "--machine"));
            assertThat(machine.tool()).isEmpty();
        }
    }

    @Test
    void registersOfTheirOwnFileWinOverTheMachinesAndThoseOverTheNote() throws IOException {
        Path core = core("{\"schema\":1,\"era\":\"6.1\",\"registers\":" + registers("0x10000")
                + ",\"guests\":[{\"VMID\":\"0x1\"}],"
                + "\"regions\":[{\"base\":\"0x0\",\"size\":\"0x20000\"}]}");
        Path facts = file(
                "m.json",
                "{\"schema\":1,\"era\":\"7.0\",\"registers\":" + registers("0x12000")
                        + ",\"guests\":[{\"VMID\":\"0x2\"},{\"VMID\":\"0x3\"}]}");
        Path registers = file("r.json", registers("0x14000"));
        try (CapturedMachine machine = CapturedMachine.open(core, Optional.of(registers), Optional.of(facts))) {
            assertThat(machine.host().optional().orElseThrow().root()).isEqualTo(0x1_4000);
            assertThat(machine.host().provenance())
                    .isEqualTo("VTTBR_EL2, VTCR_EL2 of --regs, which overrides --machine and note S2SNAP");
            assertThat(machine.guests()).hasSize(2);
            assertThat(machine.era()).isEqualTo(Fact.known(Era.V7_0, "--machine"));
            assertThat(machine.regions().provenance()).isEqualTo("note S2SNAP");
        }
        try (CapturedMachine machine = CapturedMachine.open(core, Optional.empty(), Optional.of(facts))) {
            assertThat(machine.host().optional().orElseThrow().root()).isEqualTo(0x1_2000);
            assertThat(machine.registerSource()).isEqualTo("--machine, which overrides note S2SNAP");
        }
    }

    @Test
    void whatNobodySaysIsUnknownAndEverySilentSourceIsNamed() throws IOException {
        Path facts = file("m.json", "{\"schema\":1,\"era\":null}");
        Path core = core("{\"schema\":1,\"registers\":{}}");
        try (CapturedMachine machine = CapturedMachine.open(core, Optional.empty(), Optional.of(facts))) {
            assertThat(machine.era()).isEqualTo(Fact.unknown("--machine does not say, and note S2SNAP does not say"));
            assertThat(machine.registerSource()).isEqualTo("note S2SNAP");
        }
        Path registers = file("r.json", "{}");
        try (CapturedMachine machine = CapturedMachine.open(core(""), Optional.of(registers), Optional.of(facts))) {
            assertThat(machine.era())
                    .isEqualTo(Fact.unknown("--machine does not say, and the file has no note S2SNAP"));
            assertThat(machine.regions())
                    .isEqualTo(Fact.unknown("--machine does not say, and the file has no memory map"));
            assertThat(machine.guests()).isEmpty();
        }
    }

    @Test
    void aMachineFileWithoutRegistersIsNotEnoughForACoreWithoutThem() throws IOException {
        Path facts = file("m.json", "{\"schema\":1}");
        Path core = core("");
        assertThatThrownBy(() -> CapturedMachine.open(core, Optional.empty(), Optional.of(facts)))
                .isInstanceOf(CaptureException.class)
                .hasMessage(core + ": it has no registers (no note S2SNAP); give them with --regs FILE.json");
    }

    @Test
    void contradictoryGuestsAreBlamedOnTheFileThatNamesThem() throws IOException {
        Path facts = file("m.json", "{\"schema\":1,\"guests\":[{\"VMID\":\"0x2\",\"VTTBR_EL2\":\"0x1000000010000\"}]}");
        Path registers = file("r.json", "{}");
        Path core = core("");
        assertThatThrownBy(() -> CapturedMachine.open(core, Optional.of(registers), Optional.of(facts)))
                .isInstanceOf(CaptureException.class)
                .hasMessageStartingWith(facts + ": guests[0]: VMID 0x2 contradicts");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{\"schema\":2}                     | it has schema 2 and this version of s2snap knows 1; use a newer version",
                "{\"registers\":{}}                 | it does not begin with its schema (\"schema\": 1); correct it",
                "{\"schema\":1,\"regions\":[{}]}    | regions[0]: base 0xffffffffffffffff and size 0x0 are no region of physical memory; correct it",
                "[]                                 | expected an object in line 1",
                "{\"schema\":1                      | it is not the expected JSON in line 1",
            })
    void aWrongFileIsNamed(String json, String message) throws IOException {
        Path facts = file("m.json", json);
        Path core = core("{\"schema\":1,\"registers\":{}}");
        assertThatThrownBy(() -> CapturedMachine.open(core, Optional.empty(), Optional.of(facts)))
                .isInstanceOf(CaptureException.class)
                .hasMessageStartingWith(facts + ": " + message)
                .hasMessageNotContaining("\n");
    }

    @Test
    void aMissingFileIsNamed() {
        Path none = folder.resolve("none.json");
        Path core = core("");
        assertThatThrownBy(() -> CapturedMachine.open(core, Optional.empty(), Optional.of(none)))
                .isInstanceOf(CaptureException.class)
                .hasMessage(none + ": there is no such file; check the name");
    }
}
