package dev.s2snap.capture;

import dev.s2snap.vmsa.PhysicalMemory;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/// The headers of an ELF64 core of an Arm machine (System V gABI, chapters 4 and 5; ELF for the Arm 64-bit
/// Architecture).
/// Nothing in the file is believed before it was compared with the file's size.
///
/// @param loads the PT_LOADs that have memory, by ascending physical address; they may overlap
/// @param note the descriptor of the note `S2SNAP`
record ElfHeaders(List<Load> loads, Optional<byte[]> note) {

    /// A PT_LOAD: `fileSize` bytes of memory from `offset`, zeros from there to `size`.
    ///
    /// @param header index of its program header
    record Load(long address, long size, long offset, long fileSize, long header) {
        long end() {
            return address + size;
        }

        long dataEnd() {
            return address + fileSize;
        }
    }

    static final int MAGIC = 0x464c457f;
    static final short CORE = 4;
    static final short AARCH64 = 183;
    static final int LOAD = 1;
    static final int NOTE = 4;
    static final int HEADER_SIZE = 64;
    static final int PROGRAM_HEADER_SIZE = 56;
    static final int SECTION_HEADER_SIZE = 64;

    /// e_phnum that says: the number is in sh_info of section header 0.
    static final int EXTENDED = 0xffff;

    /// Physical addresses have at most 56 bits (ID_AA64MMFR0_EL1.PARange, FEAT_D128).
    static final long ADDRESS_LIMIT = 1L << 56;

    /// Ours is a few kilobytes; a note beyond this is not.
    private static final int NOTE_LIMIT = 64 << 20;

    /// A million single pages of memory are 4 GiB and more, and no longer a job for a list of segments.
    static final int COUNT_LIMIT = 1 << 20;

    private static final ValueLayout.OfShort LE16 = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfInt LE32 = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /// @param name of the file, for messages
    static ElfHeaders read(String name, MemorySegment file) {
        return new Reader(name, file).read();
    }

    private static final class Reader {
        private final String name;
        private final MemorySegment file;
        private final List<Load> loads = new ArrayList<>();
        private Optional<byte[]> note = Optional.empty();

        Reader(String name, MemorySegment file) {
            this.name = name;
            this.file = file;
        }

        ElfHeaders read() {
            identify();
            long offset = long64(32);
            int entrySize = unsigned16(54);
            if (entrySize != PROGRAM_HEADER_SIZE) {
                throw bad("e_phentsize is " + entrySize + " instead of " + PROGRAM_HEADER_SIZE, "it is damaged");
            }
            long count = programHeaders();
            need("the " + count + " program headers", offset, count * PROGRAM_HEADER_SIZE);
            if (count > COUNT_LIMIT) {
                throw bad(
                        "it has " + count + " program headers, and at most " + COUNT_LIMIT + " are read",
                        "save the machine's memory in fewer segments");
            }
            for (long index = 0; index < count; index++) {
                long header = offset + index * PROGRAM_HEADER_SIZE;
                switch (file.get(LE32, header)) {
                    case LOAD -> load(index, header);
                    case NOTE -> notes(index, header);
                    default -> {
                        // Other segments hold no memory.
                    }
                }
            }
            if (loads.isEmpty()) {
                throw bad("it has no PT_LOAD with memory", "save the machine's memory again");
            }
            loads.sort((a, b) -> Long.compare(a.address, b.address));
            return new ElfHeaders(List.copyOf(loads), note);
        }

        private void identify() {
            need("the ELF header", 0, HEADER_SIZE);
            if (file.get(LE32, 0) != MAGIC) {
                throw bad("it is not an ELF file", "give an ELF core");
            }
            int fileClass = file.get(ValueLayout.JAVA_BYTE, 4);
            int data = file.get(ValueLayout.JAVA_BYTE, 5);
            int type = unsigned16(16);
            int machine = unsigned16(18);
            if (fileClass != 2) {
                throw bad(
                        "it is not a 64-bit ELF file (EI_CLASS " + fileClass + ")", "give a core of a 64-bit machine");
            }
            if (data != 1) {
                throw bad(
                        "it is not little-endian (EI_DATA " + data + ")",
                        "big-endian machines are not supported, pKVM never runs on one");
            }
            if (type != CORE) {
                throw bad("it is not a core (e_type " + type + ")", "give a core rather than a program or library");
            }
            if (machine != AARCH64) {
                throw bad("it is of another machine (e_machine " + machine + ")", "give a core of an AArch64 machine");
            }
        }

