package dev.s2snap.capture;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.vmsa.PhysicalMemory;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// PT_LOADs that cover the same memory, as the kernel's image and the memory around it do in a vmcore.
class OverlapTest {
    private static final int PAGE = 4096;

    @TempDir
    private Path folder;

    private static byte[] read(PhysicalMemory memory, long address, int size) {
        long offset = memory.offset(address, size);
        assertThat(offset).as("place of 0x%x, %d bytes", address, size).isNotEqualTo(PhysicalMemory.ABSENT);
        return memory.bytes().asSlice(offset, size).toArray(ValueLayout.JAVA_BYTE);
    }

    @Test
    void anImageThatIsInTheFileTwiceIsReadAsOne() {
        byte[] memory = CoreBytes.pattern(16 * PAGE, 1);
        byte[] image = Arrays.copyOfRange(memory, 3 * PAGE, 7 * PAGE);
        try (ElfCore core = ElfCore.open(new CoreBytes(2)
                .load(0x4000_3000L, image)
                .load(0x4000_0000L, memory)
                .write(folder))) {
            assertThat(read(core, 0x4000_0000L, 16 * PAGE)).isEqualTo(memory);
            assertThat(core.segments()).containsExactly(new ElfCore.Segment(0x4000_0000L, 0x4001_0000L, 0));
        }
    }

    @Test
    void memoryThatReachesBeyondAnotherIsAddedToIt() {
        byte[] memory = CoreBytes.pattern(4 * PAGE, 2);
        try (ElfCore core = ElfCore.open(new CoreBytes(3)
                .load(0x1_0000, Arrays.copyOf(memory, 2 * PAGE))
                .load(0x1_1000, Arrays.copyOfRange(memory, PAGE, 3 * PAGE))
                .load(0x1_1800, Arrays.copyOfRange(memory, 0x1800, 4 * PAGE))
                .write(folder))) {
            assertThat(read(core, 0x1_0000, 4 * PAGE)).isEqualTo(memory);
        }
    }

    @Test
    void differentBytesForOneAddressAreRefusedAndBothHeadersNamed() {
        byte[] memory = CoreBytes.pattern(4 * PAGE, 3);
        byte[] other = Arrays.copyOfRange(memory, PAGE, 2 * PAGE);
        other[0x123]++;
        other[0x200]++;
        Path file = new CoreBytes(3)
                .note("CORE", 1, new byte[4])
                .load(0x4000_1000L, other)
                .load(0x4000_0000L, memory)
                .write(folder);
        assertThatThrownBy(() -> ElfCore.open(file))
                .isInstanceOf(CaptureException.class)
                .hasMessage(file + ": program headers 1 and 2 hold different bytes for physical address 0x40001123;"
                        + " a core of a process has no physical addresses, save a core of the machine");
    }

    @Test
    void bytesOfTheFileWinOverZeros() {
        byte[] image = CoreBytes.pattern(2 * PAGE, 4);
        try (ElfCore core = ElfCore.open(new CoreBytes(3)
                .load(0x1_0000, new byte[0], 16 * PAGE)
                .load(0x1_4000, image)
                .load(0x1_5800, Arrays.copyOfRange(image, 0x1800, 2 * PAGE), PAGE)
                .write(folder))) {
            byte[] expected = new byte[16 * PAGE];
            System.arraycopy(image, 0, expected, 4 * PAGE, 2 * PAGE);
            assertThat(read(core, 0x1_0000, 16 * PAGE)).isEqualTo(expected);
            assertThat(read(core, 0x1_4000, PAGE)).isEqualTo(Arrays.copyOf(image, PAGE));
            assertThat(core.segments()).containsExactly(new ElfCore.Segment(0x1_0000, 0x2_0000, 14 * PAGE));
        }
    }

    /// Any loads of one memory, in any order, with zeros where it has zeros.
    @Test
    void whateverOverlapsTheMemoryIsTheSame() {
        SplittableRandom random = new SplittableRandom(5);
        for (int round = 0; round < 100; round++) {
            byte[] memory = CoreBytes.pattern(1 << 16, round);
            int zerosFrom = random.nextInt(1 << 16);
            int zerosTo = random.nextInt(zerosFrom, 1 << 16);
            Arrays.fill(memory, zerosFrom, zerosTo, (byte) 0);
            boolean[] present = new boolean[1 << 16];
            int loads = random.nextInt(1, 12);
            CoreBytes core = new CoreBytes(loads + 1);
            for (int i = 0; i < loads; i++) {
                int start = random.nextInt(1 << 16);
                int dataEnd = random.nextInt(start, 1 << 16);
                int end = dataEnd >= zerosFrom && dataEnd < zerosTo && random.nextBoolean() ? zerosTo : dataEnd;
                core.load(0x7_0000 + start, Arrays.copyOfRange(memory, start, dataEnd), end - start);
                Arrays.fill(present, start, end, true);
            }
            core.load(0x10_0000, new byte[8]);
            Path file = CoreBytes.write(folder, "a.core", core.bytes());
            try (ElfCore read = ElfCore.open(file)) {
                for (int at = 0; at < 1 << 16; at += random.nextInt(1, 4096)) {
                    boolean there = read.offset(0x7_0000 + at, 1) != PhysicalMemory.ABSENT;
                    assertThat(there).as("round %d, 0x%x", round, at).isEqualTo(present[at]);
                    int size = 0;
                    while (size < 4096 && at + size < 1 << 16 && present[at + size]) {
                        size++;
                    }
                    if (size > 0) {
                        assertThat(read(read, 0x7_0000 + at, size))
                                .isEqualTo(Arrays.copyOfRange(memory, at, at + size));
                    }
                    if (size < 4096 && at + size < 1 << 16) {
                        assertThat(read.offset(0x7_0000 + at, size + 1)).isEqualTo(PhysicalMemory.ABSENT);
                    }
                }
            }
        }
    }

