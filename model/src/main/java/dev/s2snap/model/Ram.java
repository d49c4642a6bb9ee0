package dev.s2snap.model;

import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.WritableMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.VarHandle;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/// The model's physical memory, zero at power-on.
///
/// Pages get a frame when they are first written, so that a machine costs what it touches and a terabyte of it can be
/// simulated. Frames come from slabs outside the heap; the segment that all of them lie in is the process's address
/// space, bound to this memory's lifetime, and a place in it is an address.
///
/// Outside of the regions there are devices on a real machine. An access of EL2 or the host there is no error, and the
/// model gives such a page plain memory too; but it is not present for a reader of the machine until then.
///
/// Any number of threads may read and write; what they see of each other is what plain loads and stores see.
public final class Ram implements WritableMemory, AutoCloseable {
    private static final long SLAB = 1L << 20;

    private static final int DEVICE_PAGES = 1 << 16;

    /// Pages of one leaf of the directory.
    private static final int LEAF_SHIFT = 12;

    private final Arena arena = Arena.ofShared();
    private final MemorySegment bytes;
    private final int pageShift;
    private final long pageMask;

    /// Regions rounded out to pages and joined where they meet, ascending.
    private final Region[] regions;

    private final Map<Long, Long> devices = new ConcurrentHashMap<>();
    private final long zeroPage;
    private long slab;
    private long slabLeft;

    /// One region: the places of its pages, 0 for one that was never written.
    private static final class Region {
        final long start;
        final long end;
        final long[] @Nullable [] directory;

        Region(long start, long end, int pageShift) {
            this.start = start;
            this.end = end;
            long pages = (end - start) >>> pageShift;
            directory = new long[Math.toIntExact((pages >>> LEAF_SHIFT) + 1)][];
        }
    }

    @SuppressWarnings("restricted") // the slabs lie anywhere; every place is one that this class handed out
    public Ram(List<MemoryRegion> memory, int pageShift) {
        this.pageShift = pageShift;
        pageMask = (1L << pageShift) - 1;
        regions = new Region[memory.size()];
        long covered = 0;
        for (int i = 0; i < regions.length; i++) {
            MemoryRegion region = memory.get(i);
            long start = Math.max(region.base() & ~pageMask, covered);
            long end = Math.max(start, (region.end() + pageMask) & ~pageMask);
            covered = end;
            regions[i] = new Region(start, end, pageShift);
        }
        bytes = MemorySegment.NULL.reinterpret(Long.MAX_VALUE, arena, null);
        zeroPage = frame();
    }

    /// A new zeroed page.
    private long frame() {
        if (slabLeft == 0) {
            slab = arena.allocate(SLAB, 1L << pageShift).address();
            slabLeft = SLAB;
        }
        slabLeft -= 1L << pageShift;
        return slab + slabLeft;
    }

    @Override
    public MemorySegment bytes() {
        return bytes;
    }

    /// Also answers for pages that were never written: with a page of zeros, which is good until the next write.
    @Override
    public long offset(long address, long size) {
        long inPage = address & pageMask;
        if (inPage + size > pageMask + 1) {
            return ABSENT;
        }
        Region region = region(address);
        if (region == null) {
            Long device = devices.get(address >>> pageShift);
            return device == null ? ABSENT : device + inPage;
        }
        long page = (address - region.start) >>> pageShift;
        long[] leaf = region.directory[(int) (page >>> LEAF_SHIFT)];
        long frame = leaf == null ? 0 : leaf[(int) page & ((1 << LEAF_SHIFT) - 1)];
        return (frame == 0 ? zeroPage : frame) + inPage;
    }

    @Override
    public long writable(long address, long size) {
        return (address & pageMask) + size > pageMask + 1 || offset(address, size) == ABSENT ? ABSENT : place(address);
    }

    private @Nullable Region region(long address) {
        for (Region region : regions) {
            if (address >= region.start && address < region.end) {
                return region;
            }
        }
        return null;
    }

    /// The place of an address of any kind, to stay: its page has a frame from now on.
    ///
    /// @throws IllegalStateException if more than 65536 pages outside of the regions were touched
    long place(long address) {
        long inPage = address & pageMask;
        Region region = region(address);
        if (region != null) {
            long page = (address - region.start) >>> pageShift;
            long[] leaf = region.directory[(int) (page >>> LEAF_SHIFT)];
            long frame = leaf == null ? 0 : leaf[(int) page & ((1 << LEAF_SHIFT) - 1)];
            return (frame == 0 ? framed(region, page) : frame) + inPage;
        }
        Long device = devices.get(address >>> pageShift);
        return (device == null ? framed(address >>> pageShift) : device) + inPage;
    }

    /// The first to touch a page gives it its frame, which others find zeroed whenever they find it.
    private synchronized long framed(Region region, long page) {
        int slot = (int) (page >>> LEAF_SHIFT);
        long[] leaf = region.directory[slot];
        if (leaf == null) {
            leaf = new long[1 << LEAF_SHIFT];
            VarHandle.releaseFence();
            region.directory[slot] = leaf;
        }
        int index = (int) page & ((1 << LEAF_SHIFT) - 1);
        if (leaf[index] == 0) {
            long frame = frame();
            VarHandle.releaseFence();
            leaf[index] = frame;
        }
        return leaf[index];
    }

    private synchronized long framed(long devicePage) {
        if (devices.size() >= DEVICE_PAGES && !devices.containsKey(devicePage)) {
            throw new IllegalStateException("more than " + DEVICE_PAGES + " pages touched outside of memory");
        }
        return devices.computeIfAbsent(devicePage, _ -> frame());
    }

    /// Raw load, no translation. An access may cross the end of a page.
    public long get(long address) {
        long offset = offset(address, Long.BYTES);
        if (offset != ABSENT) {
            return bytes.get(PhysicalMemory.LE64, offset);
        }
        long value = 0;
        for (int i = 0; i < Long.BYTES; i++) {
            value |= (getByte(address + i) & 0xffL) << (8 * i);
        }
        return value;
    }

    byte getByte(long address) {
        long offset = offset(address, 1);
        return offset == ABSENT ? 0 : bytes.get(ValueLayout.JAVA_BYTE, offset);
    }

    /// Raw store, no translation. An access may cross the end of a page.
    public void set(long address, long value) {
        if ((address & pageMask) + Long.BYTES <= pageMask + 1) {
            bytes.set(PhysicalMemory.LE64, place(address), value);
            return;
        }
        for (int i = 0; i < Long.BYTES; i++) {
            bytes.set(ValueLayout.JAVA_BYTE, place(address + i), (byte) (value >>> (8 * i)));
        }
    }

    @Override
    public void close() {
        arena.close();
    }
}
