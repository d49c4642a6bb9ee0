package dev.s2snap.cli;

import dev.s2snap.cli.DefectsCatalogue.Defect;
import dev.s2snap.cli.DefectsCatalogue.Show;
import dev.s2snap.cli.DefectsRun.Step;
import dev.s2snap.cli.DefectsStory.Side;
import dev.s2snap.cli.DefectsStory.Variation;
import dev.s2snap.cli.DefectsStory.Wide;
import dev.s2snap.model.CallAudit.OwnerChange;
import dev.s2snap.model.CallAudit.Pools;
import dev.s2snap.model.CallAudit.Range;
import dev.s2snap.model.CallAudit.Report;
import dev.s2snap.model.CallAudit.Rule;
import dev.s2snap.model.CallAudit.Word;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/// Stories for people: a table of all, or one side by side, in at most 120 columns.
final class DefectsText {
    static final int WIDTH = 120;

    /// Where the two columns begin.
    private static final int LEFT = 11;

    private static final int RIGHT = 66;

    /// Lines of an answer that are shown.
    private static final int ANSWER_LINES = 4;

    private static final int RANGES = 3;

    private final StringBuilder out = new StringBuilder();

    private DefectsText() {}

    // The table.

    /// One line for each defect; what is not shown has its reason there.
    static String table(List<DefectsStory> stories) {
        DefectsText text = new DefectsText();
        text.row("id", "sev", "what is wrong", "posted", "corrected");
        for (DefectsStory story : stories) {
            Defect defect = story.defect();
            if (defect.show().shown()) {
                text.row(
                        defect.id(),
                        defect.severity(),
                        defect.line(),
                        story.posted().summary(),
                        story.corrected().summary());
            } else {
                text.row(defect.id(), defect.severity(), defect.line(), reason(defect), "");
            }
        }
        text.line("");
        text.line(
                "severity: A isolation broken, B panic, C wrong result or leak, D robustness, F forward port, H host side");
        text.line("`s2snap defects D-01` tells one of them; the scripts are in samples/defects.");
        return text.out.toString();
    }

    private static String reason(Defect defect) {
        return (defect.show() == Show.FORWARD ? "not on this base: " : "not shown: ") + defect.note();
    }

    private void row(String id, String severity, String line, String posted, String corrected) {
        int[] at = {0, 6, 10, 62, corrected.isEmpty() ? WIDTH : 99};
        List<List<String>> cells = List.of(
                List.of(id),
                List.of(severity),
                wrap(line, at[3] - at[2] - 1, 0),
                wrap(posted, at[4] - at[3] - 1, 0),
                wrap(corrected, WIDTH - 99, 0));
        int height = cells.stream().mapToInt(List::size).max().orElse(1);
        for (int i = 0; i < height; i++) {
            StringBuilder row = new StringBuilder();
            for (int cell = 0; cell < at.length; cell++) {
                if (i < cells.get(cell).size() && !cells.get(cell).get(i).isEmpty()) {
                    pad(row, at[cell]);
                    row.append(cells.get(cell).get(i));
                }
            }
            line(row.toString());
        }
    }

    // One story.

    static String story(DefectsStory story) {
        DefectsText text = new DefectsText();
        text.tell(story);
        return text.out.toString();
    }

    private void tell(DefectsStory story) {
        Defect defect = story.defect();
        line(defect.id() + "  " + defect.line());
        line("severity " + defect.severity() + ": " + DefectsCatalogue.words(defect.severity()));
        if (!defect.show().shown()) {
            line("");
            wrap(reason(defect), WIDTH, 0).forEach(this::line);
            return;
        }
        DefectsRun run = story.run();
        line("");
        if (run != null) {
            wrap(run.about(), WIDTH, 0).forEach(this::line);
            line("");
        }
        columns("", List.of(story.posted().title()), List.of(story.corrected().title()));
        if (run != null) {
            host(run, story.same());
            line("");
        }
        sides(story);
        for (Wide wide : story.wide()) {
            line("  posted   " + wide.posted());
            line("  right    " + wide.right());
        }
        if (!defect.note().isEmpty()) {
            line("");
            wrap(defect.note(), WIDTH, 0).forEach(this::line);
        }
        others(story);
        if (run != null) {
            line("");
            line("s2snap model --variant posted --script samples/defects/" + run.script() + ".txt");
        }
    }

