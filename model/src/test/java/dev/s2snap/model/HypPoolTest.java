package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class HypPoolTest {
    private static final long BASE = 0x4000_0000L;

    /// Memory as EL2 sees it before it has a stage 1, with a vmemmap outside of the region.
    private static final class Bench implements AutoCloseable {
        final int pageShift;
        final Ram ram;
        final El2Memory memory;
        final AddressMap map;
        final Vmemmap vmemmap;
        private final MemorySegment zeros;

        Bench(int pageShift) {
            this.pageShift = pageShift;
            ModelConfig config = new ModelConfig();
            config.pageShift = pageShift;
            config.addRegion(BASE, 64L << 20, 0);
            ram = new Ram(config.regions(), pageShift);
            map = new AddressMap(config);
            memory = new El2Memory(ram, map, pageShift);
            vmemmap = new Vmemmap(memory, map, pageShift);
            zeros = MemorySegment.ofArray(new byte[1 << pageShift]);
        }

        HypPool pool(long firstPage, long pages, long reserved) {
            return new HypPool(0, memory, map, vmemmap, pageShift, page(firstPage), pages, reserved);
        }

        long page(long index) {
            return BASE + (index << pageShift);
        }

        /// Fills a page with something.
        void soil(long page) {
            for (long i = 0; i < 1L << pageShift; i += 512) {
                ram.set(page + i, 0xdead_beef_0000_0001L + i);
            }
        }

        /// Whether a page has anything but zeros from word `from` on.
        boolean soiled(long page, int from) {
            long size = (1L << pageShift) - from * 8L;
            MemorySegment bytes = ram.bytes().asSlice(ram.offset(page + from * 8L, size), size);
            return bytes.mismatch(zeros.asSlice(0, size)) != -1;
        }

        @Override
        public void close() {
            ram.close();
        }
    }

    /// The allocator as a textbook has it, on page indices.
    private static final class Naive {
        final int first;
        final int maxOrder;
        final int[] references;
        final int[] orders;
        final List<Deque<Integer>> free = new ArrayList<>();

        Naive(int first, int pages, int reserved, int maxOrder) {
            this.first = first;
            this.maxOrder = maxOrder;
            references = new int[pages];
            orders = new int[pages];
            for (int order = 0; order <= maxOrder; order++) {
                free.add(new ArrayDeque<>());
            }
            for (int i = 0; i < reserved; i++) {
                references[i] = 1;
            }
            for (int i = reserved; i < pages; i++) {
                release(i);
            }
        }

        void release(int page) {
            int order = orders[page];
            int block = page;
            while (order < maxOrder) {
                int buddy = (first + block ^ 1 << order) - first;
                if (!free.get(order).remove(buddy)) {
                    break;
                }
                orders[buddy] = Vmemmap.NO_ORDER;
                orders[block] = Vmemmap.NO_ORDER;
                block = Math.min(block, buddy);
                order++;
            }
            orders[block] = order;
            free.get(order).addLast(block);
        }

        int allocate(int order) {
            for (int from = order; from <= maxOrder; from++) {
                if (!free.get(from).isEmpty()) {
                    int block = free.get(from).removeFirst();
                    for (int half = from - 1; half >= order; half--) {
                        int buddy = block + (1 << half);
                        orders[buddy] = half;
                        free.get(half).addLast(buddy);
                    }
                    orders[block] = order;
                    references[block] = 1;
                    return block;
                }
            }
            return -1;
        }

        void split(int block) {
            int pages = 1 << orders[block];
            for (int i = 0; i < pages; i++) {
                orders[block + i] = 0;
                references[block + i] = 1;
            }
        }

        void put(int page) {
            if (--references[page] == 0) {
                release(page);
            }
        }
    }

    @Test
    void behavesAsTheTextbook() {
        Property.holds(150, choices -> {
            int pageShift = choices.pick(12, 14, 16);
            try (Bench bench = new Bench(pageShift)) {
                int first = choices.below(40);
                int pages = choices.between(1, 150);
                int reserved = choices.below(pages + 1);
                HypPool pool = bench.pool(first, pages, reserved);
                int base = (int) (bench.page(first) >>> pageShift);
                Naive naive = new Naive(base, pages, reserved, pool.maxOrder());
                choices.note("%d pages from %d, %d reserved, shift %d", pages, first, reserved, pageShift);
                compare(bench, pool, naive, first);
                while (choices.more(40)) {
                    step(choices, bench, pool, naive, first);
                    compare(bench, pool, naive, first);
                }
            }
        });
    }

    private static void step(Choices choices, Bench bench, HypPool pool, Naive naive, int first) {
        List<Integer> taken = new ArrayList<>();
        for (int i = 0; i < naive.references.length; i++) {
            if (naive.references[i] > 0) {
                taken.add(i);
            }
        }
        int kind = taken.isEmpty() ? 0 : choices.below(5);
        switch (kind) {
            case 0, 1 -> {
                int order = Math.min(choices.below(5), pool.maxOrder());
                int expected = naive.allocate(order);
                choices.note("allocate %d -> %d", order, expected);
                long page = pool.allocate(order);
                assertThat(page).isEqualTo(expected == -1 ? 0 : bench.page(first + expected));
                for (int i = 0; expected != -1 && i < 1 << order; i++) {
                    assertThat(bench.soiled(bench.page(first + expected + i), 0))
                            .isFalse();
                    bench.soil(bench.page(first + expected + i));
                }
            }
            case 2 -> {
                int page = taken.get(choices.below(taken.size()));
                choices.note("get %d", page);
                naive.references[page]++;
                pool.get(bench.page(first + page));
            }
            case 3 -> {
                int page = taken.get(choices.below(taken.size()));
                // A block that was got twice cannot be split: its tail pages have counts of their own afterwards.
                if (naive.references[page] == 1) {
                    choices.note("split %d", page);
                    naive.split(page);
                    pool.split(bench.page(first + page));
                }
            }
            default -> {
                int page = taken.get(choices.below(taken.size()));
                choices.note("put %d", page);
                naive.put(page);
                pool.put(bench.page(first + page));
            }
        }
    }

    private static void compare(Bench bench, HypPool pool, Naive naive, int first) {
        long sum = 0;
        for (int order = 0; order <= pool.maxOrder(); order++) {
            long[] expected = naive.free.get(order).stream()
                    .mapToLong(index -> bench.page(first + index))
                    .toArray();
            assertThat(pool.freeList(order, bench.ram))
                    .as("free list %d", order)
                    .isEqualTo(expected);
            sum += (long) expected.length << order;
            for (long block : expected) {
                assertThat(block & (1L << (bench.pageShift + order)) - 1)
                        .as("alignment of a block")
                        .isZero();
                assertThat(bench.soiled(block, 2)).as("free page 0x%x", block).isFalse();
                for (int i = 1; i < 1 << order; i++) {
                    assertThat(bench.soiled(block + ((long) i << bench.pageShift), 0))
                            .isFalse();
                }
            }
        }
        assertThat(pool.freePages()).isEqualTo(sum);
        for (int i = 0; i < naive.references.length; i++) {
            assertThat(bench.vmemmap.refcount(bench.page(first + i)))
                    .as("references of %d", i)
                    .isEqualTo(naive.references[i]);
            assertThat(bench.vmemmap.order(bench.page(first + i)))
                    .as("order of %d", i)
                    .isEqualTo(naive.orders[i]);
        }
    }

    @Test
    void aPageFromOutsideIsKeptButNeverMerged() {
        try (Bench bench = new Bench(12)) {
            HypPool pool = bench.pool(16, 16, 15);
            assertThat(pool.freePages()).isEqualTo(1);
            // Its buddy, the first page behind the pool, and the one before it.
            for (long outside : new long[] {bench.page(32), bench.page(15)}) {
                bench.soil(outside);
                bench.vmemmap.setRefcounted(outside);
                pool.put(outside);
            }
            assertThat(pool.freeList(0, bench.ram)).containsExactly(bench.page(31), bench.page(32), bench.page(15));
            assertThat(pool.freePages()).isEqualTo(3);
            assertThat(bench.soiled(bench.page(32), 2)).isFalse();
            assertThat(pool.allocate(0)).isEqualTo(bench.page(31));
            assertThat(pool.allocate(0)).isEqualTo(bench.page(32));
            assertThat(pool.allocate(0)).isEqualTo(bench.page(15));
            assertThat(pool.allocate(0)).isZero();
        }
    }

    @Test
    void theListIsDoublyLinkedThroughTheFreePages() {
        try (Bench bench = new Bench(12)) {
            // Every other page is free, so that nothing merges.
            HypPool pool = bench.pool(0, 8, 8);
            pool.put(bench.page(1));
            pool.put(bench.page(3));
            pool.put(bench.page(5));
            long head = bench.ram.get(bench.page(5));
            assertThat(bench.ram.get(bench.page(1))).isEqualTo(bench.map.hypVa(bench.page(3)));
            assertThat(bench.ram.get(bench.page(3))).isEqualTo(bench.map.hypVa(bench.page(5)));
            assertThat(bench.ram.get(bench.page(1) + 8)).isEqualTo(head);
            assertThat(bench.ram.get(bench.page(3) + 8)).isEqualTo(bench.map.hypVa(bench.page(1)));
            // The freed neighbour takes page 3 out of the middle of the list.
            pool.put(bench.page(2));
            assertThat(pool.freeList(0, bench.ram)).containsExactly(bench.page(1), bench.page(5));
            assertThat(pool.freeList(1, bench.ram)).containsExactly(bench.page(2));
            assertThat(bench.ram.get(bench.page(1))).isEqualTo(bench.map.hypVa(bench.page(5)));
            assertThat(bench.ram.get(bench.page(5) + 8)).isEqualTo(bench.map.hypVa(bench.page(1)));
        }
    }

    @ParameterizedTest
    @CsvSource({"1, 0", "4096, 0", "4097, 1", "8192, 1", "8193, 2", "16384, 2", "4194304, 10", "4194305, 11"})
    void orderIsTheLogarithmOfThePagesRoundedUp(long size, int order) {
        assertThat(HypPool.order(size, 12)).isEqualTo(order);
    }

    @ParameterizedTest
    @CsvSource({"12, 1, 0", "12, 600, 10", "12, 2000, 10", "14, 2000, 11", "16, 3, 2"})
    void blocksAreAtMostOfMaxOrder(int pageShift, int pages, int maxOrder) {
        try (Bench bench = new Bench(pageShift)) {
            HypPool pool = bench.pool(0, pages, pages);
            assertThat(pool.maxOrder()).isEqualTo(maxOrder);
            assertThat(pool.end() - pool.start()).isEqualTo((long) pages << pageShift);
            assertThat(pool.freePages()).isZero();
        }
    }

    @Test
    void countsThatUnderOrOverflowArePanics() {
        try (Bench bench = new Bench(12)) {
            HypPool pool = bench.pool(0, 4, 4);
            long page = bench.page(0);
            pool.put(page);
            assertThatThrownBy(() -> bench.vmemmap.decrement(page))
                    .isInstanceOf(HypPanic.class)
                    .hasMessage("BUG hyp_page_ref_dec");
            bench.vmemmap.setRefcounted(page);
            assertThatThrownBy(() -> bench.vmemmap.setRefcounted(page)).hasMessage("BUG hyp_set_page_refcounted");
            for (int count = 1; count < 0xffff; count++) {
                bench.vmemmap.increment(page);
            }
            assertThat(bench.vmemmap.refcount(page)).isEqualTo(0xffff);
            assertThatThrownBy(() -> bench.vmemmap.increment(page)).hasMessage("BUG hyp_page_ref_inc");
            bench.vmemmap.clear(page);
            assertThat(bench.vmemmap.refcount(page)).isZero();
            assertThat(bench.vmemmap.order(page)).isZero();
        }
    }
}
