package dev.s2snap.inspect;

import dev.s2snap.pkvm.Encodings.StateLocation;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.HypPageLayout;
import dev.s2snap.pkvm.HypVmemmap;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.PageFrames;
import dev.s2snap.pkvm.PageState;
import dev.s2snap.vmsa.AddressRanges;
import dev.s2snap.vmsa.LeafAttributes;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.TreeSet;

/// Who owns what, by physical address.
///
/// **States in descriptors** (6.1 to 6.13). A valid entry of the host's table has the host's state in bits 56:55. An
/// invalid, non-zero one is NOPAGE. A zero one means owned and not mapped yet, if it is memory; where the memory map is
/// not known, only such pages are listed that EL2 maps, and they are taken for memory unless EL2 maps them as a device.
/// The table is an identity map, so its input addresses are taken for physical ones, as the kernel does.
///
/// The hypervisor's state is in the valid entries of its table (until 6.16). A page that EL2 does not map is NOPAGE.
/// One
/// that it maps several times, with different states, has the state of the linear map, or else of the lowest virtual
/// address; the linear map is the distance of virtual to physical address under which EL2 maps most.
///
/// **States in the hyp_vmemmap** (the host's from 6.14 on, both from 6.17). Every page frame of memory has an entry.
/// What has none is no memory, and is what the tables say of it; memory whose entry cannot be read is left out, with a
/// remark.
final class OwnershipRuns {

    /// @param remarks what was assumed, one sentence each
    record Result(List<StateRun> runs, List<String> remarks) {}

    /// What EL2 maps.
    record Mapped(long start, long end, PageState state, boolean device) {}

    private final List<String> remarks = new ArrayList<>();
    private final List<StateRun> runs = new ArrayList<>();

    /// What the hyp_vmemmap says, if this kernel keeps states there.
    private final List<FrameRun> frameRuns = new ArrayList<>();

    /// Whether this kernel keeps states in the hyp_vmemmap.
    private final boolean inFrames;

    private OwnershipRuns(boolean inFrames) {
        this.inFrames = inFrames;
    }

    /// Memory whose entries in the hyp_vmemmap say the same.
    ///
    /// @param known false if the page of the array is not in this memory
    /// @param hyp empty if the hypervisor's state is in its descriptors
    private record FrameRun(
            long start, long end, boolean known, PageState host, Optional<PageState> hyp, long shares) {}

    private void frames(PageFrames frames, AddressRanges windows) {
        int shift = frames.frameShift();
        int window = 0;
        for (PageFrames.Span span : frames.spans()) {
            while (window < windows.count() && windows.end(window) >>> shift <= span.first()) {
                window++;
            }
            // The last window may reach into the next span.
            for (int i = window; i < windows.count() && windows.start(i) >>> shift < span.end(); i++) {
                long from = Math.max(windows.start(i) >>> shift, span.first());
                long to = Math.min(windows.end(i) >>> shift, span.end());
                if (span.absent()) {
                    frameRuns.add(
                            new FrameRun(from << shift, to << shift, false, PageState.RESERVED, Optional.empty(), 0));
                } else {
                    frames(frames, span, from - span.first(), to - span.first());
                }
            }
        }
        if (frames.unread() > 0) {
            remarks.add("the pages of the hyp_vmemmap for " + ByteText.size(frames.unread())
                    + " of memory are not in this memory: who owns that is not known");
        }
    }

    /// The entries of a span from `from` to `to`.
    private void frames(PageFrames frames, PageFrames.Span span, long from, long to) {
        HypPageLayout layout = frames.layout();
        boolean both = layout == HypPageLayout.BOTH_STATES;
        long first = from;
        // All but the reference count and the order.
        long current = frames.entry(span, from) >>> 24;
        for (long index = from + 1; index <= to; index++) {
            long next = index < to ? frames.entry(span, index) >>> 24 : ~current;
            if (next != current) {
                long entry = current << 24;
                frameRuns.add(new FrameRun(
                        (span.first() + first) << frames.frameShift(),
                        (span.first() + index) << frames.frameShift(),
                        true,
                        layout.hostState(entry),
                        both ? Optional.of(layout.hypState(entry)) : Optional.empty(),
                        layout.guestShares(entry)));
                first = index;
                current = next;
            }
        }
    }

    /// All of it, or why not.
    static Fact<Result> of(Reading reading) {
        return of(reading, false);
    }

    /// As far as the tables can be read. What depends on the rest is left out, with a remark.
    static Fact<Result> readable(Reading reading) {
        return of(reading, true);
    }

