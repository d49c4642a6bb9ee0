package dev.s2snap.inspect;

/// A text that is no kernel's text of a stage 2. The message is one sentence: what is wrong, and what to do.
public final class KernelTextException extends RuntimeException {
    private static final long serialVersionUID = 1;

    private final long line;

    /// @param line counted from 1
    KernelTextException(long line, String message) {
        super("line " + line + ": " + message);
        this.line = line;
    }

    /// Where the text is wrong, counted from 1.
    public long line() {
        return line;
    }
}
