package dev.s2snap.capture;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.HypVmemmap;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Captures of machines whose tables are unlike those of a real kernel.
class SparseTablesTest {
    @TempDir
    private Path folder;

    /// A machine with a host table and nothing else.
    private record HostOnly(PhysicalMemory memory, TranslationTable table) implements Machine {
        @Override
        public Registers registers() {
            return new Registers(Map.of());
        }

        @Override
        public List<Registers> guestRegisters() {
            return List.of();
        }

        @Override
        public Fact<List<MemoryRegion>> regions() {
            return Fact.unknown("not said");
        }

        @Override
        public Fact<TranslationTable> host() {
            return Fact.known(table, "test");
        }

        @Override
        public Fact<TranslationTable> hyp() {
            return Fact.unknown("not there");
        }

        @Override
        public List<Guest> guests() {
            return List.of();
        }

        @Override
        public Fact<HypVmemmap> vmemmap() {
            return Fact.unknown("not said");
        }

        @Override
        public Fact<Era> era() {
            return Fact.unknown("not said");
        }
    }

    /// Every second page from 2^36 on is a table; `count` entries at level 2 point to them, from a root of 16 pages.
    private static HostOnly scattered(int count) {
        TableGeometry wide = new TableGeometry(TranslationRegime.STAGE2, 12, 43, 1, false);
        int all = wide.rootEntries();
        int leaf = 512;
        // The root, the tables of level 2 behind it, and one page that is the content of all tables of level 3.
        int middle = (count + leaf - 1) / leaf;
        MemorySegment bytes = MemorySegment.ofArray(new byte[(all + middle * leaf) * 8 + 4096]);
        for (int i = 0; i < middle; i++) {
            bytes.set(PhysicalMemory.LE64, i * 8L, (all + (long) i * leaf) * 8 + 3);
        }
        for (int i = 0; i < count; i++) {
            bytes.set(PhysicalMemory.LE64, (all + (long) i) * 8, (1L << 36) + ((long) i << 13) + 3);
        }
        PhysicalMemory memory = new PhysicalMemory() {
            @Override
            public MemorySegment bytes() {
                return bytes;
            }

            @Override
            public long offset(long address, long size) {
                return address < 1L << 36 ? address : (all + (long) middle * leaf) * 8;
            }
        };
        return new HostOnly(memory, new TranslationTable(memory, wide, 0));
    }

    @ParameterizedTest
    @ValueSource(ints = {100, 65_532, 65_533})
    void aCaptureOfWhichNoTwoPagesAreNeighboursIsATenthLargerAtMost(int count) throws Exception {
        Path file = folder.resolve("a.core");
        HostOnly machine = scattered(count);
        CaptureWriter.Written written = CaptureWriter.write(machine, "test", file);
        assertThat(written.runs()).isEqualTo(count + 1);
        assertThat(Files.size(file)).isLessThanOrEqualTo(written.bytes() * 11 / 10 + 65536);
        try (CapturedMachine read = CapturedMachine.open(file)) {
            assertThat(read.segments()).hasSize(count + 1);
            assertThat(LeafRuns.of(new TranslationTable(read.memory(), machine.table.geometry(), 0))
                            .findings())
                    .isEqualTo(LeafRuns.of(machine.table).findings());
        }
        assertThat(programHeadersByReadelf(file)).isIn("", Integer.toString(count + 2));
    }

