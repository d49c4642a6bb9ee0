package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.vmsa.PhysicalMemory;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

class RamTest {

    @Test
    void keepsWhatWasStoredInEachRegion() {
        try (Ram ram = new Ram(
                List.of(new MemoryRegion(0x4000_0000L, 0x10_0000, 0), new MemoryRegion(0x8000_0000L, 0x10_0000, 4)),
                12)) {
            ram.set(0x4000_0000L, 1);
            ram.set(0x400f_fff8L, 2);
            ram.set(0x8000_0000L, 3);
            assertThat(ram.get(0x4000_0000L)).isEqualTo(1);
            assertThat(ram.get(0x400f_fff8L)).isEqualTo(2);
            assertThat(ram.get(0x8000_0000L)).isEqualTo(3);
            assertThat(ram.load64(0x8000_0000L)).isEqualTo(3);
            assertThat(ram.get(0x8000_0008L)).isZero();
            assertThat(ram.writable(0x8000_0000L, 8)).isEqualTo(ram.offset(0x8000_0000L, 8));
        }
    }

    @Test
    void aRangeThatLeavesItsPageOrMemoryIsAbsent() {
        try (Ram ram = new Ram(
                List.of(new MemoryRegion(0x4000_0000L, 0x2000, 0), new MemoryRegion(0x4000_4000L, 0x1000, 0)), 12)) {
            for (boolean written : new boolean[] {false, true}) {
                assertThat(ram.offset(0x4000_1000L, 0x1000)).isNotEqualTo(PhysicalMemory.ABSENT);
                assertThat(ram.offset(0x4000_0ff8L, 9)).isEqualTo(PhysicalMemory.ABSENT);
                assertThat(ram.offset(0x4000_1fffL, 1)).isNotEqualTo(PhysicalMemory.ABSENT);
                for (long outside : new long[] {0x3fff_ffffL, 0x4000_2000L, 0x4000_3fffL, 0x4000_5000L, -8}) {
                    assertThat(ram.offset(outside, 1)).isEqualTo(PhysicalMemory.ABSENT);
                    assertThat(ram.writable(outside, 1)).isEqualTo(PhysicalMemory.ABSENT);
                }
                assertThat(ram.writable(0x4000_0ff8L, 9)).isEqualTo(PhysicalMemory.ABSENT);
                if (!written) {
                    ram.set(0x4000_0000L, 1);
                    ram.set(0x4000_1000L, 1);
                }
            }
        }
    }

    @Test
    void regionsAreRoundedOutToPagesAndAPageOfTwoRegionsExistsOnce() {
        try (Ram ram = new Ram(
                List.of(
                        new MemoryRegion(0x4000_0800L, 0x1000, 0),
                        new MemoryRegion(0x4000_1900L, 0x100, 0),
                        new MemoryRegion(0x4000_1c00L, 0x1000, 0)),
                12)) {
            // 4000_0000 to 4000_2fff is one stretch, although no region has its first and its last byte.
            assertThat(ram.offset(0x4000_0000L, 1)).isNotEqualTo(PhysicalMemory.ABSENT);
            assertThat(ram.offset(0x4000_2fffL, 1)).isNotEqualTo(PhysicalMemory.ABSENT);
            assertThat(ram.offset(0x4000_3000L, 1)).isEqualTo(PhysicalMemory.ABSENT);
            ram.set(0x4000_1000L, 7);
            ram.set(0x4000_1c00L, 9);
            assertThat(ram.offset(0x4000_1c00L, 8) - ram.offset(0x4000_1000L, 8))
                    .isEqualTo(0xc00);
            assertThat(ram.get(0x4000_1000L)).isEqualTo(7);
            assertThat(ram.get(0x4000_1c00L)).isEqualTo(9);
            // The pages behind the shared one are not on top of others.
            ram.set(0x4000_2000L, 11);
            assertThat(ram.get(0x4000_1000L)).isEqualTo(7);
            assertThat(ram.get(0x4000_0000L)).isZero();
        }
    }

