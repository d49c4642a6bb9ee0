package dev.s2snap.bench;

import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import dev.s2snap.vmsa.WritableMemory;
import java.util.SplittableRandom;
import java.util.stream.LongStream;

/// 64 GiB mapped with 4K pages: 128 MiB of tables, in the order in which a walk reads them or in a random one.
final class TableTree {
    static final TableGeometry GEOMETRY = new TableGeometry(TranslationRegime.STAGE2, 12, 40, 1, false);
    static final long PAGE = 1 << 12;
    static final int ROOT_PAGES = 2;
    private static final int GIB = 64;
    static final int PAGES = ROOT_PAGES + GIB + GIB * 512;
    private static final long LEAF = 0x7ff;

    /// A page state, which ends a run.
    private static final long OTHER_LEAF = LEAF | 1L << 55;

    private final WritableMemory memory;

    /// Addresses of the table pages in pre-order. The root stays in front, where it is contiguous and aligned.
    final long[] pages;

    /// @param base of the memory for the tables, all of it present
    TableTree(WritableMemory memory, long base, boolean shuffled, long seed) {
        this.memory = memory;
        pages = LongStream.range(0, PAGES).map(i -> base + i * PAGE).toArray();
        if (shuffled) {
            SplittableRandom random = new SplittableRandom(seed);
            for (int i = PAGES - 1; i > ROOT_PAGES; i--) {
                int other = random.nextInt(ROOT_PAGES, i + 1);
                long page = pages[i];
                pages[i] = pages[other];
                pages[other] = page;
            }
        }
    }

    /// Writes the tables.
    ///
    /// @param runLength number of leaves after which their attributes change
    TableTree fill(int runLength) {
        int next = ROOT_PAGES;
        long frame = 1L << 18;
        for (int gib = 0; gib < GIB; gib++) {
            int level2 = next++;
            set(pages[0] + (gib + 1) * 8L, pages[level2] | 3);
            for (int i = 0; i < 512; i++) {
                int level3 = next++;
                set(pages[level2] + i * 8L, pages[level3] | 3);
                for (int entry = 0; entry < 512; entry++, frame++) {
                    set(pages[level3] + entry * 8L, frame << 12 | (frame / runLength % 2 == 0 ? LEAF : OTHER_LEAF));
                }
            }
        }
        return this;
    }

    void set(long address, long value) {
        memory.bytes().set(WritableMemory.LE64, memory.writable(address, Long.BYTES), value);
    }

    /// Where the pages are in the memory's segment, in pre-order.
    long[] places() {
        return LongStream.of(pages).map(page -> memory.offset(page, PAGE)).toArray();
    }
}
