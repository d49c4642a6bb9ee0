package dev.s2snap.vmsa;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The descriptors are the worked examples of SPEC 1.4 and 1.5.
class DescriptorTest {
    private static final long PAGE = 0x0000_0000_4000_07ffL;
    private static final long BLOCK = 0x0000_0000_4000_07fdL;
    private static final long TABLE = 0x0000_0000_4100_0003L;
    private static final long OWNED_BY_HYP = 0x4;

    @Test
    void bitZeroAloneDecidesValidity() {
        assertThat(Descriptor.valid(PAGE)).isTrue();
        assertThat(Descriptor.valid(BLOCK)).isTrue();
        assertThat(Descriptor.valid(1)).isTrue();
        assertThat(Descriptor.valid(OWNED_BY_HYP)).isFalse();
        assertThat(Descriptor.valid(-2)).isFalse();
        assertThat(Descriptor.valid(0)).isFalse();
    }

    @Test
    void onesInBits1And0AreATableAboveTheLastLevelAndAPageAtIt() {
        TableGeometry geometry = Geometries.EL2_4K_52;
        for (int level = -1; level < 3; level++) {
            assertThat(Descriptor.table(TABLE, level)).isTrue();
            assertThat(Descriptor.leaf(TABLE, level, geometry)).isFalse();
        }
        assertThat(Descriptor.table(TABLE, 3)).isFalse();
        assertThat(Descriptor.leaf(TABLE, 3, geometry)).isTrue();
    }

    @Test
    void bit1AloneIsNoTable() {
        assertThat(Descriptor.table(0x4100_0002L, 1)).isFalse();
        assertThat(Descriptor.leaf(0x4100_0002L, 3, Geometries.S2_4K_40)).isFalse();
        assertThat(Descriptor.annotated(0x4100_0002L)).isTrue();
    }

    /// Levels at which a valid entry with bit 1 clear is a block (D8.3.1), by granule.
    @ParameterizedTest
    @CsvSource({
        "12, false, '1,2'",
        "12, true, '0,1,2'",
        "14, false, '2'",
        "14, true, '1,2'",
        "16, false, '1,2'",
    })
    void blocksExistAtTheLevelsOfTheGranule(int granuleShift, boolean lpa2, String levels) {
        int start = granuleShift == 16 ? 1 : 0;
        TableGeometry geometry = new TableGeometry(TranslationRegime.EL2, granuleShift, 48, start, lpa2);
        for (int level = -1; level <= 3; level++) {
            boolean expected = levels.contains(String.valueOf(level)) && level >= 0;
            assertThat(geometry.blocksAt(level)).as("level %d", level).isEqualTo(expected);
            assertThat(Descriptor.leaf(BLOCK, level, geometry))
                    .as("level %d", level)
                    .isEqualTo(expected);
            assertThat(Descriptor.reserved(BLOCK, level, geometry))
                    .as("level %d", level)
                    .isEqualTo(!expected);
        }
    }

    @Test
    void aPageOrTableIsNeverReserved() {
        for (int level = 0; level <= 3; level++) {
            assertThat(Descriptor.reserved(PAGE, level, Geometries.S2_4K_48)).isFalse();
            assertThat(Descriptor.reserved(OWNED_BY_HYP, level, Geometries.S2_4K_48))
                    .isFalse();
            assertThat(Descriptor.reserved(0, level, Geometries.S2_4K_48)).isFalse();
        }
    }

    @Test
    void anAnnotationIsInvalidAndNotZero() {
        assertThat(Descriptor.annotated(OWNED_BY_HYP)).isTrue();
        assertThat(Descriptor.annotated(0x400)).isTrue();
        assertThat(Descriptor.annotated(0x2000_0080_0001_0004L)).isTrue();
        assertThat(Descriptor.annotated(0)).isFalse();
        assertThat(Descriptor.annotated(PAGE)).isFalse();
        assertThat(Descriptor.annotated(BLOCK)).isFalse();
    }

    @Test
    void theAccessFlagAndTheSoftwareBitsAreWhereArmPutsThem() {
        assertThat(PAGE & Descriptor.AF).isNotZero();
        assertThat(0x0080_0000_4000_17ffL & Descriptor.SOFTWARE).isEqualTo(1L << 55);
        assertThat(-1L & Descriptor.SOFTWARE).isEqualTo(0x0780_0000_0000_0000L);
    }
}
