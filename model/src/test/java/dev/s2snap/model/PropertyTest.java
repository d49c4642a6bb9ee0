package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;

/// The runner of the property tests, which must itself be trusted.
class PropertyTest {

    private static final OptionalLong ANY = OptionalLong.empty();

    @Test
    void runsEverySeedOnceWhereNothingFails() {
        List<Integer> first = new ArrayList<>();
        new Property(ANY, 20).check(choices -> first.add(choices.below(1 << 30)));
        assertThat(first).hasSize(20).doesNotHaveDuplicates();
    }

    @Test
    void aSeedAlwaysMakesTheSameChoices() {
        List<String> records = new ArrayList<>();
        Property.Body body = choices -> {
            for (int i = 0; i < 10; i++) {
                choices.word();
            }
            records.add(choices.toString());
        };
        new Property(OptionalLong.of(7), 100).check(body);
        new Property(ANY, 8).check(body);
        assertThat(records).hasSize(9);
        assertThat(records.getFirst()).isEqualTo(records.getLast());
    }

    @Test
    void namesTheSeedAndTheSmallestStepsThatFail() {
        // Fails once the numbers drawn add up to 1000: one number of 1000 is the simplest way.
        Property.Body body = choices -> {
            int sum = 0;
            while (choices.more(20)) {
                int number = choices.below(5000);
                choices.note("add %d", number);
                sum += number;
                assertThat(sum).isLessThan(1000);
            }
        };
        Throwable failure = catchThrowable(() -> new Property(ANY, 50).check(body));
        assertThat(failure)
                .isInstanceOf(AssertionError.class)
                .hasMessageContaining("repeat with -Ds2snap.seed=")
                .hasMessageContaining("smallest choices [1, 1000]:\n  add 1000\n");
        assertThat(failure).hasCauseInstanceOf(AssertionError.class);
    }

    @Test
    void reportsExceptionsAsWellAsAssertions() {
        assertThatThrownBy(() -> new Property(ANY, 1).check(_ -> {
                    throw new IllegalStateException("always");
                }))
                .hasMessageStartingWith("seed 0 (repeat with -Ds2snap.seed=0); smallest choices []:")
                .hasRootCauseMessage("always");
    }

    @Test
    void keepsStepsThatAreNeeded() {
        // Needs the pair (3, 9) somewhere, in this order, and the end behind it.
        Property.Body body = choices -> {
            List<Integer> numbers = new ArrayList<>();
            while (choices.more(30)) {
                numbers.add(choices.below(10));
            }
            for (int i = 1; i < numbers.size(); i++) {
                assertThat(numbers.get(i - 1) == 3 && numbers.get(i) == 9).isFalse();
            }
        };
        assertThatThrownBy(() -> new Property(ANY, 200).check(body)).hasMessageContaining("choices [1, 3, 1, 9, 0]");
    }

    @Test
    void aRecordThatEndsEarlyGoesOnWithTheSimplestChoices() {
        Choices choices = Choices.ofRecord(new int[] {5, 99});
        assertThat(choices.below(10)).isEqualTo(5);
        assertThat(choices.between(3, 7)).isEqualTo(7);
        assertThat(choices.between(3, 7)).isEqualTo(3);
        assertThat(choices.more(10)).isFalse();
        assertThat(choices.oneIn(3)).isFalse();
        assertThat(choices.word()).isZero();
        assertThat(choices.pick("a", "b")).isEqualTo("a");
    }
}
