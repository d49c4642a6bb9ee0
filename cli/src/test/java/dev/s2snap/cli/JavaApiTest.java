package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.capture.CapturedMachine;
import dev.s2snap.model.HostKernel;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.SnapshotCall;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.vmsa.LeafRuns;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/// The examples of docs/java-api.md are the lines between the markers here, and they run.
class JavaApiTest {
    private static final Path SAMPLES = Path.of("..", "samples", "deb-6.12");

    @Test
    void snapshotOfAModel() {
        // example: model
        LeafRuns.Result copy;
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            HostKernel host = model.hostKernel();
            host.touch(HostKernel.Touch.BOOT, 0);
            HostKernel.Lent lent = host.allocate();
            int error = host.call(model.cpu(0), lent); // 0, or an errno as the kernel has it
            copy = LeafRuns.of(host.read(lent));
            host.free(lent);
            assert error == 0;
        }
        // end
        assertThat(copy.findings()).isEmpty();
        assertThat(copy.runs()).hasSize(9);
    }

    @Test
    void tablesOfARealMachine() {
        Path core = SAMPLES.resolve("npvm.core");
        Path registers = SAMPLES.resolve("npvm.regs.json");
        // example: capture
        LeafRuns.Result host;
        try (CapturedMachine machine = CapturedMachine.open(core, Optional.of(registers))) {
            Machine any = machine; // a model is one, too
            host = LeafRuns.of(any.host().optional().orElseThrow());
        }
        // end
        assertThat(host.complete()).isTrue();
    }

    @Test
    void documentShowsWhatRunsHere() throws IOException {
        List<String> source =
                Files.readAllLines(Path.of("src", "test", "java", "dev", "s2snap", "cli", "JavaApiTest.java"));
        String document = Files.readString(Path.of("..", "docs", "java-api.md"));
        for (String name : List.of("model", "capture")) {
            int start = source.indexOf("        // example: " + name) + 1;
            int end = start + source.subList(start, source.size()).indexOf("        // end");
            String example = String.join("\n", source.subList(start, end)).stripIndent();
            assertThat(example).isNotBlank();
            assertThat(document).contains("```java\n" + example + "\n```");
        }
    }
}