    @Test
    void overlapsThatWouldTakeForeverToCompareAreRefused() {
        // 500 headers that all hold the same physical memory at different places of the same zeros.
        CoreBytes core = new CoreBytes(500);
        for (int i = 0; i < 500; i++) {
            core.header(1, 64 + 56 * 500 + i, 0x1000, 1 << 20, 1 << 20);
        }
        byte[] file = Arrays.copyOf(core.bytes(), 64 + 56 * 500 + 500 + (1 << 20));
        assertThatThrownBy(() -> ElfCore.open(CoreBytes.write(folder, "a.core", file)))
                .isInstanceOf(CaptureException.class)
                .hasMessageContaining("its PT_LOADs overlap in more bytes than it has, at physical address 0x1000")
                .hasMessageContaining("of program headers 0 and ");
    }

    @Test
    void theSameBytesOfTheFileMayBeNamedOften() {
        CoreBytes core = new CoreBytes(501);
        byte[] page = CoreBytes.pattern(PAGE, 6);
        for (int i = 0; i < 500; i++) {
            core.header(1, 64 + 56 * 501, 0x1000, PAGE, PAGE);
        }
        try (ElfCore read = ElfCore.open(core.load(0x1000, page).write(folder))) {
            assertThat(read(read, 0x1000, PAGE)).isEqualTo(page);
        }
    }

    @Test
    void seventyThousandScatteredPagesAreReadAndNotCopied() {
        int count = 70_000;
        int kept = 16;
        // Adjacent in memory, in no order in the file's headers, and in the file 16 different pages.
        List<Integer> order = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            order.add(i);
        }
        Collections.shuffle(order, new Random(7));
        CoreBytes bytes = new CoreBytes(count + 1);
        long body = 64 + 56L * (count + 1);
        for (int page : order) {
            bytes.header(1, body + (long) filePage(page, kept) * PAGE, 0x4000_0000L + (long) page * PAGE, PAGE, PAGE);
        }
        byte[] content = CoreBytes.pattern(kept * PAGE, 8);
        bytes.load(0x10_0000_0000L, content);
        try (ElfCore core = ElfCore.open(bytes.extended().write(folder))) {
            assertThat(core.segments()).hasSize(2);
            for (int page = 0; page < count; page++) {
                long place = core.offset(0x4000_0000L + (long) page * PAGE, PAGE);
                long inFile = core.offset(0x10_0000_0000L + (long) filePage(page, kept) * PAGE, PAGE);
                assertThat(place).isEqualTo(inFile).isNotEqualTo(PhysicalMemory.ABSENT);
            }
            byte[] large = read(core, 0x4001_0000L, 1 << 16);
            for (int page = 16; page < 32; page++) {
                int from = filePage(page, kept) * PAGE;
                assertThat(Arrays.copyOfRange(large, (page - 16) * PAGE, (page - 15) * PAGE))
                        .isEqualTo(Arrays.copyOfRange(content, from, from + PAGE));
            }
        }
    }

    /// Never the page behind that of the page before.
    private static int filePage(int page, int kept) {
        return page * 7 % kept;
    }

    @Test
    void copiesOfSeamsAreBounded() {
        int chunks = ElfCore.COPY_LIMIT + 1;
        CoreBytes bytes = new CoreBytes(2 * chunks);
        long body = 64 + 56L * 2 * chunks;
        for (int i = 0; i < chunks; i++) {
            bytes.header(1, body + 8, 0x1_0000L * i, 0x8000, 0x8000);
            bytes.header(1, body, 0x1_0000L * i + 0x8000, 0x8000, 0x8000);
        }
        byte[] file = Arrays.copyOf(bytes.bytes(), (int) body + 0x8008);
        Path path = CoreBytes.write(folder, "a.core", file);
        try (ElfCore core = ElfCore.open(path)) {
            for (int i = 0; i < chunks - 1; i++) {
                assertThat(core.offset(0x1_0000L * i, 1 << 16)).isNotEqualTo(PhysicalMemory.ABSENT);
            }
            assertThat(core.offset(0, 1 << 16)).isNotEqualTo(PhysicalMemory.ABSENT);
            assertThatThrownBy(() -> core.offset(0x1_0000L * (chunks - 1), 1 << 16))
                    .isInstanceOf(CaptureException.class)
                    .hasMessage(path + ": table pages lie across the seams of more than 4096 areas of 64 KiB;"
                            + " save the machine's memory in fewer segments");
        }
    }
}
