package dev.s2snap.vmsa;

/// A maximal run of leaves of one level and kind whose bits are equal and whose output addresses, if they map, are in
/// step with the input addresses. Runs go across table boundaries; empty entries are in none.
///
/// @param start first input address
/// @param end input address behind the last byte
/// @param output output address of `start`; 0 if the entries are invalid
/// @param bits the descriptors without their output address; of invalid entries the whole value
public record LeafRun(long start, long end, int level, Kind kind, long output, long bits) {

    /// What the entries of a run are.
    public enum Kind {
        BLOCK("block"),
        PAGE("page"),
        /// Not zero, and not looked at by hardware: annotations and reserved encodings.
        INVALID("invalid");

        private final String id;

        Kind(String id) {
            this.id = id;
        }

        public String id() {
            return id;
        }
    }

    public long size() {
        return end - start;
    }

    public boolean mapped() {
        return kind != Kind.INVALID;
    }
}
