package dev.s2snap.pkvm;

import dev.s2snap.vmsa.LeafRun;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// The host against the hypervisor and the hyp_vmemmap (I-14, I-15, I-20 to I-23, I-25, I-27).
final class OwnershipRules {
    private final PageView view;

    // What was not judged, for the list of what is not checked.
    private long sharedWithUnknown;
    private long sharedWithSecureWorld;

    OwnershipRules(PageView view) {
        this.view = view;
    }

    void check(Stretch stretch, Optional<PageState> hostState, Optional<PageState> hypState) {
        pair(stretch, hostState, hypState, !stretch.hostUnknown);
        counts(stretch, hostState, hypState);
    }

    /// Bytes that the host borrows, perhaps from guests of which not all are known.
    long sharedWithUnknown() {
        return sharedWithUnknown;
    }

    /// Bytes that may be shared with the secure world.
    long sharedWithSecureWorld() {
        return sharedWithSecureWorld;
    }

    /// Host against hypervisor (I-14, I-15, I-20 to I-23, I-27).
    private void pair(
            Stretch stretch, Optional<PageState> hostState, Optional<PageState> hypState, boolean hostSpeaks) {
        LeafRun run = stretch.host;
        boolean leaf = hostSpeaks && run != null && run.mapped();
        boolean empty = hostSpeaks && run == null;
        boolean ofHyp = hostSpeaks
                && view.annotation(stretch)
                        .map(said -> said instanceof Annotation.OwnedBy(Owner owner) && owner instanceof Owner.Hyp)
                        .orElse(false);
        PageState hyp = hypState.orElse(null);
        PageState host = hostState.orElse(null);
        boolean hypOwns = hyp == PageState.OWNED || hyp == PageState.SHARED_OWNED;
        boolean hostOwns = host == PageState.OWNED || host == PageState.SHARED_OWNED;
        boolean text = view.space().inText(stretch.start, stretch.end);
        boolean readableText = false;
        if (leaf && run != null && text) {
            String permissions = Witness.stage2Permissions(run.bits());
            if (permissions.charAt(1) == 'w') {
                stretch.breaks(Rule.I_15);
            } else if (view.era() == Era.V7_0 && permissions.equals("r--")) {
                readableText = true;
            } else {
                stretch.breaks(Rule.I_14);
            }
        }
        if (hyp == PageState.OWNED) {
            if (leaf && !readableText) {
                stretch.breaks(Rule.I_21);
                if (host != PageState.SHARED_BORROWED) {
                    stretch.breaks(host == PageState.SHARED_OWNED ? Rule.I_20 : Rule.I_14);
                }
            }
            if (empty) {
                stretch.breaks(Rule.I_21);
            }
            if (hostOwns) {
                stretch.breaks(Rule.I_20);
                stretch.breaks(Rule.I_21);
            } else if (host != null && host != PageState.NOPAGE) {
                stretch.breaks(Rule.I_21);
            }
            if (view.hypInFrames() && stretch.mappings.isEmpty() && !stretch.hypUnknown && view.hypPrivateKnown()) {
                stretch.breaks(Rule.I_23);
            }
        } else if (hyp == PageState.SHARED_OWNED && host != null && host != PageState.SHARED_BORROWED) {
            stretch.breaks(Rule.I_21);
            if (hostOwns && !empty) {
                stretch.breaks(Rule.I_20);
            }
        } else if (hyp == PageState.SHARED_BORROWED && host != null && host != PageState.SHARED_OWNED) {
            stretch.breaks(Rule.I_21);
        } else if (hyp == PageState.RESERVED && view.hypInFrames()) {
            // In a descriptor it was said with the table.
            stretch.breaks(Rule.I_5);
        }
        if (ofHyp && hyp != null && hyp != PageState.OWNED) {
            stretch.breaks(Rule.I_23);
        }
        if (hyp == PageState.NOPAGE) {
            boolean mapped = view.hypInFrames() && !stretch.mappings.isEmpty();
            if (mapped) {
                stretch.breaks(Rule.I_21);
            }
            shared(stretch, host, mapped);
        }
        if (host == PageState.RESERVED) {
            stretch.breaks(Rule.I_5);
        }
        if (view.hostInFrames() && hostSpeaks && host != null) {
            boolean agrees = switch (host) {
                // Sharing writes the array only: the host's table follows when the host touches the page.
                case OWNED, SHARED_OWNED, SHARED_BORROWED -> leaf || empty;
                case NOPAGE -> readableText || (!leaf && !empty);
                case RESERVED -> true;
            };
            if (!agrees) {
                stretch.breaks(Rule.I_27);
            }
        }
        if (!stretch.sound() && stretch.saysNothing()) {
            stretch.say(contradiction(stretch, host, hyp, hypOwns));
        }
    }

