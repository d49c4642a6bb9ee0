package dev.s2snap.model;

/// The hypervisor panics. At EL2 a failed assertion, warnings included, and an abort are all fatal.
///
/// Thrown inside EL2 and caught by [PkvmModel], which is dead from then on; it never reaches a caller of the model.
public final class HypPanic extends RuntimeException {
    private static final long serialVersionUID = 1;

    /// Why: a class of reasons and where.
    public enum Reason {
        /// EL2 stage-1 translation or permission abort.
        ABORT,
        /// A failed BUG_ON.
        BUG,
        /// A failed WARN_ON, which is fatal at EL2 as well.
        WARN
    }

    private final Reason reason;
    private final String where;

    HypPanic(Reason reason, String where) {
        super(reason + " " + where, null, false, false);
        this.reason = reason;
        this.where = where;
    }

    static HypPanic warn(String function) {
        return new HypPanic(Reason.WARN, function);
    }

    static HypPanic bug(String function) {
        return new HypPanic(Reason.BUG, function);
    }

    public Reason reason() {
        return reason;
    }

    public String where() {
        return where;
    }
}
