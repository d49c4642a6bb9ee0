package dev.s2snap.model;

import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import dev.s2snap.vmsa.WritableMemory;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// Memory as EL2 code sees it: every access is translated by the live EL2 stage 1, through a TLB that only
/// [#invalidate] empties. An unmapped or read-only page is an abort, hence a [HypPanic].
///
/// Until [#enable] there is no such table, and EL2 sees its linear map without checks.
///
/// As a [WritableMemory] it takes physical addresses and goes through their linear-map address, which is how EL2
/// reaches tables; [#offset] and [#writable] never answer that memory is absent, they abort.
final class El2Memory implements WritableMemory, TableMemory {
    private static final ValueLayout.OfInt LE32 = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfShort LE16 = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /// AP[2], bit 7 of a stage-1 descriptor: read-only (D8.4.1).
    static final long READ_ONLY = 1 << 7;

    private final Ram ram;
    private final MemorySegment bytes;
    private final AddressMap map;
    private final int pageShift;
    private final long pageMask;
    private final Tlb tlb = new Tlb();
    private @Nullable TranslationTable table;
    private @Nullable WriteLog log;

    El2Memory(Ram ram, AddressMap map, int pageShift) {
        this.ram = ram;
        this.bytes = ram.bytes();
        this.map = map;
        this.pageShift = pageShift;
        this.pageMask = (1L << pageShift) - 1;
    }

    /// Turns translation on, with `root` in TTBR0_EL2.
    void enable(TableGeometry geometry, long root) {
        table = new TranslationTable(ram, geometry, root);
    }

    /// The table that the hardware walks, or null before [#enable].
    @Nullable
    TranslationTable table() {
        return table;
    }

    /// Gets every store from now on; null for nobody.
    void log(@Nullable WriteLog value) {
        log = value;
    }

    /// TLBI by VA: drops what is known about the page of `va`.
    void invalidate(long va) {
        tlb.remove(va >>> pageShift);
    }

    @Override
    public long read64(long va) {
        if ((va & pageMask) > pageMask - 7) {
            return readAcross(va);
        }
        return bytes.get(LE64, place(va, false));
    }

    private long readAcross(long va) {
        long value = 0;
        for (int i = 0; i < Long.BYTES; i++) {
            value |= (bytes.get(ValueLayout.JAVA_BYTE, place(va + i, false)) & 0xffL) << (8 * i);
        }
        return value;
    }

    @Override
    public void write64(long va, long value) {
        bytes.set(LE64, stored(va, Long.BYTES), value);
    }

    @Override
    public long virtual(long physical) {
        return map.hypVa(physical);
    }

    @Override
    public long physical(long virtual) {
        return map.hypPa(virtual);
    }

    int read32(long va) {
        return bytes.get(LE32, place(va, false));
    }

    void write32(long va, int value) {
        bytes.set(LE32, stored(va, Integer.BYTES), value);
    }

    void write8(long va, int value) {
        bytes.set(ValueLayout.JAVA_BYTE, stored(va, 1), (byte) value);
    }

    int read16(long va) {
        return bytes.get(LE16, place(va, false)) & 0xffff;
    }

    void write16(long va, int value) {
        bytes.set(LE16, stored(va, Short.BYTES), (short) value);
    }

    /// Zeroes whole pages.
    void zeroPages(long va, long size) {
        for (long done = 0; done < size; done += pageMask + 1) {
            bytes.asSlice(stored(va + done, pageMask + 1), pageMask + 1).fill((byte) 0);
        }
    }

    @Override
    public MemorySegment bytes() {
        return bytes;
    }

    @Override
    public long offset(long address, long size) {
        return place(map.hypVa(address), false);
    }

    @Override
    public long writable(long address, long size) {
        return stored(map.hypVa(address), size);
    }

    /// The place of bytes that are stored to.
    private long stored(long va, long size) {
        long place = place(va, true);
        WriteLog listening = log;
        if (listening != null) {
            listening.add(va, size);
        }
        return place;
    }

    private long place(long va, boolean write) {
        long entry = tlb.get(va >>> pageShift);
        if ((entry & (write ? Tlb.WRITABLE : Tlb.READABLE)) == 0) {
            return translate(va, write, entry);
        }
        return (entry & ~Tlb.FLAGS) + (va & pageMask);
    }

    private long translate(long va, boolean write, long known) {
        TranslationTable live = table;
        if (live == null) {
            return ram.place(map.hypPa(va));
        }
        long entry = known == Tlb.MISS ? walk(live, va) : known;
        tlb.put(va >>> pageShift, entry);
        if ((entry & (write ? Tlb.WRITABLE : Tlb.READABLE)) == 0) {
            throw abort(va, write);
        }
        return (entry & ~Tlb.FLAGS) + (va & pageMask);
    }

