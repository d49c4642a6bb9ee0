package dev.s2snap.vmsa;

import java.util.List;

/// Something in a table that the architecture does not allow, or that could not be read.
///
/// @param path the descriptors from the root to the place, first to last
/// @param message one sentence for a person
public record Finding(Rule rule, List<Step> path, String message) {

    public Finding {
        path = List.copyOf(path);
    }

    /// One descriptor on the way down.
    ///
    /// @param address physical address of the descriptor
    /// @param inputAddress first address that it covers
    public record Step(int level, long address, long inputAddress, long descriptor) {}

    /// What is wrong. Ids are stable: programs match on them.
    public enum Rule {
        /// A table page is not in the memory, so what it maps is unknown.
        ABSENT_TABLE("absent-table"),
        /// A table page is its own ancestor.
        TABLE_CYCLE("table-cycle"),
        /// A table page has two parents; what the second one maps is not repeated.
        SHARED_TABLE("shared-table"),
        /// Bits 1:0 are 01 at a level without blocks.
        RESERVED_ENCODING("reserved-encoding"),
        /// Address bits below the size of a block are set (RES0).
        MISALIGNED_BLOCK("misaligned-block"),
        /// An address is beyond the output size that PS or IPS sets, which is an Address size fault (D8.2.2). What lies
        /// below a table descriptor like that is not read.
        ADDRESS_SIZE("address-size"),
        /// Bits next to the address are set that have to be 0 (RES0); the address is taken without them.
        RESERVED_BITS("reserved-bits");

        private final String id;

        Rule(String id) {
            this.id = id;
        }

        public String id() {
            return id;
        }
    }
}
