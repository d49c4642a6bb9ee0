package dev.s2snap.capture;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

class AtomicFileTest {
    @TempDir
    private Path folder;

    @Test
    void theFileIsThereWhenAllOfItIsWritten() {
        Path file = folder.resolve("a");
        AtomicFile.write(file, out -> {
            out.write(new byte[100_000]);
            assertThat(file).doesNotExist();
        });
        assertThat(file).hasSize(100_000);
        assertThat(folder.toFile().list()).containsExactly("a");
    }

    @Test
    void afterAFailureTheOldFileIsAsItWasAndNothingElseIsThere() throws IOException {
        Path file = Files.writeString(folder.resolve("a"), "old");
        assertThatThrownBy(() -> AtomicFile.write(file, out -> {
                    out.write(new byte[100_000]);
                    throw new IOException("No space left on device");
                }))
                .isInstanceOf(CaptureException.class)
                .hasMessage(file + ": it cannot be written: No space left on device");
        assertThat(file).hasContent("old");
        assertThat(folder.toFile().list()).containsExactly("a");
    }

    @Test
    void aLinkIsFollowedAndStaysALink() throws IOException {
        Path target = Files.writeString(folder.resolve("target"), "old");
        Path link = Files.createSymbolicLink(folder.resolve("link"), target);
        AtomicFile.write(link, out -> out.write('n'));
        assertThat(Files.isSymbolicLink(link)).isTrue();
        assertThat(target).hasContent("n");
    }

    @Test
    void aDeviceIsWrittenToAndNotReplaced() {
        AtomicFile.write(Path.of("/dev/null"), out -> out.write('n'));
        assertThat(Files.isRegularFile(Path.of("/dev/null"))).isFalse();
    }

    @Test
    @EnabledOnOs(OS.LINUX)
    void aFullDeviceIsNamed() {
        Path full = Path.of("/dev/full");
        assertThatThrownBy(() -> AtomicFile.write(full, out -> out.write(new byte[100_000])))
                .isInstanceOf(CaptureException.class)
                .hasMessage("/dev/full: it cannot be written: No space left on device");
    }

    @Test
    @EnabledOnOs(OS.LINUX)
    void aFolderThatTakesNoFilesIsNamed() {
        // Neither permissions nor disk space: /proc has no place for files, whoever asks.
        assertThatThrownBy(() -> AtomicFile.write(Path.of("/proc/s2snap"), out -> out.write('n')))
                .isInstanceOf(CaptureException.class)
                .hasMessageStartingWith("/proc/s2snap: ")
                .hasMessageNotContaining("\n");
    }

    @Test
    void foldersAreNotFiles() {
        assertThatThrownBy(() -> AtomicFile.write(folder, out -> {}))
                .isInstanceOf(CaptureException.class)
                .hasMessageContaining("it is a folder");
        assertThatThrownBy(() -> AtomicFile.write(folder.resolve("no/such"), out -> {}))
                .isInstanceOf(CaptureException.class)
                .hasMessageContaining("its folder does not exist");
    }
}
