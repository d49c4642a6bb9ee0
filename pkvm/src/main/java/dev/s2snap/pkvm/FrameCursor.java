package dev.s2snap.pkvm;

import dev.s2snap.vmsa.PhysicalMemory;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.List;

/// Goes through the hyp_vmemmap in runs of entries that say the same, references only as far as there are any. Keeps
/// one run, whatever the size of the array.
final class FrameCursor {
    private static final ValueLayout.OfInt LE32 = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private final PageFrames frames;
    private final MemorySegment bytes;
    private final List<PageFrames.Span> spans;
    private final int shift;
    private int span = -1;
    private long index;

    // The run.
    private long start;
    private long end;
    private long entry;
    private boolean known;
    private boolean over;

    FrameCursor(PageFrames frames, PhysicalMemory memory) {
        this.frames = frames;
        this.bytes = memory.bytes();
        this.spans = frames.spans();
        this.shift = frames.frameShift();
        next();
    }

    /// Moves to the run that ends behind `address`, if there is one.
    void seek(long address) {
        while (!over && end <= address) {
            next();
        }
    }

    boolean over() {
        return over;
    }

    long start() {
        return start;
    }

    long end() {
        return end;
    }

    /// Whether the array's page is at hand.
    boolean known() {
        return known;
    }

    /// The first entry of the run.
    long entry() {
        return entry;
    }

    boolean referenced() {
        return (entry & 0xffff) != 0;
    }

    private void next() {
        if (span < 0 || index == spans.get(span).count()) {
            span++;
            index = 0;
        }
        if (span == spans.size()) {
            over = true;
            known = false;
            return;
        }
        PageFrames.Span current = spans.get(span);
        start = (current.first() + index) << shift;
        known = !current.absent();
        if (known) {
            entry = frames.entry(current, index);
            index = frames.layout().entrySize() == 8 ? wide(current, index) : narrow(current, index);
        } else {
            entry = 0;
            index = current.count();
        }
        end = (current.first() + index) << shift;
    }

    /// The first entry behind `from` that says something else. What most entries do is repeat the one before.
    private long wide(PageFrames.Span current, long from) {
        long same = entry;
        long at = from + 1;
        while (at < current.count()) {
            long next = bytes.get(PhysicalMemory.LE64, current.offset() + at * Long.BYTES);
            if (next != same) {
                if (key(next) != key(entry)) {
                    break;
                }
                same = next;
            }
            at++;
        }
        return at;
    }

    private long narrow(PageFrames.Span current, long from) {
        boolean referenced = referenced();
        long at = from + 1;
        while (at < current.count()
                && ((bytes.get(LE32, current.offset() + at * Integer.BYTES) & 0xffff) != 0) == referenced) {
            at++;
        }
        return at;
    }

    /// States and number of guests, and whether there are references; not how many, and not the order.
    private static long key(long entry) {
        return entry >>> 24 << 1 | ((entry & 0xffff) == 0 ? 0 : 1);
    }
}
