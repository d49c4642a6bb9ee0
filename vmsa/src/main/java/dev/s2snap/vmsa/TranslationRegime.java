package dev.s2snap.vmsa;

/// The translation regimes whose tables are read (D8.1).
public enum TranslationRegime {
    /// Non-secure EL1&0 stage 2: IPA to PA, root in VTTBR_EL2, controlled by VTCR_EL2.
    STAGE2("stage2", "stage 2"),
    /// EL2 stage 1 with HCR_EL2.E2H = 0: one range of addresses, root in TTBR0_EL2, one execute-never bit.
    EL2("el2", "EL2 stage 1"),
    /// EL2&0 stage 1, HCR_EL2.E2H = 1, lower range: root in TTBR0_EL2, separate UXN and PXN.
    EL2_0("el2&0", "EL2&0 stage 1, lower range");

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
}
