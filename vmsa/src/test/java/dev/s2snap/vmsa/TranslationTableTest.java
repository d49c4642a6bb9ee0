package dev.s2snap.vmsa;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.vmsa.Finding.Rule;
import dev.s2snap.vmsa.Finding.Step;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TranslationTableTest {
    private static final long ATTRIBUTES = 0x7fc;

    /// Writes down all callbacks of a walk, one line each.
    private static final class Journal implements EntryVisitor {
        final List<String> lines = new ArrayList<>();
        final List<Finding> findings = new ArrayList<>();

        static Journal of(TranslationTable table) {
            Journal journal = new Journal();
            table.walk(journal);
            return journal;
        }

        @Override
        public void table(long address, int level, long inputAddress) {
            lines.add("table %x L%d at %x".formatted(address, level, inputAddress));
        }

        @Override
        public void entries(MemorySegment bytes, long offset, int count, int level, long inputAddress) {
            lines.add("%d entries L%d at %x, first %x, last %x"
                    .formatted(
                            count,
                            level,
                            inputAddress,
                            bytes.get(PhysicalMemory.LE64, offset),
                            bytes.get(PhysicalMemory.LE64, offset + (count - 1) * 8L)));
        }

        @Override
        public void finding(Finding finding) {
            lines.add(finding.rule().id());
            findings.add(finding);
        }
    }

    @Nested
    class Translate {

        /// One leaf of each level that there is, in a table of five levels.
        @ParameterizedTest
        @CsvSource({"0, 0x000c_4321_8765_4321", "1, 0x000c_4321_8765_4321", "2, 0x000c_4321_8765_4321", "3, 0x1234"})
        void findsALeafOfEveryLevel(int level, String address) {
            TestTables tables = TestTables.of(Geometries.EL2_4K_52, 8);
            long input = Long.decode(address.replace("_", ""));
            long size = tables.size(level);
            long output = 0x000d_5a5a_5a5a_5000L & -size;
            long entry = tables.map(input, level, output, ATTRIBUTES & ~0x300);
            assertThat(tables.table().translate(input)).isInstanceOfSatisfying(Translation.Mapped.class, mapped -> {
                assertThat(mapped.output()).isEqualTo(output | (input & size - 1));
                assertThat(mapped.level()).isEqualTo(level);
                assertThat(mapped.descriptor()).isEqualTo(tables.memory.get(entry));
                assertThat(mapped.path()).extracting(Step::level).containsExactlyElementsOf(levels(-1, level));
                assertThat(mapped.path())
                        .extracting(Step::inputAddress)
                        .containsExactlyElementsOf(levels(-1, level).stream()
                                .map(l -> input & -tables.size(l))
                                .toList());
                assertThat(mapped.path().getFirst().address()).isEqualTo(tables.root + (input >>> 48) * 8);
                assertThat(mapped.path().getLast().address()).isEqualTo(entry);
                assertThat(mapped.path())
                        .extracting(Step::descriptor)
                        .isEqualTo(mapped.path().stream()
                                .map(step -> tables.memory.get(step.address()))
                                .toList());
            });
        }

        private List<Integer> levels(int first, int last) {
            List<Integer> levels = new ArrayList<>();
            for (int level = first; level <= last; level++) {
                levels.add(level);
            }
            return levels;
        }

        @Test
        void numbersTheEntriesOfAConcatenatedRootThrough() {
            TestTables tables = TestTables.of(Geometries.S2_4K_32, 0);
            // 2 MiB blocks: entry 512 is the first of the second page, 2047 the last of the fourth.
            tables.map(0x4000_0000L, 2, 0x4000_0000L, ATTRIBUTES);
            tables.map(0xffe0_0000L, 2, 0x1_0020_0000L, ATTRIBUTES);
            assertThat(tables.memory.get(tables.root + 0x1000)).isEqualTo(0x4000_07fdL);
            assertThat(tables.memory.get(tables.root + 0x3ff8)).isEqualTo(0x1_0020_07fdL);
            assertThat(tables.table().translate(0x4012_3456L))
                    .isEqualTo(new Translation.Mapped(
                            List.of(new Step(2, tables.root + 0x1000, 0x4000_0000L, 0x4000_07fdL)),
                            2,
                            0x4000_07fdL,
                            0x4012_3456L));
            assertThat(tables.table().translate(0xffff_ffffL))
                    .isEqualTo(new Translation.Mapped(
                            List.of(new Step(2, tables.root + 0x3ff8, 0xffe0_0000L, 0x1_0020_07fdL)),
                            2,
                            0x1_0020_07fdL,
                            0x1_003f_ffffL));
        }

        @Test
        void faultsAtAnEmptyAnAnnotatedAndAReservedEntry() {
            TestTables tables = TestTables.of(Geometries.S2_4K_48, 4);
            tables.set(0x1000, 3, 0x4);
            tables.set(0x2000, 3, 0x2001);
            tables.set(0x80_0000_0000L, 0, 0x80_0000_0001L);
            TranslationTable table = tables.table();
            assertThat(table.translate(0x0)).isInstanceOfSatisfying(Translation.Fault.class, fault -> {
                assertThat(fault.level()).isEqualTo(3);
                assertThat(fault.descriptor()).isZero();
                assertThat(fault.path()).hasSize(4);
            });
            assertThat(table.translate(0x1fff))
                    .isInstanceOfSatisfying(
                            Translation.Fault.class,
                            fault -> assertThat(fault.descriptor()).isEqualTo(0x4));
            // Level 3 with bit 1 clear, and a level-0 block without DS.
            assertThat(table.translate(0x2000))
                    .isInstanceOfSatisfying(
                            Translation.Fault.class,
                            fault -> assertThat(fault.level()).isEqualTo(3));
            assertThat(table.translate(0x80_0000_0000L))
                    .isEqualTo(new Translation.Fault(
                            List.of(new Step(0, tables.root + 8, 0x80_0000_0000L, 0x80_0000_0001L)),
                            0,
                            0x80_0000_0001L));
            assertThat(table.translate(0x100_0000_0000L)).isInstanceOf(Translation.Fault.class);
        }

        @Test
        void refusesAddressesBeyondTheInputSize() {
            TestTables tables = TestTables.of(Geometries.S2_4K_36, 0);
            assertThat(tables.table().translate(0xf_ffff_ffffL)).isInstanceOf(Translation.Fault.class);
            assertThat(tables.table().translate(0x10_0000_0000L)).isEqualTo(new Translation.OutOfRange(36));
            assertThat(tables.table().translate(-1)).isEqualTo(new Translation.OutOfRange(36));
        }

        @Test
        void saysWhichDescriptorIsMissing() {
            TestTables tables = TestTables.of(Geometries.S2_4K_40, 0);
            long entry = tables.point(0x80_4000_0000L, 1, 0x7_0000_0000L);
            assertThat(tables.table().translate(0x80_4020_0123L))
                    .isEqualTo(new Translation.Unreadable(
                            List.of(new Step(1, entry, 0x80_4000_0000L, 0x7_0000_0003L)), 2, 0x7_0000_0008L));
            TranslationTable nowhere = new TranslationTable(tables.memory, Geometries.S2_4K_40, 0x9_0000_0000L);
            assertThat(nowhere.translate(0x4000_0000L))
                    .isEqualTo(new Translation.Unreadable(List.of(), 1, 0x9_0000_0008L));
        }

        @Test
        void readsAPartialRootInTheMiddleOfAPage() {
            TestMemory memory = new TestMemory(12, 4);
            TestTables tables = new TestTables(Geometries.S2_4K_36, memory, 0x4000_0200L, 0x5000_0000L);
            tables.map(0xf_c000_0000L, 1, 0xf_c000_0000L, ATTRIBUTES);
            assertThat(memory.get(0x4000_03f8L)).isEqualTo(0xf_c000_07fdL);
            assertThat(tables.table().translate(0xf_c123_4567L))
                    .isInstanceOfSatisfying(
                            Translation.Mapped.class,
                            mapped -> assertThat(mapped.output()).isEqualTo(0xf_c123_4567L));
        }
    }

    @Nested
    class Walk {

        @Test
        void visitsTablesBeforeTheirChildrenInAscendingInputAddress() {
            TestTables tables = TestTables.of(Geometries.S2_4K_32, 8);
            tables.map(0x0000_0000L, 2, 0x4000_0000L, ATTRIBUTES);
            tables.map(0x0020_0000L, 3, 0x8000_0000L, ATTRIBUTES);
            tables.set(0x003f_f000L, 3, 0x4);
            tables.map(0x0040_0000L, 3, 0x8000_1000L, ATTRIBUTES);
            tables.map(0x4000_0000L, 2, 0x4000_0000L, ATTRIBUTES);
            tables.map(0xffff_f000L, 3, 0xffff_f000L, ATTRIBUTES);
            Journal journal = Journal.of(tables.table());
            long a = tables.pages().get(0);
            long b = tables.pages().get(1);
            long c = tables.pages().get(2);
            assertThat(journal.lines)
                    .containsExactly(
                            "table 40000000 L2 at 0",
                            "1 entries L2 at 0, first 400007fd, last 400007fd",
                            "table %x L3 at 200000".formatted(a),
                            "512 entries L3 at 200000, first 800007ff, last 4",
                            "table %x L3 at 400000".formatted(b),
                            "512 entries L3 at 400000, first 800017ff, last 0",
                            "509 entries L2 at 600000, first 0, last 0",
                            "table 40001000 L2 at 40000000",
                            "512 entries L2 at 40000000, first 400007fd, last 0",
                            "table 40002000 L2 at 80000000",
                            "512 entries L2 at 80000000, first 0, last 0",
                            "table 40003000 L2 at c0000000",
                            "511 entries L2 at c0000000, first 0, last 0",
                            "table %x L3 at ffe00000".formatted(c),
                            "512 entries L3 at ffe00000, first 0, last fffff7ff");
        }

        @Test
        void looksOnlyAtTheEntriesOfAPartialRoot() {
            TestMemory memory = new TestMemory(12, 4);
            TestTables tables = new TestTables(Geometries.S2_4K_36, memory, 0x4000_0200L, 0x5000_0000L);
            // Before and behind the root lies what is not ours.
            memory.set(0x4000_01f8L, 0x6000_0003L);
            memory.set(0x4000_0400L, 0x6000_0003L);
            tables.map(0xf_c000_0000L, 1, 0xf_c000_0000L, ATTRIBUTES);
            assertThat(Journal.of(tables.table()).lines)
                    .containsExactly("table 40000200 L1 at 0", "64 entries L1 at 0, first 0, last fc00007fd");
        }

        @Test
        void hasNothingToSplitAtARootOfLastLevel() {
            TestTables tables = TestTables.of(Geometries.EL2_4K_16, 0);
            tables.map(0xf000, 3, 0x1000, ATTRIBUTES);
            assertThat(Journal.of(tables.table()).lines)
                    .containsExactly("table 40000000 L3 at 0", "16 entries L3 at 0, first 0, last 17ff");
        }

        @Test
        void goesOnBehindATableThatIsNotInTheMemory() {
            TestTables tables = TestTables.of(Geometries.S2_4K_32, 2);
            long entry = tables.point(0x0020_0000L, 2, 0x7_0000_0000L);
            tables.map(0x0040_0000L, 2, 0x4040_0000L, ATTRIBUTES);
            Journal journal = Journal.of(tables.table());
            assertThat(journal.lines.subList(0, 4))
                    .containsExactly(
                            "table 40000000 L2 at 0",
                            "1 entries L2 at 0, first 0, last 0",
                            "absent-table",
                            "510 entries L2 at 400000, first 404007fd, last 0");
            assertThat(journal.findings)
                    .containsExactly(new Finding(
                            Rule.ABSENT_TABLE,
                            List.of(new Step(2, entry, 0x0020_0000L, 0x7_0000_0003L)),
                            "the level 3 table at 0x700000000 is not in this memory"));
        }

        @Test
        void reportsEachPageOfTheRootThatIsAbsent() {
            TestMemory memory = new TestMemory(12, 4);
            memory.add(0x4000_1000L, 1);
            TranslationTable table = new TranslationTable(memory, Geometries.S2_4K_40, 0x4000_0000L);
            assertThat(Journal.of(table).lines)
                    .containsExactly(
                            "absent-table",
                            "table 40001000 L1 at 8000000000",
                            "512 entries L1 at 8000000000, first 0, last 0");
            Journal nothing = Journal.of(new TranslationTable(memory, Geometries.S2_4K_40, 0x5000_0000L));
            assertThat(nothing.findings)
                    .containsExactly(
                            new Finding(
                                    Rule.ABSENT_TABLE,
                                    List.of(),
                                    "the level 1 table at 0x50000000 is not in this memory"),
                            new Finding(
                                    Rule.ABSENT_TABLE,
                                    List.of(),
                                    "the level 1 table at 0x50001000 is not in this memory"));
        }

        @Test
        void doesNotFollowATableIntoItself() {
            TestTables tables = TestTables.of(Geometries.S2_4K_48, 2);
            long level1 = tables.newPage();
            long entry0 = tables.point(0, 0, level1);
            // The table of level 1 is its own child.
            long entry1 = tables.point(0x4000_0000L, 1, level1);
            tables.map(0x8000_0000L, 1, 0x8000_0000L, ATTRIBUTES);
            Journal journal = Journal.of(tables.table());
            assertThat(journal.findings)
                    .containsExactly(new Finding(
                            Rule.TABLE_CYCLE,
                            List.of(new Step(0, entry0, 0, level1 | 3), new Step(1, entry1, 0x4000_0000L, level1 | 3)),
                            "the level 2 table at 0x%x is its own ancestor".formatted(level1)));
            assertThat(journal.lines)
                    .containsExactly(
                            "table 40000000 L0 at 0",
                            "table %x L1 at 0".formatted(level1),
                            "1 entries L1 at 0, first 0, last 0",
                            "table-cycle",
                            "510 entries L1 at 80000000, first 800007fd, last 0",
                            "511 entries L0 at 8000000000, first 0, last 0");
        }

        /// The recursive map that some kernels use on purpose.
        @Test
        void reportsARootThatMapsItselfOnceForEachEntry() {
            TestTables tables = TestTables.of(Geometries.EL2_4K_48, 0);
            tables.point(0, 0, tables.root);
            tables.point(511L << 39, 0, tables.root);
            Journal journal = Journal.of(tables.table());
            assertThat(journal.findings).extracting(Finding::rule).containsExactly(Rule.TABLE_CYCLE, Rule.TABLE_CYCLE);
            assertThat(journal.lines)
                    .containsExactly(
                            "table 40000000 L0 at 0",
                            "table-cycle",
                            "510 entries L0 at 8000000000, first 0, last 0",
                            "table-cycle");
        }

        /// All pointers of all tables lead to the root: without a bound that is 2^27 visits.
        @Test
        void isBoundedByThePagesThatArePresent() {
            TestTables tables = TestTables.of(Geometries.EL2_4K_52, 2);
            long other = tables.newPage();
            for (int i = 0; i < 512; i++) {
                tables.memory.set(other + i * 8L, tables.root | 3);
            }
            for (int i = 0; i < 16; i++) {
                tables.memory.set(tables.root + i * 8L, TestTables.encode(tables.geometry, other) | 3);
            }
            Journal journal = Journal.of(tables.table());
            assertThat(journal.lines)
                    .filteredOn(line -> line.startsWith("table "))
                    .hasSize(2);
            assertThat(journal.findings).hasSize(512 + 15);
            assertThat(journal.findings)
                    .filteredOn(finding -> finding.rule() == Rule.TABLE_CYCLE)
                    .hasSize(512);
            assertThat(journal.findings)
                    .filteredOn(finding -> finding.rule() == Rule.SHARED_TABLE)
                    .hasSize(15);
        }

        @Test
        void entersATableWithTwoParentsOnce() {
            TestTables tables = TestTables.of(Geometries.S2_4K_32, 2);
            tables.map(0x0020_0000L, 3, 0x8000_0000L, ATTRIBUTES);
            long shared = tables.pages().getFirst();
            long second = tables.point(0x4020_0000L, 2, shared);
            Journal journal = Journal.of(tables.table());
            assertThat(journal.lines)
                    .filteredOn(line -> line.startsWith("table %x".formatted(shared)))
                    .containsExactly("table %x L3 at 200000".formatted(shared));
            assertThat(journal.findings)
                    .containsExactly(new Finding(
                            Rule.SHARED_TABLE,
                            List.of(new Step(2, second, 0x4020_0000L, shared | 3)),
                            "the level 3 table at 0x%x was already reached through another entry".formatted(shared)));
        }

        @Test
        void reportsReservedEncodingsWithTheirPath() {
            TestTables tables = TestTables.of(Geometries.S2_4K_48, 3);
            long entry3 = tables.set(0x5000, 3, 0x5001);
            tables.map(0x6000, 3, 0x6000, ATTRIBUTES);
            long entry0 = tables.set(0x80_0000_0000L, 0, 0x80_0000_0001L);
            Journal journal = Journal.of(tables.table());
            assertThat(journal.findings)
                    .containsExactly(
                            new Finding(
                                    Rule.RESERVED_ENCODING,
                                    List.of(
                                            new Step(
                                                    0,
                                                    tables.root,
                                                    0,
                                                    tables.pages().get(0) | 3),
                                            new Step(
                                                    1,
                                                    tables.pages().get(0),
                                                    0,
                                                    tables.pages().get(1) | 3),
                                            new Step(
                                                    2,
                                                    tables.pages().get(1),
                                                    0,
                                                    tables.pages().get(2) | 3),
                                            new Step(3, entry3, 0x5000, 0x5001)),
                                    "descriptor 0x5001 at level 3 is reserved, hardware takes it for invalid"),
                            new Finding(
                                    Rule.RESERVED_ENCODING,
                                    List.of(new Step(0, entry0, 0x80_0000_0000L, 0x80_0000_0001L)),
                                    "descriptor 0x8000000001 at level 0 is reserved, hardware takes it for invalid"));
            // A finding does not take the entry out of its span.
            assertThat(journal.lines).contains("511 entries L0 at 8000000000, first 8000000001, last 0");
        }

        @Test
        void reportsBlocksWithAddressBitsBelowTheirSize() {
            TestTables tables = TestTables.of(Geometries.S2_4K_40, 2);
            tables.map(0x0000_0000L, 2, 0x4000_0000L, ATTRIBUTES);
            long entry = tables.set(0x0020_0000L, 2, 0x4010_07fdL);
            // Bit 16 of a block is nT (FEAT_BBM), no address.
            tables.set(0x0040_0000L, 2, 0x4041_07fdL);
            tables.set(0x0060_0000L, 2, 0x4060_17fdL);
            Journal journal = Journal.of(tables.table());
            assertThat(journal.findings)
                    .extracting(Finding::rule)
                    .containsExactly(Rule.MISALIGNED_BLOCK, Rule.MISALIGNED_BLOCK);
            assertThat(journal.findings.getFirst())
                    .isEqualTo(new Finding(
                            Rule.MISALIGNED_BLOCK,
                            List.of(
                                    new Step(1, tables.root, 0, tables.pages().getFirst() | 3),
                                    new Step(2, entry, 0x0020_0000L, 0x4010_07fdL)),
                            "block descriptor 0x401007fd at level 2 has address bits below its size"));
        }

        @ParameterizedTest
        @CsvSource({
            // 64K: bits 15:12 are PA[51:48], so only 28:17 must be clear.
            "16, 0x4000_f7fd, 0",
            "16, 0x4002_07fd, 1",
            "16, 0x5000_07fd, 1",
            // LPA2: bits 9:8 are PA[51:50].
            "12, 0x4000_07fd, 0",
            "12, 0x4000_17fd, 1",
        })
        void knowsTheAddressBitsOfTheGranule(int granuleShift, String descriptor, int findings) {
            TableGeometry geometry = granuleShift == 16 ? Geometries.S2_64K_44 : Geometries.S2_4K_52;
            TestTables tables = TestTables.of(geometry, 2);
            tables.set(0, 2, Long.decode(descriptor.replace("_", "")));
            assertThat(Journal.of(tables.table()).findings).hasSize(findings);
        }

        @Test
        void doesNotFollowATableBeyondTheOutputSize() {
            TestTables tables = TestTables.of(new TableGeometry(TranslationRegime.STAGE2, 12, 40, 1, false, 40), 2);
            long entry = tables.point(0x4000_0000L, 1, 0x100_0000_0000L);
            Journal journal = Journal.of(tables.table());
            assertThat(journal.findings)
                    .containsExactly(new Finding(
                            Rule.ADDRESS_SIZE,
                            List.of(new Step(1, entry, 0x4000_0000L, 0x100_0000_0003L)),
                            "table descriptor 0x10000000003 at level 1 has an address beyond the 40 bits of the output"
                                    + " size: an access faults"));
            assertThat(LeafRuns.of(tables.table()).unreadBytes()).isEqualTo(0x4000_0000L);
            assertThat(tables.table().translate(0x4000_0000L)).isInstanceOf(Translation.Fault.class);
        }

        @Test
        void reportsLeavesBeyondTheOutputSize() {
            TestTables tables = TestTables.of(new TableGeometry(TranslationRegime.STAGE2, 16, 48, 1, false, 48), 3);
            tables.map(0x1_0000L, 3, 0x0001_0000_0000_0000L, ATTRIBUTES);
            tables.map(0x2_0000L, 3, 0x0000_8000_0000_0000L, ATTRIBUTES);
            Journal journal = Journal.of(tables.table());
            assertThat(journal.findings).extracting(Finding::rule).containsExactly(Rule.ADDRESS_SIZE);
            assertThat(journal.findings.getFirst().message())
                    .isEqualTo("leaf descriptor 0x17ff at level 3 has an address beyond the 48 bits of the output size:"
                            + " an access faults");
            // It is a leaf all the same, and said to be one.
            LeafRuns.Result result = LeafRuns.of(tables.table());
            assertThat(result.complete()).isTrue();
            assertThat(result.counts().get(TableCounts.Kind.LEAVES, 3)).isEqualTo(2);
            assertThat(tables.table().translate(0x1_0000L)).isInstanceOf(Translation.Fault.class);
            assertThat(tables.table().translate(0x2_0000L)).isInstanceOf(Translation.Mapped.class);
        }

        @Test
        void followsATableWithReservedBitsAndSaysSo() {
            TestTables tables = TestTables.of(Geometries.S2_4K_32, 2);
            tables.map(0x0020_0000L, 3, 0x8000_0000L, ATTRIBUTES);
            long table = tables.pages().getFirst();
            tables.set(0x0020_0000L, 2, table | 3 | 1L << 49);
            tables.map(0x0040_0000L, 2, 0x4000_0000L, ATTRIBUTES | 1L << 48);
            // Ignored bits are no finding: 58:51 and 11:2 of a table descriptor.
            long other = tables.newPage();
            tables.set(0x0060_0000L, 2, other | 0x07f8_0000_0000_0fffL);
            Journal journal = Journal.of(tables.table());
            assertThat(journal.findings)
                    .extracting(Finding::rule)
                    .containsExactly(Rule.RESERVED_BITS, Rule.RESERVED_BITS);
            assertThat(journal.findings.getFirst().message())
                    .isEqualTo("descriptor 0x%x at level 2 has bits set that have to be 0 (RES0), next to its address"
                            .formatted(table | 3 | 1L << 49));
            assertThat(journal.lines).contains("table %x L3 at 200000".formatted(table));
        }

        @Test
        void annotationsHaveNoAddress() {
            TestTables tables = TestTables.of(new TableGeometry(TranslationRegime.STAGE2, 12, 40, 1, false, 40), 2);
            tables.set(0x1000, 3, 0xffff_ffff_ffff_fffeL);
            tables.set(0x4000_0000L, 1, 0x2000_ffff_0000_0000L);
            assertThat(Journal.of(tables.table()).findings).isEmpty();
        }

        @Test
        void readsTheHighAddressesOfLpa2() {
            TestMemory memory = new TestMemory(12, 32);
            TestTables tables =
                    new TestTables(Geometries.S2_4K_52, memory, 0x000f_0000_0000_0000L, 0x000e_0000_0000_0000L);
            tables.map(0x000f_ffff_ffff_f000L, 3, 0x000c_1234_5678_9000L, 0x4fc);
            Journal journal = Journal.of(tables.table());
            assertThat(journal.findings).isEmpty();
            assertThat(journal.lines).hasSize(16 + 3 + 15 + 4);
            assertThat(tables.table().translate(0x000f_ffff_ffff_f123L))
                    .isInstanceOfSatisfying(
                            Translation.Mapped.class,
                            mapped -> assertThat(mapped.output()).isEqualTo(0x000c_1234_5678_9123L));
        }
    }

    @Test
    void aVisitorNeedOnlyLookAtEntries() {
        TestTables tables = TestTables.of(Geometries.S2_4K_32, 2);
        tables.point(0, 2, 0x7_0000_0000L);
        int[] entries = new int[1];
        tables.table().walk((_, _, count, _, _) -> entries[0] += count);
        assertThat(entries[0]).isEqualTo(4 * 512 - 1);
    }

    @Test
    void rulesHaveStableIds() {
        assertThat(Rule.values())
                .extracting(Rule::id)
                .containsExactly(
                        "absent-table",
                        "table-cycle",
                        "shared-table",
                        "reserved-encoding",
                        "misaligned-block",
                        "address-size",
                        "reserved-bits");
    }

    @Test
    void loadingWhatIsAbsentNamesTheAddress() {
        TestMemory memory = new TestMemory(12, 1);
        assertThatThrownBy(() -> memory.load64(0x4000_0000L))
                .isInstanceOf(IndexOutOfBoundsException.class)
                .hasMessage("no memory at physical address 0x40000000");
    }
}
