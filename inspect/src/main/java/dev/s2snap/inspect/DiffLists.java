package dev.s2snap.inspect;

import java.util.List;
import java.util.function.ToLongFunction;
import org.jspecify.annotations.Nullable;

/// Goes through two lists of ranges side by side, each ascending and without overlap.
///
/// @param start of a range
/// @param end of a range, exclusive
record DiffLists<T>(ToLongFunction<T> start, ToLongFunction<T> end) {

    /// Takes a stretch in which nothing begins or ends.
    interface Stretches<T> {
        /// @param a the range of the first list that it is in, if it is in one
        void stretch(long start, long end, @Nullable T a, @Nullable T b);
    }

    /// Passes on each stretch that is in a range of either, ascending.
    void sideBySide(List<T> mine, List<T> theirs, Stretches<T> stretches) {
        int i = 0;
        int j = 0;
        long at = 0;
        while (i < mine.size() || j < theirs.size()) {
            T a = i < mine.size() && start.applyAsLong(mine.get(i)) <= at ? mine.get(i) : null;
            T b = j < theirs.size() && start.applyAsLong(theirs.get(j)) <= at ? theirs.get(j) : null;
            long next = Math.min(edge(mine, i, a != null), edge(theirs, j, b != null));
            if (a != null || b != null) {
                stretches.stretch(at, next, a, b);
            }
            at = next;
            i += a != null && end.applyAsLong(a) <= at ? 1 : 0;
            j += b != null && end.applyAsLong(b) <= at ? 1 : 0;
        }
    }

    private long edge(List<T> list, int index, boolean inside) {
        if (index == list.size()) {
            return Long.MAX_VALUE;
        }
        return inside ? end.applyAsLong(list.get(index)) : start.applyAsLong(list.get(index));
    }
}
