package dev.s2snap.model;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/// SHA-256 over 64-bit little-endian words.
final class StateHash {
    private final MessageDigest digest = sha256();
    private final ByteBuffer buffer = ByteBuffer.allocate(8192).order(ByteOrder.LITTLE_ENDIAN);

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java platform has SHA-256", e);
        }
    }

    void add(long word) {
        if (!buffer.hasRemaining()) {
            drain();
        }
        buffer.putLong(word);
    }

    void add(byte[] bytes) {
        drain();
        digest.update(bytes);
    }

    private void drain() {
        digest.update(buffer.array(), 0, buffer.position());
        buffer.clear();
    }

    /// The hash in lower-case hex; the object starts anew.
    String finish() {
        drain();
        return HexFormat.of().formatHex(digest.digest());
    }
}
