package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.pkvm.MemoryRegion;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class MemoryMapTest {

    @Test
    void findAgreesWithASearchFromTheFirstRegionOn() {
        Property.holds(500, choices -> {
            List<MemoryRegion> regions = new ArrayList<>();
            long next = choices.below(3) * 0x800L;
            while (choices.more(6)) {
                long base = next + choices.below(4) * 0x1000L;
                long size = choices.between(1, 5) * 0x800L;
                regions.add(new MemoryRegion(base, size, choices.oneIn(3) ? MemoryRegion.NOMAP : 0));
                next = base + size;
            }
            MemoryMap map = new MemoryMap(regions);
            for (long address = 0; address < next + 0x2000; address += 0x400) {
                check(map, regions, address);
            }
            check(map, regions, -1);
            check(map, regions, Long.MIN_VALUE);
            assertThat(map.size())
                    .isEqualTo(regions.stream().mapToLong(MemoryRegion::size).sum());
            assertThat(map.count()).isEqualTo(regions.size());
        });
    }

    private static void check(MemoryMap map, List<MemoryRegion> regions, long address) {
        int expected = -1;
        long start = 0;
        long end = -1;
        for (int i = 0; i < regions.size(); i++) {
            MemoryRegion region = regions.get(i);
            if (region.contains(address)) {
                expected = i;
                start = region.base();
                end = region.end();
                break;
            }
            if (Long.compareUnsigned(address, region.base()) < 0) {
                end = region.base();
                break;
            }
            start = region.end();
        }
        int found = map.find(address);
        assertThat(Math.max(found, -1)).as("region of 0x%x", address).isEqualTo(expected);
        assertThat(map.rangeStart(found)).as("start around 0x%x", address).isEqualTo(start);
        assertThat(map.rangeEnd(found)).as("end around 0x%x", address).isEqualTo(end);
        assertThat(map.isMemory(address)).isEqualTo(expected >= 0);
        boolean allowed = expected >= 0 && !regions.get(expected).nomap();
        assertThat(map.isAllowedMemory(address)).isEqualTo(allowed);
    }

    @Test
    void aRangeIsMemoryIfItsFirstAndItsLastByteAreInOneRegion() {
        MemoryMap map = new MemoryMap(List.of(
                new MemoryRegion(0x1000, 0x1000, 0),
                new MemoryRegion(0x2000, 0x1000, 0),
                new MemoryRegion(0x4000, 0x1000, MemoryRegion.NOMAP)));
        assertThat(map.isRangeMemory(0x1000, 0x2000)).isTrue();
        // Two regions that meet are two.
        assertThat(map.isRangeMemory(0x1000, 0x2001)).isFalse();
        assertThat(map.isRangeMemory(0x0fff, 0x2000)).isFalse();
        assertThat(map.isRangeMemory(0x4000, 0x5000)).isTrue();
        assertThat(map.isRangeMemory(0x3000, 0x3001)).isFalse();
        assertThat(map.isRangeAllowedMemory(0x1000, 0x2000)).isTrue();
        assertThat(map.isRangeAllowedMemory(0x1000, 0x2001)).isFalse();
        assertThat(map.isRangeAllowedMemory(0x4000, 0x5000)).isFalse();
        // An end that wraps is in no region.
        assertThat(map.isRangeAllowedMemory(0x1000, 0)).isFalse();
    }
}
