package dev.s2snap.model;

/// The hypercall `__pkvm_host_stage2_snapshot`: the host lends memory, gets a copy of its stage-2 table in it.
public interface SnapshotCall {

    /// Which implementation a machine has.
    enum Variant {
        /// v4 01/10 as it was posted, defects and all.
        POSTED("posted"),
        /// The same protocol without the defects: accepts every call that the posted one serves safely, with the same
        /// result, and refuses every other with an errno and no change.
        CORRECTED("corrected");

        private final String id;

        Variant(String id) {
            this.id = id;
        }

        public String id() {
            return id;
        }

        /// @throws IllegalArgumentException if there is no such variant
        public static Variant of(String id) {
            for (Variant variant : values()) {
                if (variant.id.equals(id)) {
                    return variant;
                }
            }
            throw new IllegalArgumentException("no snapshot variant '" + id + "': posted or corrected");
        }
    }

    /// Where the call is. Steps 3, 4 and 5 of the seed's diagram, each reported when it is complete.
    enum Phase {
        /// All buffers belong to the hypervisor.
        DONATED,
        /// The copy is made; the host lock is still held.
        COPIED,
        /// All buffers are back.
        RETURNED
    }

    /// Told when a phase of a call is complete. Runs at EL2, and takes no lock.
    @FunctionalInterface
    interface Observer {
        void reached(Phase phase);
    }

    /// Serves one call.
    ///
    /// @param pointer the host's address of its [SnapshotStruct], x1
    /// @return 0 or an errno
    int call(long pointer);
}
