package dev.s2snap.inspect;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class GivenTableTest {

    @Test
    void whatIsNotSaidIsWhatMostTablesHave() {
        GivenTable table = GivenTable.parse("0x4fac9000,ia=48,start=0");
        assertThat(table.root()).isEqualTo(0x4fac_9000L);
        assertThat(table.geometry()).isEqualTo(new TableGeometry(TranslationRegime.STAGE2, 12, 48, 0, false, 48));
    }

    @Test
    void everythingCanBeSaid() {
        assertThat(GivenTable.parse("0xf000040000000,regime=stage2,granule=64K,ia=52,start=1,oa=48")
                        .geometry())
                .isEqualTo(new TableGeometry(TranslationRegime.STAGE2, 16, 52, 1, false, 48));
        assertThat(GivenTable.parse("0x40000000,regime=el1&0-upper,granule=16K,ia=52,lpa2")
                        .geometry())
                .isEqualTo(new TableGeometry(TranslationRegime.EL1_0_UPPER, 14, 52, 0, true, 52));
        assertThat(GivenTable.parse("0x40000000,regime=el2,ia=39").geometry().startLevel())
                .isEqualTo(1);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "4fac9000,ia=48,start=0 | it begins with the address of its root, such as 0x4fac9000",
                "0x1ffffffffffffffff,ia=48,start=0 | is no address of at most 64 bits",
                "0x4fac9000 | ia=BITS is missing, the size of its input addresses",
                "0x4fac9000,ia=48 | start=LEVEL is missing, the level of its root",
                "0x4fac9000,ia=many,start=0 | ia is a number, not \"many\"",
                "0x4fac9000,ia=48,start=0,lpa2=no | lpa2 has no value: it is there or not",
                "0x4fac9000,ia=48,start=0,lpa2= | lpa2 has no value: it is there or not",
                "0x4fac9000,ia=48,ia=40,start=0 | ia is there twice",
                "0x4fac9000,ia=48,start=0,size=3 | \"size\" is not one of regime, granule, ia, start, oa, lpa2",
                "0x4fac9000,ia=48,start=0,granule=8K | granule is 4K, 16K or 64K",
                "0x4fac9000,ia=48,regime=el3 | regime is one of stage2, el2, el2&0, el2&0-upper, el1&0, el1&0-upper",
                "0x4fac9008,ia=48,start=0 | the root has 4096 bytes and its address is no multiple of that",
                "0x4fac9000,ia=53,start=0 | an input address of 53 bits does not exist with the 4K granule",
            })
    void whatIsNoTableIsRefusedWithTheReason(String text, String reason) {
        assertThatThrownBy(() -> TableSelector.parse("at:" + text))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageStartingWith("\"at:" + text + "\" is no table: ")
                .hasMessageEndingWith(reason);
    }
}