    /// What the host does, and where the answers differ.
    private void host(DefectsRun run, @Nullable DefectsRun same) {
        List<Step> left = run.story();
        List<Step> right = same == null ? List.of() : same.story();
        for (int i = 0; i < left.size(); i++) {
            Step step = left.get(i);
            wrap(step.line(), WIDTH - 2, 4).forEach(each -> line("  " + each));
            boolean call = step.audit() != null;
            if (same == null || i >= right.size()) {
                if (call || query(step)) {
                    columns("", cut(step.answers()), List.of());
                }
            } else if (call
                    || query(step)
                    || !step.answers().equals(right.get(i).answers())) {
                List<String> answers = right.get(i).answers();
                columns(
                        "",
                        cut(step.answers()),
                        answers.equals(step.answers()) && answers.size() > 1 ? List.of("the same") : cut(answers));
            }
        }
    }

    /// Operations whose answer says nothing are told without it.
    private static boolean query(Step step) {
        return step.operation()
                && !step.answers().isEmpty()
                && !step.answers().equals(List.of("ret 0"))
                && !step.answers().getFirst().startsWith("head ");
    }

    private static List<String> cut(List<String> answers) {
        return answers.size() <= ANSWER_LINES
                ? answers
                : List.of(answers.get(0), answers.get(1), "... " + (answers.size() - 2) + " more lines");
    }

    private void sides(DefectsStory story) {
        Side posted = story.posted();
        Side corrected = story.corrected();
        columns("numbers", posted.numbers(), corrected.numbers());
        boolean audited = !posted.audits().isEmpty() && story.defect().show() != Show.PARSER;
        if (!audited) {
            return;
        }
        Optional<Report> bad = posted.audit();
        Optional<Report> good = corrected.audit();
        both("answer", bad.map(report -> answer(posted, report)), good.map(report -> answer(corrected, report)));
        both("owners", bad.map(DefectsText::owners), good.map(DefectsText::owners));
        both("written", bad.map(DefectsText::written), good.map(DefectsText::written));
        both("shown", bad.map(DefectsText::shown), good.map(DefectsText::shown));
        both("tables", bad.map(DefectsText::pools), good.map(DefectsText::pools));
        both("rules", bad.map(DefectsText::rules), good.map(DefectsText::rules));
    }

    private void both(String label, Optional<List<String>> left, Optional<List<String>> right) {
        columns(label, left.orElse(List.of()), right.orElse(List.of()));
    }

    private static List<String> answer(Side side, Report report) {
        return List.of(
                report.panic() != null
                        ? "PANIC " + report.panic().replace(" va=", ", va ").replace(" lin_pa=", ", physical ")
                        : DefectsStory.answers(side.audits()));
    }

    private static List<String> owners(Report report) {
        if (report.owners().isEmpty()) {
            return List.of(
                    "as before: " + report.lent() + (report.lent() == 1 ? " page" : " pages") + " lent, all back");
        }
        List<String> lines = new ArrayList<>();
        for (OwnerChange change : report.owners()) {
            lines.add(change.pages() + (change.pages() == 1 ? " page: " : " pages: ") + change.from() + " -> "
                    + change.to());
            for (Range range :
                    change.ranges().subList(0, Math.min(RANGES, change.ranges().size()))) {
                lines.add("  " + hex(range.start()) + "-" + hex(range.end()) + " " + range.what());
            }
            if (change.ranges().size() > RANGES) {
                lines.add("  ...");
            }
        }
        return lines;
    }

    private static List<String> written(Report report) {
        if (report.written() == 0) {
            return List.of("lent memory only");
        }
        List<String> lines = new ArrayList<>();
        lines.add(report.written() + (report.written() == 1 ? " word" : " words") + " outside the lent memory");
        words(report.words(), lines);
        return lines;
    }

    private static void words(List<Word> words, List<String> lines) {
        for (Word word : words.subList(0, Math.min(RANGES, words.size()))) {
            lines.add("  " + hex(word.address()) + " " + word.what() + ": " + hex(word.before()) + " -> "
                    + hex(word.after()));
        }
        if (words.size() > RANGES) {
            lines.add("  ...");
        }
    }

