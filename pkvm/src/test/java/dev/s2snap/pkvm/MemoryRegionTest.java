package dev.s2snap.pkvm;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class MemoryRegionTest {

    @Test
    void containsItsFirstAndItsLastByteOnly() {
        MemoryRegion region = new MemoryRegion(0x4000_0000L, 0x800, 0);
        assertThat(region.end()).isEqualTo(0x4000_0800L);
        assertThat(region.contains(0x3fff_ffffL)).isFalse();
        assertThat(region.contains(0x4000_0000L)).isTrue();
        assertThat(region.contains(0x4000_07ffL)).isTrue();
        assertThat(region.contains(0x4000_0800L)).isFalse();
        assertThat(region.contains(-1)).isFalse();
    }

    @Test
    void isNotMappedWhenTheFlagSaysSo() {
        assertThat(new MemoryRegion(0, 1, MemoryRegion.NOMAP).nomap()).isTrue();
        assertThat(new MemoryRegion(0, 1, 7).nomap()).isTrue();
        assertThat(new MemoryRegion(0, 1, 3).nomap()).isFalse();
    }
}
