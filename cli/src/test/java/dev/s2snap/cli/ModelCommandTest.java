package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.zip.GZIPOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ModelCommandTest {
    private static final Path SEED = Path.of("..", "samples", "seed.txt");

    private static final String MACHINE = """
            > cfg page_shift 12
            > cfg region 0x40000000 0x8000000 0
            > cfg carveout 0x46000000
            > init
            """;

    @TempDir
    private Path folder;

    private Path script(String text) throws IOException {
        return Files.writeString(folder.resolve("script.txt"), text);
    }

    @ParameterizedTest
    @ValueSource(strings = {"posted", "corrected"})
    void sampleOfTheSeedIsItsOwnTranscriptInBothVariants(String variant) throws IOException {
        assertThat(Run.of("model", "--variant", variant, "--script", SEED)
                        .succeeds()
                        .text())
                .isEqualTo(Files.readString(SEED));
    }

    @Test
    void gzipScriptRunsAsThePlainOne() throws IOException {
        ByteArrayOutputStream packed = new ByteArrayOutputStream();
        try (GZIPOutputStream gzip = new GZIPOutputStream(packed)) {
            gzip.write(Files.readAllBytes(SEED));
        }
        Path file = Files.write(folder.resolve("seed"), packed.toByteArray());

        assertThat(Run.of("model", "--script", file).succeeds().text()).isEqualTo(Files.readString(SEED));
    }

    @Test
    void transcriptsGoToFilesOfTheScriptsNames() throws IOException {
        Path out = folder.resolve("out");
        Path other = script(MACHINE + "> sizes\n");

        Run run = Run.of("model", "--script", SEED, other, "-o", out).succeeds();

        assertThat(run.out()).isEmpty();
        assertThat(out.resolve("seed.txt")).hasSameTextualContentAs(SEED);
        assertThat(out.resolve("script.txt")).content().endsWith("pgd_pages=2\n");
        try (var files = Files.list(out)) {
            assertThat(files).hasSize(2);
        }
    }

    @Test
    void variantOfTheCommandLineWinsOverTheScripts() throws IOException {
        Path file = script("> cfg variant posted\n> cfg debug 0\n" + MACHINE + "> hvc 0 0xc600001c 0x1000\n");

        assertThat(Run.of("model", "--script", file).succeeds().text())
                .endsWith("< 0xffffffffffffffff 0x1000 0x0 0x0\n");
        assertThat(Run.of("model", "--variant", "corrected", "--script", file)
                        .succeeds()
                        .text())
                .endsWith("< 0xffffffffffffffff 0xffffffffffffffa1 0x0 0x0\n");
    }

    @ParameterizedTest
    @CsvSource({
        "'> frobnicate',5,no operation 'frobnicate'",
        "'> share_hyp',5,share_hyp needs one more argument",
        "'> share_hyp 0xzz',5,'''0xzz'' is not a number'",
        "'> share_hyp 1 2',5,share_hyp does not take '2'",
        "'share_hyp 1',5,'a line starts with'",
        "'> cfg page_shift 12',5,cfg after init",
        "'> hvc 7 0',5,hvc takes a number from 0 to 1",
    })
    void scriptErrorIsOneLineWithFileAndLineAndLeavesNoFile(String line, int number, String message)
            throws IOException {
        Path file = script(MACHINE + line + "\n");
        Path out = folder.resolve("out");

        Run run = Run.of("model", "--script", file, "-o", out);

        assertThat(run.isRefused().err())
                .startsWith("s2snap: " + file + ":" + number + ": ")
                .contains(message);
        try (var files = Files.list(out)) {
            assertThat(files).isEmpty();
        }
    }

    @Test
    void unreadableScriptsAreRefused() throws IOException {
        assertThat(Run.of("model", "--script", folder.resolve("none"))
                        .isRefused()
                        .err())
                .contains("there is no such script");
        Path damaged = Files.write(folder.resolve("damaged"), new byte[] {0x1f, (byte) 0x8b, 8, 0});
        assertThat(Run.of("model", "--script", damaged).isRefused().err()).contains("cannot be read");
        Path binary = Files.write(folder.resolve("binary"), "> \u00e9".getBytes(StandardCharsets.ISO_8859_1));
        assertThat(Run.of("model", "--script", binary).isRefused().err()).contains("not text");
    }
}
