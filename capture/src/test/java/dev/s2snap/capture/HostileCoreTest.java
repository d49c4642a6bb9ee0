package dev.s2snap.capture;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// Files that are damaged, or made to harm, end in one sentence and nothing else.
class HostileCoreTest {
    private static final int PAGE = 4096;

    @TempDir
    private Path folder;

    private static byte[] good() {
        return new CoreBytes(3)
                .note("S2SNAP", 1, "{\"schema\":1,\"registers\":{}}".getBytes(StandardCharsets.UTF_8))
                .load(0x4000_0000L, CoreBytes.pattern(PAGE, 1))
                .load(0x5000_0000L, CoreBytes.pattern(PAGE, 2), 2 * PAGE)
                .bytes();
    }

    /// Opens it, and reads all over it.
    private void open(byte[] bytes) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment file = arena.allocate(Math.max(1, bytes.length)).asSlice(0, bytes.length);
            MemorySegment.copy(bytes, 0, file, ValueLayout.JAVA_BYTE, 0, bytes.length);
            ElfCore core = ElfCore.of("hostile.core", file, arena);
            for (ElfCore.Segment segment : core.segments()) {
                for (long address : List.of(segment.start(), segment.end() - 8, segment.end() - 4, segment.end())) {
                    if (core.offset(address, 8) >= 0) {
                        core.load64(address);
                    }
                }
            }
        }
    }

    private void openOrRefuse(byte[] bytes) {
        try {
            open(bytes);
        } catch (CaptureException e) {
            assertThat(e.getMessage()).contains(".core: ").contains("; ").doesNotContain("\n");
        }
    }

    @Test
    void theFileItselfIsGood() {
        open(good());
    }

    @Test
    void aFileCutOffAnywhereIsRefused() {
        byte[] good = good();
        for (int length = 0; length < good.length; length += length < 512 ? 1 : 97) {
            byte[] cut = Arrays.copyOf(good, length);
            assertThatThrownBy(() -> open(cut))
                    .as("cut to %d bytes", length)
                    .isInstanceOf(CaptureException.class)
                    .hasMessageNotContaining("\n");
        }
    }

    @Test
    void everyFieldOfEveryHeaderMayHoldAnything() {
        byte[] good = good();
        int headersEnd = 64 + 3 * 56;
        long[] values = {
            0,
            1,
            7,
            0xff,
            0xffff,
            0x7fff_ffff,
            0xffff_ffffL,
            1L << 32,
            1L << 52,
            1L << 56,
            Long.MAX_VALUE,
            Long.MIN_VALUE,
            -1,
            -4096,
            good.length,
            good.length - 1
        };
        for (int offset = 0; offset < headersEnd + 24; offset += 2) {
            for (long value : values) {
                for (int width : new int[] {2, 4, 8}) {
                    byte[] bad = good.clone();
                    ByteBuffer buffer = ByteBuffer.wrap(bad).order(ByteOrder.LITTLE_ENDIAN);
                    switch (width) {
                        case 2 -> buffer.putShort(offset, (short) value);
                        case 4 -> buffer.putInt(offset, (int) value);
                        default -> buffer.putLong(offset, value);
                    }
                    openOrRefuse(bad);
                }
            }
        }
    }

    @Test
    void randomDamageIsSurvived() {
        SplittableRandom random = new SplittableRandom(20261122);
        for (int round = 0; round < 2000; round++) {
            byte[] bad = good();
            for (int i = random.nextInt(1, 8); i > 0; i--) {
                bad[random.nextInt(320)] = (byte) random.nextInt(256);
            }
            openOrRefuse(bad);
        }
    }

    static Stream<Arguments> refusals() {
        byte[] page = new byte[PAGE];
        return Stream.of(
                Arguments.of("beyond its end", new byte[0]),
                Arguments.of("not an ELF file", new byte[100]),
                Arguments.of("EI_CLASS 1", with(4, 1)),
                Arguments.of("EI_DATA 2", with(5, 2)),
                Arguments.of("e_type 2", with(16, 2)),
                Arguments.of("e_machine 62", with(18, 62)),
                Arguments.of("e_phentsize is 32", with(54, 32)),
                Arguments.of("no PT_LOAD with memory", new CoreBytes(0).bytes()),
                Arguments.of(
                        "no PT_LOAD with memory",
                        new CoreBytes(1).load(0x1000, new byte[0]).bytes()),
                Arguments.of(
                        "program headers 0 and 1 hold different bytes for physical address 0x2000",
                        new CoreBytes(2)
                                .load(0x1000, new byte[2 * PAGE])
                                .load(0x2000, CoreBytes.pattern(PAGE, 1))
                                .bytes()),
                Arguments.of(
                        "p_filesz 0x1000 beyond p_memsz 0xfff",
                        new CoreBytes(1).load(0, page, 0xfff).bytes()),
                Arguments.of("56 bits", new CoreBytes(1).load(1L << 56, page).bytes()),
                Arguments.of(
                        "56 bits",
                        new CoreBytes(1).load((1L << 56) - PAGE, page, 2 * PAGE).bytes()),
                Arguments.of(
                        "56 bits", new CoreBytes(1).load(-4096L, page, 2 * PAGE).bytes()),
                Arguments.of(
                        "memory of program header 0",
                        new CoreBytes(1).header(1, 64, 0, 1 << 20, 1 << 20).bytes()),
                Arguments.of(
                        "memory of program header 0",
                        new CoreBytes(1).header(1, -8, 0, 16, 16).bytes()),
                Arguments.of(
                        "notes of program header 0",
                        new CoreBytes(2)
                                .header(4, 64, 0, Long.MAX_VALUE, 0)
                                .load(0, page)
                                .bytes()),
                Arguments.of(
                        "longer than its segment",
                        new CoreBytes(2)
                                .notes(new byte[] {7, 0, 0, 0, -1, -1, -1, -1, 1, 0, 0, 0})
                                .load(0, page)
                                .bytes()),
                Arguments.of(
                        "longer than its segment",
                        new CoreBytes(2)
                                .notes(new byte[] {4, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 'a', 'b', 'c', 0})
                                .load(0, page)
                                .bytes()),
                Arguments.of(
                        "middle of a note",
                        new CoreBytes(2).notes(new byte[8]).load(0, page).bytes()),
                Arguments.of(
                        "second S2SNAP note",
                        new CoreBytes(3)
                                .note("S2SNAP", 1, page)
                                .note("S2SNAP", 1, page)
                                .load(0, page)
                                .bytes()),
                Arguments.of("section header 0, which has the number", with(56, 0xffff)),
                Arguments.of("there is no section header 0", withoutSection()));
    }

    private static byte[] with(int offset, int value) {
        byte[] bytes = new CoreBytes(1).load(0x1000, new byte[PAGE]).bytes();
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).putShort(offset, (short) value);
        if (offset < 16) {
            bytes[offset] = (byte) value;
            bytes[offset + 1] = (byte) 1;
        }
        return offset == 56 ? Arrays.copyOf(withSectionBeyond(bytes), bytes.length) : bytes;
    }

    private static byte[] withoutSection() {
        byte[] bytes = new CoreBytes(1).load(0x1000, new byte[PAGE]).bytes();
        ByteBuffer.wrap(bytes).putShort(56, (short) -1);
        return bytes;
    }

    private static byte[] withSectionBeyond(byte[] bytes) {
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).putLong(40, bytes.length - 8L);
        return bytes;
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("refusals")
    void theReasonIsNamed(String reason, byte[] bytes) {
        assertThatThrownBy(() -> open(bytes))
                .isInstanceOf(CaptureException.class)
                .hasMessageContaining(reason)
                .hasMessageContaining(".core: ")
                .hasMessageContaining("; ");
    }

    @Test
    void moreProgramHeadersThanAMillionAreRefusedRatherThanRead() throws IOException {
        int count = ElfHeaders.COUNT_LIMIT + 1;
        byte[] head = new CoreBytes(1).load(0x1000, new byte[PAGE]).extended().bytes();
        ByteBuffer.wrap(head).order(ByteOrder.LITTLE_ENDIAN).putInt(head.length - 20, count);
        Path file = CoreBytes.write(folder, "many.core", head);
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
            channel.write(ByteBuffer.allocate(1), 64 + 56L * count - 1);
        }
        assertThatThrownBy(() -> ElfCore.open(file))
                .isInstanceOf(CaptureException.class)
                .hasMessage(file + ": it has 1048577 program headers, and at most 1048576 are read;"
                        + " save the machine's memory in fewer segments");
    }

    @Test
    void foldersAndMissingFilesAreNamed() {
        assertThatThrownBy(() -> ElfCore.open(folder))
                .isInstanceOf(CaptureException.class)
                .hasMessageContaining("not a regular file");
        assertThatThrownBy(() -> ElfCore.open(folder.resolve("none")))
                .isInstanceOf(CaptureException.class)
                .hasMessageContaining("there is no such file");
    }
}
