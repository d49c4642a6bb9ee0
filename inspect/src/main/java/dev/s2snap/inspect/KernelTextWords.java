package dev.s2snap.inspect;

import dev.s2snap.inspect.KernelTextDialect.Attribute;
import dev.s2snap.inspect.KernelTextDialect.Condition;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// Reads what stands behind the level of a region, in one dialect: the way back of [KernelTextDialect#text].
///
/// A word tells that some bits have some value; a blank in its place tells that they have another one, which says
/// something about a bit only where the others are known. What is found out is what all descriptors of which the
/// kernel writes these words have in common, as far as it can be had from one row, or from rows over the same bits.
final class KernelTextWords {
    private final KernelTextDialect dialect;
    private final long seen;

    /// @param host whether the text is about the host's table
    KernelTextWords(KernelTextDialect dialect, boolean host) {
        this.dialect = dialect;
        seen = dialect.seen(host);
    }

    /// @param text with the blank in front; its trailing blanks may have been cut, then all of them
    /// @return null if there is no descriptor of which this dialect writes so
    KernelTable.@Nullable Told read(String text) {
        if (text.isEmpty()) {
            return new KernelTable.Told("", 0, dialect.mask() & seen);
        }
        for (List<Attribute> rows : dialect.readings()) {
            KernelTable.Told told = new Line(rows, text).words(0, 0);
            if (told != null) {
                return told;
            }
        }
        return null;
    }

    /// One line by one list of rows: which rows' words stand there.
    private final class Line {
        private final List<Attribute> rows;
        private final String text;
        private final boolean[] set;

        Line(List<Attribute> rows, String text) {
            this.rows = rows;
            this.text = text;
            set = new boolean[rows.size()];
        }

        /// Tries the words of `row` and of those behind it, from place `at` on.
        KernelTable.@Nullable Told words(int row, int at) {
            if (row == rows.size()) {
                return end(at);
            }
            Attribute attribute = rows.get(row);
            for (boolean choice : new boolean[] {true, false}) {
                String word = choice ? attribute.set() : attribute.clear();
                int behind = word.isEmpty() ? at : behind(at, word);
                if (behind >= 0) {
                    set[row] = choice;
                    KernelTable.Told told = words(row + 1, behind);
                    if (told != null) {
                        return told;
                    }
                }
            }
            return null;
        }

        /// The place behind a blank and `word`; negative if something else stands there. Behind the end stand blanks.
        private int behind(int at, String word) {
            if (at < text.length() && text.charAt(at) != ' ') {
                return -1;
            }
            for (int i = 0; i < word.length(); i++) {
                int place = at + 1 + i;
                if ((place < text.length() ? text.charAt(place) : ' ') != word.charAt(i)) {
                    return -1;
                }
            }
            return at + 1 + word.length();
        }

        private KernelTable.@Nullable Told end(int length) {
            if (text.length() > length) {
                return null;
            }
            String whole = text + " ".repeat(length - text.length());
            return text.length() == length || text.equals(whole.stripTrailing()) ? told(whole) : null;
        }

        // What the words tell.

        private KernelTable.@Nullable Told told(String words) {
            Set<Condition> holding = EnumSet.of(Condition.ALWAYS);
            long mask = 0;
            long bits = 0;
            for (int i = 0; i < set.length; i++) {
                if (!set[i]) {
                    continue;
                }
                Attribute row = rows.get(i);
                if (((bits ^ row.bits()) & mask & row.mask()) != 0 || (row.bits() & ~seen) != 0) {
                    return null;
                }
                mask |= row.mask();
                bits |= row.bits();
                holding.add(row.condition());
            }
            // Rows that are there and whose word is not. A row of a condition that may not hold may just be missing.
            List<Attribute> others = new ArrayList<>();
            for (int i = 0; i < set.length; i++) {
                Attribute row = rows.get(i);
                if (!set[i] && holding.contains(row.condition()) && (row.bits() & ~seen) == 0) {
                    others.add(row);
                }
            }
            while (true) {
                long before = mask;
                for (Attribute row : others) {
                    if (((bits ^ row.bits()) & mask & row.mask()) != 0) {
                        continue;
                    }
                    long open = row.mask() & ~mask;
                    long left = left(others, open, mask, bits);
                    if (left == NONE) {
                        return null;
                    }
                    if (left != MANY) {
                        mask |= open;
                        bits |= left;
                    }
                }
                if (mask == before) {
                    return some(words, bits, mask);
                }
            }
        }

        /// Only the value 0 has no words at all, so some bit that the printer sees is set.
        private KernelTable.@Nullable Told some(String words, long bits, long mask) {
            long open = dialect.mask() & seen & ~mask;
            if (bits != 0 || Long.bitCount(open) > 1) {
                return new KernelTable.Told(words, bits, mask);
            }
            return open == 0 ? null : new KernelTable.Told(words, open, mask | open);
        }
    }

    private static final long NONE = -1;
    private static final long MANY = -2;

    /// The value of the bits `open` that no row excludes; [#NONE], or [#MANY] if there are more.
    private static long left(List<Attribute> others, long open, long mask, long bits) {
        long found = NONE;
        long value = 0;
        do {
            long candidate = value;
            boolean excluded = others.stream()
                    .anyMatch(row ->
                            (row.mask() & ~(mask | open)) == 0 && ((bits | candidate) & row.mask()) == row.bits());
            if (!excluded) {
                if (found != NONE) {
                    return MANY;
                }
                found = candidate;
            }
            value = (value - open) & open;
        } while (value != 0);
        return found;
    }
}
