package dev.s2snap.inspect;

import dev.s2snap.pkvm.Encodings.StateLocation;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.MachineView.Table;
import dev.s2snap.pkvm.PageState;
import dev.s2snap.pkvm.TableAudit;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.TableGeometry;
import java.util.ArrayList;
import java.util.List;

/// Something in a table that breaks no rule and costs memory.
///
/// @param table `host`, `hyp` or `guest:N`; or `pools`, the memory that the host's and EL2's tables are made of
/// @param start first input address of that table; of pools a physical address
/// @param end exclusive
/// @param saves bytes of table pages
/// @param message one clause for a person
public record Lint(Kind kind, String table, long start, long end, long saves, String message) {

    /// What it is. Ids are stable: programs match on them.
    public enum Kind {
        /// Entries that one block could stand for.
        COALESCE("coalesce"),
        /// A table page without entries.
        EMPTY_TABLE("empty-table"),
        /// Pages of a pool that count as in use, and that no table reaches.
        LEAKED_TABLE("leaked-table");

        private final String id;

        Kind(String id) {
            this.id = id;
        }

        public String id() {
            return id;
        }
    }

    /// Why something could not be looked for, or only in part.
    ///
    /// @param reason a clause
    public record NotLooked(Kind kind, String reason) {}

    /// Of a stage 2. The hypervisor maps its own pages one by one, always.
    static List<Lint> of(Table table, Fact<StateLocation> states) {
        List<Lint> lint = new ArrayList<>();
        TableGeometry geometry = table.table().geometry();
        // KVM has blocks from level 1 on with 4K pages, from level 2 on with others (kvm_pgtable_min_block_level).
        int first = geometry.granuleShift() == 12 ? 1 : 2;
        boolean inDescriptors = states.optional().orElse(StateLocation.DESCRIPTOR) == StateLocation.DESCRIPTOR;
        for (LeafRun run : table.audit().runs()) {
            boolean state = PageState.ofSoftwareBits(run.bits()) != PageState.OWNED;
            if (!run.mapped() || run.level() <= first || (state && inDescriptors)) {
                continue;
            }
            long size = geometry.entrySize(run.level() - 1);
            long start = run.start() + size - 1 & -size;
            long end = run.end() & -size;
            boolean aligned = (run.output() - run.start() & size - 1) == 0;
            if (aligned && start < end) {
                long blocks = (end - start) / size;
                lint.add(new Lint(
                        Kind.COALESCE,
                        table.label(),
                        start,
                        end,
                        blocks * geometry.granule(),
                        (blocks == 1 ? "could be a block" : "could be " + blocks + " blocks") + " of "
                                + ByteText.size(size)));
            }
        }
        lint.addAll(empty(table));
        return lint;
    }

    static List<Lint> empty(Table table) {
        List<Lint> lint = new ArrayList<>();
        TableAudit audit = table.audit();
        TableGeometry geometry = table.table().geometry();
        for (int page = 0; page < audit.pages(); page++) {
            if (audit.used(page) == 0 && audit.level(page) > geometry.startLevel()) {
                lint.add(new Lint(
                        Kind.EMPTY_TABLE,
                        table.label(),
                        audit.input(page),
                        audit.input(page) + geometry.entrySize(audit.level(page) - 1),
                        geometry.granule(),
                        "the level " + audit.level(page) + " table at 0x" + Long.toHexString(audit.address(page))
                                + " has no entry"));
            }
        }
        return lint;
    }
}
