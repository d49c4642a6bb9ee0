package dev.s2snap.inspect;

/// A question that this machine has no answer to. The message is one sentence: what is missing, and what to do.
public final class NoAnswerException extends RuntimeException {
    private static final long serialVersionUID = 1;

    public NoAnswerException(String message) {
        super(message);
    }

    public NoAnswerException(String message, Throwable cause) {
        super(message, cause);
    }
}
