package dev.s2snap.capture;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.vmsa.PhysicalMemory;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ElfCoreTest {
    private static final int PAGE = 4096;

    @TempDir
    private Path folder;

    private static byte[] read(PhysicalMemory memory, long address, int size) {
        long offset = memory.offset(address, size);
        assertThat(offset).as("place of 0x%x, %d bytes", address, size).isNotEqualTo(PhysicalMemory.ABSENT);
        return memory.bytes().asSlice(offset, size).toArray(ValueLayout.JAVA_BYTE);
    }

    @Test
    void memoryIsFoundByPhysicalAddressInAnyOrderOfHeaders() {
        byte[] high = CoreBytes.pattern(2 * PAGE, 1);
        byte[] low = CoreBytes.pattern(PAGE, 2);
        try (ElfCore core = ElfCore.open(new CoreBytes(2)
                .load(0x8000_0000L, high)
                .load(0x4000_0000L, low)
                .write(folder))) {
            assertThat(read(core, 0x8000_0000L, 2 * PAGE)).isEqualTo(high);
            assertThat(read(core, 0x4000_0000L, PAGE)).isEqualTo(low);
            assertThat(read(core, 0x8000_0123L, 8)).isEqualTo(Arrays.copyOfRange(high, 0x123, 0x12b));
            assertThat(core.segments()).extracting(ElfCore.Segment::start).containsExactly(0x4000_0000L, 0x8000_0000L);
        }
    }

    @Test
    void whatIsNotInTheFileIsAbsent() {
        try (ElfCore core = ElfCore.open(new CoreBytes(2)
                .load(0x1000, new byte[PAGE])
                .load(0x3000, new byte[PAGE])
                .write(folder))) {
            assertThat(core.offset(0, 8)).isEqualTo(PhysicalMemory.ABSENT);
            assertThat(core.offset(0xff8, 16)).isEqualTo(PhysicalMemory.ABSENT);
            assertThat(core.offset(0x1ff8, 16)).isEqualTo(PhysicalMemory.ABSENT);
            assertThat(core.offset(0x2000, 8)).isEqualTo(PhysicalMemory.ABSENT);
            assertThat(core.offset(0x4000, 1)).isEqualTo(PhysicalMemory.ABSENT);
            assertThat(core.offset(-8, 8)).isEqualTo(PhysicalMemory.ABSENT);
            assertThat(core.offset(Long.MIN_VALUE, 8)).isEqualTo(PhysicalMemory.ABSENT);
            assertThat(core.offset(0x1000, Long.MAX_VALUE)).isEqualTo(PhysicalMemory.ABSENT);
            assertThat(core.offset(0x1ff8, 8)).isNotEqualTo(PhysicalMemory.ABSENT);
        }
    }

    @Test
    void aFileWithoutZerosIsReadFromTheMappingAlone() {
        try (ElfCore core =
                ElfCore.open(new CoreBytes(1).load(0x1000, new byte[PAGE]).write(folder))) {
            assertThat(core.bytes().byteSize()).isEqualTo(64 + 56 + PAGE);
        }
    }

    @Test
    void memoryBeyondTheFileSizeOfASegmentIsZero() {
        byte[] data = CoreBytes.pattern(PAGE, 3);
        try (ElfCore core =
                ElfCore.open(new CoreBytes(1).load(0x4_0000, data, 0x100_0000).write(folder))) {
            assertThat(read(core, 0x4_0000, PAGE)).isEqualTo(data);
            assertThat(read(core, 0x4_1000, PAGE)).containsOnly(0);
            assertThat(read(core, 0x103_ffff, 1)).containsOnly(0);
            assertThat(read(core, 0x7_0000, 1 << 16)).containsOnly(0);
            assertThat(core.offset(0x104_0000, 1)).isEqualTo(PhysicalMemory.ABSENT);
        }
    }

    @Test
    void aTablePageAcrossTheBeginningOfTheZerosIsWhole() {
        byte[] data = CoreBytes.pattern(0x1234, 4);
        try (ElfCore core =
                ElfCore.open(new CoreBytes(1).load(0x4_0000, data, 0x3_0000).write(folder))) {
            assertThat(read(core, 0x4_0000, 1 << 16)).isEqualTo(Arrays.copyOf(data, 1 << 16));
            assertThat(read(core, 0x4_1230, 8)).isEqualTo(Arrays.copyOfRange(data, 0x1230, 0x1238));
            assertThat(read(core, 0x5_0000, 1 << 16)).containsOnly(0);
        }
    }

    @Test
    void aTablePageAcrossTwoSegmentsIsWhole() {
        // In the file the second half lies before the first.
        byte[] second = CoreBytes.pattern(0x8000, 5);
        byte[] first = CoreBytes.pattern(0x9000, 6);
        try (ElfCore core = ElfCore.open(
                new CoreBytes(2).load(0x1_8000, second).load(0xf000, first).write(folder))) {
            byte[] expected = Arrays.copyOf(Arrays.copyOfRange(first, 0x1000, 0x9000), 1 << 16);
            System.arraycopy(second, 0, expected, 0x8000, 0x8000);
            assertThat(read(core, 0x1_0000, 1 << 16)).isEqualTo(expected);
            assertThat(read(core, 0xf000, 0x1000)).isEqualTo(Arrays.copyOf(first, 0x1000));
            assertThat(core.offset(0x2_0000, 1)).isEqualTo(PhysicalMemory.ABSENT);
        }
    }

    @Test
    void segmentsThatFollowEachOtherInMemoryAndFileAreOne() {
        byte[] data = CoreBytes.pattern(2 * PAGE, 7);
        try (ElfCore core = ElfCore.open(new CoreBytes(2)
                .load(0x1000, Arrays.copyOf(data, PAGE))
                .load(0x2000, Arrays.copyOfRange(data, PAGE, 2 * PAGE))
                .write(folder))) {
            assertThat(read(core, 0x1000, 2 * PAGE)).isEqualTo(data);
            assertThat(core.bytes().byteSize()).isLessThan(1 << 20);
        }
    }

    @Test
    void theNumberOfProgramHeadersMayBeInASectionHeader() {
        byte[] data = CoreBytes.pattern(PAGE, 8);
        try (ElfCore core =
                ElfCore.open(new CoreBytes(1).load(0x1000, data).extended().write(folder))) {
            assertThat(read(core, 0x1000, PAGE)).isEqualTo(data);
        }
    }

    @Test
    void emptySegmentsAndOtherNotesAreNoMemory() {
        try (ElfCore core = ElfCore.open(new CoreBytes(4)
                .load(0x1000, new byte[0])
                .note("CORE", 1, new byte[392])
                .load(0x1000, new byte[PAGE])
                .note("LINUX", 1, new byte[3])
                .write(folder))) {
            assertThat(core.segments()).hasSize(1);
            assertThat(core.note()).isEmpty();
        }
    }

    @Test
    void aNoteWithoutDescriptorMayEndItsSegment() {
        try (ElfCore core = ElfCore.open(new CoreBytes(2)
                .note("S2SNAP", 1, new byte[0])
                .load(0x1000, new byte[PAGE])
                .write(folder))) {
            assertThat(core.note())
                    .hasValueSatisfying(found -> assertThat(found).isEmpty());
        }
    }

    @Test
    void theLastPageOfAllPhysicalMemoryIsRead() {
        byte[] data = CoreBytes.pattern(PAGE, 1);
        try (ElfCore core =
                ElfCore.open(new CoreBytes(1).load((1L << 56) - PAGE, data).write(folder))) {
            assertThat(read(core, (1L << 56) - PAGE, PAGE)).isEqualTo(data);
            assertThat(core.offset(1L << 56, 1)).isEqualTo(PhysicalMemory.ABSENT);
        }
    }

    @Test
    void memoryMayBeZerosAlone() {
        try (ElfCore core = ElfCore.open(
                new CoreBytes(1).load(0x1_0000, new byte[0], 2 * PAGE).write(folder))) {
            assertThat(read(core, 0x1_1000, PAGE)).containsOnly(0);
            assertThat(core.segments()).containsExactly(new ElfCore.Segment(0x1_0000, 0x1_2000, 2 * PAGE));
        }
    }

    @Test
    void ourNoteIsFoundAmongOthers() {
        byte[] json = "{}".getBytes(StandardCharsets.UTF_8);
        byte[] other = CoreBytes.noteBytes("CORE", 1, new byte[5]);
        byte[] ours = CoreBytes.noteBytes("S2SNAP", 1, json);
        byte[] both = Arrays.copyOf(other, other.length + ours.length);
        System.arraycopy(ours, 0, both, other.length, ours.length);
        try (ElfCore core = ElfCore.open(
                new CoreBytes(2).notes(both).load(0x1000, new byte[PAGE]).write(folder))) {
            assertThat(core.note())
                    .hasValueSatisfying(found -> assertThat(found).isEqualTo(json));
        }
    }

    @Test
    void memoryIsGoneWhenTheCoreIsClosed() {
        ElfCore core =
                ElfCore.open(new CoreBytes(1).load(0x1000, new byte[8], PAGE).write(folder));
        core.close();
        assertThatThrownBy(() -> core.load64(0x1000)).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void aCoreOfFortyGigabytesIsMappedAndNotRead() throws IOException {
        long size = 40L << 30;
        long body = 4096;
        byte[] head = new CoreBytes(2)
                .header(1, body, 0x4000_0000L, size, size)
                .header(1, body + size, 0x40_0000_0000L, PAGE, 2 * PAGE)
                .bytes();
        byte[] last = CoreBytes.pattern(PAGE, 9);
        Path file = folder.resolve("large.core");
        try (FileChannel channel = FileChannel.open(
                file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE, StandardOpenOption.SPARSE)) {
            channel.write(ByteBuffer.wrap(head), 0);
            channel.write(ByteBuffer.wrap(last), body + size - PAGE);
            channel.write(ByteBuffer.wrap(last), body + size);
        }
        long before = System.nanoTime();
        try (ElfCore core = ElfCore.open(file)) {
            assertThat(Duration.ofNanos(System.nanoTime() - before)).isLessThan(Duration.ofSeconds(1));
            assertThat(read(core, 0x4000_0000L + size - PAGE, PAGE)).isEqualTo(last);
            assertThat(read(core, 0x40_0000_0000L, 2 * PAGE)).isEqualTo(Arrays.copyOf(last, 2 * PAGE));
            assertThat(read(core, 0x4000_0000L, PAGE)).containsOnly(0);
        }
    }
}
