package dev.s2snap.pkvm;

/// How bad it is that a [Rule] is broken.
public enum Severity {
    /// Somebody can reach memory that belongs to somebody else.
    CRITICAL("critical"),
    /// Tables or states contradict each other or what hardware expects: isolation no longer follows from them.
    ERROR("error"),
    /// Something is written down that no kernel writes, and nobody reaches anything by it.
    WARNING("warning");

    private final String id;

    Severity(String id) {
        this.id = id;
    }

    /// The name that people and programs see.
    public String id() {
        return id;
    }
}