    private static List<String> shown(Report report) {
        if (report.leaks().isEmpty()) {
            return List.of("no EL2 address, no live table");
        }
        List<String> lines = new ArrayList<>();
        lines.add(report.el2Addresses() + " EL2, " + report.tableAddresses() + " live table addresses in lent memory");
        for (Word word :
                report.leaks().subList(0, Math.min(RANGES, report.leaks().size()))) {
            lines.add("  " + hex(word.address()) + ": " + hex(word.after()) + ", " + word.what());
        }
        if (report.leaks().size() > RANGES) {
            lines.add("  ...");
        }
        return lines;
    }

    private static List<String> pools(Report report) {
        Pools pools = report.pools();
        List<String> lines = new ArrayList<>();
        lines.add("host " + change(pools.hostTablesBefore(), pools.hostTables()) + " pages, pool "
                + change(pools.hostFreeBefore(), pools.hostFree()) + " free");
        lines.add("EL2 " + change(pools.hypTablesBefore(), pools.hypTables()) + " pages, pool "
                + change(pools.hypFreeBefore(), pools.hypFree()) + " free");
        if (pools.lost() != 0) {
            lines.add(pools.lost() + (pools.lost() == 1 ? " page" : " pages") + " lost from pool and tables");
        }
        return lines;
    }

    private static String change(long before, long after) {
        return before == after ? String.valueOf(before) : before + " -> " + after;
    }

    private static List<String> rules(Report report) {
        if (report.broken().isEmpty()) {
            return List.of("all hold");
        }
        List<String> lines = new ArrayList<>();
        Map<Rule, String> sorted = new TreeMap<>(report.broken());
        sorted.forEach((rule, what) -> lines.add(rule.id() + " " + rule.words() + ": " + what));
        return lines;
    }

    private void others(DefectsStory story) {
        if (story.variations().isEmpty()) {
            return;
        }
        line("");
        for (Variation variation : story.variations()) {
            line(variation.run().script());
            wrap(variation.run().about(), WIDTH - 2, 0).forEach(each -> line("  " + each));
            columns("", wrap(variation.posted(), RIGHT - LEFT - 2, 0), wrap(variation.corrected(), WIDTH - RIGHT, 0));
        }
    }

    // Lines.

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }

    private void line(String line) {
        out.append(line.stripTrailing()).append('\n');
    }

    private void columns(String label, List<String> left, List<String> right) {
        List<String> a = new ArrayList<>();
        List<String> b = new ArrayList<>();
        left.forEach(each -> a.addAll(wrap(each, RIGHT - LEFT - 2, 4)));
        right.forEach(each -> b.addAll(wrap(each, WIDTH - RIGHT, 4)));
        for (int i = 0; i < Math.max(a.size(), b.size()); i++) {
            StringBuilder row = new StringBuilder();
            if (i == 0 && !label.isEmpty()) {
                row.append("  ").append(label);
            }
            if (i < a.size()) {
                pad(row, LEFT);
                row.append(a.get(i));
            }
            if (i < b.size()) {
                pad(row, RIGHT);
                row.append(b.get(i));
            }
            line(row.toString());
        }
    }

    private static void pad(StringBuilder row, int column) {
        row.repeat(' ', Math.max(0, column - row.length()));
    }

    /// Words in lines; a word that is too long for one is broken.
    ///
    /// @param hang blanks in front of all lines but the first, on top of the text's own
    static List<String> wrap(String text, int width, int hang) {
        List<String> lines = new ArrayList<>();
        int own = text.length() - text.stripLeading().length();
        StringBuilder line = new StringBuilder(" ".repeat(own));
        boolean empty = true;
        for (String word : text.strip().split(" ", -1)) {
            String rest = word;
            if (!empty && line.length() + 1 + rest.length() > width) {
                lines.add(line.toString());
                line = new StringBuilder(" ".repeat(own + hang));
                empty = true;
            }
            while (line.length() + rest.length() + (empty ? 0 : 1) > width) {
                int room = width - line.length();
                lines.add(line + rest.substring(0, room));
                rest = rest.substring(room);
                line = new StringBuilder(" ".repeat(own + hang));
            }
            line.append(empty ? "" : " ").append(rest);
            empty = false;
        }
        lines.add(line.toString());
        return lines;
    }
}
