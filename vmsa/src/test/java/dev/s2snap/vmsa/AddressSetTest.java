package dev.s2snap.vmsa;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.HashSet;
import java.util.Set;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class AddressSetTest {

    @Test
    void saysOnceThatAnAddressIsNew() {
        AddressSet set = new AddressSet();
        assertThat(set.add(0)).isTrue();
        assertThat(set.add(0)).isFalse();
        assertThat(set.add(0x1000)).isTrue();
        assertThat(set.add(0x1000)).isFalse();
        assertThat(set.add(0)).isFalse();
    }

    @Test
    void forgetsNothingWhenItGrows() {
        AddressSet set = new AddressSet();
        for (int i = 0; i < 5000; i++) {
            assertThat(set.add(0x4000_0000L + i * 0x1000L)).isTrue();
            // The first addresses went through every growth so far.
            assertThat(set.add(0x4000_0000L + (i / 2) * 0x1000L)).isFalse();
        }
        for (int i = 0; i < 5000; i++) {
            assertThat(set.add(0x4000_0000L + i * 0x1000L)).isFalse();
        }
    }

    @Test
    void agreesWithAHashSet() {
        for (long seed = 0; seed < 50; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            AddressSet set = new AddressSet();
            Set<Long> reference = new HashSet<>();
            int bits = random.nextInt(1, 52);
            for (int i = 0; i < 2000; i++) {
                long address = random.nextLong() >>> (64 - bits) << random.nextInt(0, 12);
                assertThat(set.add(address)).as("seed %d, step %d", seed, i).isEqualTo(reference.add(address));
            }
        }
    }
}