    @Test
    void aDevicePageExistsFromItsFirstWriteOn() {
        try (Ram ram = new Ram(List.of(new MemoryRegion(0x4000_0000L, 0x1000, 0)), 12)) {
            assertThat(ram.get(0x0900_0000L)).isZero();
            assertThat(ram.getByte(0x0900_0000L)).isZero();
            assertThat(ram.offset(0x0900_0000L, 8)).isEqualTo(PhysicalMemory.ABSENT);
            ram.set(0x0900_0010L, 5);
            // A page, and not more.
            assertThat(ram.offset(0x0900_0ff8L, 8)).isNotEqualTo(PhysicalMemory.ABSENT);
            assertThat(ram.offset(0x0900_0ff8L, 9)).isEqualTo(PhysicalMemory.ABSENT);
            assertThat(ram.offset(0x0900_1000L, 8)).isEqualTo(PhysicalMemory.ABSENT);
            ram.set(0x0a00_0010L, 6);
            assertThat(ram.get(0x0900_0010L)).isEqualTo(5);
            assertThat(ram.get(0x0a00_0010L)).isEqualTo(6);
        }
    }

    @Test
    void anAccessMayCrossIntoAnotherPage() {
        try (Ram ram = new Ram(List.of(new MemoryRegion(0x4000_0000L, 0x1000, 0)), 12)) {
            ram.set(0x4000_0ffdL, 0x1122_3344_5566_7788L);
            assertThat(ram.get(0x4000_0ffdL)).isEqualTo(0x1122_3344_5566_7788L);
            assertThat(ram.get(0x4000_0ff8L)).isEqualTo(0x6677_8800_0000_0000L);
            assertThat(ram.get(0x4000_1000L)).isEqualTo(0x11_2233_4455L);
            assertThat(ram.getByte(0x4000_0fffL)).isEqualTo((byte) 0x66);
        }
    }

    /// A terabyte of address space, of which only what is written costs anything.
    @Test
    void aPageThatWasNeverWrittenIsTheOnePageOfZeros() {
        try (Ram ram = new Ram(List.of(new MemoryRegion(0x8000_0000L, 1L << 40, 0)), 12)) {
            long last = 0x8000_0000L + (1L << 40) - 8;
            ram.set(0x8000_0000L, 1);
            ram.set(last, 2);
            assertThat(ram.get(0x8000_0000L)).isEqualTo(1);
            assertThat(ram.get(last)).isEqualTo(2);
            long zeros = ram.offset(0x9000_0000L, 8);
            for (long page = 1; page < 1L << 28; page += 0xffff) {
                long address = 0x8000_0000L + (page << 12);
                assertThat(ram.get(address)).isZero();
                assertThat(ram.offset(address, 8)).isEqualTo(zeros);
            }
        }
    }

    @Test
    void aPlaceForWritingStaysAndIsNotThatOfOthers() {
        try (Ram ram = new Ram(List.of(new MemoryRegion(0x4000_0000L, 0x10_0000, 0)), 12)) {
            Set<Long> places = new HashSet<>();
            places.add(ram.offset(0x4000_0000L, 1));
            for (long page = 0x4000_0000L; page < 0x4010_0000L; page += 0x1000) {
                long place = ram.writable(page + 0x10, 8);
                assertThat(places.add(place - 0x10)).isTrue();
                ram.bytes().set(PhysicalMemory.LE64, place, page);
                assertThat(ram.offset(page + 0x10, 8)).isEqualTo(place);
                assertThat(ram.place(page + 0x10)).isEqualTo(place);
            }
            for (long page = 0x4000_0000L; page < 0x4010_0000L; page += 0x1000) {
                assertThat(ram.get(page + 0x10)).isEqualTo(page);
                assertThat(ram.get(page)).isZero();
            }
        }
    }

    @Test
    void cannotBeUsedBehindItsEnd() {
        Ram ram = new Ram(List.of(new MemoryRegion(0x4000_0000L, 0x1000, 0)), 12);
        ram.set(0x4000_0000L, 1);
        ram.close();
        assertThatThrownBy(() -> ram.get(0x4000_0000L)).isInstanceOf(IllegalStateException.class);
    }
}
