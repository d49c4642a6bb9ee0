package dev.s2snap.inspect;

import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/// What changed from one source to another: what [DiffDump] prints.
///
/// @param machines how the machines themselves differ, one clause each
/// @param tables what was compared
/// @param groups what changed, by table and meaning
/// @param notCompared of what it could not be told
/// @param notes what neither source is able to tell, one sentence each
public record Diff(
        List<String> machines,
        List<Table> tables,
        List<Group> groups,
        List<NotCompared> notCompared,
        List<String> notes) {

    /// A table that was compared.
    ///
    /// @param bulk whether its bytes were, so that only what differs was decoded
    public record Table(String label, boolean bulk) {}

    /// Changes of one meaning in one table, by ascending input address.
    ///
    /// @param granule log2 of the size of a page; empty where only texts were compared, which do not tell it
    public record Group(String table, String meaning, OptionalInt granule, List<Change> changes) {
        public long bytes() {
            return changes.stream()
                    .mapToLong(change -> change.end - change.start)
                    .sum();
        }
    }

    /// A range that has changed in one way.
    ///
    /// @param end exclusive; 0 is the end of an upper range
    public record Change(long start, long end, DiffEntry old, DiffEntry now) {}

    /// Something that is missing in one of the two.
    ///
    /// @param end exclusive; equal to `start` where it is not about a range
    public record NotCompared(String table, long start, long end, String why) {}

    /// @param table to compare that one alone
    /// @throws NoAnswerException if nothing can be compared
    public static Diff of(DiffSource a, DiffSource b, Optional<TableSelector> table) {
        return new DiffTables(a, b, table).compare();
    }

    public Diff {
        machines = List.copyOf(machines);
        tables = List.copyOf(tables);
        groups = List.copyOf(groups);
        notCompared = List.copyOf(notCompared);
        notes = List.copyOf(notes);
    }

    /// Whether it is certain that nothing differs.
    public boolean equal() {
        return machines.isEmpty() && groups.isEmpty() && notCompared.isEmpty();
    }
}
