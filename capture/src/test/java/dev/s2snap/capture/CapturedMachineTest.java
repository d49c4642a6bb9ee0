package dev.s2snap.capture;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TranslationTable;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CapturedMachineTest {
    private static final Path SAMPLES = Path.of("..", "samples", "deb-6.12");

    @TempDir
    private Path folder;

    private static CapturedMachine sample(String stage) {
        return CapturedMachine.open(
                SAMPLES.resolve(stage + ".core"), Optional.of(SAMPLES.resolve(stage + ".regs.json")));
    }

    private static List<Fact<TranslationTable>> tables(Machine machine) {
        List<Fact<TranslationTable>> tables = new ArrayList<>(List.of(machine.host(), machine.hyp()));
        machine.guests().stream().map(Guest::table).forEach(tables::add);
        return tables;
    }

    private CapturedMachine withRegisters(String json) throws IOException {
        Path registers = Files.writeString(folder.resolve("r.json"), json);
        return CapturedMachine.open(SAMPLES.resolve("npvm.core"), Optional.of(registers));
    }

    @Test
    void theRegistersSayWhereTheTablesAre() {
        try (CapturedMachine machine = sample("npvm")) {
            assertThat(tables(machine))
                    .extracting(fact -> fact.optional().orElseThrow().root())
                    .containsExactly(0x4fac_9000L, 0x4f84_1000L, 0x4353_2000L);
            assertThat(machine.guests().getFirst().vmid()).isEqualTo(1);
            assertThat(machine.host().provenance()).isEqualTo("VTTBR_EL2, VTCR_EL2");
            assertThat(machine.regions()).isEqualTo(Fact.unknown("the file has no memory map"));
            assertThat(machine.era()).isInstanceOf(Fact.Unknown.class);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"host", "npvm"})
    void aCaptureOfAMachineIsReadWithoutRegistersAndHasTheSameTables(String stage) {
        Path capture = folder.resolve("copy.core");
        try (CapturedMachine original = sample(stage)) {
            CaptureWriter.Written written = CaptureWriter.write(original, "test", capture);
            assertThat(written.findings()).isEmpty();
            try (CapturedMachine copy = CapturedMachine.open(capture)) {
                assertThat(tables(copy)).hasSameSizeAs(tables(original));
                for (int i = 0; i < tables(copy).size(); i++) {
                    TranslationTable before = tables(original).get(i).optional().orElseThrow();
                    TranslationTable after = tables(copy).get(i).optional().orElseThrow();
                    assertThat(after.root()).isEqualTo(before.root());
                    assertThat(after.geometry()).isEqualTo(before.geometry());
                    assertThat(LeafRuns.of(after).runs())
                            .isEqualTo(LeafRuns.of(before).runs());
                    assertThat(LeafRuns.of(after).complete()).isTrue();
                }
                assertThat(copy.registers().all())
                        .isEqualTo(original.registers().all());
                assertThat(copy.tool()).contains("test");
                assertThat(copy.registerSource()).isEqualTo("note S2SNAP");
            }
        }
    }

    @Test
    void aCaptureHoldsTheTablePagesAndNothingElse() {
        Path capture = folder.resolve("copy.core");
        try (CapturedMachine original = sample("npvm")) {
            // 13 of the host, 22 of the hypervisor, 6 of the guest.
            assertThat(CaptureWriter.write(original, "test", capture).bytes()).isEqualTo((13 + 22 + 6) * 4096L);
        }
        try (ElfCore core = ElfCore.open(capture)) {
            assertThat(core.segments().stream()
                            .mapToLong(s -> s.end() - s.start())
                            .sum())
                    .isEqualTo((13 + 22 + 6) * 4096L);
            assertThat(core.segments()).allMatch(s -> s.zeros() == 0);
        }
    }

    @Test
    void aCaptureOfACaptureHasTheSameBytes() {
        Path first = folder.resolve("1.core");
        Path second = folder.resolve("2.core");
        try (CapturedMachine original = sample("npvm")) {
            CaptureWriter.write(original, "test", first);
        }
        try (CapturedMachine copy = CapturedMachine.open(first)) {
            CaptureWriter.write(copy, "test", second);
        }
        assertThat(second).hasSameBinaryContentAs(first);
    }

    @Test
    void givenRegistersOverrideANoteAndSaySo() throws IOException {
        Path capture = folder.resolve("copy.core");
        try (CapturedMachine original = sample("npvm")) {
            CaptureWriter.write(original, "test", capture);
        }
        Path registers = Files.writeString(
                folder.resolve("r.json"),
                "{\"VTTBR_EL2\":\"0x43532001\",\"VTCR_EL2\":\"0x802d3590\",\"HCR_EL2\":\"0x1\"}");
        try (CapturedMachine machine = CapturedMachine.open(capture, Optional.of(registers))) {
            assertThat(machine.host().optional().orElseThrow().root()).isEqualTo(0x4353_2000L);
            assertThat(machine.host().provenance())
                    .isEqualTo("VTTBR_EL2, VTCR_EL2 of --regs, which overrides note S2SNAP");
            assertThat(machine.hyp().provenance()).isEqualTo("unknown: the registers lack TTBR0_EL2, TCR_EL2");
            // The file names no guests, hence those of the note stay.
            assertThat(machine.guests()).hasSize(1);
        }
    }

    @Test
    void withoutRegistersThereIsNoMachine() {
        assertThatThrownBy(() -> CapturedMachine.open(SAMPLES.resolve("host.core")))
                .isInstanceOf(CaptureException.class)
                .hasMessage(SAMPLES.resolve("host.core")
                        + ": it has no registers (no note S2SNAP); give them with --regs FILE.json");
    }

    @Test
    void missingRegistersLeaveTheirTableUnknown() throws IOException {
        try (CapturedMachine machine = withRegisters("{\"VTTBR_EL2\":\"0x4fac9001\"}")) {
            assertThat(machine.host()).isEqualTo(Fact.unknown("the registers lack VTCR_EL2, HCR_EL2"));
            assertThat(machine.hyp()).isEqualTo(Fact.unknown("the registers lack TTBR0_EL2, TCR_EL2, HCR_EL2"));
        }
    }

    @Test
    void contradictoryRegistersLeaveTheirTableUnknownAndAreNamed() throws IOException {
        // T0SZ 16 and SL0 0: 48 bits from level 2.
        try (CapturedMachine machine =
                withRegisters("{\"VTTBR_EL2\":\"0x4fac9001\",\"VTCR_EL2\":\"0x80023510\",\"HCR_EL2\":\"0x1\","
                        + "\"guests\":[{\"VTTBR_EL2\":\"0x1000043532001\",\"VTCR_EL2\":\"0xc000\"}]}")) {
            assertThat(machine.host().provenance())
                    .startsWith("unknown: an input address of 48 bits needs")
                    .endsWith("(VTTBR_EL2 0x4fac9001, VTCR_EL2 0x80023510)");
            assertThat(machine.guests().getFirst().table().provenance()).contains("VTCR_EL2.TG0 = 3 is reserved");
        }
    }

    @Test
    void aGuestWhoseVmidContradictsItsRegisterIsRefused() {
        assertThatThrownBy(
                        () -> withRegisters(
                                "{\"guests\":[{\"VMID\":\"0x2\",\"VTTBR_EL2\":\"0x1000043532001\",\"VTCR_EL2\":\"0x802d3590\"}]}"))
                .isInstanceOf(CaptureException.class)
                .hasMessageContaining("guests[0]: VMID 0x2 contradicts VTTBR_EL2, which holds VMID 0x1");
    }

    @Test
    void aNoteOfALaterSchemaIsRefused() {
        Path core = new CoreBytes(2)
                .note("S2SNAP", 1, "{\"schema\":2}".getBytes(StandardCharsets.UTF_8))
                .load(0x1000, new byte[4096])
                .write(folder);
        assertThatThrownBy(() -> CapturedMachine.open(core))
                .isInstanceOf(CaptureException.class)
                .hasMessageEndingWith("it has schema 2 and this version of s2snap knows 1; use a newer version");
    }

    @Test
    void aMachineWithoutTablesCannotBeCaptured() throws IOException {
        Path capture = folder.resolve("copy.core");
        try (CapturedMachine machine = withRegisters("{}")) {
            assertThatThrownBy(() -> CaptureWriter.write(machine, "test", capture))
                    .isInstanceOf(CaptureException.class)
                    .hasMessageContaining("no readable table");
        }
        assertThat(capture).doesNotExist();
    }
}
