package dev.s2snap.proof;

import static dev.s2snap.proof.World.ALLOWED;
import static dev.s2snap.proof.World.NOPAGE;
import static dev.s2snap.proof.World.NO_MEMORY;
import static dev.s2snap.proof.World.OWNED;
import static dev.s2snap.proof.World.SYSTEM;

import dev.s2snap.model.AddressMap;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.Ram;
import dev.s2snap.model.WriteLog;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The abstraction: reads what tables and counts say about pages, and holds it against the [World].
///
/// It looks at what the step stored to, entry by entry, and at the pages that the oracle said would change. For that it
/// knows which pages are tables, of what level, and for which addresses; this it keeps up with the stores as well.
/// [#all] reads everything afresh and finds out whether anything was missed.
///
/// Of the tables outside of memory it looks at the form only: nobody owns what is there.
final class Sight {
    /// Leaf attributes of the host's own memory, less address and software bits: normal, read-write, inner shareable,
    /// accessed (D8.3.2, as KVM of 6.12 sets them).
    private static final long MEMORY = 0x4fc;

    private static final long SHAREABLE = 3 << 8;
    private static final long XN = 1L << 54;
    private static final long OF_HYP = 1 << 2;
    private static final int STATE_SHIFT = 55;

    private enum Tree {
        HOST,
        HYP
    }

    private final PkvmModel model;
    private final World world;
    private final WriteLog log;
    private final Ram ram;
    private final AddressMap map;
    private final int shift;
    private final int entries;
    private final TableGeometry hostShape;
    private final TableGeometry hypShape;
    private final long hostRoot;
    private final long hypRoot;
    private final long hostBits;
    private final long hypBits;
    private final long linear;

    // By page: 0, or 1 + level + 1 for the host's tables, and 16 more for the hypervisor's; and the first address.
    private final byte[] table;
    private final long[] input;
    private final char[] used;
    private final char[] extra;
    private final long[] @Nullable [] present;

    /// Entries of the pages above the last level, as they were.
    private final long[] @Nullable [] above;

    /// What EL2 had from the start, as it mapped it: text, data, what it shares.
    private final long[] system;

    /// States of pages that nobody has, as many as one entry above the last level stands for.
    private final byte[] none;

    private final int[] hostSeen;
    private final int[] hypSeen;
    private final int[] counted;
    private final int[] lent;
    private int step;
    private int hostTables;
    private boolean fresh;
    private int[] toCount = new int[64];
    private int toCounts;
    private final List<Finding> findings = new ArrayList<>();
    private Object call = "";

    /// @param world is made the machine's, with what it is from the start
    Sight(PkvmModel model, World world, WriteLog log) {
        this.model = model;
        this.world = world;
        this.log = log;
        ram = (Ram) model.memory();
        map = model.addresses();
        shift = world.shift;
        entries = 1 << (shift - 3);
        TranslationTable host = model.host().optional().orElseThrow();
        TranslationTable hyp = model.hyp().optional().orElseThrow();
        hostShape = host.geometry();
        hypShape = hyp.geometry();
        hostRoot = host.root();
        hypRoot = hyp.root();
        linear = map.hypVa(world.base);
        hostBits = MEMORY | (hostShape.lpa2() ? 0 : SHAREABLE);
        // RW: normal, accessed, never executed; AP[1] is set where there is one exception level (D8.4.1).
        hypBits = XN
                | 0x403
                | (hypShape.lpa2() ? 0 : SHAREABLE)
                | (hypShape.regime() == TranslationRegime.EL2 ? 0x40 : 0);
        table = new byte[world.pages];
        input = new long[world.pages];
        used = new char[world.pages];
        extra = new char[world.pages];
        present = new long[world.pages][];
        above = new long[world.pages][];
        system = new long[world.pages];
        hostSeen = new int[world.pages];
        hypSeen = new int[world.pages];
        counted = new int[world.pages];
        lent = new int[world.pages];
        vmemmapPages = new long[(world.pages >>> (shift - 2)) + 2];
        none = new byte[1 << Math.min(30, 2 * (shift - 3))];
        Arrays.fill(none, NOPAGE);
        adopt();
    }

    // From the start.

    private void adopt() {
        for (int page = 0; page < world.pages; page = adoptHost(page)) {}
        for (int page = 0; page < world.pages; page = adoptHyp(page)) {}
        rebuild();
        for (int page = 0; page < world.pages; page++) {
            extra[page] = (char) (table[page] != 0 ? references(page) - 1 - used[page] : 0);
        }
    }

