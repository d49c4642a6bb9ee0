package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TableCounts;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationRegime;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The operations on a guest's table (SPEC section 3); those on the host's are in the vectors.
class Stage2Test {
    private static final long RAM = 0x4000_0000L;
    private static final long ROOT = RAM;
    private static final long MB2 = 2L << 20;
    private static final long GB = 1L << 30;

    /// A table in plain memory, with an allocator that counts, and everything that it does written down.
    private static final class Bench
            implements AutoCloseable, TableMemory, PageTable.Pages, Recorder, Stage2.CacheMaintenance {
        final Ram ram = new Ram(List.of(new MemoryRegion(RAM, 64L << 20, 0)), 12);
        final Stage2 stage2;
        final Map<Long, Integer> counts = new TreeMap<>();
        final List<String> events = new ArrayList<>();
        int left = 4000;
        private long next = ROOT + 0x2000;

        Bench(int flags, boolean fwb, boolean rangeTlbi) {
            PageTable table = new PageTable(this, 12);
            table.vmid = 5;
            table.recorder = this;
            counts.put(ROOT, 1);
            counts.put(ROOT + 0x1000, 1);
            table.init(new TableGeometry(TranslationRegime.STAGE2, 12, 40, 1, false), ROOT, this);
            stage2 = new Stage2(table, new Stage2.Traits(flags, fwb, rangeTlbi, Stage2.ForcePages.NEVER, this));
        }

        static Bench plain() {
            return new Bench(0, false, true);
        }

        TranslationTable table() {
            return new TranslationTable(ram, stage2.table().geometry(), ROOT);
        }

        List<LeafRun> runs() {
            return LeafRuns.of(table()).runs();
        }

        long leaf(long ipa) {
            return table().translate(ipa) instanceof Translation.Mapped mapped ? mapped.descriptor() : 0;
        }

        /// Every table page has one reference, and one for each entry that is not zero.
        void check() {
            Map<Long, Integer> expected = new TreeMap<>();
            count(ROOT, 1, expected);
            count(ROOT + 0x1000, 1, expected);
            assertThat(counts).isEqualTo(expected);
        }

        private void count(long page, int level, Map<Long, Integer> expected) {
            int used = 1;
            for (int i = 0; i < 512; i++) {
                long entry = ram.get(page + i * 8L);
                used += entry == 0 ? 0 : 1;
                if ((entry & 3) == 3 && level < 3) {
                    count(entry & 0xffff_ffff_f000L, level + 1, expected);
                }
            }
            expected.put(page, used);
        }

        @Override
        public long read64(long va) {
            return ram.get(va);
        }

        @Override
        public void write64(long va, long value) {
            ram.set(va, value);
        }

        @Override
        public long virtual(long physical) {
            return physical;
        }

        @Override
        public long physical(long virtual) {
            return virtual;
        }

        @Override
        public long allocate() {
            if (left == 0) {
                return 0;
            }
            left--;
            long page = next;
            next += 0x1000;
            counts.put(page, 1);
            return page;
        }

        @Override
        public void get(long page) {
            assertThat(counts).containsKey(page);
            counts.merge(page, 1, Integer::sum);
        }

        @Override
        public void put(long page) {
            assertThat(counts).containsKey(page);
            if (counts.merge(page, -1, Integer::sum) == 0) {
                counts.remove(page);
            }
        }

        @Override
        public int count(long page) {
            return counts.getOrDefault(page, 0);
        }

        @Override
        public void tlbiIpa(int vmid, long ipa, int level) {
            events.add("ipa %d %x %d".formatted(vmid, ipa, level));
        }

        @Override
        public void tlbiIpaNonShareable(int vmid, long ipa, int level) {
            events.add("nsh %d %x %d".formatted(vmid, ipa, level));
        }

        @Override
        public void tlbiRange(int vmid, long ipa, long pages) {
            events.add("range %d %x+%d".formatted(vmid, ipa, pages));
        }

        @Override
        public void tlbiVmid(int vmid) {
            events.add("vmid " + vmid);
        }

        @Override
        public void cleanInvalidate(long physical, long size) {
            events.add("clean %x+%x".formatted(physical, size));
        }

        @Override
        public void invalidateInstructions(long physical, long size) {
            events.add("icache %x+%x".formatted(physical, size));
        }

        @Override
        public void close() {
            ram.close();
        }
    }

