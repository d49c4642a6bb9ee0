package dev.s2snap.proof;

import dev.s2snap.model.ModelConfig;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.BiFunction;

/// The kernel alone at work on small machines, until it finds something. Public, and what it takes and answers are
/// classes of the JDK, because it is called from another class loader.
///
/// Takes a seed and a number of acts after which to give up. Answers with the findings, or with nothing.
public final class KernelHunt implements BiFunction<Long, Long, String> {
    /// Acts of one machine.
    private static final int ACTS = 400;

    @Override
    public String apply(Long seed, Long limit) {
        SplittableRandom seeds = new SplittableRandom(seed);
        for (long acts = 0; acts < limit; acts += ACTS) {
            List<Finding> found = new ArrayList<>();
            try (Trial trial = new Trial(ModelConfig.small())) {
                KernelHost host = new KernelHost(trial, seeds.split());
                act(trial, host, ACTS, found);
            }
            if (!found.isEmpty()) {
                return found.getFirst().kind() + ": " + found;
            }
        }
        return "";
    }

    /// So many acts, or until there is something.
    static void act(Trial trial, KernelHost host, int acts, List<Finding> found) {
        Trial.Steps steps = new Trial.Steps() {
            @Override
            public void begins(Op op) {}

            @Override
            public void ended(List<Finding> findings) {
                host.stepped();
                found.addAll(findings);
            }
        };
        for (int act = 0; act < acts && found.isEmpty() && host.due(Long.MAX_VALUE); act++) {
            trial.kernel(host::act, steps);
            found.addAll(host.findings());
        }
    }
}
