package dev.s2snap.model;

import java.util.Arrays;
import java.util.OptionalLong;

/// Runs a test body with many random [Choices], and makes what fails smaller before it reports it.
///
/// Seeds are 0, 1, 2, ..., the same at every run. `-Ds2snap.seed=N` runs that seed alone; `-Ds2snap.runs=N` runs so
/// many.
final class Property {
    /// Repetitions that shrinking may cost.
    private static final int SHRINKS = 2000;

    private final OptionalLong seed;
    private final int runs;

    Property(OptionalLong seed, int runs) {
        this.seed = seed;
        this.runs = runs;
    }

    /// Checks `body` for seeds 0 to `runs` - 1, or as the system properties say.
    static void holds(int runs, Body body) {
        Long seed = Long.getLong("s2snap.seed");
        new Property(
                        seed == null ? OptionalLong.empty() : OptionalLong.of(seed),
                        Integer.getInteger("s2snap.runs", runs))
                .check(body);
    }

    /// What must not throw, whatever is chosen.
    @FunctionalInterface
    interface Body {
        void run(Choices choices) throws Exception;
    }

    void check(Body body) {
        if (seed.isPresent()) {
            check(seed.getAsLong(), body);
            return;
        }
        for (long each = 0; each < runs; each++) {
            check(each, body);
        }
    }

    private static void check(long seed, Body body) {
        Choices choices = Choices.ofSeed(seed);
        Throwable failure = failure(choices, body);
        if (failure == null) {
            return;
        }
        Choices smallest = shrink(choices, body);
        Choices repeated = Choices.ofRecord(smallest.record());
        Throwable smaller = failure(repeated, body);
        throw new AssertionError(
                "seed " + seed + " (repeat with -Ds2snap.seed=" + seed + "); smallest choices " + repeated + ":\n  "
                        + String.join("\n  ", repeated.notes())
                        + "\n" + (smaller == null ? failure : smaller),
                smaller == null ? failure : smaller);
    }

    private static Throwable failure(Choices choices, Body body) {
        try {
            body.run(choices);
            return null;
        } catch (Throwable failure) {
            if (failure instanceof VirtualMachineError fatal) {
                throw fatal;
            }
            return failure;
        }
    }

    /// Takes stretches out of the record, then makes numbers smaller, as long as the run still fails.
    private static Choices shrink(Choices failing, Body body) {
        Shrinker shrinker = new Shrinker(failing, body);
        boolean progress = true;
        while (progress) {
            progress = shrinker.takeOut();
            progress |= shrinker.makeSmaller();
        }
        return shrinker.best;
    }

    private static final class Shrinker {
        private final Body body;
        Choices best;
        private int left = SHRINKS;

        Shrinker(Choices failing, Body body) {
            this.best = failing;
            this.body = body;
        }

        private boolean attempt(int[] record) {
            if (left-- <= 0) {
                return false;
            }
            Choices choices = Choices.ofRecord(record);
            if (failure(choices, body) == null) {
                return false;
            }
            // What was really chosen: it may be shorter than what was given, never trust it to be smaller.
            int[] made = choices.record();
            if (made.length > best.record().length
                    || (made.length == best.record().length && Arrays.compare(made, best.record()) >= 0)) {
                return false;
            }
            best = choices;
            return true;
        }

        boolean takeOut() {
            boolean progress = false;
            for (int size = Math.max(1, best.record().length / 2); size > 0; size /= 2) {
                for (int at = best.record().length - size; at >= 0; ) {
                    int[] record = best.record();
                    if (at + size > record.length) {
                        at = record.length - size;
                        continue;
                    }
                    int[] shorter = new int[record.length - size];
                    System.arraycopy(record, 0, shorter, 0, at);
                    System.arraycopy(record, at + size, shorter, at, record.length - at - size);
                    progress |= attempt(shorter);
                    at--;
                }
            }
            return progress;
        }

        boolean makeSmaller() {
            boolean progress = false;
            for (int at = 0; at < best.record().length; at++) {
                // The smallest value that still fails, by halving the distance.
                for (int low = 0; at < best.record().length && low < best.record()[at]; ) {
                    int[] record = best.record();
                    int middle = low + (record[at] - low) / 2;
                    record[at] = middle;
                    if (attempt(record)) {
                        progress = true;
                    } else {
                        low = middle + 1;
                    }
                }
            }
            return progress;
        }
    }
}
