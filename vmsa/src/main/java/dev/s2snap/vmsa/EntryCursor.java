package dev.s2snap.vmsa;

import dev.s2snap.vmsa.Finding.Rule;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/// Looks up the entries of a table one after the other, in ascending order, and reads no page that it is not asked for.
///
/// Addresses count from [TableGeometry#inputBase()]. Each table page is entered once, as in a walk: what a second
/// pointer to it maps is not readable. So the work is bounded by the pages that are present.
public final class EntryCursor {
    private static final int LEVELS = TableGeometry.LAST_LEVEL - TableGeometry.FIRST_LEVEL + 1;
    private static final long NO_PAGE = -1;

    private final TranslationTable table;
    private final TableGeometry geometry;
    private final PhysicalMemory memory;
    private final MemorySegment bytes;
    private final long beyond;
    private final AddressSet entered = new AddressSet();

    // The path: of each level the page that was entered last, by the first address that it covers, and its place.
    private final long[] pageStart = new long[LEVELS];
    private final long[] pageOffset = new long[LEVELS];

    // The entry.
    private long start;
    private long end;
    private int level;
    private long descriptor;
    private boolean readable;
    private Rule reason = Rule.ABSENT_TABLE;

    public EntryCursor(TranslationTable table) {
        this.table = table;
        geometry = table.geometry();
        memory = table.memory();
        bytes = memory.bytes();
        beyond = geometry.beyondOutput();
        Arrays.fill(pageStart, NO_PAGE);
    }

    /// Moves to the entry that translates `address`, which is not before the one of the last call.
    public void seek(long address) {
        if (address < end && address >= start) {
            return;
        }
        if (address < start) {
            throw new IllegalArgumentException("a cursor does not go back");
        }
        if (address >= geometry.inputSize()) {
            at(geometry.inputSize(), Long.MAX_VALUE, geometry.startLevel(), 0);
            return;
        }
        int from = TableGeometry.LAST_LEVEL;
        while (from > geometry.startLevel() && !inPage(address, from)) {
            from--;
        }
        if (from == geometry.startLevel() && !inPage(address, from) && !enterRoot(address)) {
            return;
        }
        while (read(address, from)) {
            from++;
            if (!enter(from)) {
                return;
            }
        }
    }

    private boolean inPage(long address, int at) {
        long first = pageStart[slot(at)];
        return first != NO_PAGE && address >= first && address < first + pageSize(at);
    }

    /// Bytes that a page of this level translates; the root may use only a part of its page.
    private long pageSize(int at) {
        return Math.min(geometry.inputSize(), (long) geometry.entriesPerTable() << geometry.shift(at));
    }

    /// One of the pages of the root, each of which is there or not.
    private boolean enterRoot(long address) {
        int at = geometry.startLevel();
        long size = pageSize(at);
        long page = address / size;
        start = page * size;
        end = start + size;
        level = at;
        return enter(at, table.root() + page * geometry.granule(), size >>> geometry.shift(at));
    }

    /// Enters the table that the entry points to.
    private boolean enter(int at) {
        if ((descriptor & beyond) != 0) {
            return lost(Rule.ADDRESS_SIZE);
        }
        return enter(at, geometry.tableAddress(descriptor), geometry.entriesPerTable());
    }

    private boolean enter(int at, long page, long entries) {
        long offset = memory.offset(page, entries * Long.BYTES);
        if (offset == PhysicalMemory.ABSENT) {
            return lost(Rule.ABSENT_TABLE);
        }
        if (!entered.add(page)) {
            return lost(Rule.SHARED_TABLE);
        }
        pageStart[slot(at)] = start;
        pageOffset[slot(at)] = offset;
        return true;
    }

    private boolean lost(Rule why) {
        readable = false;
        reason = why;
        return false;
    }

    /// Reads the entry of a page that was entered; true if it points to a table.
    private boolean read(long address, int at) {
        int shift = geometry.shift(at);
        long index = (address - pageStart[slot(at)]) >>> shift;
        long first = pageStart[slot(at)] + (index << shift);
        at(first, first + (1L << shift), at, bytes.get(PhysicalMemory.LE64, pageOffset[slot(at)] + index * Long.BYTES));
        return Descriptor.table(descriptor, at);
    }

    private void at(long start, long end, int level, long descriptor) {
        this.start = start;
        this.end = end;
        this.level = level;
        this.descriptor = descriptor;
        readable = true;
    }

    private static int slot(int level) {
        return level - TableGeometry.FIRST_LEVEL;
    }

    /// The first address of the entry.
    public long start() {
        return start;
    }

    /// The address behind it. Behind the last entry of the table there is one without end, which is empty.
    public long end() {
        return end;
    }

    public int level() {
        return level;
    }

    /// The entry, which is no table pointer where it is readable.
    public long descriptor() {
        return descriptor;
    }

    /// Whether the table of this entry could be entered.
    public boolean readable() {
        return readable;
    }

    /// Why it could not: absent, reached before, or beyond the output size.
    public Rule reason() {
        return reason;
    }

    /// Whether the entry maps a block or a page.
    public boolean leaf() {
        return Descriptor.leaf(descriptor, level, geometry);
    }
}
