package dev.s2snap.cli;

import dev.s2snap.capture.AtomicFile;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Path;
import java.util.Optional;

/// Where a command writes its answer to: standard output, or the file named by `-o`.
final class Output {
    private final OutputStream standard;

    Output(OutputStream standard) {
        this.standard = new BufferedOutputStream(standard, 1 << 16);
    }

    OutputStream standard() {
        return standard;
    }

    /// Writes the answer; a file is complete or untouched.
    void write(Optional<Path> file, AtomicFile.Content answer) throws IOException {
        if (file.isPresent()) {
            AtomicFile.write(file.get(), answer);
        } else {
            answer.writeTo(standard);
        }
    }

    /// Whether writing failed because the reader of a pipe has ended.
    static boolean readerIsGone(IOException e) {
        // The JDK has no exception of its own for EPIPE, only the words of strerror.
        return e.getMessage() != null && e.getMessage().contains("Broken pipe");
    }
}
