package dev.s2snap.capture;

/// An input that cannot be used. The message is one sentence: what is wrong, where, and what to do.
public final class CaptureException extends RuntimeException {
    private static final long serialVersionUID = 1;

    public CaptureException(String message) {
        super(message);
    }

    public CaptureException(String message, Throwable cause) {
        super(message, cause);
    }
}