    private static Fact<Result> of(Reading reading, boolean partly) {
        if (!(reading.hostStates() instanceof Fact.Known<StateLocation>)
                || !(reading.machine().host() instanceof Fact.Known<TranslationTable>(TranslationTable host, String _))
                || !(reading.machine().hyp() instanceof Fact.Known<TranslationTable>(TranslationTable hyp, String _))) {
            return made(reading, List.of(), new AddressRanges()).map(OwnershipRuns::result);
        }
        LeafRuns.Result hostWalk = reading.walk(host);
        LeafRuns.Result hypWalk = reading.walk(hyp);
        boolean complete = hostWalk.complete() && hypWalk.complete();
        if (!complete && !partly) {
            return Fact.unknown(
                    "the " + (hostWalk.complete() ? "hypervisor" : "host") + "'s table is partly unreadable");
        }
        Fact<OwnershipRuns> made = made(reading, hostWalk.runs(), new AddressRanges(0, Long.MAX_VALUE));
        if (!complete) {
            made.optional().ifPresent(ownership -> {
                ownership.leaveOut(hostWalk.unread(), "the host's table could not be read at ");
                ownership.leaveOut(
                        ownership.dependent(reading, hyp.geometry(), hypWalk),
                        "EL2's table could not be read where it tells of ");
            });
        }
        return made.map(OwnershipRuns::result);
    }

    /// Of some of the memory. Outside of the windows the answer means nothing, and nor do the remarks.
    ///
    /// @param hostRuns what the host's table has there
    static Fact<Result> within(Reading reading, List<LeafRun> hostRuns, AddressRanges windows) {
        Fact<OwnershipRuns> made = made(reading, hostRuns, windows);
        return made instanceof Fact.Known<OwnershipRuns>
                        && reading.machine().hyp()
                                instanceof Fact.Known<TranslationTable>(TranslationTable hyp, String _)
                        && !reading.walk(hyp).complete()
                ? Fact.unknown("the hypervisor's table is partly unreadable")
                : made.map(OwnershipRuns::result);
    }

    private Result result() {
        return new Result(List.copyOf(runs), List.copyOf(remarks));
    }

    private static Fact<OwnershipRuns> made(Reading reading, List<LeafRun> hostRuns, AddressRanges windows) {
        if (!(reading.hostStates() instanceof Fact.Known<StateLocation>(StateLocation hostStates, String source))) {
            return Fact.unknown("the era of this kernel is not known: " + Reading.because(reading.hostStates())
                    + "; say it with --era");
        }
        Machine machine = reading.machine();
        if (machine.host() instanceof Fact.Unknown<TranslationTable>) {
            return Fact.unknown("the host's table is not known: " + Reading.because(machine.host()));
        }
        if (!(machine.hyp() instanceof Fact.Known<TranslationTable>(TranslationTable hyp, String _))) {
            return Fact.unknown("the hypervisor's table is not known: " + Reading.because(machine.hyp()));
        }
        OwnershipRuns ownership = new OwnershipRuns(hostStates == StateLocation.VMEMMAP);
        if (hostStates == StateLocation.VMEMMAP) {
            if (!(reading.frames() instanceof Fact.Known<PageFrames>(PageFrames frames, String _))) {
                return Fact.unknown(
                        "this kernel keeps page states in its hyp_vmemmap: " + Reading.because(reading.frames()));
            }
            ownership.frames(frames, windows);
            if (frames.spans().stream().allMatch(PageFrames.Span::absent)) {
                return Fact.unknown(
                        "this kernel keeps page states in its hyp_vmemmap, no page of which is in this memory");
            }
        }
        List<Mapped> mapped = ownership.mapped(reading.walk(hyp).runs(), Attributes.stage1(machine, hyp));
        ownership.sweep(hostRuns, mapped, machine.regions().optional());
        return Fact.known(ownership, source);
    }