    /// Takes over what one entry says.
    ///
    /// @return the first page behind it
    private int adoptHost(int page) {
        long value = leaf(Tree.HOST, world.address(page));
        int end = behind(Tree.HOST, world.address(page));
        if (value != 0) {
            byte state = Descriptor.valid(value) ? stateOf(value) : NOPAGE;
            for (int each = page; each < end; each++) {
                world.host[each] = world.memory[each] == ALLOWED ? state : world.host[each];
                if (state == NOPAGE && world.memory[each] == ALLOWED) {
                    // Of stacks no row of the linear map says that they are the hypervisor's.
                    world.role[each] = SYSTEM;
                }
            }
        }
        return end;
    }

    private int adoptHyp(int page) {
        long value = leaf(Tree.HYP, map.hypVa(world.address(page)));
        int end = behind(Tree.HYP, map.hypVa(world.address(page)));
        if (Descriptor.valid(value)) {
            system[page] = value;
            world.hyp[page] = stateOf(value);
            world.role[page] = SYSTEM;
            return page + 1;
        }
        return end;
    }

    /// The first page that another entry than that of `address` stands for.
    private int behind(Tree tree, long address) {
        long size = shape(tree).entrySize(leafLevel);
        long next = (address & -size) + size;
        long physical = tree == Tree.HOST ? next : map.hypPa(next);
        return (int) Math.min(world.pages, (physical - world.base) >>> shift);
    }

    /// Learns all tables afresh.
    private void rebuild() {
        Arrays.fill(table, (byte) 0);
        Arrays.fill(above, null);
        hostTables = 0;
        for (int page = 0; page < hostShape.rootPages(); page++) {
            long first = ((long) page * entries) << hostShape.shift(hostShape.startLevel());
            register(Tree.HOST, hostRoot + ((long) page << shift), hostShape.startLevel(), first, false);
        }
        register(Tree.HYP, hypRoot, hypShape.startLevel(), 0, false);
    }

    private static byte stateOf(long descriptor) {
        return (byte) (descriptor >>> STATE_SHIFT & 3);
    }

    // Tables.

    private TableGeometry shape(Tree tree) {
        return tree == Tree.HOST ? hostShape : hypShape;
    }

    private static byte code(Tree tree, int level) {
        return (byte) ((tree == Tree.HYP ? 16 : 0) + level + 2);
    }

    private static Tree tree(byte code) {
        return code >= 16 ? Tree.HYP : Tree.HOST;
    }

    private static int level(byte code) {
        return (code & 15) - 2;
    }

    /// Number of pages of the host's table, with the root.
    int hostTables() {
        return hostTables;
    }

    /// A table that something points to now. All its entries are new.
    private void register(Tree tree, long address, int level, long first, boolean check) {
        int page = world.number(address);
        if (page < 0) {
            found(Finding.Kind.HOST, address, "a table lies in memory", "a table outside of it");
            return;
        }
        if (table[page] != 0) {
            found(kind(tree), address, "a page is one table", "two entries point to this page");
            return;
        }
        table[page] = code(tree, level);
        input[page] = first;
        hostTables += tree == Tree.HOST ? 1 : 0;
        used[page] = 0;
        long[] bits = present[page];
        if (bits == null) {
            bits = new long[entries >>> 6];
            present[page] = bits;
        } else {
            Arrays.fill(bits, 0);
        }
        if (level < TableGeometry.LAST_LEVEL) {
            above[page] = new long[entries];
        }
        count(page);
        long place = ram.offset(address, 1L << shift);
        int all = Math.min(
                entries, level == shape(tree).startLevel() ? shape(tree).rootEntries() : entries);
        int number = level == TableGeometry.LAST_LEVEL
                ? world.number(tree == Tree.HOST ? first : first - linear + world.base)
                : -1;
        boolean outer = fresh;
        fresh = true;
        boolean inside = number >= 0 && number + all <= world.pages;
        for (int index = 0; index < all; index++) {
            long value = ram.bytes().get(PhysicalMemory.LE64, place + index * 8L);
            if (value != 0 || !inside || !quiet(tree, number + index)) {
                entry(page, index, value, check);
            }
        }
        fresh = outer;
    }

