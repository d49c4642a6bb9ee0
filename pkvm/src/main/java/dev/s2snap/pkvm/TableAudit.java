package dev.s2snap.pkvm;

import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.EntryVisitor;
import dev.s2snap.vmsa.Finding;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableCounts;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/// A table, walked once, as a checker needs it: its leaves as runs, and its pages with the number of their entries.
///
/// It costs one walk, 21 bytes for each table page, and the runs.
public final class TableAudit {

    /// A table descriptor that is more than an address and the type.
    ///
    /// @param inputAddress first address that it covers
    record OddTable(long inputAddress, int level, long descriptor) {}

    private final TranslationTable table;
    private final List<LeafRun> runs = new ArrayList<>();
    private final List<Finding> findings = new ArrayList<>();
    private final Map<Finding.Rule, Long> unlisted = new EnumMap<>(Finding.Rule.class);
    private final List<LeafRuns.Unread> unread = new ArrayList<>();
    private final List<OddTable> oddTables = new ArrayList<>();
    private long[] addresses = new long[16];
    private long[] inputs = new long[16];
    private byte[] levels = new byte[16];
    private int[] used = new int[16];
    private int pages;

    private TableAudit(TranslationTable table) {
        this.table = table;
    }

    public static TableAudit of(TranslationTable table) {
        TableAudit audit = new TableAudit(table);
        Walk walk = audit.new Walk();
        table.walk(walk);
        walk.leaves.finish();
        return audit;
    }

    public TranslationTable table() {
        return table;
    }

    public List<LeafRun> runs() {
        return runs;
    }

    public List<Finding> findings() {
        return findings;
    }

    /// How many findings there are beyond those listed.
    public Map<Finding.Rule, Long> unlisted() {
        return unlisted;
    }

    /// Input addresses that could not be read, ascending.
    public List<LeafRuns.Unread> unread() {
        return unread;
    }

    List<OddTable> oddTables() {
        return oddTables;
    }

    /// Number of table pages that were entered.
    public int pages() {
        return pages;
    }

    /// Physical address of a table page, in the order of the walk.
    public long address(int page) {
        return addresses[page];
    }

    /// The first input address that a table page covers.
    public long input(int page) {
        return inputs[page];
    }

    public int level(int page) {
        return levels[page];
    }

    /// The entries of a table page that are not zero.
    public int used(int page) {
        return used[page];
    }

    /// Input addresses behind those that a table page covers.
    long inputEnd(int page) {
        TableGeometry geometry = table.geometry();
        long entries = Math.min(geometry.entriesPerTable(), geometry.rootEntries());
        return inputs[page]
                + (levels[page] == geometry.startLevel()
                        ? entries << geometry.shift(levels[page])
                        : geometry.entrySize(levels[page] - 1));
    }

    private final class Walk implements EntryVisitor {
        private final TableGeometry geometry = table.geometry();
        private final LeafRuns leaves = new LeafRuns(geometry, runs::add);
        private final long plain = geometry.tableAddressMask() | Descriptor.VALID | Descriptor.TYPE;

        /// The page of each level that the walk is in.
        private final int[] current = new int[TableGeometry.LAST_LEVEL - TableGeometry.FIRST_LEVEL + 1];

        @Override
        public void table(long address, int level, long inputAddress) {
            if (pages == addresses.length) {
                addresses = Arrays.copyOf(addresses, pages * 2);
                inputs = Arrays.copyOf(inputs, pages * 2);
                levels = Arrays.copyOf(levels, pages * 2);
                used = Arrays.copyOf(used, pages * 2);
            }
            addresses[pages] = address;
            inputs[pages] = inputAddress;
            levels[pages] = (byte) level;
            used[pages] = 0;
            current[level - TableGeometry.FIRST_LEVEL] = pages++;
            if (level > geometry.startLevel()) {
                pointer(level - 1);
            }
            if (level < TableGeometry.LAST_LEVEL) {
                pointers(address, level, inputAddress);
            }
        }

        /// Counts an entry that leads to a table, in the page of `level` that the walk is in.
        private void pointer(int level) {
            used[current[level - TableGeometry.FIRST_LEVEL]]++;
        }

        /// Looks at the table descriptors of a page, which a walk does not pass on.
        private void pointers(long address, int level, long inputAddress) {
            int count = Math.min(geometry.rootEntries(), geometry.entriesPerTable());
            int entries = level == geometry.startLevel() ? count : geometry.entriesPerTable();
            long offset = table.memory().offset(address, (long) entries * Long.BYTES);
            MemorySegment bytes = table.memory().bytes();
            for (int index = 0; index < entries; index++) {
                long descriptor = bytes.get(PhysicalMemory.LE64, offset + (long) index * Long.BYTES);
                if (Descriptor.table(descriptor, level)
                        && (descriptor & ~plain) != 0
                        && oddTables.size() < TranslationTable.LISTED_FINDINGS) {
                    oddTables.add(new OddTable(inputAddress + index * geometry.entrySize(level), level, descriptor));
                }
            }
        }

        @Override
        public void entries(MemorySegment bytes, long offset, int count, int level, long inputAddress) {
            long before = leaves.counts().get(TableCounts.Kind.EMPTY, level);
            leaves.entries(bytes, offset, count, level, inputAddress);
            long empty = leaves.counts().get(TableCounts.Kind.EMPTY, level) - before;
            used[current[level - TableGeometry.FIRST_LEVEL]] += count - (int) empty;
        }

        @Override
        public boolean clean() {
            return leaves.clean();
        }

        @Override
        public void finding(Finding finding) {
            findings.add(finding);
        }

        @Override
        public void unlisted(Finding.Rule rule, long number) {
            unlisted.put(rule, number);
        }

        /// A table that is not entered has a pointer all the same.
        @Override
        public void unread(long inputAddress, long size) {
            for (int level = geometry.startLevel(); level < TableGeometry.LAST_LEVEL; level++) {
                if (geometry.entrySize(level) == size && pages > 0) {
                    pointer(level);
                }
            }
            unread.add(new LeafRuns.Unread(inputAddress, inputAddress + size));
        }
    }
}
