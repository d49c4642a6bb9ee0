package dev.s2snap.cli;

import dev.s2snap.cli.DefectsCatalogue.Defect;
import dev.s2snap.cli.DefectsCatalogue.Show;
import dev.s2snap.cli.DefectsParser.Kind;
import dev.s2snap.cli.DefectsParser.Line;
import dev.s2snap.model.CallAudit;
import dev.s2snap.model.CallAudit.OwnerChange;
import dev.s2snap.model.CallAudit.Pools;
import dev.s2snap.model.CallAudit.Report;
import dev.s2snap.model.Errno;
import dev.s2snap.model.HostKernel;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.PostedHostKernel;
import dev.s2snap.model.SnapshotCall;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// A defect as it happened: what the host did, what the posted code made of it, and what the corrected code does with
/// the same input. Everything but the names of things is read from the machines.
///
/// @param run the script on the posted call, if there is one
/// @param same the script on the corrected call, if there is one
/// @param wide lines of output, posted and right, that are too long for two columns
record DefectsStory(
        Defect defect,
        @Nullable DefectsRun run,
        @Nullable DefectsRun same,
        Side posted,
        Side corrected,
        List<Wide> wide,
        List<Variation> variations) {

    DefectsStory {
        wide = List.copyOf(wide);
        variations = List.copyOf(variations);
    }

    /// One of the two.
    ///
    /// @param title what it is
    /// @param summary its result in a few words
    /// @param audits of its calls
    /// @param numbers what is peculiar to this defect
    record Side(String title, String summary, List<Report> audits, List<String> numbers) {
        Side {
            audits = List.copyOf(audits);
            numbers = List.copyOf(numbers);
        }

        /// The call to look at: the first that broke something, or the last.
        Optional<Report> audit() {
            Optional<Report> bad =
                    audits.stream().filter(each -> !each.broken().isEmpty()).findFirst();
            return bad.isPresent() || audits.isEmpty() ? bad : Optional.of(audits.getLast());
        }
    }

    /// A line of output.
    record Wide(String posted, String right) {}

    /// Another script of the same defect.
    record Variation(DefectsRun run, String posted, String corrected) {}

    private static final String POSTED = "posted (v4)";
    private static final String CORRECTED = "corrected";

    /// Page of the kernel behind the PGD buffer of D-23.
    private static final long NEIGHBOUR = 0x4180_1000L;

    /// Tells one defect.
    ///
    /// @param variations with its other scripts
    static DefectsStory of(Defect defect, boolean variations) throws IOException {
        return switch (defect.show()) {
            case CALL -> call(defect, variations);
            case ALLOCATION -> allocation(defect);
            case FREEING -> freeing(defect);
            case PARSER -> parser(defect);
            case FORWARD, HIDDEN -> {
                String why = defect.show() == Show.FORWARD ? "not on this base" : "not shown";
                yield new DefectsStory(
                        defect,
                        null,
                        null,
                        new Side(POSTED, why, List.of(), List.of()),
                        new Side(CORRECTED, "", List.of(), List.of()),
                        List.of(),
                        List.of());
            }
        };
    }

    private static DefectsStory call(Defect defect, boolean variations) throws IOException {
        DefectsRun posted = DefectsRun.of(defect.scripts().getFirst(), SnapshotCall.Variant.POSTED);
        DefectsRun corrected = DefectsRun.of(defect.scripts().getFirst(), SnapshotCall.Variant.CORRECTED);
        List<Variation> others = new ArrayList<>();
        for (String other :
                variations ? defect.scripts().subList(1, defect.scripts().size()) : List.<String>of()) {
            DefectsRun run = DefectsRun.of(other, SnapshotCall.Variant.POSTED);
            DefectsRun same = DefectsRun.of(other, SnapshotCall.Variant.CORRECTED);
            others.add(new Variation(run, summary(run.audits()), summary(same.audits())));
        }
        return new DefectsStory(
                defect,
                posted,
                corrected,
                side(defect, POSTED, posted),
                side(defect, CORRECTED, corrected),
                List.of(),
                others);
    }

    private static Side side(Defect defect, String title, DefectsRun run) {
        List<String> numbers = numbers(defect.id(), run);
        String summary = summary(run.audits());
        return new Side(
                title,
                switch (defect.id()) {
                    case "D-12", "D-13", "D-15", "D-16", "D-18" -> numbers.getFirst();
                    case "D-10", "D-11" -> leak(defect.id(), run.audits().getLast(), summary);
                    case "D-14" -> run.audits().getFirst().lent() + " pages to and fro";
                    default -> summary;
                },
                run.audits(),
                numbers);
    }

    /// One script for two defects, each with its own half of the result.
    private static String leak(String id, Report report, String summary) {
        if (report.leaks().isEmpty()) {
            return summary;
        }
        List<String> words = new ArrayList<>(List.of(answer(report)));
        if (id.equals("D-10")) {
            add(words, report.el2Addresses(), "EL2 address shown", "EL2 addresses shown");
        } else {
            add(words, report.tableAddresses(), "live table shown", "live tables shown");
        }
        return String.join(", ", words);
    }

    // Results in words.

    /// What a call answered.
    static String answer(Report report) {
        if (report.panic() != null) {
            return "panic";
        }
        Long x0 = report.x0();
        Long x1 = report.x1();
        if (x0 != null && x0 != 0 && x1 != null) {
            return "NOT_SUPPORTED" + (x1 == Errno.EOPNOTSUPP ? ", " + Errno.name(x1) : "");
        }
        return report.result() == null ? "nothing" : Errno.name(report.result());
    }

    static String answers(List<Report> reports) {
        return String.join(", ", reports.stream().map(DefectsStory::answer).toList());
    }

    private static String summary(List<Report> reports) {
        if (reports.isEmpty()) {
            return "";
        }
        Side side = new Side("", "", reports, List.of());
        Report report = side.audit().orElseThrow();
        List<String> words = new ArrayList<>(List.of(answers(reports)));
        long taken = 0;
        long kept = 0;
        for (OwnerChange change : report.owners()) {
            taken += change.from().startsWith("hyp") && change.to().startsWith("host") ? change.pages() : 0;
            kept += change.from().startsWith("host") && change.to().startsWith("hyp") ? change.pages() : 0;
        }
        add(words, taken, "hyp page to the host", "hyp pages to the host");
        add(words, kept, "lent page kept", "lent pages kept");
        add(words, report.nobody(), "page nobody's", "pages nobody's");
        add(words, report.written(), "word overwritten", "words overwritten");
        add(words, report.el2Addresses(), "EL2 address shown", "EL2 addresses shown");
        add(words, report.tableAddresses(), "live table shown", "live tables shown");
        if (report.broken().containsKey(CallAudit.Rule.N_4)) {
            words.add("x1 is the pointer");
        }
        if (words.size() == 1 && report.broken().isEmpty()) {
            words.add("no change");
        }
        return String.join(", ", words);
    }

    private static void add(List<String> words, long number, String one, String many) {
        if (number != 0) {
            words.add(number + " " + (number == 1 ? one : many));
        }
    }

    private static String count(long number, String noun) {
        return number + " " + noun + (number == 1 ? "" : "s");
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }

    /// What there is to count in a defect of design.
    private static List<String> numbers(String id, DefectsRun run) {
        List<Report> reports = run.audits();
        List<String> numbers = new ArrayList<>();
        switch (id) {
            case "D-12" ->
                reports.stream().map(Report::copy).forEach(copy -> {
                    if (copy != null) {
                        numbers.add(copy.annotations() + " hyp pages in the copy");
                        numbers.add(copy.own() + " of them are the lent buffers");
                    }
                });
            case "D-13" -> {
                Set<String> different = new LinkedHashSet<>(
                        reports.stream().map(DefectsStory::answer).toList());
                numbers.add(reports.size() + " mistakes: " + String.join(", ", different));
            }
            case "D-14" -> {
                numbers.add(reports.getFirst().lent() + " pages donated and returned");
                run.steps().stream()
                        .flatMap(step -> step.answers().stream())
                        .filter(answer -> answer.startsWith("events "))
                        .reduce((_, last) -> last)
                        .ifPresent(events -> numbers.add(events.substring("events ".length())));
            }
            case "D-15" -> {
                Pools first = reports.getFirst().pools();
                Pools last = reports.getLast().pools();
                numbers.add((first.blocksBefore() - last.blocks()) + " of " + first.blocksBefore() + " blocks lost");
                for (Report report : reports) {
                    Pools pools = report.pools();
                    numbers.add("call: blocks " + pools.blocksBefore() + " -> " + pools.blocks() + ", table pages "
                            + pools.hostTablesBefore() + " -> " + pools.hostTables());
                }
            }
            case "D-16" -> {
                Report report = reports.getFirst();
                if (report.copy() != null) {
                    numbers.add(report.copy().used() + " of " + report.demanded() + " pages used");
                }
                numbers.add("with " + reports.getLast().demanded() + ": " + answer(reports.getLast()));
            }
            case "D-18" -> {
                Report report = reports.getFirst();
                long tables = report.pools().hostTables();
                long below = report.copy() == null ? 0 : report.copy().used();
                long entries = tables * 512;
                numbers.add(below + " tables, " + (entries - below) + " other entries");
            }
            default -> {
                Report report = reports.getLast();
                Long x0 = report.x0();
                Long x1 = report.x1();
                if (x0 != null && x1 != null) {
                    numbers.add("x0 = " + Long.toString(x0) + ", x1 = " + hex(x1));
                    numbers.add("the caller's int: " + (int) (long) x1);
                }
            }
        }
        return numbers;
    }

    // The host's allocator.

    private static DefectsStory allocation(Defect defect) throws IOException {
        String script = defect.scripts().getFirst();
        DefectsRun posted = DefectsRun.of(script, SnapshotCall.Variant.POSTED, NEIGHBOUR);
        List<String> asked = new ArrayList<>();
        List<String> right = new ArrayList<>();
        List<Report> audits = new ArrayList<>();
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            for (PostedHostKernel.Request request : new PostedHostKernel(model).allocate()) {
                asked.add(request.buffer() + ": asks for " + count(request.bytes(), "byte") + ", gets "
                        + count(request.got(), "page") + " at " + hex(request.address()) + ", announces "
                        + request.announced());
                asked.add("the next caller of the allocator gets " + hex(request.next()));
            }
            HostKernel host = model.hostKernel();
            HostKernel.Lent lent = host.allocate();
            long page = 1L << model.config().pageShift();
            right.add(exact("PGD", lent.pgdPages(), page));
            right.add(exact("array", lent.arrayPages(), page));
            CallAudit audit = CallAudit.begin(model, model.addresses().kern(lent.struct()));
            int result = host.call(model.cpu(0), lent);
            audits.add(audit.end(result));
        }
        return new DefectsStory(
                defect,
                posted,
                null,
                new Side("posted host", summary(posted.audits()), posted.audits(), asked),
                new Side("corrected host", summary(audits), audits, right),
                List.of(),
                List.of());
    }

    private static String exact(String buffer, int pages, long page) {
        return buffer + ": asks for " + count(pages * page, "byte") + ", gets " + count(pages, "page") + ", announces "
                + pages;
    }

    private static DefectsStory freeing(Defect defect) {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            PostedHostKernel.Balance balance = new PostedHostKernel(model).allocateAndFree();
            HostKernel host = model.hostKernel();
            long before = host.pagesAvailable();
            HostKernel.Lent lent = host.allocate();
            long taken = before - host.pagesAvailable();
            host.free(lent);
            long back = taken - (before - host.pagesAvailable());
            return new DefectsStory(
                    defect,
                    null,
                    null,
                    new Side(
                            "posted host",
                            count(balance.taken() - balance.back(), "page") + " leaked each time",
                            List.of(),
                            List.of("PGD and array: " + count(balance.taken(), "page") + " taken, " + balance.back()
                                    + " back")),
                    new Side(
                            "corrected host",
                            count(taken - back, "page") + " leaked",
                            List.of(),
                            List.of("all buffers: " + count(taken, "page") + " taken, " + back + " back")),
                    List.of(),
                    List.of());
        }
    }

    // The parser of the host's side.

    private static DefectsStory parser(Defect defect) throws IOException {
        List<String> posted = new ArrayList<>();
        List<String> right = new ArrayList<>();
        List<Wide> wide = new ArrayList<>();
        DefectsRun run = DefectsRun.of(defect.scripts().getFirst(), SnapshotCall.Variant.CORRECTED, model -> {
            TableGeometry geometry = model.host().optional().orElseThrow().geometry();
            if (defect.id().equals("D-28")) {
                levelNames(geometry, posted, right, wide);
                return;
            }
            // The struct's page is where the scripts put it.
            long root = model.memory()
                    .bytes()
                    .get(PhysicalMemory.LE64, model.memory().offset(0x4020_0008L, 8));
            TranslationTable copy = new TranslationTable(model.memory(), geometry, root);
            List<Line> wrong = DefectsParser.print(model.memory(), copy, Kind.POSTED);
            List<Line> good = DefectsParser.print(model.memory(), copy, Kind.RIGHT);
            tokens(defect.id(), model, wrong, good, posted, right, wide);
        });
        return new DefectsStory(
                defect,
                run,
                null,
                new Side("posted parser", posted.getFirst(), run.audits(), posted),
                new Side("right", right.getFirst(), List.of(), right),
                wide,
                List.of());
    }

    private static void levelNames(TableGeometry geometry, List<String> posted, List<String> right, List<Wide> wide) {
        int start = geometry.startLevel();
        for (int level = start; level <= TableGeometry.LAST_LEVEL; level++) {
            int index = DefectsParser.nameIndex(level, start);
            boolean inside = index < DefectsParser.names();
            if (!inside) {
                posted.add("reads name " + index + " of " + DefectsParser.names());
            }
            wide.add(new Wide(
                    "start level " + start + ", level " + level + ": name " + index + ", "
                            + (inside ? DefectsParser.name(index) : "which is not there"),
                    "level " + level));
        }
        right.add("prints the number of the level");
    }

    private static void tokens(
            String id,
            PkvmModel model,
            List<Line> wrong,
            List<Line> good,
            List<String> posted,
            List<String> right,
            List<Wide> wide) {
        switch (id) {
            case "D-29" -> {
                long invalid = wrong.stream()
                        .filter(line -> (line.bits() & 1) == 0 && line.bits() != 0)
                        .peek(line -> wide.add(
                                new Wide(line.text(), at(good, line.start()).text())))
                        .filter(line -> line.text().contains("BLK"))
                        .count();
                posted.add("BLK on " + count(invalid, "invalid region"));
                right.add("BLK on "
                        + good.stream()
                                .filter(line ->
                                        (line.bits() & 1) == 0 && line.text().contains("BLK"))
                                .count());
            }
            case "D-30" -> {
                List<Line> shared = wrong.stream()
                        .filter(line -> line.text().contains("SHARED_OWNED"))
                        .toList();
                posted.add("FF-A in " + DefectsParser.with(wrong, "FF-A") + " of " + count(wrong.size(), "region"));
                long secure = 0;
                for (Line line : shared) {
                    boolean hyp = model.hyp()
                                    .optional()
                                    .orElseThrow()
                                    .translate(model.addresses().hypVa(line.start()))
                            instanceof Translation.Mapped;
                    secure += hyp ? 0 : 1;
                    wide.add(new Wide(
                            line.text(),
                            hex(line.start()) + ": "
                                    + (hyp ? "EL2 maps it" : "EL2 does not map it: shared with FF-A")));
                }
                right.add("FF-A in " + secure + ", by EL2's table");
            }
            case "D-31" -> {
                long there = good.stream()
                        .filter(line -> line.text().contains("NOPAGE"))
                        .count();
                posted.add("NOPAGE in " + DefectsParser.with(wrong, "PKVM_NOPAGE") + " of "
                        + count(wrong.size(), "region"));
                right.add("NOPAGE in " + there);
                good.stream()
                        .filter(line -> line.text().contains("NOPAGE"))
                        .limit(2)
                        .forEach(line ->
                                wide.add(new Wide(at(wrong, line.start()).text(), line.text())));
            }
            default -> {
                posted.add("ends at " + hex(wrong.getLast().end()));
                right.add("ends at " + hex(good.getLast().end()));
                wide.add(new Wide(
                        wrong.getLast().text(),
                        at(good, wrong.getLast().start()).text()));
                wide.add(new Wide("(nothing)", good.getLast().text()));
            }
        }
    }

    private static Line at(List<Line> lines, long start) {
        return lines.stream().filter(line -> line.start() == start).findFirst().orElseThrow();
    }
}
