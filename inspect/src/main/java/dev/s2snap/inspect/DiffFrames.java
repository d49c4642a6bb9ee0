package dev.s2snap.inspect;

import dev.s2snap.pkvm.PageFrames;
import dev.s2snap.vmsa.AddressRanges;
import java.lang.foreign.MemorySegment;

/// Finds the memory whose page states differ, at the speed of memory where they are equal.
final class DiffFrames {
    private DiffFrames() {}

    /// Memory whose entries in two hyp_vmemmaps of one layout differ in more than reference count and order, or that
    /// has an entry in one of them only. Entries that are not at hand in either say nothing.
    ///
    /// @param firstBytes of the machine that has the first
    static AddressRanges of(PageFrames first, MemorySegment firstBytes, PageFrames second, MemorySegment secondBytes) {
        AddressRanges differing = new AddressRanges();
        int shift = first.frameShift();
        new DiffLists<>(PageFrames.Span::first, PageFrames.Span::end)
                .sideBySide(first.spans(), second.spans(), (start, end, a, b) -> {
                    if (a != null && b != null && !a.absent() && !b.absent()) {
                        new Stretch(first, a, firstBytes, second, b, secondBytes).compare(start, end, differing);
                    } else {
                        differing.add(start << shift, end << shift);
                    }
                });
        return differing;
    }

    /// Entries that both have at hand.
    private record Stretch(
            PageFrames first,
            PageFrames.Span a,
            MemorySegment firstBytes,
            PageFrames second,
            PageFrames.Span b,
            MemorySegment secondBytes) {

        void compare(long from, long to, AddressRanges differing) {
            int size = first.layout().entrySize();
            int shift = first.frameShift();
            long frame = from;
            while (frame < to) {
                long left = (to - frame) * size;
                long firstPlace = a.offset() + (frame - a.first()) * size;
                long secondPlace = b.offset() + (frame - b.first()) * size;
                long at = MemorySegment.mismatch(
                        firstBytes, firstPlace, firstPlace + left, secondBytes, secondPlace, secondPlace + left);
                if (at < 0) {
                    return;
                }
                frame += at / size;
                while (frame < to) {
                    long entry = first.entry(a, frame - a.first());
                    long other = second.entry(b, frame - b.first());
                    if (entry == other) {
                        break;
                    }
                    // All but the reference count and the order.
                    if (entry >>> 24 != other >>> 24) {
                        differing.add(frame << shift, (frame + 1) << shift);
                    }
                    frame++;
                }
            }
        }
    }
}
