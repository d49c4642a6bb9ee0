package dev.s2snap.model;

/// The run-length form of the vector language: `i:v` one word, `i-j:v` equal words, `i-j:v+s` words in steps of s.
///
/// The writer is greedy: from a word on it takes the step to the next one as far as it repeats; three words or more are
/// one item.
final class RunLength {
    /// Words by index.
    @FunctionalInterface
    interface Words {
        long get(int index);
    }

    private RunLength() {}

    /// Appends all items, each behind a space.
    ///
    /// @param skipZeros leave out words that are zero
    static void append(StringBuilder out, int count, boolean skipZeros, Words words) {
        int i = 0;
        while (i < count) {
            long value = words.get(i);
            if (skipZeros && value == 0) {
                i++;
                continue;
            }
            int last = i;
            long step = 0;
            if (i + 1 < count && !(skipZeros && words.get(i + 1) == 0)) {
                step = words.get(i + 1) - value;
                last = i + 1;
                while (last + 1 < count
                        && !(skipZeros && words.get(last + 1) == 0)
                        && words.get(last + 1) - words.get(last) == step) {
                    last++;
                }
            }
            if (last - i < 2) {
                item(out, i, i, value, 0);
                i++;
            } else {
                item(out, i, last, value, step);
                i = last + 1;
            }
        }
    }

    private static void item(StringBuilder out, int first, int last, long value, long step) {
        out.append(' ').append(first);
        if (last > first) {
            out.append('-').append(last);
        }
        out.append(":0x").append(Long.toHexString(value));
        if (step != 0) {
            out.append("+0x").append(Long.toHexString(step));
        }
    }
}
