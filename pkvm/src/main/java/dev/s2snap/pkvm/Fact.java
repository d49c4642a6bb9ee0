package dev.s2snap.pkvm;

import java.util.Optional;
import java.util.function.Function;

/// Something about a machine: known, and from where, or not known, and why.
public sealed interface Fact<T> {

    /// @param source where the value comes from, as a noun phrase: "VTCR_EL2", "note S2SNAP", "--era",
    ///     "inferred from 2048 annotations"
    record Known<T>(T value, String source) implements Fact<T> {}

    /// @param why a clause that reads well behind "unknown: "
    record Unknown<T>(String why) implements Fact<T> {}

    static <T> Fact<T> known(T value, String source) {
        return new Known<>(value, source);
    }

    static <T> Fact<T> unknown(String why) {
        return new Unknown<>(why);
    }

    /// The value, if it is known.
    default Optional<T> optional() {
        return this instanceof Known<T>(T value, String _) ? Optional.of(value) : Optional.empty();
    }

    /// The source of a known value, or why it is unknown.
    default String provenance() {
        return switch (this) {
            case Known<T>(T _, String source) -> source;
            case Unknown<T>(String why) -> "unknown: " + why;
        };
    }

    default <R> Fact<R> map(Function<? super T, ? extends R> function) {
        return switch (this) {
            case Known<T>(T value, String source) -> known(function.apply(value), source);
            case Unknown<T>(String why) -> unknown(why);
        };
    }
}