    /// A page that the host shares or borrows, and not with the hypervisor (I-20, I-22).
    private void shared(Stretch stretch, @Nullable PageState host, boolean mapped) {
        long size = stretch.end - stretch.start;
        boolean guest = !stretch.guests.isEmpty();
        if (host == PageState.SHARED_OWNED && !mapped && !guest && view.shares(stretch) == 0) {
            if (view.machine().ffa()) {
                sharedWithSecureWorld += size;
            } else {
                stretch.breaks(Rule.I_22);
            }
        }
        if (host == PageState.SHARED_BORROWED && !guest) {
            if (view.era() == Era.V7_0 && (view.guests().isEmpty() || !view.guestsComplete())) {
                sharedWithUnknown += size;
            } else {
                stretch.breaks(Rule.I_20);
            }
        }
    }

    private String contradiction(Stretch stretch, @Nullable PageState host, @Nullable PageState hyp, boolean hypOwns) {
        String name = view.names().of(stretch.start, stretch.end);
        LeafRun run = stretch.host;
        if (stretch.broke(Rule.I_15, Rule.I_14)) {
            return "the host can " + verbs(run == null ? 0 : run.bits()) + " " + name;
        }
        if (stretch.broke(Rule.I_21) && hypOwns && host == PageState.OWNED && run == null) {
            return name + " is the host's too, which maps it at its first access";
        }
        if (stretch.broke(Rule.I_20) && hypOwns) {
            return "the host and the hypervisor own " + name;
        }
        if (stretch.broke(Rule.I_20)) {
            return "nobody owns memory that the host borrows";
        }
        if (stretch.broke(Rule.I_21) && hypOwns && run == null) {
            return "the host table does not annotate " + name;
        }
        if (stretch.broke(Rule.I_21) && hyp != null) {
            return "memory is " + hyp.words() + " to the hypervisor and "
                    + (host == null ? "not known" : host.words()) + " to the host"
                    + (hyp == PageState.NOPAGE ? ", and EL2 maps it" : "");
        }
        if (stretch.broke(Rule.I_23)) {
            return "memory that the host table annotates as the hypervisor's is "
                    + (hyp == PageState.OWNED ? "not mapped at EL2" : "not the hypervisor's");
        }
        if (stretch.broke(Rule.I_22)) {
            return "the host shares memory with nobody, unless the secure world has it (FF-A)";
        }
        if (stretch.broke(Rule.I_27) && host != null) {
            return "memory is " + host.words() + " to the host by the hyp_vmemmap, and "
                    + (run == null ? "empty" : run.mapped() ? "mapped" : "annotated") + " in its table";
        }
        return "memory is in a state that does not exist";
    }

    private static String verbs(long descriptor) {
        String permissions = Witness.stage2Permissions(descriptor);
        List<String> verbs = new ArrayList<>();
        if (permissions.charAt(0) == 'r') {
            verbs.add("read");
        }
        if (permissions.charAt(1) == 'w') {
            verbs.add("write");
        }
        if (permissions.charAt(2) == 'x') {
            verbs.add("execute");
        }
        return verbs.isEmpty()
                ? "keep mapped"
                : verbs.size() == 1
                        ? verbs.getFirst()
                        : String.join(", ", verbs.subList(0, verbs.size() - 1)) + " and " + verbs.getLast();
    }

    /// Counts of the hyp_vmemmap (I-24, I-25).
    private void counts(Stretch stretch, Optional<PageState> hostState, Optional<PageState> hypState) {
        if (!stretch.frameKnown || hostState.isEmpty() || hypState.isEmpty()) {
            return;
        }
        PageState host = hostState.get();
        PageState hyp = hypState.get();
        boolean shared = host == PageState.SHARED_OWNED && hyp == PageState.SHARED_BORROWED;
        boolean referenced = view.frames().orElseThrow().layout().refcount(stretch.frame) != 0;
        if (referenced && !shared && hyp != PageState.OWNED && hyp != PageState.SHARED_OWNED && stretch.sound()) {
            stretch.breaks(Rule.I_25);
            stretch.say("the hypervisor holds references to memory that it neither owns nor shares");
        }
        if (view.shares(stretch) != 0 && host != PageState.SHARED_OWNED) {
            stretch.breaks(Rule.I_24);
            stretch.say(
                    "memory counts as shared with " + view.shares(stretch) + " guests, and the host does not share it");
        }
    }
}
