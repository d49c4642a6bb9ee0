package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.ModelConfig.Feature;
import dev.s2snap.pkvm.MemoryRegion;
import java.util.HashSet;
import java.util.Set;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class MachinesTest {
    private static final int SEEDS = 200;

    @Test
    void theMachineOfASeedIsAlwaysTheSame() {
        assertThat(Machines.any(7).script()).isEqualTo(Machines.any(7).script());
        assertThat(Machines.any(7).script()).isNotEqualTo(Machines.any(8).script());
    }

    @Test
    void eachOfThemComesUp() {
        for (long seed = 1; seed <= 40; seed++) {
            Campaign.test(Machines.any(seed));
        }
    }

    @Test
    void theyAreOfAllKinds() {
        Set<Integer> shifts = new HashSet<>();
        Set<Integer> cpus = new HashSet<>();
        Set<String> memory = new HashSet<>();
        for (long seed = 1; seed <= SEEDS; seed++) {
            ModelConfig config = Machines.any(seed);
            shifts.add(config.pageShift());
            cpus.add(config.cpus());
            memory.add(config.regions().size() + " regions");
            if (config.regions().stream().anyMatch(MemoryRegion::nomap)) {
                memory.add("NOMAP");
            }
            long page = 1L << config.pageShift();
            if (config.regions().stream().anyMatch(region -> region.end() % page != 0)) {
                memory.add("a part of a page");
            }
        }
        assertThat(shifts).containsExactlyInAnyOrder(12, 14, 16);
        assertThat(cpus).containsExactlyInAnyOrder(1, 2, 3, 4);
        assertThat(memory).contains("1 regions", "2 regions", "3 regions", "4 regions", "NOMAP", "a part of a page");
    }

    @ParameterizedTest
    @EnumSource(Feature.class)
    void eachFeatureIsThereAndIsNot(Feature feature) {
        assertThat(LongStream.rangeClosed(1, SEEDS)
                        .mapToObj(seed -> Machines.any(seed).has(feature))
                        .distinct())
                .hasSize(2);
    }
}
