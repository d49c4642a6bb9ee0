package dev.s2snap.inspect;

/// One of two things to be compared.
public sealed interface DiffSource {

    /// A machine, which has tables.
    record OfMachine(Reading reading) implements DiffSource {}

    /// A kernel's text, which is a table.
    record OfText(KernelTable table) implements DiffSource {}
}
