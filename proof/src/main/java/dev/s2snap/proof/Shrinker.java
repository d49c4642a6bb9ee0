package dev.s2snap.proof;

import dev.s2snap.model.ModelConfig;
import dev.s2snap.proof.Campaign.Found;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/// Leaves of the steps of a finding those that it needs: takes away chunks, then single steps, as long as the machine
/// shows the same kind of finding; then tries smaller numbers.
final class Shrinker {
    /// What a finding of the whole machine is about, in place of a call.
    static final String ALL = "all of the machine";

    /// Machines that it may use up.
    private static final int REPLAYS = 3000;

    private final Supplier<ModelConfig> machine;
    private int replays;
    private String id = "";
    private String gravity = "";
    private boolean ofAll;

    Shrinker(Supplier<ModelConfig> machine) {
        this.machine = machine;
    }

    Discovery shrink(Found found) {
        id = found.diagnosis();
        gravity = found.gravity();
        ofAll = found.findings().getFirst().call().equals(ALL);
        List<Op> steps = new ArrayList<>(found.steps());
        List<Finding> seen = found.findings();
        for (int chunk = Math.max(1, steps.size() / 2); chunk >= 1; ) {
            boolean less = false;
            for (int at = steps.size() - chunk; at > -chunk && replays < REPLAYS; at -= chunk) {
                int from = Math.max(0, at);
                int to = Math.min(steps.size(), at + chunk);
                if (from >= to || steps.size() == 1) {
                    continue;
                }
                List<Op> without = new ArrayList<>(steps.subList(0, from));
                without.addAll(steps.subList(to, steps.size()));
                Replay replay = replay(without);
                if (replay != null) {
                    steps = replay.steps;
                    seen = replay.findings;
                    less = true;
                }
            }
            if ((chunk == 1 && !less) || replays >= REPLAYS) {
                break;
            }
            chunk = Math.max(1, less ? Math.min(chunk, Math.max(1, steps.size() / 2)) : chunk / 2);
        }
        Replay simpler = simplify(steps, seen);
        return discovery(simpler, found);
    }

    private record Replay(List<Op> steps, List<Finding> findings) {}

    /// Runs steps up to the finding.
    ///
    /// @return the steps that were possible, or null if the machine shows nothing of the kind
    private @Nullable Replay replay(List<Op> steps) {
        replays++;
        List<Op> done = new ArrayList<>();
        try (Trial trial = new Trial(machine.get())) {
            for (Op op : steps) {
                if (!trial.possible(op)) {
                    continue;
                }
                done.add(op);
                List<Finding> findings = trial.step(op);
                if (wanted(trial, findings)) {
                    return new Replay(done, findings);
                }
                if (trial.over()) {
                    return null;
                }
            }
            List<Finding> findings = ofAll ? trial.all(ALL) : List.of();
            return wanted(trial, findings) ? new Replay(done, findings) : null;
        }
    }

    private boolean wanted(Trial trial, List<Finding> findings) {
        return !findings.isEmpty()
                && trial.diagnosis(findings).contains(id)
                && trial.gravity(findings).equals(gravity);
    }

    private Replay simplify(List<Op> steps, List<Finding> findings) {
        Replay best = new Replay(steps, findings);
        for (int at = 0; at < best.steps.size() && replays < REPLAYS; at++) {
            Op op = best.steps.get(at);
            if (op.kind() == Op.Kind.HVC || op.kind() == Op.Kind.LIST) {
                continue;
            }
            for (int argument = 0; argument < op.size(); argument++) {
                for (long simpler : new long[] {0, 1}) {
                    if (op.argument(argument) == simpler || op.argument(argument) == 0) {
                        continue;
                    }
                    List<Op> changed = new ArrayList<>(best.steps);
                    changed.set(at, op.with(argument, simpler));
                    Replay replay = replay(changed);
                    if (replay != null && replay.steps.size() == best.steps.size()) {
                        best = replay;
                        op = best.steps.get(at);
                        break;
                    }
                }
            }
        }
        return best;
    }

    private Discovery discovery(Replay replay, Found found) {
        List<String> script = new ArrayList<>(machine.get().script());
        replay.steps.forEach(op -> script.add("> " + op));
        List<String> witness = new ArrayList<>();
        for (Finding finding : replay.findings) {
            witness.add(finding.toString());
            finding.evidence().forEach(line -> witness.add("  " + line));
        }
        Finding first = replay.findings.getFirst();
        if (first.page() != -1) {
            script.add("> state 0x"
                    + Long.toHexString(first.page() >>> machine.get().pageShift()));
            script.add("> leaf 0x" + Long.toHexString(first.page()));
        }
        return new Discovery(
                found.diagnosis(),
                witness,
                script,
                replay.steps.size(),
                found.steps().size(),
                found.calls(),
                found.nanoseconds());
    }
}
