package dev.s2snap.pkvm;

import dev.s2snap.pkvm.HypSpace.Mapping;
import dev.s2snap.pkvm.MachineView.Table;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.Finding.Step;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.util.List;
import java.util.Optional;

/// Says what the tables say of an address, with the descriptors that lead there.
final class Witness {
    private final MachineView view;
    private final Optional<HypSpace> space;

    Witness(MachineView view, Optional<HypSpace> space) {
        this.view = view;
        this.space = space;
    }

    /// The descriptors that a walk for `address` looks at.
    static List<Step> path(TranslationTable table, long address) {
        return switch (table.translate(address)) {
            case Translation.Mapped(List<Step> path, int _, long _, long _) -> path;
            case Translation.Fault(List<Step> path, int _, long _) -> path;
            case Translation.Unreadable(List<Step> path, int _, long _) -> path;
            case Translation.OutOfRange _ -> List.of();
        };
    }

    /// What the host's table says of physical addresses.
    Evidence host(Table host, long start, long end) {
        List<Step> path = path(host.table(), start);
        return new Evidence(host.label(), start, end, path, entry(host.table().geometry(), path, true));
    }

    /// What a mapping of EL2 says.
    Evidence hyp(Table hyp, Mapping mapping, long start, long end) {
        long virtual = mapping.virtual(start);
        String state = hypStatesInDescriptors() ? ", " + mapping.state().words() : "";
        String what = mapping.stack() ? "a stack: " : mapping.kind() == HypSpace.Kind.IDENTITY ? "identity map: " : "";
        return new Evidence(
                hyp.label(),
                virtual,
                virtual + (end - start),
                path(hyp.table(), virtual),
                what + permissions(mapping) + " " + kind(mapping.run()) + state);
    }

    /// That EL2 does not map physical addresses where its linear map has them.
    Evidence notMapped(Table hyp, long start, long end) {
        long virtual = space.orElseThrow().linear(start);
        return new Evidence(
                hyp.label(), virtual, virtual + (end - start), path(hyp.table(), virtual), "not mapped by EL2");
    }

    /// What a guest's table says of the page that it has at `input`.
    Evidence guest(Table guest, long input, long size) {
        List<Step> path = path(guest.table(), input);
        return new Evidence(
                guest.label(), input, input + size, path, entry(guest.table().geometry(), path, guestStates()));
    }

    /// What the hyp_vmemmap says of physical addresses.
    Evidence frame(PageFrames frames, long entry, long start, long end) {
        HypPageLayout layout = frames.layout();
        StringBuilder says = new StringBuilder();
        if (layout != HypPageLayout.COUNTS) {
            says.append("host ").append(layout.hostState(entry).words()).append(", ");
        }
        if (layout == HypPageLayout.BOTH_STATES) {
            says.append("hyp ").append(layout.hypState(entry).words()).append(", ");
        }
        if (layout.guestShares(entry) != 0) {
            says.append("shared with ").append(layout.guestShares(entry)).append(" guests, ");
        }
        says.append(layout.refcount(entry)).append(" references");
        return new Evidence("hyp_vmemmap", start, end, List.of(), says.toString());
    }

    private boolean hypStatesInDescriptors() {
        return view.releases()
                .optional()
                .map(era -> era.encodings().hypStates() == Encodings.StateLocation.DESCRIPTOR)
                .orElse(false);
    }

    private boolean guestStates() {
        return view.releases().optional().map(era -> era != Era.V6_1).orElse(false);
    }

    private static String kind(LeafRun run) {
        return run.kind().id() + " at level " + run.level();
    }

    private static String permissions(Mapping mapping) {
        return "r" + (mapping.writable() ? "w" : "-") + (mapping.executable() ? "x" : "-");
    }

    /// S2AP in bits 7:6; XN in 54, and with FEAT_XNX in 54:53: 00 and 11 let EL1 execute (D8.4.2).
    static String stage2Permissions(long descriptor) {
        boolean execute = (descriptor >>> 54 & 1) == (descriptor >>> 53 & 1);
        return ((descriptor >>> 6 & 1) != 0 ? "r" : "-")
                + ((descriptor >>> 7 & 1) != 0 ? "w" : "-")
                + (execute ? "x" : "-");
    }

    /// The entry of a stage 2 at the end of a path.
    private String entry(TableGeometry geometry, List<Step> path, boolean states) {
        if (path.isEmpty()) {
            return "beyond its input addresses";
        }
        Step last = path.getLast();
        String level = " at level " + last.level();
        long descriptor = last.descriptor();
        if (descriptor == 0) {
            return "empty entry" + level;
        }
        if (Descriptor.table(descriptor, last.level())) {
            return "table" + level + " that cannot be read";
        }
        if (Descriptor.leaf(descriptor, last.level(), geometry)) {
            PageState state = PageState.ofSoftwareBits(descriptor);
            return stage2Permissions(descriptor)
                    + (last.level() == TableGeometry.LAST_LEVEL ? " page" : " block")
                    + level
                    + (states && state != PageState.OWNED ? ", " + state.words() : "");
        }
        if (Descriptor.valid(descriptor)) {
            return "reserved encoding" + level;
        }
        return "annotated" + level + ": "
                + view.releases()
                        .optional()
                        .map(era -> words(era.encodings().annotations().decode(descriptor)))
                        .orElse("not known what it means");
    }

    static String words(Annotation annotation) {
        return switch (annotation) {
            case Annotation.OwnedBy(Owner owner) ->
                switch (owner) {
                    case Owner.Host _ -> "the host's";
                    case Owner.Hyp _ -> "the hypervisor's";
                    case Owner.Guest(int handle, long frame) ->
                        "of the guest with handle 0x" + Integer.toHexString(handle) + " at frame 0x"
                                + Long.toHexString(frame);
                };
            case Annotation.Locked _ -> "locked";
            case Annotation.Poisoned _ -> "poisoned";
            case Annotation.Unknown(long value) -> "0x" + Long.toHexString(value) + ", which no kernel writes";
        };
    }
}
