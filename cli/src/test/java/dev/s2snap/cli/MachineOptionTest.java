package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// `--machine`, on every command that reads machines.
class MachineOptionTest {
    private static final Path CORE = Run.core("npvm");

    @TempDir
    private Path folder;

    private Path facts(String more) throws IOException {
        return Files.writeString(
                folder.resolve("machine.json"),
                "{\"schema\":1,\"registers\":" + Files.readString(Run.registers("npvm")) + more + "}");
    }

    @Test
    void theFileStandsInForRegistersAndNote() throws IOException {
        Path facts =
                facts(",\"era\":\"6.1\",\"regions\":[{\"base\":\"0x40000000\",\"size\":\"0x10000000\",\"flags\":0}]");
        assertThat(Run.of("info", CORE, "--machine", facts).succeeds().text())
                .contains("  registers           from --machine\n")
                .contains("  releases            6.1 to 6.13 (era 6.1)  [--machine]\n")
                .doesNotContain("the file has no memory map");
        assertThat(Run.of("dump", CORE, "--machine", facts, "--table", "hyp")
                        .succeeds()
                        .text())
                .isNotEmpty();
        Path capture = folder.resolve("a.core");
        Run.of("snapshot", CORE, "--machine", facts, "-o", capture).succeeds();
        assertThat(Run.of("info", capture).succeeds().text())
                .contains("  releases            6.1 to 6.13 (era 6.1)  [note S2SNAP]\n");
    }

    @Test
    void aModelKnowsBetter() throws IOException {
        for (String command : new String[] {"dump", "info", "snapshot"}) {
            assertThat(Run.of(command, "model", "--machine", facts(""))
                            .isRefused()
                            .err())
                    .isEqualTo("s2snap: model: the model knows its own registers and facts; leave out --machine\n");
            assertThat(Run.of(command, "model", "--regs", Run.registers("npvm"))
                            .isRefused()
                            .err())
                    .contains("leave out --regs");
        }
    }

    @Test
    void aLaterSchemaIsRefusedInOneLine() throws IOException {
        Path facts = Files.writeString(folder.resolve("m.json"), "{\"schema\":2}");
        assertThat(Run.of("dump", CORE, "--machine", facts).isRefused().err())
                .isEqualTo("s2snap: " + facts
                        + ": it has schema 2 and this version of s2snap knows 1; use a newer version\n");
    }

    @Test
    void theHelpSaysWhatIsInTheFile() {
        for (String command : new String[] {"dump", "info", "snapshot"}) {
            assertThat(Run.of(command, "--help").succeeds().text())
                    .contains("--machine=FILE")
                    .contains("\"schema\": 1");
        }
    }
}
