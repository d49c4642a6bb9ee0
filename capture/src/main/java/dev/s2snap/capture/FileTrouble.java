package dev.s2snap.capture;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;

/// What to tell a person about a file that cannot be read or written.
final class FileTrouble {

    private FileTrouble() {}

    static CaptureException reading(Path path, IOException e) {
        return new CaptureException(
                path
                        + ": "
                        + switch (e) {
                            case NoSuchFileException _ -> "there is no such file; check the name";
                            case AccessDeniedException _ -> "it may not be read; check its permissions";
                            default -> "it cannot be read: " + reason(e);
                        },
                e);
    }

    static CaptureException writing(Path path, IOException e) {
        return new CaptureException(
                path
                        + ": "
                        + switch (e) {
                            case NoSuchFileException _ -> "its folder does not exist; create it";
                            case AccessDeniedException _ -> "its folder may not be written to; choose another";
                            default -> "it cannot be written: " + reason(e);
                        },
                e);
    }

    /// The message of a FileSystemException is mostly the name of the file once more.
    private static String reason(IOException e) {
        String reason = e instanceof FileSystemException f ? f.getReason() : e.getMessage();
        return reason == null ? e.getClass().getSimpleName() : reason;
    }
}
