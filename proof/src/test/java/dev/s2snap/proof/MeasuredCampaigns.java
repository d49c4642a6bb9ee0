package dev.s2snap.proof;

import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.SnapshotCall.Variant;
import java.util.Map;
import java.util.function.Supplier;

/// The campaigns whose coverage is measured. Made anew in a [MeasuredHouse], hence public.
public final class MeasuredCampaigns implements Runnable {
    private static final int MACHINES = 28;
    private static final int MORE_MACHINES = 400;
    private static final int CALLS = 75_000;
    private static final int CALLS_TO_SHRINK = 2_000;

    @Override
    public void run() {
        campaign(ModelConfig::small, Variant.CORRECTED, 1);
        campaign(() -> ModelConfig.machine(1152L << 20, 40, 12, 1), Variant.CORRECTED, 2);
        campaign(ModelConfig::small, Variant.POSTED, 3);
        campaign(() -> ModelConfig.small().with(ModelConfig.Feature.DEBUG, false), Variant.POSTED, 4);
        shrunk();
        for (long seed = MACHINES; seed <= MORE_MACHINES; seed++) {
            Machines.any(seed).script();
        }
        for (int i = 1; i <= MACHINES; i++) {
            long seed = i;
            campaign(() -> Machines.any(seed), Variant.CORRECTED, seed);
        }
    }

    /// What is found is shrunk as well.
    private static void shrunk() {
        Campaign campaign = new Campaign(() -> ModelConfig.small().variant(Variant.POSTED), 4);
        campaign.run(tally -> tally.calls() < CALLS_TO_SHRINK, _ -> {});
    }

    private static void campaign(Supplier<ModelConfig> machine, Variant variant, long seed) {
        Campaign campaign = new Campaign(() -> machine.get().variant(variant), seed);
        Map<String, Campaign.Found> found = campaign.search(tally -> tally.calls() < CALLS);
        boolean known = variant == Variant.POSTED && found.keySet().stream().allMatch(id -> id.startsWith("D-"));
        if (!known && !found.isEmpty()) {
            throw new AssertionError("machine of seed " + seed + ": "
                    + found.values().iterator().next().findings());
        }
    }
}
