package dev.s2snap.pkvm;

import dev.s2snap.pkvm.HypSpace.Kind;
import dev.s2snap.pkvm.HypSpace.Mapping;
import dev.s2snap.pkvm.HypSpace.Range;
import dev.s2snap.pkvm.MachineView.GuestTable;
import dev.s2snap.vmsa.LeafRun;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.function.Consumer;

/// Goes through all that is said of physical memory, from edge to edge: between two edges nothing changes. What is kept
/// is what lies at the place of the sweep.
final class Sweep {
    private final PageView view;
    private final List<MemoryPages> memory;

    /// Sorted and without overlap.
    private final List<Range> hostUnknown;

    private final List<Range> hypUnknown;
    private final List<GuestLeaf> guestLeaves = new ArrayList<>();

    /// @param hostUnknown input addresses of the host's table that cannot be judged
    /// @param hypUnknown physical addresses of which EL2's linear map cannot be judged
    Sweep(PageView view, List<Range> hostUnknown, List<Range> hypUnknown) {
        this.view = view;
        this.memory = MemoryPages.of(view.regions(), view.geometry().granule());
        this.hostUnknown = merged(hostUnknown);
        this.hypUnknown = merged(hypUnknown);
        for (GuestTable guest : view.guests()) {
            for (LeafRun run : guest.table().audit().runs()) {
                if (run.mapped()) {
                    guestLeaves.add(new GuestLeaf(run.output(), run.output() + run.size(), run, guest));
                }
            }
        }
        guestLeaves.sort(Comparator.comparingLong(GuestLeaf::start));
    }

    private static List<Range> merged(List<Range> ranges) {
        List<Range> sorted = new ArrayList<>(ranges);
        sorted.sort(Comparator.comparingLong(Range::start));
        List<Range> merged = new ArrayList<>();
        for (Range range : sorted) {
            if (!merged.isEmpty() && range.start() <= merged.getLast().end()) {
                Range last = merged.removeLast();
                merged.add(new Range(last.start(), Math.max(last.end(), range.end())));
            } else {
                merged.add(range);
            }
        }
        return merged;
    }

    /// Passes on each stretch of which anything is said, ascending. Its lists change behind the call.
    void forEach(Consumer<Stretch> each) {
        List<LeafRun> runs = view.host().audit().runs();
        List<Mapping> mappings = view.space().mappings();
        FrameCursor cursor = view.frames()
                .map(known -> new FrameCursor(known, view.host().table().memory()))
                .orElse(null);
        List<Mapping> mapped = new ArrayList<>();
        List<GuestLeaf> guests = new ArrayList<>();
        int run = 0;
        int mapping = 0;
        int guest = 0;
        int region = 0;
        int unknownHost = 0;
        int unknownHyp = 0;
        long at = 0;
        while (true) {
            while (run < runs.size() && runs.get(run).end() <= at) {
                run++;
            }
            while (region < memory.size() && memory.get(region).end() <= at) {
                region++;
            }
            while (unknownHost < hostUnknown.size()
                    && hostUnknown.get(unknownHost).end() <= at) {
                unknownHost++;
            }
            while (unknownHyp < hypUnknown.size() && hypUnknown.get(unknownHyp).end() <= at) {
                unknownHyp++;
            }
            long now = at;
            mapped.removeIf(old -> old.end() <= now);
            while (mapping < mappings.size() && mappings.get(mapping).start() <= at) {
                Mapping next = mappings.get(mapping++);
                // One at a wrong address was judged as such.
                if (next.end() > at && next.kind() != Kind.STRAY) {
                    mapped.add(next);
                }
            }
            guests.removeIf(old -> old.end() <= now);
            while (guest < guestLeaves.size() && guestLeaves.get(guest).start() <= at) {
                GuestLeaf next = guestLeaves.get(guest++);
                if (next.end() > at) {
                    guests.add(next);
                }
            }
            Stretch stretch = new Stretch();
            stretch.start = at;
            long next = Long.MAX_VALUE;
            if (run < runs.size()) {
                LeafRun found = runs.get(run);
                stretch.host = found.start() <= at ? found : null;
                next = found.start() <= at ? found.end() : found.start();
            }
            if (region < memory.size()) {
                MemoryPages found = memory.get(region);
                stretch.memory = found.start() <= at ? found : null;
                next = Math.min(next, found.start() <= at ? found.end() : found.start());
            }
            if (unknownHost < hostUnknown.size()) {
                Range found = hostUnknown.get(unknownHost);
                stretch.hostUnknown = found.start() <= at;
                next = Math.min(next, found.start() <= at ? found.end() : found.start());
            }
            if (unknownHyp < hypUnknown.size()) {
                Range found = hypUnknown.get(unknownHyp);
                stretch.hypUnknown = found.start() <= at;
                next = Math.min(next, found.start() <= at ? found.end() : Math.max(found.start(), at));
            }
            for (Mapping active : mapped) {
                next = Math.min(next, active.end());
            }
            if (mapping < mappings.size()) {
                next = Math.min(next, mappings.get(mapping).start());
            }
            for (GuestLeaf active : guests) {
                next = Math.min(next, active.end());
            }
            if (guest < guestLeaves.size()) {
                next = Math.min(next, guestLeaves.get(guest).start());
            }
            if (cursor != null) {
                cursor.seek(at);
                if (!cursor.over()) {
                    stretch.inFrames = cursor.start() <= at;
                    stretch.frameKnown = stretch.inFrames && cursor.known();
                    stretch.frame = stretch.frameKnown ? cursor.entry() : 0;
                    next = Math.min(next, stretch.inFrames ? cursor.end() : cursor.start());
                }
            }
            if (next == Long.MAX_VALUE) {
                break;
            }
            stretch.end = next;
            stretch.mappings = mapped;
            stretch.guests = guests;
            if (stretch.host != null || !mapped.isEmpty() || !guests.isEmpty() || stretch.frameKnown) {
                each.accept(stretch);
            }
            at = next;
        }
    }
}
