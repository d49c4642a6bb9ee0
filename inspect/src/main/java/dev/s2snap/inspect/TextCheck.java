package dev.s2snap.inspect;

import dev.s2snap.pkvm.Evidence;
import dev.s2snap.pkvm.Rule;
import dev.s2snap.pkvm.Rules.NotChecked;
import dev.s2snap.pkvm.Violation;
import dev.s2snap.vmsa.Finding.Step;
import java.io.IOException;
import java.io.OutputStream;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// A [Check] for a person: the sum of it first, then the violations by rule, each with what the tables say; then what
/// could be better, and what was not checked.
public final class TextCheck {
    private static final int WIDTH = 118;

    /// Violations of one rule that are told in full.
    private static final int TOLD = 20;

    private static final int LISTED_LINT = 8;

    private final ByteText text;

    private TextCheck(OutputStream out) {
        text = new ByteText(out);
    }

    public static void write(Check check, OutputStream out) throws IOException {
        TextCheck printer = new TextCheck(out);
        printer.sum(check);
        printer.violations(check.report().violations());
        printer.lint(check.lint());
        printer.notChecked(check);
        printer.text.flush();
    }

    private void sum(Check check) throws IOException {
        List<Violation> violations = check.report().violations();
        String tables = check.tables().isEmpty() ? "; there is no table" : " in " + String.join(", ", check.tables());
        if (violations.isEmpty()) {
            text.line("no rule is broken" + tables);
            return;
        }
        List<String> rules = violations.stream()
                .map(violation -> violation.rule().id())
                .distinct()
                .sorted(Comparator.comparingInt(String::length).thenComparing(id -> id))
                .toList();
        text.line(count(violations.size(), "violation") + " of " + count(rules.size(), "rule") + ": "
                + String.join(", ", rules) + tables);
    }

    private void violations(List<Violation> violations) throws IOException {
        Map<Rule, List<Violation>> byRule = new EnumMap<>(Rule.class);
        violations.forEach(violation ->
                byRule.computeIfAbsent(violation.rule(), _ -> new ArrayList<>()).add(violation));
        for (Map.Entry<Rule, List<Violation>> entry : byRule.entrySet()) {
            Rule rule = entry.getKey();
            text.line();
            text.line(rule.id() + " (" + rule.severity().id() + ")  " + rule.words());
            text.column(2).line("if not: " + rule.meaning());
            int told = 0;
            for (Violation violation : entry.getValue()) {
                if (told++ == TOLD) {
                    text.column(2).line("and " + (entry.getValue().size() - TOLD) + " more; --format json has all");
                    break;
                }
                violation(violation);
            }
        }
    }

    private void violation(Violation violation) throws IOException {
        text.column(2).hex(violation.start(), 12).add("-").hex(violation.end(), 12);
        text.add("  ").add(ByteText.size(violation.end() - violation.start())).add("  ");
        text.line(violation.message());
        for (Evidence evidence : violation.evidence()) {
            text.column(6)
                    .add(evidence.table())
                    .column(19)
                    .hex(evidence.start(), 12)
                    .add("  ");
            text.line(evidence.says());
            String line = "";
            for (Step step : evidence.path()) {
                String at = "level " + step.level() + " @0x" + Long.toHexString(step.address()) + " = 0x"
                        + Long.toHexString(step.descriptor());
                if (!line.isEmpty() && 21 + line.length() + at.length() + 3 > WIDTH) {
                    text.column(21).line(line + " >");
                    line = "";
                }
                line += (line.isEmpty() ? "" : " > ") + at;
            }
            if (!line.isEmpty()) {
                text.column(21).line(line);
            }
        }
        if (!violation.also().isEmpty()) {
            text.column(6)
                    .line("also breaks  "
                            + String.join(
                                    ", ",
                                    violation.also().stream().map(Rule::id).toList()));
        }
    }

    private void lint(List<Lint> lints) throws IOException {
        if (lints.isEmpty()) {
            return;
        }
        long saves = lints.stream().mapToLong(Lint::saves).sum();
        text.line();
        text.line("could be better: " + count(lints.size(), "place") + ", " + ByteText.sum(saves) + " of tables");
        for (Lint lint : lints.subList(0, Math.min(lints.size(), LISTED_LINT))) {
            text.column(2)
                    .add(lint.table())
                    .column(10)
                    .hex(lint.start(), 12)
                    .add("-")
                    .hex(lint.end(), 12);
            text.line("  " + lint.message() + ", saves " + ByteText.size(lint.saves()));
        }
        if (lints.size() > LISTED_LINT) {
            text.column(2).line("and " + (lints.size() - LISTED_LINT) + " more; --format json has all");
        }
    }

    private void notChecked(Check check) throws IOException {
        Map<String, List<String>> byReason = new LinkedHashMap<>();
        for (NotChecked each : check.report().notChecked()) {
            byReason.computeIfAbsent(each.reason(), _ -> new ArrayList<>())
                    .add(each.rule().id());
        }
        for (Lint.NotLooked each : check.notLooked()) {
            byReason.computeIfAbsent(each.reason(), _ -> new ArrayList<>())
                    .add(each.kind().id());
        }
        if (byReason.isEmpty()) {
            return;
        }
        text.line();
        text.line("not checked");
        for (Map.Entry<String, List<String>> entry : byReason.entrySet()) {
            String rules = String.join(" ", entry.getValue());
            text.column(2).add(rules);
            if (rules.length() > 18) {
                text.line();
            }
            text.column(22).line(entry.getKey());
        }
    }

    private static String count(int number, String noun) {
        return number + " " + noun + (number == 1 ? "" : "s");
    }
}
