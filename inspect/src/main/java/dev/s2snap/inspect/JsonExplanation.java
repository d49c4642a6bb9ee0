package dev.s2snap.inspect;

import dev.s2snap.inspect.ExplainedWalk.Step;
import dev.s2snap.pkvm.Rule;
import dev.s2snap.pkvm.Violation;
import dev.s2snap.vmsa.LeafRun;
import java.io.IOException;
import java.io.OutputStream;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.function.Consumer;

/// An [Explanation] for programs: one JSON object, schema 1, written as [JsonDump] writes.
///
/// Addresses, descriptors and values of fields are strings of lower-case hex with `0x`, ends are exclusive. `fields`
/// has
/// all 64 bits of a descriptor, from the highest on; the value of a field with an address is the whole address. `leaf`
/// is
/// the run of `dump` that has the input address. What is not known is null. The keys and their order are stable; new
/// ones
/// come behind the others.
public final class JsonExplanation {
    private final ByteText text;

    private JsonExplanation(OutputStream out) {
        text = new ByteText(out);
    }

    /// @param source what the user called the machine
    public static void write(Explanation explanation, String source, OutputStream out) throws IOException {
        JsonExplanation json = new JsonExplanation(out);
        json.object(explanation, source);
        json.text.flush();
    }

    private void object(Explanation explanation, String source) throws IOException {
        text.line("{\"schema\":1,");
        JsonDump.string(text.add("\"source\":"), source).line(",");
        JsonDump.string(text.add("\"address\":"), explanation.address().text()).line(",");
        hexOrNull(text.add("\"physical\":"), explanation.physical());
        boolean page = explanation.physical().isPresent();
        hexOrNull(text.add(",\"start\":"), page ? OptionalLong.of(explanation.start()) : OptionalLong.empty());
        hexOrNull(text.add(",\"end\":"), page ? OptionalLong.of(explanation.end()) : OptionalLong.empty());
        text.line(",");
        text.add("\"complete\":").add(Boolean.toString(explanation.complete())).line(",");
        text.add("\"owner\":");
        explanation.owner().ifPresentOrElse(owner -> JsonDump.string(text, owner), () -> text.add("null"));
        text.line(",");
        list("summary", explanation.summary(), line -> JsonDump.string(text, line));
        text.line(",");
        list("walks", explanation.walks(), this::walk);
        text.line(",");
        text.add("\"aliasesNotListed\":{");
        String between = "";
        for (Map.Entry<String, Integer> rest : explanation.notListed().entrySet()) {
            JsonDump.string(text.add(between), rest.getKey()).add(":").decimal(rest.getValue());
            between = ",";
        }
        text.line("},");
        list("states", explanation.states(), this::state);
        text.line(",");
        list("violations", explanation.violations(), this::violation);
        text.line(",");
        list("effects", explanation.effects(), this::effect);
        text.line(",");
        JsonDump.string(text.add("\"effectsRelease\":"), explanation.release()).line(",");
        list("remarks", explanation.remarks(), remark -> JsonDump.string(text, remark));
        text.line("}");
    }

    private void walk(ExplainedWalk walk) {
        JsonDump.string(text.add("{\"table\":"), walk.table());
        JsonDump.string(text.add(",\"regime\":"), walk.regime());
        JsonDump.string(text.add(",\"role\":"), walk.role().id());
        JsonDump.string(text.add(",\"purpose\":"), walk.purpose());
        JsonDump.hex(text.add(",\"input\":"), walk.input());
        JsonDump.string(text.add(",\"outcome\":"), walk.outcome().id());
        hexOrNull(text.add(",\"output\":"), walk.output());
        JsonDump.string(text.add(",\"says\":"), walk.says());
        text.add(",\"leaf\":");
        walk.leaf().ifPresentOrElse(this::leaf, () -> text.add("null"));
        text.add(",\"steps\":[");
        String between = "\n ";
        for (Step step : walk.steps()) {
            text.add(between);
            step(step);
            between = ",\n ";
        }
        text.add("]}");
    }

    private void leaf(LeafRun run) {
        JsonDump.hex(text.add("{\"start\":"), run.start());
        text.add(",\"end\":\"").add(run.end() == 0 ? TextDump.TOP : "0x" + Long.toHexString(run.end()));
        text.add("\",\"level\":").decimal(run.level());
        JsonDump.string(text.add(",\"kind\":"), run.kind().id());
        hexOrNull(text.add(",\"pa\":"), run.mapped() ? OptionalLong.of(run.output()) : OptionalLong.empty());
        JsonDump.hex(text.add(",\"bits\":"), run.bits()).add("}");
    }

    private void step(Step step) {
        text.add("{\"level\":").decimal(step.level());
        JsonDump.hex(text.add(",\"page\":"), step.page());
        text.add(",\"index\":").decimal(step.index());
        JsonDump.hex(text.add(",\"address\":"), step.address());
        JsonDump.hex(text.add(",\"inputAddress\":"), step.inputAddress());
        JsonDump.hex(text.add(",\"descriptor\":"), step.descriptor());
        JsonDump.string(text.add(",\"kind\":"), step.kind());
        text.add(",\"fields\":[");
        String between = "\n  ";
        for (ExplainedField field : step.fields()) {
            text.add(between).add("{\"high\":").decimal(field.high());
            text.add(",\"low\":").decimal(field.low());
            JsonDump.string(text.add(",\"name\":"), field.name());
            JsonDump.hex(text.add(",\"value\":"), field.value());
            JsonDump.string(text.add(",\"meaning\":"), field.meaning()).add("}");
            between = ",\n  ";
        }
        text.add("]}");
    }

    private void state(Explanation.State state) {
        JsonDump.string(text.add("{\"who\":"), state.who());
        text.add(",\"value\":");
        state.value().ifPresentOrElse(value -> JsonDump.string(text, value), () -> text.add("null"));
        JsonDump.string(text.add(",\"words\":"), state.words());
        JsonDump.string(text.add(",\"place\":"), state.place()).add("}");
    }

    private void violation(Violation violation) {
        JsonDump.string(text.add("{\"rule\":"), violation.rule().id());
        JsonDump.string(text.add(",\"severity\":"), violation.rule().severity().id());
        JsonDump.hex(text.add(",\"start\":"), violation.start());
        JsonDump.hex(text.add(",\"end\":"), violation.end());
        JsonDump.string(text.add(",\"message\":"), violation.message());
        text.add(",\"also\":[");
        String between = "";
        for (Rule rule : violation.also()) {
            JsonDump.string(text.add(between), rule.id());
            between = ",";
        }
        JsonDump.string(text.add("],\"words\":"), violation.rule().words()).add("}");
    }

    private void effect(ExplainedEffect effect) {
        JsonDump.string(text.add("{\"operation\":"), effect.operation());
        JsonDump.string(text.add(",\"verdict\":"), effect.verdict().id());
        JsonDump.string(text.add(",\"result\":"), effect.result());
        JsonDump.string(text.add(",\"why\":"), effect.why()).add("}");
    }

    private <T> void list(String key, List<T> elements, Consumer<T> print) {
        text.add("\"").add(key).add("\":[");
        String between = "\n";
        for (T element : elements) {
            text.add(between);
            print.accept(element);
            between = ",\n";
        }
        text.add("]");
    }

    private static void hexOrNull(ByteText text, OptionalLong value) {
        if (value.isPresent()) {
            JsonDump.hex(text, value.getAsLong());
        } else {
            text.add("null");
        }
    }
}
