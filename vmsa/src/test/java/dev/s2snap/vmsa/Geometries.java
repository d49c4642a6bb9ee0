package dev.s2snap.vmsa;

/// Table shapes that tests share, each with something of its own.
final class Geometries {
    /// Four concatenated pages at level 2.
    static final TableGeometry S2_4K_32 = new TableGeometry(TranslationRegime.STAGE2, 12, 32, 2, false);

    /// An eighth of a page at level 1.
    static final TableGeometry S2_4K_36 = new TableGeometry(TranslationRegime.STAGE2, 12, 36, 1, false);

    /// Two concatenated pages at level 1: the small machine's host.
    static final TableGeometry S2_4K_40 = new TableGeometry(TranslationRegime.STAGE2, 12, 40, 1, false);

    static final TableGeometry S2_4K_48 = new TableGeometry(TranslationRegime.STAGE2, 12, 48, 0, false);

    /// Sixteen concatenated pages at level 0, blocks at level 0.
    static final TableGeometry S2_4K_52 = new TableGeometry(TranslationRegime.STAGE2, 12, 52, 0, true);

    /// Sixteen concatenated pages at level 2.
    static final TableGeometry S2_16K_40 = new TableGeometry(TranslationRegime.STAGE2, 14, 40, 2, false);

    static final TableGeometry S2_16K_52 = new TableGeometry(TranslationRegime.STAGE2, 14, 52, 0, true);

    static final TableGeometry S2_64K_36 = new TableGeometry(TranslationRegime.STAGE2, 16, 36, 2, false);

    static final TableGeometry S2_64K_44 = new TableGeometry(TranslationRegime.STAGE2, 16, 44, 2, false);

    static final TableGeometry S2_64K_52 = new TableGeometry(TranslationRegime.STAGE2, 16, 52, 1, false);

    static final TableGeometry EL2_4K_48 = new TableGeometry(TranslationRegime.EL2, 12, 48, 0, false);

    /// All five levels.
    static final TableGeometry EL2_4K_52 = new TableGeometry(TranslationRegime.EL2, 12, 52, -1, true);

    /// Two entries at level 0.
    static final TableGeometry EL20_16K_48 = new TableGeometry(TranslationRegime.EL2_0, 14, 48, 0, false);

    /// Nothing but level 3, 16 entries.
    static final TableGeometry EL2_4K_16 = new TableGeometry(TranslationRegime.EL2, 12, 16, 3, false);

    private Geometries() {}

    static TableGeometry[] all() {
        return new TableGeometry[] {
            S2_4K_32,
            S2_4K_36,
            S2_4K_40,
            S2_4K_48,
            S2_4K_52,
            S2_16K_40,
            S2_16K_52,
            S2_64K_36,
            S2_64K_44,
            S2_64K_52,
            EL2_4K_48,
            EL2_4K_52,
            EL20_16K_48,
            EL2_4K_16
        };
    }
}
