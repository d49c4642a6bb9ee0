package dev.s2snap.model;

import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.Translation;
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
    private static final long NO_PAGE = -1;

    /// AP[2], bit 7 of a stage-1 descriptor: read-only (D8.4.1).
    static final long READ_ONLY = 1 << 7;

    private final Ram ram;
    private final MemorySegment bytes;
    private final AddressMap map;
    private final int pageShift;
    private final long pageMask;
    private final Tlb tlb = new Tlb();
    private @Nullable TranslationTable table;

    // The page that was used last; a page is a VA shifted down, its place is in `bytes`.
    private long lastPage = NO_PAGE;
    private long lastPlace;
    private boolean lastWritable;

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
        lastPage = NO_PAGE;
    }

    /// The table that the hardware walks, or null before [#enable].
    @Nullable
    TranslationTable table() {
        return table;
    }

    /// TLBI by VA: drops what is known about the page of `va`.
    void invalidate(long va) {
        tlb.remove(va >>> pageShift);
        lastPage = NO_PAGE;
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
        bytes.set(LE64, place(va, true), value);
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
        bytes.set(LE32, place(va, true), value);
    }

    void write8(long va, int value) {
        bytes.set(ValueLayout.JAVA_BYTE, place(va, true), (byte) value);
    }

    int read16(long va) {
        return bytes.get(LE16, place(va, false)) & 0xffff;
    }

    void write16(long va, int value) {
        bytes.set(LE16, place(va, true), (short) value);
    }

    /// Zeroes whole pages.
    void zeroPages(long va, long size) {
        for (long done = 0; done < size; done += pageMask + 1) {
            bytes.asSlice(place(va + done, true), pageMask + 1).fill((byte) 0);
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
        return place(map.hypVa(address), true);
    }

    private long place(long va, boolean write) {
        if (va >>> pageShift == lastPage && (lastWritable || !write)) {
            return lastPlace + (va & pageMask);
        }
        return translate(va, write);
    }

    private long translate(long va, boolean write) {
        TranslationTable live = table;
        if (live == null) {
            return ram.place(map.hypPa(va));
        }
        long page = va >>> pageShift;
        long entry = tlb.get(page);
        if (entry == Tlb.MISS) {
            entry = walk(live, va);
            if (entry == Tlb.MISS) {
                throw abort(va, write);
            }
            tlb.put(page, entry);
        }
        lastPage = page;
        lastPlace = entry & ~1L;
        lastWritable = (entry & 1) != 0;
        if (write && !lastWritable) {
            throw abort(va, true);
        }
        return lastPlace + (va & pageMask);
    }

    /// Place of the page, with bit 0 set if it may be written.
    private long walk(TranslationTable live, long va) {
        if (live.translate(va) instanceof Translation.Mapped(var _, int _, long descriptor, long output)) {
            return ram.place(output & ~pageMask) | ((descriptor & READ_ONLY) == 0 ? 1 : 0);
        }
        return Tlb.MISS;
    }

    private HypPanic abort(long va, boolean write) {
        return new HypPanic(
                HypPanic.Reason.ABORT,
                (write ? "write" : "read") + " va=0x" + Long.toHexString(va) + " lin_pa=0x"
                        + Long.toHexString(map.hypPa(va)));
    }

    /// Pages and what is known about them: open addressing, linear probing, deletion by shifting back.
    private static final class Tlb {
        static final long MISS = -1;

        private long[] pages = new long[1 << 10];
        private long[] entries = new long[1 << 10];
        private int size;

        Tlb() {
            Arrays.fill(entries, MISS);
        }

        private int slot(long page) {
            return (int) ((page * 0x9e3779b97f4a7c15L) >>> 32) & pages.length - 1;
        }

        long get(long page) {
            int mask = pages.length - 1;
            for (int slot = slot(page); entries[slot] != MISS; slot = slot + 1 & mask) {
                if (pages[slot] == page) {
                    return entries[slot];
                }
            }
            return MISS;
        }

        void put(long page, long entry) {
            if (++size * 2 > pages.length) {
                grow();
            }
            insert(page, entry);
        }

        private void insert(long page, long entry) {
            int mask = pages.length - 1;
            int slot = slot(page);
            while (entries[slot] != MISS) {
                slot = slot + 1 & mask;
            }
            pages[slot] = page;
            entries[slot] = entry;
        }

        private void grow() {
            long[] oldPages = pages;
            long[] oldEntries = entries;
            pages = new long[oldPages.length * 2];
            entries = new long[oldPages.length * 2];
            Arrays.fill(entries, MISS);
            for (int i = 0; i < oldPages.length; i++) {
                if (oldEntries[i] != MISS) {
                    insert(oldPages[i], oldEntries[i]);
                }
            }
        }

        void remove(long page) {
            int mask = pages.length - 1;
            int slot = slot(page);
            while (entries[slot] != MISS && pages[slot] != page) {
                slot = slot + 1 & mask;
            }
            if (entries[slot] == MISS) {
                return;
            }
            size--;
            int hole = slot;
            while (true) {
                slot = slot + 1 & mask;
                if (entries[slot] == MISS) {
                    break;
                }
                // An entry may fill the hole unless its own slot lies between the hole and it.
                if ((slot - slot(pages[slot]) & mask) >= (slot - hole & mask)) {
                    pages[hole] = pages[slot];
                    entries[hole] = entries[slot];
                    hole = slot;
                }
            }
            entries[hole] = MISS;
        }
    }
}
