package dev.s2snap.inspect;

import static dev.s2snap.inspect.MadeMachine.HOST_PAGE;
import static dev.s2snap.inspect.MadeMachine.HYP_OWNED;
import static dev.s2snap.inspect.MadeMachine.HYP_PAGE;
import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.pkvm.Era;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

class JsonDumpTest {

    private static String json(Reading reading, TableSelector selector, String source) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try {
            JsonDump.write(TableDump.of(reading, selector), source, out);
        } catch (IOException e) {
            throw new AssertionError(e);
        }
        return out.toString(StandardCharsets.UTF_8);
    }

    @Test
    void theObjectHasTheKeysThatProgramsRelyOn() {
        MadeMachine machine = new MadeMachine()
                .host(0x4000_0000L, 0x4000_2000L, HOST_PAGE)
                .annotate(0x4000_2000L, 0x4000_3000L, HYP_OWNED)
                .hyp(0xd000_4000_2000L, 0x4000_2000L, 0x4000_3000L, HYP_PAGE);
        assertThat(json(Reading.of(machine, Era.V6_1, "--era"), TableSelector.HOST, "a.core"))
                .isEqualTo("""
                {"schema":1,
                "source":"a.core",
                "table":"host",
                "regime":"stage2",
                "geometry":{"granuleShift":12,"inputBits":48,"startLevel":0,"rootAddress":"0x80000000",\
                "rootEntries":512,"rootPages":1,"lpa2":false},
                "complete":true,
                "counts":{"tables":{"0":1,"1":1,"2":1,"3":1},"leaves":{"3":2},"annotated":{"3":1},\
                "empty":{"0":511,"1":511,"2":511,"3":509}},
                "leaves":[
                {"start":"0x40000000","end":"0x40002000","level":3,"kind":"page","pa":"0x40000000","bits":"0x7ff"},
                {"start":"0x40002000","end":"0x40003000","level":3,"kind":"invalid","pa":null,"bits":"0x4"}
                ],
                "states":[
                {"start":"0x40000000","end":"0x40002000","host":"OWNED","hyp":"NOPAGE","guestShares":null},
                {"start":"0x40002000","end":"0x40003000","host":"NOPAGE","hyp":"OWNED","guestShares":null}
                ],
                "findings":[],
                "remarks":[],
                "unreadBytes":0,"unread":[],"findingsNotListed":{},"tableAttributes":"0x0"}
                """);
    }

    @Test
    void unknownStatesAreNullWithAReason() {
        MadeMachine machine = new MadeMachine().host(0x4000_0000L, 0x4000_1000L, HOST_PAGE);
        assertThat(json(Reading.of(machine, Era.V7_0, "--era"), TableSelector.HOST, "a"))
                .contains(
                        "\"states\":null,\n\"statesReason\":\"this kernel keeps page states in its hyp_vmemmap: it is not")
                .contains("EL2 maps an entry for its own root page at 0 of the places");
        assertThat(json(Reading.of(machine, Era.V7_0, "--era"), TableSelector.HYP, "a"))
                .contains("\"states\":null,\n\"statesReason\":\"page states are listed with the host table\",\n")
                .contains("\"regime\":\"el2\"")
                .contains("\"leaves\":[\n],\n");
    }

    @Test
    void whatWasAssumedIsRemarked() {
        MadeMachine machine = new MadeMachine().hyp(0xd000_4000_0000L, 0x4000_0000L, 0x4000_1000L, HYP_PAGE);
        assertThat(json(Reading.of(machine, Era.V6_1, "--era"), TableSelector.HOST, "a"))
                .contains("\"findings\":[],\n\"remarks\":[\"4K that EL2 maps and whose host entry is empty is taken");
    }

    @Test
    void findingsHaveThePathFromTheRoot() {
        MadeMachine machine = new MadeMachine().hostEntry(0x4000_0000L, 1, 0x1000_0003L);
        assertThat(json(Reading.of(machine), TableSelector.HOST, "a"))
                .contains("\"complete\":false,")
                .contains("""
                        "findings":[
                        {"rule":"absent-table","path":[\
                        {"level":0,"address":"0x80000000","inputAddress":"0x0","descriptor":"0x80002003"},\
                        {"level":1,"address":"0x80002008","inputAddress":"0x40000000","descriptor":"0x10000003"}],\
                        "message":"the level 2 table at 0x10000000 is not in this memory"}],
                        """);
    }

    @Test
    void namesAreEscaped() {
        assertThat(json(Reading.of(new MadeMachine()), TableSelector.HOST, "a\"\\\n\u0001é"))
                .contains("\"source\":\"a\\\"\\\\\\u000a\\u0001é\",");
    }
}
