package dev.s2snap.inspect;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.vmsa.Finding;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import dev.s2snap.vmsa.TranslationTable;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/// The texts that were computed by another printer (SPEC 8.5), and every word that can occur.
class KernelTextTest {
    private static final long RWX = 0x7ff;
    private static final long RWX_BLOCK = 0x7fd;
    private static final long XN = 1L << 54;
    private static final KernelTextDialect.Use GUEST = new KernelTextDialect.Use(false, false);

    private static String text(Made made, KernelTextDialect dialect, KernelTextDialect.Use use) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try {
            assertThat(KernelText.write(made.table(), dialect, use, out))
                    .isEqualTo(new KernelText.Written(List.of(), 0, true));
        } catch (IOException e) {
            throw new AssertionError(e);
        }
        return out.toString(StandardCharsets.US_ASCII);
    }

    /// SPEC 8.5, the guest with FWB memory: a hole, blocks, pages, read-only pages.
    private static Made guest() {
        return new Made(12, 33, 2)
                .fill(0x8000_0000L, 0x80c0_0000L, 2, 0x7d9)
                .fill(0x80c0_0000L, 0x80e0_0000L, 2, 0x7d9 | XN)
                .fill(0x80e0_0000L, 0x80e1_0000L, 3, 0x7db)
                .fill(0x80e1_0000L, 0x80e1_4000L, 3, 0x75b | XN);
    }

    @Test
    void a6_12GuestIsWrittenAsSpecified() {
        assertThat(text(guest(), KernelTextDialect.LINUX_6_12, GUEST)).isEqualTo(lines("""
                ---[ Guest IPA ]---|
                0x0000000000000000-0x0000000080000000           2G 2|
                0x0000000080000000-0x0000000080c00000          12M 2   R W   AF BLK|
                0x0000000080c00000-0x0000000080e00000           2M 2   R W X AF BLK|
                0x0000000080e00000-0x0000000080e10000          64K 3   R W   AF    |
                0x0000000080e10000-0x0000000080e14000          16K 3   R   X AF    |
                0x0000000080e14000-0x0000000081000000        1968K 3|
                """));
    }

    @Test
    void a6_18GuestIsWrittenAsExpected() {
        assertThat(text(guest(), KernelTextDialect.LINUX_6_18, GUEST)).isEqualTo(lines("""
                ---[ Guest IPA ]---|
                0x0000000000000000-0x0000000080000000           2G 2|
                0x0000000080000000-0x0000000080c00000          12M 2   R W x  AF BLK|
                0x0000000080c00000-0x0000000080e00000           2M 2   R W NX AF BLK|
                0x0000000080e00000-0x0000000080e10000          64K 3   R W x  AF    |
                0x0000000080e10000-0x0000000080e14000          16K 3   R   NX AF    |
                0x0000000080e14000-0x0000000081000000        1968K 3|
                """));
    }

    @Test
    void a7_3GuestIsWrittenAsSpecified() {
        assertThat(text(guest(), KernelTextDialect.LINUX_7_3, GUEST)).isEqualTo(lines("""
                ---[ Guest IPA ]---|
                0x0000000000000000-0x0000000080000000           2G 2|
                0x0000000080000000-0x0000000080c00000          12M 2   R W px ux  AF BLK|
                0x0000000080c00000-0x0000000080e00000           2M 2   R W PXNUXN AF BLK|
                0x0000000080e00000-0x0000000080e10000          64K 3   R W px ux  AF    |
                0x0000000080e10000-0x0000000080e14000          16K 3   R   PXNUXN AF    |
                0x0000000080e14000-0x0000000081000000        1968K 3|
                0x0000000081000000-0x0000000200000000        6128M 2|
                """));
    }

    private static Made host() {
        return new Made(12, 48, 0)
                .fill(0x0800_0000L, 0x0820_0000L, 2, RWX_BLOCK | XN)
                .fill(0x4000_0000L, 0x4080_0000L, 2, RWX_BLOCK)
                .fill(0x4080_0000L, 0x4080_8000L, 3, RWX)
                .fill(0x4080_8000L, 0x4080_9000L, 3, RWX | 1L << 55)
                .fill(0x4080_9000L, 0x4080_a000L, 3, RWX | 1L << 56)
                .fill(0x4080_a000L, 0x4082_0000L, 3, 4)
                .fill(0x8000_0000L, 0xc000_0000L, 1, RWX_BLOCK);
    }

    /// The specified text but for D-29, BLK on the annotations, and D-32, the region that ends the table.
    @Test
    void aHostInV4IsWrittenAsSpecifiedWithoutItsMistakes() {
        assertThat(text(host(), KernelTextDialect.V4, KernelTextDialect.Use.HOST))
                .isEqualTo(lines("""
                ---[ IPA bits 48 start lvl 0 ]---|
                0x0000000000000000-0x0000000008000000         128M PMD|
                0x0000000008000000-0x0000000008200000           2M PMD   XN R W AF        BLK MEM/NORMAL PKVM_PAGE_OWNED|
                0x0000000008200000-0x0000000040000000         894M PMD|
                0x0000000040000000-0x0000000040800000           8M PMD      R W AF        BLK MEM/NORMAL PKVM_PAGE_OWNED|
                0x0000000040800000-0x0000000040808000          32K PTE      R W AF            MEM/NORMAL PKVM_PAGE_OWNED|
                0x0000000040808000-0x0000000040809000           4K PTE      R W AF            MEM/NORMAL PKVM_PAGE_SHARED_OWNED|
                0x0000000040809000-0x000000004080a000           4K PTE      R W AF            MEM/NORMAL PKVM_PAGE_SHARED_BORROWED|
                0x000000004080a000-0x0000000040820000          88K PTE F                      HYP|
                0x0000000040820000-0x0000000040a00000        1920K PTE|
                0x0000000040a00000-0x0000000080000000        1014M PMD|
                0x0000000080000000-0x00000000c0000000           1G PUD      R W AF        BLK MEM/NORMAL PKVM_PAGE_OWNED|
                0x00000000c0000000-0x0000008000000000         509G PUD|
                0x0000008000000000-0x0001000000000000      261632G PGD|
                """));
    }

    private static String lines(String marked) {
        assertThat(marked.lines()).allMatch(line -> line.endsWith("|"));
        return marked.replace("|\n", "\n");
    }

    @ParameterizedTest
    @CsvSource({"48, 0, PGD PUD PMD PTE", "40, 1, PGD PMD PTE", "33, 2, PGD PTE"})
    void d28EveryStartLevelHasNamesForItsLevels(int bits, int startLevel, String names) {
        Made made = new Made(12, bits, startLevel).put(0, 3, RWX);

        String text = text(made, KernelTextDialect.V4, KernelTextDialect.Use.HOST);

        assertThat(text).startsWith("---[ IPA bits " + bits + " start lvl " + startLevel + " ]---\n");
        // A page, and behind it a hole at each level, from the last one up.
        List<String> wanted = List.of(names.split(" ")).reversed();
        assertThat(text.lines().skip(2).map(line -> line.substring(line.lastIndexOf(' ') + 1)))
                .isEqualTo(wanted);
    }

    @Test
    void d30AndD31TokensThatNothingIsCalledByAreGone() {
        Made made = new Made(12, 40, 1).put(0, 3, 2 << 2).put(0x1000, 3, RWX | 3L << 55);

        assertThat(text(made, KernelTextDialect.V4, KernelTextDialect.Use.HOST))
                .doesNotContain("FF-A", "NOPAGE")
                // They are still told apart from their neighbours.
                .contains("0x0000000000000000-0x0000000000001000           4K PTE F", "00002000           4K PTE   ");
    }

    @Test
    void aGuestInV4HasMemoryByItsOwnEncodingAndBitsForStates() {
        Made made = new Made(12, 40, 1)
                .put(0, 3, 0x1c7 | 1L << 55 | 1L << 58)
                .put(0x1000, 3, 0x4db | 1L << 56)
                .put(0x2000, 3, 0xc03 | 1L << 52 | 1L << 57);

        String text = text(made, KernelTextDialect.V4, new KernelTextDialect.Use(false, true));

        assertThat(text.lines().skip(1).limit(3).map(line -> line.substring(line.indexOf("PTE"))))
                .containsExactly(
                        "PTE      R W               DEVICE/nGnRE FWB SW0 SW3",
                        "PTE      R W AF            MEM/NORMAL FWB SW1",
                        "PTE          AF FnXS CON     SW2");
    }

    @Test
    void executePermissionOf7_3HasFourForms() {
        Made made = new Made(12, 40, 1);
        for (int xn = 0; xn < 4; xn++) {
            made.put(xn << 12, 3, 0x403 | (long) xn << 53);
        }

        assertThat(text(made, KernelTextDialect.LINUX_7_3, GUEST)
                        .lines()
                        .skip(1)
                        .limit(4)
                        .map(line -> line.substring(line.indexOf(" 3 ") + 3)))
                .containsExactly(
                        "      px ux  AF    ", "      PXNux  AF    ", "      PXNUXN AF    ", "      px UXN AF    ");
    }

    @Test
    void whatNoRowLooksAtMakesNoRegion() {
        // Output addresses, shareability, and software bits in a dialect that does not know them.
        Made made = new Made(12, 40, 1).put(0, 3, 0x5000 | RWX).put(0x1000, 3, 0x9000 | (RWX & ~0x300) | 1L << 55);

        assertThat(text(made, KernelTextDialect.LINUX_7_3, GUEST)).contains("0x0000000000002000           8K 3   R W");
        // An owner id is none of 6.12's bits either: the page looks like the hole around it.
        assertThat(text(new Made(12, 40, 1).put(0, 3, 4), KernelTextDialect.LINUX_6_12, GUEST))
                .contains("0x0000000000000000-0x0000000000200000           2M 3\n");
    }

    @ParameterizedTest
    @EnumSource
    void anEmptyTableOfSixteenRootPagesIsOneRegion(KernelTextDialect dialect) {
        String text = text(new Made(12, 43, 1), dialect, KernelTextDialect.Use.HOST);

        boolean last = dialect == KernelTextDialect.V4 || dialect == KernelTextDialect.LINUX_7_3;
        assertThat(text.lines()).hasSize(last ? 2 : 1);
        if (last) {
            assertThat(text).contains("\n0x0000000000000000-0x0000080000000000           8T ");
        }
    }

    @ParameterizedTest
    @CsvSource({"14, 40, 2, 16K", "16, 42, 2, 64K", "16, 48, 1, 64K"})
    void otherGranulesHaveTheirSizes(int granuleShift, int bits, int startLevel, String page) {
        Made made = new Made(granuleShift, bits, startLevel).put(1L << granuleShift, 3, RWX);

        assertThat(text(made, KernelTextDialect.LINUX_7_3, GUEST)).contains(page + " 3   R W px ux  AF    \n");
    }

    @Test
    void aTableThatCannotBeReadHasNoLineAndIsAFinding() throws IOException {
        Made made = new Made(12, 40, 1).put(0, 3, RWX).put(0x4000_0000L, 1, 0x7000_0000_0003L);
        ByteArrayOutputStream out = new ByteArrayOutputStream();

        KernelText.Written written = KernelText.write(made.table(), KernelTextDialect.LINUX_6_12, GUEST, out);
        List<Finding> findings = written.findings();
        assertThat(written.number()).isEqualTo(findings.size());
        assertThat(written.complete()).isFalse();

        assertThat(findings).singleElement().matches(finding -> finding.rule() == Finding.Rule.ABSENT_TABLE);
        assertThat(out.toString(StandardCharsets.US_ASCII)).endsWith("-0x0000000040000000        1022M 2\n");
        // At the very end of the table it is told all the same.
        out.reset();
        made = new Made(12, 40, 1).put((1L << 40) - (1 << 30), 1, 0x7000_0000_0003L);
        KernelText.write(made.table(), KernelTextDialect.LINUX_6_12, GUEST, out);
        assertThat(out.toString(StandardCharsets.US_ASCII))
                .endsWith("0x0000000000000000-0x000000ffc0000000        1023G 1\n");
    }

    @Test
    void aTableBeyondTheOutputSizeIsNotReadAndSaidNotToBe() throws IOException {
        MadeMachine machine =
                new MadeMachine().host(0x4000_0000L, 0x4000_1000L, 0x7ff).hostEntry(1L << 39, 0, 1L << 40 | 3);
        TableSelector narrow = TableSelector.parse("at:0x80000000,ia=48,start=0,oa=40");
        KernelText.Written written = KernelText.write(
                Reading.of(machine), narrow, KernelTextDialect.LINUX_7_3, OutputStream.nullOutputStream());
        assertThat(written.findings()).extracting(Finding::rule).containsExactly(Finding.Rule.ADDRESS_SIZE);
        assertThat(written.complete()).isFalse();
    }

    @Test
    void aTableOfOneLevelOrOfStage1HasNoText() {
        Made one = new Made(12, 20, 3);
        assertThatThrownBy(() ->
                        KernelText.write(one.table(), KernelTextDialect.V4, GUEST, OutputStream.nullOutputStream()))
                .isInstanceOf(NoAnswerException.class)
                .hasMessageContaining("starts at level 3");
        TranslationTable stage1 =
                new TranslationTable(one, new TableGeometry(TranslationRegime.EL2, 12, 48, 0, false), 0);
        assertThatThrownBy(() -> KernelText.write(stage1, KernelTextDialect.V4, GUEST, OutputStream.nullOutputStream()))
                .isInstanceOf(NoAnswerException.class)
                .hasMessageContaining("stage 1");
    }

    /// More text than the buffer holds.
    @Test
    void aLongTextIsComplete() {
        Made made = new Made(12, 40, 1);
        int pages = 200 * 512;
        for (int page = 0; page < pages; page += 2) {
            made.put((long) page << 12, 3, RWX);
        }

        List<String> lines = text(made, KernelTextDialect.V4, KernelTextDialect.Use.HOST)
                .lines()
                .toList();

        assertThat(lines).hasSize(1 + pages + 2);
        for (int page = 0; page < pages - 1; page++) {
            assertThat(lines.get(page + 1))
                    .startsWith("0x%016x-0x%016x           4K PTE".formatted((long) page << 12, (page + 1L) << 12));
        }
    }

    @Test
    void whatCannotBeWrittenIsSaid() {
        OutputStream full = new OutputStream() {
            @Override
            public void write(int b) throws IOException {
                throw new IOException("full");
            }
        };
        assertThatThrownBy(() -> KernelText.write(guest().table(), KernelTextDialect.V4, GUEST, full))
                .isInstanceOf(IOException.class)
                .hasMessage("full");
    }

    @Test
    void aDialectIsFoundByItsName() {
        for (KernelTextDialect dialect : KernelTextDialect.values()) {
            assertThat(KernelTextDialect.of(dialect.id())).isEqualTo(dialect);
        }
        assertThatThrownBy(() -> KernelTextDialect.of("5.15"))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("linux-7.3");
    }
}
