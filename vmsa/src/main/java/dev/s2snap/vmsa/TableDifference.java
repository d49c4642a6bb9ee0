package dev.s2snap.vmsa;

import java.lang.foreign.MemorySegment;

/// Finds where two tables of one geometry may say different things, at the speed of memory where they are equal.
///
/// Both trees are gone through side by side. Of two pages of the last level the bytes are compared, and only stretches
/// that differ are looked at by entry. Where both have a pointer to a next table, these are compared, wherever they
/// lie. Where only one has, the whole range may differ: what is in it is for an [EntryCursor] to tell. So is what
/// cannot be read.
///
/// Pages above the last level, and those of the last level that differ, are entered once in each tree; the work is
/// bounded by the pages that are present. Memory grows with these, not with the pages that are equal.
public final class TableDifference {

    /// Takes what was found, in ascending order. Addresses count from [TableGeometry#inputBase()].
    public interface Sink {
        /// The entries between `start` and `end` are not the same.
        void differs(long start, long end);

        /// Two table descriptors differ in more than the address of the next table. What is below is compared as well.
        ///
        /// @param first the first one without that address
        void pointers(long start, long end, int level, long first, long second);
    }

    private final PhysicalMemory firstMemory;
    private final PhysicalMemory secondMemory;
    private final MemorySegment firstBytes;
    private final MemorySegment secondBytes;
    private final TableGeometry geometry;
    private final long beyond;
    private final Sink sink;
    private final AddressSet firstEntered = new AddressSet();
    private final AddressSet secondEntered = new AddressSet();

    private TableDifference(TranslationTable first, TranslationTable second, Sink sink) {
        firstMemory = first.memory();
        secondMemory = second.memory();
        firstBytes = firstMemory.bytes();
        secondBytes = secondMemory.bytes();
        geometry = first.geometry();
        beyond = geometry.beyondOutput() | second.geometry().beyondOutput();
        this.sink = sink;
    }

    /// Whether entries at the same place of both mean the same input addresses.
    public static boolean comparable(TableGeometry first, TableGeometry second) {
        return first.granuleShift() == second.granuleShift()
                && first.inputBits() == second.inputBits()
                && first.startLevel() == second.startLevel()
                && first.lpa2() == second.lpa2()
                && first.regime().stage2() == second.regime().stage2()
                && first.regime().upper() == second.regime().upper();
    }

    /// @throws IllegalArgumentException if the two are not [#comparable]
    public static void of(TranslationTable first, TranslationTable second, Sink sink) {
        if (!comparable(first.geometry(), second.geometry())) {
            throw new IllegalArgumentException("tables of different geometries are not compared entry by entry");
        }
        new TableDifference(first, second, sink).roots(first.root(), second.root());
    }

    private void roots(long first, long second) {
        int level = geometry.startLevel();
        int count = Math.min(geometry.rootEntries(), geometry.entriesPerTable());
        for (int page = 0; page < geometry.rootPages(); page++) {
            long distance = page * geometry.granule();
            long input = ((long) page * geometry.entriesPerTable()) << geometry.shift(level);
            pages(first + distance, second + distance, level, input, count);
        }
    }

    private void pages(long first, long second, int level, long input, int count) {
        long size = (long) count * Long.BYTES;
        long firstPlace = firstMemory.offset(first, size);
        long secondPlace = secondMemory.offset(second, size);
        if (firstPlace == PhysicalMemory.ABSENT || secondPlace == PhysicalMemory.ABSENT) {
            sink.differs(input, input + ((long) count << geometry.shift(level)));
            return;
        }
        if (level == TableGeometry.LAST_LEVEL) {
            long at = MemorySegment.mismatch(
                    firstBytes, firstPlace, firstPlace + size, secondBytes, secondPlace, secondPlace + size);
            if (at >= 0 && once(first, second, level, input, count)) {
                leaves(firstPlace, secondPlace, input, count, (int) (at / Long.BYTES));
            }
        } else if (once(first, second, level, input, count)) {
            pointers(firstPlace, secondPlace, level, input, count);
        }
    }

    /// Whether neither page was entered before.
    private boolean once(long first, long second, int level, long input, int count) {
        // Both are entered, whatever is known of the other.
        boolean firstFresh = firstEntered.add(first);
        boolean fresh = secondEntered.add(second) && firstFresh;
        if (!fresh) {
            sink.differs(input, input + ((long) count << geometry.shift(level)));
        }
        return fresh;
    }

    private void pointers(long firstPlace, long secondPlace, int level, long input, int count) {
        long size = geometry.entrySize(level);
        long address = geometry.tableAddressMask();
        for (int index = 0; index < count; index++) {
            long first = firstBytes.get(PhysicalMemory.LE64, firstPlace + (long) index * Long.BYTES);
            long second = secondBytes.get(PhysicalMemory.LE64, secondPlace + (long) index * Long.BYTES);
            long start = input + index * size;
            boolean firstPoints = Descriptor.table(first, level);
            boolean secondPoints = Descriptor.table(second, level);
            if (firstPoints && secondPoints) {
                if (((first ^ second) & ~address) != 0) {
                    sink.pointers(start, start + size, level, first & ~address, second & ~address);
                }
                if (((first | second) & beyond) != 0) {
                    sink.differs(start, start + size);
                } else {
                    pages(
                            geometry.tableAddress(first),
                            geometry.tableAddress(second),
                            level + 1,
                            start,
                            geometry.entriesPerTable());
                }
            } else if (first != second) {
                sink.differs(start, start + size);
            }
        }
    }

    /// @param from the first entry that differs
    private void leaves(long firstPlace, long secondPlace, long input, int count, int from) {
        int shift = geometry.granuleShift();
        long size = (long) count * Long.BYTES;
        int index = from;
        while (index < count) {
            int end = index + 1;
            while (end < count
                    && firstBytes.get(PhysicalMemory.LE64, firstPlace + (long) end * Long.BYTES)
                            != secondBytes.get(PhysicalMemory.LE64, secondPlace + (long) end * Long.BYTES)) {
                end++;
            }
            sink.differs(input + ((long) index << shift), input + ((long) end << shift));
            long done = (long) end * Long.BYTES;
            long at = done == size
                    ? -1
                    : MemorySegment.mismatch(
                            firstBytes,
                            firstPlace + done,
                            firstPlace + size,
                            secondBytes,
                            secondPlace + done,
                            secondPlace + size);
            index = at < 0 ? count : end + (int) (at / Long.BYTES);
        }
    }
}
