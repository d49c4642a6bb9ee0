package dev.s2snap.model;

/// What runs while a vCPU is loaded. The model executes no guest; here a test says what happens in its place. It is in
/// this package because that is nobody else's business.
public final class GuestCode {
    private GuestCode() {}

    /// @param code runs at EL2, on the CPU that has loaded the vCPU, with no lock held
    public static void of(PkvmModel model, Runnable code) {
        model.el2().guests.guest(code);
    }
}
