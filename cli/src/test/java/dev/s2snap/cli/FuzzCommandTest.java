package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class FuzzCommandTest {
    @TempDir
    private Path folder;

    private Run fuzz(Object... options) {
        Object[] words = new Object[options.length + 3];
        words[0] = "fuzz";
        words[1] = "-o";
        words[2] = folder;
        System.arraycopy(options, 0, words, 3, options.length);
        return Run.of(words);
    }

    @Test
    void nothingIsFoundInTheCorrectedCall() throws IOException {
        Run run = fuzz("--calls", 2000, "--seed", 3);
        assertThat(run.status()).isZero();
        assertThat(run.text()).contains("nothing was found").containsPattern("\\d+ calls on 1 machine,");
        assertThat(folder).isEmptyDirectory();
    }

    @Test
    void aFindingIsPrintedAndWrittenAsAScriptThatRuns() throws IOException {
        Run run = fuzz("--variant", "posted", "--calls", 1000, "--seed", 2);
        assertThat(run.status()).isEqualTo(1);
        assertThat(run.text()).contains("D-01 after ").contains("> hvc ").contains("found: D-01");
        Path script = folder.resolve("fuzz-D-01.txt");
        List<String> lines = Files.readAllLines(script);
        assertThat(lines.getFirst()).startsWith("# found by s2snap fuzz --variant posted, seed 2");
        Run replay = Run.of("model", "--script", script);
        assertThat(replay.status()).isZero();
        assertThat(replay.text()).contains("< 0x0 0x").contains("< leaf ret=0 pte=0x0");
    }

    @Test
    void severalCampaignsRunAtATime() {
        Run run = fuzz("--calls", 2000, "--threads", 2);
        assertThat(run.status()).isZero();
        assertThat(run.text()).contains("calls on 2 machines");
    }

    @Test
    void aGeometryOfAnyIsTheMachineThatTheSeedMakesUp() {
        Run run = fuzz("--calls", 2000, "--geometry", "any", "--seed", 5);
        assertThat(run.status()).isZero();
        assertThat(run.text()).contains("nothing was found");
        assertThat(fuzz("--calls", 2000, "--geometry", "any", "--seed", 6).text())
                .isNotEqualTo(run.text());
    }

    @Test
    void theTimeEndsIt() {
        assertThat(fuzz("--time", 1).status()).isZero();
    }

    @Test
    void badOptionsAreRefusedWithOneLine() {
        fuzz("--threads", 0).isRefused();
        fuzz("--calls", -1).isRefused();
        fuzz("--geometry", "ram=1").isRefused();
        fuzz("--geometry", "touch=pages").isRefused();
        fuzz("--geometry", "ram=64G").isRefused();
        fuzz("--variant", "v5").isRefused();
    }

    @Test
    void aFolderThatCannotBeMadeIsRefused() throws IOException {
        Path file = folder.resolve("file");
        Files.writeString(file, "");
        Run run = Run.of("fuzz", "-o", file, "--variant", "posted", "--calls", 1000);
        run.isRefused();
    }
}
