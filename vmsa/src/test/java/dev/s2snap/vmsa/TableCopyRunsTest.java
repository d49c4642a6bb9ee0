package dev.s2snap.vmsa;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.Random;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;

/// Pages that lie in step in original and copy are copied together; wherever they do not, nothing may be mixed up.
class TableCopyRunsTest {
    private static final long ROOT_COPY = 0x10_0000_0000L;
    private static final long PAGES = 0x20_0000_0000L;
    private static final int TABLES = 12;

    /// Two level-1 entries with level-3 tables below, whose pages were made in the order of `slots`.
    private static TestTables tree(List<Integer> slots) {
        TestTables tables = TestTables.of(Geometries.S2_4K_48, 100);
        for (int slot : slots) {
            // Every table maps something of its own.
            long input = 0x7fc0_0000L + ((long) slot << 21) + ((long) slot << 12);
            tables.map(input, 3, 0x9_0000_0000L + input, 0x7fc);
        }
        return tables;
    }

    /// The slots 0 to 11, with the last `displaced` of them in any order.
    private static List<Integer> shuffled(int count, int displaced, Random random) {
        List<Integer> order = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            order.add(i);
        }
        Collections.shuffle(order.subList(count - displaced, count), random);
        return order;
    }

    @Test
    void theCopyMapsTheSameHoweverThePagesLie() {
        for (int seed = 0; seed < 60; seed++) {
            Random random = new Random(seed);
            TestTables tables = tree(shuffled(TABLES, seed % 3 * 6, random));
            long needed = TableCopy.pagesBelowRoot(tables.geometry, tables.memory, tables.root);
            tables.memory.add(ROOT_COPY, tables.geometry.rootPages());
            tables.memory.add(PAGES, (int) needed);
            Iterator<Integer> order =
                    shuffled((int) needed, seed / 3 % 3 * 5, random).iterator();
            TableCopy copy = new TableCopy(
                    tables.geometry,
                    tables.memory,
                    () -> order.hasNext() ? PAGES + order.next() * 0x1000L : TableCopy.Pages.NONE);
            assertThat(copy.copy(tables.root, ROOT_COPY)).as("seed %d", seed).isTrue();
            assertThat(order.hasNext()).as("seed %d", seed).isFalse();
            TranslationTable made = new TranslationTable(tables.memory, tables.geometry, ROOT_COPY);
            assertThat(LeafRuns.of(made).runs())
                    .as("seed %d", seed)
                    .isEqualTo(LeafRuns.of(tables.table()).runs());
        }
    }

    /// A page descriptor looks like a table descriptor: at the last level it must not be followed, nor counted.
    @Test
    void countsNoPageForATable() {
        assertThat(tree(shuffled(TABLES, 0, new Random(0))).pages()).hasSize(1 + 2 + TABLES);
        TestTables tables = tree(shuffled(TABLES, 0, new Random(0)));
        assertThat(TableCopy.pagesBelowRoot(tables.geometry, tables.memory, tables.root))
                .isEqualTo(1 + 2 + TABLES);
    }

    /// What was reached before the pages ran out has been copied, the last run too.
    @Test
    void aCopyThatRunsOutOfPagesHasFilledAllThatItTook() {
        TestTables tables = tree(shuffled(TABLES, 0, new Random(0)));
        tables.memory.add(ROOT_COPY, tables.geometry.rootPages());
        tables.memory.add(PAGES, 8);
        Iterator<Integer> order = shuffled(8, 0, new Random(0)).iterator();
        TableCopy copy = new TableCopy(
                tables.geometry,
                tables.memory,
                () -> order.hasNext() ? PAGES + order.next() * 0x1000L : TableCopy.Pages.NONE);
        assertThat(copy.copy(tables.root, ROOT_COPY)).isFalse();
        for (int i = 0; i < 8; i++) {
            assertThat(nonZero(tables.memory.page(PAGES + i * 0x1000L)))
                    .as("page %d", i)
                    .isTrue();
        }
    }

    private static boolean nonZero(long[] words) {
        return LongStream.of(words).anyMatch(word -> word != 0);
    }
}
