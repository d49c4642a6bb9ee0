package dev.s2snap.pkvm;

import dev.s2snap.pkvm.Encodings.StateLocation;
import dev.s2snap.pkvm.HypSpace.Kind;
import dev.s2snap.pkvm.HypSpace.Mapping;
import dev.s2snap.pkvm.MachineView.GuestTable;
import dev.s2snap.pkvm.MachineView.Table;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.TableGeometry;
import java.util.List;
import java.util.Optional;

/// What the rules about pages ask of a stretch of physical memory: whether it is memory, and in which state it is.
///
/// @param names what lies where
/// @param hypPrivateKnown whether all of EL2's private range could be read
/// @param guestsComplete whether the tables of all guests could be read
record PageView(
        MachineView machine,
        PageNames names,
        Table host,
        Table hyp,
        HypSpace space,
        Era era,
        boolean hypPrivateKnown,
        boolean guestsComplete) {

    /// Whether something is memory.
    enum Memory {
        YES,
        NO,
        UNKNOWN
    }

    TableGeometry geometry() {
        return host.table().geometry();
    }

    Optional<PageFrames> frames() {
        return machine.frames().optional();
    }

    List<GuestTable> guests() {
        return machine.guests();
    }

    /// The memory map; empty if it is not known.
    List<MemoryRegion> regions() {
        return machine.regions().optional().orElse(List.of());
    }

    boolean hostInFrames() {
        return era.encodings().hostStates() == StateLocation.VMEMMAP;
    }

    boolean hypInFrames() {
        return era.encodings().hypStates() == StateLocation.VMEMMAP;
    }

    /// Whether it is memory.
    Memory memory(Stretch stretch) {
        if (machine.regions().optional().isPresent()) {
            return stretch.memory == null ? Memory.NO : stretch.memory.partly() ? Memory.UNKNOWN : Memory.YES;
        }
        for (Mapping mapping : stretch.mappings) {
            if (!mapping.device()) {
                return Memory.YES;
            }
        }
        if (hostInFrames() && frames().isPresent()) {
            // The array may have entries for what is no memory, where a page of it goes on behind a region.
            return stretch.inFrames ? stretch.frame != 0 ? Memory.YES : Memory.UNKNOWN : Memory.NO;
        }
        return Memory.UNKNOWN;
    }

    /// What the host's entries mean, if they are neither valid nor empty.
    Optional<Annotation> annotation(Stretch stretch) {
        LeafRun run = stretch.host;
        return run == null || run.mapped()
                ? Optional.empty()
                : Optional.of(era.encodings().annotations().decode(run.bits()));
    }

    /// The mapping of EL2 that counts: that of the linear map, if there is one.
    static Optional<Mapping> primary(Stretch stretch) {
        Mapping first = null;
        for (Mapping mapping : stretch.mappings) {
            if (first == null || (mapping.kind() == Kind.LINEAR && first.kind() != Kind.LINEAR)) {
                first = mapping;
            }
        }
        return Optional.ofNullable(first);
    }

    /// The host's state; empty if it is not known, or if this is no memory.
    Optional<PageState> hostState(Stretch stretch, Memory memory) {
        if (memory == Memory.NO) {
            return Optional.empty();
        }
        if (hostInFrames()) {
            return stretch.frameKnown
                    ? Optional.of(frames().orElseThrow().layout().hostState(stretch.frame))
                    : Optional.empty();
        }
        LeafRun run = stretch.host;
        if (stretch.hostUnknown) {
            return Optional.empty();
        }
        return Optional.of(
                run == null ? PageState.OWNED : run.mapped() ? PageState.ofSoftwareBits(run.bits()) : PageState.NOPAGE);
    }

    /// The hypervisor's state; empty if it is not known, or if this is no memory.
    Optional<PageState> hypState(Stretch stretch, Memory memory) {
        if (memory == Memory.NO) {
            return Optional.empty();
        }
        if (hypInFrames()) {
            return stretch.frameKnown
                    ? Optional.of(frames().orElseThrow().layout().hypState(stretch.frame))
                    : Optional.empty();
        }
        Optional<Mapping> mapping = primary(stretch);
        if (mapping.isPresent()) {
            return mapping.get().device()
                    ? Optional.empty()
                    : Optional.of(mapping.get().state());
        }
        return stretch.hypUnknown || !hypPrivateKnown ? Optional.empty() : Optional.of(PageState.NOPAGE);
    }

    /// With how many guests the host shares it, as far as that is known.
    long shares(Stretch stretch) {
        return stretch.frameKnown ? frames().orElseThrow().layout().guestShares(stretch.frame) : 0;
    }
}
