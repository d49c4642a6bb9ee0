package dev.s2snap.vmsa;

/// Number of table pages and of entries of each kind, per level. A concatenated root counts as many tables as pages.
public final class TableCounts {

    /// The kinds of entries, and the table pages.
    public enum Kind {
        TABLES("tables"),
        LEAVES("leaves"),
        ANNOTATED("annotated"),
        EMPTY("empty");

        private final String id;

        Kind(String id) {
            this.id = id;
        }

        public String id() {
            return id;
        }
    }

    private final long[][] counts = new long[Kind.values().length][5];

    void add(Kind kind, int level, long number) {
        counts[kind.ordinal()][level - TableGeometry.FIRST_LEVEL] += number;
    }

    /// Number of `kind` at `level` (-1 to 3). Reserved encodings count as annotated: hardware ignores them.
    public long get(Kind kind, int level) {
        return counts[kind.ordinal()][level - TableGeometry.FIRST_LEVEL];
    }

    public long total(Kind kind) {
        long sum = 0;
        for (long number : counts[kind.ordinal()]) {
            sum += number;
        }
        return sum;
    }
}