    /// What the TLB is to know about the page of `va`. The same walk as [TranslationTable#translate], which remembers
    /// its path and costs objects; here nobody asks for it, and a page that comes and goes is walked each time.
    private long walk(TranslationTable live, long va) {
        TableGeometry geometry = live.geometry();
        if (!geometry.covers(va)) {
            return Tlb.MISS;
        }
        int level = geometry.startLevel();
        long entry = live.root() + ((va - geometry.inputBase()) >>> geometry.shift(level)) * Long.BYTES;
        while (true) {
            long descriptor = ram.get(entry);
            boolean leaf = Descriptor.leaf(descriptor, level, geometry);
            if ((!leaf && !Descriptor.table(descriptor, level)) || (descriptor & geometry.beyondOutput()) != 0) {
                return Tlb.MISS;
            }
            if (leaf) {
                long output = geometry.outputAddress(descriptor, level) | (va & geometry.entrySize(level) - 1);
                boolean readOnly = (descriptor & READ_ONLY) != 0;
                return ram.place(output & ~pageMask) | Tlb.READABLE | (readOnly ? 0 : Tlb.WRITABLE);
            }
            level++;
            entry = geometry.tableAddress(descriptor) + (long) geometry.index(va, level) * Long.BYTES;
        }
    }

    private HypPanic abort(long va, boolean write) {
        return new HypPanic(
                HypPanic.Reason.ABORT,
                (write ? "write" : "read") + " va=0x" + Long.toHexString(va) + " lin_pa=0x"
                        + Long.toHexString(map.hypPa(va)));
    }

    /// What is known about pages: a word for each, the page's place in `bytes` and what may be done there. The words
    /// lie in chunks of neighbours, so that a walk over many tables, which lie close together, stays in the caches of
    /// the machine that the model runs on; the chunks are found by open addressing and never go away.
    private static final class Tlb {
        static final long MISS = 0;
        static final long READABLE = 1;
        static final long WRITABLE = 2;
        static final long FLAGS = READABLE | WRITABLE;

        private static final int CHUNK_SHIFT = 9;
        private static final long NO_CHUNK = -1;
        private static final long[] UNKNOWN = new long[1 << CHUNK_SHIFT];

        private long[] numbers = new long[1 << 6];
        private long[][] chunks = new long[1 << 6][];
        private int size;

        Tlb() {
            Arrays.fill(numbers, NO_CHUNK);
            Arrays.fill(chunks, UNKNOWN);
        }

        /// Where the chunk `number` is, or where it would be put.
        private int slot(long number) {
            int mask = numbers.length - 1;
            int slot = (int) ((number * 0x9e3779b97f4a7c15L) >>> 32) & mask;
            while (numbers[slot] != number && numbers[slot] != NO_CHUNK) {
                slot = slot + 1 & mask;
            }
            return slot;
        }

        private static int inChunk(long page) {
            return (int) page & (1 << CHUNK_SHIFT) - 1;
        }

        long get(long page) {
            return chunks[slot(page >>> CHUNK_SHIFT)][inChunk(page)];
        }

        void put(long page, long entry) {
            long number = page >>> CHUNK_SHIFT;
            int slot = slot(number);
            if (numbers[slot] == NO_CHUNK) {
                slot = add(number, new long[1 << CHUNK_SHIFT]);
            }
            chunks[slot][inChunk(page)] = entry;
        }

        private int add(long number, long[] chunk) {
            if (++size * 2 > numbers.length) {
                grow();
            }
            int slot = slot(number);
            numbers[slot] = number;
            chunks[slot] = chunk;
            return slot;
        }

        private void grow() {
            long[] oldNumbers = numbers;
            long[][] oldChunks = chunks;
            numbers = new long[2 * oldNumbers.length];
            chunks = new long[2 * oldNumbers.length][];
            Arrays.fill(numbers, NO_CHUNK);
            Arrays.fill(chunks, UNKNOWN);
            for (int i = 0; i < oldNumbers.length; i++) {
                if (oldNumbers[i] != NO_CHUNK) {
                    int slot = slot(oldNumbers[i]);
                    numbers[slot] = oldNumbers[i];
                    chunks[slot] = oldChunks[i];
                }
            }
        }

        void remove(long page) {
            int slot = slot(page >>> CHUNK_SHIFT);
            if (numbers[slot] != NO_CHUNK) {
                chunks[slot][inChunk(page)] = MISS;
            }
        }
    }
}
