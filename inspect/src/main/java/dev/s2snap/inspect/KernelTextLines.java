package dev.s2snap.inspect;

import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/// The lines of a kernel's stage-2 text, which all dialects build alike.
final class KernelTextLines {
    private static final byte[] DIGITS = "0123456789abcdef".getBytes(StandardCharsets.US_ASCII);
    private static final String UNITS = "KMGTPE";

    private static final int FLUSH_AT = 1 << 16;

    /// Two addresses, the size, blanks and the newline; what is longer has room of its own.
    private static final int LINE = 64;

    private static final int SIZE_COLUMNS = 9;

    private final OutputStream out;
    private byte[] text = new byte[FLUSH_AT + 4096];
    private int length;

    KernelTextLines(OutputStream out) {
        this.out = out;
    }

    void header(String title) {
        add(("---[ " + title + " ]---\n").getBytes(StandardCharsets.US_ASCII));
    }

    /// One region: the end is exclusive.
    ///
    /// @param attributes with the blank in front, if there are any
    void region(long start, long end, byte[] level, byte[] attributes) {
        if (length > FLUSH_AT) {
            flush();
        }
        reserve(LINE);
        hex(start);
        text[length++] = '-';
        hex(end);
        blanks(3);
        length = size(end - start, text, length);
        text[length++] = ' ';
        add(level);
        add(attributes);
        reserve(1);
        text[length++] = '\n';
    }

    private void hex(long address) {
        text[length++] = '0';
        text[length++] = 'x';
        for (int shift = 60; shift >= 0; shift -= 4) {
            text[length++] = DIGITS[(int) (address >>> shift) & 15];
        }
    }

    private void blanks(int count) {
        Arrays.fill(text, length, length + count, (byte) ' ');
        length += count;
    }

    /// Puts the size column into `text`: KiB, or the largest unit that divides the size.
    ///
    /// @return the place behind it
    static int size(long bytes, byte[] text, int at) {
        long number = bytes >>> 10;
        int unit = 0;
        while ((number & 1023) == 0 && unit < UNITS.length() - 1) {
            number >>>= 10;
            unit++;
        }
        int digits = 1;
        for (long rest = number; rest >= 10; rest /= 10) {
            digits++;
        }
        int start = at + Math.max(0, SIZE_COLUMNS - digits);
        Arrays.fill(text, at, start, (byte) ' ');
        for (int place = start + digits - 1; place >= start; place--) {
            text[place] = (byte) ('0' + number % 10);
            number /= 10;
        }
        text[start + digits] = (byte) UNITS.charAt(unit);
        return start + digits + 1;
    }

    private void add(byte[] bytes) {
        reserve(bytes.length);
        System.arraycopy(bytes, 0, text, length, bytes.length);
        length += bytes.length;
    }

    private void reserve(int more) {
        if (length + more > text.length) {
            text = Arrays.copyOf(text, Math.max(2 * text.length, length + more));
        }
    }

    /// Passes on everything.
    void flush() {
        try {
            out.write(text, 0, length);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        length = 0;
    }
}
