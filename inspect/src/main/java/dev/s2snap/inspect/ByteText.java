package dev.s2snap.inspect;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/// Text as bytes, line by line, with numbers formatted by hand: `String.format` costs ten to sixty times as much.
final class ByteText {
    private static final byte[] DIGITS = "0123456789abcdef".getBytes(StandardCharsets.US_ASCII);

    /// Both digits of each byte.
    private static final byte[] PAIRS = pairs();

    private static final String UNITS = "BKMGTPE";
    private static final int FLUSH_AT = 1 << 16;

    private final OutputStream out;
    private byte[] bytes = new byte[FLUSH_AT + 1024];
    private int length;
    private int lineStart;

    ByteText(OutputStream out) {
        this.out = out;
    }

    /// The largest unit that divides `bytes`: exact, and short for what is aligned.
    static String size(long bytes) {
        int unit = unit(bytes);
        return Long.toUnsignedString(bytes >>> (10 * unit)) + UNITS.charAt(unit);
    }

    /// How long [#size(long)] is.
    static int sizeLength(long bytes) {
        int unit = unit(bytes);
        return digits(bytes >>> (10 * unit)) + 1;
    }

    private static int unit(long bytes) {
        return bytes == 0 ? 0 : Math.min(Long.numberOfTrailingZeros(bytes) / 10, UNITS.length() - 1);
    }

    private static int digits(long value) {
        int count = 1;
        for (long rest = value; rest >= 10; rest /= 10) {
            count++;
        }
        return count;
    }

    private static byte[] pairs() {
        byte[] pairs = new byte[512];
        for (int value = 0; value < 256; value++) {
            pairs[2 * value] = DIGITS[value >>> 4];
            pairs[2 * value + 1] = DIGITS[value & 15];
        }
        return pairs;
    }

    /// All units that are needed, largest first: exact, and readable for what is not aligned.
    static String sum(long bytes) {
        StringBuilder sum = new StringBuilder();
        for (int unit = UNITS.length() - 1; unit >= 0; unit--) {
            long part = (bytes >>> (10 * unit)) & 1023;
            if (part != 0) {
                sum.append(sum.isEmpty() ? "" : " ").append(part).append(UNITS.charAt(unit));
            }
        }
        return sum.isEmpty() ? "0" : sum.toString();
    }

    /// Text that is ASCII but for names that come from outside.
    ByteText add(String text) {
        reserve(text.length());
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c >= 0x80) {
                byte[] rest = text.substring(i).getBytes(StandardCharsets.UTF_8);
                reserve(rest.length);
                System.arraycopy(rest, 0, bytes, length, rest.length);
                length += rest.length;
                return this;
            }
            bytes[length++] = (byte) c;
        }
        return this;
    }

    /// `0x` and as many digits as needed, at least `digits`.
    ByteText hex(long value, int digits) {
        int count = Math.max(digits, Math.max(1, (67 - Long.numberOfLeadingZeros(value)) / 4));
        reserve(count + 2);
        bytes[length++] = '0';
        bytes[length++] = 'x';
        int at = length + count;
        length = at;
        long rest = value;
        int left = count;
        for (; left >= 2; left -= 2) {
            int pair = (int) rest & 0xff;
            bytes[--at] = PAIRS[2 * pair + 1];
            bytes[--at] = PAIRS[2 * pair];
            rest >>>= 8;
        }
        if (left == 1) {
            bytes[--at] = DIGITS[(int) rest & 15];
        }
        return this;
    }

    ByteText hex(long value) {
        return hex(value, 1);
    }

    ByteText decimal(long value) {
        if (value < 0) {
            return add(Long.toString(value));
        }
        int count = digits(value);
        reserve(count);
        long rest = value;
        for (int i = length + count - 1; i >= length; i--) {
            bytes[i] = DIGITS[(int) (rest % 10)];
            rest /= 10;
        }
        length += count;
        return this;
    }

    /// Blanks up to `column`, counted from the beginning of the line.
    ByteText column(int column) {
        int missing = lineStart + column - length;
        if (missing > 0) {
            reserve(missing);
            Arrays.fill(bytes, length, length + missing, (byte) ' ');
            length += missing;
        }
        return this;
    }

    /// `text` so that it ends at `column`.
    ByteText right(String text, int column) {
        return column(column - text.length()).add(text);
    }

    /// [#size(long)] of a size that is no sum of exabytes, so that it ends at `column`.
    ByteText rightSize(long size, int column) {
        int unit = unit(size);
        column(column - sizeLength(size)).decimal(size >>> (10 * unit));
        reserve(1);
        bytes[length++] = (byte) UNITS.charAt(unit);
        return this;
    }

    /// Text that has been encoded before.
    ByteText add(byte[] text) {
        reserve(text.length);
        System.arraycopy(text, 0, bytes, length, text.length);
        length += text.length;
        return this;
    }

    /// Bytes in the line that is open.
    int width() {
        return length - lineStart;
    }

    /// Ends the line. Blanks at its end are dropped.
    void line() throws IOException {
        while (length > lineStart && bytes[length - 1] == ' ') {
            length--;
        }
        reserve(1);
        bytes[length++] = '\n';
        if (length >= FLUSH_AT) {
            flush();
        }
        lineStart = length;
    }

    void line(String text) throws IOException {
        add(text).line();
    }

    /// Passes on everything. To be called once, at the end.
    void flush() throws IOException {
        out.write(bytes, 0, length);
        length = 0;
        lineStart = 0;
    }

    private void reserve(int more) {
        if (length + more > bytes.length) {
            bytes = Arrays.copyOf(bytes, Math.max(bytes.length * 2, length + more));
        }
    }
}