    /// Whether an empty entry is right for a page, which then was looked at.
    private boolean quiet(Tree tree, int page) {
        if (tree == Tree.HYP) {
            hypSeen[page] = step;
            return world.hyp[page] == NOPAGE;
        }
        hostSeen[page] = step;
        return world.memory[page] != ALLOWED || world.host[page] == OWNED;
    }

    /// A table that nothing points to any more.
    private void forget(long address) {
        int page = world.number(address);
        if (page < 0 || table[page] == 0) {
            return;
        }
        Tree tree = tree(table[page]);
        int level = level(table[page]);
        table[page] = 0;
        hostTables -= tree == Tree.HOST ? 1 : 0;
        count(page);
        long[] children = above[page];
        above[page] = null;
        if (children != null) {
            for (long child : children) {
                if (Descriptor.table(child, level)) {
                    forget(shape(tree).tableAddress(child));
                }
            }
        }
    }

    /// An entry that is, or may be, new.
    private void entry(int page, int index, long value, boolean check) {
        Tree tree = tree(table[page]);
        int level = level(table[page]);
        TableGeometry shape = shape(tree);
        boolean counts = tree == Tree.HOST ? value != 0 : Descriptor.valid(value);
        long[] bits = present[page];
        if (bits != null && ((bits[index >>> 6] >>> index & 1) != 0) != counts) {
            bits[index >>> 6] ^= 1L << index;
            used[page] += (char) (counts ? 1 : -1);
            count(page);
        }
        long first = input[page] + ((long) index << shape.shift(level));
        if (level == TableGeometry.LAST_LEVEL) {
            if (check) {
                page(tree, first, value, level);
            }
            return;
        }
        long[] before = above[page];
        if (before == null || (before[index] == value && check)) {
            return;
        }
        long old = before[index];
        before[index] = value;
        if (old != value && Descriptor.table(old, level)) {
            forget(shape.tableAddress(old));
        }
        if (Descriptor.table(value, level)) {
            register(tree, shape.tableAddress(value), level + 1, first, check);
        } else if (check) {
            range(tree, first, shape.entrySize(level), value, level);
        }
    }

    // Entries against the world.

    /// An entry above the last level that is no table.
    private void range(Tree tree, long first, long size, long value, int level) {
        if (tree == Tree.HYP) {
            long offset = first - linear;
            if (offset + size <= 0 || offset >= (long) world.pages << shift) {
                outsideOfLinearMap(first, value);
                return;
            }
            int from = clamped(offset >> shift);
            int to = clamped((offset + size) >> shift);
            boolean quiet =
                    value == 0 && to - from <= none.length && Arrays.equals(world.hyp, from, to, none, 0, to - from);
            if (quiet) {
                Arrays.fill(hypSeen, from, to, step);
                return;
            }
            for (int page = from; page < to; page++) {
                page(tree, linear + ((long) page << shift), value, level);
            }
            return;
        }
        if (Descriptor.valid(value)
                && (!shape(tree).blocksAt(level) || hostShape.outputAddress(value, level) != first)) {
            found(Finding.Kind.HOST, first, "the host's table maps what it maps to itself", "entry " + hex(value));
            return;
        }
        int from = clamped((first - world.base) >> shift);
        int to = clamped((first + size - world.base) >> shift);
        boolean memory = false;
        for (int page = from; page < to; page++) {
            memory |= world.memory[page] != NO_MEMORY;
            hostPage(page, value, level);
        }
        if (!memory && value != 0) {
            device(first, value, level);
        }
    }

    private int clamped(long page) {
        return Math.clamp(page, 0, world.pages);
    }

    private void page(Tree tree, long address, long value, int level) {
        if (tree == Tree.HOST) {
            int page = world.number(address);
            if (page < 0 || world.memory[page] == NO_MEMORY) {
                if (value != 0) {
                    device(address, value, level);
                }
                return;
            }
            hostPage(page, value, level);
        } else {
            long offset = address - linear;
            if (offset < 0 || offset >= (long) world.pages << shift) {
                outsideOfLinearMap(address, value);
            } else {
                hypPage((int) (offset >>> shift), value, level);
            }
        }
    }