    /// MemAttr as SPEC 1.4 has it, with and without forced write-back; the flag NOFWB wins over the CPU.
    @ParameterizedTest
    @CsvSource({
        "0, false, 0, 0xf",
        "0, true, 0, 0x6",
        "1, true, 0, 0xf",
        "0, false, 8, 0x1",
        "0, true, 8, 0x1",
        "0, false, 16, 0x5",
        "0, true, 16, 0x5",
    })
    void theMemoryTypeIsEncodedForTheCpu(int flags, boolean fwb, long type, String memAttr) {
        try (Bench bench = new Bench(flags, fwb, true)) {
            assertThat(bench.stage2.map(0x1000, 0x1000, 0x9000_1000L, Stage2.RW | type))
                    .isZero();
            // XN, AF, inner shareable, read and write.
            assertThat(bench.leaf(0x1000)).isEqualTo(0x0040_0000_9000_17c3L | Long.decode(memAttr) << 2);
        }
    }

    @Test
    void permissionsAndSoftwareBitsGoIntoTheLeaf() {
        try (Bench bench = Bench.plain()) {
            bench.stage2.map(0x1000, 0x1000, 0x9000_0000L, Stage2.R);
            bench.stage2.map(0x2000, 0x1000, 0x9000_0000L, Stage2.R | Stage2.X);
            bench.stage2.map(0x3000, 0x1000, 0x9000_0000L, Stage2.RWX | 1L << 55 | 1L << 56);
            assertThat(bench.leaf(0x1000)).isEqualTo(0x0040_0000_9000_077fL);
            assertThat(bench.leaf(0x2000)).isEqualTo(0x0000_0000_9000_077fL);
            assertThat(bench.leaf(0x3000)).isEqualTo(0x0180_0000_9000_07ffL);
        }
    }

    @ParameterizedTest
    @CsvSource({"9", "17", "24", "31"})
    void devicesAndUncachedMemoryAreNeverExecutableAndNothingIsBoth(long prot) {
        try (Bench bench = Bench.plain()) {
            assertThat(bench.stage2.map(0x1000, 0x1000, 0x9000_0000L, prot | Stage2.R))
                    .isEqualTo(Errno.EINVAL);
            assertThat(bench.runs()).isEmpty();
            bench.check();
        }
    }

    @Test
    void memoryIsMappedInTheLargestBlocksThatBothAddressesAllow() {
        try (Bench bench = Bench.plain()) {
            assertThat(bench.stage2.map(GB - MB2 - 0x1000, 2 * GB, 3 * GB - MB2 - 0x1000, Stage2.RWX))
                    .isZero();
            assertThat(bench.runs()).extracting(LeafRun::level).containsExactly(3, 2, 1, 2, 3);
            assertThat(bench.runs()).allMatch(run -> run.output() - run.start() == 2 * GB);
            bench.check();
        }
        try (Bench bench = Bench.plain()) {
            // Not in step to 2 MiB: pages only.
            assertThat(bench.stage2.map(0, MB2, 0x9000_1000L, Stage2.RWX)).isZero();
            assertThat(bench.runs()).extracting(LeafRun::level).containsExactly(3);
        }
    }

    @Test
    void cachesAreMaintainedBeforeAGuestSeesAPage() {
        try (Bench bench = Bench.plain()) {
            bench.stage2.map(0x1000, 0x1000, 0x9000_0000L, Stage2.RWX);
            bench.stage2.map(0x2000, 0x1000, 0x9000_1000L, Stage2.RW);
            bench.stage2.map(0x3000, 0x1000, 0x9000_2000L, Stage2.RW | Stage2.DEVICE);
            assertThat(bench.events)
                    .containsExactly("clean 90000000+1000", "icache 90000000+1000", "clean 90001000+1000");
        }
    }

    @Test
    void aBlockThatReplacesATableFreesItAndFlushesItsWholeRange() {
        for (boolean range : new boolean[] {true, false}) {
            try (Bench bench = new Bench(0, false, range)) {
                bench.stage2.map(0x20_1000L, 0x1000, 0x9000_0000L, Stage2.RWX);
                assertThat(bench.counts).hasSize(4);
                bench.events.clear();
                assertThat(bench.stage2.map(0x20_0000L, MB2, 0x8000_0000L, Stage2.RWX))
                        .isZero();
                assertThat(bench.events.getFirst()).isEqualTo(range ? "range 5 200000+512" : "vmid 5");
                assertThat(bench.counts).hasSize(3);
                bench.check();
            }
        }
    }

