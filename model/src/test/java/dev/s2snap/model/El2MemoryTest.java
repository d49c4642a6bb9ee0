package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;

class El2MemoryTest {
    private static final long BASE = 0x4000_0000L;
    private static final long ROOT = BASE + 0x10_0000;
    private static final long TABLE = BASE + 0x20_0000;
    private static final long DATA = BASE + 0x100_0000;

    /// A stage 1 of one level-3 table, which maps what the test says.
    private static final class Bench implements AutoCloseable {
        final Ram ram;
        final AddressMap map;
        final El2Memory memory;

        Bench() {
            ModelConfig config = new ModelConfig();
            config.pageShift = 12;
            config.addRegion(BASE, 64L << 20, 0);
            ram = new Ram(config.regions(), 12);
            map = new AddressMap(config);
            memory = new El2Memory(ram, map, 12);
        }

        /// Two levels: 30 bits of VA, 2 MiB of it in the table at TABLE, and its blocks in the root.
        void enable() {
            ram.set(ROOT, TABLE | 3);
            memory.enable(new TableGeometry(TranslationRegime.EL2, 12, 30, 2, false), ROOT);
        }

        void map(long va, long page, boolean writable) {
            ram.set(TABLE + (va >>> 12) * 8, page | (0x743 & (writable ? ~0x80L : -1)) | (writable ? 0 : 0x80));
        }

        void unmap(long va) {
            ram.set(TABLE + (va >>> 12) * 8, 0);
        }

        @Override
        public void close() {
            ram.close();
        }
    }

    @Test
    void theTlbForgetsNothingButWhatIsInvalidated() {
        Property.holds(60, choices -> {
            try (Bench bench = new Bench()) {
                bench.enable();
                // What the tables say, and what was seen of them since the last invalidation.
                Map<Integer, Long> tables = new HashMap<>();
                Map<Integer, Long> seen = new HashMap<>();
                int pages = choices.pick(3, 20, 500);
                for (int i = 0; i < 600; i++) {
                    bench.ram.set(DATA + i * 0x1000L, 1000 + i);
                }
                while (choices.more(600)) {
                    int page = choices.below(pages);
                    long va = page * 0x1000L;
                    switch (choices.below(6)) {
                        case 0 -> {
                            int target = choices.below(600);
                            boolean writable = choices.oneIn(2);
                            choices.note("map %d to %d %s", page, target, writable ? "rw" : "ro");
                            bench.map(va, DATA + target * 0x1000L, writable);
                            tables.put(page, target * 2L + (writable ? 1 : 0));
                        }
                        case 1 -> {
                            choices.note("unmap %d", page);
                            bench.unmap(va);
                            tables.remove(page);
                        }
                        case 2 -> {
                            choices.note("invalidate %d", page);
                            bench.memory.invalidate(va + choices.below(0x1000));
                            seen.remove(page);
                        }
                        case 3 -> {
                            choices.note("write %d", page);
                            Long entry = seen.computeIfAbsent(page, tables::get);
                            if (entry == null) {
                                abort("write", () -> bench.memory.write64(va + 8, 5), va + 8);
                            } else if (entry % 2 == 0) {
                                abort("write", () -> bench.memory.write64(va + 8, 5), va + 8);
                            } else {
                                int value = choices.below(1 << 20);
                                bench.memory.write64(va + 8, value);
                                assertThat(bench.ram.get(DATA + entry / 2 * 0x1000 + 8))
                                        .isEqualTo(value);
                            }
                        }
                        default -> {
                            choices.note("read %d", page);
                            Long entry = seen.computeIfAbsent(page, tables::get);
                            if (entry == null) {
                                abort("read", () -> bench.memory.read64(va), va);
                            } else {
                                assertThat(bench.memory.read64(va)).isEqualTo(1000 + entry / 2);
                            }
                        }
                    }
                }
            }
        });
    }

    private static void abort(String kind, Runnable access, long va) {
        assertThatThrownBy(access::run).isInstanceOfSatisfying(HypPanic.class, panic -> {
            assertThat(panic.reason()).isEqualTo(HypPanic.Reason.ABORT);
            assertThat(panic.where()).startsWith(kind + " va=0x" + Long.toHexString(va) + " ");
        });
    }

    @Test
    void withoutAStage1TheLinearMapIsNotChecked() {
        try (Bench bench = new Bench()) {
            assertThat(bench.memory.table()).isNull();
            long va = bench.map.hypVa(DATA);
            bench.memory.write64(va, 0x1234_5678_9abc_def0L);
            assertThat(bench.ram.get(DATA)).isEqualTo(0x1234_5678_9abc_def0L);
            assertThat(bench.memory.read32(va)).isEqualTo(0x9abc_def0);
            assertThat(bench.memory.read16(va + 6)).isEqualTo(0x1234);
            bench.memory.write8(va, 0xff);
            bench.memory.write16(va + 2, 0xffff);
            bench.memory.write32(va + 4, 0);
            assertThat(bench.memory.read64(va)).isEqualTo(0xffff_deffL);
            assertThat(bench.memory.read16(va + 2)).isEqualTo(0xffff);
        }
    }

    @Test
    void aLoadMayCrossIntoAPageThatLiesElsewhere() {
        try (Bench bench = new Bench()) {
            bench.enable();
            bench.map(0x1000, DATA, true);
            bench.map(0x2000, DATA + 0x5000, true);
            bench.ram.set(DATA + 0xff8, 0x8877_6655_4433_2211L);
            bench.ram.set(DATA + 0x5000, 0xffee_ddcc_bbaa_0099L);
            assertThat(bench.memory.read64(0x1ffb)).isEqualTo(0xaa_0099_8877_6655_44L);
            // The second page is not there any more.
            bench.unmap(0x2000);
            bench.memory.invalidate(0x2000);
            abort("read", () -> bench.memory.read64(0x1ffb), 0x2000);
        }
    }

    @Test
    void asPhysicalMemoryItGoesThroughTheLinearMapAndNeverAnswersAbsent() {
        try (Bench bench = new Bench()) {
            assertThat(bench.memory.bytes()).isSameAs(bench.ram.bytes());
            assertThat(bench.memory.offset(DATA, 4096)).isEqualTo(bench.ram.offset(DATA, 4096));
            assertThat(bench.memory.writable(DATA, 4096)).isEqualTo(bench.ram.offset(DATA, 4096));
            bench.enable();
            // The linear map is beyond this small stage 1.
            abort("read", () -> bench.memory.offset(DATA, 4096), bench.map.hypVa(DATA));
            abort("write", () -> bench.memory.writable(DATA, 4096), bench.map.hypVa(DATA));
        }
    }

    @Test
    void zeroesWholePagesWhereverTheyLie() {
        try (Bench bench = new Bench()) {
            bench.enable();
            bench.map(0x1000, DATA + 0x5000, true);
            bench.map(0x2000, DATA, true);
            for (long page = DATA; page < DATA + 0x8000; page += 0x1000) {
                bench.ram.set(page, 1);
                bench.ram.set(page + 0xff8, 1);
            }
            bench.memory.zeroPages(0x1000, 0x2000);
            for (long page = DATA; page < DATA + 0x8000; page += 0x1000) {
                long expected = page == DATA || page == DATA + 0x5000 ? 0 : 1;
                assertThat(bench.ram.get(page)).isEqualTo(expected);
                assertThat(bench.ram.get(page + 0xff8)).isEqualTo(expected);
            }
        }
    }
}
