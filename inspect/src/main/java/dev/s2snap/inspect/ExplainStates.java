package dev.s2snap.inspect;

import dev.s2snap.inspect.ExplainPage.Memory;
import dev.s2snap.inspect.ExplainedWalk.Outcome;
import dev.s2snap.inspect.Explanation.State;
import dev.s2snap.pkvm.Encodings.StateLocation;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.HypPageLayout;
import dev.s2snap.pkvm.HypPlaces;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.PageFrames;
import dev.s2snap.pkvm.PageState;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.Translation;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/// What a page is to host, hypervisor and guests, from wherever the kernel keeps it: where a call would look, and so
/// known of this page even if tables are damaged elsewhere.
final class ExplainStates {
    private static final String UNKNOWN = "not known";

    private final Reading reading;
    private final Optional<ExplainTable> host;
    private final Optional<ExplainTable> hyp;
    private final Optional<HypPlaces> places;
    private final long page;
    private final long granule;
    private final List<LeafRun> hypMappings;
    private final OptionalLong frame;
    private final Memory memory;
    private final boolean nomap;

    ExplainStates(
            Reading reading,
            Optional<ExplainTable> host,
            List<ExplainTable> others,
            Optional<HypPlaces> places,
            long page,
            long granule) {
        this.reading = reading;
        this.host = host;
        this.hyp = others.stream()
                .filter(table -> table.selector().kind() == TableSelector.Kind.HYP)
                .findFirst();
        this.places = places;
        this.page = page;
        this.granule = granule;
        this.hypMappings = hyp.map(table -> table.mapping(page)).orElse(List.of());
        this.frame = frame();
        Optional<MemoryRegion> region = reading.machine()
                .regions()
                .optional()
                .flatMap(regions -> regions.stream()
                        .filter(candidate -> candidate.contains(page))
                        .findFirst());
        this.nomap = region.map(MemoryRegion::nomap).orElse(false);
        this.memory = reading.machine().regions().optional().isPresent()
                ? region.isPresent() ? Memory.YES : Memory.NO
                : guessed();
    }

    /// The entry of the hyp_vmemmap, if it is at hand.
    private OptionalLong frame() {
        if (!(reading.frames() instanceof Fact.Known<PageFrames>(PageFrames frames, String _))) {
            return OptionalLong.empty();
        }
        long number = page >>> frames.frameShift();
        return frames.span(number)
                .filter(span -> !span.absent())
                .map(span -> OptionalLong.of(frames.entry(span, number - span.first())))
                .orElse(OptionalLong.empty());
    }

    /// Without a memory map: the kernel annotates memory alone, and maps it to the host with execute permission or as
    /// the hypervisor's text (PKVM_HOST_MEM_PROT and PKVM_HOST_MMIO_PROT, all releases).
    private Memory guessed() {
        boolean mappedAsMemory = hypMappings.stream()
                .anyMatch(run -> !hyp.orElseThrow().attributes().device(run.bits()));
        if (mappedAsMemory) {
            return Memory.YES;
        }
        if (host.isEmpty()) {
            return Memory.UNKNOWN;
        }
        Translation translation = host.get().table().translate(page);
        if (translation instanceof Translation.Mapped mapped) {
            String permissions = host.get().attributes().permissions(mapped.descriptor());
            return permissions.indexOf('x') >= 0
                    ? Memory.YES
                    : permissions.indexOf('?') >= 0 ? Memory.UNKNOWN : Memory.NO;
        }
        if (translation instanceof Translation.Fault(var _, int _, long descriptor)
                && Descriptor.annotated(descriptor)) {
            return Memory.YES;
        }
        return Memory.UNKNOWN;
    }

    String memoryWords() {
        return nomap ? "NOMAP memory" : memory.words();
    }

    private Optional<StateLocation> hostPlace() {
        return reading.hostStates().optional();
    }

    private Optional<StateLocation> hypPlace() {
        return reading.hypStates().optional();
    }

    private HypPageLayout layout() {
        return reading.frames().optional().orElseThrow().layout();
    }

    /// The host's state, as calls see it.
    private Optional<PageState> hostState(Optional<ExplainedWalk> entry) {
        if (hostPlace().isEmpty()) {
            return Optional.empty();
        }
        if (hostPlace().get() == StateLocation.VMEMMAP) {
            return frame.isPresent() ? Optional.of(layout().hostState(frame.getAsLong())) : Optional.empty();
        }
        if (entry.isEmpty()) {
            return Optional.empty();
        }
        return switch (entry.get().outcome()) {
            case MAPPED ->
                Optional.of(
                        PageState.ofSoftwareBits(entry.get().steps().getLast().descriptor()));
            case EMPTY -> Optional.of(PageState.OWNED);
            case INVALID -> Optional.of(PageState.NOPAGE);
            case RESERVED, ADDRESS_SIZE, BEYOND, UNREADABLE -> Optional.empty();
        };
    }

    /// The hypervisor's state, as calls see it: until 6.16 what its linear map says, whatever else it maps.
    private Optional<PageState> hypState() {
        if (hypPlace().isEmpty()) {
            return Optional.empty();
        }
        if (hypPlace().get() == StateLocation.VMEMMAP) {
            return frame.isPresent() ? Optional.of(layout().hypState(frame.getAsLong())) : Optional.empty();
        }
        if (hyp.isEmpty() || places.isEmpty()) {
            return Optional.empty();
        }
        return switch (hyp.get().table().translate(places.get().linearAddress(page))) {
            case Translation.Mapped mapped -> Optional.of(PageState.ofSoftwareBits(mapped.descriptor()));
            case Translation.Fault _ -> Optional.of(PageState.NOPAGE);
            case Translation.Unreadable _, Translation.OutOfRange _ -> Optional.empty();
        };
    }