    @Test
    void whatIsMappedAlreadyIsLeftAlone() {
        try (Bench bench = Bench.plain()) {
            bench.stage2.map(0x1000, 0x1000, 0x9000_0000L, Stage2.RW);
            long leaf = bench.leaf(0x1000);
            bench.events.clear();
            // The same, and the same with other permissions.
            assertThat(bench.stage2.map(0x1000, 0x1000, 0x9000_0000L, Stage2.RW))
                    .isZero();
            assertThat(bench.stage2.map(0x1000, 0x1000, 0x9000_0000L, Stage2.R)).isZero();
            assertThat(bench.leaf(0x1000)).isEqualTo(leaf);
            assertThat(bench.events).isEmpty();
            // Another page: break before make.
            assertThat(bench.stage2.map(0x1000, 0x1000, 0x9000_5000L, Stage2.RW))
                    .isZero();
            assertThat(bench.events).containsExactly("ipa 5 1000 3", "clean 90005000+1000");
            bench.check();
        }
    }

    @Test
    void withoutTablePagesMappingStopsAndKeepsWhatItDid() {
        try (Bench bench = Bench.plain()) {
            bench.left = 2;
            assertThat(bench.stage2.map(MB2 - 0x1000, 0x2000, 0x9000_0000L, Stage2.RW))
                    .isEqualTo(Errno.ENOMEM);
            assertThat(bench.runs()).extracting(LeafRun::start).containsExactly(MB2 - 0x1000);
            bench.check();
        }
    }

    @Test
    void addressesBeyondTheInputSizeAreOutOfRange() {
        try (Bench bench = Bench.plain()) {
            assertThat(bench.stage2.map(1L << 40, 0x1000, 0x9000_0000L, Stage2.RW))
                    .isEqualTo(Errno.ERANGE);
            assertThat(bench.stage2.unmap(1L << 40, 0x1000)).isEqualTo(Errno.ERANGE);
        }
    }

    @Test
    void anIdentityMapMapsNothingElse() {
        try (Bench bench = new Bench(Stage2.FLAG_IDMAP, false, true)) {
            assertThatThrownBy(() -> bench.stage2.map(0x1000, 0x1000, 0x2000, Stage2.RW))
                    .isInstanceOf(HypPanic.class)
                    .hasMessage("WARN kvm_pgtable_stage2_map");
            assertThat(bench.stage2.map(0x1000, 0x1000, 0x1000, Stage2.RW)).isZero();
        }
    }

    @Test
    void anOwnerThatCannotBeStoredIsRefused() {
        try (Bench bench = Bench.plain()) {
            assertThat(bench.stage2.setOwner(0x1000, 0x1000, 2)).isEqualTo(Errno.EINVAL);
            assertThat(bench.stage2.setOwner(0x1000, 0x2000, Stage2.OWNER_HYP)).isZero();
            assertThat(bench.runs()).extracting(LeafRun::bits).containsExactly(4L);
            bench.check();
        }
    }

    @Test
    void unmappingFreesTablesFlushesAndCleans() {
        try (Bench bench = Bench.plain()) {
            bench.stage2.map(0, 0x1000, 0x9000_0000L, Stage2.RW);
            bench.stage2.map(MB2, MB2, 0xa000_0000L, Stage2.RW | Stage2.DEVICE);
            bench.events.clear();
            // The block goes as a whole.
            assertThat(bench.stage2.unmap(0, MB2 + 0x1000)).isZero();
            assertThat(bench.events)
                    .containsExactly("ipa 5 0 3", "clean 90000000+1000", "ipa 5 0 -9", "ipa 5 200000 2", "ipa 5 0 -9");
            assertThat(bench.runs()).isEmpty();
            bench.check();
        }
    }

    @Test
    void withForcedWriteBackAndRangesLeavesAreFlushedTogether() {
        try (Bench bench = new Bench(0, true, true)) {
            bench.stage2.map(0, 4 * 0x1000, 0x9000_0000L, Stage2.RW);
            bench.events.clear();
            assertThat(bench.stage2.unmap(0x1000, 0x2000)).isZero();
            assertThat(bench.events).containsExactly("range 5 1000+2");
            bench.check();
        }
    }

    @Test
    void writeProtectionTakesOnlyThePermissionToWrite() {
        try (Bench bench = Bench.plain()) {
            bench.stage2.map(0, MB2 + 0x2000, 0x9000_0000L, Stage2.RWX);
            bench.events.clear();
            assertThat(bench.stage2.writeProtect(0, MB2 + 0x1000)).isZero();
            assertThat(bench.leaf(0)).isEqualTo(0x9000_077dL);
            assertThat(bench.leaf(MB2)).isEqualTo(0x9020_077fL);
            assertThat(bench.leaf(MB2 + 0x1000)).isEqualTo(0x9020_17ffL);
            assertThat(bench.events).as("the caller flushes").isEmpty();
            bench.check();
        }
    }

