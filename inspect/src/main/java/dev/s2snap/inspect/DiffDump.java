package dev.s2snap.inspect;

import dev.s2snap.inspect.Diff.Change;
import dev.s2snap.inspect.Diff.Group;
import dev.s2snap.inspect.Diff.NotCompared;
import java.io.IOException;
import java.io.OutputStream;
import java.util.List;
import java.util.stream.Collectors;

/// Prints a [Diff]: for a person, with a few ranges of each group, and as JSON, schema 1, for programs, with all,
/// written as [JsonDump] writes.
///
/// `old` and `new` are what A and B have at `start`; what is null there is not known or does not apply. `pages` is null
/// where only texts were compared, and `start` and `end` of what was not compared where it is no range. `way` is how a
/// table was compared: `bulk` by its bytes, so that only what differs was decoded, or `runs`.
public final class DiffDump {
    private static final int DIGITS = 12;
    private static final int SIZE = 2 + 2 * DIGITS + 15;

    /// Ranges of one group that are told in text.
    private static final int TOLD = 20;

    private final Diff diff;
    private final boolean stat;
    private final ByteText text;

    private DiffDump(Diff diff, boolean stat, OutputStream out) {
        this.diff = diff;
        this.stat = stat;
        text = new ByteText(out);
    }

    /// @param a what the user called the first source
    /// @param stat totals alone
    public static void text(Diff diff, String a, String b, boolean stat, OutputStream out) throws IOException {
        DiffDump dump = new DiffDump(diff, stat, out);
        dump.header(a, b);
        if (!stat) {
            for (Group group : diff.groups()) {
                dump.group(group);
            }
        }
        dump.rest();
        dump.totals();
        dump.text.flush();
    }

    private void header(String a, String b) throws IOException {
        text.add("A: ").line(a);
        text.add("B: ").line(b);
        text.line("compared: " + diff.tables().stream().map(Diff.Table::label).collect(Collectors.joining(", ")));
        if (!diff.machines().isEmpty()) {
            text.line();
            text.line("the sources themselves differ");
            for (String machine : diff.machines()) {
                text.column(2).line(machine);
            }
        }
    }

    private void group(Group group) throws IOException {
        text.line();
        text.add(group.table()).add(": ").add(group.meaning()).add(": ").line(ByteText.sum(group.bytes()));
        List<Change> changes = group.changes();
        for (Change change : changes.subList(0, Math.min(changes.size(), TOLD))) {
            range(change.start(), change.end());
            text.line(words(change));
        }
        if (changes.size() > TOLD) {
            text.column(2).line("and " + (changes.size() - TOLD) + " more; --format json has all");
        }
    }

    private void range(long start, long end) {
        text.column(2).hex(start, DIGITS).add("-");
        (end == 0 ? text.add(TextDump.TOP) : text.hex(end, DIGITS))
                .add("  ")
                .right(ByteText.size(end - start), SIZE)
                .add("  ");
    }

    private static String words(Change change) {
        String old = change.old().unlike(change.now(), change.start());
        String now = change.now().unlike(change.old(), change.start());
        if (old.isEmpty() && now.isEmpty()) {
            return change.old().bitsBeside(change.now()) + " -> " + change.now().bitsBeside(change.old());
        }
        return (old.isEmpty() ? "nothing" : old) + " -> " + (now.isEmpty() ? "nothing" : now);
    }

    private void rest() throws IOException {
        if (!diff.notCompared().isEmpty()) {
            text.line();
            text.line("not compared");
            int told = 0;
            for (NotCompared left : diff.notCompared()) {
                if (told++ == TOLD) {
                    text.column(2).line("and " + (diff.notCompared().size() - TOLD) + " more; --format json has all");
                    break;
                }
                if (left.start() == left.end()) {
                    text.column(2).line(left.table() + ": " + left.why());
                } else {
                    range(left.start(), left.end());
                    text.line(left.table() + ": " + left.why());
                }
            }
        }
    }

    private void totals() throws IOException {
        text.line();
        for (String note : diff.notes()) {
            text.add("note: ").line(note);
        }
        if (diff.groups().isEmpty()) {
            boolean told = diff.machines().isEmpty() && diff.notCompared().isEmpty();
            text.line(told ? "no difference" : "no difference in what could be compared");
            return;
        }
        int table = 0;
        int bytes = 0;
        for (Group group : diff.groups()) {
            table = Math.max(table, group.table().length());
            bytes = Math.max(bytes, ByteText.sum(group.bytes()).length());
        }
        text.line("total");
        for (Group group : diff.groups()) {
            text.column(2).add(group.table()).right(ByteText.sum(group.bytes()), table + bytes + 4);
            text.add("  ").line(group.meaning());
        }
    }

