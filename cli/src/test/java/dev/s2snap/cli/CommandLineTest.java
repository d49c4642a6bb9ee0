package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.capture.CaptureWriter;
import dev.s2snap.capture.CapturedMachine;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class CommandLineTest {
    private static final Path CORE = Run.core("npvm");
    private static final Path REGISTERS = Run.registers("npvm");

    @TempDir
    private Path folder;

    private Path file(String name, String content) throws IOException {
        return Files.writeString(folder.resolve(name), content);
    }

    static Stream<Arguments> mistakes() {
        return Stream.of(
                mistake("Unmatched argument at index 0: 'frobnicate'; see s2snap --help", "frobnicate"),
                mistake("Unknown option: '--frob'; see s2snap --help", "--frob"),
                mistake("Missing required parameter: 'SOURCE'; see s2snap dump --help", "dump"),
                mistake("Unknown option: '--frob'; see s2snap dump --help", "dump", CORE, "--frob"),
                mistake("Missing required parameter for option '--regs' (FILE)", "dump", CORE, "--regs"),
                mistake("\"guests\" is no table", "dump", CORE, "--table", "guests"),
                mistake("'--format'", "dump", CORE, "--format", "xml"),
                mistake("\"6\" is not a release such as 6.12", "dump", CORE, "--era", "6"),
                mistake("\"5.15\" is not a release such as 6.12, of 6.1 or later", "dump", CORE, "--era", "5.15"),
                mistake("\"6.x\" is not a release", "info", CORE, "--era", "6.x"),
                mistake("none.core: there is no such file; check the name", "dump", "none.core"),
                mistake("samples: it is a folder", "info", Path.of("..", "samples")),
                mistake("/dev/null: it is not a regular file", "info", "/dev/null"),
                mistake("regs.json: its format is not known; what is understood is an ELF core", "dump", REGISTERS),
                mistake("it has no registers (no note S2SNAP); give them with --regs FILE.json", "dump", CORE),
                mistake("none.json: there is no such file", "dump", CORE, "--regs", "none.json"),
                mistake("npvm.core: it is not the expected JSON", "dump", CORE, "--regs", CORE),
                mistake(
                        "there is no guest:1; this machine has guest:0 only",
                        "dump",
                        CORE,
                        "--regs",
                        REGISTERS,
                        "--table",
                        "guest:1"),
                mistake(
                        "it is a folder; give the name of a file",
                        "dump",
                        CORE,
                        "--regs",
                        REGISTERS,
                        "-o",
                        Path.of("..", "samples")),
                mistake(
                        "its folder does not exist; create it",
                        "dump",
                        CORE,
                        "--regs",
                        REGISTERS,
                        "-o",
                        "no/such/file"));
    }

    private static Arguments mistake(String line, Object... args) {
        return Arguments.of(line, args);
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("mistakes")
    void aMistakeIsOneLine(String line, Object[] args) {
        assertThat(Run.of(args).isRefused().err()).contains(line);
    }

    @Test
    void namesCannotMakeItTwoLinesOrControlTheTerminal() {
        Run run = Run.of("dump", "a\nb\u001b[2J").isRefused();
        assertThat(run.err()).contains("a?b?[2J: there is no such file");
        Run.of("dump", CORE, "--a\nb").isRefused();
    }

    @Test
    void aSourceIsNotReadAsAListOfArguments() {
        assertThat(Run.of("dump", "@" + REGISTERS).isRefused().err()).contains("no such file");
    }

    @ParameterizedTest
    @ValueSource(strings = {"KDUMP   ", "makedumpfile\0\0\0\0", "", "\u001f\u008b\u0008", "text"})
    void otherFormatsAreNamedOrSaidToBeUnknown(String content) throws IOException {
        Path file = folder.resolve("x.core");
        Files.write(file, content.getBytes(StandardCharsets.ISO_8859_1));
        assertThat(Run.of("info", file).isRefused().err()).contains("; what is understood is an ELF core");
    }

    @Test
    void withoutAHostTableItSaysWhatElseThereIs() throws IOException {
        String registers =
                Files.readString(REGISTERS).replace("\"HCR_EL2\": \"0x480080001\"", "\"HCR_EL2\": \"0x480080000\"");
        Path file = file("regs.json", registers);
        String line = ": the host table is not known: HCR_EL2.VM is 0: this host runs without a stage 2;"
                + " ask for --table guest:0 or hyp\n";
        assertThat(Run.of("dump", CORE, "--regs", file).isRefused().err()).endsWith(line);
        assertThat(Run.of("dump", CORE, "--regs", file, "--table", "host")
                        .isRefused()
                        .err())
                .endsWith(line);
        Run.of("dump", CORE, "--regs", file, "--table", "guest:0").succeeds();
    }

    @Test
    void contradictoryRegistersAreNamed() throws IOException {
        Path file = file("regs.json", "{\"VTTBR_EL2\":\"0x4fac9001\",\"VTCR_EL2\":\"0x80023510\",\"HCR_EL2\":\"0x1\"}");
        assertThat(Run.of("dump", CORE, "--regs", file).isRefused().err())
                .contains("(VTTBR_EL2 0x4fac9001, VTCR_EL2 0x80023510)");
        Run.of("info", CORE, "--regs", file).succeeds();
    }

    @Test
    void missingRegistersAreNamed() throws IOException {
        Path file = file("regs.json", "{\"VTTBR_EL2\":\"0x4fac9001\",\"HCR_EL2\":\"0x1\"}");
        assertThat(Run.of("dump", CORE, "--regs", file).isRefused().err()).contains("the registers lack VTCR_EL2;");
    }

    @Test
    void aTableThatCannotBeReadWholeIsBadNewsAndStillPrinted() throws IOException {
        // A root that is a table of level 1: what its pages would be tables of is not in the file.
        Path file = file(
                "regs.json",
                "{\"VTTBR_EL2\":\"0x4facb000\",\"VTCR_EL2\":\"0x802d3590\",\"HCR_EL2\":\"0x1\",\"ID_AA64MMFR1_EL1\":\"0x0\"}");
        Run text = Run.of("dump", CORE, "--regs", file);
        assertThat(text.status()).isEqualTo(1);
        assertThat(text.err()).isEmpty();
        assertThat(text.text())
                .contains("this table is NOT completely readable")
                .contains("UNREAD     66T 512G                see the findings\n")
                .contains("absent-table");
        Run json = Run.of("dump", CORE, "--regs", file, "--format", "json");
        assertThat(json.status()).isEqualTo(1);
        assertThat(JsonTree.parse(json.out())).containsEntry("complete", false);
        // Lines of values have no place for findings.
        Run csv = Run.of("dump", CORE, "--regs", file, "--format", "csv");
        assertThat(csv.status()).isEqualTo(1);
        assertThat(csv.err())
                .startsWith("s2snap: ")
                .contains(": absent-table: the level 1 table at 0x410f2000 is not in this memory, and ")
                .endsWith(" more findings; dump without --format csv lists them\n")
                .hasLineCount(1);
    }

    @Test
    void aTableThatIsDescribedNeedsNoRegisters() {
        String given = "at:0x4fac9000,ia=48,start=0";
        String without = Run.of("dump", CORE, "--table", given, "--format", "csv", "--era", "6.12")
                .succeeds()
                .text();
        String with = Run.of("dump", CORE, "--regs", REGISTERS, "--table", given, "--format", "csv", "--era", "6.12")
                .succeeds()
                .text();
        assertThat(without).isEqualTo(with).startsWith("start,end,size,level,kind,");
    }

    @Test
    void aRootOutsideOfTheMemoryIsAnErrorAndNoTable() throws IOException {
        Path file = file("regs.json", "{\"VTTBR_EL2\":\"0x10000000\",\"VTCR_EL2\":\"0x802d3590\",\"HCR_EL2\":\"0x1\"}");
        assertThat(Run.of("dump", CORE, "--regs", file).isRefused().err())
                .contains("the root of the host table, 0x10000000 (VTTBR_EL2, VTCR_EL2), is not in this memory; see");
        Run.of("dump", CORE, "--regs", file, "--dialect", "linux-7.3").isRefused();
        Run.of("snapshot", CORE, "--regs", file).isRefused();
    }

    @Test
    void theAnswerCanGoToAFile() throws IOException {
        Path file = folder.resolve("dump.json");
        Run run = Run.of("dump", CORE, "--regs", REGISTERS, "--format", "json", "-o", file)
                .succeeds();
        assertThat(run.out()).isEmpty();
        assertThat(Files.readAllBytes(file))
                .isEqualTo(Run.of("dump", CORE, "--regs", REGISTERS, "--format", "json")
                        .out());
        assertThat(folder.toFile().list()).containsExactly(file.getFileName().toString());
    }

    @Test
    void afterAMistakeTheFileIsAsItWas() throws IOException {
        Path file = file("dump.txt", "precious");
        Run.of("dump", CORE, "--regs", REGISTERS, "--table", "guest:9", "-o", file)
                .isRefused();
        assertThat(file).hasContent("precious");
        assertThat(folder.toFile().list()).containsExactly(file.getFileName().toString());
    }

    /// Standard output that fails once something is written.
    private static OutputStream failing(String message) {
        return new OutputStream() {
            @Override
            public void write(int b) throws IOException {
                throw new IOException(message);
            }

            @Override
            public void write(byte[] b, int offset, int length) throws IOException {
                throw new IOException(message);
            }
        };
    }

    @Test
    void aReaderThatGoesAwayIsNoError() {
        for (Object[] args : new Object[][] {
            {"dump", CORE, "--regs", REGISTERS}, {"info", CORE, "--regs", REGISTERS}, {"--help"}, {"dump", "--help"}
        }) {
            Run run = Run.to(failing("Broken pipe"), args);
            assertThat(run.err()).as(Arrays.toString(args)).isEmpty();
            assertThat(run.status()).isZero();
        }
    }

    @Test
    void aFullDiskIsAnError() {
        Run.to(failing("No space left on device"), "dump", CORE, "--regs", REGISTERS)
                .isRefused();
        Run run = Run.to(failing("No space left on device"), "--help").isRefused();
        assertThat(run.err()).contains("standard output: it cannot be written: No space left on device");
    }

    @Test
    void aSourceThatShrinksWhileItIsReadIsOneLine() {
        OutputStream shrinking = new OutputStream() {
            @Override
            public void write(int b) {
                throw new InternalError("a fault occurred in an unsafe memory access operation");
            }
        };
        assertThat(Run.to(shrinking, "dump", CORE, "--regs", REGISTERS, "--table", "hyp", "--format", "json")
                        .isRefused()
                        .err())
                .contains("the source changed while it was read");
    }

    @ParameterizedTest
    @ValueSource(strings = {"host", "hyp", "guest:0"})
    void aCaptureOfAMachineIsDumpedLikeTheMachine(String table) {
        Path capture = folder.resolve("capture.core");
        try (CapturedMachine machine = CapturedMachine.open(CORE, Optional.of(REGISTERS))) {
            CaptureWriter.write(machine, "test", capture);
        }
        Object[] original = {"dump", CORE, "--regs", REGISTERS, "--table", table};
        Object[] copy = {"dump", capture, "--table", table};
        assertThat(Run.of(copy).succeeds().text())
                .isEqualTo(Run.of(original).succeeds().text());
        String originalJson =
                Run.of(with(original, "--format", "json")).succeeds().text();
        assertThat(Run.of(with(copy, "--format", "json")).succeeds().text())
                .isEqualTo(originalJson.replace("\"source\":\"" + CORE, "\"source\":\"" + capture));
    }

    private static Object[] with(Object[] args, Object... more) {
        return Stream.concat(Arrays.stream(args), Arrays.stream(more)).toArray();
    }

    @Test
    void theEraCanBeSaid() {
        assertThat(Run.of("dump", CORE, "--regs", REGISTERS, "--era", "6.12")
                        .succeeds()
                        .text())
                .contains("  ownership as kernels 6.1 to 6.13 write it\n    from --era\n");
        assertThat(Run.of("dump", CORE, "--regs", REGISTERS, "--era", "7.3.4")
                        .succeeds()
                        .text())
                .contains("! unknown annotation 0x4\n");
        assertThat(Run.of("info", CORE, "--regs", REGISTERS, "--era", "6.18")
                        .succeeds()
                        .text())
                .contains("  releases            6.17 to 6.19 (era 6.17)  [--era]\n");
    }

    @Test
    void infoSaysWhereFactsComeFrom() {
        assertThat(Run.of("info", CORE, "--regs", REGISTERS).succeeds().text())
                .contains("  registers           from --regs\n")
                .contains("  memory              420K in 10 runs\n")
                .contains("  EL2                 hVHE (E2H = 1)  [HCR_EL2]\n")
                .contains("  physical address    48 bits (PARange = 5)  [ID_AA64MMFR0_EL1]\n")
                .contains("  hyp_vmemmap         EL2 address 0x600000000000, 4 bytes a page\n")
                .endsWith("""
                        not known
                          memory map          the file has no memory map
                          hyp:upper           TCR_EL2.EPD1 is 1: this range is not translated
                        """);
    }
}