    @Test
    void theAccessFlagIsTestedTakenAndGivenBack() {
        try (Bench bench = Bench.plain()) {
            bench.stage2.map(0x1000, 0x1000, 0x9000_0000L, Stage2.RW);
            assertThat(bench.stage2.testYoung(0, 0x1000, true)).isFalse();
            assertThat(bench.stage2.testYoung(0, 0x10_0000, false)).isTrue();
            assertThat(bench.leaf(0x1000) & 1 << 10).isNotZero();
            assertThat(bench.stage2.testYoung(0, 0x10_0000, true)).isTrue();
            assertThat(bench.leaf(0x1000) & 1 << 10).isZero();
            assertThat(bench.stage2.testYoung(0, 0x10_0000, true)).isFalse();
            long old = bench.leaf(0x1000);
            assertThat(bench.stage2.makeYoung(0x1000)).isEqualTo(old);
            assertThat(bench.leaf(0x1000)).isEqualTo(old | 1 << 10);
            assertThat(bench.stage2.makeYoung(0x5000)).isZero();
            assertThatThrownBy(() -> bench.stage2.testYoung(1L << 40, 0x1000, false))
                    .isInstanceOf(HypPanic.class);
        }
    }

    @Test
    void permissionsAreRelaxedAndFlushedOnThisCpuOnly() {
        try (Bench bench = Bench.plain()) {
            bench.stage2.map(0, MB2, 0x9000_0000L, Stage2.R);
            bench.events.clear();
            assertThat(bench.stage2.relaxPermissions(0x3000, Stage2.RW)).isZero();
            assertThat(bench.leaf(0)).isEqualTo(0x0040_0000_9000_07fdL);
            assertThat(bench.stage2.relaxPermissions(0x3000, Stage2.X)).isZero();
            assertThat(bench.leaf(0)).isEqualTo(0x9000_07fdL);
            assertThat(bench.events).containsExactly("nsh 5 3000 2", "icache 90000000+200000", "nsh 5 3000 2");
            assertThat(bench.stage2.relaxPermissions(0x3000, 1L << 55)).isEqualTo(Errno.EINVAL);
            // Nothing there: flushed all the same, without a level.
            bench.events.clear();
            assertThat(bench.stage2.relaxPermissions(GB, Stage2.R)).isZero();
            assertThat(bench.events).containsExactly("nsh 5 40000000 -9");
        }
    }

    @Test
    void flushingCleansWhatIsCacheableUnlessWriteBackIsForced() {
        for (boolean fwb : new boolean[] {false, true}) {
            try (Bench bench = new Bench(0, fwb, true)) {
                bench.stage2.map(0, 0x1000, 0x9000_0000L, Stage2.RW);
                bench.stage2.map(0x1000, 0x1000, 0xa000_0000L, Stage2.RW | Stage2.DEVICE);
                bench.stage2.map(MB2, MB2, 0xb000_0000L, Stage2.RW);
                bench.events.clear();
                assertThat(bench.stage2.flush(0, GB)).isZero();
                if (fwb) {
                    assertThat(bench.events).isEmpty();
                } else {
                    assertThat(bench.events).containsExactly("clean 90000000+1000", "clean b0000000+200000");
                }
            }
        }
    }

    /// Tables for a level-1 block: 513. With fewer it is split by one level, and then its parts one by one until there
    /// is none left. For a level-2 block 1.
    @ParameterizedTest
    @CsvSource({
        "1, 0, -12, 0, 1, 1",
        "1, 1, -12, 1, 2, 512",
        "1, 513, 0, 513, 3, 262144",
        "2, 0, -12, 0, 2, 1",
        "2, 1, 0, 1, 3, 512",
    })
    void blocksAreSplitAsFarAsTablePagesGo(int level, int available, int result, int used, int finest, int leaves) {
        try (Bench bench = Bench.plain()) {
            long size = level == 1 ? GB : MB2;
            bench.stage2.map(GB, size, 4 * GB, Stage2.RW);
            int left = bench.left;
            bench.events.clear();
            assertThat(bench.stage2.split(GB, size, available)).isEqualTo(result);
            assertThat(left - bench.left).isEqualTo(used);
            assertThat(bench.runs())
                    .containsExactly(new LeafRun(
                            GB,
                            GB + size,
                            finest,
                            finest == 3 ? LeafRun.Kind.PAGE : LeafRun.Kind.BLOCK,
                            4 * GB,
                            0x0040_0000_0000_07fcL | (finest == 3 ? 3 : 1)));
            assertThat(LeafRuns.of(bench.table()).counts().get(TableCounts.Kind.LEAVES, finest))
                    .isEqualTo(leaves);
            assertThat(bench.events).isEqualTo(used == 0 ? List.of() : List.of("ipa 5 40000000 " + level));
            bench.check();
        }
    }

