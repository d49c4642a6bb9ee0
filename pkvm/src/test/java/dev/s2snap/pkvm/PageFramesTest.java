package dev.s2snap.pkvm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.junit.jupiter.api.Test;

class PageFramesTest {
    private static final long MEMORY = 0x8000_0000L;
    private static final HypVmemmap WHERE = new HypVmemmap(0x6000_0000_0000L, 8);

    /// Four pages at [#MEMORY].
    private final PhysicalMemory memory = new PhysicalMemory() {
        private final MemorySegment bytes = MemorySegment.ofArray(new byte[4 * 4096]);

        @Override
        public MemorySegment bytes() {
            return bytes;
        }

        @Override
        public long offset(long address, long size) {
            return address >= MEMORY && address + size <= MEMORY + bytes.byteSize() ? address - MEMORY : ABSENT;
        }
    };

    private PageFrames frames(HypVmemmap where, HypPageLayout layout, LeafRun... runs) {
        TableGeometry geometry = new TableGeometry(TranslationRegime.EL2, 12, 48, 0, false);
        return new PageFrames(new TranslationTable(memory, geometry, 0), List.of(runs), where, layout);
    }

    private static LeafRun pages(long start, long end, long output) {
        return new LeafRun(start, end, 3, LeafRun.Kind.PAGE, output, 0x743);
    }

    @Test
    void entriesAreReadWhereEl2MapsThem() {
        memory.bytes().set(PhysicalMemory.LE64, 4096 + 8, 0x0000_0002_1100_0003L);
        PageFrames frames = frames(
                WHERE,
                HypPageLayout.BOTH_STATES,
                pages(0x1000, 0x9000, MEMORY),
                pages(0x6000_0020_0000L, 0x6000_0020_2000L, MEMORY + 4096),
                pages(0x6000_0020_3000L, 0x6000_0020_4000L, MEMORY));
        assertThat(frames.spans())
                .containsExactly(new PageFrames.Span(0x4_0000L, 1024, 4096), new PageFrames.Span(0x4_0600L, 512, 0));
        assertThat(frames.pages())
                .containsExactly(new MemoryRegion(MEMORY + 4096, 2 * 4096, 0), new MemoryRegion(MEMORY, 4096, 0));
        PageFrames.Span span = frames.span(0x4_0001L).orElseThrow();
        assertThat(frames.entry(span, 1)).isEqualTo(0x0000_0002_1100_0003L);
        assertThat(frames.span(0x3_ffffL)).isEmpty();
        assertThat(frames.span(0x4_0400L)).isEmpty();
        assertThat(frames.span(0x4_07ffL)).contains(frames.spans().getLast());
        assertThat(frames.unread()).isZero();
        assertThat(frames.frameShift()).isEqualTo(12);
    }

    @Test
    void entriesOfFourBytesAreReadAlone() {
        memory.bytes().set(PhysicalMemory.LE64, 0, 0xffff_0002_0003_8001L);
        PageFrames frames = frames(
                new HypVmemmap(0x6000_0000_0000L, 4),
                HypPageLayout.COUNTS,
                pages(0x6000_0010_0000L, 0x6000_0010_1000L, MEMORY));
        PageFrames.Span span = frames.spans().getFirst();
        assertThat(span).isEqualTo(new PageFrames.Span(0x4_0000L, 1024, 0));
        assertThat(frames.entry(span, 0)).isEqualTo(0x0003_8001L);
        assertThat(frames.entry(span, 1)).isEqualTo(0xffff_0002L);
    }

    @Test
    void pagesThatAreNotInTheMemoryAreAbsentAndCounted() {
        PageFrames frames = frames(
                WHERE, HypPageLayout.BOTH_STATES, pages(0x6000_0020_0000L, 0x6000_0020_3000L, MEMORY + 3 * 4096));
        assertThat(frames.spans())
                .containsExactly(
                        new PageFrames.Span(0x4_0000L, 512, 3 * 4096),
                        new PageFrames.Span(0x4_0200L, 1024, PhysicalMemory.ABSENT));
        assertThat(frames.spans().getLast().absent()).isTrue();
        assertThat(frames.unread()).isEqualTo(1024 * 4096L);
    }

    /// What a hostile table could claim is not gone through page by page.
    @Test
    void blocksAreNotBelieved() {
        PageFrames frames = frames(
                WHERE,
                HypPageLayout.BOTH_STATES,
                new LeafRun(0x6000_0000_0000L, 0x8000_0000_0000L, 1, LeafRun.Kind.BLOCK, 0, 0x741));
        assertThat(frames.spans()).containsExactly(new PageFrames.Span(0, 1L << 42, PhysicalMemory.ABSENT));
    }

    @Test
    void anInvalidEntryMapsNothing() {
        LeafRun fixmap = new LeafRun(0x6000_0020_0000L, 0x6000_0020_1000L, 3, LeafRun.Kind.INVALID, 0, 0x742);
        assertThat(frames(WHERE, HypPageLayout.BOTH_STATES, fixmap).spans()).isEmpty();
    }

    @Test
    void aSizeThatContradictsTheLayoutIsRefused() {
        assertThatThrownBy(() -> frames(WHERE, HypPageLayout.COUNTS))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("entries of 8 bytes do not have the layout of 4 bytes");
    }
}
