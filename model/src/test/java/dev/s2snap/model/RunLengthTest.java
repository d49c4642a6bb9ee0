package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class RunLengthTest {

    private static String write(boolean skipZeros, long... words) {
        StringBuilder out = new StringBuilder();
        RunLength.append(out, words.length, skipZeros, i -> words[i]);
        return out.toString();
    }

    /// A reader as check_vectors.py has it: it need not know how items were grouped.
    private static long[] read(String text, int count) {
        long[] words = new long[count];
        for (String item : text.isEmpty() ? new String[0] : text.substring(1).split(" ", -1)) {
            String[] sides = item.split(":", 2);
            int dash = sides[0].indexOf('-');
            int first = Integer.parseInt(dash < 0 ? sides[0] : sides[0].substring(0, dash));
            int last = dash < 0 ? first : Integer.parseInt(sides[0].substring(dash + 1));
            int plus = sides[1].indexOf('+');
            long value = Long.parseUnsignedLong(plus < 0 ? sides[1].substring(2) : sides[1].substring(2, plus), 16);
            long step = plus < 0 ? 0 : Long.parseUnsignedLong(sides[1].substring(plus + 3), 16);
            for (int i = first; i <= last; i++) {
                words[i] = value + (i - first) * step;
            }
        }
        return words;
    }

    @Test
    void whatIsWrittenReadsBackAsItWas() {
        Property.holds(500, choices -> {
            long[] words = new long[choices.below(60)];
            long value = 0;
            long step = 0;
            for (int i = 0; i < words.length; i++) {
                switch (choices.below(4)) {
                    case 0 -> value += step;
                    case 1 -> value = choices.word();
                    case 2 -> step = choices.pick(0L, 1L, 0x1000L, -0x1000L);
                    default -> value = 0;
                }
                words[i] = value;
            }
            boolean skipZeros = choices.oneIn(2);
            String text = write(skipZeros, words);
            choices.note("%s", text);
            assertThat(read(text, words.length)).isEqualTo(words);
            if (skipZeros) {
                assertThat(text).doesNotContain(":0x0 ").doesNotEndWith(":0x0");
            }
        });
    }

    @Test
    void threeWordsInStepAreOneItem() {
        assertThat(write(false, 1, 2, 3)).isEqualTo(" 0-2:0x1+0x1");
        assertThat(write(false, 1, 2)).isEqualTo(" 0:0x1 1:0x2");
        assertThat(write(false, 7, 7, 7, 8)).isEqualTo(" 0-2:0x7 3:0x8");
        assertThat(write(false, 3, 2, 1)).isEqualTo(" 0-2:0x3+0xffffffffffffffff");
        assertThat(write(false)).isEmpty();
    }

    /// The grouping of the vectors is that of a greedy writer: from 1 on the step is 1, which does not repeat.
    @ParameterizedTest
    @CsvSource({"'1,2,4,6,8', ' 0:0x1 1-4:0x2+0x2'", "'0,0,5,5,5,0', ' 2-4:0x5'", "'5,0,6,0', ' 0:0x5 2:0x6'"})
    void theWriterIsGreedyAndLeavesZerosOut(String words, String text) {
        long[] values =
                Arrays.stream(words.split(",", -1)).mapToLong(Long::parseLong).toArray();
        assertThat(write(true, values)).isEqualTo(text);
    }

    @Test
    void zerosEndARunWhereTheyAreLeftOut() {
        assertThat(write(true, 2, 1, 0)).isEqualTo(" 0:0x2 1:0x1");
        assertThat(write(false, 2, 1, 0)).isEqualTo(" 0-2:0x2+0xffffffffffffffff");
    }
}
