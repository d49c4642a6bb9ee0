package dev.s2snap.vmsa;

/// The translation regimes whose tables are read (D8.1).
public enum TranslationRegime {
    /// Non-secure EL1&0 stage 2: IPA to PA, root in VTTBR_EL2, controlled by VTCR_EL2.
    STAGE2("stage2", "stage 2"),
    /// EL2 stage 1 with HCR_EL2.E2H = 0: one range of addresses, root in TTBR0_EL2, one execute-never bit.
    EL2("el2", "EL2 stage 1"),
    /// EL2&0 stage 1, HCR_EL2.E2H = 1, lower range: root in TTBR0_EL2, separate UXN and PXN.
    EL2_0("el2&0", "EL2&0 stage 1, lower range"),
    /// The upper range of EL2&0: root in TTBR1_EL2; its addresses begin with ones.
    EL2_0_UPPER("el2&0-upper", "EL2&0 stage 1, upper range"),
    /// EL1&0 stage 1, lower range: root in TTBR0_EL1. What it maps to is the input of a stage 2, if there is one.
    EL1_0("el1&0", "EL1&0 stage 1, lower range"),
    /// The upper range of EL1&0: root in TTBR1_EL1, where Linux has its kernel.
    EL1_0_UPPER("el1&0-upper", "EL1&0 stage 1, upper range");

    private final String id;
    private final String title;

    TranslationRegime(String id, String title) {
        this.id = id;
        this.title = title;
    }

    /// The name that programs see.
    public String id() {
        return id;
    }

    /// The name that people see.
    public String title() {
        return title;
    }

    public boolean stage2() {
        return this == STAGE2;
    }

    /// Whether its addresses are the upper range: the bits above the input address are ones (D8.2.3).
    public boolean upper() {
        return this == EL2_0_UPPER || this == EL1_0_UPPER;
    }

    /// Whether EL0 has permissions of its own in it.
    public boolean withEl0() {
        return this != STAGE2 && this != EL2;
    }
}
