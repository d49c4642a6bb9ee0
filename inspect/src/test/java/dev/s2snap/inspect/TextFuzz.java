package dev.s2snap.inspect;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Arrays;
import java.util.Optional;

/// Fuzz target: bytes as a kernel's text. What was read is written, and reads as the same again.
public final class TextFuzz {

    private TextFuzz() {}

    /// What Jazzer calls (`.ci/deep fuzz`), and [TextFuzzTest].
    public static void fuzzerTestOneInput(byte[] data) {
        accepts(data);
    }

    static boolean accepts(byte[] data) {
        try {
            KernelTable table = KernelTextReader.read(new ByteArrayInputStream(data), Optional.empty());
            byte[] text = written(table);
            byte[] again = written(KernelTextReader.read(new ByteArrayInputStream(text), Optional.of(table.dialect())));
            if (!Arrays.equals(text, again)) {
                throw new AssertionError("it changes when it is written and read");
            }
            KernelTableDump.json(table, "fuzz", new ByteArrayOutputStream());
            return true;
        } catch (KernelTextException e) {
            String message = String.valueOf(e.getMessage());
            if (message.isEmpty() || message.indexOf('\n') >= 0) {
                throw new AssertionError("the error is not one line: " + message, e);
            }
            return false;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static byte[] written(KernelTable table) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        table.write(out);
        return out.toByteArray();
    }
}
