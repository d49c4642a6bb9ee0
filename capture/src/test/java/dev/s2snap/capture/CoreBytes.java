package dev.s2snap.capture;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/// Makes ELF cores, right ones and wrong ones, byte by byte.
final class CoreBytes {
    private record Header(int type, long offset, long address, long fileSize, long size, long align) {}

    private final List<Header> headers = new ArrayList<>();
    private final ByteArrayOutputStream body = new ByteArrayOutputStream();
    private final int bodyOffset;
    private boolean extended;

    /// @param headers how many will be added
    CoreBytes(int headers) {
        this.bodyOffset = 64 + 56 * headers;
    }

    /// Memory of `size` bytes, of which the first are `data`; it lies in the file right behind what was added before.
    CoreBytes load(long address, byte[] data, long size) {
        headers.add(new Header(1, bodyOffset + body.size(), address, data.length, size, 4096));
        body.writeBytes(data);
        return this;
    }

    CoreBytes load(long address, byte[] data) {
        return load(address, data, data.length);
    }

    CoreBytes note(String name, int type, byte[] descriptor) {
        return notes(noteBytes(name, type, descriptor));
    }

    CoreBytes notes(byte[] notes) {
        headers.add(new Header(4, bodyOffset + body.size(), 0, notes.length, 0, 4));
        body.writeBytes(notes);
        return this;
    }

    static byte[] noteBytes(String name, int type, byte[] descriptor) {
        byte[] terminated = (name + '\0').getBytes(StandardCharsets.US_ASCII);
        int nameSpace = (terminated.length + 3) & -4;
        ByteBuffer note = ByteBuffer.allocate(12 + nameSpace + ((descriptor.length + 3) & -4))
                .order(ByteOrder.LITTLE_ENDIAN);
        note.putInt(terminated.length).putInt(descriptor.length).putInt(type);
        note.put(terminated).position(12 + nameSpace);
        return note.put(descriptor).array();
    }

    /// A program header as it is, right or wrong.
    CoreBytes header(int type, long offset, long address, long fileSize, long size) {
        headers.add(new Header(type, offset, address, fileSize, size, 4096));
        return this;
    }

    /// Puts the number of program headers into a section header, as for more than 65534.
    CoreBytes extended() {
        extended = true;
        return this;
    }

    byte[] bytes() {
        ByteBuffer file = ByteBuffer.allocate(bodyOffset + body.size() + (extended ? 64 : 0))
                .order(ByteOrder.LITTLE_ENDIAN);
        file.putInt(0x464c457f).put((byte) 2).put((byte) 1).put((byte) 1).position(16);
        file.putShort((short) 4).putShort((short) 183).putInt(1);
        file.putLong(0)
                .putLong(64)
                .putLong(extended ? bodyOffset + body.size() : 0)
                .putInt(0);
        file.putShort((short) 64).putShort((short) 56);
        file.putShort((short) (extended ? 0xffff : headers.size()));
        file.putShort((short) 64).putShort((short) (extended ? 1 : 0)).putShort((short) 0);
        for (Header h : headers) {
            file.putInt(h.type).putInt(4).putLong(h.offset).putLong(0).putLong(h.address);
            file.putLong(h.fileSize).putLong(h.size).putLong(h.align);
        }
        file.put(body.toByteArray());
        if (extended) {
            file.position(file.position() + 44);
            file.putInt(headers.size());
        }
        return file.array();
    }

    Path write(Path folder) {
        return write(folder, "made.core", bytes());
    }

    static Path write(Path folder, String name, byte[] bytes) {
        try {
            return Files.write(folder.resolve(name), bytes);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// Bytes that tell where they are from.
    static byte[] pattern(int size, int seed) {
        byte[] bytes = new byte[size];
        for (int i = 0; i < size; i++) {
            bytes[i] = (byte) (i * 31 + (i >>> 8) * 7 + seed);
        }
        return bytes;
    }
}
