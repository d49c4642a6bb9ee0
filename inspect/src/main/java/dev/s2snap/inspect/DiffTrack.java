package dev.s2snap.inspect;

/// What one source says, from one end of a table to the other. Addresses count from the first input address.
interface DiffTrack {

    /// Moves to `address`, which is not before that of the last call.
    void seek(long address);

    /// The first address behind it of which something else may be said.
    long end();

    /// Why nothing can be said there, or empty.
    String unread();

    /// What is said. Only where [#unread()] is empty.
    DiffEntry entry();
}
