package dev.s2snap.inspect;

import dev.s2snap.pkvm.Fact;
import dev.s2snap.vmsa.Finding;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TableCounts;
import dev.s2snap.vmsa.TableGeometry;
import java.io.IOException;
import java.io.OutputStream;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/// A [TableDump] for programs: one JSON object, schema 1.
///
/// Addresses and descriptors are strings of lower-case hex with `0x`, all other numbers are numbers. Ends are
/// exclusive.
/// `states` is null, and `statesReason` says why, where the states are not known; it is not an empty list then.
/// `findings` are what is wrong with the table, `findingsNotListed` how many more there are of each rule; `remarks` are
/// what was assumed for the states. `unreadBytes` is how much of the input address space could not be read, and
/// `unread`
/// where that is; of more than a thousand places the last one goes on to the end of the last. `tableAttributes` are
/// bits
/// 63:59 of all table descriptors of a stage 1, or-ed: what they restrict is not applied to `leaves`.
/// The keys and their order are stable; new ones come behind the others.
public final class JsonDump {
    private final TableDump dump;
    private final ByteText text;

    private JsonDump(TableDump dump, OutputStream out) {
        this.dump = dump;
        this.text = new ByteText(out);
    }

    /// @param source what the user called the machine
    public static void write(TableDump dump, String source, OutputStream out) throws IOException {
        JsonDump json = new JsonDump(dump, out);
        json.object(source);
        json.text.flush();
    }

    private void object(String source) throws IOException {
        text.line("{\"schema\":1,");
        string(text.add("\"source\":"), source).line(",");
        string(text.add("\"table\":"), dump.selector().label()).line(",");
        string(text.add("\"regime\":"), dump.table().geometry().regime().id()).line(",");
        geometry();
        text.add("\"complete\":").add(Boolean.toString(dump.complete())).line(",");
        counts();
        list("leaves", dump.result().runs(), this::leaf);
        text.line(",");
        switch (dump.states()) {
            case Fact.Known<List<StateRun>>(List<StateRun> states, String _) -> list("states", states, this::state);
            case Fact.Unknown<List<StateRun>>(String why) -> {
                text.line("\"states\":null,");
                string(text.add("\"statesReason\":"), why);
            }
        }
        text.line(",");
        findings();
        text.line(",");
        remarks();
        text.line(",");
        unread();
        text.line("}");
    }

    /// What the lists above leave out: input addresses that could not be read, and findings beyond the first thousand
    /// of
    /// a rule.
    private void unread() {
        text.add("\"unreadBytes\":").decimal(dump.result().unreadBytes()).add(",\"unread\":[");
        String between = "";
        for (LeafRuns.Unread range : dump.result().unread()) {
            text.add(between);
            range(range.start(), range.end());
            text.add("}");
            between = ",";
        }
        text.add("],\"findingsNotListed\":{");
        between = "";
        for (Map.Entry<Finding.Rule, Long> rest : dump.result().unlisted().entrySet()) {
            string(text.add(between), rest.getKey().id()).add(":").decimal(rest.getValue());
            between = ",";
        }
        hex(text.add("},\"tableAttributes\":"), dump.result().tableAttributes());
    }

    private void geometry() throws IOException {
        TableGeometry geometry = dump.table().geometry();
        text.add("\"geometry\":{\"granuleShift\":").decimal(geometry.granuleShift());
        text.add(",\"inputBits\":").decimal(geometry.inputBits());
        text.add(",\"startLevel\":").decimal(geometry.startLevel());
        hex(text.add(",\"rootAddress\":"), dump.table().root());
        text.add(",\"rootEntries\":").decimal(geometry.rootEntries());
        text.add(",\"rootPages\":").decimal(geometry.rootPages());
        text.add(",\"lpa2\":").add(Boolean.toString(geometry.lpa2())).line("},");
    }

    private void counts() throws IOException {
        text.add("\"counts\":{");
        String between = "";
        for (TableCounts.Kind kind : TableCounts.Kind.values()) {
            string(text.add(between), kind.id()).add(":{");
            String inner = "";
            for (int level = TableGeometry.FIRST_LEVEL; level <= TableGeometry.LAST_LEVEL; level++) {
                long number = dump.result().counts().get(kind, level);
                if (number != 0) {
                    text.add(inner).add("\"").decimal(level).add("\":").decimal(number);
                    inner = ",";
                }
            }
            text.add("}");
            between = ",";
        }
        text.line("},");
    }

    private void leaf(LeafRun run) {
        range(run.start(), run.end());
        text.add(",\"level\":").decimal(run.level());
        text.add(",\"kind\":\"").add(run.kind().id()).add("\",\"pa\":");
        if (run.mapped()) {
            hex(text, run.output());
        } else {
            text.add("null");
        }
        hex(text.add(",\"bits\":"), run.bits()).add("}");
    }

    private void state(StateRun run) {
        range(run.start(), run.end());
        text.add(",\"host\":\"").add(run.host().name());
        text.add("\",\"hyp\":\"").add(run.hyp().name()).add("\",\"guestShares\":");
        if (run.guestShares().isPresent()) {
            text.decimal(run.guestShares().getAsLong());
        } else {
            text.add("null");
        }
        text.add("}");
    }

    private void findings() throws IOException {
        text.add("\"findings\":[");
        String between = "\n";
        for (Finding finding : dump.result().findings()) {
            string(text.add(between).add("{\"rule\":"), finding.rule().id()).add(",\"path\":[");
            String inner = "";
            for (Finding.Step step : finding.path()) {
                text.add(inner).add("{\"level\":").decimal(step.level());
                hex(text.add(",\"address\":"), step.address());
                hex(text.add(",\"inputAddress\":"), step.inputAddress());
                hex(text.add(",\"descriptor\":"), step.descriptor()).add("}");
                inner = ",";
            }
            string(text.add("],\"message\":"), finding.message()).add("}");
            between = ",\n";
        }
        text.add("]");
    }

    private void remarks() {
        text.add("\"remarks\":[");
        String between = "";
        for (String remark : dump.remarks()) {
            string(text.add(between), remark);
            between = ",";
        }
        text.add("]");
    }

    private <T> void list(String key, List<T> elements, Consumer<T> print) throws IOException {
        text.add("\"").add(key).line("\":[");
        for (int i = 0; i < elements.size(); i++) {
            print.accept(elements.get(i));
            text.line(i + 1 < elements.size() ? "," : "");
        }
        text.add("]");
    }

    private void range(long start, long end) {
        hex(text.add("{\"start\":"), start);
        // The upper range of a stage 1 ends at 2^64.
        text.add(",\"end\":").add(end == 0 ? "\"0x1" + "0".repeat(16) + "\"" : "");
        if (end != 0) {
            hex(text, end);
        }
    }

    /// A number as a string.
    static ByteText hex(ByteText text, long value) {
        return text.add("\"").hex(value).add("\"");
    }

    /// Any string, quoted and escaped.
    static ByteText string(ByteText text, String value) {
        StringBuilder escaped = new StringBuilder(value.length() + 2).append('"');
        for (int i = 0; i < value.length(); i++) {
            char c = value.charAt(i);
            if (c == '"' || c == '\\') {
                escaped.append('\\').append(c);
            } else if (c < ' ' || Character.isSurrogate(c)) {
                escaped.append(unicode(c));
            } else {
                escaped.append(c);
            }
        }
        return text.add(escaped.append('"').toString());
    }

    private static String unicode(char c) {
        String digits = Integer.toHexString(c);
        return "\\u" + "0".repeat(4 - digits.length()) + digits;
    }
}
