package dev.s2snap.inspect;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ExplainAddressTest {

    @Test
    void anAddressAloneIsPhysical() {
        ExplainAddress address = ExplainAddress.parse("0x43039000");
        assertThat(address.table()).isEmpty();
        assertThat(address.value()).isEqualTo(0x4303_9000L);
        assertThat(ExplainAddress.parse("4096").value()).isEqualTo(4096);
    }

    /// Bit 55 selects the range of a virtual address (D8.2.3).
    @ParameterizedTest
    @CsvSource({
        "guest:3:0x80000000, guest:3, 0x80000000",
        "guest:vmid=2:0x1000, guest:vmid=2, 0x1000",
        "guest:handle=0x1000:16, guest:handle=0x1000, 0x10",
        "hyp:0x600000100000, hyp, 0x600000100000",
        "hyp:0xffff000000001000, hyp:upper, -281474976706560",
        "host:0x1000, el1:lower, 0x1000",
        "host:0xffff800080000000, el1:upper, -140735340871680",
    })
    void aNameInFrontSaysWhoseAddressItIs(String text, String table, String value) {
        ExplainAddress address = ExplainAddress.parse(text);
        assertThat(address.table().orElseThrow().label()).isEqualTo(table);
        assertThat(address.value()).isEqualTo(Long.decode(value));
        assertThat(address.ofHost()).isEqualTo(text.startsWith("host:"));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "foo",
                "0x",
                "-1",
                "1x",
                "hyp:",
                "hyp:zz",
                "pa:0x1000",
                "host:upper:0x1",
                ":0x1",
                "0x12345678901234567"
            })
    void whatIsNoAddressIsRefused(String text) {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> ExplainAddress.parse(text))
                .withMessage("\"" + text
                        + "\" is no address; write a physical one such as 0x40000000, guest:N:IPA, hyp:VA or host:VA");
    }

    @Test
    void aGuestHasANumber() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> ExplainAddress.parse("guest:x:0x1000"))
                .withMessageContaining("behind the colon belongs a number");
    }

    @Test
    void aPhysicalAddressHas52BitsAtMost() {
        assertThat(ExplainAddress.parse("0xfffffffffffff").value()).isEqualTo((1L << 52) - 1);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> ExplainAddress.parse("0x10000000000000"))
                .withMessageContaining("up to 52 bits");
    }
}
