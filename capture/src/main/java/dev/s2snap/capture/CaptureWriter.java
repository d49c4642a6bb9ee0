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
import java.util.Optional;
import java.util.TreeMap;

/// Writes a capture: the table pages of a machine at their own physical addresses, and what is known about it.
///
/// The file is an ELF64 core with one PT_NOTE ([CaptureNote]) and one PT_LOAD per run of contiguous pages, ascending,
/// each at a multiple of 4 KiB. The same machine gives the same bytes. Beyond its pages a capture has the note, and 56
/// bytes per run: even if no two pages are neighbours, that is less than a tenth.
public final class CaptureWriter {

    private static final int ALIGNMENT = 4096;

    /// What [ElfCore] reads, less the header of the note.
    private static final int LOAD_LIMIT = ElfHeaders.COUNT_LIMIT - 1;

    /// Pages of extents that are looked for one by one: a struct hyp_page for each of 2^33 pages lies in as many.
    private static final long EXTENT_LIMIT = 1L << 24;

    private CaptureWriter() {}

    /// What was written.
    ///
    /// @param bytes of pages
    /// @param runs number of PT_LOADs
    /// @param absentPages number of 4 KiB pages of extents that the machine's memory lacks, and so does the capture
    /// @param findings of all tables; the pages that they say are absent are absent from the capture too
    public record Written(long bytes, int runs, long absentPages, List<Finding> findings) {}

    /// Physical memory that is worth keeping besides the tables, from `start` to before `end`. Whole 4 KiB pages are
    /// kept.
    public record Extent(long start, long end) {
        public Extent {
            if (start < 0 || end < start || end > ElfHeaders.ADDRESS_LIMIT) {
                throw new IllegalArgumentException(
                        "0x" + Long.toHexString(start) + " to 0x" + Long.toHexString(end) + " is no physical memory");
            }
        }

        /// How many pages of 4 KiB it touches.
        private long pages() {
            return ((end + ALIGNMENT - 1) >>> 12) - (start >>> 12);
        }
    }

    /// Writes the tables and nothing else.
    ///
    /// @throws CaptureException as the other one does
    public static Written write(Machine machine, String tool, Path file) {
        return write(machine, tool, file, List.of());
    }

    /// @param tool name and version of the writer, for the note
    /// @param extents what to keep besides the tables, as far as it is there
    /// @throws CaptureException if there is no table, or the file cannot be written; then nothing partial is left
    public static Written write(Machine machine, String tool, Path file, List<Extent> extents) {
        Pages pages = new Pages(machine.memory());
        machine.host().optional().ifPresent(pages::table);
        machine.hyp().optional().ifPresent(pages::table);
        machine.guests().stream().map(Guest::table).map(Fact::optional).forEach(t -> t.ifPresent(pages::table));
        if (pages.endByStart.isEmpty()) {
            throw new CaptureException(file + ": this machine has no readable table; there is nothing to capture");
        }
        if (extents.stream().mapToLong(Extent::pages).sum() > EXTENT_LIMIT) {
            throw new CaptureException(file + ": what to capture besides the tables has more than " + EXTENT_LIMIT
                    + " pages of 4 KiB; save a whole image instead");
        }
        extents.forEach(pages::extent);
        List<Run> runs = pages.runs();
        if (runs.size() > LOAD_LIMIT) {
            throw new CaptureException(file + ": what to capture lies in " + runs.size()
                    + " separate runs of pages, and a capture can hold " + LOAD_LIMIT + "; save a whole image instead");
        }
        CaptureNote note = new CaptureNote(
                tool,
                machine.era().optional(),
                Optional.of(machine.registers()),
                Optional.of(machine.guestRegisters()),
                machine.regions().optional(),
                machine.vmemmap().optional(),
                machine.ffa().optional());
        byte[] head = head(runs, note.json());
        AtomicFile.write(file, out -> {
            out.write(head);
            for (Run run : runs) {
                run.copy(machine.memory(), out);
            }
        });
        return new Written(
                runs.stream().mapToLong(Run::size).sum(), runs.size(), pages.absentPages, List.copyOf(pages.findings));
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
        private long absentPages;

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

        void extent(Extent extent) {
            long from = extent.start & -ALIGNMENT;
            long page = from;
            for (; page < extent.end; page += ALIGNMENT) {
                if (memory.offset(page, ALIGNMENT) == PhysicalMemory.ABSENT) {
                    keep(from, page);
                    absentPages++;
                    from = page + ALIGNMENT;
                }
            }
            keep(from, page);
        }

        private void keep(long from, long to) {
            if (from < to) {
                endByStart.merge(from, to, Math::max);
            }
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
        int count = runs.size() + 1;
        boolean extended = count >= ElfHeaders.EXTENDED;
        int sectionOffset = ElfHeaders.HEADER_SIZE + ElfHeaders.PROGRAM_HEADER_SIZE * count;
        int noteOffset = sectionOffset + (extended ? ElfHeaders.SECTION_HEADER_SIZE : 0);
        int noteSize = 12 + align(name.length, 4) + align(descriptor.length, 4);
        int size = align(noteOffset + noteSize, ALIGNMENT);
        ByteBuffer head = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
        // e_ident: class 64-bit, little-endian, version 1.
        head.putInt(ElfHeaders.MAGIC).put((byte) 2).put((byte) 1).put((byte) 1).position(16);
        head.putShort(ElfHeaders.CORE).putShort(ElfHeaders.AARCH64).putInt(1);
        head.putLong(0)
                .putLong(ElfHeaders.HEADER_SIZE)
                .putLong(extended ? sectionOffset : 0)
                .putInt(0);
        head.putShort((short) ElfHeaders.HEADER_SIZE).putShort((short) ElfHeaders.PROGRAM_HEADER_SIZE);
        head.putShort((short) (extended ? ElfHeaders.EXTENDED : count));
        head.putShort((short) (extended ? ElfHeaders.SECTION_HEADER_SIZE : 0));
        head.putShort((short) (extended ? 1 : 0)).putShort((short) 0);

        programHeader(head, ElfHeaders.NOTE, noteOffset, 0, noteSize, 4);
        long offset = size;
        for (Run run : runs) {
            programHeader(head, ElfHeaders.LOAD, offset, run.start, run.size(), ALIGNMENT);
            offset += run.space();
        }
        if (extended) {
            // gABI, Sections: section header 0 has the number of sections in sh_size, of program headers in sh_info.
            head.putLong(sectionOffset + 32, 1).putInt(sectionOffset + 44, count);
        }

        head.position(noteOffset).putInt(name.length).putInt(descriptor.length).putInt(CaptureNote.TYPE);
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
