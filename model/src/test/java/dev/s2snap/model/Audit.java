package dev.s2snap.model;

import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// All that a call must leave alone, read from raw physical memory: who owns each page of memory, what the vmemmap says
/// of it, and how many pages each pool has left. It shares no code with the hypervisor's own checks.
final class Audit {
    /// States of a page in one table, in an order of our own.
    static final int OWNED = 0;

    static final int SHARED = 1;
    static final int BORROWED = 2;
    static final int RESERVED = 3;
    static final int NOPAGE = 4;

    private static final String[] NAMES = {"OWNED", "SHARED_OWNED", "SHARED_BORROWED", "RESERVED", "NOPAGE"};

    private final PkvmModel model;
    private final int shift;
    private final List<MemoryRegion> regions;

    /// Per region and page: host's state, hypervisor's state, vmemmap word (-1 where it has none).
    private final byte[][] host;

    private final byte[][] hyp;
    private final int[][] counts;

    /// Entries other than zero by table page.
    private final Map<Long, Integer> hostTables = new HashMap<>();

    private final Map<Long, Integer> hypTables = new HashMap<>();

    final long hostFree;
    final long hypFree;

    private Audit(PkvmModel model) {
        this.model = model;
        shift = model.config().pageShift();
        regions = model.config().regions();
        host = new byte[regions.size()][];
        hyp = new byte[regions.size()][];
        counts = new int[regions.size()][];
        for (int i = 0; i < regions.size(); i++) {
            int pages = pages(regions.get(i));
            host[i] = new byte[pages];
            hyp[i] = new byte[pages];
            Arrays.fill(hyp[i], (byte) NOPAGE);
            counts[i] = vmemmap(regions.get(i));
            Arrays.fill(host[i], (byte) (regions.get(i).nomap() ? NOPAGE : OWNED));
        }
        hostFree = model.el2().hostPool().freePages();
        hypFree = model.el2().hypPool().freePages();
        PageTable hostTable = model.el2().host.table();
        tables(
                hostTable,
                (input, size, descriptor) -> {
                    if (Descriptor.valid(descriptor)) {
                        mark(host, input, size, (int) (descriptor >>> 55) & 3, false);
                    } else if (descriptor != 0) {
                        mark(host, input, size, NOPAGE, false);
                    }
                },
                hostTables);
        long linear = model.addresses().hypVa(0);
        PageTable hypTable = model.el2().hyp.table();
        tables(
                hypTable,
                (input, size, descriptor) -> {
                    if (Descriptor.valid(descriptor)) {
                        mark(hyp, input - linear, size, (int) (descriptor >>> 55) & 3, true);
                    }
                },
                hypTables);
    }

    /// What the machine looks like now.
    static Audit of(PkvmModel model) {
        return new Audit(model);
    }

    private int pages(MemoryRegion region) {
        return (int) (((region.end() + (1L << shift) - 1) >>> shift) - (region.base() >>> shift));
    }

    private int[] vmemmap(MemoryRegion region) {
        TranslationTable el2 = model.el2().memory.table();
        int[] words = new int[pages(region)];
        long base = model.addresses().vmemmapBase() + (region.base() >>> shift) * 4;
        long page = -1;
        long place = -1;
        for (int i = 0; i < words.length; i++) {
            long address = base + i * 4L;
            if (address >>> shift != page) {
                page = address >>> shift;
                place = el2.translate(page << shift) instanceof Translation.Mapped mapped ? mapped.output() : -1;
            }
            long in = address & (1L << shift) - 1;
            words[i] = place == -1 ? -1 : (int) (model.ram().get(place + (in & ~7L)) >>> ((in & 4) * 8));
        }
        return words;
    }

    private interface Leaf {
        void at(long input, long size, long descriptor);
    }

    private void tables(PageTable table, Leaf leaf, Map<Long, Integer> pages) {
        TableGeometry geometry = table.geometry();
        for (int page = 0; page < geometry.rootPages(); page++) {
            long input = (long) page << geometry.shift(geometry.startLevel() - 1);
            table(geometry, table.root() + ((long) page << shift), geometry.startLevel(), input, leaf, pages);
        }
    }

    private void table(
            TableGeometry geometry, long address, int level, long input, Leaf leaf, Map<Long, Integer> pages) {
        long place = model.ram().place(address);
        long size = 1L << (shift + (3 - level) * (shift - 3));
        int used = 0;
        for (int i = 0; i < 1 << (shift - 3); i++) {
            long descriptor = model.ram().bytes().get(PhysicalMemory.LE64, place + i * 8L);
            if (descriptor == 0) {
                continue;
            }
            used++;
            if (level < 3 && (descriptor & 3) == 3) {
                table(geometry, geometry.tableAddress(descriptor), level + 1, input + i * size, leaf, pages);
            } else {
                leaf.at(input + i * size, size, descriptor);
            }
        }
        pages.put(address, used);
    }

