package dev.s2snap.model;

/// A line of a script that cannot be executed.
public final class ScriptException extends Exception {
    private static final long serialVersionUID = 1;

    private final int line;

    ScriptException(int line, String message) {
        super(message);
        this.line = line;
    }

    /// Number of the line, from 1.
    public int line() {
        return line;
    }
}
