package dev.s2snap.proof;

import dev.s2snap.model.ModelConfig;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.function.Supplier;

/// Trial after trial of a [HostileHost] and a [KernelHost] on machines of one kind, until the budget is used up.
///
/// The whole campaign follows from its seed. Each trial has a seed of its own, and is found again by it.
public final class Campaign {
    /// Steps of one trial.
    private static final int STEPS = 20_000;

    /// How often everything is read afresh.
    private static final int ALL_IN = 4_000;

    /// How often the budget is looked at.
    private static final int BUDGET_IN = 16;

    /// With one trial in so many another machine is brought up call by call.
    private static final int BOOTS_IN = 4;

    /// One in so many ideas is a snapshot.
    private static final int SNAPSHOTS_IN = 60;

    private final Supplier<ModelConfig> machine;
    private final long seed;
    private final Tally tally = new Tally();

    /// What was done so far.
    public static final class Tally {
        private long calls;
        private long transitions;
        private long successes;
        private long snapshots;
        private long trials;
        private final Map<String, Long> answers = new TreeMap<>();
        private final Map<String, Long> bugs = new TreeMap<>();

        /// Steps, each of which was predicted and compared.
        public long calls() {
            return calls;
        }

        /// Single page ownership changes, faults and refusals.
        public long transitions() {
            return transitions;
        }

        /// Steps that answered with 0 or a handle.
        public long successes() {
            return successes;
        }

        public long snapshots() {
            return snapshots;
        }

        /// Machines from power-on.
        public long trials() {
            return trials;
        }

        /// Number of snapshots by their answer.
        public Map<String, Long> answers() {
            return answers;
        }

        /// Known bugs of the base that were met as predicted, with the number of trials.
        public Map<String, Long> bugs() {
            return bugs;
        }

        /// Adds what another campaign did.
        public void add(Tally other) {
            calls += other.calls;
            transitions += other.transitions;
            successes += other.successes;
            snapshots += other.snapshots;
            trials += other.trials;
            other.answers.forEach((answer, number) -> answers.merge(answer, number, Long::sum));
            other.bugs.forEach((bug, number) -> bugs.merge(bug, number, Long::sum));
        }
    }

    /// @param machine makes the configuration of a machine, a new one each time
    public Campaign(Supplier<ModelConfig> machine, long seed) {
        this.machine = machine;
        this.seed = seed;
    }

    public Tally tally() {
        return tally;
    }

    /// Something that the oracle did not predict, and the steps from power-on to it.
    record Found(
            String diagnosis, String gravity, List<Finding> findings, List<Op> steps, long calls, long nanoseconds) {
        Found {
            findings = List.copyOf(findings);
            steps = List.copyOf(steps);
        }
    }

    /// Whether to go on, asked now and then.
    @FunctionalInterface
    public interface Budget {
        boolean left(Tally tally);
    }

    /// Runs trials until the budget is used up. What is found is shrunk and passed on, each kind once; the time that
    /// shrinking takes is not counted as time to find.
    public void run(Budget budget, Consumer<Discovery> discovered) {
        Seeds seeds = new Seeds(seed);
        Set<String> known = new HashSet<>();
        long started = System.nanoTime();
        long shrinking = 0;
        while (budget.left(tally)) {
            for (Found found : trial(seeds, budget, known, started + shrinking)) {
                long from = System.nanoTime();
                discovered.accept(new Shrinker(machine).shrink(found));
                shrinking += System.nanoTime() - from;
            }
        }
    }

    /// The same without shrinking: what is found first of each kind, by its id.
    Map<String, Found> search(Budget budget) {
        Seeds seeds = new Seeds(seed);
        Map<String, Found> first = new TreeMap<>();
        long started = System.nanoTime();
        while (budget.left(tally)) {
            trial(seeds, budget, new HashSet<>(first.keySet()), started)
                    .forEach(found -> first.put(found.diagnosis(), found));
        }
        return first;
    }

    /// What all trials follow from. The kernel's choices are not of the hostile host's sequence, which is the same with
    /// and without them.
    private record Seeds(SplittableRandom hosts, SplittableRandom kernels) {
        Seeds(long seed) {
            this(new SplittableRandom(seed), new SplittableRandom(~seed));
        }
    }

