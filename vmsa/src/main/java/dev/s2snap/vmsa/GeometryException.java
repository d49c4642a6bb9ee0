package dev.s2snap.vmsa;

/// Control register fields, or given values, that contradict each other or the architecture.
public final class GeometryException extends IllegalArgumentException {
    private static final long serialVersionUID = 1;

    public GeometryException(String message) {
        super(message);
    }
}
