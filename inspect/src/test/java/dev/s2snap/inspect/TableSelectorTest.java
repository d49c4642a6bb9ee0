package dev.s2snap.inspect;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

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
