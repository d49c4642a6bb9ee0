package dev.s2snap.capture;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class RegisterFileTest {

    private static RegisterFile parse(String json) {
        return RegisterFile.parse("r.json", json.getBytes(StandardCharsets.UTF_8));
    }

    @Test
    void registersAreHexStrings() {
        RegisterFile file = parse("{\"VTTBR_EL2\": \"0x4fac9001\", \"pc\": \"0xFFFFbbed09d3bec8\", \"sp\": \"0x0\"}");
        assertThat(file.host().get("VTTBR_EL2")).hasValue(0x4fac9001L);
        assertThat(file.host().get("pc")).hasValue(0xffffbbed09d3bec8L);
        assertThat(file.host().get("sp")).hasValue(0);
        assertThat(file.guests()).isEmpty();
    }

    @Test
    void guestsAreAListOfTheSame() {
        RegisterFile file =
                parse("{\"guests\": [{\"VMID\": \"0x1\"}, {\"VMID\": \"0x2\", \"other\": [1]}], \"pc\": \"0x8\"}");
        assertThat(file.guests())
                .hasValueSatisfying(guests -> assertThat(guests)
                        .extracting(guest -> guest.get("VMID").orElseThrow())
                        .isEqualTo(List.of(1L, 2L)));
        assertThat(file.host().get("pc")).hasValue(8);
        assertThat(file.host().get("VMID")).isEmpty();
    }

    @Test
    void otherKeysAreSkippedIfTheyAreNotStrings() {
        assertThat(parse("{\"smp\": 2, \"cpus\": {\"pc\": 1}, \"x\": [true, null]}")
                        .host()
                        .all())
                .isEmpty();
    }

    @Test
    void leadingZerosDoNotMakeARegisterTooLong() {
        assertThat(parse("{\"V0_EL1\": \"0x0000000000000000ffffffffffffffff\"}")
                        .host()
                        .get("V0_EL1"))
                .hasValue(-1);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{\"VTTBR_EL2\": \"4fac9001\"}                 | VTTBR_EL2",
                "{\"VTTBR_EL2\": \"0x\"}                       | VTTBR_EL2",
                "{\"VTTBR_EL2\": \"\"}                         | VTTBR_EL2",
                "{\"VTTBR_EL2\": \"0x1g\"}                     | VTTBR_EL2",
                "{\"VTTBR_EL2\": \"0x10000000000000000\"}      | VTTBR_EL2",
                "{\"VTTBR_EL2\": 1336709121}                   | VTTBR_EL2",
                "{\"VTTBR_EL2\": null}                         | VTTBR_EL2",
                "{\"name\": \"deb-6.12\"}                      | name",
                "{\"guests\": [{\"HCR_EL2\": 1}]}              | guests[0].HCR_EL2",
                "{\"guests\": {}}                              | guests",
                "{\"guests\": [1]}                             | guests",
                "[]                                            | an object",
                "{\"pc\": \"0x1\", \"pc\": \"0x2\"}            | Duplicate",
                "{\"pc\": \"0x1\"                              | line 1",
                "{\"pc\": \"0x1\"} {}                          | behind the end",
                "                                              | r.json",
            })
    void whatIsWrongIsNamed(String json, String named) {
        assertThatThrownBy(() -> parse(json == null ? "" : json))
                .isInstanceOf(CaptureException.class)
                .hasMessageStartingWith("r.json: ")
                .hasMessageContaining(named)
                .hasMessageNotContaining("\n");
    }

    @Test
    void aMissingFileIsNamed() {
        assertThatThrownBy(() -> RegisterFile.read(Path.of("no-such.json")))
                .isInstanceOf(CaptureException.class)
                .hasMessage("no-such.json: there is no such file; check the name");
    }
}
