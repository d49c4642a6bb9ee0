package dev.s2snap.capture;

import java.nio.charset.StandardCharsets;

/// Fuzz target: bytes as the JSON of a note, and as a file of registers. What was read is written and read again.
public final class NoteFuzz {

    private NoteFuzz() {}

    /// What Jazzer calls (`.ci/deep fuzz`), and [FuzzCorpusTest].
    public static void fuzzerTestOneInput(byte[] data) {
        accepts(data);
    }

    static boolean accepts(byte[] data) {
        boolean note = note(data);
        return registers(data) || note;
    }

    static boolean note(byte[] data) {
        try {
            CaptureNote note = CaptureNote.parse("fuzz", data);
            byte[] again = CaptureNote.parse("fuzz", note.json()).json();
            if (!new String(again, StandardCharsets.UTF_8).equals(new String(note.json(), StandardCharsets.UTF_8))) {
                throw new AssertionError("it changes when it is written and read");
            }
            return true;
        } catch (CaptureException e) {
            oneLine(e);
            return false;
        }
    }

    private static boolean registers(byte[] data) {
        try {
            RegisterFile.parse("fuzz", data);
            return true;
        } catch (CaptureException e) {
            oneLine(e);
            return false;
        }
    }

    private static void oneLine(CaptureException e) {
        // Names in a file may hold anything; the command line replaces what is no character to print.
        if (e.getMessage().isEmpty()) {
            throw new AssertionError("it says nothing", e);
        }
    }
}
