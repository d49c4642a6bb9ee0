package dev.s2snap.inspect;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ByteTextTest {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteText text = new ByteText(out);

    private String written() throws IOException {
        text.flush();
        return out.toString(StandardCharsets.UTF_8);
    }

    @ParameterizedTest
    @ValueSource(longs = {0, 1, 9, 10, 15, 16, 255, 256, 0x7fff_ffffL, 1L << 52, Long.MAX_VALUE, Long.MIN_VALUE, -1})
    void numbersAreAsTheJdkWritesThem(long value) throws IOException {
        text.hex(value).add(" ").decimal(value);
        assertThat(written()).isEqualTo("0x" + Long.toHexString(value) + " " + value);
    }

    @Test
    void hexIsPaddedWithZerosButNeverCut() throws IOException {
        text.hex(0xab, 4).add(" ").hex(0x12345, 4);
        assertThat(written()).isEqualTo("0x00ab 0x12345");
    }

    @Test
    void columnsCountFromTheBeginningOfTheLine() throws IOException {
        text.line("heading");
        text.add("ab").column(4).add("c").right("x", 8).line();
        text.column(3).add("d").right("too long", 4).line();
        assertThat(written()).isEqualTo("heading\nab  c  x\n   dtoo long\n");
    }

    @Test
    void linesHaveNoBlanksAtTheirEnds() throws IOException {
        text.add("a").column(9).line();
        text.column(9).line();
        assertThat(written()).isEqualTo("a\n\n");
    }

    @Test
    void textOfAnyLengthAndAlphabetPasses() throws IOException {
        String name = "é".repeat(50_000) + "x".repeat(200_000);
        text.add("<").add(name).add(">").line();
        text.line("next");
        assertThat(written()).isEqualTo("<" + name + ">\nnext\n");
    }

    @ParameterizedTest
    @CsvSource({
        "0, 0B, 0",
        "1, 1B, 1B",
        "4096, 4K, 4K",
        "1048576, 1M, 1M",
        "1052672, 1028K, 1M 4K",
        "1099511627776, 1T, 1T",
        "1152921504606846976, 1E, 1E",
        "1030792151040, 960G, 960G"
    })
    void sizesAreExact(long bytes, String size, String sum) throws IOException {
        assertThat(ByteText.size(bytes)).isEqualTo(size);
        assertThat(ByteText.sum(bytes)).isEqualTo(sum);
        assertThat(ByteText.sizeLength(bytes)).isEqualTo(size.length());
        text.rightSize(bytes, 8).add("|").line();
        assertThat(written()).isEqualTo(" ".repeat(8 - size.length()) + size + "|\n");
    }
}
