package dev.s2snap.cli;

import dev.s2snap.model.CallAudit;
import dev.s2snap.model.Cpu;
import dev.s2snap.model.Hypercalls;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.ScriptException;
import dev.s2snap.model.ScriptRunner;
import dev.s2snap.model.SnapshotCall;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.function.Consumer;
import java.util.stream.LongStream;
import org.jspecify.annotations.Nullable;

/// A script of samples/defects on one variant, with an audit around every snapshot call of the first CPU.
///
/// The scripts are in the jar, so that they are found from anywhere.
final class DefectsRun {
    /// One line of the script and what it printed, without `< `.
    ///
    /// @param audit of a line that is a snapshot call
    record Step(String line, List<String> answers, CallAudit.@Nullable Report audit) {
        Step {
            answers = List.copyOf(answers);
        }

        boolean operation() {
            return line.startsWith(">");
        }
    }

    /// What the second CPU is going to do during the next call: structs that it passes, words that it stores to.
    private record Second(List<Long> calls, List<Long> stores) {}

    private final String script;
    private final List<Step> steps = new ArrayList<>();

    private DefectsRun(String script) {
        this.script = script;
    }

    /// Text of a script.
    static String text(String name) throws IOException {
        try (InputStream in = Objects.requireNonNull(
                DefectsRun.class.getResourceAsStream("defects/" + name + ".txt"), "no script " + name)) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    static DefectsRun of(String name, SnapshotCall.Variant variant, long... notAllocated) throws IOException {
        return of(name, variant, _ -> {}, notAllocated);
    }

    /// @param behind looks at the machine when the script has ended
    /// @param notAllocated pages that the host announces without having allocated them
    static DefectsRun of(String name, SnapshotCall.Variant variant, Consumer<PkvmModel> behind, long... notAllocated)
            throws IOException {
        return of(name, text(name), variant, behind, notAllocated);
    }

    /// @param name of the script, for messages
    /// @param text its lines
    static DefectsRun of(
            String name, String text, SnapshotCall.Variant variant, Consumer<PkvmModel> behind, long... notAllocated)
            throws IOException {
        DefectsRun run = new DefectsRun(name);
        List<String> out = new ArrayList<>();
        try (ScriptRunner runner = new ScriptRunner(out::add).variant(variant)) {
            Second second = new Second(new ArrayList<>(), new ArrayList<>());
            for (String line : text.lines().toList()) {
                if (line.startsWith("<")) {
                    continue;
                }
                out.clear();
                PkvmModel model = runner.model();
                CallAudit audit = model == null ? null : begin(model, line, second, notAllocated);
                runner.run(new BufferedReader(new StringReader(line)));
                List<String> answers =
                        out.stream().skip(1).map(answer -> answer.substring(2)).toList();
                run.steps.add(new Step(line, answers, audit == null ? null : audit.end(returned(answers))));
                if (audit != null) {
                    second.calls.clear();
                    second.stores.clear();
                }
            }
            PkvmModel model = runner.model();
            if (model != null) {
                behind.accept(model);
            }
        } catch (ScriptException e) {
            throw new IllegalStateException("defects/" + name + ".txt: " + e.getMessage(), e);
        }
        return run;
    }

    private static @Nullable CallAudit begin(PkvmModel model, String line, Second second, long... notAllocated) {
        List<String> words = List.of(line.split("\\s+"));
        if (line.startsWith("> arm ") && words.get(3).equals("snapshot")) {
            second.calls.add(model.addresses().kern(number(words.get(4))));
        } else if (line.startsWith("> arm ") && words.get(3).equals("write64")) {
            second.stores.add(number(words.get(4)));
        }
        if (!line.startsWith("> ") || model.panic() != null) {
            return null;
        }
        Cpu cpu = null;
        long pointer;
        switch (words.get(1)) {
            case "snapshot" -> pointer = model.addresses().kern(number(words.get(2)));
            case "snapshot_hva" -> pointer = number(words.get(2));
            case "hvc" -> {
                if (number(words.get(3)) != Hypercalls.id(Hypercalls.HOST_STAGE2_SNAPSHOT)) {
                    return null;
                }
                cpu = model.cpu(Integer.parseInt(words.get(2)));
                pointer = number(words.get(4));
            }
            default -> {
                return null;
            }
        }
        CallAudit audit = CallAudit.begin(
                model,
                LongStream.concat(LongStream.of(pointer), second.calls.stream().mapToLong(Long::longValue))
                        .toArray());
        LongStream.of(notAllocated).forEach(audit::notAllocated);
        second.stores.forEach(audit::storedByHost);
        return cpu == null ? audit : audit.on(cpu);
    }

    private static long number(String word) {
        return word.startsWith("0x") ? Long.parseUnsignedLong(word.substring(2), 16) : Long.parseLong(word);
    }

    /// What the call itself returned, behind what a second CPU did.
    private static @Nullable Integer returned(List<String> answers) {
        String last = answers.isEmpty() ? "" : answers.getLast();
        return last.startsWith("ret ") ? Integer.valueOf(last.substring(4)) : null;
    }

    String script() {
        return script;
    }

    List<Step> steps() {
        return steps;
    }

    /// The script with its answers.
    String transcript() {
        StringBuilder text = new StringBuilder();
        for (Step step : steps) {
            text.append(step.line).append('\n');
            step.answers.forEach(answer -> text.append("< ").append(answer).append('\n'));
        }
        return text.toString();
    }

    /// The audits, in order of the calls.
    List<CallAudit.Report> audits() {
        return steps.stream().map(Step::audit).filter(Objects::nonNull).toList();
    }

    /// What the script says about itself: its first comment, without the number of the defect.
    String about() {
        StringBuilder about = new StringBuilder();
        for (Step step : steps) {
            if (!step.line.startsWith("#")) {
                break;
            }
            about.append(about.isEmpty() ? "" : " ")
                    .append(step.line.substring(1).strip());
        }
        String words = about.toString().replaceFirst("^D-\\d\\d[:,]? *", "");
        return words.substring(0, 1).toUpperCase(Locale.ROOT) + words.substring(1);
    }

    /// What the host does, from the end of its boot on: operations and comments.
    List<Step> story() {
        int init = 0;
        while (init < steps.size() && !steps.get(init).line.startsWith("> init")) {
            init++;
        }
        return steps.subList(Math.min(init + 1, steps.size()), steps.size());
    }
}
