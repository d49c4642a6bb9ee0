package dev.s2snap.model;

/// What the hypervisor does to tables and TLBs, in order. Attached to a machine only when somebody wants to know.
public interface Recorder {
    /// Level of a TLB invalidation that gives no hint.
    int LEVEL_UNKNOWN = -9;

    /// A store to a descriptor.
    ///
    /// @param address physical address of the descriptor
    /// @param release a store-release, which publishes a table or a leaf
    default void store(long address, long before, long after, boolean release) {}

    /// A data synchronisation barrier.
    ///
    /// @param domain "ish", "ishst", ...
    default void dsb(String domain) {}

    /// An instruction synchronisation barrier.
    default void isb() {}

    /// Invalidation by IPA for a VMID (0 is the host), with its barriers.
    default void tlbiIpa(int vmid, long ipa, int level) {}

    /// The same on this CPU only.
    default void tlbiIpaNonShareable(int vmid, long ipa, int level) {}

    /// Invalidation of a range of IPAs for a VMID, with its barriers.
    default void tlbiRange(int vmid, long ipa, long pages) {}

    /// Invalidation of everything of a VMID, with its barriers.
    default void tlbiVmid(int vmid) {}

    /// The same on this CPU only.
    default void tlbiVmidNonShareable(int vmid) {}

    /// Invalidation of everything of all VMIDs, with its barriers.
    default void tlbiAll() {}

    /// Data cache clean and invalidate to the point of coherency.
    default void cleanInvalidate(long physical, long bytes) {}

    /// Instruction cache invalidation to the point of unification.
    default void invalidateInstructions(long physical, long bytes) {}

    /// Invalidation by VA at EL2.
    ///
    /// @param leaf VALE2IS, else VAE2IS
    default void tlbiEl2(long va, int level, boolean leaf) {}
}
