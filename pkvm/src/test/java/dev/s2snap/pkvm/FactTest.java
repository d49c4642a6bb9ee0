package dev.s2snap.pkvm;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.function.Function;
import org.junit.jupiter.api.Test;

class FactTest {

    @Test
    void aKnownValueSaysWhereItComesFrom() {
        Fact<Integer> fact = Fact.known(40, "VTCR_EL2");
        assertThat(fact.optional()).contains(40);
        assertThat(fact.provenance()).isEqualTo("VTCR_EL2");
        assertThat(fact).isEqualTo(new Fact.Known<>(40, "VTCR_EL2"));
    }

    @Test
    void anUnknownOneSaysWhy() {
        Fact<Integer> fact = Fact.unknown("the registers lack VTCR_EL2");
        assertThat(fact.optional()).isEmpty();
        assertThat(fact.provenance()).isEqualTo("unknown: the registers lack VTCR_EL2");
    }

    @Test
    void whatIsDerivedFromAFactHasItsSource() {
        assertThat(Fact.known(40, "VTCR_EL2").map(bits -> 1L << bits)).isEqualTo(Fact.known(1L << 40, "VTCR_EL2"));
        Function<Integer, String> never = _ -> {
            throw new AssertionError("nothing to derive from");
        };
        assertThat(Fact.<Integer>unknown("of course").map(never)).isEqualTo(Fact.unknown("of course"));
    }
}
