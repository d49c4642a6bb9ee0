package dev.s2snap.inspect;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.inspect.KernelTextDialect.Use;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/// What is shown of a kernel's text, and that what it does not tell is not shown.
class KernelTableDumpTest {
    private static final long RWX = 0x7ff;
    private static final long RWX_BLOCK = 0x7fd;
    private static final long XN = 1L << 54;

    private interface Printer {
        void print(KernelTable table, OutputStream out) throws IOException;
    }

    private static String print(Made made, KernelTextDialect dialect, Use use, Printer printer) throws IOException {
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        KernelText.write(made.table(), dialect, use, text);
        return print(text.toByteArray(), dialect, printer);
    }

    private static String print(byte[] text, KernelTextDialect dialect, Printer printer) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        printer.print(KernelTextReader.read(new ByteArrayInputStream(text), Optional.of(dialect)), out);
        return out.toString(StandardCharsets.UTF_8);
    }

    private static Made host() {
        return new Made(12, 48, 0)
                .put(0x800_0000L, 2, 0x800_0000L | (RWX_BLOCK & ~0x38) | XN | (1 << 11))
                .fill(0x4000_0000L, 0x4080_0000L, 2, RWX_BLOCK)
                .put(0x4080_0000L, 3, RWX | 1L << 55)
                .put(0x4080_1000L, 3, (RWX & ~(1 << 10)) | 1L << 56 | 1L << 52)
                .put(0x4080_2000L, 3, RWX | 3L << 55)
                .put(0x4080_3000L, 3, 1 << 2)
                .put(0x4080_4000L, 3, 9 << 2);
    }

    @Test
    void aHostInV4IsShownWithItsOwners() throws IOException {
        assertThat(print(host(), KernelTextDialect.V4, Use.HOST, KernelTableDump::text))
                .isEqualTo("""
                host: stage 2, 48-bit input, start level 0, from a text of v4
                  such a text has no output addresses, no granule and no root

                input address                  size  level      perm  memory                      owner
                0x000008000000-0x000008200000    2M  2 block    rw-   device nGnRE FnXS           host
                0x000040000000-0x000040800000    8M  2 block    rwx   normal WB                   host
                0x000040800000-0x000040801000    4K  3 page     rwx   normal WB                   host, shared
                0x000040801000-0x000040802000    4K  3 page     rwx   normal WB no-AF contiguous  borrowed by the host
                0x000040802000-0x000040803000    4K  3 page     rwx   normal WB                   ! reserved state 3
                0x000040803000-0x000040804000    4K  3 invalid                                    hyp
                0x000040804000-0x000040805000    4K  3 invalid                                    annotated

                mapped     10M 12K
                invalid    8K
                empty      255T 1023G 1013M 1004K
                owners     10M                     host
                           4K                      host, shared
                           4K                      borrowed by the host
                           4K                      ! reserved state 3
                           4K                      hyp
                           4K                      annotated
                """);
    }

    @Test
    void whatIsNotToldHasAQuestionMarkOrNoColumn() throws IOException {
        Made made = new Made(12, 40, 1)
                .put(0, 3, RWX)
                .put(0x1000, 3, RWX | XN)
                .put(0x2000, 3, RWX | 1L << 56)
                .put(0x4020_0000L, 3, 1 << 1);
        assertThat(print(made, KernelTextDialect.ANDROID_6_12, Use.HOST, KernelTableDump::text))
                .isEqualTo("""
                host: stage 2, from a text of android-6.12
                  such a text has no output addresses, no granule and no root
                  nothing is told about what is behind 0x80000000

                input address          size  level      perm  owner
                0x00000000-0x00001000    4K  3 page     rwx
                0x00001000-0x00002000    4K  3 page     rw?
                0x00002000-0x00003000    4K  3 page     rwx   software bits 0x2
                0x40200000-0x40201000    4K  3 invalid        annotated

                mapped     12K
                invalid    4K
                empty      1G 1023M 1008K
                owners     8K                      not told
                           4K                      software bits 0x2
                           4K                      annotated
                """);
    }

    @Test
    void executePermissionsOf7_3AreThoseOfTheDump() throws IOException {
        Made made = new Made(12, 40, 1);
        for (int xn = 0; xn < 4; xn++) {
            made.put(xn << 12, 3, 0x4c3 | (long) xn << 53);
        }
        assertThat(print(made, KernelTextDialect.LINUX_7_3, Use.HOST, KernelTableDump::text))
                .startsWith("guest: stage 2, 40-bit input, from a text of linux-7.3\n")
                .contains("  3 page  rwx\n", "  3 page  rw-/rwx\n", "  3 page  rw-\n", "  3 page  rwx/rw-\n")
                .doesNotContain("owner", "memory");
    }

    @Test
    void anEmptyAndACutTableAreSaid() throws IOException {
        assertThat(print(new Made(12, 40, 1), KernelTextDialect.LINUX_7_3, Use.HOST, KernelTableDump::text))
                .contains("\nno entry is in use\n\nmapped     0\ninvalid    0\nempty      1T\n");
        byte[] text = """
                ---[ Guest IPA ]---
                0x0000000000000000-0x0000000000003000          12K 3
                """.getBytes(StandardCharsets.US_ASCII);
        assertThat(print(text, KernelTextDialect.LINUX_7_3, KernelTableDump::text))
                .contains("  the text is cut: nothing is told about what is behind 0x3000\n");
    }

    @Test
    void aReservedEncodingIsInvalidAndALevelWithoutANumberHasItsName() throws IOException {
        Made made = new Made(12, 40, 1).put(0, 3, 0x7fd).put(0x4000_0000L, 1, RWX_BLOCK | 0x4000_0000L);
        String json = print(made, KernelTextDialect.ANDROID_6_6, Use.HOST, KernelTableDumpTest::json);
        assertThat(json).contains("\"level\":3,\"kind\":\"invalid\"", "\"level\":null,\"kind\":\"block\"");
        assertThat(print(made, KernelTextDialect.ANDROID_6_6, Use.HOST, KernelTableDump::text))
                .contains("    1G  PGD block  rwx\n");
    }

    @Test
    void ownersOfAndroidAreShown() throws IOException {
        Made made = new Made(12, 40, 1).put(0, 3, 2 << 2).put(0x1000, 3, 3 << 2).put(0x2000, 3, 1 << 2);
        assertThat(print(made, KernelTextDialect.ANDROID_6_6, Use.HOST, KernelTableDump::text))
                .contains("invalid        guest\n", "invalid        FF-A\n", "invalid        hyp\n");
    }

    @Test
    void jsonSaysWhichBitsAreTold() throws IOException {
        Made made = new Made(12, 33, 2).put(0x8000_0000L, 3, RWX);
        byte[] text;
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        KernelText.write(made.table(), KernelTextDialect.LINUX_7_3, Use.HOST, out);
        text = out.toByteArray();
        assertThat(print(text, KernelTextDialect.LINUX_7_3, (table, to) -> KernelTableDump.json(table, "a\"b", to)))
                .isEqualTo("""
                {"schema":1,
                "source":"a\\"b",
                "table":"guest",
                "dialect":"linux-7.3",
                "geometry":{"granuleShift":null,"inputBits":33,"startLevel":null,"rootAddress":null,"rootEntries":null,"rootPages":null,"lpa2":null},
                "complete":true,
                "end":"0x200000000",
                "leaves":[
                {"start":"0x80000000","end":"0x80001000","level":3,"kind":"page","pa":null,"bits":"0x4c3","mask":"0x600000000004c3"}
                ]}
                """);
    }

    @Test
    void csvHasTheBitsThatAreToldAndNoAddressOfMemory() throws IOException {
        assertThat(print(host(), KernelTextDialect.V4, Use.HOST, CsvDump::write))
                .startsWith("""
                start,end,size,level,kind,pa,bits,mask,perm,memory,owner
                0x8000000,0x8200000,0x200000,2,block,,0x40000000000cc5,0x1d0000000000cff,rw-,device nGnRE FnXS,host
                """)
                .contains(
                        "\n0x40800000,0x40801000,0x1000,3,page,,0x800000000004ff,0x1d0000000000cff,rwx,normal WB,\"host,"
                                + " shared\"\n")
                .contains(",3,invalid,,0x4,");
    }

    private static void json(KernelTable table, OutputStream out) throws IOException {
        KernelTableDump.json(table, "text", out);
    }
}
