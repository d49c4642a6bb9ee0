package dev.s2snap.pkvm;

import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/// The hyp_vmemmap of a machine at rest: an entry for each page frame, read as EL2 sees it.
///
/// EL2 maps only those pages of the array that have entries for memory, rounded out to pages. So there can be entries
/// for frames that are no memory, and until 6.13 some kernels have none for memory outside of the carve-out.
public final class PageFrames {

    /// Entries that follow each other in the machine's memory.
    ///
    /// @param first page frame number of the first entry
    /// @param count number of entries
    /// @param offset place of the first entry in the memory's segment, or [PhysicalMemory#ABSENT] if the page that
    /// holds
    ///     these entries is not in the memory
    public record Span(long first, long count, long offset) {
        public long end() {
            return first + count;
        }

        public boolean absent() {
            return offset == PhysicalMemory.ABSENT;
        }
    }

    private static final ValueLayout.OfInt LE32 = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private final PhysicalMemory memory;
    private final HypPageLayout layout;
    private final int frameShift;
    private final List<Span> spans = new ArrayList<>();
    private final List<MemoryRegion> pages = new ArrayList<>();

    /// @param hyp the hypervisor's stage 1
    /// @param runs its leaves
    public PageFrames(TranslationTable hyp, List<LeafRun> runs, HypVmemmap where, HypPageLayout layout) {
        if (where.entrySize() != layout.entrySize()) {
            throw new IllegalArgumentException("entries of " + where.entrySize() + " bytes do not have the layout of "
                    + layout.entrySize() + " bytes");
        }
        this.memory = hyp.memory();
        this.layout = layout;
        this.frameShift = hyp.geometry().granuleShift();
        long granule = hyp.geometry().granule();
        // The array is in the last half of its quarter of the address space (__hyp_vmemmap, all releases).
        long end = where.base() + (1L << (hyp.geometry().inputBits() - 3));
        for (LeafRun run : runs) {
            if (!run.mapped() || run.end() <= where.base() || run.start() >= end) {
                continue;
            }
            long from = Math.max(run.start(), where.base());
            long to = Math.min(run.end(), end);
            if (run.level() != TableGeometry.LAST_LEVEL) {
                // No kernel maps it with blocks, and these could claim more pages than there are.
                long entries = (to - from) / layout.entrySize();
                add((from - where.base()) / layout.entrySize(), entries, PhysicalMemory.ABSENT);
                continue;
            }
            for (long page = from; page < to; page += granule) {
                long first = (page - where.base()) / layout.entrySize();
                page(run.output() + (page - run.start()), granule);
                add(first, granule / layout.entrySize(), memory.offset(run.output() + (page - run.start()), granule));
            }
        }
    }

    private void page(long address, long size) {
        boolean goesOn = !pages.isEmpty() && pages.getLast().end() == address;
        long base = goesOn ? pages.removeLast().base() : address;
        pages.add(new MemoryRegion(base, address + size - base, 0));
    }

    private void add(long first, long count, long offset) {
        if (!spans.isEmpty()) {
            Span last = spans.getLast();
            boolean goesOn = last.end() == first
                    && (last.absent()
                            ? offset == PhysicalMemory.ABSENT
                            : offset == last.offset + last.count * layout.entrySize());
            if (goesOn) {
                spans.set(spans.size() - 1, new Span(last.first, last.count + count, last.offset));
                return;
            }
        }
        spans.add(new Span(first, count, offset));
    }

    /// The physical memory that the array itself lies in, in the order of its entries.
    public List<MemoryRegion> pages() {
        return List.copyOf(pages);
    }

    /// All entries that EL2 maps, by ascending page frame.
    public List<Span> spans() {
        return List.copyOf(spans);
    }

    /// The physical memory that EL2 has entries for but that cannot be read here, in bytes of that memory.
    public long unread() {
        long frames = 0;
        for (Span span : spans) {
            frames += span.absent() ? span.count : 0;
        }
        return frames << frameShift;
    }

    public HypPageLayout layout() {
        return layout;
    }

    /// log2 of the size of a page frame.
    public int frameShift() {
        return frameShift;
    }

    /// The entry at `index` of `span`, which is not absent. Its bytes are the low ones.
    public long entry(Span span, long index) {
        long place = span.offset + index * layout.entrySize();
        return layout.entrySize() == 8
                ? memory.bytes().get(PhysicalMemory.LE64, place)
                : Integer.toUnsignedLong(memory.bytes().get(LE32, place));
    }

    /// The span that has the entry of `frame`, if there is one.
    public Optional<Span> span(long frame) {
        int low = 0;
        int high = spans.size() - 1;
        while (low <= high) {
            int middle = (low + high) >>> 1;
            Span span = spans.get(middle);
            if (frame < span.first) {
                high = middle - 1;
            } else if (frame >= span.end()) {
                low = middle + 1;
            } else {
                return Optional.of(span);
            }
        }
        return Optional.empty();
    }
}
