package dev.s2snap.capture;

import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.vmsa.EntryVisitor;
import dev.s2snap.vmsa.Finding;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TranslationTable;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/// Writes a capture: the table pages of a machine at their own physical addresses, and what is known about it.
///
/// The file is an ELF64 core with one PT_NOTE ([CaptureNote]) and one PT_LOAD per run of contiguous pages, ascending,
/// each at a multiple of 4 KiB. The same machine gives the same bytes.
public final class CaptureWriter {

    private static final int ALIGNMENT = 4096;

    /// e_phnum is 16 bits; the way around it (PN_XNUM) is not worth having for tables, which lie close together.
    private static final int LOAD_LIMIT = ElfHeaders.EXTENDED - 2;

    private CaptureWriter() {}

    /// What was written.
    ///
    /// @param bytes of table pages
    /// @param runs number of PT_LOADs
    /// @param findings of all tables; the pages that they say are absent are absent from the capture too
    public record Written(long bytes, int runs, List<Finding> findings) {}

    /// @param tool name and version of the writer, for the note
    /// @throws CaptureException if there is no table, or the file cannot be written; then nothing partial is left
    public static Written write(Machine machine, String tool, Path file) {
        Pages pages = new Pages(machine.memory());
        machine.host().optional().ifPresent(pages::table);
        machine.hyp().optional().ifPresent(pages::table);
        machine.guests().stream().map(Guest::table).map(Fact::optional).forEach(t -> t.ifPresent(pages::table));
        List<Run> runs = pages.runs();
        if (runs.isEmpty()) {
            throw new CaptureException(file + ": this machine has no readable table; there is nothing to capture");
        }
        if (runs.size() > LOAD_LIMIT) {
            throw new CaptureException(file + ": the tables lie in " + runs.size()
                    + " separate runs of pages, and a capture can hold " + LOAD_LIMIT + "; save a whole image instead");
        }
        CaptureNote note = new CaptureNote(
                tool,
                machine.era().optional(),
                machine.registers(),
                machine.guestRegisters(),
                machine.regions().optional());
        byte[] head = head(runs, note.json());
        AtomicFile.write(file, out -> {
            out.write(head);
            for (Run run : runs) {
                run.copy(machine.memory(), out);
            }
        });
        return new Written(runs.stream().mapToLong(Run::size).sum(), runs.size(), List.copyOf(pages.findings));
    }

    /// Contiguous bytes of physical memory.
    private record Run(long start, long end) {
        long size() {
            return end - start;
        }

        /// Bytes in the file.
        long space() {
            return size() + ALIGNMENT - 1 & -ALIGNMENT;
        }

        void copy(PhysicalMemory memory, OutputStream out) throws IOException {
            byte[] buffer = new byte[ALIGNMENT];
            long address = start;
            while (address < end) {
                // Pieces of a run need not be contiguous in the segment, parts of a page are.
                int size = (int) Math.min(ALIGNMENT - (address & ALIGNMENT - 1), end - address);
                long offset = memory.offset(address, size);
                if (offset == PhysicalMemory.ABSENT) {
                    throw new IOException("memory at 0x" + Long.toHexString(address) + " has vanished");
                }
                MemorySegment.copy(memory.bytes(), ValueLayout.JAVA_BYTE, offset, buffer, 0, size);
                out.write(buffer, 0, size);
                address += size;
            }
            out.write(new byte[(int) (space() - size())]);
        }
    }

    /// Gathers the pages of tables.
    private static final class Pages {
        private final PhysicalMemory memory;
        private final TreeMap<Long, Long> endByStart = new TreeMap<>();
        private final List<Finding> findings = new ArrayList<>();

        Pages(PhysicalMemory memory) {
            this.memory = memory;
        }

        void table(TranslationTable table) {
            long granule = table.geometry().granule();
            table.walk(new EntryVisitor() {
                @Override
                public void table(long address, int level, long inputAddress) {
                    long page = address & -granule;
                    if (memory.offset(page, granule) != PhysicalMemory.ABSENT) {
                        endByStart.merge(page, page + granule, Math::max);
                    } else {
                        // A root smaller than a page, of which the memory has no more than the root.
                        endByStart.merge(
                                address,
                                address + Math.min(granule, table.geometry().rootBytes()),
                                Math::max);
                    }
                }

                @Override
                public void entries(MemorySegment bytes, long offset, int count, int level, long inputAddress) {
                    // Entries are copied with their pages.
                }

                @Override
                public void finding(Finding finding) {
                    findings.add(finding);
                }
            });
        }

        List<Run> runs() {
            List<Run> runs = new ArrayList<>();
            for (Map.Entry<Long, Long> page : endByStart.entrySet()) {
                long end = page.getValue();
                if (!runs.isEmpty() && page.getKey() <= runs.getLast().end) {
                    Run last = runs.removeLast();
                    runs.add(new Run(last.start, Math.max(last.end, end)));
                } else {
                    runs.add(new Run(page.getKey(), end));
                }
            }
            return runs;
        }
    }

    /// ELF header, program headers and note, up to the place of the first run.
    private static byte[] head(List<Run> runs, byte[] descriptor) {
        byte[] name = (CaptureNote.NAME + '\0').getBytes(StandardCharsets.US_ASCII);
        int noteOffset = ElfHeaders.HEADER_SIZE + ElfHeaders.PROGRAM_HEADER_SIZE * (runs.size() + 1);
        int noteSize = 12 + align(name.length, 4) + align(descriptor.length, 4);
        int size = align(noteOffset + noteSize, ALIGNMENT);
        ByteBuffer head = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
        // e_ident: class 64-bit, little-endian, version 1.
        head.putInt(ElfHeaders.MAGIC).put((byte) 2).put((byte) 1).put((byte) 1).position(16);
        head.putShort(ElfHeaders.CORE).putShort(ElfHeaders.AARCH64).putInt(1);
        head.putLong(0).putLong(ElfHeaders.HEADER_SIZE).putLong(0).putInt(0);
        head.putShort((short) ElfHeaders.HEADER_SIZE);
        head.putShort((short) ElfHeaders.PROGRAM_HEADER_SIZE).putShort((short) (runs.size() + 1));
        head.putShort((short) 0).putShort((short) 0).putShort((short) 0);

        programHeader(head, ElfHeaders.NOTE, noteOffset, 0, noteSize, 4);
        long offset = size;
        for (Run run : runs) {
            programHeader(head, ElfHeaders.LOAD, offset, run.start, run.size(), ALIGNMENT);
            offset += run.space();
        }

        head.putInt(name.length).putInt(descriptor.length).putInt(CaptureNote.TYPE);
        head.put(name).position(noteOffset + 12 + align(name.length, 4));
        head.put(descriptor);
        return head.array();
    }

    private static void programHeader(ByteBuffer head, int type, long offset, long address, long size, long align) {
        int readable = 4;
        head.putInt(type).putInt(readable).putLong(offset).putLong(0).putLong(address);
        head.putLong(size).putLong(type == ElfHeaders.NOTE ? 0 : size).putLong(align);
    }

    private static int align(int value, int alignment) {
        return value + alignment - 1 & -alignment;
    }
}
