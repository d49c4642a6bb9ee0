package dev.s2snap.capture;

import dev.s2snap.capture.ElfHeaders.Load;
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
import java.util.List;
import java.util.NavigableSet;
import java.util.Optional;
import java.util.TreeSet;

/// Physical memory in an ELF core. The file is mapped: what is not looked at is not read.
///
/// [PhysicalMemory] promises one segment. For nearly all files that is the mapped file, and an address is found by a
/// binary search over its PT_LOADs. Two things are not in the file as a reader wants them:
///
/// - **zeros**: memory from p_filesz to p_memsz. All such memory is answered from one zero area.
/// - **seams**: a 64 KiB-aligned area that is present, but whose pieces do not follow each other in the file, because
/// two
///   PT_LOADs, or bytes and zeros, meet inside it. A table page could lie across the seam. Such areas are copied.
///
/// If there is one of them, the segment is the whole address space of the process, in which mapped file, zeros and
/// copies lie side by side; places in it are handed out only by [#offset(long, long)], never beyond a piece.
public final class ElfCore implements PhysicalMemory, AutoCloseable {

    /// The largest granule: nobody asks for more in one piece, or across its alignment.
    private static final long CHUNK = 1 << 16;

    /// Seams cost memory. Real cores have a few at most.
    private static final int SEAM_LIMIT = 1024;

    private final Arena arena;
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

    /// A run of physical memory in the file.
    ///
    /// @param zeros how many of the bytes, at the end, are zeros that the file does not hold
    public record Segment(long start, long end, long zeros) {}

    private record Piece(long start, long end, long place) {
        boolean continues(Piece before) {
            if (start != before.end) {
                return false;
            }
            return place == ZEROS
                    ? before.place == ZEROS
                    : before.place != ZEROS && place == before.place + (start - before.start);
        }
    }

    // A restricted method, hence native access is enabled for s2snap.
    @SuppressWarnings("restricted")
    private ElfCore(Arena arena, MemorySegment file, ElfHeaders headers, String name) {
        this.arena = arena;
        this.note = headers.note();
        this.segments = headers.loads().stream()
                .map(load -> new Segment(load.address(), load.end(), load.size() - load.fileSize()))
                .toList();
        List<Piece> pieces = pieces(headers.loads(), 0);
        NavigableSet<Long> seams = seams(pieces);
        if (seams.size() > SEAM_LIMIT) {
            throw new CaptureException(name + ": more than " + SEAM_LIMIT
                    + " of its PT_LOADs meet or end within 64 KiB; save the machine's memory in fewer segments");
        }
        if (seams.isEmpty() && pieces.stream().noneMatch(piece -> piece.place == ZEROS)) {
            this.bytes = file;
            this.zeros = ABSENT;
        } else {
            // Dies with the arena, as the mapping does.
            this.bytes = MemorySegment.NULL.reinterpret(Long.MAX_VALUE, arena, null);
            this.zeros = arena.allocate(2 * CHUNK, CHUNK).address();
            pieces = sewn(pieces(headers.loads(), file.address()), seams);
        }
        this.starts = pieces.stream().mapToLong(Piece::start).toArray();
        this.ends = pieces.stream().mapToLong(Piece::end).toArray();
        this.places = pieces.stream().mapToLong(Piece::place).toArray();
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
            MemorySegment file = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
            ElfCore core = new ElfCore(arena, file, ElfHeaders.read(name, file), name);
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

    private static List<Piece> pieces(List<Load> loads, long base) {
        List<Piece> pieces = new ArrayList<>();
        for (Load load : loads) {
            if (load.fileSize() > 0) {
                add(pieces, new Piece(load.address(), load.dataEnd(), base + load.offset()));
            }
            if (load.fileSize() < load.size()) {
                add(pieces, new Piece(load.dataEnd(), load.end(), ZEROS));
            }
        }
        return pieces;
    }

    /// Adds a piece behind the others, as one with the last if it continues it.
    private static void add(List<Piece> pieces, Piece piece) {
        if (!pieces.isEmpty() && piece.continues(pieces.getLast())) {
            Piece last = pieces.removeLast();
            pieces.add(new Piece(last.start, piece.end, last.place));
        } else {
            pieces.add(piece);
        }
    }

    /// First addresses of the chunks in which pieces meet.
    private static NavigableSet<Long> seams(List<Piece> pieces) {
        NavigableSet<Long> seams = new TreeSet<>();
        for (int i = 1; i < pieces.size() && seams.size() <= SEAM_LIMIT; i++) {
            long start = pieces.get(i).start;
            if (start == pieces.get(i - 1).end && start % CHUNK != 0) {
                seams.add(start & -CHUNK);
            }
        }
        return seams;
    }

    /// The pieces, with what lies in a seam's chunk taken from a copy.
    private List<Piece> sewn(List<Piece> pieces, NavigableSet<Long> seams) {
        List<Piece> sewn = new ArrayList<>();
        long chunk = ABSENT;
        long copy = ABSENT;
        for (Piece piece : pieces) {
            long from = piece.start;
            while (from < piece.end) {
                long place = piece.place == ZEROS ? ZEROS : piece.place + (from - piece.start);
                if (!seams.contains(from & -CHUNK)) {
                    Long next = seams.ceiling(from);
                    long to = next == null ? piece.end : Math.min(piece.end, next);
                    add(sewn, new Piece(from, to, place));
                    from = to;
                    continue;
                }
                long to = Math.min(piece.end, (from & -CHUNK) + CHUNK);
                if (chunk != (from & -CHUNK)) {
                    chunk = from & -CHUNK;
                    copy = arena.allocate(CHUNK, Long.BYTES).address();
                }
                if (place != ZEROS) {
                    MemorySegment.copy(bytes, place, bytes, copy + (from - chunk), to - from);
                }
                add(sewn, new Piece(from, to, copy + (from - chunk)));
                from = to;
            }
        }
        return sewn;
    }

    /// The descriptor of the note `S2SNAP`.
    Optional<byte[]> note() {
        return note;
    }

    /// What is in the file, one per PT_LOAD, by ascending address.
    public List<Segment> segments() {
        return Collections.unmodifiableList(segments);
    }

    @Override
    public MemorySegment bytes() {
        return bytes;
    }

    @Override
    public long offset(long address, long size) {
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
        // Negative addresses, that is 2^63 and more, are below all pieces.
        if (high < 0 || size > ends[high] - address) {
            return ABSENT;
        }
        long place = places[high];
        if (place != ZEROS) {
            return place + (address - starts[high]);
        }
        return size <= CHUNK ? zeros + (address & (CHUNK - 1)) : ABSENT;
    }

    @Override
    public void close() {
        arena.close();
    }
}
