package dev.s2snap.inspect;

import dev.s2snap.inspect.ExplainedWalk.Role;
import dev.s2snap.inspect.ExplainedWalk.Step;
import dev.s2snap.pkvm.Rule;
import dev.s2snap.pkvm.Violation;
import java.io.IOException;
import java.io.OutputStream;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/// An [Explanation] for a person: whose page it is first, then each way to it with every descriptor field by field,
/// what
/// it is to whom, the rules that it breaks, and what would happen. Fields of a descriptor that have to be 0, or that
/// hardware does not look at, are named in one line where they are 0.
public final class TextExplanation {
    private static final int WIDTH = 118;

    // Of the descriptors' fields.
    private static final int FIELD = 6;
    private static final int NAME = 14;
    private static final int MEANING = 30;

    // Of page states and effects.
    private static final int STATE = 26;
    private static final int PLACE = 38;
    private static final int RESULT = 21;

    private final ByteText text;

    private TextExplanation(OutputStream out) {
        text = new ByteText(out);
    }

    public static void write(Explanation explanation, OutputStream out) throws IOException {
        TextExplanation printer = new TextExplanation(out);
        for (String line : explanation.summary()) {
            printer.wrapped(0, 2, line);
        }
        for (ExplainedWalk walk : explanation.walks()) {
            printer.walk(walk);
        }
        for (Map.Entry<String, Integer> rest : explanation.notListed().entrySet()) {
            printer.text.line();
            printer.text.line(rest.getKey() + ": " + rest.getValue() + " more places that map it");
        }
        printer.states(explanation.states());
        printer.violations(explanation.violations());
        printer.effects(explanation.effects(), explanation.release());
        printer.remarks(explanation.remarks());
        printer.text.flush();
    }

    // Walks.

    private void walk(ExplainedWalk walk) throws IOException {
        text.line();
        String what = walk.role() == Role.ALIAS ? "also maps it, " + walk.purpose() : walk.purpose();
        wrapped(0, 2, walk.table() + " " + hex(walk.input()) + " (" + what + ") " + walk.says());
        wrapped(2, 4, walk.title() + "  [" + walk.source() + "]");
        walk.leaf()
                .ifPresent(leaf -> text.column(2)
                        .add("in the run ")
                        .hex(leaf.start())
                        .add("-")
                        .add(leaf.end() == 0 ? TextDump.TOP : hex(leaf.end()))
                        .add(" of alike entries at level ")
                        .decimal(leaf.level()));
        if (walk.leaf().isPresent()) {
            text.line();
        }
        for (Step step : walk.steps()) {
            step(step);
        }
    }

    private void step(Step step) throws IOException {
        text.column(2).add("level ").decimal(step.level()).add("  entry ").decimal(step.index());
        text.add(" of the page at ")
                .hex(step.page())
                .add("  @")
                .hex(step.address())
                .add(" = ");
        text.hex(step.descriptor(), 16).add("  ").line(step.kind());
        List<ExplainedField> blank =
                step.fields().stream().filter(ExplainedField::blank).toList();
        if (step.kind().equals("empty")) {
            return;
        }
        for (ExplainedField field : step.fields()) {
            if (!field.blank()) {
                text.column(FIELD)
                        .add(field.range())
                        .column(NAME)
                        .add(field.name())
                        .add(" ");
                text.column(MEANING).add(field.digits());
                if (!field.meaning().isEmpty()) {
                    wrapped(-1, MEANING + 2, "  " + field.meaning());
                } else {
                    text.line();
                }
            }
        }
        if (!blank.isEmpty()) {
            text.column(FIELD);
            wrapped(
                    -1,
                    NAME,
                    blank.stream()
                                    .map(field -> field.range() + " " + field.name())
                                    .collect(Collectors.joining(", ")) + ": 0");
        }
    }

    // What is said of the page as a whole.

    private void states(List<Explanation.State> states) throws IOException {
        if (states.isEmpty()) {
            return;
        }
        text.line();
        text.line("page state");
        for (Explanation.State state : states) {
            text.column(2)
                    .add(state.who())
                    .column(STATE)
                    .add(state.words())
                    .add(" ")
                    .column(PLACE);
            wrapped(-1, PLACE, state.place());
        }
    }

    private void violations(List<Violation> violations) throws IOException {
        if (violations.isEmpty()) {
            return;
        }
        text.line();
        text.line("rules that it breaks");
        for (Violation violation : violations) {
            Rule rule = violation.rule();
            text.column(2);
            wrapped(-1, 8, rule.id() + " (" + rule.severity().id() + ") " + violation.message());
            text.column(8);
            wrapped(-1, 8, "rule: " + rule.words());
            if (!violation.also().isEmpty()) {
                text.column(8)
                        .line("also breaks "
                                + violation.also().stream().map(Rule::id).collect(Collectors.joining(", ")));
            }
        }
    }

    private void effects(List<ExplainedEffect> effects, String release) throws IOException {
        if (effects.isEmpty()) {
            return;
        }
        text.line();
        text.line("what would happen, " + release + "; accesses as far as stage 2 decides");
        for (int i = 0; i < effects.size(); i++) {
            ExplainedEffect effect = effects.get(i);
            text.column(2).add(effect.operation());
            boolean alike = i + 1 < effects.size()
                    && effects.get(i + 1).result().equals(effect.result())
                    && effects.get(i + 1).why().equals(effect.why());
            if (alike) {
                text.line(",");
            } else {
                text.column(RESULT);
                wrapped(-1, RESULT + 2, effect.result() + ": " + effect.why());
            }
        }
    }

    private void remarks(List<String> remarks) throws IOException {
        if (remarks.isEmpty()) {
            return;
        }
        text.line();
        for (String remark : remarks) {
            wrapped(0, 6, "note: " + remark);
        }
    }

    /// Words in lines of [#WIDTH].
    ///
    /// @param first column of the first line, or -1 to go on in the line that is open
    /// @param rest column of the others
    private void wrapped(int first, int rest, String words) throws IOException {
        if (first > 0) {
            text.column(first);
        }
        boolean open = true;
        boolean begun = false;
        for (String word : words.split("(?<=\\S) ", -1)) {
            if (!open && text.width() + 1 + word.length() > WIDTH) {
                text.line();
                text.column(rest);
                open = true;
                begun = true;
            }
            // Wide gaps are for the middle of a line.
            text.add(open ? "" : " ").add(open && begun ? word.stripLeading() : word);
            open = false;
        }
        text.line();
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }
}
