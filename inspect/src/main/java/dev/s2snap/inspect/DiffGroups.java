package dev.s2snap.inspect;

import dev.s2snap.inspect.Diff.Change;
import dev.s2snap.inspect.Diff.Group;
import dev.s2snap.inspect.Diff.NotCompared;
import dev.s2snap.vmsa.AddressRanges;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;

/// Collects what changed by what it means, and joins neighbours.
final class DiffGroups {
    private final Map<List<String>, List<Change>> changes = new LinkedHashMap<>();
    private final Map<String, OptionalInt> granules = new LinkedHashMap<>();
    private final List<NotCompared> notCompared = new ArrayList<>();

    /// Goes through both sides of a table from edge to edge.
    ///
    /// @param bitsMeanTheSame whether both were written by kernels that use the bits alike
    void compare(Table table, AddressRanges windows, DiffTrack old, DiffTrack now, boolean bitsMeanTheSame) {
        for (int window = 0; window < windows.count(); window++) {
            long at = windows.start(window);
            while (at < windows.end(window)) {
                old.seek(at);
                now.seek(at);
                long end = Math.min(windows.end(window), Math.min(old.end(), now.end()));
                String unread = unread(old.unread(), now.unread());
                if (!unread.isEmpty()) {
                    leaveOut(new NotCompared(table.label, table.base + at, table.base + end, unread));
                } else {
                    DiffEntry before = old.entry();
                    DiffEntry after = now.entry();
                    if (before.differs(after, bitsMeanTheSame)) {
                        change(table, at, end, before, after);
                    }
                }
                at = end;
            }
        }
    }

    /// A table that is compared.
    ///
    /// @param base its first input address
    /// @param host whether it is the host's, where memory is given away and taken back
    /// @param granule log2 of the size of its pages, if that is known
    /// @param meaning of all that differs, or empty to find out
    record Table(String label, long base, boolean host, OptionalInt granule, String meaning) {}

    private static String unread(String old, String now) {
        if (old.isEmpty() || now.isEmpty()) {
            return old.isEmpty() ? now.isEmpty() ? "" : "of B " + now : "of A " + old;
        }
        return old.equals(now) ? "of both " + old : "of A " + old + ", of B " + now;
    }

    /// A range that was found to differ.
    void change(Table table, long start, long end, DiffEntry before, DiffEntry after) {
        String meaning = table.meaning.isEmpty() ? DiffMeaning.of(before, after, table.host) : table.meaning;
        List<Change> known = open(table, meaning);
        Change change = new Change(table.base + start, table.base + end, before, after);
        if (!known.isEmpty()) {
            Change last = known.getLast();
            if (last.end() == change.start()
                    && last.old().goesOnIn(before)
                    && last.now().goesOnIn(after)) {
                known.set(known.size() - 1, new Change(last.start(), change.end(), last.old(), last.now()));
                return;
            }
        }
        known.add(change);
    }

    /// A group, even if nothing is in it.
    List<Change> open(Table table, String meaning) {
        granules.put(table.label, table.granule);
        return changes.computeIfAbsent(List.of(table.label, meaning), _ -> new ArrayList<>());
    }

    void leaveOut(NotCompared range) {
        if (!notCompared.isEmpty()) {
            NotCompared last = notCompared.getLast();
            if (last.end() == range.start()
                    && range.start() != range.end()
                    && last.table().equals(range.table())
                    && last.why().equals(range.why())) {
                notCompared.set(
                        notCompared.size() - 1, new NotCompared(last.table(), last.start(), range.end(), last.why()));
                return;
            }
        }
        notCompared.add(range);
    }

    List<Group> groups() {
        List<Group> groups = new ArrayList<>();
        changes.forEach((key, list) -> groups.add(new Group(
                key.getFirst(),
                key.getLast(),
                granules.getOrDefault(key.getFirst(), OptionalInt.empty()),
                List.copyOf(list))));
        return groups;
    }

    List<NotCompared> notCompared() {
        return List.copyOf(notCompared);
    }
}
