package dev.s2snap.inspect;

import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.MemorySegment;

/// A stage-2 table that is made entry by entry.
final class Made implements PhysicalMemory {
    private static final long BASE = 1 << 20;
    private final MemorySegment bytes = MemorySegment.ofArray(new byte[4 << 20]);
    private final TableGeometry geometry;
    private int used;

    Made(int granuleShift, int inputBits, int startLevel) {
        geometry = new TableGeometry(TranslationRegime.STAGE2, granuleShift, inputBits, startLevel, false);
        used = geometry.rootPages();
    }

    TranslationTable table() {
        return new TranslationTable(this, geometry, BASE);
    }

    Made put(long address, int level, long descriptor) {
        long entry = BASE + (address >>> geometry.shift(geometry.startLevel())) * Long.BYTES;
        for (int at = geometry.startLevel(); at < level; at++) {
            if (load64(entry) == 0) {
                set(entry, BASE + geometry.granule() * used++ | 3);
            }
            entry = geometry.tableAddress(load64(entry)) + (long) geometry.index(address, at + 1) * Long.BYTES;
        }
        set(entry, descriptor);
        return this;
    }

    Made fill(long start, long end, int level, long descriptor) {
        for (long at = start; at < end; at += geometry.entrySize(level)) {
            put(at, level, Descriptor.valid(descriptor) ? at | descriptor : descriptor);
        }
        return this;
    }

    /// The descriptor that translates `address`, or that does not.
    long leaf(long address) {
        long entry = BASE + (address >>> geometry.shift(geometry.startLevel())) * Long.BYTES;
        int level = geometry.startLevel();
        while (Descriptor.table(load64(entry), level)) {
            level++;
            entry = geometry.tableAddress(load64(entry)) + (long) geometry.index(address, level) * Long.BYTES;
        }
        return load64(entry);
    }

    private void set(long address, long value) {
        bytes.set(LE64, address - BASE, value);
    }

    @Override
    public MemorySegment bytes() {
        return bytes;
    }

    @Override
    public long offset(long address, long size) {
        return address >= BASE && address + size <= BASE + bytes.byteSize() ? address - BASE : ABSENT;
    }
}
