package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.SnapshotCall.Variant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CampaignTest {

    private static Supplier<ModelConfig> small(Variant variant) {
        return () -> ModelConfig.small().variant(variant);
    }

    @Test
    void tenMillionTransitionsFindNothingInTheCorrectedCall() {
        Campaign campaign = new Campaign(small(Variant.CORRECTED), 1);
        List<Discovery> found = new ArrayList<>();
        campaign.run(tally -> tally.transitions() < 10_000_000, found::add);
        assertThat(found).isEmpty();
        Campaign.Tally tally = campaign.tally();
        assertThat(tally.transitions()).isGreaterThanOrEqualTo(10_000_000);
        assertThat(tally.successes() * 100 / tally.calls())
                .as("percent that succeed")
                .isGreaterThan(30);
        assertThat(tally.snapshots() * 1000 / tally.calls())
                .as("per mill that are snapshots")
                .isGreaterThan(10);
        assertThat(tally.answers()).containsKeys("0", "-EINVAL", "-EPERM", "-ENOMEM");
        assertThat(tally.bugs()).containsKeys("B-04", "B-12");
    }

    @ParameterizedTest
    @CsvSource({
        "134217728, 48, 12, 1",
        "268435456, 40, 12, 3",
        "536870912, 40, 14, 1",
        "536870912, 42, 16, 2",
        "268435456, 52, 12, 1",
        "268435456, 52, 16, 1",
        "268435456, 52, 14, 1"
    })
    void onOtherMachinesItFindsNothingEither(long ram, int parange, int shift, int regions) {
        Campaign campaign = new Campaign(() -> ModelConfig.machine(ram, parange, shift, regions), 2);
        List<Discovery> found = new ArrayList<>();
        campaign.run(tally -> tally.calls() < 20_000, found::add);
        assertThat(found).isEmpty();
        assertThat(campaign.tally().answers()).containsKey("0");
    }

    @Test
    void aCampaignFollowsFromItsSeed() {
        Campaign one = new Campaign(small(Variant.CORRECTED), 42);
        Campaign other = new Campaign(small(Variant.CORRECTED), 42);
        Campaign another = new Campaign(small(Variant.CORRECTED), 43);
        for (Campaign campaign : List.of(one, other, another)) {
            campaign.run(tally -> tally.calls() < 5000, _ -> {});
        }
        assertThat(one.tally().transitions()).isEqualTo(other.tally().transitions());
        assertThat(one.tally().answers()).isEqualTo(other.tally().answers());
        assertThat(one.tally().transitions()).isNotEqualTo(another.tally().transitions());
    }

    @Test
    void itRediscoversTheDefectsOfThePostedCall() {
        Map<String, Integer> seeds = new HashMap<>();
        for (long seed = 1; seed <= 5; seed++) {
            Campaign campaign = new Campaign(small(Variant.POSTED), seed);
            campaign.search(tally -> tally.calls() < 40_000).keySet().forEach(id -> seeds.merge(id, 1, Integer::sum));
        }
        for (String id : List.of("D-01", "D-02", "D-03", "D-06", "D-07", "D-08", "D-10", "D-11")) {
            assertThat(seeds.getOrDefault(id, 0))
                    .as("seeds that found %s, of 5", id)
                    .isGreaterThanOrEqualTo(3);
        }
        assertThat(seeds.keySet()).as("all that it finds is known").allMatch(id -> id.startsWith("D-"));
    }
}
