package dev.s2snap.inspect;

import dev.s2snap.pkvm.PageState;

/// Who has a page, and with whom it is shared, from one point of view.
///
/// @param owner `host`, `hyp`, `guest`, `VM` and a handle, [#SOME_VM], [#NOBODY] or [#CONTRADICTION]
/// @param sharedWith who else may use it, empty for nobody
/// @param guests with how many guests the host shares it
record DiffHolder(String owner, String sharedWith, long guests) {
    static final String HOST_NAME = "host";
    static final String HYP_NAME = "hyp";

    /// A guest that no annotation names, because the host may use the page.
    static final String SOME_VM = "VM";

    static final String NOBODY = "nobody";

    /// A guest lost the page by force, 7.0 and later.
    static final String POISONED = "poisoned";

    /// States that exclude each other.
    static final String CONTRADICTION = "contradiction";

    static final String OTHERS = "others";
    static final String GUESTS = "VMs";

    static final DiffHolder HOST = new DiffHolder(HOST_NAME, "", 0);

    /// The VM of a handle.
    static DiffHolder vm(int handle) {
        return new DiffHolder(SOME_VM + " 0x" + Integer.toHexString(handle), "", 0);
    }

    /// What the states of host and hypervisor together say.
    static DiffHolder of(StateRun state) {
        long guests = state.guestShares().orElse(0);
        PageState host = state.host();
        PageState hyp = state.hyp();
        if (hyp == PageState.NOPAGE && (host == PageState.OWNED || host == PageState.SHARED_OWNED)) {
            String shared = host == PageState.OWNED ? "" : guests > 0 ? GUESTS : OTHERS;
            return guests > 0 && host == PageState.OWNED
                    ? new DiffHolder(CONTRADICTION, "", guests)
                    : new DiffHolder(HOST_NAME, shared, guests);
        }
        if (guests > 0) {
            return new DiffHolder(CONTRADICTION, "", guests);
        }
        if (host == PageState.SHARED_OWNED && hyp == PageState.SHARED_BORROWED) {
            return new DiffHolder(HOST_NAME, HYP_NAME, 0);
        }
        if (host == PageState.SHARED_BORROWED && hyp == PageState.SHARED_OWNED) {
            return new DiffHolder(HYP_NAME, HOST_NAME, 0);
        }
        if (host == PageState.NOPAGE && hyp == PageState.OWNED) {
            return new DiffHolder(HYP_NAME, "", 0);
        }
        if (host == PageState.NOPAGE && hyp == PageState.NOPAGE) {
            return new DiffHolder(NOBODY, "", 0);
        }
        // From 7.0 on a protected guest shares its page with the host.
        return host == PageState.SHARED_BORROWED && hyp == PageState.NOPAGE
                ? new DiffHolder(SOME_VM, HOST_NAME, 0)
                : new DiffHolder(CONTRADICTION, "", 0);
    }

    /// What the state in a descriptor says of the table's own side.
    ///
    /// @param self whose table it is
    /// @param other with whom it shares
    static DiffHolder of(PageState state, String self, String other) {
        return switch (state) {
            case OWNED -> new DiffHolder(self, "", 0);
            case SHARED_OWNED -> new DiffHolder(self, other, 0);
            case SHARED_BORROWED -> new DiffHolder(other, self, 0);
            case RESERVED -> new DiffHolder(CONTRADICTION, "", 0);
            case NOPAGE -> new DiffHolder(NOBODY, "", 0);
        };
    }

    boolean vm() {
        return owner.startsWith(SOME_VM);
    }

    /// Whether both have the same owner, as far as they name it.
    boolean sameOwner(DiffHolder other) {
        return owner.equals(other.owner)
                || (vm() && other.vm() && (owner.equals(SOME_VM) || other.owner.equals(SOME_VM)));
    }
}
