package dev.s2snap.vmsa;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.vmsa.Finding.Rule;
import dev.s2snap.vmsa.LeafRun.Kind;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class LeafRunsTest {
    private static final long ATTRIBUTES = 0x7fc;

    @Test
    void aRunGoesAcrossTablesAndConcatenatedRootPages() {
        TestTables tables = TestTables.of(Geometries.S2_4K_32, 2);
        // The last block of the first root page and the first of the second.
        tables.map(0x3fe0_0000L, 2, 0x7fe0_0000L, ATTRIBUTES);
        tables.map(0x4000_0000L, 2, 0x8000_0000L, ATTRIBUTES);
        // The last page of one table and the first of the next.
        tables.map(0x803f_f000L, 3, 0x1000, ATTRIBUTES);
        tables.map(0x8040_0000L, 3, 0x2000, ATTRIBUTES);
        LeafRuns.Result result = LeafRuns.of(tables.table());
        assertThat(result.runs())
                .containsExactly(
                        new LeafRun(0x3fe0_0000L, 0x4020_0000L, 2, Kind.BLOCK, 0x7fe0_0000L, ATTRIBUTES | 1),
                        new LeafRun(0x803f_f000L, 0x8040_1000L, 3, Kind.PAGE, 0x1000, ATTRIBUTES | 3));
        assertThat(result.complete()).isTrue();
        assertThat(result.findings()).isEmpty();
        assertThat(result.runs()).allMatch(LeafRun::mapped);
        assertThat(result.runs()).extracting(LeafRun::size).containsExactly(0x40_0000L, 0x2000L);
        assertCounts(result.counts(), TableCounts.Kind.TABLES, 0, 0, 0, 4, 2);
        assertCounts(result.counts(), TableCounts.Kind.LEAVES, 0, 0, 0, 2, 2);
        assertCounts(result.counts(), TableCounts.Kind.ANNOTATED, 0, 0, 0, 0, 0);
        assertCounts(result.counts(), TableCounts.Kind.EMPTY, 0, 0, 0, 4 * 512 - 4, 2 * 512 - 2);
        assertThat(result.counts().total(TableCounts.Kind.EMPTY)).isEqualTo(6 * 512 - 6);
    }

    @Test
    void aRunEndsWhereLevelBitsOutputOrInputChange() {
        TestTables tables = TestTables.of(Geometries.S2_4K_32, 2);
        tables.map(0x0000_0000L, 2, 0x4000_0000L, ATTRIBUTES);
        // In step, but a page.
        tables.map(0x0020_0000L, 3, 0x4020_0000L, ATTRIBUTES);
        tables.map(0x0020_1000L, 3, 0x4020_1000L, ATTRIBUTES | 1L << 55);
        tables.map(0x0020_2000L, 3, 0x4020_3000L, ATTRIBUTES | 1L << 55);
        tables.map(0x0020_4000L, 3, 0x4020_5000L, ATTRIBUTES | 1L << 55);
        tables.map(0x0040_0000L, 2, 0x4000_0000L, ATTRIBUTES);
        assertThat(LeafRuns.of(tables.table()).runs())
                .extracting(LeafRun::start)
                .containsExactly(0L, 0x20_0000L, 0x20_1000L, 0x20_2000L, 0x20_4000L, 0x40_0000L);
    }

    @Test
    void annotationsAndReservedEncodingsAreRunsOfEqualValues() {
        TestTables tables = TestTables.of(Geometries.S2_4K_32, 2);
        for (int page = 0; page < 4; page++) {
            tables.set(page * 0x1000L, 3, 0x4);
        }
        tables.set(0x4000, 3, 0x400);
        // Reserved: its address is no address, so two of them in step are two runs.
        tables.set(0x5000, 3, 0x5001);
        tables.set(0x6000, 3, 0x6001);
        tables.set(0x7000, 3, 0x6001);
        // Neighbours in input, but of another level.
        tables.set(0x1f_f000L, 3, 0x8);
        tables.set(0x20_0000L, 2, 0x8);
        LeafRuns.Result result = LeafRuns.of(tables.table());
        assertThat(result.runs())
                .containsExactly(
                        new LeafRun(0, 0x4000, 3, Kind.INVALID, 0, 0x4),
                        new LeafRun(0x4000, 0x5000, 3, Kind.INVALID, 0, 0x400),
                        new LeafRun(0x5000, 0x6000, 3, Kind.INVALID, 0, 0x5001),
                        new LeafRun(0x6000, 0x8000, 3, Kind.INVALID, 0, 0x6001),
                        new LeafRun(0x1f_f000L, 0x20_0000L, 3, Kind.INVALID, 0, 0x8),
                        new LeafRun(0x20_0000L, 0x40_0000L, 2, Kind.INVALID, 0, 0x8));
        assertThat(result.runs()).noneMatch(LeafRun::mapped);
        assertThat(result.counts().get(TableCounts.Kind.ANNOTATED, 3)).isEqualTo(9);
        assertThat(result.findings()).hasSize(3);
        assertThat(result.complete()).isTrue();
    }

    @Test
    void aTableWithoutLeavesHasNoRuns() {
        LeafRuns.Result result =
                LeafRuns.of(TestTables.of(Geometries.S2_4K_40, 0).table());
        assertThat(result.runs()).isEmpty();
        assertThat(result.counts().total(TableCounts.Kind.TABLES)).isEqualTo(2);
        assertThat(result.counts().total(TableCounts.Kind.EMPTY)).isEqualTo(1024);
    }

    @Test
    void aTableThatCouldNotBeEnteredIsIncompleteAndInterruptsARun() {
        TestTables tables = TestTables.of(Geometries.S2_4K_32, 2);
        tables.map(0x0000_0000L, 2, 0x4000_0000L, ATTRIBUTES);
        tables.point(0x0020_0000L, 2, 0x7_0000_0000L);
        tables.map(0x0040_0000L, 2, 0x4040_0000L, ATTRIBUTES);
        LeafRuns.Result absent = LeafRuns.of(tables.table());
        assertThat(absent.complete()).isFalse();
        assertThat(absent.runs())
                .containsExactly(
                        new LeafRun(0, 0x20_0000L, 2, Kind.BLOCK, 0x4000_0000L, ATTRIBUTES | 1),
                        new LeafRun(0x40_0000L, 0x60_0000L, 2, Kind.BLOCK, 0x4040_0000L, ATTRIBUTES | 1));
        assertThat(absent.unread()).containsExactly(new LeafRuns.Unread(0x20_0000L, 0x40_0000L));
        assertThat(absent.unreadBytes()).isEqualTo(0x20_0000L);
        // A cycle and a second parent are as bad; a wrong encoding is not.
        tables.point(0x0020_0000L, 2, tables.root);
        assertThat(LeafRuns.of(tables.table()).complete()).isFalse();
        long shared = tables.newPage();
        tables.point(0x0020_0000L, 2, shared);
        assertThat(LeafRuns.of(tables.table()).complete()).isTrue();
        tables.point(0x0060_0000L, 2, shared);
        assertThat(LeafRuns.of(tables.table()).complete()).isFalse();
    }

    @Test
    void whatCouldNotBeReadIsSummedUpAndJoined() {
        TestTables tables = TestTables.of(Geometries.S2_4K_32, 2);
        tables.point(0x0020_0000L, 2, 0x7_0000_0000L);
        tables.point(0x0040_0000L, 2, 0x7_0000_1000L);
        tables.point(0x0080_0000L, 2, tables.root);
        LeafRuns.Result result = LeafRuns.of(tables.table());
        assertThat(result.unread())
                .containsExactly(
                        new LeafRuns.Unread(0x20_0000L, 0x60_0000L), new LeafRuns.Unread(0x80_0000L, 0xa0_0000L));
        assertThat(result.unreadBytes()).isEqualTo(0x60_0000L);
        assertThat(result.totalFindings()).isEqualTo(3);
    }

    @Test
    void findingsBeyondTheLimitAreCountedAndNotKept() {
        TestTables tables = TestTables.of(Geometries.S2_4K_32, 8);
        for (int page = 0; page < 3 * 512; page++) {
            tables.set(page * 0x1000L, 3, 0x5001);
        }
        tables.point(0x4000_0000L, 2, tables.root);
        // Every second block of 2M has no table: ranges that do not meet, more than are listed.
        for (int block = 4; block < 512; block += 2) {
            tables.point(0x0020_0000L * block, 2, 0x7_0000_0000L);
        }
        for (int block = 514; block < 2048; block += 2) {
            tables.point(0x0020_0000L * block, 2, 0x7_0000_0000L);
        }
        LeafRuns.Result result = LeafRuns.of(tables.table());
        assertThat(result.findings()).hasSize(2001);
        assertThat(result.unlisted())
                .containsExactly(
                        Map.entry(Rule.ABSENT_TABLE, 254L + 767 - 1000), Map.entry(Rule.RESERVED_ENCODING, 536L));
        assertThat(result.totalFindings()).isEqualTo(1536 + 1 + 254 + 767);
        assertThat(result.unreadBytes()).isEqualTo((254 + 767 + 1) * 0x20_0000L);
        assertThat(result.unread()).hasSize(1000);
        assertThat(result.unread().getLast().end()).isEqualTo(0xffe0_0000L);
    }

    @Test
    void aRunEndsWhereTheNextAddressWouldCarryIntoOtherBits() {
        TestTables tables = TestTables.of(Geometries.EL2_4K_48, 3);
        tables.set(0x1000, 3, 0x0000_ffff_ffff_e7ffL);
        tables.set(0x2000, 3, 0x0000_ffff_ffff_f7ffL);
        // The sum of the descriptor before it and a page, but bit 48 is no address bit.
        tables.set(0x3000, 3, 0x0001_0000_0000_07ffL);
        LeafRuns.Result result = LeafRuns.of(tables.table());
        assertThat(result.runs())
                .containsExactly(
                        new LeafRun(0x1000, 0x3000, 3, Kind.PAGE, 0x0000_ffff_ffff_e000L, 0x7ff),
                        new LeafRun(0x3000, 0x4000, 3, Kind.PAGE, 0, 0x0001_0000_0000_07ffL));
        assertThat(result.findings()).extracting(Finding::rule).containsExactly(Rule.RESERVED_BITS);
    }

    @Test
    void whatTableDescriptorsRestrictIsKnown() {
        TestTables tables = TestTables.of(new TableGeometry(TranslationRegime.EL1_0, 12, 48, 0, false), 4);
        tables.map(0x1000, 3, 0x4000_0000L, ATTRIBUTES);
        assertThat(LeafRuns.of(tables.table()).tableAttributes()).isZero();
        long level1 = tables.pages().getFirst();
        tables.set(0, 0, level1 | 3 | 1L << 59);
        tables.set(0, 1, tables.pages().get(1) | 3 | 1L << 62);
        // Of a leaf bits 62:59 are other bits.
        tables.set(0x2000, 3, 0x4000_07ffL | 1L << 60);
        assertThat(LeafRuns.of(tables.table()).tableAttributes()).isEqualTo(1L << 62 | 1L << 59);
    }

    @Test
    void theLastRunOfTheUpperRangeEndsAtZero() {
        TestTables tables = TestTables.of(new TableGeometry(TranslationRegime.EL1_0_UPPER, 12, 48, 0, false), 3);
        tables.map(-0x1000L, 3, 0x4000_0000L, ATTRIBUTES);
        assertThat(LeafRuns.of(tables.table()).runs())
                .containsExactly(new LeafRun(-0x1000L, 0, 3, Kind.PAGE, 0x4000_0000L, ATTRIBUTES | 3));
    }

    @Test
    void theSinkGetsEachRunAsSoonAsItIsComplete() {
        TestTables tables = TestTables.of(Geometries.S2_4K_32, 2);
        tables.map(0, 2, 0, ATTRIBUTES);
        tables.map(0x4000_0000L, 2, 0, ATTRIBUTES);
        List<LeafRun> sink = new ArrayList<>();
        LeafRuns runs = new LeafRuns(tables.geometry, sink::add);
        tables.table().walk(runs);
        assertThat(sink).extracting(LeafRun::start).containsExactly(0L);
        runs.finish();
        assertThat(sink).extracting(LeafRun::start).containsExactly(0L, 0x4000_0000L);
        runs.finish();
        assertThat(sink).hasSize(2);
        assertThat(runs.counts().total(TableCounts.Kind.LEAVES)).isEqualTo(2);
        assertThat(runs.findings()).isEmpty();
    }

    @Test
    void kindsHaveTheNamesThatProgramsSee() {
        assertThat(Kind.values()).extracting(Kind::id).containsExactly("block", "page", "invalid");
        assertThat(TableCounts.Kind.values())
                .extracting(TableCounts.Kind::id)
                .containsExactly("tables", "leaves", "annotated", "empty");
    }

    private static void assertCounts(TableCounts counts, TableCounts.Kind kind, long... byLevel) {
        for (int level = -1; level <= 3; level++) {
            assertThat(counts.get(kind, level))
                    .as("%s at level %d", kind, level)
                    .isEqualTo(byLevel[level + 1]);
        }
    }

    // Against a naive walk.

    static TableGeometry[] geometries() {
        return Geometries.all();
    }

    @ParameterizedTest
    @MethodSource("geometries")
    void agreesWithANaiveWalkEntryByEntry(TableGeometry geometry) {
        for (long seed = 0; seed < 40; seed++) {
            assertAgrees(geometry, seed);
        }
    }

    /// All shapes that there are, each with a few trees. FORMAT_COVERAGE.md names this test.
    @ParameterizedTest
    @MethodSource("cells")
    void everyShapeAgreesWithANaiveWalk(TranslationRegime regime, int granuleShift, boolean lpa2) {
        int shapes = 0;
        for (int startLevel = -1; startLevel <= 3; startLevel++) {
            for (int inputBits = 16; inputBits <= 52; inputBits++) {
                TableGeometry geometry;
                try {
                    geometry = new TableGeometry(regime, granuleShift, inputBits, startLevel, lpa2);
                } catch (GeometryException e) {
                    continue;
                }
                shapes++;
                for (long seed = 0; seed < 3; seed++) {
                    assertAgrees(geometry, 1000 * shapes + seed);
                }
            }
        }
        // Of a stage 1 each input size has one root below the largest, of a stage 2 up to five.
        assertThat(shapes).isGreaterThan(25);
    }

    static List<Arguments> cells() {
        List<Arguments> cells = new ArrayList<>();
        for (TranslationRegime regime : TranslationRegime.values()) {
            for (int granuleShift : new int[] {12, 14, 16}) {
                cells.add(Arguments.of(regime, granuleShift, false));
                if (granuleShift != 16) {
                    cells.add(Arguments.of(regime, granuleShift, true));
                }
            }
        }
        return cells;
    }

    private static void assertAgrees(TableGeometry geometry, long seed) {
        TestTables tables = grow(geometry, new SplittableRandom(seed));
        Naive naive = new Naive(tables);
        LeafRuns.Result result = LeafRuns.of(tables.table());
        assertThat(result.runs()).as("%s, seed %d", geometry, seed).isEqualTo(naive.runs);
        for (TableCounts.Kind kind : TableCounts.Kind.values()) {
            for (int level = -1; level <= 3; level++) {
                assertThat(result.counts().get(kind, level))
                        .as("%s, seed %d, %s at level %d", geometry, seed, kind, level)
                        .isEqualTo(naive.counts[kind.ordinal()][level + 1]);
            }
        }
        assertMaximal(result.runs());
        assertThat(result.unreadBytes()).isEqualTo(naive.absent);
        assertThat(result.complete()).isEqualTo(naive.absent == 0);
        for (LeafRun run : result.runs()) {
            assertTranslates(tables, run);
        }
    }

    /// Both ways to read a table say the same of the first and last byte of a run.
    private static void assertTranslates(TestTables tables, LeafRun run) {
        for (long offset : new long[] {0, run.size() - 1}) {
            Translation translation = tables.table().translate(run.start() + offset);
            if (run.mapped()) {
                assertThat(translation)
                        .isInstanceOfSatisfying(
                                Translation.Mapped.class,
                                mapped -> assertThat(mapped.output()).isEqualTo(run.output() + offset));
            } else {
                assertThat(translation).isInstanceOf(Translation.Fault.class);
            }
        }
    }

    /// No run could be joined with the next one.
    private static void assertMaximal(List<LeafRun> runs) {
        for (int i = 1; i < runs.size(); i++) {
            LeafRun a = runs.get(i - 1);
            LeafRun b = runs.get(i);
            assertThat(Long.compareUnsigned(a.end() - 1, b.start())).isLessThan(0);
            boolean inStep = !a.mapped() || b.output() - a.output() == b.start() - a.start();
            boolean joinable = a.end() == b.start()
                    && a.level() == b.level()
                    && a.kind() == b.kind()
                    && a.bits() == b.bits()
                    && inStep;
            assertThat(joinable).as("%s and %s", a, b).isFalse();
        }
    }

    /// A random tree: a few tables of each level, filled with stretches of leaves in step, annotations and reserved
    /// encodings, some of which go on in the next table.
    private static TestTables grow(TableGeometry geometry, SplittableRandom random) {
        TestTables tables = TestTables.of(geometry, 64);
        int granule = geometry.granuleShift();
        int addressBits = geometry.lpa2() || granule == 16 ? 52 : 48;
        int stretches = random.nextInt(1, 12);
        long input = 0;
        for (int i = 0; i < stretches && tables.memory.pages() < 50; i++) {
            int level = random.nextInt(geometry.startLevel(), 4);
            long size = tables.size(level);
            // Near the last one more often than not, so that stretches touch, overlap and cross tables.
            input = random.nextInt(3) == 0 || input >>> geometry.inputBits() != 0
                    ? random.nextLong() >>> (64 - geometry.inputBits())
                    : input + random.nextLong(-4, 5) * size & (1L << geometry.inputBits()) - 1;
            input &= -size;
            long output = random.nextLong() >>> (64 - addressBits) & -size;
            long attributes = random.nextInt(4) << 6 | (random.nextBoolean() ? 1L << 55 : 0) | 0x43c;
            int kind = random.nextInt(8);
            int count = random.nextInt(1, 40);
            for (int k = 0; k < count && input >>> geometry.inputBits() == 0; k++, input += size) {
                switch (kind) {
                    case 0 -> place(tables, input, level, random.nextBoolean() ? 0x4 : 0x8);
                    case 1 -> place(tables, input, level, 0x4);
                    case 2 -> place(tables, input, level, 0);
                    case 3 -> place(tables, input, level, attributes | 1 | (size & 0xfff_f000));
                    case 4 ->
                        place(tables, input, level, level < 3 ? TestTables.encode(geometry, 0x3ff_0000_0000L) | 3 : 0);
                    default ->
                        place(
                                tables,
                                input,
                                level,
                                TestTables.encode(geometry, output + k * size & (1L << addressBits) - 1)
                                        | (attributes & (geometry.lpa2() ? ~0x300L : -1))
                                        | (level == 3 ? 3 : 1));
                }
            }
        }
        return tables;
    }

    /// Writes an entry unless there is a table in its place, or a pointer to nowhere on the way to it.
    private static void place(TestTables tables, long input, int level, long descriptor) {
        long nowhere = TestTables.encode(tables.geometry, 0x3ff_0000_0000L) | 3;
        for (int l = tables.geometry.startLevel(); l < level; l++) {
            if (tables.memory.get(tables.entry(input, l)) == nowhere) {
                return;
            }
        }
        long entry = tables.entry(input, level);
        long old = tables.memory.get(entry);
        if (level == 3 || (old & 3) != 3 || old == nowhere) {
            tables.memory.set(entry, descriptor);
        }
    }

    /// Reads one entry after the other, and joins neighbours at the end. Decodes by itself.
    private static final class Naive {
        private final TestTables tables;
        private final int granule;
        final List<LeafRun> runs = new ArrayList<>();
        final long[][] counts = new long[TableCounts.Kind.values().length][5];
        /// Bytes of input below tables that are not there.
        long absent;

        Naive(TestTables tables) {
            this.tables = tables;
            granule = tables.geometry.granuleShift();
            int start = tables.geometry.startLevel();
            String regime = tables.geometry.regime().id();
            long base = regime.endsWith("upper") ? -1L << tables.geometry.inputBits() : 0;
            long entries = 1L << (tables.geometry.inputBits() - TestTables.shift(granule, start));
            long perPage = 1L << (granule - 3);
            for (long i = 0; i < entries; i++) {
                if (i % perPage == 0) {
                    counts[TableCounts.Kind.TABLES.ordinal()][start + 1]++;
                }
                entry(tables.root + i * 8, start, base + (i << TestTables.shift(granule, start)));
            }
        }

        private void entry(long address, int level, long input) {
            long value = tables.memory.get(address);
            long size = 1L << TestTables.shift(granule, level);
            if ((value & 3) == 3 && level < 3) {
                long table = output(value, 1L << granule);
                if (tables.memory.offset(table, 8) == -1) {
                    absent += size;
                    return;
                }
                counts[TableCounts.Kind.TABLES.ordinal()][level + 2]++;
                for (int i = 0; i < 1 << (granule - 3); i++) {
                    entry(table + i * 8L, level + 1, input + i * (size >>> (granule - 3)));
                }
            } else if (value == 0) {
                counts[TableCounts.Kind.EMPTY.ordinal()][level + 1]++;
            } else if (level == 3 ? (value & 3) == 3 : (value & 3) == 1 && blocks(level)) {
                counts[TableCounts.Kind.LEAVES.ordinal()][level + 1]++;
                long bits = value;
                for (int bit = 0; bit < 64; bit++) {
                    if (addressBit(bit, TestTables.shift(granule, level))) {
                        bits &= ~(1L << bit);
                    }
                }
                join(new LeafRun(
                        input, input + size, level, level == 3 ? Kind.PAGE : Kind.BLOCK, output(value, size), bits));
            } else {
                counts[TableCounts.Kind.ANNOTATED.ordinal()][level + 1]++;
                join(new LeafRun(input, input + size, level, Kind.INVALID, 0, value));
            }
        }

        private boolean blocks(int level) {
            boolean large = tables.geometry.lpa2();
            return switch (granule) {
                case 12 -> large ? level >= 0 : level >= 1;
                case 14 -> large ? level >= 1 : level >= 2;
                default -> level >= 1;
            };
        }

        private boolean addressBit(int bit, int shift) {
            if (tables.geometry.lpa2()) {
                return (bit >= shift && bit < 50) || bit == 8 || bit == 9;
            }
            return (bit >= shift && bit < 48) || (granule == 16 && bit >= 12 && bit < 16);
        }

        private long output(long value, long size) {
            long address = 0;
            for (int bit = 0; bit < 64; bit++) {
                if ((value >>> bit & 1) != 0 && addressBit(bit, Long.numberOfTrailingZeros(size))) {
                    int place = bit >= Long.numberOfTrailingZeros(size)
                            ? bit
                            : tables.geometry.lpa2() ? bit + 42 : bit + 36;
                    address |= 1L << place;
                }
            }
            return address;
        }

        private void join(LeafRun next) {
            LeafRun last = runs.isEmpty() ? null : runs.getLast();
            if (last != null
                    && last.end() == next.start()
                    && last.level() == next.level()
                    && last.kind() == next.kind()
                    && last.bits() == next.bits()
                    && (next.kind() == Kind.INVALID || last.output() + (last.end() - last.start()) == next.output())) {
                runs.set(
                        runs.size() - 1,
                        new LeafRun(last.start(), next.end(), last.level(), last.kind(), last.output(), last.bits()));
            } else {
                runs.add(next);
            }
        }
    }
}