    /// Nobody owns devices: the host maps them read-write, never to execute, when it touches them.
    private void device(long address, long value, int level) {
        long type = level == TableGeometry.LAST_LEVEL ? 3 : 1;
        if ((value & ~hostShape.outputMask(level)) != (hostBits | XN | type)
                || hostShape.outputAddress(value, level) != address) {
            found(Finding.Kind.HOST, address, "a device is mapped rw- to itself", "entry " + hex(value));
        }
    }

    private void hostPage(int page, long value, int level) {
        if (world.memory[page] == NO_MEMORY) {
            return;
        }
        hostSeen[page] = step;
        byte state = world.memory[page] == ALLOWED ? world.host[page] : OWNED;
        boolean good;
        if (state == NOPAGE) {
            good = value == OF_HYP && level == TableGeometry.LAST_LEVEL;
        } else if (value == 0) {
            good = state == OWNED;
        } else {
            long type = level == TableGeometry.LAST_LEVEL ? 3 : 1;
            long wanted = hostBits | type | (long) state << STATE_SHIFT;
            // The part of an edge that is no memory faults in as a device does.
            boolean asDevice =
                    world.edge(page) && state == OWNED && (value & ~hostShape.outputMask(level)) == (wanted | XN);
            good = (asDevice || (value & ~hostShape.outputMask(level)) == wanted)
                    && hostShape.outputAddress(value, level) == (world.address(page) & -hostShape.entrySize(level))
                    && (state == OWNED || level == TableGeometry.LAST_LEVEL);
        }
        if (!good) {
            found(Finding.Kind.HOST, world.address(page), said(page), "its entry is " + hex(value));
        }
    }

    private void hypPage(int page, long value, int level) {
        hypSeen[page] = step;
        byte state = world.hyp[page];
        boolean good;
        if (state == NOPAGE) {
            good = !Descriptor.valid(value);
        } else if (world.role[page] == SYSTEM) {
            good = system[page] == value;
        } else {
            good = level == TableGeometry.LAST_LEVEL
                    && (value & ~hypShape.outputMask(level)) == (hypBits | (long) state << STATE_SHIFT)
                    && hypShape.outputAddress(value, level) == world.address(page);
        }
        if (!good) {
            found(Finding.Kind.HYP, world.address(page), said(page), "its entry is " + hex(value));
        }
    }

    /// Stacks, fixmap and the hyp_vmemmap stay as they were. A new table has empty entries beside those it is for.
    private void outsideOfLinearMap(long address, long value) {
        if (fresh && value == 0) {
            return;
        }
        found(
                Finding.Kind.HYP,
                -1,
                "the private range stays as it is",
                "EL2 address " + hex(address) + " has entry " + hex(value));
    }

    private String said(int page) {
        return "the host has it as " + World.words(world.host[page]) + ", the hypervisor as "
                + World.words(world.hyp[page]);
    }

    // One step.

    /// What is not as the world says, after a step whose stores are in the log.
    List<Finding> compare(Expectation expected, Op op) {
        call = op;
        step++;
        findings.clear();
        toCounts = 0;
        for (int i = 0; i < expected.lent(); i++) {
            Arrays.fill(lent, expected.lentFirst(i), expected.lentFirst(i) + expected.lentCount(i), step);
        }
        int lowest = TableGeometry.LAST_LEVEL;
        for (int i = 0; i < log.size(); i++) {
            int page = world.number(map.hypPa(log.address(i)));
            if (page >= 0 && table[page] != 0) {
                lowest = Math.min(lowest, level(table[page]));
            }
        }
        for (int level = lowest; level < TableGeometry.LAST_LEVEL; level++) {
            stores(level);
        }
        stores(TableGeometry.LAST_LEVEL);
        others();
        for (int i = 0; i < expected.changes(); i++) {
            for (int page = expected.first(i); page < expected.first(i) + expected.count(i); page++) {
                changed(page);
            }
        }
        for (int i = 0; i < expected.pinned(); i++) {
            for (int page = expected.pinFirst(i); page < expected.pinFirst(i) + expected.pinCount(i); page++) {
                count(page);
            }
        }
        if (expected.mapped() >= 0 && !Descriptor.valid(leaf(Tree.HOST, world.address(expected.mapped())))) {
            found(Finding.Kind.HOST, world.address(expected.mapped()), "a fault maps the page", "it is not mapped");
        }
        for (int i = 0; i < toCounts; i++) {
            checkCount(toCount[i]);
        }
        return findings;
    }

