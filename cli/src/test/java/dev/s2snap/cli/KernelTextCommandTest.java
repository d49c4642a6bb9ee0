package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.inspect.KernelText;
import dev.s2snap.inspect.KernelTextDialect;
import dev.s2snap.model.HostGuest;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.SnapshotCall;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// `dump --dialect` against what a real kernel wrote about the very table, byte for byte.
class KernelTextCommandTest {
    private static final Path PLAIN = Path.of("src/test/resources/ptdump-7.3-nvhe");
    private static final Path RICH = Path.of("src/test/resources/ptdump-7.3-nvhe-rich");

    private static Run dump(Path folder, Object... more) {
        Object[] args = new Object[6 + more.length];
        System.arraycopy(
                new Object[] {
                    "dump",
                    folder.resolve("guest.core"),
                    "--regs",
                    folder.resolve("guest.regs.json"),
                    "--table",
                    "guest:0"
                },
                0,
                args,
                0,
                6);
        System.arraycopy(more, 0, args, 6, more.length);
        return Run.of(args);
    }

    @ParameterizedTest
    @ValueSource(strings = {"ptdump-7.3-nvhe", "ptdump-7.3-nvhe-rich"})
    void theTextOf7_3IsTheKernelsOwn(String name) throws IOException {
        Path folder = PLAIN.resolveSibling(name);
        assertThat(dump(folder, "--dialect", "linux-7.3").succeeds().out())
                .isEqualTo(Files.readAllBytes(folder.resolve("ptdump.txt")));
    }

    /// The model's guest does what the recorded one did, and the kernel's text about it is the same.
    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void theModelsTableOfTheSameGuestHasTheSameText(boolean rich) throws IOException {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            HostGuest guest = rich ? DemoGuest.run(model) : DemoGuest.runPlain(model);
            ByteArrayOutputStream text = new ByteArrayOutputStream();
            KernelText.write(
                    Objects.requireNonNull(guest.table()),
                    KernelTextDialect.LINUX_7_3,
                    new KernelTextDialect.Use(false, false),
                    text);
            assertThat(text.toByteArray()).isEqualTo(Files.readAllBytes((rich ? RICH : PLAIN).resolve("ptdump.txt")));
        }
    }

    @Test
    void theFilesBesideItSayWhatTheModelsSay() throws IOException {
        // Both have 40 bits of guest physical address.
        for (String file : new String[] {"ipa_range", "stage2_levels"}) {
            assertThat(Run.of("debugfs", "model", "kvm/842-9/" + file)
                            .succeeds()
                            .out())
                    .isEqualTo(Files.readAllBytes(PLAIN.resolve(file + ".txt")));
        }
    }

    @Test
    void otherKernelsOverTheSameTableDifferWhereTheyDiffer() throws IOException {
        String text = Files.readString(RICH.resolve("ptdump.txt"));
        String before = text.substring(0, text.stripTrailing().lastIndexOf('\n') + 1);
        assertThat(dump(RICH, "--dialect", "linux-6.18").succeeds().text())
                .isEqualTo(before.replace("PXNUXN", "NX").replace("px ux ", "x "));
        assertThat(dump(RICH, "--dialect", "linux-6.12").succeeds().text())
                .isEqualTo(before.replace("PXNUXN", "X").replace("px ux ", " "));
        assertThat(dump(RICH, "--dialect", "v4").succeeds().text())
                .startsWith("---[ IPA bits 40 start lvl 1 ]---\n")
                .contains("0x0000000080000000-0x0000000080200000           2M PMD   XN R W AF        BLK MEM/NORMAL\n")
                .endsWith("-0x0000010000000000        1021G PGD\n");
    }

    @Test
    void theHostsTableOfADebian6_12HasTheTokensOfTheSeries() {
        String text = Run.of("dump", Run.core("npvm"), "--regs", Run.registers("npvm"), "--dialect", "v4")
                .succeeds()
                .text();
        assertThat(text).startsWith("---[ IPA bits 48 start lvl 0 ]---\n");
        assertThat(text.lines().filter(line -> line.endsWith(" HYP")))
                .isNotEmpty()
                .allMatch(line -> line.contains(" PTE F  ") && !line.contains("BLK"));
        assertThat(text)
                .contains(" BLK MEM/NORMAL PKVM_PAGE_OWNED\n")
                .contains("           4K PTE      R W AF            MEM/NORMAL PKVM_PAGE_SHARED_BORROWED\n")
                .contains(" MEM/NORMAL PKVM_PAGE_SHARED_OWNED\n")
                .endsWith("-0x0001000000000000      261632G PGD\n");
    }

    @Test
    void aDialectThatIsNoneIsRefused() {
        assertThat(dump(PLAIN, "--dialect", "5.15").isRefused().err())
                .contains("is no dialect; there are v4, linux-6.12, linux-6.18, linux-7.3");
    }

    @Test
    void aDialectIsText() {
        assertThat(dump(PLAIN, "--dialect", "v4", "--format", "json")
                        .isRefused()
                        .err())
                .contains("a dialect is text; leave out --dialect or --format json");
        assertThat(Run.of(
                                "dump",
                                Run.core("host"),
                                "--regs",
                                Run.registers("host"),
                                "--table",
                                "hyp",
                                "--dialect",
                                "v4")
                        .isRefused()
                        .err())
                .contains("host.core: the kernel's text is for stage-2 tables, and this is a stage 1");
    }

    @Test
    void theTokensOfTheSeriesAreNotReadIntoAKernelThatMeansSomethingElse() {
        Object[] args = {"dump", Run.core("host"), "--regs", Run.registers("host"), "--dialect", "v4", "--era", "6.14"};
        assertThat(Run.of(args).isRefused().err())
                .contains("this kernel keeps them in the hyp_vmemmap; leave out --dialect");
        // The others say nothing about ownership.
        args[5] = "linux-7.3";
        assertThat(Run.of(args).succeeds().text()).startsWith("---[ Guest IPA ]---\n");
        // A guest's table has no page states.
        assertThat(dump(PLAIN, "--dialect", "v4", "--era", "7.3").succeeds().text())
                .doesNotContain("PKVM");
    }

    @Test
    void whatCannotBeReadIsBadNewsOnStandardErrorAndNotInTheText(@TempDir Path folder) throws IOException {
        Path regs = Files.writeString(
                folder.resolve("regs.json"),
                "{\"VTTBR_EL2\":\"0x4facb000\",\"VTCR_EL2\":\"0x802d3590\",\"HCR_EL2\":\"0x1\"}");
        Run run = Run.of("dump", Run.core("npvm"), "--regs", regs, "--dialect", "linux-7.3");
        assertThat(run.status()).isEqualTo(1);
        // No line speaks of what could not be read.
        assertThat(run.text())
                .startsWith("---[ Guest IPA ]---\n0x0000000000000000-0x0000790000000000 ")
                .doesNotContain("-0x0000798000000000 ");
        assertThat(run.err()).startsWith("s2snap: ").contains("absent-table").hasLineCount(1);
    }

    @Test
    void theTextCanGoToAFile(@TempDir Path folder) throws IOException {
        Path file = folder.resolve("text");
        assertThat(dump(PLAIN, "--dialect", "linux-7.3", "-o", file).succeeds().out())
                .isEmpty();
        assertThat(file).hasSameBinaryContentAs(PLAIN.resolve("ptdump.txt"));
        assertThat(Files.readString(file, StandardCharsets.US_ASCII)).endsWith(" 1\n");
    }
}
