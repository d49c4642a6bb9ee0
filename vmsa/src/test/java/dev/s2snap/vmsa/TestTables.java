package dev.s2snap.vmsa;

import java.util.ArrayList;
import java.util.List;

/// Builds a table tree in a [TestMemory]. Its arithmetic is its own: nothing of [TableGeometry] or [Descriptor] is
/// asked.
final class TestTables {
    final TableGeometry geometry;
    final TestMemory memory;
    final long root;
    private final int pageShift;
    private final List<Long> pages = new ArrayList<>();
    private long nextPage;

    /// @param root address of the root, whose pages are added to the memory; need not be at the start of a page
    /// @param firstPage address from which table pages below the root are taken, descending
    TestTables(TableGeometry geometry, TestMemory memory, long root, long firstPage) {
        this.geometry = geometry;
        this.memory = memory;
        this.root = root;
        pageShift = geometry.granuleShift();
        nextPage = firstPage;
        long page = 1L << pageShift;
        memory.add(root & -page, (int) Math.max(1, (rootEntries() * 8) >>> pageShift));
    }

    /// A memory of its own with room for `pages` pages below the root.
    static TestTables of(TableGeometry geometry, int pages) {
        TestMemory memory = new TestMemory(geometry.granuleShift(), pages + 16);
        return new TestTables(geometry, memory, 0x4000_0000L, 0x8_0000_0000L);
    }

    TranslationTable table() {
        return new TranslationTable(memory, geometry, root);
    }

    static int shift(int pageShift, int level) {
        return pageShift + (3 - level) * (pageShift - 3);
    }

    long size(int level) {
        return 1L << shift(pageShift, level);
    }

    private long rootEntries() {
        return 1L << (geometry.inputBits() - shift(pageShift, geometry.startLevel()));
    }

    /// Adds an empty table page that nothing points to.
    long newPage() {
        long page = nextPage;
        nextPage -= 1L << pageShift;
        pages.add(memory.add(page, 1));
        return page;
    }

    /// The table pages below the root, in the order in which they were made.
    List<Long> pages() {
        return List.copyOf(pages);
    }

    /// Address bits of a descriptor (Arm ARM D8.3.1).
    static long encode(TableGeometry geometry, long address) {
        long low = address & 0x0000_ffff_ffff_ffffL;
        if (geometry.lpa2()) {
            return (address & 0x3_ffff_ffff_ffffL) | (address >>> 50 & 3) << 8;
        }
        return geometry.granuleShift() == 16 ? low | (address >>> 48 & 0xf) << 12 : low;
    }

    /// Address of the descriptor that covers `input` at `level`. Tables on the way are made.
    long entry(long input, int level) {
        long entry =
                root + ((input & (1L << geometry.inputBits()) - 1) >>> shift(pageShift, geometry.startLevel())) * 8;
        for (int l = geometry.startLevel(); l < level; l++) {
            long descriptor = memory.get(entry);
            long table;
            if ((descriptor & 3) == 3) {
                table = decode(descriptor);
            } else {
                table = newPage();
                memory.set(entry, encode(geometry, table) | 3);
            }
            entry = table + (input >>> shift(pageShift, l + 1) & (1L << (pageShift - 3)) - 1) * 8;
        }
        return entry;
    }

    private long decode(long descriptor) {
        long low = descriptor & 0x0000_ffff_ffff_ffffL & -(1L << pageShift);
        if (geometry.lpa2()) {
            return (descriptor & 0x3_ffff_ffff_ffffL & -(1L << pageShift)) | (descriptor >>> 8 & 3) << 50;
        }
        return pageShift == 16 ? low | (descriptor >>> 12 & 0xf) << 48 : low;
    }

    /// Writes a descriptor.
    ///
    /// @return its address
    long set(long input, int level, long descriptor) {
        long entry = entry(input, level);
        memory.set(entry, descriptor);
        return entry;
    }

    /// Writes a block or page.
    long map(long input, int level, long output, long attributes) {
        return set(input, level, encode(geometry, output) | attributes | (level == 3 ? 3 : 1));
    }

    /// Writes a pointer to a table.
    long point(long input, int level, long table) {
        return set(input, level, encode(geometry, table) | 3);
    }
}
