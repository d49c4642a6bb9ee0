package dev.s2snap.model;

import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;

/// The whole state of a machine in the vector language: both tables with reference counts, both pools with their free
/// lists, all other counted pages, and hashes over each part.
///
/// It reads physical memory, past EL2's translation, so a dead machine can be dumped too.
final class StateDump {
    private final PkvmModel model;
    private final Hypervisor el2;
    private final Ram ram;
    private final Consumer<String> out;
    private final StringBuilder line = new StringBuilder();

    /// @param out takes lines without the leading "< "
    StateDump(PkvmModel model, Consumer<String> out) {
        this.model = model;
        this.el2 = model.el2();
        this.ram = model.ram();
        this.out = out;
    }

    private void emit() {
        out.accept(line.toString());
        line.setLength(0);
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }

    private boolean initialised() {
        return el2.finalised();
    }

    /// Everything.
    void dump() {
        hash(true);
    }

    /// Only the line with the hashes.
    void sha() {
        hash(false);
    }

    private void hash(boolean print) {
        List<byte[]> parts = new ArrayList<>();
        if (initialised()) {
            parts.add(table("host", el2.host.table(), print));
            parts.add(table("hyp", el2.hyp.table(), print));
        } else {
            parts.add(new byte[0]);
            parts.add(new byte[0]);
        }
        parts.add(pools(print));
        parts.add(others(print));
        StateHash all = new StateHash();
        StateHash one = new StateHash();
        String[] names = {"host", "hyp", "pools", "others"};
        line.append("sha all=");
        StringBuilder rest = new StringBuilder();
        for (int i = 0; i < names.length; i++) {
            all.add(parts.get(i));
            one.add(parts.get(i));
            rest.append(' ').append(names[i]).append('=').append(one.finish(), 0, 16);
        }
        line.append(all.finish()).append(rest);
        emit();
    }

    /// Words that are hashed and, if wanted, printed.
    private static final class Words {
        private ByteBuffer buffer = ByteBuffer.allocate(1 << 16).order(ByteOrder.LITTLE_ENDIAN);

        void add(long word) {
            if (buffer.remaining() < Long.BYTES) {
                ByteBuffer larger = ByteBuffer.allocate(buffer.capacity() * 2).order(ByteOrder.LITTLE_ENDIAN);
                buffer = larger.put(buffer.flip());
            }
            buffer.putLong(word);
        }

        byte[] bytes() {
            return Arrays.copyOf(buffer.array(), buffer.position());
        }
    }

    private byte[] table(String name, PageTable table, boolean print) {
        TableGeometry geometry = table.geometry();
        if (print) {
            line.append("table ").append(name).append(" ia_bits=").append(geometry.inputBits());
            line.append(" start=").append(geometry.startLevel()).append(" pgd=").append(hex(table.root()));
            line.append(" pgd_pages=").append(geometry.rootPages());
            emit();
        }
        Words words = new Words();
        for (int page = 0; page < geometry.rootPages(); page++) {
            long input = (long) page << geometry.shift(geometry.startLevel() - 1);
            tablePage(
                    geometry,
                    table.root() + page * geometry.granule(),
                    geometry.startLevel(),
                    input,
                    words,
                    print,
                    true);
        }
        return words.bytes();
    }

    /// A table, then its children by index.
    private void tablePage(
            TableGeometry geometry, long address, int level, long input, Words words, boolean print, boolean counts) {
        long offset = ram.place(address);
        MemorySegment bytes = ram.bytes();
        int entries = geometry.entriesPerTable();
        if (print) {
            line.append("T ")
                    .append(hex(address))
                    .append(" L")
                    .append(level)
                    .append(" ia=")
                    .append(hex(input));
            if (counts) {
                line.append(" rc=").append(hypPage(address) & 0xffff);
            }
            line.append(" :");
            RunLength.append(line, entries, true, i -> bytes.get(PhysicalMemory.LE64, offset + (long) i * Long.BYTES));
            emit();
        }
        words.add(address);
        words.add(level);
        for (int i = 0; i < entries; i++) {
            words.add(bytes.get(PhysicalMemory.LE64, offset + (long) i * Long.BYTES));
        }
        for (int i = 0; i < entries && level < TableGeometry.LAST_LEVEL; i++) {
            long descriptor = bytes.get(PhysicalMemory.LE64, offset + (long) i * Long.BYTES);
            if (Descriptor.table(descriptor, level)) {
                tablePage(
                        geometry,
                        geometry.tableAddress(descriptor),
                        level + 1,
                        input + i * geometry.entrySize(level),
                        words,
                        print,
                        counts);
            }
        }
    }

    /// Refcount in bits 15:0 and order in 31:16, or -1 where the vmemmap has no page.
    private long hypPage(long address) {
        long entry = el2.vmemmap.entry(address);
        long page = entry & -model.config().pageSize();
        if (page != vmemmapPage) {
            TranslationTable table = el2.memory.table();
            vmemmapPage = page;
            vmemmapPlace = table != null && table.translate(page) instanceof Translation.Mapped mapped
                    ? ram.offset(mapped.output(), model.config().pageSize())
                    : PhysicalMemory.ABSENT;
        }
        if (vmemmapPlace == PhysicalMemory.ABSENT) {
            return -1;
        }
        return ram.bytes().get(LE32, vmemmapPlace + (entry - page)) & 0xffff_ffffL;
    }

    private static final ValueLayout.OfInt LE32 = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /// The page of the vmemmap that was looked at last, and its place.
    private long vmemmapPage = -1;

    private long vmemmapPlace;