    private void changed(int page) {
        long address = world.address(page);
        if (hostSeen[page] != step) {
            hostPage(page, leaf(Tree.HOST, address), leafLevel);
        }
        if (hypSeen[page] != step) {
            hypPage(page, leaf(Tree.HYP, map.hypVa(address)), leafLevel);
        }
    }

    /// The stores to tables of one level.
    private void stores(int level) {
        for (int i = 0; i < log.size(); i++) {
            long address = map.hypPa(log.address(i));
            int page = world.number(address);
            if (page < 0 || table[page] == 0 || level(table[page]) != level) {
                continue;
            }
            long end = address + log.bytes(i);
            for (long at = address & -8L; at < end && table[page] != 0; at += 8) {
                int index = (int) (at & (1L << shift) - 1) >>> 3;
                entry(page, index, ram.get(at), true);
            }
        }
    }

    /// The stores to what is no table.
    private void others() {
        long vmemmap = map.vmemmapBase();
        for (int i = 0; i < log.size(); i++) {
            long address = log.address(i);
            long frame = (address - vmemmap) >>> 2;
            int page = world.number(frame << shift);
            if (address >= vmemmap && page >= 0) {
                count(page);
                continue;
            }
            int stored = world.number(map.hypPa(address));
            boolean own = stored >= 0
                    && (table[stored] != 0
                            || lent[stored] == step
                            || model.primitives().inPools(world.address(stored))
                            || world.role[stored] == World.VM
                            || model.primitives().vmTable() == world.address(stored));
            if (!own) {
                found(
                        Finding.Kind.STORE,
                        stored < 0 ? map.hypPa(address) & -(1L << shift) : world.address(stored),
                        stored < 0 ? "it is no memory" : said(stored),
                        "the hypervisor stored " + log.bytes(i) + " bytes at " + hex(map.hypPa(address)));
            }
        }
    }

    /// Whether the last step lent a page.
    boolean lent(int page) {
        return page >= 0 && lent[page] == step;
    }

    /// Whether the page at an address is a table of the host or of EL2.
    boolean isTable(long address) {
        int page = world.number(address);
        return page >= 0 && table[page] != 0;
    }

    // Single entries, as they were before the step.

    private int entryPage;
    private int entryIndex;

    /// Looks for the entry at a physical address. False if it is in no table that the host or EL2 had before the step.
    boolean entryAt(long address) {
        int page = world.number(address);
        if (page < 0 || table[page] == 0) {
            return false;
        }
        entryPage = page;
        entryIndex = (int) (address & (1L << shift) - 1) >>> 3;
        return true;
    }

    /// First input address of the entry that [#entryAt] found.
    long entryInput() {
        return input[entryPage] + entryIndex * entrySize();
    }

    /// Bytes that it stands for.
    long entrySize() {
        return shape(tree(table[entryPage])).entrySize(entryLevel());
    }

    int entryLevel() {
        return level(table[entryPage]);
    }

    boolean entryOfHyp() {
        return tree(table[entryPage]) == Tree.HYP;
    }

    long pageSize() {
        return 1L << shift;
    }

    // Counts.

    private void count(int page) {
        if (counted[page] == step) {
            return;
        }
        counted[page] = step;
        if (toCounts == toCount.length) {
            toCount = Arrays.copyOf(toCount, 2 * toCounts);
        }
        toCount[toCounts++] = page;
    }

    private int references(int page) {
        long physical = vmemmapPage((world.base >>> shift) + page);
        return physical == -1 ? 0 : (int) (ram.get(physical) & 0xffff);
    }

    /// By page of the hyp_vmemmap: 0 for unknown, -1 for not mapped, else its physical address.
    private final long[] vmemmapPages;

    /// Where the entry of a frame is in memory: EL2's own mapping, which does not change.
    private long vmemmapPage(long frame) {
        long virtual = map.vmemmapBase() + frame * 4;
        long of = virtual & -(1L << shift);
        int number = (int) ((of - (map.vmemmapBase() + (world.base >>> shift) * 4 & -(1L << shift))) >>> shift);
        if (vmemmapPages[number] == 0) {
            long descriptor = leaf(Tree.HYP, of);
            vmemmapPages[number] = Descriptor.valid(descriptor) ? hypShape.outputAddress(descriptor, leafLevel) : -1L;
        }
        return vmemmapPages[number] == -1 ? -1 : vmemmapPages[number] + (virtual - of);
    }

