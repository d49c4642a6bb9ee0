package dev.s2snap.pkvm;

/// How one kernel writes down ownership. The parts changed in different releases, hence they are separate.
///
/// @param annotations invalid entries of the host's stage 2
/// @param hostStates where the host's page states are
/// @param hypStates where the hypervisor's page states are
/// @param hypPage what an entry of the hyp_vmemmap looks like
public record Encodings(
        Annotation.Format annotations, StateLocation hostStates, StateLocation hypStates, HypPageLayout hypPage) {

    /// Where page states live.
    public enum StateLocation {
        /// Software bits 56:55 of the descriptor.
        DESCRIPTOR("descriptor bits 56:55"),
        /// struct hyp_page in the hyp_vmemmap.
        VMEMMAP("hyp_vmemmap");

        private final String words;

        StateLocation(String words) {
            this.words = words;
        }

        public String words() {
            return words;
        }
    }
}