    @Test
    void aSplitThatRunsOutOfPagesLeavesNothingBehind() {
        try (Bench bench = Bench.plain()) {
            bench.stage2.map(GB, GB, 4 * GB, Stage2.RW);
            bench.left = 100;
            assertThat(bench.stage2.split(GB, GB, 513)).isEqualTo(Errno.ENOMEM);
            assertThat(bench.runs()).extracting(LeafRun::level).containsExactly(1);
            bench.check();
        }
    }

    @Test
    void aDestroyedTableHasGivenEverythingBackAndRefusesWalks() {
        try (Bench bench = Bench.plain()) {
            bench.stage2.map(MB2 - 0x1000, GB, 0x9000_0000L - 0x1000, Stage2.RW);
            bench.stage2.setOwner(5 * GB, 0x1000, Stage2.OWNER_HYP);
            bench.stage2.destroy();
            assertThat(bench.counts).isEmpty();
            assertThat(bench.stage2.map(0, 0x1000, 0, Stage2.RW)).isEqualTo(Errno.EINVAL);
        }
    }

    @Test
    void randomOperationsMapWhatTheyShouldAndCountEveryEntry() {
        Property.holds(40, choices -> {
            try (Bench bench = Bench.plain()) {
                // Output and write permission by page; 2 MiB at the end of one gigabyte and 2 MiB of the next.
                long base = GB - MB2;
                Map<Long, Long> expected = new HashMap<>();
                int maps = 0;
                while (choices.more(25)) {
                    long start = (base + choices.below(1024) * 0x1000L) & -(choices.oneIn(3) ? MB2 : 0x1000L);
                    long pages = choices.pick(1, 3, 512, 700);
                    long end = Math.min(start + pages * 0x1000, base + 2 * MB2);
                    switch (choices.below(4)) {
                        case 0, 1 -> {
                            // Another output each time, in step for blocks or not: what is there is replaced.
                            maps++;
                            long output = start + (4 + maps) * GB + choices.pick(0, 0x1000);
                            choices.note("map %x-%x to %x", start, end, output);
                            assertThat(bench.stage2.map(start, end - start, output, Stage2.RW))
                                    .isZero();
                            forget(bench, expected, start, end);
                            for (long page = start; page < end; page += 0x1000) {
                                expected.put(page, (output + (page - start)) | 1);
                            }
                        }
                        case 2 -> {
                            choices.note("protect %x-%x", start, end);
                            assertThat(bench.stage2.split(start, end - start, 512))
                                    .isZero();
                            assertThat(bench.stage2.writeProtect(start, end - start))
                                    .isZero();
                            for (long page = start; page < end; page += 0x1000) {
                                expected.computeIfPresent(page, (_, value) -> value & -2);
                            }
                        }
                        default -> {
                            choices.note("unmap %x-%x", start, end);
                            assertThat(bench.stage2.split(start, end - start, 512))
                                    .isZero();
                            assertThat(bench.stage2.unmap(start, end - start)).isZero();
                            for (long page = start; page < end; page += 0x1000) {
                                expected.remove(page);
                            }
                        }
                    }
                    bench.check();
                    for (long page = base; page < base + 2 * MB2; page += 0x1000) {
                        Long wanted = expected.get(page);
                        Long found = bench.table().translate(page) instanceof Translation.Mapped mapped
                                ? Long.valueOf(mapped.output() | (mapped.descriptor() >>> 7 & 1))
                                : null;
                        assertThat(found).as("0x%x", page).isEqualTo(wanted);
                    }
                }
                bench.stage2.destroy();
                assertThat(bench.counts).isEmpty();
            }
        });
    }

    /// What a new mapping breaks is lost: the rest of a block that it splits.
    private static void forget(Bench bench, Map<Long, Long> expected, long start, long end) {
        for (long block = start & -MB2; block < end; block += MB2) {
            for (long page = block; page < block + MB2; page += 0x1000) {
                if ((page < start || page >= end) && bench.leaf(page) == 0) {
                    expected.remove(page);
                }
            }
        }
    }
}