    private void checkCount(int page) {
        if (world.memory[page] == NO_MEMORY) {
            return;
        }
        boolean held = world.poolsHeld() && model.primitives().inPools(world.address(page)) && table[page] == 0;
        if (held || (world.role[page] == World.VM)) {
            // Of a VM's root the pool holds a page, and of its area a vCPU that runs; both are the hypervisor's own.
            return;
        }
        int wanted = table[page] != 0 ? 1 + used[page] + tableExtra(page) : world.pins[page];
        int count = references(page);
        if (count != wanted) {
            found(
                    Finding.Kind.COUNT,
                    world.address(page),
                    table[page] != 0
                            ? "a table page with " + (int) used[page] + " entries"
                            : (int) world.pins[page] + " pins",
                    count + " references");
        }
    }

    /// Fixmap slots hold a reference without an entry, from the start (hyp_fixmap of 6.12).
    private int tableExtra(int page) {
        return table[page] >= 16 ? (short) extra[page] : 0;
    }

    // Walks.

    private int leafLevel;

    /// The entry for an address, as hardware finds it; its level is in [#leafLevel].
    private long leaf(Tree tree, long address) {
        TableGeometry shape = shape(tree);
        int level = shape.startLevel();
        long at = (tree == Tree.HOST ? hostRoot : hypRoot) + (address >>> shape.shift(level)) * Long.BYTES;
        while (true) {
            long descriptor = ram.get(at);
            if (!Descriptor.table(descriptor, level)) {
                leafLevel = level;
                return descriptor;
            }
            level++;
            at = shape.tableAddress(descriptor) + (long) shape.index(address, level) * Long.BYTES;
        }
    }

    boolean sameLeaf(long one, long other) {
        leaf(Tree.HOST, one);
        long size = hostShape.entrySize(leafLevel);
        return (one & -size) == (other & -size);
    }

    // Everything.

    /// The same after something whose stores nobody has seen: which pages are tables is learnt anew.
    List<Finding> afresh(String line) {
        rebuild();
        return all(line);
    }

    /// Reads all tables and counts afresh and compares everything; what the steps have missed is a finding.
    List<Finding> all(String line) {
        call = line;
        step++;
        findings.clear();
        toCounts = 0;
        byte[] known = table.clone();
        rebuild();
        for (int page = 0; page < world.pages; page++) {
            if (known[page] != table[page]) {
                found(
                        Finding.Kind.STATE,
                        world.address(page),
                        "kept step by step it is " + tableWords(known[page]),
                        "read afresh it is " + tableWords(table[page]));
            }
            if (world.memory[page] != NO_MEMORY) {
                changed(page);
                count(page);
            }
        }
        for (int i = 0; i < toCounts; i++) {
            checkCount(toCount[i]);
        }
        return findings;
    }

    private static String tableWords(byte code) {
        return code == 0
                ? "no table"
                : "a level " + level(code) + " table of " + (tree(code) == Tree.HOST ? "the host" : "EL2");
    }

    // Findings.

    private static Finding.Kind kind(Tree tree) {
        return tree == Tree.HOST ? Finding.Kind.HOST : Finding.Kind.HYP;
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }

    private static final int LISTED = 100;

    private void found(Finding.Kind kind, long address, String said, String seen) {
        boolean known = findings.stream()
                .anyMatch(finding -> finding.kind() == kind && finding.page() == address && address != -1);
        if (findings.size() < LISTED && !known) {
            findings.add(new Finding(kind, address, said, seen, evidence(address), call.toString()));
        }
    }

    /// What each table says about a page.
    List<String> evidence(long address) {
        int page = address == -1 ? -1 : world.number(address);
        if (page < 0) {
            return List.of();
        }
        List<String> evidence = new ArrayList<>();
        long hostEntry = leaf(Tree.HOST, address);
        evidence.add("host table: level " + leafLevel + " entry " + hex(hostEntry));
        long hypEntry = leaf(Tree.HYP, map.hypVa(address));
        evidence.add("EL2 table: level " + leafLevel + " entry " + hex(hypEntry));
        evidence.add("hyp_vmemmap: " + references(page) + " references");
        if (table[page] != 0) {
            evidence.add("it is " + tableWords(table[page]) + " from " + hex(input[page]) + " on");
        }
        return evidence;
    }
}
