package dev.s2snap.model;

import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import dev.s2snap.vmsa.WritableMemory;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import org.jspecify.annotations.Nullable;

/// Memory as EL2 code sees it: every access is translated by the live EL2 stage 1, through the TLB of the CPU that
/// makes
/// it, which only [#invalidate] empties. An unmapped or read-only page is an abort, hence a [HypPanic].
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
    private final Cpus cpus;

    /// That of the only CPU that runs, or null while several do.
    private @Nullable El2Tlb tlb;

    private @Nullable TranslationTable table;
    private @Nullable WriteLog log;

    El2Memory(Ram ram, AddressMap map, int pageShift) {
        this(ram, map, pageShift, new Cpus(1));
    }

    El2Memory(Ram ram, AddressMap map, int pageShift, Cpus cpus) {
        this.cpus = cpus;
        cpus.accessThrough(this);
        this.ram = ram;
        this.bytes = ram.bytes();
        this.map = map;
        this.pageShift = pageShift;
        this.pageMask = (1L << pageShift) - 1;
    }

    /// Makes all accesses go through one TLB, until the next such call; null for that of the CPU that makes each.
    void use(@Nullable El2Tlb value) {
        tlb = value;
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

    /// TLBI by VA: drops what all CPUs know about the page of `va`.
    void invalidate(long va) {
        cpus.invalidateEl2(va >>> pageShift);
    }

    /// The CPUs that see memory so.
    Cpus cpus() {
        return cpus;
    }

    @Override
    public long read64(long va) {
        if ((va & pageMask) > pageMask - 7) {
            return readAcross(va);
        }
        return bytes.get(PhysicalMemory.LE64, place(va, false));
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
        bytes.set(PhysicalMemory.LE64, stored(va, Long.BYTES), value);
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
        El2Tlb only = tlb;
        long entry = (only != null ? only : cpus.current().el2Tlb).get(va >>> pageShift);
        if ((entry & (write ? El2Tlb.WRITABLE : El2Tlb.READABLE)) == 0) {
            return translate(va, write, entry);
        }
        return (entry & ~El2Tlb.FLAGS) + (va & pageMask);
    }

    private long translate(long va, boolean write, long known) {
        TranslationTable live = table;
        if (live == null) {
            return ram.place(map.hypPa(va));
        }
        long entry = known == El2Tlb.MISS ? learn(live, va) : known;
        if ((entry & (write ? El2Tlb.WRITABLE : El2Tlb.READABLE)) == 0) {
            throw abort(va, write);
        }
        return (entry & ~El2Tlb.FLAGS) + (va & pageMask);
    }

    /// Walks, and remembers what came out.
    private long learn(TranslationTable live, long va) {
        Cpu cpu = cpus.current();
        if (!cpus.parallel()) {
            long entry = walk(live, va);
            cpu.el2Tlb.put(va >>> pageShift, entry);
            return entry;
        }
        synchronized (cpu.translation) {
            long entry = walk(live, va);
            cpu.el2Tlb.put(va >>> pageShift, entry);
            return entry;
        }
    }

    /// What the TLB is to know about the page of `va`. The same walk as [TranslationTable#translate], which remembers
    /// its path and costs objects; here nobody asks for it, and a page that comes and goes is walked each time.
    private long walk(TranslationTable live, long va) {
        TableGeometry geometry = live.geometry();
        if (!geometry.covers(va)) {
            return El2Tlb.MISS;
        }
        int level = geometry.startLevel();
        long entry = live.root() + ((va - geometry.inputBase()) >>> geometry.shift(level)) * Long.BYTES;
        while (true) {
            long descriptor = ram.get(entry);
            boolean leaf = Descriptor.leaf(descriptor, level, geometry);
            if ((!leaf && !Descriptor.table(descriptor, level)) || (descriptor & geometry.beyondOutput()) != 0) {
                return El2Tlb.MISS;
            }
            if (leaf) {
                long output = geometry.outputAddress(descriptor, level) | (va & geometry.entrySize(level) - 1);
                boolean readOnly = (descriptor & READ_ONLY) != 0;
                return ram.place(output & ~pageMask) | El2Tlb.READABLE | (readOnly ? 0 : El2Tlb.WRITABLE);
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
}
