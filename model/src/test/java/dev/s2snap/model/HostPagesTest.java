package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;

class HostPagesTest {

    private static ModelConfig config() {
        ModelConfig config = new ModelConfig();
        config.pageShift = 12;
        config.addRegion(0x4000_0000L, 0x10_0000, 0);
        config.addRegion(0x5000_0000L, 0x10_0000, 4);
        config.addRegion(0x6000_0800L, 0x4000, 0);
        config.carveout = 0x4008_0000L;
        config.text = new ModelConfig.Range(0x4000_1000L, 0x1001);
        config.cpus = 2;
        config.percpu = new ModelConfig.Range(0x4001_0000L, 0x1000);
        config.stack = 0x4002_0000L;
        return config;
    }

    @Test
    void theHostHasWhatTheHypervisorHasNotInWholePages() {
        HostPages pages = new HostPages(config().carveoutBytes(0x8_0000L));
        assertThat(pages.extents())
                .isEqualTo(Map.of(
                        0x4000_0000L, 0x4000_1000L,
                        0x4000_3000L, 0x4001_0000L,
                        0x4001_2000L, 0x4002_0000L,
                        0x4002_2000L, 0x4008_0000L,
                        0x6000_1000L, 0x6000_4000L));
        assertThat(pages.available()).isEqualTo(1 + 13 + 14 + 94 + 3);
    }

    @Test
    void pagesComeFromTheLowestPlaceThatIsLargeAndAlignedEnough() {
        HostPages pages = new HostPages(config().carveoutBytes(0x8_0000L));
        assertThat(pages.allocate(1, 0x1000)).isEqualTo(0x4000_0000L);
        assertThat(pages.allocate(2, 0x4000)).isEqualTo(0x4000_4000L);
        assertThat(pages.allocate(1, 0x1000)).isEqualTo(0x4000_3000L);
        assertThat(pages.allocate(90, 0x1000)).isEqualTo(0x4002_2000L);
        assertThat(pages.allocate(90, 0x1000)).isEqualTo(-1);
        assertThat(pages.take(0x4000_4000L)).isFalse();
        assertThat(pages.take(0x6000_1000L)).isTrue();
        assertThat(pages.take(0x6000_1000L)).isFalse();
        assertThat(pages.take(0x5000_0000L)).isFalse();
        assertThat(pages.take(0)).isFalse();
        assertThat(pages.allocate(3, 0x1000)).isEqualTo(0x4000_6000L);
    }

    @Test
    void aRangeIsLeftAloneWithAllThatIsFreeInIt() {
        HostPages pages = new HostPages(config().carveoutBytes(0x8_0000L));
        pages.leave(0x4000_5000L, 0x2_0000L);
        assertThat(pages.extents())
                .isEqualTo(Map.of(
                        0x4000_0000L, 0x4000_1000L,
                        0x4000_3000L, 0x4000_5000L,
                        0x4002_5000L, 0x4008_0000L,
                        0x6000_1000L, 0x6000_4000L));
        assertThat(pages.isFree(0x4000_4fffL)).isTrue();
        assertThat(pages.isFree(0x4000_5000L)).isFalse();
        assertThat(pages.isFree(0)).isFalse();
        pages.leave(0, 0x1_0000_0000L);
        assertThat(pages.available()).isZero();
    }

    @Test
    void aPageFreedTwiceIsABug() {
        HostPages pages = new HostPages(config().carveoutBytes(0x8_0000L));
        long page = pages.allocate(4, 0x1000);
        pages.free(page, 4);
        assertThatThrownBy(() -> pages.free(page, 1))
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("page freed twice: 0x40003000");
        assertThatThrownBy(() -> pages.free(page - 0x1000, 2)).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void nothingIsHandedOutTwiceAndNothingIsLost() {
        Property.holds(200, choices -> {
            HostPages pages = new HostPages(config().carveoutBytes(0x8_0000L));
            long all = pages.available();
            Map<Long, Long> before = pages.extents();
            Set<Long> mine = new HashSet<>();
            List<long[]> held = new ArrayList<>();
            while (choices.more(40)) {
                if (held.isEmpty() || choices.oneIn(2)) {
                    int count = choices.between(1, 20);
                    long alignment = 0x1000L << choices.below(4);
                    long page = pages.allocate(count, alignment);
                    choices.note("allocate %d -> %x", count, page);
                    if (page == -1) {
                        continue;
                    }
                    assertThat(page % alignment).isZero();
                    for (int i = 0; i < count; i++) {
                        assertThat(mine.add(page + i * 0x1000L)).isTrue();
                    }
                    held.add(new long[] {page, count});
                } else {
                    long[] extent = held.remove(choices.below(held.size()));
                    choices.note("free %x+%d", extent[0], extent[1]);
                    pages.free(extent[0], extent[1]);
                    for (int i = 0; i < extent[1]; i++) {
                        mine.remove(extent[0] + i * 0x1000L);
                    }
                }
                assertThat(pages.available()).isEqualTo(all - mine.size());
            }
            held.forEach(extent -> pages.free(extent[0], extent[1]));
            assertThat(pages.extents()).isEqualTo(before);
        });
    }
}
