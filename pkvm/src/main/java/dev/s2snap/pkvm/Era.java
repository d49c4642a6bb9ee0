package dev.s2snap.pkvm;

import dev.s2snap.pkvm.Encodings.StateLocation;

/// Releases that encode ownership the same way. A name for people; decoders look at the [Encodings].
public enum Era {
    /// Host and hypervisor states in descriptors.
    V6_1(
            "6.1",
            "6.1 to 6.13",
            new Encodings(
                    Annotation.Format.OWNER_ID,
                    StateLocation.DESCRIPTOR,
                    StateLocation.DESCRIPTOR,
                    HypPageLayout.COUNTS)),
    /// The host's states moved to the vmemmap (e94a7dea2972, 6.14).
    V6_14(
            "6.14",
            "6.14 to 6.16",
            new Encodings(
                    Annotation.Format.OWNER_ID,
                    StateLocation.VMEMMAP,
                    StateLocation.DESCRIPTOR,
                    HypPageLayout.HOST_STATE)),
    /// The hypervisor's states followed (6.17).
    V6_17(
            "6.17",
            "6.17 to 6.19",
            new Encodings(
                    Annotation.Format.OWNER_ID,
                    StateLocation.VMEMMAP,
                    StateLocation.VMEMMAP,
                    HypPageLayout.BOTH_STATES)),
    /// Typed annotations that name guests (7.0).
    V7_0(
            "7.0",
            "7.0 and later",
            new Encodings(
                    Annotation.Format.TYPED, StateLocation.VMEMMAP, StateLocation.VMEMMAP, HypPageLayout.BOTH_STATES));

    private final String id;
    private final String releases;
    private final Encodings encodings;

    Era(String id, String releases, Encodings encodings) {
        this.id = id;
        this.releases = releases;
        this.encodings = encodings;
    }

    /// The first release, which is also the era's name on the command line.
    public String id() {
        return id;
    }

    public String releases() {
        return releases;
    }

    public Encodings encodings() {
        return encodings;
    }
}
