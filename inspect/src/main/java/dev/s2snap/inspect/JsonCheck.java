package dev.s2snap.inspect;

import dev.s2snap.pkvm.Evidence;
import dev.s2snap.pkvm.Rule;
import dev.s2snap.pkvm.Rules;
import dev.s2snap.pkvm.Violation;
import dev.s2snap.vmsa.Finding.Step;
import java.io.IOException;
import java.io.OutputStream;
import java.util.List;

/// A [Check] for programs: one JSON object, schema 1.
///
/// Addresses and descriptors are strings of lower-case hex with `0x`, ends are exclusive. `start` and `end` of a
/// violation are physical. The keys and their order are stable; new ones come behind the others.
public final class JsonCheck {
    private final ByteText text;

    private JsonCheck(OutputStream out) {
        text = new ByteText(out);
    }

    public static void write(Check check, OutputStream out) throws IOException {
        JsonCheck json = new JsonCheck(out);
        json.object(check);
        json.text.flush();
    }

    private void object(Check check) throws IOException {
        text.line("{\"schema\":1,");
        text.add("\"violations\":[");
        String between = "";
        for (Violation violation : check.report().violations()) {
            text.line(between);
            violation(violation);
            between = ",";
        }
        text.line("],");
        text.add("\"lint\":[");
        between = "";
        for (Lint lint : check.lint()) {
            text.line(between);
            string(text.add("{\"kind\":"), lint.kind().id());
            string(text.add(",\"table\":"), lint.table());
            range(lint.start(), lint.end());
            text.add(",\"saves\":").decimal(lint.saves());
            string(text.add(",\"message\":"), lint.message()).add("}");
            between = ",";
        }
        text.line("],");
        text.add("\"notChecked\":[");
        between = "";
        for (Rules.NotChecked left : check.report().notChecked()) {
            text.line(between);
            string(text.add("{\"rule\":"), left.rule().id());
            string(text.add(",\"reason\":"), left.reason()).add("}");
            between = ",";
        }
        for (Lint.NotLooked left : check.notLooked()) {
            text.line(between);
            string(text.add("{\"rule\":"), left.kind().id());
            string(text.add(",\"reason\":"), left.reason()).add("}");
            between = ",";
        }
        text.line("]}");
    }

    private void violation(Violation violation) throws IOException {
        Rule rule = violation.rule();
        string(text.add("{\"rule\":"), rule.id());
        string(text.add(",\"severity\":"), rule.severity().id());
        range(violation.start(), violation.end());
        string(text.add(",\"message\":"), violation.message());
        text.add(",\"evidence\":[");
        String between = "";
        for (Evidence evidence : violation.evidence()) {
            text.line(between);
            evidence(evidence);
            between = ",";
        }
        text.add("],\"also\":[");
        between = "";
        for (Rule also : violation.also()) {
            string(text.add(between), also.id());
            between = ",";
        }
        string(text.add("],\"words\":"), rule.words());
        string(text.add(",\"meaning\":"), rule.meaning()).add("}");
    }

    private void evidence(Evidence evidence) {
        string(text.add(" {\"table\":"), evidence.table());
        range(evidence.start(), evidence.end());
        string(text.add(",\"says\":"), evidence.says());
        text.add(",\"path\":[");
        String between = "";
        List<Step> path = evidence.path();
        for (Step step : path) {
            text.add(between).add("{\"level\":").decimal(step.level());
            hex(text.add(",\"address\":"), step.address());
            hex(text.add(",\"inputAddress\":"), step.inputAddress());
            hex(text.add(",\"descriptor\":"), step.descriptor()).add("}");
            between = ",";
        }
        text.add("]}");
    }

    private void range(long start, long end) {
        hex(text.add(",\"start\":"), start);
        hex(text.add(",\"end\":"), end);
    }

    private static ByteText hex(ByteText text, long value) {
        return text.add("\"").hex(value).add("\"");
    }

    /// What is printed is words of ours and hex: nothing in it needs to be escaped but these two.
    private static ByteText string(ByteText text, String value) {
        return text.add("\"")
                .add(value.replace("\\", "\\\\").replace("\"", "\\\""))
                .add("\"");
    }
}
