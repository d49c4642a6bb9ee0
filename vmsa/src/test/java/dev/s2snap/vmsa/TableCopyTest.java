package dev.s2snap.vmsa;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class TableCopyTest {
    private static final long ATTRIBUTES = 0x7fc;
    private static final long COPY_ROOT = 0x10_0000_0000L;
    private static final long COPY_PAGES = 0x20_0000_0000L;

    /// Fresh pages, full of what was in them before, ascending; remembers which were taken.
    private static final class Fresh implements TableCopy.Pages {
        private final TestTables tables;
        private final int limit;
        final List<Long> taken = new ArrayList<>();

        Fresh(TestTables tables, int limit) {
            this.tables = tables;
            this.limit = limit;
        }

        @Override
        public long next() {
            if (taken.size() == limit) {
                return NONE;
            }
            long page = tables.memory.add(COPY_PAGES + taken.size() * tables.geometry.granule(), 1);
            for (int i = 0; i < tables.geometry.entriesPerTable(); i++) {
                tables.memory.set(page + i * 8L, 0xdead_0000_0000_0003L);
            }
            taken.add(page);
            return page;
        }
    }

    private static TestTables example() {
        TestTables tables = TestTables.of(Geometries.S2_4K_40, 32);
        tables.map(0x0000_0000L, 1, 0x0000_0000L, ATTRIBUTES);
        tables.map(0x4000_0000L, 2, 0x4000_0000L, ATTRIBUTES);
        tables.map(0x4020_1000L, 3, 0x4020_1000L, ATTRIBUTES | 1L << 55);
        tables.set(0x4020_2000L, 3, 0x4);
        tables.set(0x4020_3000L, 3, 0x400);
        tables.set(0x4020_4000L, 3, 0x4020_4001L);
        tables.set(0x4040_0000L, 2, 0x4);
        tables.map(0x4060_0000L, 3, 0x4060_0000L, ATTRIBUTES);
        tables.map(0x80_0000_0000L, 3, 0x1000, ATTRIBUTES);
        return tables;
    }

    @Test
    void isIsomorphicWithLeavesBitForBit() {
        TestTables tables = example();
        tables.memory.add(COPY_ROOT, 2);
        Fresh fresh = new Fresh(tables, 100);
        assertThat(new TableCopy(tables.geometry, tables.memory, fresh).copy(tables.root, COPY_ROOT))
                .isTrue();
        TranslationTable copy = new TranslationTable(tables.memory, tables.geometry, COPY_ROOT);
        assertThat(LeafRuns.of(copy).runs())
                .isEqualTo(LeafRuns.of(tables.table()).runs());
        List<Long> entered = new ArrayList<>();
        copy.walk(new EntryVisitor() {
            @Override
            public void table(long address, int level, long inputAddress) {
                entered.add(address);
            }

            @Override
            public void entries(MemorySegment bytes, long offset, int count, int level, long inputAddress) {}
        });
        // Pre-order, ascending: pages are taken in the order in which a walk enters them.
        List<Long> below = new ArrayList<>(entered);
        below.removeAll(List.of(COPY_ROOT, COPY_ROOT + 0x1000));
        assertThat(below).isEqualTo(fresh.taken);
        assertThat(fresh.taken).hasSize(5);
        // Nothing of what was in the pages before is left.
        for (long page : fresh.taken) {
            assertThat(tables.memory.page(page)).doesNotContain(0xdead_0000_0000_0003L);
        }
    }

    @Test
    void leavesTheOriginalAlone() {
        TestTables tables = example();
        List<long[]> before = tables.pages().stream().map(tables.memory::page).toList();
        long[] root = tables.memory.page(tables.root);
        tables.memory.add(COPY_ROOT, 2);
        new TableCopy(tables.geometry, tables.memory, new Fresh(tables, 100)).copy(tables.root, COPY_ROOT);
        assertThat(tables.memory.page(tables.root)).isEqualTo(root);
        for (int i = 0; i < before.size(); i++) {
            assertThat(tables.memory.page(tables.pages().get(i))).isEqualTo(before.get(i));
        }
    }

    @Test
    void writesTablePointersWithNothingButAddressAndType() {
        TestTables tables = TestTables.of(Geometries.S2_4K_40, 32);
        long child = tables.newPage();
        // APTable and ignored bits are set in the original.
        tables.set(0x4000_0000L, 1, child | 3 | 1L << 61 | 1L << 55);
        tables.memory.add(COPY_ROOT, 2);
        new TableCopy(tables.geometry, tables.memory, new Fresh(tables, 1)).copy(tables.root, COPY_ROOT);
        assertThat(tables.memory.get(COPY_ROOT + 8)).isEqualTo(COPY_PAGES | 3);
    }

    @Test
    void answersFalseWhenPagesRunOut() {
        for (int limit = 0; limit <= 5; limit++) {
            TestTables tables = example();
            tables.memory.add(COPY_ROOT, 2);
            Fresh fresh = new Fresh(tables, limit);
            assertThat(new TableCopy(tables.geometry, tables.memory, fresh).copy(tables.root, COPY_ROOT))
                    .as("%d pages", limit)
                    .isEqualTo(limit == 5);
            assertThat(fresh.taken).hasSize(limit);
        }
    }

    @Test
    void reachesHighAddressesWithLpa2() {
        TestMemory memory = new TestMemory(12, 64);
        TestTables tables = new TestTables(Geometries.S2_4K_52, memory, 0x4000_0000L, 0x000e_0000_0000_0000L);
        tables.map(0x000f_ffff_ffff_f000L, 3, 0x000c_1234_5678_9000L, 0x4fc);
        memory.add(COPY_ROOT, 16);
        List<Long> high = new ArrayList<>();
        TableCopy.Pages pages = () -> {
            high.add(memory.add(0x000b_0000_0000_0000L + high.size() * 0x1000L, 1));
            return high.getLast();
        };
        assertThat(new TableCopy(tables.geometry, memory, pages).copy(tables.root, COPY_ROOT))
                .isTrue();
        assertThat(high).hasSize(3);
        assertThat(new TranslationTable(memory, tables.geometry, COPY_ROOT).translate(0x000f_ffff_ffff_f123L))
                .isInstanceOfSatisfying(Translation.Mapped.class, mapped -> {
                    assertThat(mapped.output()).isEqualTo(0x000c_1234_5678_9123L);
                    assertThat(mapped.path())
                            .extracting(step -> step.address() & -0x1000L)
                            .containsExactly(COPY_ROOT + 0xf000, high.get(0), high.get(1), high.get(2));
                });
    }

    static TableGeometry[] geometries() {
        return Geometries.all();
    }

    @ParameterizedTest
    @MethodSource("geometries")
    void takesAsManyPagesAsPagesBelowRootSays(TableGeometry geometry) {
        for (long seed = 0; seed < 20; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            TestMemory memory = new TestMemory(geometry.granuleShift(), 110);
            TestTables tables = new TestTables(geometry, memory, 0x4000_0000L, 0x8_0000_0000L);
            int leaves = random.nextInt(0, 9);
            for (int i = 0; i < leaves; i++) {
                long input = random.nextLong() >>> (64 - geometry.inputBits());
                tables.set(input, 3, random.nextBoolean() ? 4 : 0);
            }
            memory.add(COPY_ROOT, geometry.rootPages());
            Fresh fresh = new Fresh(tables, 100);
            long predicted = TableCopy.pagesBelowRoot(geometry, memory, tables.root);
            assertThat(predicted).as("seed %d", seed).isEqualTo(tables.pages().size());
            assertThat(new TableCopy(geometry, memory, fresh).copy(tables.root, COPY_ROOT))
                    .isTrue();
            assertThat(fresh.taken).as("seed %d", seed).hasSize((int) predicted);
            TranslationTable copy = new TranslationTable(memory, geometry, COPY_ROOT);
            assertThat(LeafRuns.of(copy).runs())
                    .isEqualTo(LeafRuns.of(tables.table()).runs());
        }
    }

    /// What lies behind a partial root in its page is no part of the tree, whatever it looks like.
    @Test
    void followsNothingBehindAPartialRoot() {
        TestMemory memory = new TestMemory(12, 32);
        TestTables tables = new TestTables(Geometries.S2_4K_36, memory, 0x4000_0000L, 0x8_0000_0000L);
        tables.map(0x4000_0000L, 2, 0x4000_0000L, ATTRIBUTES);
        memory.add(0x5000_0000L, 1);
        memory.set(tables.root + 64 * 8, 0x5000_0003L);
        memory.add(COPY_ROOT, 1);
        Fresh fresh = new Fresh(tables, 10);
        assertThat(TableCopy.pagesBelowRoot(tables.geometry, memory, tables.root))
                .isEqualTo(1);
        assertThat(new TableCopy(tables.geometry, memory, fresh).copy(tables.root, COPY_ROOT))
                .isTrue();
        assertThat(fresh.taken).hasSize(1);
    }
}
