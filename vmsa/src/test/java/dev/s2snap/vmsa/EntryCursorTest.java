package dev.s2snap.vmsa;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.vmsa.Finding.Rule;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class EntryCursorTest {

    static TableGeometry[] geometries() {
        return Geometries.all();
    }

    @ParameterizedTest
    @MethodSource("geometries")
    void findsTheEntriesThatHardwareWalksTo(TableGeometry geometry) {
        for (int seed = 0; seed < 20; seed++) {
            RandomTree tree = new RandomTree(geometry, new Random(seed), 30);
            EntryCursor cursor = new EntryCursor(tree.tables.table());
            long before = 0;
            for (long address : tree.addresses()) {
                cursor.seek(address);
                assertThat(cursor.readable()).isTrue();
                assertThat(cursor.level() + ":" + cursor.descriptor())
                        .as("seed %d at 0x%x", seed, address)
                        .isEqualTo(RandomTree.last(tree.tables.table(), address));
                assertThat(address).isBetween(cursor.start(), cursor.end() - 1);
                assertThat(cursor.start()).isGreaterThanOrEqualTo(before);
                before = cursor.start();
            }
        }
    }

    @Test
    void nothingIsBehindTheLastEntry() {
        EntryCursor cursor =
                new EntryCursor(TestTables.of(Geometries.S2_4K_36, 4).table());
        cursor.seek(1L << 36);
        assertThat(cursor.readable()).isTrue();
        assertThat(cursor.descriptor()).isZero();
        assertThat(cursor.leaf()).isFalse();
        assertThat(cursor.end()).isEqualTo(Long.MAX_VALUE);
    }

    @Test
    void aTableThatIsNotThereCannotBeRead() {
        TestTables tables = TestTables.of(Geometries.S2_4K_48, 8);
        tables.point(1L << 39, 0, 0x7_0000_0000L);
        EntryCursor cursor = new EntryCursor(tables.table());
        cursor.seek((1L << 39) + 4096);
        assertThat(cursor.readable()).isFalse();
        assertThat(cursor.reason()).isEqualTo(Rule.ABSENT_TABLE);
        assertThat(cursor.start()).isEqualTo(1L << 39);
        assertThat(cursor.end()).isEqualTo(2L << 39);
        cursor.seek(2L << 39);
        assertThat(cursor.readable()).isTrue();
    }

    @Test
    void aRootThatIsNotThereCannotBeRead() {
        TestTables tables = TestTables.of(Geometries.S2_4K_40, 8);
        TranslationTable table = new TranslationTable(tables.memory, tables.geometry, 0x9_0000_0000L);
        EntryCursor cursor = new EntryCursor(table);
        cursor.seek(0);
        assertThat(cursor.readable()).isFalse();
        assertThat(cursor.end()).isEqualTo(1L << 39);
    }

    @Test
    void aTableIsEnteredOnce() {
        TestTables tables = TestTables.of(Geometries.S2_4K_48, 8);
        tables.point(0, 0, tables.root);
        EntryCursor cursor = new EntryCursor(tables.table());
        cursor.seek(0);
        assertThat(cursor.readable()).isFalse();
        assertThat(cursor.reason()).isEqualTo(Rule.SHARED_TABLE);
    }

    @Test
    void anAddressBeyondTheOutputSizeIsNotFollowed() {
        TableGeometry geometry = new TableGeometry(TranslationRegime.STAGE2, 12, 48, 0, false, 40);
        TestTables tables = TestTables.of(geometry, 8);
        tables.point(0, 0, 1L << 41);
        EntryCursor cursor = new EntryCursor(tables.table());
        cursor.seek(0);
        assertThat(cursor.reason()).isEqualTo(Rule.ADDRESS_SIZE);
        assertThat(cursor.readable()).isFalse();
    }

    @Test
    void doesNotGoBack() {
        EntryCursor cursor =
                new EntryCursor(TestTables.of(Geometries.S2_4K_36, 4).table());
        cursor.seek(1L << 30);
        assertThatThrownBy(() -> cursor.seek(0)).isInstanceOf(IllegalArgumentException.class);
    }
}