    /// @param mapped the state is that of the table in which the page is mapped, NOMAP or not
    private void mark(byte[][] states, long from, long size, int state, boolean mapped) {
        for (int i = 0; i < regions.size(); i++) {
            MemoryRegion region = regions.get(i);
            if (region.nomap() && !mapped) {
                continue;
            }
            long first = region.base() >>> shift;
            long start = Math.max(from >>> shift, first);
            long end = Math.min((from + size) >>> shift, first + states[i].length);
            for (long page = start; page < end; page++) {
                states[i][(int) (page - first)] = (byte) state;
            }
        }
    }

    /// Everything that differs between `before` and now, other than what a snapshot call may change: pages that the
    /// host
    /// lent have no counts any more, and blocks were split into tables out of the host's pool.
    ///
    /// @param reset pages whose vmemmap entry may have been cleared
    List<String> since(Audit before, long... reset) {
        List<String> differences = new ArrayList<>();
        for (int i = 0; i < regions.size(); i++) {
            long first = regions.get(i).base() >>> shift;
            for (int page = 0; page < host[i].length && differences.size() < 20; page++) {
                long address = (first + page) << shift;
                if (host[i][page] != before.host[i][page] || hyp[i][page] != before.hyp[i][page]) {
                    differences.add("page 0x" + Long.toHexString(address) + " was " + before.words(i, page) + ", is "
                            + words(i, page));
                }
                boolean cleared = counts[i][page] == 0 && Arrays.stream(reset).anyMatch(each -> each == address);
                if (counts[i][page] != before.counts[i][page] && !cleared && !inPool(address)) {
                    differences.add("hyp_page of 0x" + Long.toHexString(address) + " was 0x"
                            + Integer.toHexString(before.counts[i][page]) + ", is 0x"
                            + Integer.toHexString(counts[i][page]));
                }
            }
        }
        if (hostFree + hostTables.size() != before.hostFree + before.hostTables.size()) {
            differences.add("host pool: " + before.hostFree + " free and " + before.hostTables.size() + " tables, now "
                    + hostFree + " and " + hostTables.size());
        }
        if (hypFree + hypTables.size() != before.hypFree + before.hypTables.size()) {
            differences.add("EL2 pool: " + before.hypFree + " free and " + before.hypTables.size() + " tables, now "
                    + hypFree + " and " + hypTables.size());
        }
        differences.addAll(miscounted());
        return differences;
    }

    /// Pages whose states for host or hypervisor differ from `before`.
    List<Long> changed(Audit before) {
        List<Long> pages = new ArrayList<>();
        for (int i = 0; i < regions.size(); i++) {
            for (int page = 0; page < host[i].length; page++) {
                if (host[i][page] != before.host[i][page] || hyp[i][page] != before.hyp[i][page]) {
                    pages.add(((regions.get(i).base() >>> shift) + page) << shift);
                }
            }
        }
        return pages;
    }

    /// Table pages whose reference count is not one more than their entries.
    List<String> miscounted() {
        List<String> wrong = new ArrayList<>();
        for (Map<Long, Integer> tables : List.of(hostTables, hypTables)) {
            tables.forEach((page, used) -> {
                int count = count(page) & 0xffff;
                if (count != used + 1) {
                    wrong.add("table 0x" + Long.toHexString(page) + " has " + used + " entries and count " + count);
                }
            });
        }
        return wrong;
    }

    private boolean inPool(long address) {
        return (model.el2().hostPool().start() <= address
                        && address < model.el2().hostPool().end())
                || (model.el2().hypPool().start() <= address
                        && address < model.el2().hypPool().end());
    }

    private String words(int region, int page) {
        return NAMES[host[region][page]] + "/" + NAMES[hyp[region][page]];
    }

    private int of(byte[][] states, long address) {
        for (int i = 0; i < regions.size(); i++) {
            long index = (address >>> shift) - (regions.get(i).base() >>> shift);
            if (index >= 0 && index < states[i].length) {
                return states[i][(int) index];
            }
        }
        throw new IllegalArgumentException("0x" + Long.toHexString(address) + " is not memory");
    }

    /// State of a page for the host.
    int host(long address) {
        return of(host, address);
    }

    /// State of a page for the hypervisor, in its linear map.
    int hyp(long address) {
        return of(hyp, address);
    }

    /// Reference count in bits 15:0, order above.
    int count(long address) {
        for (int i = 0; i < regions.size(); i++) {
            long index = (address >>> shift) - (regions.get(i).base() >>> shift);
            if (index >= 0 && index < counts[i].length) {
                return counts[i][(int) index];
            }
        }
        throw new IllegalArgumentException("0x" + Long.toHexString(address) + " is not memory");
    }

    int hostTables() {
        return hostTables.size();
    }

    int hypTables() {
        return hypTables.size();
    }

    boolean hostTable(long page) {
        return hostTables.containsKey(page);
    }
}
