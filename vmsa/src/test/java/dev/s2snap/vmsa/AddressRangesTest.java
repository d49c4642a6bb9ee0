package dev.s2snap.vmsa;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.BitSet;
import java.util.Random;
import org.junit.jupiter.api.Test;

class AddressRangesTest {
    private static final int SPACE = 200;

    private static String text(AddressRanges ranges) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < ranges.count(); i++) {
            text.append(ranges.start(i)).append('-').append(ranges.end(i)).append(' ');
        }
        return text.toString().strip();
    }

    @Test
    void rangesThatMeetAreOne() {
        AddressRanges ranges = new AddressRanges(1, 3);
        ranges.add(3, 4);
        ranges.add(3, 3);
        ranges.add(6, 7);
        ranges.add(6, 9);
        assertThat(text(ranges)).isEqualTo("1-4 6-9");
        assertThat(ranges.size()).isEqualTo(6);
        assertThat(ranges.isEmpty()).isFalse();
        assertThat(new AddressRanges().isEmpty()).isTrue();
    }

    @Test
    void rangesOutOfOrderAreRefused() {
        AddressRanges ranges = new AddressRanges(5, 6);
        assertThatThrownBy(() -> ranges.add(4, 5)).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void unionAndDifferenceAreThoseOfSets() {
        for (int seed = 0; seed < 300; seed++) {
            Random random = new Random(seed);
            AddressRanges mine = ranges(random);
            AddressRanges theirs = ranges(random);
            BitSet union = bits(mine);
            union.or(bits(theirs));
            BitSet rest = bits(mine);
            rest.andNot(bits(theirs));
            assertThat(bits(mine.with(theirs))).as("seed %d", seed).isEqualTo(union);
            assertThat(bits(mine.without(theirs))).as("seed %d", seed).isEqualTo(rest);
            assertThat(mine.with(theirs).size()).isEqualTo(union.cardinality());
        }
    }

    private static AddressRanges ranges(Random random) {
        AddressRanges ranges = new AddressRanges();
        for (int at = random.nextInt(20); at < SPACE; at += random.nextInt(20)) {
            ranges.add(at, at += random.nextInt(15));
        }
        return ranges;
    }

    private static BitSet bits(AddressRanges ranges) {
        BitSet bits = new BitSet();
        for (int i = 0; i < ranges.count(); i++) {
            bits.set((int) ranges.start(i), (int) ranges.end(i));
        }
        return bits;
    }
}
