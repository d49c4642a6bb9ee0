package dev.s2snap.model;

/// Memory as the code that edits a table sees it. The same code runs at EL2, on the hypervisor's and the host's table,
/// and at EL1, on tables that the host's KVM builds for its guests.
interface TableMemory {

    /// Loads a descriptor. `va` is 8-byte aligned.
    long read64(long va);

    /// Stores a descriptor. `va` is 8-byte aligned.
    void write64(long va, long value);

    /// Where the page-table code reaches physical address `physical`.
    long virtual(long physical);

    /// The inverse of [#virtual].
    long physical(long virtual);
}
