package dev.s2snap.model;

import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.vmsa.WritableMemory;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// The model's physical memory: a map of an unlinked sparse file, so that a machine costs only what it touches.
///
/// Behind the regions lies a reserve for single pages outside of them. What is there on a real machine is devices; the
/// model gives such a page plain memory when it is first accessed, because an access to it is no error for EL2.
public final class Ram implements WritableMemory, AutoCloseable {
    private static final long DEVICE_BYTES = 64L << 20;

    private final Arena arena = Arena.ofShared();
    private final MemorySegment bytes;
    private final int pageShift;

    /// Regions rounded out to pages and joined where they meet: first byte, last byte + 1, place.
    private final long[] start;
    private final long[] end;
    private final long[] place;

    private final Map<Long, Long> devices = new HashMap<>();
    private long nextDevice;

    /// @throws UncheckedIOException if the backing file cannot be made
    public Ram(List<MemoryRegion> regions, int pageShift) {
        this.pageShift = pageShift;
        long mask = (1L << pageShift) - 1;
        start = new long[regions.size()];
        end = new long[regions.size()];
        place = new long[regions.size()];
        long size = 0;
        long covered = 0;
        for (int i = 0; i < start.length; i++) {
            MemoryRegion region = regions.get(i);
            start[i] = Math.max(region.base() & ~mask, covered);
            end[i] = Math.max(start[i], region.end() + mask & ~mask);
            covered = end[i];
            place[i] = size;
            size += end[i] - start[i];
        }
        nextDevice = size;
        bytes = map(size + DEVICE_BYTES);
    }

    private MemorySegment map(long size) {
        try {
            Path file = Files.createTempFile("s2snap", ".ram");
            try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
                return channel.map(FileChannel.MapMode.READ_WRITE, 0, size, arena);
            } finally {
                Files.delete(file);
            }
        } catch (IOException e) {
            throw new UncheckedIOException("no backing file for " + size + " bytes of memory", e);
        }
    }

    @Override
    public MemorySegment bytes() {
        return bytes;
    }

    @Override
    public long offset(long address, long size) {
        for (int i = 0; i < start.length; i++) {
            if (address >= start[i] && address < end[i]) {
                return size <= end[i] - address ? place[i] + (address - start[i]) : ABSENT;
            }
        }
        Long page = devices.get(address >>> pageShift);
        long inPage = address & (1L << pageShift) - 1;
        return page == null || inPage + size > 1L << pageShift ? ABSENT : page + inPage;
    }

    @Override
    public long writable(long address, long size) {
        return offset(address, size);
    }

    /// The place of an address of any kind; a page outside the regions gets memory now.
    ///
    /// @throws IllegalStateException if the reserve for such pages is used up
    long place(long address) {
        long offset = offset(address, 1);
        if (offset != ABSENT) {
            return offset;
        }
        if (nextDevice + (1L << pageShift) > bytes.byteSize()) {
            throw new IllegalStateException("more than " + (DEVICE_BYTES >> 20) + " MiB touched outside of memory");
        }
        devices.put(address >>> pageShift, nextDevice);
        nextDevice += 1L << pageShift;
        return offset(address, 1);
    }

    /// Raw load, no translation. An access may cross the end of a page.
    public long get(long address) {
        long mask = (1L << pageShift) - 1;
        if ((address & mask) + Long.BYTES <= mask + 1) {
            return bytes.get(LE64, place(address));
        }
        long value = 0;
        for (int i = 0; i < Long.BYTES; i++) {
            value |= (getByte(address + i) & 0xffL) << (8 * i);
        }
        return value;
    }

    byte getByte(long address) {
        return bytes.get(ValueLayout.JAVA_BYTE, place(address));
    }

    /// Raw store, no translation. An access may cross the end of a page.
    public void set(long address, long value) {
        long mask = (1L << pageShift) - 1;
        if ((address & mask) + Long.BYTES <= mask + 1) {
            bytes.set(LE64, place(address), value);
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