    /// Physical memory whose state depends on what could not be read of EL2's table: by its linear map if states are in
    /// descriptors, by its hyp_vmemmap if they are there.
    private List<LeafRuns.Unread> dependent(Reading reading, TableGeometry geometry, LeafRuns.Result hyp) {
        List<LeafRuns.Unread> ranges = new ArrayList<>();
        boolean inDescriptors =
                reading.hypStates().optional().orElse(StateLocation.DESCRIPTOR) == StateLocation.DESCRIPTOR;
        long linear = linearDistance(hyp.runs());
        for (LeafRuns.Unread range : hyp.unread()) {
            if (inDescriptors) {
                long start = Math.max(0, range.start() - linear);
                long end = range.end() - linear;
                if (start < end) {
                    ranges.add(new LeafRuns.Unread(start, end));
                }
            }
            if (!frameRuns.isEmpty()
                    && reading.vmemmap() instanceof Fact.Known<HypVmemmap>(HypVmemmap where, String _)) {
                long start = Math.max(range.start(), where.base());
                long end = Math.min(range.end(), where.base() + (1L << (geometry.inputBits() - 3)));
                if (start < end) {
                    ranges.add(new LeafRuns.Unread(
                            ((start - where.base()) / where.entrySize()) << geometry.granuleShift(),
                            ((end - where.base()) / where.entrySize()) << geometry.granuleShift()));
                }
            }
        }
        if (inDescriptors && !hyp.unread().isEmpty()) {
            remarks.add("some of EL2's table could not be read: memory that only this part maps counts as not mapped"
                    + " at EL2");
        }
        ranges.sort(Comparator.comparingLong(LeafRuns.Unread::start));
        return ranges;
    }

    /// Ranges that a remark names one by one.
    private static final int NAMED = 4;

    /// Takes back what was said of ranges.
    ///
    /// @param ranges of physical memory, by ascending start
    /// @param why the beginning of a sentence
    private void leaveOut(List<LeafRuns.Unread> ranges, String why) {
        List<StateRun> before = List.copyOf(runs);
        runs.clear();
        int next = 0;
        for (StateRun run : before) {
            while (next < ranges.size() && ranges.get(next).end() <= run.start()) {
                next++;
            }
            long at = run.start();
            for (int i = next; i < ranges.size() && ranges.get(i).start() < run.end(); i++) {
                if (at < ranges.get(i).start()) {
                    add(at, ranges.get(i).start(), run.host(), run.hyp(), run.guestShares());
                }
                at = Math.max(at, ranges.get(i).end());
            }
            if (at < run.end()) {
                add(at, run.end(), run.host(), run.hyp(), run.guestShares());
            }
        }
        if (!ranges.isEmpty()) {
            List<String> named = ranges.stream()
                    .limit(NAMED)
                    .map(range -> "0x" + Long.toHexString(range.start()) + "-0x" + Long.toHexString(range.end()))
                    .toList();
            remarks.add(why + String.join(", ", named)
                    + (ranges.size() > NAMED ? " and " + (ranges.size() - NAMED) + " more" : "")
                    + ": who owns that is not known");
        }
    }

    /// What EL2 maps, by ascending physical address and without overlap.
    static List<Mapped> mapped(Reading reading, TranslationTable hyp) {
        return new OwnershipRuns(false).mapped(reading.walk(hyp).runs(), Attributes.stage1(reading.machine(), hyp));
    }

    /// The virtual-to-physical distance under which most is mapped.
    static long linearDistance(List<LeafRun> runs) {
        Map<Long, Long> sizes = new HashMap<>();
        for (LeafRun run : runs) {
            if (run.mapped()) {
                sizes.merge(run.start() - run.output(), run.size(), Long::sum);
            }
        }
        return sizes.entrySet().stream()
                .max(Map.Entry.<Long, Long>comparingByValue().thenComparing(Map.Entry.comparingByKey()))
                .map(Map.Entry::getKey)
                .orElse(0L);
    }

    private record Edge(long address, boolean begins, LeafRun run) {}

    /// What EL2 maps, by ascending physical address and without overlap.
    private List<Mapped> mapped(List<LeafRun> runs, LeafAttributes attributes) {
        long linear = linearDistance(runs);
        List<Edge> edges = new ArrayList<>();
        for (LeafRun run : runs) {
            if (run.mapped()) {
                edges.add(new Edge(run.output(), true, run));
                edges.add(new Edge(run.output() + run.size(), false, run));
            }
        }
        edges.sort(Comparator.comparingLong(Edge::address));
        // The runs that map the address of the sweep; the first one decides.
        TreeSet<LeafRun> active =
                new TreeSet<>(Comparator.<LeafRun, Boolean>comparing(run -> run.start() - run.output() != linear)
                        .thenComparingLong(LeafRun::start));
        int[] activeByState = new int[PageState.values().length];
        List<Mapped> mapped = new ArrayList<>();
        long contradicted = 0;
        long from = 0;
        for (Edge edge : edges) {
            if (!active.isEmpty() && from < edge.address) {
                LeafRun first = active.first();
                PageState state = PageState.ofSoftwareBits(first.bits());
                if (activeByState[state.ordinal()] < active.size()) {
                    contradicted += edge.address - from;
                }
                mapped.add(new Mapped(from, edge.address, state, attributes.device(first.bits())));
            }
            from = edge.address;
            PageState state = PageState.ofSoftwareBits(edge.run.bits());
            if (edge.begins) {
                active.add(edge.run);
                activeByState[state.ordinal()]++;
            } else {
                active.remove(edge.run);
                activeByState[state.ordinal()]--;
            }
        }
        if (contradicted > 0) {
            remarks.add(ByteText.size(contradicted)
                    + " is mapped at EL2 more than once, with different states; that of the linear map counts");
        }
        return mapped;
    }

