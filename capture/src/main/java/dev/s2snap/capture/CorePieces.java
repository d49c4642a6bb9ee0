package dev.s2snap.capture;

import dev.s2snap.capture.ElfHeaders.Load;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/// Which byte of a core's file is which byte of memory, once it is settled where PT_LOADs overlap.
///
/// They do in real cores: the kernel's image is in its own PT_LOAD and in that of the memory around it. Bytes that the
/// file holds win over zeros that it leaves out (p_memsz beyond p_filesz); bytes that it holds twice must be equal.
final class CorePieces {

    /// The offset of memory that the file does not hold: zeros.
    static final long ZEROS = -1;

    /// `start` to `end` in memory lies at `offset` in the file, or is [#ZEROS].
    ///
    /// @param header index of the program header that says so
    record Piece(long start, long end, long offset, long header) {
        boolean continues(Piece before) {
            if (start != before.end) {
                return false;
            }
            return offset == ZEROS
                    ? before.offset == ZEROS
                    : before.offset != ZEROS && offset == before.offset + (start - before.start);
        }
    }

    private final String name;
    private final MemorySegment file;

    /// Held bytes, ascending, without overlap.
    private final List<Piece> held = new ArrayList<>();

    /// What comparing may still cost, in bytes. A file in which no byte is used more than twice is never refused.
    private long budget;

    /// The price of comparing nothing, so that a million overlaps of one byte are not free.
    private static final long COMPARISON = 256;

    private CorePieces(String name, MemorySegment file) {
        this.name = name;
        this.file = file;
        this.budget = 2 * file.byteSize() + (1 << 20);
    }

    /// The memory of `loads`, which ascend: pieces that ascend and do not overlap, as few as possible.
    ///
    /// @throws CaptureException if two PT_LOADs contradict each other
    static List<Piece> of(String name, MemorySegment file, List<Load> loads) {
        CorePieces pieces = new CorePieces(name, file);
        for (Load load : loads) {
            if (load.fileSize() > 0) {
                pieces.hold(new Piece(load.address(), load.dataEnd(), load.offset(), load.header()));
            }
        }
        return pieces.filled(zeros(loads));
    }

    /// Adds what `piece` holds beyond the others, none of which begins behind it: what they hold from its start on is
    /// therefore without a gap.
    private void hold(Piece piece) {
        for (int index = firstEndingBehind(piece.start); index < held.size(); index++) {
            compare(held.get(index), piece);
        }
        long from = held.isEmpty() ? piece.start : Math.max(piece.start, held.getLast().end);
        if (from < piece.end) {
            held.add(new Piece(from, piece.end, piece.offset + (from - piece.start), piece.header));
        }
    }

    private int firstEndingBehind(long address) {
        int low = 0;
        int high = held.size();
        while (low < high) {
            int middle = (low + high) >>> 1;
            if (held.get(middle).end > address) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        return low;
    }

    private void compare(Piece one, Piece other) {
        long from = Math.max(one.start, other.start);
        long to = Math.min(one.end, other.end);
        if (from >= to) {
            return;
        }
        long oneOffset = one.offset + (from - one.start);
        long otherOffset = other.offset + (from - other.start);
        boolean same = oneOffset == otherOffset;
        budget -= COMPARISON + (same ? 0 : to - from);
        if (budget < 0) {
            throw new CaptureException(name + ": its PT_LOADs overlap in more bytes than it has, at physical address "
                    + hex(from) + " those of program headers " + one.header + " and " + other.header
                    + "; it is damaged, save the machine's memory again");
        }
        long differing = same
                ? -1
                : MemorySegment.mismatch(
                        file, oneOffset, oneOffset + (to - from), file, otherOffset, otherOffset + (to - from));
        if (differing >= 0) {
            throw new CaptureException(name + ": program headers " + Math.min(one.header, other.header) + " and "
                    + Math.max(one.header, other.header) + " hold different bytes for physical address "
                    + hex(from + differing)
                    + "; a core of a process has no physical addresses, save a core of the machine");
        }
    }

    /// The memory that the file leaves out, whether or not another header holds it: ascending, without overlap.
    private static List<Piece> zeros(List<Load> loads) {
        List<Piece> zeros = new ArrayList<>();
        loads.stream()
                .filter(load -> load.fileSize() < load.size())
                .map(load -> new Piece(load.dataEnd(), load.end(), ZEROS, load.header()))
                .sorted(Comparator.comparingLong(Piece::start))
                .forEach(piece -> {
                    Piece last = zeros.isEmpty() ? piece : zeros.getLast();
                    if (piece.start > last.end || zeros.isEmpty()) {
                        zeros.add(piece);
                    } else if (piece.end > last.end) {
                        zeros.set(zeros.size() - 1, new Piece(last.start, piece.end, ZEROS, last.header));
                    }
                });
        return zeros;
    }

    /// What is held, and zeros where nothing is.
    private List<Piece> filled(List<Piece> zeros) {
        List<Piece> filled = new ArrayList<>();
        int next = 0;
        long end = 0;
        for (Piece zero : zeros) {
            long from = Math.max(zero.start, end);
            while (next < held.size() && held.get(next).start < zero.end) {
                Piece piece = held.get(next);
                if (from < piece.start) {
                    add(filled, new Piece(from, piece.start, ZEROS, zero.header));
                }
                add(filled, piece);
                end = piece.end;
                from = Math.max(from, end);
                next++;
            }
            if (from < zero.end) {
                add(filled, new Piece(from, zero.end, ZEROS, zero.header));
            }
        }
        held.subList(next, held.size()).forEach(piece -> add(filled, piece));
        return filled;
    }

    /// Adds a piece behind the others, as one with the last if it continues it.
    private static void add(List<Piece> pieces, Piece piece) {
        if (!pieces.isEmpty() && piece.continues(pieces.getLast())) {
            Piece last = pieces.removeLast();
            pieces.add(new Piece(last.start, piece.end, last.offset, last.header));
        } else {
            pieces.add(piece);
        }
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }
}
