package dev.s2snap.capture;

import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.ThreadLocalRandom;

/// A file that appears complete or not at all: it is written under another name in the same folder and then renamed.
/// What was there before stays until then.
public final class AtomicFile {

    /// Writes the content of a file.
    @FunctionalInterface
    public interface Content {
        void writeTo(OutputStream out) throws IOException;
    }

    private AtomicFile() {}

    /// Writes `content` to `path`. A device or pipe, such as /dev/null, is written to directly, and a symbolic link
    /// is followed.
    ///
    /// @throws CaptureException if that fails; then nothing partial is left
    public static void write(Path path, Content content) {
        try {
            if (Files.isDirectory(path)) {
                throw new CaptureException(path + ": it is a folder; give the name of a file");
            }
            if (Files.exists(path) && !Files.isRegularFile(path)) {
                try (OutputStream out =
                        new BufferedOutputStream(Files.newOutputStream(path, StandardOpenOption.WRITE))) {
                    content.writeTo(out);
                }
                return;
            }
            replace(Files.exists(path) ? path.toRealPath() : path.toAbsolutePath(), content);
        } catch (IOException e) {
            throw FileTrouble.writing(path, e);
        }
    }

    private static void replace(Path target, Content content) throws IOException {
        // Not Files.createTempFile: its permissions are for the owner only, and would stay.
        Path temporary = target.resolveSibling("." + target.getFileName() + "."
                + Long.toHexString(ThreadLocalRandom.current().nextLong()) + ".tmp");
        FileChannel channel = FileChannel.open(temporary, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
        boolean renamed = false;
        try {
            try (channel) {
                OutputStream out = new BufferedOutputStream(Channels.newOutputStream(channel), 1 << 16);
                content.writeTo(out);
                out.flush();
                channel.force(true);
            }
            Files.move(temporary, target, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
            renamed = true;
        } finally {
            if (!renamed) {
                Files.deleteIfExists(temporary);
            }
        }
    }
}