    /// Goes through host entries, EL2 mappings and memory regions side by side, from edge to edge.
    private void sweep(List<LeafRun> hostRuns, List<Mapped> mapped, Optional<List<MemoryRegion>> memoryMap) {
        List<MemoryRegion> regions = memoryMap.orElse(List.of());
        int hostIndex = 0;
        int mappedIndex = 0;
        int regionIndex = 0;
        int frameIndex = 0;
        long assumed = 0;
        long withoutEntry = 0;
        long at = 0;
        while (true) {
            while (hostIndex < hostRuns.size() && hostRuns.get(hostIndex).end() <= at) {
                hostIndex++;
            }
            while (mappedIndex < mapped.size() && mapped.get(mappedIndex).end <= at) {
                mappedIndex++;
            }
            while (regionIndex < regions.size() && regions.get(regionIndex).end() <= at) {
                regionIndex++;
            }
            while (frameIndex < frameRuns.size() && frameRuns.get(frameIndex).end <= at) {
                frameIndex++;
            }
            long next = Long.MAX_VALUE;
            FrameRun frame = null;
            if (frameIndex < frameRuns.size()) {
                FrameRun run = frameRuns.get(frameIndex);
                frame = run.start <= at ? run : null;
                next = run.start <= at ? run.end : run.start;
            }
            LeafRun host = null;
            if (hostIndex < hostRuns.size()) {
                LeafRun run = hostRuns.get(hostIndex);
                host = run.start() <= at ? run : null;
                next = Math.min(next, run.start() <= at ? run.end() : run.start());
            }
            Mapped hyp = null;
            if (mappedIndex < mapped.size()) {
                Mapped run = mapped.get(mappedIndex);
                hyp = run.start <= at ? run : null;
                next = Math.min(next, run.start <= at ? run.end : run.start);
            }
            MemoryRegion region = null;
            if (regionIndex < regions.size()) {
                MemoryRegion run = regions.get(regionIndex);
                region = run.base() <= at ? run : null;
                next = Math.min(next, run.base() <= at ? run.end() : run.base());
            }
            if (next == Long.MAX_VALUE) {
                break;
            }
            PageState hypState = hyp == null ? PageState.NOPAGE : hyp.state;
            if (frame != null) {
                // There are entries for what is no memory too, where a page of the array goes on behind a region.
                boolean memory = memoryMap.isEmpty() || region != null || host != null || hyp != null;
                if (memory && frame.known) {
                    PageState state = region != null && region.nomap() ? PageState.NOPAGE : frame.host;
                    add(at, next, state, frame.hyp.orElse(hypState), OptionalLong.of(frame.shares));
                }
            } else if (host != null) {
                PageState state = host.mapped() ? PageState.ofSoftwareBits(host.bits()) : PageState.NOPAGE;
                add(at, next, state, hypState, OptionalLong.empty());
            } else if (region != null && !inFrames) {
                add(at, next, region.nomap() ? PageState.NOPAGE : PageState.OWNED, hypState, OptionalLong.empty());
            } else if (region != null) {
                withoutEntry += next - at;
            } else if (hyp != null) {
                boolean memory = memoryMap.isEmpty() && !hyp.device && !inFrames;
                assumed += memory ? next - at : 0;
                add(at, next, memory ? PageState.OWNED : PageState.NOPAGE, hypState, OptionalLong.empty());
            }
            at = next;
        }
        if (assumed > 0) {
            remarks.add(ByteText.size(assumed)
                    + " that EL2 maps and whose host entry is empty is taken for memory: the memory map is not known");
        }
        if (withoutEntry > 0) {
            remarks.add(ByteText.size(withoutEntry)
                    + " of memory has no entry in the hyp_vmemmap: who owns that is not known");
        }
    }

    private void add(long start, long end, PageState host, PageState hyp, OptionalLong shares) {
        long from = start;
        if (!runs.isEmpty()) {
            StateRun last = runs.getLast();
            if (last.end() == start
                    && last.host() == host
                    && last.hyp() == hyp
                    && last.guestShares().equals(shares)) {
                from = last.start();
                runs.removeLast();
            }
        }
        runs.add(new StateRun(from, end, host, hyp, shares));
    }
}