    /// What an independent reader says, where there is one.
    private static String programHeadersByReadelf(Path file) throws Exception {
        if (!Files.isExecutable(Path.of("/usr/bin/readelf"))) {
            return "";
        }
        Process process = new ProcessBuilder("/usr/bin/readelf", "-hlnW", file.toString())
                .redirectErrorStream(true)
                .start();
        String text = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).isZero();
        assertThat(text).doesNotContain("rror").doesNotContain("arning").contains("S2SNAP");
        Matcher number = Pattern.compile("Number of program headers: +([0-9]+)(?: \\(([0-9]+)\\))?")
                .matcher(text);
        assertThat(number.find()).isTrue();
        return number.group(2) == null ? number.group(1) : number.group(2);
    }

    @Test
    void moreRunsThanACoreMayHaveAreRefusedAndNothingIsWritten() {
        Path file = folder.resolve("a.core");
        List<CaptureWriter.Extent> extents = new ArrayList<>();
        for (long i = 0; i < 1 << 20; i++) {
            extents.add(new CaptureWriter.Extent((1L << 37) + (i << 13), (1L << 37) + (i << 13) + 1));
        }
        assertThatThrownBy(() -> CaptureWriter.write(scattered(1), "test", file, extents))
                .isInstanceOf(CaptureException.class)
                .hasMessage(file + ": what to capture lies in 1048578 separate runs of pages, and a capture can hold"
                        + " 1048575; save a whole image instead");
        assertThat(folder).isEmptyDirectory();
    }

    /// 4 KiB pages of memory from 0, some of which are there.
    private static PhysicalMemory pages(boolean... there) {
        MemorySegment bytes = MemorySegment.ofArray(CoreBytes.pattern(there.length * 4096, 1));
        bytes.asSlice(0, 4096).fill((byte) 0);
        return new PhysicalMemory() {
            @Override
            public MemorySegment bytes() {
                return bytes;
            }

            @Override
            public long offset(long address, long size) {
                for (long page = address >>> 12; page <= (address + size - 1) >>> 12; page++) {
                    if (page >= there.length || !there[(int) page]) {
                        return ABSENT;
                    }
                }
                return address;
            }
        };
    }

    @Test
    void memoryBesidesTheTablesIsKeptAsFarAsItIsThere() {
        // Page 0 is the table.
        PhysicalMemory memory = pages(true, false, true, true, false, true, true, true);
        TableGeometry geometry = new TableGeometry(TranslationRegime.STAGE2, 12, 39, 1, false);
        HostOnly machine = new HostOnly(memory, new TranslationTable(memory, geometry, 0));
        Path file = folder.resolve("a.core");
        CaptureWriter.Written written = CaptureWriter.write(
                machine,
                "test",
                file,
                List.of(
                        new CaptureWriter.Extent(0x1008, 0x6001),
                        new CaptureWriter.Extent(0x5000, 0x6000),
                        new CaptureWriter.Extent(0x8000, 0xa000)));
        assertThat(written.absentPages()).isEqualTo(4);
        assertThat(written.bytes()).isEqualTo(5 * 4096);
        try (ElfCore core = ElfCore.open(file)) {
            assertThat(core.segments())
                    .containsExactly(
                            new ElfCore.Segment(0, 0x1000, 0),
                            new ElfCore.Segment(0x2000, 0x4000, 0),
                            new ElfCore.Segment(0x5000, 0x7000, 0));
            assertThat(core.load64(0x6000)).isEqualTo(memory.load64(0x6000));
        }
    }

    @ParameterizedTest
    @CsvSource({"-1, 4096", "8192, 4096", "0, 0x100000000000001"})
    void whatIsNoPhysicalMemoryIsNoExtent(String start, String end) {
        assertThatThrownBy(() -> new CaptureWriter.Extent(Long.decode(start), Long.decode(end)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageEndingWith(" is no physical memory");
    }

    @Test
    void anExtentOfAllMemoryIsRefusedRatherThanSearched() {
        Path file = folder.resolve("a.core");
        assertThatThrownBy(() ->
                        CaptureWriter.write(scattered(1), "test", file, List.of(new CaptureWriter.Extent(0, 1L << 56))))
                .isInstanceOf(CaptureException.class)
                .hasMessage(file + ": what to capture besides the tables has more than 16777216 pages of 4 KiB;"
                        + " save a whole image instead");
        assertThat(folder).isEmptyDirectory();
    }

    @Test
    void aRootSmallerThanAPageIsCapturedAlone() {
        // 34 bits from level 1: 16 entries.
        TableGeometry geometry = new TableGeometry(TranslationRegime.STAGE2, 12, 34, 1, false);
        MemorySegment bytes = MemorySegment.ofArray(new byte[128]);
        bytes.set(PhysicalMemory.LE64, 8, 0x4000_07fdL);
        PhysicalMemory memory = new PhysicalMemory() {
            @Override
            public MemorySegment bytes() {
                return bytes;
            }

            @Override
            public long offset(long address, long size) {
                return address >= 0x1080 && address + size <= 0x1100 ? address - 0x1080 : ABSENT;
            }
        };
        Path file = folder.resolve("a.core");
        CaptureWriter.Written written =
                CaptureWriter.write(new HostOnly(memory, new TranslationTable(memory, geometry, 0x1080)), "test", file);
        assertThat(written.bytes()).isEqualTo(128);
        try (ElfCore core = ElfCore.open(file)) {
            assertThat(core.load64(0x1088)).isEqualTo(0x4000_07fdL);
            assertThat(core.offset(0x1100, 1)).isEqualTo(PhysicalMemory.ABSENT);
        }
    }

    @Test
    void whatIsMissingIsReported() {
        TableGeometry geometry = new TableGeometry(TranslationRegime.STAGE2, 12, 39, 1, false);
        MemorySegment bytes = MemorySegment.ofArray(new byte[4096]);
        bytes.set(PhysicalMemory.LE64, 0, 0x8000_0003L);
        PhysicalMemory memory = new PhysicalMemory() {
            @Override
            public MemorySegment bytes() {
                return bytes;
            }

            @Override
            public long offset(long address, long size) {
                return address + size <= 4096 ? address : ABSENT;
            }
        };
        CaptureWriter.Written written = CaptureWriter.write(
                new HostOnly(memory, new TranslationTable(memory, geometry, 0)), "test", folder.resolve("a.core"));
        assertThat(written.findings()).hasSize(1);
        assertThat(written.runs()).isEqualTo(1);
    }
}
