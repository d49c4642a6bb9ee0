package dev.s2snap.inspect;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.vmsa.LeafRuns;
import java.io.OutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TableSelectorTest {

    @ParameterizedTest
    @ValueSource(
            strings = {
                "host",
                "hyp",
                "hyp:upper",
                "el1:lower",
                "el1:upper",
                "guest:0",
                "guest:12",
                "guest:vmid=3",
                "guest:handle=0x1000",
                "at:0x80000000,ia=48,start=0"
            })
    void aTableIsNamedAsItIsShown(String name) {
        assertThat(TableSelector.parse(name).label()).isEqualTo(name);
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "Host", "guest", "guest:", "guest:-1", "guest:x", "guest:vmid=", "guest:0x", "host:1"})
    void anythingElseIsNoTable(String name) {
        assertThatThrownBy(() -> TableSelector.parse(name))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("is no table");
    }

    @Test
    void registersThatContradictEachOtherMakeATableUnknown() {
        MadeMachine machine = new MadeMachine();
        assertThat(TableSelector.parse("el1:lower").of(machine).provenance())
                .isEqualTo("unknown: the registers lack TTBR0_EL1, TCR_EL1");
        assertThat(TableSelector.parse("hyp:upper").of(machine).provenance())
                .isEqualTo("unknown: the registers lack TTBR1_EL2, TCR_EL2");
        machine.register("TTBR0_EL1", 0x8000_0000L).register("TCR_EL1", 0xc010L);
        assertThat(TableSelector.parse("el1:lower").of(machine).provenance())
                .isEqualTo("unknown: TCR_EL1.TG0 = 3 is reserved");
    }

    @Test
    void aProtectedGuestIsNamedByTheHandleInTheHostsAnnotations() {
        MadeMachine machine = new MadeMachine()
                .annotate(0x4000_1000L, 0x4000_2000L, 0x2000_0080_0001_0004L)
                .annotate(0x4000_2000L, 0x4000_3000L, 0x2000_0080_0001_0014L)
                // Has another page at that frame.
                .guest(1, 0x8000_0000L, 0x8000_1000L, 0x4000_57ffL)
                .guest(2, 0x8000_0000L, 0x8000_1000L, 0x4000_17ffL);
        assertThat(TableSelector.parse("guest:handle=0x1000").guest(machine).vmid())
                .isEqualTo(2);
        assertThatThrownBy(() -> TableSelector.parse("guest:handle=0x1001").of(machine))
                .isInstanceOf(NoAnswerException.class)
                .hasMessage("there is no guest:handle=0x1001; this machine has guest:0 to guest:1");
        assertThatThrownBy(() -> TableSelector.parse("guest:handle=0x1000").of(machine.withoutHost()))
                .isInstanceOf(NoAnswerException.class);
    }

    @Test
    void aRootOutsideOfTheMemoryIsNoTable() {
        MadeMachine machine = new MadeMachine().host(0x4000_0000L, 0x4000_1000L, 0x7ff);
        TableSelector outside = TableSelector.parse("at:0x100000000,ia=40,start=1");
        assertThatThrownBy(() -> TableDump.of(Reading.of(machine), outside))
                .isInstanceOf(NoAnswerException.class)
                .hasMessage("the root of the at:0x100000000,ia=40,start=1 table, 0x100000000 (the command line), is not"
                        + " in this memory; see whether the two belong together");
        assertThatThrownBy(() -> KernelText.write(
                        Reading.of(machine), outside, KernelTextDialect.V4, OutputStream.nullOutputStream()))
                .isInstanceOf(NoAnswerException.class)
                .hasMessageContaining("is not in this memory");
    }

    /// The other root page is missing: that is a finding, and the rest is shown.
    @Test
    void halfARootIsATable() {
        MadeMachine machine = new MadeMachine().host(0x4000_0000L, 0x4000_1000L, 0x7ff);
        // The last page of the memory, and the one behind it.
        TableSelector half = TableSelector.parse("at:0x80004000,ia=40,start=1");
        TableDump dump = TableDump.of(Reading.of(machine), half);
        assertThat(dump.complete()).isFalse();
        assertThat(dump.result().unread().getLast()).isEqualTo(new LeafRuns.Unread(1L << 39, 1L << 40));
    }

    @Test
    void aGuestIsNamedByPlaceOrByVmid() {
        MadeMachine machine = new MadeMachine().guest(7, 0, 0x1000, 0x7ff).guest(9, 0, 0x1000, 0x7ff);
        assertThat(TableSelector.parse("guest:1").guest(machine).vmid()).isEqualTo(9);
        assertThat(TableSelector.parse("guest:vmid=0x7").guest(machine).index()).isZero();
        assertThatThrownBy(() -> TableSelector.parse("guest:2").of(machine))
                .isInstanceOf(NoAnswerException.class)
                .hasMessage("there is no guest:2; this machine has guest:0 to guest:1");
        assertThatThrownBy(() -> TableSelector.parse("guest:vmid=1").of(new MadeMachine()))
                .isInstanceOf(NoAnswerException.class)
                .hasMessage("there is no guest:vmid=1; no guest of this machine is known");
    }
}
