package dev.s2snap.cli;

import dev.s2snap.capture.CaptureException;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.ScriptException;
import dev.s2snap.model.ScriptRunner;
import dev.s2snap.model.SnapshotCall;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.StringReader;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.function.Consumer;
import java.util.zip.GZIPInputStream;
import org.jspecify.annotations.Nullable;

/// A script in the vector language, read as a whole, so that a damaged file is found before anything is executed.
///
/// @param file its name, for messages
record Script(Path file, String text) {

    /// @throws CaptureException if it cannot be read or is not text
    static Script read(Path file) {
        try {
            byte[] bytes = Files.readAllBytes(file);
            if (bytes.length >= 2 && (bytes[0] & 0xff) == 0x1f && (bytes[1] & 0xff) == 0x8b) {
                try (GZIPInputStream unpacked = new GZIPInputStream(new ByteArrayInputStream(bytes))) {
                    bytes = unpacked.readAllBytes();
                }
            }
            return new Script(
                    file,
                    StandardCharsets.UTF_8
                            .newDecoder()
                            .decode(ByteBuffer.wrap(bytes))
                            .toString());
        } catch (NoSuchFileException e) {
            throw new CaptureException(file + ": there is no such script; check the name", e);
        } catch (AccessDeniedException e) {
            throw new CaptureException(file + ": it may not be read; check its permissions", e);
        } catch (CharacterCodingException e) {
            throw new CaptureException(file + ": it is not text; a script is plain UTF-8 or gzip of it", e);
        } catch (IOException e) {
            throw new CaptureException(file + ": it cannot be read: " + e.getMessage(), e);
        }
    }

    /// Whether it configures and initialises a machine itself.
    boolean makesItsMachine() {
        return text.lines().anyMatch(line -> line.startsWith("> cfg ") || line.startsWith("> init"));
    }

    /// Runs it on a machine of its own and passes on the transcript.
    ///
    /// @param variant instead of what the script says; null leaves it to the script
    /// @throws CaptureException at the first line that cannot be executed
    void run(SnapshotCall.@Nullable Variant variant, Consumer<String> transcript) throws IOException {
        try (ScriptRunner runner = new ScriptRunner(transcript)) {
            if (variant != null) {
                runner.variant(variant);
            }
            execute(runner);
        }
    }

    /// Runs it and keeps its machine, which the caller closes.
    PkvmModel runAlone(SnapshotCall.Variant variant) {
        ScriptRunner runner = new ScriptRunner(_ -> {}).variant(variant);
        boolean kept = false;
        try {
            executeSilently(runner);
            PkvmModel model = runner.model();
            if (model == null) {
                throw new CaptureException(file + ": it has no init; a machine is made by '> init'");
            }
            kept = true;
            return model;
        } finally {
            if (!kept) {
                runner.close();
            }
        }
    }

    /// Runs it on a machine that is there already.
    void runOn(PkvmModel model) {
        boolean done = false;
        try {
            executeSilently(new ScriptRunner(_ -> {}).on(model));
            done = true;
        } finally {
            if (!done) {
                model.close();
            }
        }
    }

    private void executeSilently(ScriptRunner runner) {
        try {
            execute(runner);
        } catch (IOException e) {
            throw new CaptureException(file + ": it cannot be read: " + e.getMessage(), e);
        }
    }

    private void execute(ScriptRunner runner) throws IOException {
        try {
            runner.run(new BufferedReader(new StringReader(text)));
        } catch (ScriptException e) {
            throw new CaptureException(file + ":" + e.line() + ": " + e.getMessage(), e);
        }
    }
}
