package dev.s2snap.proof;

import dev.s2snap.model.ModelConfig;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.function.BiFunction;
import java.util.stream.Collectors;

/// Looks for what a mutant does wrong, with a campaign or a few steps of its own. Public, and what it takes and answers
/// are classes of the JDK, because it is called from another class loader.
///
/// Takes the name of the steps, or of a campaign, and what the finding must be diagnosed as, with a blank between
/// (nothing: whatever it is); and the seed and the number of calls after which to give up. Answers with the number of
/// calls and all diagnoses, with a blank between, or with nothing. "boot" and "crowd" are no calls: they answer with
/// what is found.
public final class MutantHunt implements BiFunction<String, long[], String> {
    private static final int STEPS = 20_000;
    private static final int ALL_IN = 4_000;
    private static final int SNAPSHOTS_IN = 60;

    private long calls;
    private String wanted = "";

    @Override
    public String apply(String what, long[] seedAndCalls) {
        calls = 0;
        String[] words = what.split(" ", 2);
        wanted = words[1];
        SplittableRandom random = new SplittableRandom(seedAndCalls[0]);
        return switch (words[0]) {
            case "boot" -> words(Boot.of(ModelConfig.small(), random));
            case "crowd" -> crowd(random);
            default -> words[0].startsWith("campaign") ? campaign(words[0], random, seedAndCalls[1]) : steps(words[0]);
        };
    }

    private static String words(List<Finding> findings) {
        return findings.stream().map(Finding::toString).collect(Collectors.joining(", "));
    }

    private static String crowd(SplittableRandom random) {
        try (Trial trial = new Trial(ModelConfig.small().cpus(4))) {
            return words(trial.crowd(random));
        }
    }

    private String found(Trial trial, List<Finding> findings) {
        if (findings.isEmpty()) {
            return "";
        }
        Set<String> diagnosis = trial.diagnosis(findings);
        return wanted.isEmpty() || diagnosis.contains(wanted)
                ? calls + " " + diagnosis.stream().sorted().collect(Collectors.joining(" "))
                : "";
    }

    private String campaign(String name, SplittableRandom seeds, long limit) {
        while (calls < limit) {
            String found = trial(name, seeds.split(), limit);
            if (!found.isEmpty()) {
                return found;
            }
        }
        return "";
    }

    private String trial(String name, SplittableRandom random, long limit) {
        try (Trial trial = new Trial(machine(name))) {
            long demand = new SnapshotOracle(trial.world(), trial.scene()).demand();
            HostileHost host = new HostileHost(trial.model(), trial.world(), demand, SNAPSHOTS_IN, random);
            for (int step = 1; step <= STEPS && !trial.over() && calls < limit; step++) {
                Op op = host.next();
                if (trial.possible(op)) {
                    calls++;
                    String found = found(trial, trial.step(op));
                    if (found.isEmpty() && !trial.over() && step % ALL_IN == 0) {
                        found = found(trial, trial.all("all"));
                    }
                    if (!found.isEmpty()) {
                        return found;
                    }
                }
            }
        }
        return "";
    }

    // A few steps.

    private static ModelConfig machine(String steps) {
        return switch (steps) {
            case "campaign-of-3-regions" -> ModelConfig.machine(256L << 20, 40, 12, 3);
            case "end-of-memory" -> ModelConfig.machine(129L << 20, 40, 12, 2);
            case "array" -> ModelConfig.machine(1152L << 20, 40, 12, 1);
            case "2-gibibytes" -> ModelConfig.machine(3L << 30, 40, 16, 1);
            default -> ModelConfig.small();
        };
    }

    private String steps(String name) {
        try (Trial trial = new Trial(machine(name))) {
            for (Op op : of(name, trial)) {
                if (!trial.possible(op)) {
                    throw new IllegalStateException(name + ": " + op + " is not possible");
                }
                calls++;
                String found = found(trial, trial.step(op));
                if (!found.isEmpty()) {
                    return found;
                }
            }
            return found(trial, trial.all("all"));
        }
    }

    private static List<Op> of(String name, Trial trial) {
        HonestSnapshot snapshot = new HonestSnapshot(trial, 0x4220_0000L, 0x4240_0000L, 1);
        List<Op> steps = new ArrayList<>();
        switch (name) {
            case "cycle" -> {
                steps.addAll(snapshot.preparation());
                steps.add(new Op(Op.Kind.WRITE, snapshot.donated(7), snapshot.head));
                steps.add(snapshot.call());
            }
            case "empty-pool" -> {
                steps.add(new Op(Op.Kind.TAKE_HYP_POOL, 100_000));
                steps.addAll(snapshot.steps());
            }
            case "end-of-memory" -> {
                // The last page of the first region, which ends in the middle of a 2 MiB range, and the one behind.
                snapshot.pgd = trial.model().config().regions().getFirst().end() - 0x1000;
                steps.addAll(snapshot.steps());
            }
            case "array" -> {
                steps.addAll(snapshot.steps());
                // One table for each 2 MiB of which a page is lent or shared, up to one more than a page can list.
                long lent = 1 + Math.ceilDiv(snapshot.demand, 512);
                for (long tables = trial.scene().tablePages() + lent; tables < 513; tables++) {
                    steps.add(new Op(Op.Kind.SHARE_FFA, (0x4300_0000L >>> 12) + tables * 512, 1));
                }
                snapshot.arrayPages = 1;
                steps.addAll(snapshot.steps());
            }
            case "2-gibibytes" -> {
                snapshot.pgd = 0x5000_0000L;
                snapshot.pgdPages = (2L << 30) >>> 16;
                steps.addAll(snapshot.steps());
            }
            default -> throw new IllegalArgumentException("no steps of this name: " + name);
        }
        return steps;
    }
}
