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
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

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

    @Test
    void tablesScatteredOverMoreRunsThanACoreHoldsAreRefused() {
        // 131072 entries at level 2, in a root of 16 pages; each points to a page of its own, with a gap behind it.
        TableGeometry wide = new TableGeometry(TranslationRegime.STAGE2, 16, 46, 2, false);
        int all = wide.rootEntries();
        MemorySegment bytes = MemorySegment.ofArray(new byte[all * 8 + 65536 + 4096]);
        for (int i = 0; i < all; i++) {
            bytes.set(PhysicalMemory.LE64, i * 8L, (1L << 36) + ((long) i << 17) + 3);
        }
        PhysicalMemory memory = new PhysicalMemory() {
            @Override
            public MemorySegment bytes() {
                return bytes;
            }

            @Override
            public long offset(long address, long size) {
                return address < 1L << 36 ? address : all * 8L;
            }
        };
        Path file = folder.resolve("a.core");
        assertThatThrownBy(() ->
                        CaptureWriter.write(new HostOnly(memory, new TranslationTable(memory, wide, 0)), "test", file))
                .isInstanceOf(CaptureException.class)
                .hasMessageContaining("131073 separate runs");
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
