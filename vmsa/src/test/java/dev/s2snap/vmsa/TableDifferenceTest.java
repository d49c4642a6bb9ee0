package dev.s2snap.vmsa;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class TableDifferenceTest {
    private static final class Found implements TableDifference.Sink {
        final AddressRanges ranges = new AddressRanges();
        final List<String> pointers = new ArrayList<>();

        @Override
        public void differs(long start, long end) {
            ranges.add(start, end);
        }

        @Override
        public void pointers(long start, long end, int level, long first, long second) {
            pointers.add(String.format("%x-%x level %d %x %x", start, end, level, first, second));
        }

        boolean has(long address) {
            for (int i = 0; i < ranges.count(); i++) {
                if (address >= ranges.start(i) && address < ranges.end(i)) {
                    return true;
                }
            }
            return false;
        }
    }

    private static Found difference(TestTables first, TestTables second) {
        Found found = new Found();
        TableDifference.of(first.table(), second.table(), found);
        return found;
    }

    static TableGeometry[] geometries() {
        return Geometries.all();
    }

    /// A pair that was made in the same way and then edited apart differs exactly where walks end differently.
    @ParameterizedTest
    @MethodSource("geometries")
    void findsWhatWalksFind(TableGeometry geometry) {
        for (int seed = 0; seed < 30; seed++) {
            RandomTree first = new RandomTree(geometry, new Random(seed), 25);
            RandomTree second = new RandomTree(geometry, new Random(seed), 25);
            for (int i = 0; i < seed % 7; i++) {
                second.edit();
            }
            Found found = difference(first.tables, second.tables);
            TreeSet<Long> addresses = new TreeSet<>(first.addresses());
            addresses.addAll(second.addresses());
            for (long address : addresses) {
                assertThat(found.has(address))
                        .as("seed %d at 0x%x", seed, address)
                        .isEqualTo(!RandomTree.last(first.tables.table(), address)
                                .equals(RandomTree.last(second.tables.table(), address)));
            }
            assertThat(found.pointers).isEmpty();
        }
    }

    @Test
    void treesThatLieElsewhereAreEqual() {
        TestTables first = TestTables.of(Geometries.S2_4K_48, 16);
        TestTables second = TestTables.of(Geometries.S2_4K_48, 16);
        second.newPage();
        for (TestTables tables : List.of(first, second)) {
            tables.map(0x4000_0000L, 3, 0x4000_0000L, 0x7fc);
            tables.map(0x8000_0000L, 2, 0x8000_0000L, 0x7fc);
        }
        Found found = difference(first, second);
        assertThat(found.ranges.isEmpty()).isTrue();
        assertThat(found.pointers).isEmpty();
    }

    @Test
    void stretchesOfAPageAreFoundOneByOne() {
        TestTables first = TestTables.of(Geometries.S2_4K_48, 16);
        TestTables second = TestTables.of(Geometries.S2_4K_48, 16);
        first.map(0, 3, 0, 0x7fc);
        second.map(0, 3, 0, 0x7fc);
        for (long page : new long[] {1, 2, 7, 511}) {
            second.map(page << 12, 3, page << 12, 0x7fc);
        }
        AddressRanges ranges = difference(first, second).ranges;
        assertThat(ranges.count()).isEqualTo(3);
        assertThat(ranges.start(0)).isEqualTo(0x1000);
        assertThat(ranges.end(0)).isEqualTo(0x3000);
        assertThat(ranges.start(1)).isEqualTo(0x7000);
        assertThat(ranges.end(2)).isEqualTo(0x20_0000);
    }

    @Test
    void whatIsBesideAPointersAddressIsTold() {
        TestTables first = TestTables.of(Geometries.EL2_4K_48, 16);
        TestTables second = TestTables.of(Geometries.EL2_4K_48, 16);
        first.map(0, 3, 0, 0x7fc);
        long entry = second.map(0, 3, 0, 0x7fc);
        assertThat(entry).isNotZero();
        long pointer = second.entry(0, 0);
        second.memory.set(pointer, second.memory.get(pointer) | 1L << 60);
        Found found = difference(first, second);
        assertThat(found.pointers).containsExactly("0-8000000000 level 0 3 1000000000000003");
        assertThat(found.ranges.isEmpty()).isTrue();
    }

    @Test
    void whatCannotBeReadMayDiffer() {
        TestTables first = TestTables.of(Geometries.S2_4K_48, 16);
        TestTables second = TestTables.of(Geometries.S2_4K_48, 16);
        first.point(1L << 39, 0, 0x7_0000_0000L);
        second.point(1L << 39, 0, 0x7_0000_0000L);
        AddressRanges ranges = difference(first, second).ranges;
        assertThat(ranges.start(0)).isEqualTo(1L << 39);
        assertThat(ranges.end(0)).isEqualTo(2L << 39);
    }

    @Test
    void aPointerBeyondTheOutputSizeMayDiffer() {
        TableGeometry geometry = new TableGeometry(TranslationRegime.STAGE2, 12, 48, 0, false, 40);
        TestTables first = TestTables.of(geometry, 16);
        TestTables second = TestTables.of(geometry, 16);
        first.point(0, 0, 1L << 41);
        second.point(0, 0, 1L << 41);
        assertThat(difference(first, second).ranges.size()).isEqualTo(1L << 39);
    }

    @Test
    void aTreeThatLeadsIntoItselfEnds() {
        TestTables first = TestTables.of(Geometries.S2_4K_48, 16);
        TestTables second = TestTables.of(Geometries.S2_4K_48, 16);
        for (TestTables tables : List.of(first, second)) {
            for (long index = 0; index < 512; index++) {
                tables.point(index << 39, 0, tables.root);
            }
        }
        assertThat(difference(first, second).ranges.size()).isEqualTo(1L << 48);
    }

    /// Of pages that differ the second pointer tells nothing more; of equal ones nothing is remembered.
    @Test
    void aPageThatDiffersIsLookedAtOnce() {
        TestTables first = TestTables.of(Geometries.S2_4K_48, 16);
        TestTables second = TestTables.of(Geometries.S2_4K_48, 16);
        for (TestTables tables : List.of(first, second)) {
            tables.map(0, 3, 0, 0x7fc);
            tables.point(2 << 21, 2, tables.pages().getLast());
        }
        assertThat(difference(first, second).ranges.isEmpty()).isTrue();
        second.map(0x5000, 3, 0x5000, 0x7fc);
        AddressRanges ranges = difference(first, second).ranges;
        assertThat(ranges.start(0)).isEqualTo(0x5000);
        assertThat(ranges.end(0)).isEqualTo(0x6000);
        assertThat(ranges.start(1)).isEqualTo(2 << 21);
        assertThat(ranges.end(1)).isEqualTo(3 << 21);
    }

    @Test
    void otherGeometriesAreRefused() {
        TestTables first = TestTables.of(Geometries.S2_4K_48, 4);
        for (TableGeometry other : Geometries.all()) {
            if (!other.equals(Geometries.S2_4K_48)) {
                assertThat(TableDifference.comparable(first.geometry, other)).isFalse();
                assertThatThrownBy(() -> difference(first, TestTables.of(other, 4)))
                        .isInstanceOf(IllegalArgumentException.class);
            }
        }
    }
}
