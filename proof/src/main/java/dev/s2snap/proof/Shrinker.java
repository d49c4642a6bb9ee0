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
        if (!found.findings().getFirst().kind().inScript()) {
            return discovery(new Replay(found.steps(), found.findings()), found);
        }
        id = found.diagnosis();
        gravity = found.gravity();
        ofAll = found.findings().getFirst().call().equals(ALL);
        Replay few = reduce(new Replay(found.steps(), found.findings()));
        // A step with smaller numbers may be none that is needed.
        return discovery(reduce(simplify(few)), found);
    }

    /// Takes away chunks of half the size each time that no more of them can go.
    private Replay reduce(Replay from) {
        Replay best = from;
        for (int chunk = Math.max(1, best.steps.size() / 2); replays < REPLAYS; ) {
            int before = best.steps.size();
            best = without(best, chunk);
            boolean less = best.steps.size() < before;
            if (chunk == 1 && !less) {
                break;
            }
            chunk = Math.max(1, less ? Math.min(chunk, best.steps.size() / 2) : chunk / 2);
        }
        return best;
    }

    /// Tries to do without each chunk of so many steps, from the last to the first.
    private Replay without(Replay from, int chunk) {
        Replay best = from;
        for (int at = best.steps.size() - chunk; at > -chunk && replays < REPLAYS; at -= chunk) {
            List<Op> steps = best.steps;
            int first = Math.max(0, at);
            int end = Math.min(steps.size(), at + chunk);
            if (first < end && end - first < steps.size()) {
                List<Op> rest = new ArrayList<>(steps.subList(0, first));
                rest.addAll(steps.subList(end, steps.size()));
                Replay replay = replay(rest);
                best = replay == null ? best : replay;
            }
        }
        return best;
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

    private Replay simplify(Replay from) {
        Replay best = from;
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
        if (!first.kind().inScript()) {
            witness.add("no script shows this again; here are the steps of the trial, all of them");
        } else if (first.page() != -1) {
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
