package dev.s2snap.capture;

import dev.s2snap.capture.CorePieces.Piece;
import dev.s2snap.vmsa.PhysicalMemory;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// Physical memory in an ELF core. The file is mapped: what is not looked at is not read.
///
/// [PhysicalMemory] promises one segment. For nearly all files that is the mapped file, and an address is found by a
/// binary search over its pieces ([CorePieces]). Two things are not in the file as a reader wants them:
///
/// - **zeros**: memory from p_filesz to p_memsz. All such memory is answered from one zero area.
/// - **seams**: places where two pieces meet that do not follow each other in the file. When something is asked for
///   that lies across one, the 64 KiB around it are copied. A core whose PT_LOADs are scattered pages has a seam at
///   every page, and still none of them is copied for tables of such pages.
///
/// If there is one of them, the segment is the whole address space of the process, in which mapped file, zeros and
/// copies lie side by side; places in it are handed out only by [#offset(long, long)], never beyond a piece.
public final class ElfCore implements PhysicalMemory, AutoCloseable {

    /// The largest granule: nobody asks for more in one piece, or across its alignment.
    private static final long CHUNK = 1 << 16;

    /// Copies cost memory, 256 MiB of it at most. 64K pages of tables that fill them map 128 TiB and more.
    static final int COPY_LIMIT = 4096;

    private final Arena arena;
    private final String name;
    private final MemorySegment bytes;
    private final Optional<byte[]> note;
    private final List<Segment> segments;

    // Pieces of memory by ascending address: [starts[i], ends[i]) lies at places[i].
    private final long[] starts;
    private final long[] ends;
    private final long[] places;

    /// Place of 2 * CHUNK zeros.
    private final long zeros;

    private static final long ZEROS = -2;

    /// Chunks that were copied for their seams: address to place. Guarded by itself.
    private final Map<Long, Long> copies = new HashMap<>();

    /// A run of physical memory in the file, without a gap, behind and before gaps.
    ///
    /// @param zeros how many of the bytes are zeros that the file does not hold
    public record Segment(long start, long end, long zeros) {}

    // A restricted method, hence native access is enabled for s2snap.
    @SuppressWarnings("restricted")
    private ElfCore(Arena arena, MemorySegment file, ElfHeaders headers, String name) {
        this.arena = arena;
        this.name = name;
        this.note = headers.note();
        List<Piece> pieces = CorePieces.of(name, file, headers.loads());
        this.segments = segments(pieces);
        boolean mapped = segments.size() == pieces.size() && segments.stream().allMatch(s -> s.zeros == 0);
        long base = mapped ? 0 : file.address();
        // The address space dies with the arena, as the mapping does.
        this.bytes = mapped ? file : MemorySegment.NULL.reinterpret(Long.MAX_VALUE, arena, null);
        this.zeros = mapped ? ABSENT : arena.allocate(2 * CHUNK, CHUNK).address();
        this.starts = pieces.stream().mapToLong(Piece::start).toArray();
        this.ends = pieces.stream().mapToLong(Piece::end).toArray();
        this.places = pieces.stream()
                .mapToLong(piece -> piece.offset() == CorePieces.ZEROS ? ZEROS : base + piece.offset())
                .toArray();
    }

    /// Opens `path` for reading.
    ///
    /// @throws CaptureException if it is not a core of an AArch64 machine, or damaged
    public static ElfCore open(Path path) {
        String name = path.toString();
        if (Files.exists(path) && !Files.isRegularFile(path)) {
            throw new CaptureException(name + ": it is not a regular file; give an ELF core");
        }
        Arena arena = Arena.ofShared();
        boolean opened = false;
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
            ElfCore core = of(name, channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena), arena);
            opened = true;
            return core;
        } catch (IOException e) {
            throw FileTrouble.reading(path, e);
        } finally {
            if (!opened) {
                arena.close();
            }
        }
    }

    /// The core in `file`, whose life ends with `arena`.
    ///
    /// @param name of the file, for messages
    static ElfCore of(String name, MemorySegment file, Arena arena) {
        return new ElfCore(arena, file, ElfHeaders.read(name, file), name);
    }

    private static List<Segment> segments(List<Piece> pieces) {
        List<Segment> segments = new ArrayList<>();
        for (Piece piece : pieces) {
            long zeros = piece.offset() == CorePieces.ZEROS ? piece.end() - piece.start() : 0;
            if (!segments.isEmpty() && segments.getLast().end == piece.start()) {
                Segment last = segments.removeLast();
                segments.add(new Segment(last.start, piece.end(), last.zeros + zeros));
            } else {
                segments.add(new Segment(piece.start(), piece.end(), zeros));
            }
        }
        return segments;
    }

    /// The descriptor of the note `S2SNAP`.
    Optional<byte[]> note() {
        return note;
    }

    /// What is in the file, by ascending address.
    public List<Segment> segments() {
        return Collections.unmodifiableList(segments);
    }

    @Override
    public MemorySegment bytes() {
        return bytes;
    }

    /// @throws CaptureException if seams would have to be copied beyond a limit
    @Override
    public long offset(long address, long size) {
        int index = pieceBefore(address);
        // Negative addresses, that is 2^63 and more, are below all pieces.
        if (index < 0 || address >= ends[index]) {
            return ABSENT;
        }
        if (size > ends[index] - address) {
            return acrossSeams(address, size, index);
        }
        long place = places[index];
        if (place != ZEROS) {
            return place + (address - starts[index]);
        }
        return size <= CHUNK ? zeros + (address & (CHUNK - 1)) : ABSENT;
    }

    /// The last piece that begins at `address` or before, or -1.
    private int pieceBefore(long address) {
        int low = 0;
        int high = starts.length - 1;
        while (low <= high) {
            int middle = (low + high) >>> 1;
            if (starts[middle] > address) {
                high = middle - 1;
            } else {
                low = middle + 1;
            }
        }
        return high;
    }

    /// The place of something in several pieces, the first of which is `index`.
    private long acrossSeams(long address, long size, int index) {
        long chunk = address & -CHUNK;
        if (size > CHUNK - (address - chunk)) {
            return ABSENT;
        }
        int last = index;
        while (ends[last] < address + size) {
            if (last + 1 == starts.length || starts[last + 1] != ends[last]) {
                return ABSENT;
            }
            last++;
        }
        synchronized (copies) {
            Long copy = copies.get(chunk);
            if (copy == null) {
                if (copies.size() == COPY_LIMIT) {
                    throw new CaptureException(name + ": table pages lie across the seams of more than " + COPY_LIMIT
                            + " areas of 64 KiB; save the machine's memory in fewer segments");
                }
                copy = copy(chunk);
                copies.put(chunk, copy);
            }
            return copy + (address - chunk);
        }
    }

    /// Copies the memory of a chunk; where there is none, nobody asks for it.
    private long copy(long chunk) {
        long copy = arena.allocate(CHUNK, Long.BYTES).address();
        for (int index = Math.max(0, pieceBefore(chunk));
                index < starts.length && starts[index] < chunk + CHUNK;
                index++) {
            long from = Math.max(starts[index], chunk);
            long to = Math.min(ends[index], chunk + CHUNK);
            if (places[index] != ZEROS && from < to) {
                MemorySegment.copy(
                        bytes, places[index] + (from - starts[index]), bytes, copy + (from - chunk), to - from);
            }
        }
        return copy;
    }

    @Override
    public void close() {
        arena.close();
    }
}