        private long programHeaders() {
            int count = unsigned16(56);
            if (count != EXTENDED) {
                return count;
            }
            long section = long64(40);
            if (section == 0) {
                throw bad(
                        "e_phnum is 0xffff, and there is no section header 0 to say how many program headers it has",
                        "it is damaged");
            }
            need("section header 0, which has the number of program headers,", section, SECTION_HEADER_SIZE);
            return Integer.toUnsignedLong(file.get(LE32, section + 44));
        }

        private void load(long index, long header) {
            String which = "program header " + index;
            long offset = long64(header + 8);
            long address = long64(header + 24);
            long fileSize = long64(header + 32);
            long size = long64(header + 40);
            if (size == 0 && fileSize == 0) {
                return;
            }
            if (Long.compareUnsigned(fileSize, size) > 0) {
                throw bad(which + " has p_filesz " + hex(fileSize) + " beyond p_memsz " + hex(size), "it is damaged");
            }
            if (Long.compareUnsigned(address, ADDRESS_LIMIT) >= 0
                    || Long.compareUnsigned(size, ADDRESS_LIMIT - address) > 0) {
                throw bad(
                        which + " has p_paddr " + hex(address) + " and p_memsz " + hex(size)
                                + ", beyond the 56 bits of a physical address",
                        "it is damaged, or not a core of a machine");
            }
            need("the memory of " + which, offset, fileSize);
            loads.add(new Load(address, size, offset, fileSize, index));
        }

        private void notes(long index, long header) {
            String which = "the notes of program header " + index;
            long offset = long64(header + 8);
            long size = long64(header + 32);
            need(which, offset, size);
            // Names and descriptors are padded to 4 bytes, or to 8 where the segment says so (gABI, Note Section).
            long align = long64(header + 48) == 8 ? 8 : 4;
            long end = offset + size;
            long place = offset;
            while (place < end) {
                if (end - place < 12) {
                    throw bad(which + " end in the middle of a note at offset " + hex(place), "it is damaged");
                }
                long nameSize = Integer.toUnsignedLong(file.get(LE32, place));
                long descriptorSize = Integer.toUnsignedLong(file.get(LE32, place + 4));
                int type = file.get(LE32, place + 8);
                long descriptor = alignUp(place + 12 + nameSize, align);
                if (descriptor > end || descriptorSize > end - descriptor) {
                    throw bad("the note at offset " + hex(place) + " is longer than its segment", "it is damaged");
                }
                if (type == CaptureNote.TYPE && named(place + 12, nameSize)) {
                    keep(place, descriptor, descriptorSize);
                }
                place = alignUp(descriptor + descriptorSize, align);
            }
        }

        private boolean named(long offset, long size) {
            byte[] wanted = (CaptureNote.NAME + '\0').getBytes(StandardCharsets.US_ASCII);
            return size == wanted.length
                    && Arrays.equals(file.asSlice(offset, size).toArray(ValueLayout.JAVA_BYTE), wanted);
        }

        private void keep(long place, long descriptor, long size) {
            if (note.isPresent()) {
                throw bad("it has a second " + CaptureNote.NAME + " note at offset " + hex(place), "capture again");
            }
            if (size > NOTE_LIMIT) {
                throw bad(
                        "its " + CaptureNote.NAME + " note at offset " + hex(place) + " has " + size + " bytes",
                        "it is damaged");
            }
            note = Optional.of(file.asSlice(descriptor, size).toArray(ValueLayout.JAVA_BYTE));
        }

        private static long alignUp(long offset, long align) {
            return offset + align - 1 & -align;
        }

        private void need(String what, long offset, long size) {
            long length = file.byteSize();
            if (offset < 0 || size < 0 || offset > length || size > length - offset) {
                throw bad(
                        what + " at offset " + hex(offset) + " with size " + hex(size) + " is beyond its end at "
                                + hex(length),
                        "it was cut off or is damaged, copy or save it again");
            }
        }

        private long long64(long offset) {
            return file.get(PhysicalMemory.LE64, offset);
        }

        private int unsigned16(long offset) {
            return Short.toUnsignedInt(file.get(LE16, offset));
        }

        private CaptureException bad(String what, String advice) {
            return new CaptureException(name + ": " + what + "; " + advice);
        }

        private static String hex(long value) {
            return "0x" + Long.toHexString(value);
        }
    }
}
