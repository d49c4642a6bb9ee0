package dev.s2snap.capture;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.HypVmemmap;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.Registers;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CaptureNoteTest {

    private static CaptureNote parse(String json) {
        return CaptureNote.parse("a.core", json.getBytes(StandardCharsets.UTF_8));
    }

    @Test
    void aNoteSaysWhatItWasToldAndReadsItBack() {
        CaptureNote note = new CaptureNote(
                "s2snap test",
                Optional.of(Era.V6_1),
                Optional.of(new Registers(Map.of("VTTBR_EL2", 0x8000_0000_0000_0001L))),
                Optional.of(List.of(new Registers(Map.of("VMID", 1L)))),
                Optional.of(List.of(new MemoryRegion(0x4000_0000L, 0x1000_0000L, MemoryRegion.NOMAP))),
                Optional.of(new HypVmemmap(0xffff_8000_0000_0000L, 4)),
                Optional.of(true));
        assertThat(new String(note.json(), StandardCharsets.UTF_8))
                .isEqualTo("{\"schema\":1,\"tool\":\"s2snap test\",\"era\":\"6.1\","
                        + "\"registers\":{\"VTTBR_EL2\":\"0x8000000000000001\"},\"guests\":[{\"VMID\":\"0x1\"}],"
                        + "\"regions\":[{\"base\":\"0x40000000\",\"size\":\"0x10000000\",\"flags\":4}],"
                        + "\"vmemmap\":{\"base\":\"0xffff800000000000\",\"entrySize\":4},\"ffa\":true}");
        CaptureNote read = CaptureNote.parse("a.core", note.json());
        assertThat(read.json()).isEqualTo(note.json());
        assertThat(read.regions()).isEqualTo(note.regions());
        assertThat(read.vmemmap()).isEqualTo(note.vmemmap());
        assertThat(read.ffa()).isEqualTo(note.ffa());
    }

    @Test
    void whatIsNotKnownIsNullRatherThanEmpty() {
        CaptureNote note = new CaptureNote(
                "t",
                Optional.empty(),
                Optional.of(new Registers(Map.of())),
                Optional.empty(),
                Optional.empty(),
                Optional.empty(),
                Optional.empty());
        assertThat(new String(note.json(), StandardCharsets.UTF_8))
                .contains("\"era\":null")
                .contains("\"guests\":[]")
                .contains("\"vmemmap\":null")
                .contains("\"regions\":null")
                .doesNotContain("ffa");
        CaptureNote read = CaptureNote.parse("a.core", note.json());
        assertThat(read.era()).isEmpty();
        assertThat(read.vmemmap()).isEmpty();
        assertThat(read.regions()).isEmpty();
        assertThat(read.ffa()).isEmpty();
    }

    @Test
    void whetherThereIsASecureWorldIsYesOrNoOrNotSaid() {
        assertThat(parse("{\"schema\":1,\"registers\":{},\"ffa\":true}").ffa()).contains(true);
        assertThat(parse("{\"schema\":1,\"registers\":{},\"ffa\":false}").ffa()).contains(false);
        assertThat(parse("{\"schema\":1,\"registers\":{},\"ffa\":null}").ffa()).isEmpty();
    }

    @Test
    void keysOfLaterVersionsAreSkipped() {
        assertThat(parse("{\"schema\":1,\"new\":{\"x\":[1]},\"registers\":{\"pc\":\"0x4\"}}")
                        .registers()
                        .orElseThrow()
                        .get("pc"))
                .hasValue(4);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{\"schema\":2,\"registers\":7}                                     | use a newer version",
                "{\"schema\":0}                                                     | schema 0",
                "{\"schema\":\"1\"}                                                 | schema",
                "{\"schema\":99999999999999999999}                                  | a.core",
                "{\"registers\":{},\"schema\":1}                                    | does not begin with its schema",
                "{}                                                                 | does not begin with its schema",
                "{\"schema\":1}                                                     | no registers",
                "{\"schema\":1,\"registers\":[]}                                    | registers",
                "{\"schema\":1,\"registers\":{\"pc\":\"8\"}}                        | registers.pc",
                "{\"schema\":1,\"era\":\"9.9\",\"registers\":{}}                    | era \"9.9\"",
                "{\"schema\":1,\"registers\":{},\"regions\":[{\"base\":\"0x1\"}]}   | regions[0]",
                "{\"schema\":1,\"registers\":{},\"regions\":[{\"base\":\"0xffffffffffffffff\",\"size\":\"0x1\"}]} | regions[0]",
                "{\"schema\":1,\"registers\":{},\"regions\":[{\"base\":\"0x10\",\"size\":\"0x7fffffffffffffff\"}]} | regions[0]",
                "{\"schema\":1,\"registers\":{},\"regions\":[{\"base\":\"0x8\",\"size\":\"0x8\"},{\"base\":\"0xf\",\"size\":\"0x8\"}]} | regions[1]",
                "{\"schema\":1,\"registers\":{},\"regions\":[{\"base\":\"0x8\",\"size\":\"0x8\",\"flags\":1e99}]} | flags",
                "{\"schema\":1,\"registers\":{},\"regions\":[{\"base\":\"0x8\",\"size\":\"0x8\",\"flags\":5000000000}]} | a.core",
                "{\"schema\":1,\"registers\":{},\"vmemmap\":{\"base\":\"0x1000\"}} | vmemmap: it needs a base and an entrySize of 4 or 8, not 0",
                "{\"schema\":1,\"registers\":{},\"vmemmap\":{\"entrySize\":8}} | vmemmap: it needs a base",
                "{\"schema\":1,\"registers\":{},\"vmemmap\":{\"base\":\"0x0\",\"entrySize\":\"8\"}} | vmemmap.entrySize",
                "{\"schema\":1,\"registers\":{},\"vmemmap\":[]} | vmemmap: expected an object",
                "{\"schema\":1,\"registers\":{},\"ffa\":1}                        | ffa",
                "nonsense                                                           | a.core",
            })
    void aWrongNoteIsRefusedInOneLine(String json, String named) {
        assertThatThrownBy(() -> parse(json))
                .isInstanceOf(CaptureException.class)
                .hasMessageStartingWith("a.core: note S2SNAP: ")
                .hasMessageContaining(named)
                .hasMessageNotContaining("\n");
    }
}
