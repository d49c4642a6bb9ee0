package dev.s2snap.model;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;

/// Random choices of one run of a property, written down so that the run can be repeated and made smaller.
///
/// Every choice is a number from 0 on, and 0 is the simplest: a repeated run whose record ends early gets zeros, and
/// [#more] stops there.
final class Choices {
    private final SplittableRandom random;
    private final int[] given;
    private final List<Integer> made = new ArrayList<>();
    private final List<String> notes = new ArrayList<>();

    private Choices(SplittableRandom random, int[] given) {
        this.random = random;
        this.given = given;
    }

    static Choices ofSeed(long seed) {
        return new Choices(new SplittableRandom(seed), null);
    }

    /// Repeats a record.
    static Choices ofRecord(int[] record) {
        return new Choices(new SplittableRandom(0), record.clone());
    }

    /// A number from 0 to `bound` - 1.
    int below(int bound) {
        int choice;
        if (given == null) {
            choice = random.nextInt(bound);
        } else {
            choice = made.size() < given.length ? Math.min(given[made.size()], bound - 1) : 0;
        }
        made.add(choice);
        return choice;
    }

    /// A number from `low` to `high`, both possible, `low` being the simplest.
    int between(int low, int high) {
        return low + below(high - low + 1);
    }

    /// True once in `n` times; false is simpler.
    boolean oneIn(int n) {
        // Drawn so that the simplest choice is the likely one.
        return below(n) == n - 1;
    }

    /// Whether to take one more step, `average` times on the average. Steps begin with this choice, so that a step can
    /// be
    /// taken out of a record.
    boolean more(int average) {
        return below(average + 1) != 0;
    }

    @SafeVarargs
    final <T> T pick(T... values) {
        return values[below(values.length)];
    }

    /// 64 bits, small ones more often than large ones.
    long word() {
        int bits = below(65);
        long word = 0;
        for (int done = 0; done < bits; done += 16) {
            word = word << 16 | below(1 << 16);
        }
        return bits == 0 ? 0 : word & -1L >>> (64 - bits);
    }

    /// Says what the run does, for the message of a failure.
    @SuppressWarnings("AnnotateFormatMethod") // the annotation is in a library that nothing else here needs
    void note(String words, Object... arguments) {
        notes.add(words.formatted(arguments));
    }

    List<String> notes() {
        return notes;
    }

    int[] record() {
        return made.stream().mapToInt(Integer::intValue).toArray();
    }

    @Override
    public String toString() {
        return Arrays.toString(record());
    }
}
