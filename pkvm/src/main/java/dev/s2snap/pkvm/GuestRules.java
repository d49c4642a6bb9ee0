package dev.s2snap.pkvm;

import dev.s2snap.pkvm.MachineView.GuestTable;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.LeafRun;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// Guests against everybody (I-20, I-24).
final class GuestRules {
    private final PageView view;

    // What was not judged, for the list of what is not checked.
    private long sharedWithUnknown;
    private long ofUnknownGuests;

    GuestRules(PageView view) {
        this.view = view;
    }

    /// Bytes that the host shares with guests of which not all are known.
    long sharedWithUnknown() {
        return sharedWithUnknown;
    }

    /// Bytes annotated as those of guests whose table is not known.
    long ofUnknownGuests() {
        return ofUnknownGuests;
    }

    /// Guests against everybody (I-20, I-24).
    void check(Stretch stretch, Optional<PageState> hostState, Optional<PageState> hypState) {
        boolean hostSpeaks = !stretch.hostUnknown;
        long size = stretch.end - stretch.start;
        PageState hyp = hypState.orElse(null);
        boolean ofHyp = hyp == PageState.OWNED || hyp == PageState.SHARED_OWNED;
        Optional<Annotation> annotation = hostSpeaks ? view.annotation(stretch) : Optional.empty();
        Owner annotated = annotation.orElse(null) instanceof Annotation.OwnedBy(Owner owner) ? owner : null;
        if (!stretch.guests.isEmpty() && (ofHyp || annotated instanceof Owner.Hyp)) {
            stretch.breaks(Rule.I_20);
            stretch.say(stretch.guests.getFirst().guest().table().label() + " maps "
                    + view.names().of(stretch.start, stretch.end));
            return;
        }
        if (view.era() == Era.V6_1) {
            // The host makes the tables of guests, and nobody counts.
            return;
        }
        int owners = 0;
        int borrowers = 0;
        boolean reserved = false;
        for (GuestLeaf leaf : stretch.guests) {
            owners += leaf.state() == PageState.OWNED || leaf.state() == PageState.SHARED_OWNED ? 1 : 0;
            borrowers += leaf.state() == PageState.SHARED_BORROWED ? 1 : 0;
            reserved |= leaf.state() == PageState.RESERVED;
        }
        if (owners > 1) {
            stretch.breaks(Rule.I_20);
            stretch.say("two guest pages are the same memory, and each is the guest's own");
            return;
        }
        for (GuestLeaf leaf : stretch.guests) {
            guest(stretch, leaf, hostState, annotated, hostSpeaks);
        }
        long shares = view.shares(stretch);
        boolean counted = stretch.frameKnown && hostState.orElse(null) == PageState.SHARED_OWNED;
        // What the reserved state stands for is not known; that it is there was said with the table.
        if (counted && shares != borrowers && !reserved) {
            if (shares > borrowers && (view.guests().isEmpty() || !view.guestsComplete())) {
                sharedWithUnknown += size;
            } else if (!stretch.broke(Rule.I_21) || borrowers > 0) {
                stretch.breaks(Rule.I_24);
                stretch.say("memory counts as shared with " + shares + " guests, and guests map it " + borrowers
                        + " times");
            }
        }
        if (annotated instanceof Owner.Guest(int handle, long frame) && owners == 0) {
            GuestTable known = null;
            for (GuestTable guest : view.guests()) {
                known = guest.handle() == handle ? guest : known;
            }
            if (known == null || !view.guestsComplete()) {
                ofUnknownGuests += size;
            } else {
                stretch.breaks(Rule.I_24);
                stretch.say("memory is donated to " + known.table().label() + " at frame 0x" + Long.toHexString(frame)
                        + ", where the guest does not map it");
            }
        }
    }

    /// A page of one guest (I-24).
    private void guest(
            Stretch stretch,
            GuestLeaf leaf,
            Optional<PageState> hostState,
            @Nullable Owner annotated,
            boolean hostSpeaks) {
        long frame = leaf.input(stretch.start) >>> view.geometry().granuleShift();
        PageState host = hostState.orElse(null);
        String label = leaf.guest().table().label();
        switch (leaf.state()) {
            case OWNED -> {
                if (view.era() != Era.V7_0 || !hostSpeaks) {
                    return;
                }
                boolean one = stretch.end - stretch.start <= view.geometry().granule();
                boolean named = annotated instanceof Owner.Guest(int handle, long said)
                        && handle == leaf.guest().handle()
                        && said == frame
                        && one;
                if (!named || (host != null && host != PageState.NOPAGE)) {
                    stretch.breaks(Rule.I_24);
                    stretch.say(label + " owns memory at frame 0x" + Long.toHexString(frame) + " that the host table "
                            + (annotated instanceof Owner.Guest(int handle, long said)
                                    ? "gives to handle 0x" + Integer.toHexString(handle) + " at frame 0x"
                                            + Long.toHexString(said)
                                    : "does not give to it"));
                }
            }
            case SHARED_OWNED -> {
                if (host != null && host != PageState.SHARED_BORROWED) {
                    stretch.breaks(Rule.I_24);
                    stretch.say(label + " shares memory that is " + host.words() + " to the host");
                }
            }
            case SHARED_BORROWED -> {
                if (host != null && host != PageState.SHARED_OWNED) {
                    stretch.breaks(Rule.I_24);
                    stretch.say(label + " borrows memory that is " + host.words() + " to the host");
                }
            }
            case RESERVED, NOPAGE -> {
                // I-5, said with the table.
            }
        }
    }

    /// Entries of guests that are neither valid nor zero (I-6).
    void entries(Witness witness, List<Violation> violations) {
        for (GuestTable guest : view.guests()) {
            for (LeafRun run : guest.table().audit().runs()) {
                if (!run.mapped()
                        && Descriptor.annotated(run.bits())
                        && view.era().encodings().annotations().decode(run.bits()) instanceof Annotation.Locked) {
                    violations.add(new Violation(
                            Rule.I_6,
                            run.start(),
                            run.end(),
                            "an entry of the " + guest.table().label()
                                    + " table is locked; the addresses are the guest's",
                            List.of(),
                            List.of(witness.guest(guest.table(), run.start(), run.size()))));
                }
            }
        }
    }
}
