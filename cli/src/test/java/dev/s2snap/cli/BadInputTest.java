package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.capture.CaptureWriter;
import dev.s2snap.capture.CapturedMachine;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Arrays;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// Whatever is wrong with what goes in or where it goes to: status 2 and one line. The cases themselves, byte by byte,
/// are in HostileCoreTest of capture; here is one of each kind through the whole command.
class BadInputTest {
    private static final int FIRST_LOAD = 64 + 56;

    @TempDir
    private static Path shared;

    private static byte[] good = new byte[0];

    @TempDir
    private Path folder;

    @BeforeAll
    static void capture() throws IOException {
        Path file = shared.resolve("good.core");
        try (CapturedMachine machine = CapturedMachine.open(Run.core("npvm"), Optional.of(Run.registers("npvm")))) {
            CaptureWriter.write(machine, "test", file);
        }
        good = Files.readAllBytes(file);
    }

    static Stream<Arguments> damages() {
        return Stream.of(
                damage("is beyond its end", file -> Arrays.copyOf(file, 40)),
                damage("program headers at offset 0x40", file -> Arrays.copyOf(file, 100)),
                damage("the memory of program header", file -> Arrays.copyOf(file, file.length - 1)),
                damage("it is empty", _ -> new byte[0]),
                patch("program headers at offset 0xfffffffffffffff0", file -> file.putLong(32, -16)),
                patch(
                        "memory of program header 1 at offset 0x7ffffffffffff000",
                        file -> file.putLong(FIRST_LOAD + 8, 0x7fff_ffff_ffff_f000L)),
                patch("56 bits of a physical address", file -> file.putLong(FIRST_LOAD + 24, -4096)),
                patch("beyond p_memsz", file -> file.putLong(FIRST_LOAD + 32, -1)),
                patch("not little-endian (EI_DATA 2)", file -> file.put(5, (byte) 2)),
                patch("not a 64-bit ELF file (EI_CLASS 1)", file -> file.put(4, (byte) 1)),
                patch("of another machine (e_machine 62)", file -> file.putShort(18, (short) 62)),
                patch("not a core (e_type 2)", file -> file.putShort(16, (short) 2)),
                patch("no section header 0", file -> file.putShort(56, (short) -1)),
                patch("note at offset", file -> file.putInt((int) file.getLong(64 + 8) + 4, -1)),
                damage("it has schema 9 and this version of s2snap knows 1; use a newer version", file -> {
                    byte[] bad = file.clone();
                    int schema = new String(bad, StandardCharsets.ISO_8859_1).indexOf("\"schema\":1");
                    bad[schema + 9] = '9';
                    return bad;
                }));
    }

    private static Arguments damage(String named, UnaryOperator<byte[]> change) {
        return Arguments.of(named, change);
    }

    private static Arguments patch(String named, Consumer<ByteBuffer> change) {
        return damage(named, file -> {
            byte[] bad = file.clone();
            change.accept(ByteBuffer.wrap(bad).order(ByteOrder.LITTLE_ENDIAN));
            return bad;
        });
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("damages")
    void aDamagedCaptureIsOneLineInEveryCommandAndLeavesTheOutputAlone(String named, UnaryOperator<byte[]> change)
            throws IOException {
        Path core = Files.write(folder.resolve("bad.core"), change.apply(good));
        Path out = Files.writeString(folder.resolve("out"), "precious");
        for (Object[] args : new Object[][] {
            {"info", core}, {"dump", core, "-o", out}, {"snapshot", core, "-o", out}, {"dump", core, "--format", "json"}
        }) {
            Run run = Run.of(args).isRefused();
            assertThat(run.err()).startsWith("s2snap: " + core + ": ").contains(named);
        }
        assertThat(out).hasContent("precious");
        assertThat(folder.toFile().list()).containsExactlyInAnyOrder("bad.core", "out");
    }

    @Test
    void theUndamagedCaptureIsGood() throws IOException {
        Run.of("dump", Files.write(folder.resolve("good.core"), good)).succeeds();
    }

    @Test
    @EnabledOnOs(OS.LINUX)
    void aFullDiskLeavesOneLine() {
        Path full = Path.of("/dev/full");
        Path core = shared.resolve("good.core");
        for (String command : new String[] {"dump", "snapshot"}) {
            assertThat(Run.of(command, core, "-o", full).isRefused().err())
                    .isEqualTo("s2snap: /dev/full: it cannot be written: No space left on device\n");
        }
    }

    @Test
    void anUnwritableOutputIsNamedAndNothingIsLeftBehind() throws IOException {
        Path core = shared.resolve("good.core");
        // /proc refuses files of anybody, even of those whom permissions do not stop.
        Path proc = Path.of("/proc/s2snap.core");
        if (Files.isDirectory(proc.getParent())) {
            Run.of("snapshot", core, "-o", proc).isRefused();
            Run.of("dump", core, "-o", proc).isRefused();
        }
        Path closed = Files.createDirectory(
                folder.resolve("closed"),
                PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("r-xr-xr-x")));
        if (!Files.isWritable(closed)) {
            assertThat(Run.of("snapshot", core, "-o", closed.resolve("x"))
                            .isRefused()
                            .err())
                    .contains("its folder may not be written to; choose another");
        }
        Run.of("snapshot", core, "-o", folder).isRefused();
        Run.of("snapshot", core, "-o", folder.resolve("no/x")).isRefused();
        assertThat(folder.toFile().list()).containsExactly("closed");
    }

    @Test
    void aCaptureCanReplaceTheFileItWasReadFrom() throws IOException {
        Path core = Files.write(folder.resolve("good.core"), good);
        Run.of("snapshot", core, "-o", core).succeeds();
        Run.of("dump", core).succeeds();
        assertThat(folder.toFile().list()).containsExactly("good.core");
    }
}
