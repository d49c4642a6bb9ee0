package dev.s2snap.proof;

import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.ModelConfig.Feature;
import java.util.SplittableRandom;

/// Machines that a seed makes up: page sizes, sizes of memory and of addresses, regions with gaps, with memory in them
/// that the host may not map, ending within a page; CPUs, and what they can do.
public final class Machines {
    private static final int[] PAGE_SHIFTS = {12, 14, 16};
    private static final int[] PA_RANGES = {32, 36, 40, 42, 44, 48, 52};

    /// Pages of memory, at least and at most: enough for a carve-out and some snapshots, and few enough for many
    /// trials.
    private static final long LEAST_PAGES = 1L << 14;

    private static final long MOST_PAGES = 3L << 15;

    /// One machine in so many has a feature that is usual taken away.
    private static final int WITHOUT = 8;

    /// One number in so many is anything, and then mostly refused.
    private static final int MISTAKES = 6;

    /// Bytes of memory that is NOMAP, at most.
    private static final long NOMAP_BYTES = 1L << 20;

    private Machines() {}

    /// The machine of a seed, a new configuration each time.
    public static ModelConfig any(long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        while (true) {
            try {
                ModelConfig config = draw(random);
                if (config.regions().getLast().end() >>> config.pageShift() <= MOST_FRAMES) {
                    return config;
                }
            } catch (IllegalArgumentException e) {
                // No machine is like that, more memory than there are addresses for instance: the next one.
            }
        }
    }

    /// End of memory, in pages: what campaigns do in reasonable time.
    private static final long MOST_FRAMES = 1L << 20;

    private static ModelConfig draw(SplittableRandom random) {
        int shift = PAGE_SHIFTS[random.nextInt(PAGE_SHIFTS.length)];
        int range = PA_RANGES[random.nextInt(PA_RANGES.length)];
        int regions = random.nextInt(2) == 0 ? 1 : 1 + random.nextInt(4);
        long ram = random.nextLong(LEAST_PAGES, MOST_PAGES) << shift;
        if (random.nextInt(MISTAKES) == 0) {
            // None that is, but for a few.
            regions = random.nextInt(-1, ModelConfig.MAX_REGIONS + 2);
            ram = random.nextLong() >> random.nextInt(64);
        }
        ModelConfig config = ModelConfig.machine(ram, range, shift, regions);
        config.cpus(random.nextInt(MISTAKES) == 0 ? random.nextInt(-1, 6) : 1 + random.nextInt(4))
                .with(Feature.TLB_RANGE, random.nextBoolean())
                .with(Feature.FWB, random.nextBoolean())
                .with(Feature.VMID16, random.nextInt(WITHOUT) != 0)
                .with(Feature.HVHE, random.nextInt(WITHOUT) == 0)
                .with(Feature.DEBUG, random.nextInt(WITHOUT) != 0);
        if (regions > 1 && random.nextBoolean()) {
            long gap = config.regions().getFirst().end();
            long bytes = random.nextInt(MISTAKES) == 0 ? random.nextLong() : random.nextLong(NOMAP_BYTES);
            if (random.nextInt(MISTAKES) == 0) {
                gap = random.nextLong(1L << 33) & -(1L << shift);
            }
            config.nomap(gap, Math.max(1L << shift, bytes & -(1L << shift)));
        } else if (regions > 1 && random.nextBoolean()) {
            config.shorten(
                    0, random.nextInt(2) == 0 ? random.nextLong() >> random.nextInt(64) : random.nextLong(1L << shift));
        }
        if (random.nextInt(WITHOUT) == 0) {
            // The beginning of memory, which is in the first half of the host's addresses anyway.
            config.memstart(config.regions().getFirst().base() & -(1L << 29));
        }
        long room = config.regions().getLast().end() - config.carveout() - config.carveoutDemand();
        if (random.nextInt(WITHOUT) == 0 && room > 0) {
            config.carveoutBytes(config.carveoutDemand() + (random.nextLong(room) & -(1L << shift)));
        }
        return config;
    }
}