    private byte[] pools(boolean print) {
        Words words = new Words();
        if (initialised()) {
            pool("hyp", el2.hypPool(), words, print);
            pool("host", el2.hostPool(), words, print);
        }
        return words.bytes();
    }

    private void pool(String name, HypPool pool, Words words, boolean print) {
        int shift = model.config().pageShift();
        words.add(pool.start());
        words.add(pool.end());
        words.add(pool.maxOrder());
        int count = (int) ((pool.end() - pool.start()) >>> shift);
        long[] pages = new long[count];
        for (int i = 0; i < count; i++) {
            pages[i] = hypPage(pool.start() + ((long) i << shift));
            words.add(pages[i]);
        }
        if (print) {
            line.append("pool ").append(name).append(" start=").append(hex(pool.start()));
            line.append(" end=").append(hex(pool.end())).append(" max_order=").append(pool.maxOrder());
            emit();
            line.append("pages");
            for (int i = 0, next; i < count; i = next) {
                next = i + 1;
                while (next < count && pages[next] == pages[i]) {
                    next++;
                }
                line.append(' ').append(i).append('+').append(next - i).append(':');
                line.append(pages[i] & 0xffff).append('/').append(pages[i] >>> 16);
            }
            emit();
        }
        for (int order = 0; order <= pool.maxOrder(); order++) {
            long[] free = pool.freeList(order, ram);
            words.add(free.length);
            for (long page : free) {
                words.add(page);
            }
            if (print && free.length > 0) {
                line.append("free ").append(order).append(" :");
                RunLength.append(line, free.length, false, i -> free[i]);
                emit();
            }
        }
    }

    private byte[] others(boolean print) {
        Words words = new Words();
        int shift = model.config().pageShift();
        line.append("others :");
        for (var region : initialised() ? model.config().regions() : List.<MemoryRegion>of()) {
            for (long page = region.base() >>> shift; page < (region.end() + (1L << shift) - 1) >>> shift; page++) {
                long address = page << shift;
                if (inPool(address, el2.hypPool()) || inPool(address, el2.hostPool())) {
                    continue;
                }
                long value = hypPage(address);
                if (value > 0) {
                    words.add(page);
                    words.add(value);
                    line.append(' ').append(hex(page)).append(':');
                    line.append(value & 0xffff).append('/').append(value >>> 16);
                }
            }
        }
        if (print) {
            emit();
        }
        line.setLength(0);
        return words.bytes();
    }

    private static boolean inPool(long address, HypPool pool) {
        return address >= pool.start() && address < pool.end();
    }

    /// Result of a successful snapshot call.
    ///
    /// @param struct physical address of the struct
    void snapshotResult(long struct) {
        long[] words = new long[SnapshotStruct.SIZE / Long.BYTES];
        StateHash hash = new StateHash();
        for (int i = 0; i < words.length; i++) {
            words[i] = ram.get(struct + (long) i * Long.BYTES);
            hash.add(words[i]);
        }
        long pgd = words[SnapshotStruct.PGD / 8];
        int inputBits = (int) words[0];
        int startLevel = (byte) (words[0] >>> 32);
        long head = words[SnapshotStruct.MC_HEAD / 8];
        long listPages = words[SnapshotStruct.MC_NR_PAGES / 8];
        int used = Math.toIntExact(words[SnapshotStruct.USED_PAGES_INDX / 8]);
        line.append("struct ia_bits=").append(inputBits).append(" start=").append(startLevel);
        line.append(" pgd=").append(hex(pgd)).append(" mm_ops=").append(hex(words[SnapshotStruct.MM_OPS / 8]));
        line.append(" mmu=").append(hex(words[SnapshotStruct.MMU / 8]));
        line.append(" flags=").append((int) words[SnapshotStruct.FLAGS / 8]);
        line.append(" force_cb=").append(hex(words[SnapshotStruct.FORCE_PTE_CB / 8]));
        line.append(" head=").append(hex(head)).append(" nr=").append(listPages);
        line.append(" pgd_hva=").append(hex(words[SnapshotStruct.PGD_HVA / 8]));
        line.append(" pgd_pages=").append(words[SnapshotStruct.PGD_PAGES / 8]);
        line.append(" used_hva=").append(hex(words[SnapshotStruct.USED_PAGES_HVA / 8]));
        line.append(" num_used=").append(words[SnapshotStruct.NUM_USED_PAGES / 8]);
        line.append(" indx=").append(used);
        emit();
        long array = el2.map.hypPa(el2.map.kernHypVa(words[SnapshotStruct.USED_PAGES_HVA / 8]));
        line.append("used :");
        RunLength.append(line, used, false, i -> ram.get(array + (long) i * Long.BYTES));
        emit();
        for (int i = 0; i < used; i++) {
            hash.add(ram.get(array + (long) i * Long.BYTES));
        }
        TableGeometry live = el2.host.table().geometry();
        TableGeometry geometry =
                new TableGeometry(live.regime(), live.granuleShift(), inputBits, startLevel, live.lpa2());
        Words copied = new Words();
        for (int page = 0; page < geometry.rootPages(); page++) {
            tablePage(
                    geometry,
                    pgd + page * geometry.granule(),
                    startLevel,
                    (long) page << geometry.shift(startLevel - 1),
                    copied,
                    true,
                    false);
        }
        hash.add(copied.bytes());
        List<Long> list = new ArrayList<>();
        long page = head;
        for (long i = 0; i < listPages; i++) {
            list.add(page);
            hash.add(page);
            page = ram.get(page);
        }
        line.append("mclist n=")
                .append(listPages)
                .append(" end=")
                .append(hex(page))
                .append(" :");
        RunLength.append(line, list.size(), false, list::get);
        emit();
        line.append("snapsha ").append(hash.finish());
        emit();
    }
}