    private List<Found> trial(Seeds seeds, Budget budget, Set<String> known, long started) {
        tally.trials++;
        List<Found> found = new ArrayList<>();
        List<Op> steps = new ArrayList<>();
        SplittableRandom random = seeds.hosts.split();
        try (Trial trial = new Trial(machine.get())) {
            HostileHost host = new HostileHost(
                    trial.model(),
                    trial.world(),
                    new SnapshotOracle(trial.world(), trial.scene()).demand(),
                    SNAPSHOTS_IN,
                    random);
            KernelHost kernel = new KernelHost(trial, seeds.kernels.split());
            KernelSteps recorded = new KernelSteps(trial, kernel, steps, known, started, found);
            for (int step = 1; step <= STEPS && !trial.over(); step++) {
                Op op = host.next();
                if (trial.possible(op) && !kernel.harmedBy(op)) {
                    steps.add(op);
                    found(trial, trial.step(op), steps, known, started, found);
                    count(trial);
                }
                if (!trial.over() && kernel.due(step)) {
                    trial.kernel(kernel::act, recorded);
                    found(trial, kernel.findings(), steps, known, started, found);
                }
                if (!trial.over() && step % ALL_IN == 0) {
                    found(trial, trial.all(Shrinker.ALL), steps, known, started, found);
                }
                if (step % BUDGET_IN == 0 && !budget.left(tally)) {
                    break;
                }
            }
            if (!trial.over() && !trial.world().poolsHeld()) {
                found(trial, trial.crowd(random), steps, known, started, found);
            }
            if (random.nextInt(BOOTS_IN) == 0) {
                boot(random, known, started, found);
            }
            trial.bugs().forEach(bug -> tally.bugs.merge(bug, 1L, Long::sum));
        }
        return found;
    }

    /// The steps of the machine's own kernel count as the others do.
    private final class KernelSteps implements Trial.Steps {
        private final Trial trial;
        private final KernelHost kernel;
        private final List<Op> steps;
        private final Set<String> known;
        private final long started;
        private final List<Found> found;

        KernelSteps(
                Trial trial, KernelHost kernel, List<Op> steps, Set<String> known, long started, List<Found> found) {
            this.trial = trial;
            this.kernel = kernel;
            this.steps = steps;
            this.known = known;
            this.started = started;
            this.found = found;
        }

        @Override
        public void begins(Op op) {
            steps.add(op);
        }

        @Override
        public void ended(List<Finding> findings) {
            kernel.stepped();
            found(trial, findings, steps, known, started, found);
            count(trial);
        }
    }

    private void found(
            Trial trial, List<Finding> findings, List<Op> steps, Set<String> known, long started, List<Found> found) {
        if (!findings.isEmpty()) {
            for (String diagnosis : trial.diagnosis(findings)) {
                if (known.add(diagnosis)) {
                    found.add(new Found(
                            diagnosis,
                            trial.gravity(findings),
                            findings,
                            steps,
                            tally.calls,
                            System.nanoTime() - started));
                }
            }
        }
    }

    /// Another machine of the kind, step by step from power-on.
    private void boot(SplittableRandom random, Set<String> known, long started, List<Found> found) {
        List<Finding> findings = Boot.of(machine.get(), random);
        if (!findings.isEmpty() && known.add(Finding.Kind.BOOT.name())) {
            found.add(new Found(
                    Finding.Kind.BOOT.name(), "", findings, List.of(), tally.calls, System.nanoTime() - started));
        }
    }

    private void count(Trial trial) {
        tally.calls++;
        tally.transitions += trial.transitions();
        tally.successes += trial.answer() >= 0 ? 1 : 0;
        if (trial.snapshot()) {
            tally.snapshots++;
            tally.answers.merge(Trial.name(trial.answer()), 1L, Long::sum);
        }
    }

    /// Brings up one machine.
    ///
    /// @throws IllegalArgumentException if it does not come up, or the oracle cannot describe it
    public static void test(ModelConfig config) {
        new Trial(config).close();
    }
}