    /// @param a what the user called the first source
    /// @param stat without the ranges
    public static void json(Diff diff, String a, String b, boolean stat, OutputStream out) throws IOException {
        DiffDump dump = new DiffDump(diff, stat, out);
        dump.object(a, b);
        dump.text.flush();
    }

    private void object(String a, String b) throws IOException {
        text.line("{\"schema\":1,");
        JsonDump.string(text.add("\"a\":"), a).line(",");
        JsonDump.string(text.add("\"b\":"), b).line(",");
        text.add("\"equal\":").add(Boolean.toString(diff.equal())).line(",");
        strings("machines", diff.machines());
        text.line(",");
        text.add("\"tables\":[");
        String between = "";
        for (Diff.Table table : diff.tables()) {
            JsonDump.string(text.add(between).add("{\"table\":"), table.label());
            text.add(",\"way\":\"").add(table.bulk() ? "bulk" : "runs").add("\"}");
            between = ",";
        }
        text.line("],");
        text.add("\"groups\":[");
        between = "\n";
        for (Group group : diff.groups()) {
            JsonDump.string(text.add(between).add("{\"table\":"), group.table());
            JsonDump.string(text.add(",\"meaning\":"), group.meaning());
            text.add(",\"pages\":");
            if (group.granule().isPresent()) {
                text.decimal(group.bytes() >>> group.granule().getAsInt());
            } else {
                text.add("null");
            }
            text.add(",\"bytes\":").decimal(group.bytes());
            if (!stat) {
                ranges(group.changes());
            }
            text.add("}");
            between = ",\n";
        }
        text.line("],");
        text.add("\"notCompared\":[");
        between = "\n";
        for (NotCompared left : diff.notCompared()) {
            JsonDump.string(text.add(between).add("{\"table\":"), left.table());
            boolean range = left.start() != left.end();
            edge(",\"start\":", range, left.start(), false);
            edge(",\"end\":", range, left.end(), left.end() == 0);
            JsonDump.string(text.add(",\"reason\":"), left.why()).add("}");
            between = ",\n";
        }
        text.line("],");
        strings("notes", diff.notes());
        text.line("}");
    }

    private void strings(String key, List<String> values) {
        text.add("\"").add(key).add("\":[");
        String between = "";
        for (String value : values) {
            JsonDump.string(text.add(between), value);
            between = ",";
        }
        text.add("]");
    }

    private void ranges(List<Change> changes) throws IOException {
        text.add(",\"ranges\":[");
        for (int i = 0; i < changes.size(); i++) {
            Change change = changes.get(i);
            // With a line for each, what was written can be passed on.
            text.line(i == 0 ? "" : ",");
            edge(" {\"start\":", true, change.start(), false);
            edge(",\"end\":", true, change.end(), change.end() == 0);
            entry(",\"old\":", change.old(), change.start());
            entry(",\"new\":", change.now(), change.start());
            text.add("}");
        }
        text.add("]");
    }

    /// @param top whether it is 2^64
    private void edge(String key, boolean known, long value, boolean top) {
        text.add(key);
        if (!known) {
            text.add("null");
        } else if (top) {
            text.add("\"").add(TextDump.TOP).add("\"");
        } else {
            JsonDump.hex(text, value);
        }
    }

    private void entry(String key, DiffEntry entry, long start) {
        text.add(key).add("{\"kind\":\"").add(entry.form().id()).add("\",\"level\":");
        if (entry.level().isPresent()) {
            text.decimal(entry.level().getAsInt());
        } else {
            text.add("null");
        }
        edge(",\"pa\":", entry.distance().isPresent(), start + entry.distance().orElse(0), false);
        JsonDump.hex(text.add(",\"bits\":"), entry.bits());
        edge(",\"mask\":", !entry.whole(), entry.mask(), false);
        text.add(",\"perm\":\"").add(entry.permissions());
        JsonDump.string(text.add("\",\"memory\":"), entry.memory());
        JsonDump.string(text.add(",\"owner\":"), entry.owner().words()).add("}");
    }
}
