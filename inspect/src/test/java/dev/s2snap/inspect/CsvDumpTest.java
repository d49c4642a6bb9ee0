package dev.s2snap.inspect;

import static dev.s2snap.inspect.MadeMachine.HOST_PAGE;
import static dev.s2snap.inspect.MadeMachine.HYP_OWNED;
import static dev.s2snap.inspect.MadeMachine.HYP_PAGE;
import static dev.s2snap.inspect.MadeMachine.SHARED;
import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.pkvm.Era;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

class CsvDumpTest {
    private static String csv(Reading reading, TableSelector selector) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        CsvDump.write(TableDump.of(reading, selector), out);
        return out.toString(StandardCharsets.UTF_8);
    }

    @Test
    void aHostHasALineForEachRunThatIsOwnedAlike() throws IOException {
        MadeMachine machine = new MadeMachine()
                .host(0x4000_0000L, 0x4000_2000L, HOST_PAGE)
                .host(0x4000_2000L, 0x4000_3000L, HOST_PAGE | SHARED)
                .annotate(0x4000_3000L, 0x4000_4000L, HYP_OWNED)
                .hyp(0xd000_4000_2000L, 0x4000_2000L, 0x4000_3000L, HYP_PAGE | MadeMachine.BORROWED)
                .hyp(0xd000_4000_3000L, 0x4000_3000L, 0x4000_4000L, HYP_PAGE)
                .hyp(0xd000_5000_0000L, 0x5000_0000L, 0x5000_1000L, HYP_PAGE);

        assertThat(csv(Reading.of(machine, Era.V6_1, "--era"), TableSelector.HOST))
                .isEqualTo("""
                start,end,size,level,kind,pa,bits,mask,perm,memory,owner
                0x40000000,0x40002000,0x2000,3,page,0x40000000,0x7ff,,rwx,normal WB inner,host
                0x40002000,0x40003000,0x1000,3,page,0x40002000,0x800000000007ff,,rwx,normal WB inner,"host, shared with hyp"
                0x40003000,0x40004000,0x1000,3,invalid,,0x4,,,,hyp
                0x50000000,0x50001000,0x1000,,empty,,,,,,"! host, yet EL2 owns it too"
                """);
    }

    @Test
    void aTableThatMapsElsewhereHasItsAddresses() throws IOException {
        MadeMachine machine = new MadeMachine().guest(1, 0x8000_0000L, 0x8000_2000L, 0x4123_4000L | HOST_PAGE);
        assertThat(csv(Reading.of(machine), TableSelector.guest(0)))
                .endsWith("owner\n0x80000000,0x80002000,0x2000,3,page,0x41234000,0x7ff,,rwx,normal WB inner,\n");
    }
}
