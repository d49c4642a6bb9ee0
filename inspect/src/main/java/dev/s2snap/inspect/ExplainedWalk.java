package dev.s2snap.inspect;

import dev.s2snap.vmsa.LeafRun;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/// One address on its way through one table.
///
/// @param table the table's label, as for `dump --table`
/// @param regime id of the translation regime
/// @param source where the table's place and geometry come from
/// @param title the table in words: regime, granule, input size, root
/// @param role why this walk is told
/// @param purpose what the address is, as a noun phrase
/// @param input the address that is translated
/// @param steps the descriptors that the walk looks at, first to last
/// @param outcome how it ends
/// @param output where it leads to, if it maps
/// @param leaf the run of alike entries that has the address, as `dump` lists it; empty entries are in none
/// @param says how it ends, in one clause
public record ExplainedWalk(
        String table,
        String regime,
        String source,
        String title,
        Role role,
        String purpose,
        long input,
        List<Step> steps,
        Outcome outcome,
        OptionalLong output,
        Optional<LeafRun> leaf,
        String says) {

    public ExplainedWalk {
        steps = List.copyOf(steps);
    }

    /// Why a walk is told. Ids are stable: programs match on them.
    public enum Role {
        /// The address that was asked about is one of this table.
        ASKED("asked"),
        /// The host's stage 2, at the address that is the physical one: the host's way to the page.
        HOST("host"),
        /// The table maps the page here.
        ALIAS("alias");

        private final String id;

        Role(String id) {
            this.id = id;
        }

        public String id() {
            return id;
        }
    }

    /// How a walk ends. Ids are stable: programs match on them.
    public enum Outcome {
        MAPPED("mapped"),
        /// The entry is zero.
        EMPTY("empty"),
        /// The entry is invalid, and not zero.
        INVALID("invalid"),
        /// A reserved encoding, which hardware takes for invalid.
        RESERVED("reserved"),
        /// An address beyond the output size.
        ADDRESS_SIZE("address-size"),
        /// The input address is beyond the table's.
        BEYOND("beyond"),
        /// A page of the table is not in the memory.
        UNREADABLE("unreadable");

        private final String id;

        Outcome(String id) {
            this.id = id;
        }

        public String id() {
            return id;
        }
    }

    /// One descriptor.
    ///
    /// @param page physical address of the table page that has it
    /// @param index number of the entry in that page
    /// @param address physical address of the descriptor
    /// @param inputAddress first address that it covers
    /// @param kind table, block, page, empty, annotated, invalid or reserved
    /// @param fields all 64 bits, from the highest on
    public record Step(
            int level,
            long page,
            int index,
            long address,
            long inputAddress,
            long descriptor,
            String kind,
            List<ExplainedField> fields) {
        public Step {
            fields = List.copyOf(fields);
        }
    }

    /// The last descriptor, if there is one.
    Optional<Step> last() {
        return steps.isEmpty() ? Optional.empty() : Optional.of(steps.getLast());
    }
}