    /// What the checks of the hypervisor look at.
    ExplainPage page(ExplainedWalk entry) {
        Optional<ExplainedWalk> walk = Optional.of(entry);
        OptionalLong references =
                frame.isPresent() ? OptionalLong.of(layout().refcount(frame.getAsLong())) : OptionalLong.empty();
        OptionalLong shares =
                frame.isPresent() ? OptionalLong.of(layout().guestShares(frame.getAsLong())) : OptionalLong.empty();
        return new ExplainPage(
                page,
                granule,
                reading.era(),
                walk,
                memory,
                nomap,
                reading.machine().regions(),
                hostState(walk),
                hypState(),
                references,
                shares);
    }

    // In words.

    /// @param entry the host's way to the page
    /// @param guests the places where guests map it
    List<State> all(Optional<ExplainedWalk> entry, List<ExplainedWalk> guests) {
        List<State> states = new ArrayList<>();
        states.add(state("host", toldOfHost(entry), hostWhere(entry)));
        states.add(state("hyp", hypState(), hypWhere()));
        for (LeafRun run : hypMappings) {
            boolean beside = hypPlace().equals(Optional.of(StateLocation.DESCRIPTOR))
                    && places.flatMap(known -> known.linear(page))
                            .filter(run::equals)
                            .isEmpty();
            if (beside) {
                long input = run.start() + (page - run.output());
                states.add(state(
                        "hyp",
                        Optional.of(PageState.ofSoftwareBits(run.bits())),
                        "bits 56:55 of its entry at " + hex(input)));
            }
        }
        boolean guestStates = hostPlace().equals(Optional.of(StateLocation.VMEMMAP));
        for (ExplainedWalk guest : guests) {
            if (guestStates) {
                states.add(state(
                        guest.table(),
                        Optional.of(
                                PageState.ofSoftwareBits(guest.steps().getLast().descriptor())),
                        "bits 56:55 of its entry at " + hex(guest.input())));
            }
        }
        if (frame.isPresent()) {
            String place = "hyp_vmemmap, entry " + hex(frame.getAsLong());
            int references = layout().refcount(frame.getAsLong());
            states.add(new State(
                    "references", Optional.of(Integer.toString(references)), Integer.toString(references), place));
            if (layout() != HypPageLayout.COUNTS) {
                String shares = Long.toString(layout().guestShares(frame.getAsLong()));
                states.add(new State("guest shares", Optional.of(shares), shares, place));
            }
        }
        return states;
    }

    /// What is no memory has no state.
    private Optional<PageState> toldOfHost(Optional<ExplainedWalk> entry) {
        boolean open = hostPlace().equals(Optional.of(StateLocation.DESCRIPTOR))
                && entry.map(walk -> walk.outcome() == Outcome.EMPTY).orElse(false)
                && memory == Memory.UNKNOWN;
        boolean refused = hostPlace().equals(Optional.of(StateLocation.DESCRIPTOR)) && (memory == Memory.NO || nomap);
        return open ? Optional.empty() : refused ? Optional.of(PageState.NOPAGE) : hostState(entry);
    }

    private String hostWhere(Optional<ExplainedWalk> entry) {
        if (hostPlace().isEmpty()) {
            return Reading.because(reading.hostStates());
        }
        if (hostPlace().get() == StateLocation.VMEMMAP) {
            return frameWords();
        }
        if (entry.isEmpty()) {
            return "there is no host table";
        }
        if (nomap || memory == Memory.NO) {
            return nomap ? "it is NOMAP memory" : "it is no memory";
        }
        return switch (entry.get().outcome()) {
            case MAPPED -> "bits 56:55 of its entry";
            case EMPTY ->
                memory == Memory.YES
                        ? "its entry is empty: owned, and mapped when it is touched"
                        : "its entry is empty: owned if it is memory, and the memory map is not known";
            case INVALID -> "its entry is annotated";
            case RESERVED, ADDRESS_SIZE, BEYOND, UNREADABLE ->
                "its walk " + entry.get().says();
        };
    }

    private String hypWhere() {
        if (hypPlace().isEmpty()) {
            return Reading.because(reading.hypStates());
        }
        if (hypPlace().get() == StateLocation.VMEMMAP) {
            return frameWords();
        }
        if (places.isEmpty()) {
            return "there is no EL2 table";
        }
        String linear = hex(places.get().linearAddress(page));
        return hypState()
                .map(state -> state == PageState.NOPAGE
                        ? "the linear map does not have it, at " + linear
                        : "bits 56:55 of its entry in the linear map, at " + linear)
                .orElse("its entry in the linear map, at " + linear + ", cannot be read");
    }

    private String frameWords() {
        return frame.isPresent()
                ? "hyp_vmemmap, entry " + hex(frame.getAsLong())
                : reading.frames().optional().isPresent()
                        ? "the hyp_vmemmap has no entry for it at hand"
                        : Reading.because(reading.frames());
    }

    private static State state(String who, Optional<PageState> state, String place) {
        return new State(
                who, state.map(PageState::name), state.map(PageState::words).orElse(UNKNOWN), place);
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }
}
