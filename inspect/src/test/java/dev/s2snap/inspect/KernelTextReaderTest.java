package dev.s2snap.inspect;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.inspect.KernelTable.Kind;
import dev.s2snap.inspect.KernelTable.Region;
import dev.s2snap.inspect.KernelTextDialect.Use;
import dev.s2snap.vmsa.Descriptor;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.SequenceInputStream;
import java.nio.charset.StandardCharsets;
import java.util.AbstractList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// What is read is what was written, and what is no kernel's text is refused with its line.
class KernelTextReaderTest {
    private static final String GUEST = "---[ Guest IPA ]---\n";
    private static final String HOST = "---[ Host IPA ]---\n";

    private static final long RWX = 0x7ff;
    private static final long RWX_BLOCK = 0x7fd;
    private static final long XN = 1L << 54;

    private static String text(Made made, KernelTextDialect dialect, Use use) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try {
            KernelText.write(made.table(), dialect, use, out);
        } catch (IOException e) {
            throw new AssertionError(e);
        }
        return out.toString(StandardCharsets.US_ASCII);
    }

    private static KernelTable read(String text, KernelTextDialect... dialect) {
        try {
            return KernelTextReader.read(
                    new ByteArrayInputStream(text.getBytes(StandardCharsets.ISO_8859_1)),
                    Arrays.stream(dialect).findFirst());
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    private static String written(KernelTable table) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try {
            table.write(out);
        } catch (IOException e) {
            throw new AssertionError(e);
        }
        return out.toString(StandardCharsets.US_ASCII);
    }

    private static String written(KernelTable table, KernelTextDialect dialect) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        table.write(dialect, out);
        return out.toString(StandardCharsets.US_ASCII);
    }

    private static String cut(String text) {
        return text.replaceAll(" +\n", "\n");
    }

    // What is read.

    @Test
    void aGuestOf7_3IsReadWithEveryBitThatItsTextTells() {
        KernelTable table = read(GUEST + """
                0x0000000000000000-0x0000000040000000           1G 1
                0x0000000040000000-0x0000000040001000           4K 3   R W px ux  AF    \s
                0x0000000040001000-0x0000000040200000        2044K 3
                0x0000000040200000-0x0000000040400000           2M 2   R   PXNUXN AF BLK
                0x0000000040400000-0x0000000080000000        1020M 2
                0x0000000080000000-0x0000010000000000        1022G 1
                """.replace("AF     \n", "AF    \n"));

        assertThat(table.dialect()).isEqualTo(KernelTextDialect.LINUX_7_3);
        assertThat(table.title()).isEqualTo("Guest IPA");
        assertThat(table.host()).isFalse();
        assertThat(table.inputBits()).hasValue(40);
        assertThat(table.startLevel()).isEmpty();
        assertThat(table.complete()).isTrue();
        assertThat(table.cut()).isFalse();
        List<Region> regions = table.regions();
        assertThat(regions)
                .extracting(Region::kind)
                .containsExactly(Kind.EMPTY, Kind.PAGE, Kind.EMPTY, Kind.BLOCK, Kind.EMPTY, Kind.EMPTY);
        Region page = regions.get(1);
        assertThat(page.start()).isEqualTo(0x4000_0000L);
        assertThat(page.end()).isEqualTo(0x4000_1000L);
        assertThat(page.level().number()).hasValue(3);
        assertThat(page.told().bits()).isEqualTo(1 | 2 | 1 << 6 | 1 << 7 | 1 << 10);
        assertThat(page.told().mask()).isEqualTo(3L << 53 | 3 | 3 << 6 | 1 << 10);
        assertThat(page.told().fits(0x4000_07ffL)).isTrue();
        assertThat(page.told().fits(0x4000_077fL)).isFalse();
        Region block = regions.get(3);
        assertThat(block.told().bits()).isEqualTo(XN | 1 | 1 << 6 | 1 << 10);
        // A hole is one for the bits of the dialect.
        assertThat(regions.getFirst().told().bits()).isZero();
        assertThat(regions.getFirst().told().mask()).isEqualTo(KernelTextDialect.LINUX_7_3.mask());
    }

    private static final String V4_HOST = """
            ---[ IPA bits 48 start lvl 0 ]---
            0x0000000000000000-0x0000000008000000         128M PMD
            0x0000000008000000-0x0000000008200000           2M PMD   XN R W AF        BLK MEM/NORMAL PKVM_PAGE_OWNED
            0x0000000008200000-0x0000000040000000         894M PMD
            0x0000000040000000-0x0000000040800000           8M PMD      R W AF        BLK MEM/NORMAL PKVM_PAGE_OWNED
            0x0000000040800000-0x0000000040808000          32K PTE      R W AF            MEM/NORMAL PKVM_PAGE_OWNED
            0x0000000040808000-0x0000000040809000           4K PTE      R W AF            MEM/NORMAL PKVM_PAGE_SHARED_OWNED
            0x0000000040809000-0x000000004080a000           4K PTE      R W AF            MEM/NORMAL PKVM_PAGE_SHARED_BORROWED
            0x000000004080a000-0x0000000040820000          88K PTE F                  BLK HYP
            0x0000000040820000-0x0000000040a00000        1920K PTE
            """;

    /// As posted: annotations are called blocks, and the last region is missing.
    @Test
    void aHostInThePostedV4IsRead() {
        KernelTable table = read(V4_HOST);

        assertThat(table.dialect()).isEqualTo(KernelTextDialect.V4);
        assertThat(table.host()).isTrue();
        assertThat(table.inputBits()).hasValue(48);
        assertThat(table.startLevel()).hasValue(0);
        assertThat(table.complete()).isFalse();
        assertThat(table.cut()).isFalse();
        assertThat(written(table)).isEqualTo(V4_HOST);
        Region annotated = table.regions().get(7);
        assertThat(annotated.kind()).isEqualTo(Kind.INVALID);
        assertThat(annotated.told().bits()).isEqualTo(4);
        assertThat(annotated.told().tells(0xff << 2 | 3)).isTrue();
        Region shared = table.regions().get(5);
        assertThat(shared.told().bits() & 3L << 55).isEqualTo(1L << 55);
        // Memory attributes, the contiguous bit, FnXS and the rest.
        assertThat(shared.told().tells(0xf << 2 | 1L << 52 | 1 << 11 | 1L << 54 | 3L << 55))
                .isTrue();
        assertThat(shared.told().tells(1L << 57)).isFalse();
    }

    /// Whether bit 1 of it is set the corrected text does not tell.
    @Test
    void anAnnotationInTheCorrectedV4TellsItsOwner() {
        KernelTable table = read(V4_HOST.replace("BLK HYP", "    HYP"));

        assertThat(table.regions().get(7).told().bits()).isEqualTo(4);
        assertThat(table.regions().get(7).told().tells(2)).isFalse();
    }

    @Test
    void wordsThatOnlyThePostedTextHasAreRead() {
        KernelTable table = read("""
                ---[ IPA bits 40 start lvl 1 ]---
                0x0000000000000000-0x0000000000200000           2M PMD      R W AF        BLK MEM/NORMAL PKVM_NOPAGE
                0x0000000000200000-0x0000000000400000           2M PMD F                  BLK FF-A
                """);
        assertThat(table.regions().getFirst().told().bits() >>> 55).isEqualTo(3);
        assertThat(table.regions().getLast().told().bits()).isEqualTo(8);
    }

    @Test
    void aGuestInV4IsTold() {
        Made made = new Made(12, 40, 1)
                .put(0, 3, 0x1c7 | 1L << 55 | 1L << 58)
                .put(0x1000, 3, 0x4db | 1L << 56)
                .put(0x2000, 3, 0xc03 | 1L << 52 | 1L << 57);
        KernelTable table = read(text(made, KernelTextDialect.V4, new Use(false, true)));

        assertThat(table.host()).isFalse();
        Region device = table.regions().getFirst();
        assertThat(device.told().bits() >>> 55 & 0xf).isEqualTo(9);
        assertThat(device.told().tells(0xfL << 55)).isTrue();
        // Device memory with forced write-back has the same number as without.
        assertThat(device.told().bits() >>> 2 & 0xf).isEqualTo(1);
    }

    @Test
    void theHostOfAndroid6_12HasNoAccessFlag() {
        Made made = new Made(12, 40, 1)
                .fill(0, 0x4000, 3, RWX)
                .put(0x4000, 3, RWX | XN)
                .put(0x5000, 3, RWX | 1L << 55);
        String text = text(made, KernelTextDialect.ANDROID_6_12, Use.HOST);

        assertThat(text).startsWith(HOST).contains("3   R W X               \n", "3   R W X        SW0    \n");
        KernelTable table = read(text);
        assertThat(table.dialect()).isEqualTo(KernelTextDialect.ANDROID_6_12);
        assertThat(table.host()).isTrue();
        assertThat(table.regions().getFirst().told().tells(1 << 10)).isFalse();
        assertThat(table.regions().getFirst().told().tells(3L << 53 | 3L << 55)).isTrue();
        // Not X is one of three.
        assertThat(table.regions().get(1).told().tells(1L << 54)).isFalse();
    }

    @Test
    void theHostOfAndroid6_6HasNamesAndOwners() {
        Made made = new Made(12, 40, 1)
                .fill(0x4000_0000L, 0x4020_0000L, 2, RWX_BLOCK)
                .put(0x4020_0000L, 3, 1 << 2)
                .put(0x4020_1000L, 3, 2 << 2)
                .put(0x4020_2000L, 3, 3 << 2);
        KernelTable table = read(text(made, KernelTextDialect.ANDROID_6_6, Use.HOST));

        assertThat(table.dialect()).isEqualTo(KernelTextDialect.ANDROID_6_6);
        assertThat(table.regions())
                .filteredOn(region -> region.kind() == Kind.INVALID)
                .extracting(region -> region.told().words().strip())
                .containsExactly(
                        "F                     HYP", "F                     GUEST", "F                     FF-A");
        // PGD is level 0 or 1, and nothing tells which.
        assertThat(table.regions().getFirst().level()).isEqualTo(new KernelTable.Level("PGD", OptionalInt.empty()));
        assertThat(table.startLevel()).isEmpty();
        table = read(text(new Made(12, 48, 0).put(0, 3, RWX), KernelTextDialect.ANDROID_6_6, Use.HOST));
        assertThat(table.startLevel()).hasValue(0);
    }

    // Which dialect.

    @ParameterizedTest
    @EnumSource
    void theDialectIsFoundByTheColumns(KernelTextDialect dialect) {
        Made made = new Made(12, 40, 1).put(0, 3, RWX).put(0x1000, 3, RWX & ~0x80);
        assertThat(read(text(made, dialect, Use.HOST)).dialect()).isEqualTo(dialect);
    }

    @Test
    void aTextWithoutALineThatDecidesIsLeftToTheUser() {
        String hole = GUEST + "0x0000000000000000-0x0000000080000000           2G 2\n";
        assertThatThrownBy(() -> read(hole))
                .isInstanceOf(KernelTextException.class)
                .hasMessage("line 2: up to here all lines are possible in linux-6.12, linux-6.18, linux-7.3,"
                        + " android-6.12, which mean different things by them; say which it is with --from");
        assertThat(read(hole, KernelTextDialect.LINUX_6_18).dialect()).isEqualTo(KernelTextDialect.LINUX_6_18);
        assertThatThrownBy(() -> read(hole, KernelTextDialect.V4))
                .hasMessageContaining("line 1: \"Guest IPA\" is no title of v4");
    }

    /// Of 6.12 and Android the letter X means the opposite; only blanks at the ends of lines tell them apart.
    @Test
    void aTextOf6_12WhoseTrailingBlanksWereCutIsNotGuessed() {
        Made made = new Made(12, 40, 1).fill(0, 0x20_0000, 2, RWX_BLOCK | XN).put(0x20_0000, 3, RWX);
        String whole = text(made, KernelTextDialect.LINUX_6_12, Use.HOST);
        assertThat(read(whole).dialect()).isEqualTo(KernelTextDialect.LINUX_6_12);
        assertThatThrownBy(() -> read(cut(whole))).hasMessageContaining("possible in linux-6.12, android-6.12");
        assertThat(written(read(cut(whole), KernelTextDialect.LINUX_6_12))).isEqualTo(whole);
    }

    @Test
    void aLineThatTheNamedDialectCannotHaveIsRefused() {
        assertThatThrownBy(() -> read(
                        GUEST + "0x0000000000000000-0x0000000000200000           2M 2   R W px ux  AF BLK\n",
                        KernelTextDialect.LINUX_6_12))
                .hasMessage("line 2: no descriptor is printed as \"R W px ux  AF BLK\" by linux-6.12; see that each"
                        + " column has kept its blanks, or name another dialect");
    }

    // The way back.

    @ParameterizedTest
    @EnumSource
    void whatIsWrittenReadAndWrittenAgainIsTheSame(KernelTextDialect dialect) {
        int whole = 0;
        for (int seed = 0; seed < 60; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            Use use = new Use(random.nextBoolean(), random.nextBoolean());
            Made made = random(random);
            String text = text(made, dialect, use);

            KernelTable table = read(text, dialect);

            assertThat(written(table)).as("seed %d", seed).isEqualTo(text);
            for (Region region : table.regions()) {
                long descriptor = made.leaf(region.start());
                assertThat(region.told().fits(descriptor & dialect.seen(use.host())))
                        .as("seed %d, %x is %s", seed, descriptor, region)
                        .isTrue();
            }
            // Cut by an editor, with Windows line ends, without the last newline. An entry that is valid and has no
            // word at all is lost then.
            if (text.lines().noneMatch(line -> line.matches(".* (P[A-Z]{2}|[0-3]) +"))) {
                assertThat(written(read(cut(text).replace("\n", "\r\n").stripTrailing(), dialect)))
                        .isEqualTo(text);
                whole++;
            }
        }
        assertThat(whole).isPositive();
    }

    @Test
    void twoEmptyLinesThatAKernelWouldHaveJoinedAreRefused() {
        Made made = new Made(12, 40, 1).put(0x1000, 3, 3).put(0x3000, 3, RWX);
        String text = text(made, KernelTextDialect.LINUX_6_12, Use.HOST);
        assertThat(written(read(text))).isEqualTo(text);
        assertThatThrownBy(() -> read(cut(text))).hasMessageStartingWith("line 3: it and the line above look empty");
    }

    /// Any attributes, page states, annotations and blocks.
    private static Made random(SplittableRandom random) {
        int startLevel = random.nextInt(3);
        Made made = new Made(12, startLevel == 0 ? 48 : startLevel == 1 ? 40 : 33, startLevel);
        for (int i = 0; i < 40; i++) {
            long bits = random.nextLong() & 0x07f0_0000_0000_0ffcL;
            if (random.nextInt(3) == 0) {
                bits &= 0x7d0;
            }
            long page = (long) random.nextInt(64) << 12;
            switch (random.nextInt(4)) {
                case 0 -> made.put(0x1000_0000L + (page << 9), 2, bits | Descriptor.VALID);
                case 1 -> made.put(0x800_0000L + page, 3, bits & 0x3fe);
                case 2 -> made.put(0x800_0000L + page, 3, 1L << 2);
                default -> made.put(0x800_0000L + page, 3, bits | 3);
            }
        }
        return made;
    }

    // Conversions.

    @Test
    void aTextOf7_3IsConvertedToTheEarlierOnesAsTheirKernelsWouldHaveWrittenIt() throws IOException {
        Made made = new Made(12, 33, 2)
                .fill(0x8000_0000L, 0x80c0_0000L, 2, 0x7d9)
                .fill(0x80c0_0000L, 0x80e0_0000L, 2, 0x7d9 | XN)
                .fill(0x80e0_0000L, 0x80e1_0000L, 3, 0x7db)
                .fill(0x80e1_0000L, 0x80e1_4000L, 3, 0x75b | XN);
        KernelTable table = read(text(made, KernelTextDialect.LINUX_7_3, new Use(false, false)));
        for (KernelTextDialect earlier : List.of(KernelTextDialect.LINUX_6_12, KernelTextDialect.LINUX_6_18)) {
            assertThat(written(table, earlier)).isEqualTo(text(made, earlier, new Use(false, false)));
        }
        assertThat(written(table, KernelTextDialect.LINUX_7_3)).isEqualTo(written(table));
        // And from one to the other, whose bits are the same.
        KernelTable older = read(written(table, KernelTextDialect.LINUX_6_12));
        assertThat(written(older, KernelTextDialect.LINUX_6_18))
                .isEqualTo(written(table, KernelTextDialect.LINUX_6_18));
    }

    @Test
    void bitsThatTheOtherDialectDoesNotHaveJoinRegions() throws IOException {
        // Execute-never at EL1 alone is none of 6.18's.
        Made made = new Made(12, 40, 1).put(0, 3, RWX).put(0x1000, 3, RWX | 1L << 53);
        KernelTable table = read(text(made, KernelTextDialect.LINUX_7_3, Use.HOST));
        assertThat(written(table, KernelTextDialect.LINUX_6_18))
                .isEqualTo(text(made, KernelTextDialect.LINUX_6_18, Use.HOST))
                .contains("0x0000000000000000-0x0000000000002000           8K 3   R W x  AF    \n");
    }

    @Test
    void aConversionThatNeedsMoreThanIsToldIsRefused() {
        Made made = new Made(12, 40, 1).put(0, 3, RWX).put(0x1000, 3, 4);
        KernelTable guest = read(text(made, KernelTextDialect.LINUX_7_3, Use.HOST));
        assertThatThrownBy(() -> written(guest, KernelTextDialect.V4))
                .isInstanceOf(NoAnswerException.class)
                .hasMessage("v4 needs the start level, which linux-7.3 does not tell; make the text anew from the"
                        + " machine's memory");
        KernelTable older = read(text(made, KernelTextDialect.LINUX_6_18, Use.HOST));
        assertThatThrownBy(() -> written(older, KernelTextDialect.LINUX_7_3))
                .hasMessageContaining("linux-7.3 needs the region that ends the table");
        KernelTable host = read(text(made, KernelTextDialect.V4, Use.HOST));
        assertThatThrownBy(() -> written(host, KernelTextDialect.LINUX_6_18))
                .hasMessageStartingWith("linux-6.18 prints bit 1, which v4 does not tell of 0x1000-0x2000");
        assertThatThrownBy(() -> written(host, KernelTextDialect.LINUX_7_3)).hasMessageContaining("prints bit 53");
        KernelTable android = read(text(new Made(12, 40, 1).put(0, 3, RWX), KernelTextDialect.ANDROID_6_6, Use.HOST));
        assertThatThrownBy(() -> written(android, KernelTextDialect.LINUX_6_12))
                .hasMessageContaining("needs the region that ends the table");
    }

    @Test
    void aHostInV4WithoutAnnotationsIsConverted() throws IOException {
        Made made = new Made(12, 40, 1).put(0, 3, RWX).put(0x1000, 3, RWX | 1L << 55);
        KernelTable host = read(text(made, KernelTextDialect.V4, Use.HOST));
        assertThat(written(host, KernelTextDialect.LINUX_6_18))
                .isEqualTo(text(made, KernelTextDialect.LINUX_6_18, Use.HOST));
    }

    // What else is accepted.

    @Test
    void windowsLineEndsAndAByteOrderMarkAndBlankLinesAtTheEndAreAccepted() {
        assertThat(written(read("\u00ef\u00bb\u00bf" + V4_HOST.replace("\n", "\r\n") + "\r\n  \r\n")))
                .isEqualTo(V4_HOST);
        assertThat(written(read(V4_HOST.stripTrailing()))).isEqualTo(V4_HOST);
        assertThat(written(read(V4_HOST.replace("]---\n", "]---  \n")))).isEqualTo(V4_HOST);
    }

    @Test
    void aTextIsRecognisedByItsBeginning() {
        for (String beginning :
                List.of(GUEST, "\u00ef\u00bb\u00bf" + GUEST, "0x0000000000000000-0x000000008", "0x00000000000")) {
            assertThat(KernelTextReader.recognises(beginning.getBytes(StandardCharsets.ISO_8859_1)))
                    .isTrue();
        }
        for (String beginning : List.of("", "\u007fELF", "---", "0x00", "KDUMP   ", "0x00000000000\0")) {
            assertThat(KernelTextReader.recognises(beginning.getBytes(StandardCharsets.ISO_8859_1)))
                    .isFalse();
        }
    }

    @Test
    void anEmptyTableOfAKernelThatWritesNoLastRegionHasNoLine() {
        KernelTable table = read("---[ Guest IPA ]---\n", KernelTextDialect.LINUX_6_12);
        assertThat(table.regions()).isEmpty();
        assertThat(table.end()).isZero();
        assertThat(table.complete()).isFalse();
    }

    @Test
    void aTextOf7_3ThatDoesNotEndAtAPowerOfTwoIsCut() {
        KernelTable table = read(GUEST + """
                0x0000000000000000-0x0000000000001000           4K 3   R W px ux  AF
                0x0000000000001000-0x0000000000003000           8K 3
                """);
        assertThat(table.cut()).isTrue();
        assertThat(table.complete()).isFalse();
        assertThat(table.inputBits()).isEmpty();
    }

    @Test
    void aMillionLinesAreRead() throws IOException {
        int lines = 1_000_000;
        byte[] level = {'3'};
        byte[][] attributes = {" F R   px ux  AF    ".getBytes(StandardCharsets.US_ASCII), new byte[0]};
        int part = 1000;
        List<InputStream> parts = new AbstractList<>() {
            @Override
            public InputStream get(int index) {
                ByteArrayOutputStream out = new ByteArrayOutputStream();
                KernelTextLines writer = new KernelTextLines(out);
                if (index == 0) {
                    writer.header("Guest IPA");
                }
                for (long line = (long) index * part; line < (index + 1L) * part; line++) {
                    writer.region(line << 12, (line + 1) << 12, level, attributes[(int) line % 2]);
                }
                writer.flush();
                return new ByteArrayInputStream(out.toByteArray());
            }

            @Override
            public int size() {
                return lines / part;
            }
        };
        InputStream text = new SequenceInputStream(Collections.enumeration(parts));

        KernelTable table = KernelTextReader.read(text, Optional.empty());

        assertThat(table.dialect()).isEqualTo(KernelTextDialect.LINUX_7_3);
        assertThat(table.regions()).hasSize(lines);
        assertThat(table.end()).isEqualTo((long) lines << 12);
    }

    // What is refused.

    private static final String PAGE = "0x0000000000000000-0x0000000000001000           4K 3   R W px ux  AF    \n";

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "0x0000000000000000-0x0000000000001000           4K 3 | line 3: 0x0 is before 0x1000",
                "0x0000000000002000-0x0000000000003000           4K 3 | line 3: there is nothing about 0x1000-0x2000",
                "0x0000000000001000-0x0000000000001000           0E 3 | line 3: its end 0x1000 is not behind its start",
                "0x0000000000001000-0x0000000000000000           4K 3 | line 3: its end 0x0 is not behind its start",
                "0x0000000000001000-0xffffffffffffffff           4K 3 | behind the 56 bits",
                "0x0000000000001000-0x0000000000001800           2K 3 | not at the end of a page",
                "0x0000000000001000-0x0000000000003000           4K 3 | line 3: its size is 8K, and the size column says \"4K\"",
                "0x0000000000001000-0x0000000000003000      8K 3 | line 3: the size is not in its column",
                "0x0000000000001000-0x0000000000003000 | the size column says \"\"",
                "0x0000000000001000-0x0000000000003000           8K PTE | line 3: \"PTE\" is no level of linux-7.3",
                "0x0000000000001000-0x0000000000003000           8K 4 | \"4\" is no level of linux-7.3",
                "0x0000000000001000-0x0000000000003000           8K 3   Q W px ux  AF | printed as \"Q W px ux  AF\" by linux-7.3",
                "0x0000000000001000-0x0000000000003000           8K 3 F R W px ux  AF BLK | no descriptor",
                "0x0000000000001000-0x0000000000003000           8K 3   R W px ux  AF     and more | no descriptor",
                "0x0000000000001000 0x0000000000003000           8K 3 | line 3: it does not begin with an address range",
                "0x000000000000100g-0x0000000000003000           8K 3 | line 3: column 18 is no hexadecimal digit",
                "0x1000-0x3000 8K 3 | line 3: column 7 is no hexadecimal digit; an address has 16 of them",
                "hello | line 3: it does not begin with an address range",
                "---[ Guest IPA ]--- | line 3: a second table begins",
                "0x0000000000001000-0x0000000000201000           2M 2   R W px ux  AF | line 3: a valid entry of level 2 without BLK",
            })
    void aLineThatNoKernelWritesIsRefusedWithItsNumberAndAdvice(String line, String message) {
        assertThatThrownBy(() -> read(GUEST + PAGE + line + "\n"))
                .isInstanceOf(KernelTextException.class)
                .hasMessageContaining(message)
                .hasMessageMatching("line 3: .*; .+")
                .satisfies(e -> assertThat(((KernelTextException) e).line()).isEqualTo(3));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "\n",
                "0x0000000000000000-0x0000000000001000           4K 3\n",
                "---[ ]---\n",
                "---[ Guest IPA\n"
            })
    void aTextWithoutAFirstLineIsRefused(String text) {
        assertThatThrownBy(() -> read(text))
                .isInstanceOf(KernelTextException.class)
                .hasMessageMatching("line 1: .*; .+");
    }

    @Test
    void titlesThatNoKernelWritesAreRefused() {
        assertThatThrownBy(() -> read("---[ Linear Mapping ]---\n"))
                .hasMessageStartingWith("line 1: \"Linear Mapping\" is the title of no dialect; there are");
        assertThatThrownBy(() -> read("---[ IPA bits 64 start lvl 0 ]---\n")).hasMessageContaining("64 bits are more");
        assertThatThrownBy(() -> read("---[ IPA bits 48 start lvl 3 ]---\n"))
                .hasMessageContaining("is the title of no");
    }

    @Test
    void namesOfV4DependOnTheStartLevel() {
        String line = "0x0000000000000000-0x0000000040000000           1G %s\n";
        assertThat(read("---[ IPA bits 40 start lvl 1 ]---\n" + line.formatted("PGD"))
                        .regions()
                        .getFirst()
                        .level()
                        .number())
                .hasValue(1);
        assertThatThrownBy(() -> read("---[ IPA bits 40 start lvl 1 ]---\n" + line.formatted("PUD")))
                .hasMessageContaining("\"PUD\" is no level of v4");
        assertThatThrownBy(() -> read("---[ IPA bits 29 start lvl 1 ]---\n" + line.formatted("PGD")))
                .hasMessageContaining("behind the 29 bits");
    }

    @Test
    void bytesThatAreNoTextAreRefused() {
        assertThatThrownBy(() -> read(GUEST + "0x00\0"))
                .hasMessage("line 2: byte 0x0 at column 5 is none of a kernel's text; save it as plain ASCII");
        assertThatThrownBy(() -> read(GUEST + "\u00e4\n")).hasMessageContaining("byte 0xe4");
        assertThatThrownBy(() -> read(GUEST + "a\rb\n")).hasMessageContaining("byte 0xd");
        assertThatThrownBy(() -> read("---[ G\0u\0")).hasMessageContaining("byte 0x0");
    }

    @Test
    void aLineWithoutAnEndIsRefusedBeforeItFillsMemory() {
        InputStream endless = new InputStream() {
            @Override
            public int read() {
                return '-';
            }

            @Override
            public int read(byte[] bytes, int offset, int length) {
                Arrays.fill(bytes, offset, offset + length, (byte) '-');
                return length;
            }
        };
        assertThatThrownBy(() -> KernelTextReader.read(endless, Optional.empty()))
                .isInstanceOf(KernelTextException.class)
                .hasMessageContaining("line 1: it is longer than 256 bytes");
    }

    @Test
    void anEmptyLineInTheMiddleIsRefused() {
        assertThatThrownBy(() -> read(GUEST + PAGE + "\n" + PAGE))
                .hasMessage("line 3: it is empty, and the text goes on behind it; take the line out");
    }

    /// Whatever happens to a text: it is read as something, or refused in words.
    @Test
    void damagedTextsAreReadOrRefused() {
        byte[] whole = V4_HOST.getBytes(StandardCharsets.ISO_8859_1);
        SplittableRandom random = new SplittableRandom(7);
        int refused = 0;
        for (int i = 0; i < 4000; i++) {
            byte[] damaged = whole.clone();
            int length = random.nextInt(4) == 0 ? random.nextInt(damaged.length) : damaged.length;
            for (int hits = random.nextInt(4); hits >= 0; hits--) {
                int at = random.nextInt(damaged.length);
                damaged[at] =
                        random.nextBoolean() ? damaged[random.nextInt(damaged.length)] : (byte) random.nextInt(256);
            }
            String text = new String(damaged, 0, length, StandardCharsets.ISO_8859_1);
            try {
                KernelTable table = read(text);
                assertThat(written(read(written(table), table.dialect()))).isEqualTo(written(table));
            } catch (KernelTextException e) {
                assertThat(e).hasMessageMatching("(?s)line [0-9]+: .*; .+");
                refused++;
            }
        }
        assertThat(refused).isGreaterThan(1000);
    }

    @Test
    void whatCannotBeReadIsSaid() {
        InputStream broken = new InputStream() {
            @Override
            public int read() throws IOException {
                throw new IOException("gone");
            }

            @Override
            public int read(byte[] bytes, int offset, int length) throws IOException {
                throw new IOException("gone");
            }
        };
        assertThatThrownBy(() -> KernelTextReader.read(broken, Optional.empty()))
                .hasMessage("gone");
    }
}
