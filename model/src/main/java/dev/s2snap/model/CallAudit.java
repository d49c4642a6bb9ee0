package dev.s2snap.model;

import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.PageState;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableSet;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/// What one snapshot call did to a machine: two pictures of physical memory, and what lies between them.
///
/// [#begin] reads the struct that the host is going to pass, to know what it lends, and takes the first picture; [#end]
/// takes the second and compares. It looks at raw memory only, shares no code with the hypervisor's own checks and with
/// neither variant of the call, and works on a dead machine too. The only pages that EL2 can write without borrowing
/// them first are those that its table maps, so these and the live tables are compared byte by byte; of all other pages
/// the owner is.
public final class CallAudit {
    /// What has to hold behind a call. The I-numbers are those of docs/defects.md, from the specification of pKVM's
    /// state; the N-numbers are what a caller was promised on top.
    public enum Rule {
        I_14("I-14", "the host can map no page of the hypervisor's own memory"),
        I_16("I-16", "nothing outside memory is annotated"),
        I_20("I-20", "every page of memory has exactly one owner"),
        I_21("I-21", "what EL2 owns the host cannot reach, and what EL2 borrows the host shares"),
        I_23("I-23", "what the host's table gives to EL2, EL2 owns and maps"),
        I_26("I-26", "EL2's linear map maps each page to itself"),
        I_50("I-50", "every page belongs to whom it belonged before the call"),
        I_51("I-51", "the struct comes back without an EL2 address, its pgd 0 or inside the lent PGD"),
        I_52("I-52", "the copy is the table, made of lent pages, each listed once in the lent array"),
        I_53("I-53", "struct hyp_page of no other page changed, those of the lent pages are zero"),
        I_54("I-54", "the host's table differs by split blocks and the lent pages only"),
        I_55("I-55", "x2 and up are as they were"),
        N_1("N-1", "nothing outside the lent memory is written"),
        N_2("N-2", "a refusal is an errno, never a panic"),
        N_3("N-3", "lent memory shows no EL2 address and no address of a live table"),
        N_4("N-4", "x1 is 0 or an errno, whatever x0 says");

        private final String id;
        private final String words;

        Rule(String id, String words) {
            this.id = id;
            this.words = words;
        }

        public String id() {
            return id;
        }

        public String words() {
            return words;
        }
    }

    /// Physical addresses from `start` up to `end`, exclusive, and what is there.
    public record Range(long start, long end, String what) {
        public Range {
            if (end <= start) {
                throw new IllegalArgumentException("an empty range");
            }
        }
    }

    /// Pages that went from one owner to another.
    public record OwnerChange(String from, String to, long pages, List<Range> ranges) {
        public OwnerChange {
            ranges = List.copyOf(ranges);
        }
    }

    /// One 64-bit word of physical memory.
    ///
    /// @param what what the page is
    public record Word(long address, long before, long after, String what) {}

    /// Pages of the pools and tables, before and after.
    public record Pools(
            long hostFreeBefore,
            long hostFree,
            long hostTablesBefore,
            long hostTables,
            long hypFreeBefore,
            long hypFree,
            long hypTablesBefore,
            long hypTables,
            long blocksBefore,
            long blocks) {

        /// Pages that are in a pool no more and in no table either.
        public long lost() {
            return hostFreeBefore
                    + hostTablesBefore
                    - hostFree
                    - hostTables
                    + (hypFreeBefore + hypTablesBefore - hypFree - hypTables);
        }
    }

    /// The copy behind a call that succeeded.
    ///
    /// @param used table pages below the root
    /// @param annotations pages that it shows as the hypervisor's
    /// @param own those among them that are the lent buffers
    public record Copy(long used, long annotations, long own) {}

    /// Everything that was found.
    ///
    /// @param result what the call returned, or null if it did not
    /// @param panic why the hypervisor panicked, or null
    /// @param x0 of a call through dispatch, else null
    /// @param lent pages that the host could lend and did
    /// @param demanded pages of the memcache
    /// @param words the first words that were written outside the lent memory
    /// @param written how many there are
    /// @param leaks the first words of lent memory that now show an EL2 or live table address
    /// @param el2Addresses how many words show an EL2 address
    /// @param tableAddresses how many words show the address of a live table
    /// @param nobody pages that lost their last owner
    /// @param two pages that have two owners now
    /// @param broken the rules, with what was found
    public record Report(
            @Nullable Integer result,
            @Nullable String panic,
            @Nullable Long x0,
            @Nullable Long x1,
            long lent,
            long demanded,
            List<OwnerChange> owners,
            long nobody,
            long two,
            List<Word> words,
            long written,
            List<Word> leaks,
            long el2Addresses,
            long tableAddresses,
            Pools pools,
            @Nullable Copy copy,
            Map<Rule, String> broken) {
        public Report {
            owners = List.copyOf(owners);
            words = List.copyOf(words);
            leaks = List.copyOf(leaks);
            broken = Map.copyOf(broken);
        }
    }

    /// Bytes of lent memory that are kept for the comparison; of larger loans the first are.
    private static final long KEPT = 32L << 20;

    /// Pages that a list is followed for.
    private static final int LIST_LIMIT = 1 << 20;

    /// How many words and ranges are reported one by one.
    private static final int FIRST = 8;

    /// Bits of a leaf that say what it allows and who owns it: 63:50 and 11:0.
    private static final long ATTRIBUTES = -1L << 50 | 0xfff;

    private static final int LEVEL_SHIFT = 12;
    private static final long ELSEWHERE = 1L << 16;

    private final PkvmModel model;
    private final Hypervisor el2;
    private final Ram ram;
    private final AddressMap map;
    private final int shift;
    private final long pageSize;
    private final int entries;
    private final boolean live;

    // Pages of memory, numbered through all regions.
    private final List<MemoryRegion> regions;
    private final int[] firstPage;
    private final int pages;

    private final List<Loan> loans = new ArrayList<>();
    private final NavigableSet<Long> lent = new TreeSet<>();
    private final Set<Long> notAllocated = new HashSet<>();
    private final Set<Long> hostStores = new HashSet<>();
    private final Map<Long, String> lentAs = new HashMap<>();
    private final Map<Long, long[]> kept = new LinkedHashMap<>();
    private final Map<Long, long[]> watched = new TreeMap<>();
    private final long[] vmemmap;
    private final Picture before;
    private @Nullable Cpu cpu;
    private long[] registers = {};
    private long announced;

    /// One struct, as it was before the call.
    private record Loan(long struct, long pgd, long pgdPages, Set<Long> list, long array, long arrayPages) {}

    /// A page of a live table.
    @SuppressWarnings("ArrayRecordComponent") // not compared as a whole
    private record Page(int level, long input, long[] words) {}

    private CallAudit(PkvmModel model, long[] pointers) {
        this.model = model;
        el2 = model.el2();
        ram = model.ram();
        map = el2.map;
        shift = model.config().pageShift();
        pageSize = 1L << shift;
        entries = 1 << (shift - 3);
        live = el2.finalised();
        regions = model.config().regions();
        firstPage = new int[regions.size()];
        int sum = 0;
        for (int i = 0; i < firstPage.length; i++) {
            firstPage[i] = sum;
            sum += (int) (((regions.get(i).end() + pageSize - 1) >>> shift)
                    - (regions.get(i).base() >>> shift));
        }
        pages = sum;
        vmemmap = live ? vmemmapPlaces() : new long[0];
        before = new Picture();
        for (long pointer : pointers) {
            borrow(pointer);
        }
        if (live) {
            before.hypOutputs.forEach(page -> {
                if (!lent.contains(page) && !inPools(page) && !inVmemmap(page)) {
                    watch(page);
                }
            });
        }
    }

    /// Takes the first picture.
    ///
    /// @param pointers what the host is going to pass in x1, of each call that runs meanwhile
    public static CallAudit begin(PkvmModel model, long... pointers) {
        return new CallAudit(model, pointers);
    }

    /// The call goes through dispatch on this CPU, so its registers are looked at as well.
    public CallAudit on(Cpu caller) {
        cpu = caller;
        registers = new long[Cpu.REGISTERS];
        for (int i = 0; i < registers.length; i++) {
            registers[i] = caller.x(i);
        }
        return this;
    }

    /// The host announces this page and has not allocated it.
    public CallAudit notAllocated(long page) {
        if (lent.remove(page)) {
            lentAs.remove(page);
            kept.remove(page);
            notAllocated.add(page);
            watch(page);
        }
        return this;
    }

    /// Another CPU of the host stores to the 64-bit word at this address meanwhile.
    public CallAudit storedByHost(long address) {
        hostStores.add(address);
        return this;
    }

    /// Takes the second picture and compares.
    ///
    /// @param result what the call returned; null if it did not, or if the registers of a CPU tell
    public Report end(@Nullable Integer result) {
        return new Comparison(result).report();
    }

    // What is lent.

    private boolean readable(long address) {
        return ram.offset(address, Long.BYTES) != PhysicalMemory.ABSENT;
    }

    private void borrow(long pointer) {
        long struct = map.hypPa(map.kernHypVa(pointer));
        if ((struct & pageSize - 1) != 0 || ram.offset(struct, pageSize) == PhysicalMemory.ABSENT) {
            return;
        }
        long pgd = map.hypPa(map.kernHypVa(ram.get(struct + SnapshotStruct.PGD_HVA))) & -pageSize;
        long array = map.hypPa(map.kernHypVa(ram.get(struct + SnapshotStruct.USED_PAGES_HVA))) & -pageSize;
        long pgdPages = sane(ram.get(struct + SnapshotStruct.PGD_PAGES));
        long arrayPages = sane(ram.get(struct + SnapshotStruct.NUM_USED_PAGES));
        Set<Long> list = new HashSet<>();
        lend(struct, "struct");
        long count = ram.get(struct + SnapshotStruct.MC_NR_PAGES);
        announced += count;
        long page = ram.get(struct + SnapshotStruct.MC_HEAD);
        for (long i = 0; i < count && i < LIST_LIMIT; i++) {
            if ((page & pageSize - 1) != 0 || !readable(page) || !list.add(page)) {
                break;
            }
            lend(page, "memcache");
            page = ram.get(page);
        }
        for (long i = 0; i < arrayPages; i++) {
            lend(array + (i << shift), "array");
        }
        for (long i = 0; i < pgdPages; i++) {
            lend(pgd + (i << shift), "PGD");
        }
        loans.add(new Loan(struct, pgd, pgdPages, list, array, arrayPages));
    }

    /// A page count as the base takes it: its bytes, modulo 2^64. What no machine has is nothing.
    private long sane(long count) {
        long taken = count << shift >>> shift;
        return taken > 1 << 22 ? 0 : taken;
    }

    /// Only what the host owns alone it can lend; everything else is announced and must stay as it is.
    private void lend(long page, String as) {
        int at = at(page);
        if (at >= 0 && before.host(at) == PageState.OWNED && before.hyp(at) == PageState.NOPAGE) {
            lent.add(page);
            lentAs.putIfAbsent(page, as);
            if ((long) kept.size() << shift < KEPT && !kept.containsKey(page)) {
                kept.put(page, words(page));
            }
        } else if (!inPools(page) && !inVmemmap(page)) {
            watch(page);
        }
    }

    private void watch(long page) {
        watched.computeIfAbsent(page, this::words);
    }

    /// Content of a page; zeros where there is no memory yet.
    private long[] words(long page) {
        long[] words = new long[entries];
        long place = ram.offset(page, pageSize);
        if (place != PhysicalMemory.ABSENT) {
            MemorySegment.copy(ram.bytes(), PhysicalMemory.LE64, place, words, 0, entries);
        }
        return words;
    }

    private boolean touchesLent(long start, long size) {
        Long page = lent.ceiling(start);
        return page != null && page < start + size;
    }

    // Pages and what they are.

    /// Number of the page, or -1 outside of memory.
    private int at(long address) {
        for (int i = 0; i < firstPage.length; i++) {
            MemoryRegion region = regions.get(i);
            long first = region.base() >>> shift;
            if (address >= first << shift && address < region.end()) {
                return firstPage[i] + (int) ((address >>> shift) - first);
            }
        }
        return -1;
    }

    private int regionOf(int page) {
        int region = firstPage.length - 1;
        while (firstPage[region] > page) {
            region--;
        }
        return region;
    }

    private long address(int page) {
        int region = regionOf(page);
        return ((regions.get(region).base() >>> shift) + (page - firstPage[region])) << shift;
    }

    private boolean inPools(long page) {
        return live && (in(el2.hostPool(), page) || in(el2.hypPool(), page));
    }

    private static boolean in(HypPool pool, long page) {
        return page >= pool.start() && page < pool.end();
    }

    private boolean inVmemmap(long page) {
        return live
                && page >= el2.layout().vmemmap()
                && page < el2.layout().vmemmap() + (el2.sizes().vmemmap() << shift);
    }

    /// Physical address of each page's struct hyp_page, or ABSENT.
    private long[] vmemmapPlaces() {
        long[] places = new long[pages];
        TranslationTable table = el2.memory.table();
        long last = -1;
        long place = PhysicalMemory.ABSENT;
        for (int page = 0; page < pages; page++) {
            long va = el2.vmemmap.entry(address(page));
            if (va >>> shift != last) {
                last = va >>> shift;
                place = table != null && table.translate(va & -pageSize) instanceof Translation.Mapped mapped
                        ? mapped.output()
                        : PhysicalMemory.ABSENT;
            }
            places[page] = place == PhysicalMemory.ABSENT ? place : place + (va & pageSize - 1);
        }
        return places;
    }

    private static boolean within(ModelConfig.Range range, long page) {
        return range.size() != 0 && page >= range.base() && page < range.base() + range.size();
    }

    /// What a page was before the call, in words.
    private String what(long page) {
        Page table = before.hostTables.get(page);
        if (table != null) {
            return "live host stage-2 table, level " + table.level;
        }
        table = before.hypTables.get(page);
        if (table != null) {
            return "live EL2 stage-1 table, level " + table.level;
        }
        String as = lentAs.get(page);
        if (as != null) {
            return "lent " + as;
        }
        if (at(page) < 0) {
            return "not memory";
        }
        if (live) {
            String own = ownMemory(page);
            if (!own.isEmpty()) {
                return own;
            }
        }
        return before.owner(at(page)).equals("host") ? "page of the host" : "page: " + before.owner(at(page));
    }

    private String ownMemory(long page) {
        Hypervisor.Layout layout = el2.layout();
        if (inVmemmap(page)) {
            return "vmemmap";
        }
        if (inPools(page)) {
            return in(el2.hostPool(), page) ? "host table pool" : "EL2 table pool";
        }
        if (page == layout.vmTable()) {
            return "VM table";
        }
        if (page >= layout.ffa() && page < layout.ffa() + (el2.sizes().ffa() << shift)) {
            return "FF-A buffers";
        }
        ModelConfig config = model.config();
        if (within(config.text, page)) {
            return "hyp text";
        }
        if (within(config.rodata, page)) {
            return "hyp rodata";
        }
        if (within(config.bss, page)) {
            return "hyp bss";
        }
        if (page >= config.stack && page < config.stack + config.cpus * pageSize) {
            return "EL2 stack";
        }
        return "";
    }

    /// The machine at one moment.
    private final class Picture {
        /// Host entry of each page: 0, an annotation, or a leaf's attributes with its level.
        final long[] entry = new long[pages];

        /// State in EL2's linear map, and bit 3 for an owning mapping somewhere else.
        final byte[] hyp = new byte[pages];

        final int[] counts = new int[pages];
        final Map<Long, Page> hostTables = new LinkedHashMap<>();
        final Map<Long, Page> hypTables = new LinkedHashMap<>();
        final NavigableSet<Long> hypOutputs = new TreeSet<>();
        long blocks;
        long annotatedOutside;
        long notLinear;
        long hostFree;
        long hypFree;

        Picture() {
            Arrays.fill(hyp, (byte) PageState.NOPAGE.ordinal());
            if (!live) {
                return;
            }
            hostFree = el2.hostPool().freePages();
            hypFree = el2.hypPool().freePages();
            tables(el2.host.table(), hostTables, this::hostLeaf);
            tables(el2.hyp.table(), hypTables, this::hypLeaf);
            for (int page = 0; page < pages; page++) {
                long entry = vmemmap[page];
                counts[page] = entry == PhysicalMemory.ABSENT ? 0 : (int) (ram.get(entry & ~7L) >>> ((entry & 4) * 8));
            }
        }

        private void hostLeaf(long input, int level, long descriptor, TableGeometry geometry) {
            long value = descriptor;
            if (Descriptor.valid(descriptor)) {
                boolean identity = geometry.outputAddress(descriptor, level) == input;
                // Bit 1 only tells block from page.
                value = (descriptor & ATTRIBUTES & ~2L) | ((long) level << LEVEL_SHIFT) | (identity ? 0 : ELSEWHERE);
                if (level < TableGeometry.LAST_LEVEL && at(input) >= 0) {
                    blocks++;
                }
            }
            long size = geometry.entrySize(level);
            if (Descriptor.annotated(descriptor) && at(input) < 0) {
                annotatedOutside++;
            }
            fill(input, size, value);
        }

        private void fill(long input, long size, long value) {
            for (int i = 0; i < firstPage.length; i++) {
                long first = regions.get(i).base() >>> shift;
                long last = (regions.get(i).end() + pageSize - 1) >>> shift;
                long start = Math.max(input >>> shift, first);
                long end = Math.min((input + size) >>> shift, last);
                if (start < end) {
                    Arrays.fill(entry, firstPage[i] + (int) (start - first), firstPage[i] + (int) (end - first), value);
                }
            }
        }

        private void hypLeaf(long input, int level, long descriptor, TableGeometry geometry) {
            if (!Descriptor.valid(descriptor)) {
                return;
            }
            long output = geometry.outputAddress(descriptor, level);
            int state = PageState.ofSoftwareBits(descriptor).ordinal();
            for (long done = 0; done < geometry.entrySize(level) && done >> shift < entries; done += pageSize) {
                hypOutputs.add(output + done);
                int linear = at(map.hypPa(input + done));
                int mapped = at(output + done);
                if (linear >= 0) {
                    hyp[linear] = (byte) ((hyp[linear] & 8) | state);
                    notLinear += linear == mapped ? 0 : 1;
                } else if (mapped >= 0 && state == PageState.OWNED.ordinal()) {
                    hyp[mapped] |= 8;
                }
            }
        }

        PageState host(int page) {
            if (regions.get(regionOf(page)).nomap() || Descriptor.annotated(entry[page])) {
                return PageState.NOPAGE;
            }
            return PageState.ofSoftwareBits(entry[page]);
        }

        PageState hyp(int page) {
            return PageState.values()[hyp[page] & 7];
        }

        boolean mappedElsewhere(int page) {
            return (hyp[page] & 8) != 0;
        }

        /// Owners of a page: 0, 1 or 2.
        int owners(int page) {
            PageState hypState = hyp(page);
            boolean byHyp = hypState == PageState.OWNED
                    || hypState == PageState.SHARED_OWNED
                    || (hypState == PageState.NOPAGE && mappedElsewhere(page));
            PageState hostState = host(page);
            return (byHyp ? 1 : 0) + (hostState == PageState.OWNED || hostState == PageState.SHARED_OWNED ? 1 : 0);
        }

        /// The number as a key: pages with equal keys have the same owners.
        int ownerKey(int page) {
            return host(page).ordinal() << 4 | hyp[page];
        }

        String owner(int page) {
            PageState hostState = host(page);
            PageState hypState = hyp(page);
            return switch (hypState) {
                case NOPAGE ->
                    switch (hostState) {
                        case OWNED -> mappedElsewhere(page) ? "host, and EL2 still maps it" : "host";
                        case SHARED_OWNED -> "host, shared";
                        case NOPAGE -> mappedElsewhere(page) ? "hyp, not in its linear map" : "nobody";
                        default -> "nobody; the host borrows";
                    };
                case OWNED ->
                    switch (hostState) {
                        case NOPAGE -> "hyp";
                        case OWNED, SHARED_OWNED -> "host and hyp";
                        default -> "hyp; the host borrows";
                    };
                case SHARED_OWNED -> hostState == PageState.SHARED_BORROWED ? "hyp, shared with host" : "hyp, shared";
                case SHARED_BORROWED ->
                    hostState == PageState.SHARED_OWNED ? "host, shared with hyp" : "EL2 borrows from " + hostState;
                case RESERVED -> "a reserved state";
            };
        }
    }

    private interface Leaf {
        void at(long input, int level, long descriptor, TableGeometry geometry);
    }

    private void tables(PageTable table, Map<Long, Page> found, Leaf leaf) {
        TableGeometry geometry = table.geometry();
        for (int page = 0; page < geometry.rootPages(); page++) {
            long input = (long) page << geometry.shift(geometry.startLevel() - 1);
            tables(geometry, table.root() + ((long) page << shift), geometry.startLevel(), input, found, leaf);
        }
    }

    /// Each page once, so a loop ends.
    private void tables(TableGeometry geometry, long address, int level, long input, Map<Long, Page> found, Leaf leaf) {
        if (found.containsKey(address) || ram.offset(address, pageSize) == PhysicalMemory.ABSENT) {
            return;
        }
        long[] words = words(address);
        found.put(address, new Page(level, input, words));
        long size = geometry.entrySize(level);
        for (int i = 0; i < entries; i++) {
            long descriptor = words[i];
            if (descriptor == 0) {
                continue;
            }
            if (Descriptor.table(descriptor, level)) {
                tables(geometry, geometry.tableAddress(descriptor), level + 1, input + i * size, found, leaf);
            } else {
                leaf.at(input + i * size, level, descriptor, geometry);
            }
        }
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }

    private static String count(long number, String noun) {
        return number + " " + noun + (number == 1 ? "" : "s");
    }

    /// Before and after.
    private final class Comparison {
        private final @Nullable Integer result;
        private final @Nullable HypPanic panic;
        private final Picture after = new Picture();
        private final Map<Rule, String> broken = new EnumMap<>(Rule.class);
        private final List<OwnerChange> owners = new ArrayList<>();
        private final List<Word> words = new ArrayList<>();
        private final List<Word> leaks = new ArrayList<>();
        private long written;
        private long el2Addresses;
        private long tableAddresses;
        private long nobody;
        private long two;
        private @Nullable Copy copy;

        Comparison(@Nullable Integer told) {
            panic = model.panic();
            Cpu caller = cpu;
            result = panic != null ? null : caller != null ? Integer.valueOf((int) caller.x(1)) : told;
        }

        Report report() {
            if (live) {
                owners();
                crossChecks();
                counts();
                hostTable();
                liveTables(before.hostTables, after.hostTables, true);
                liveTables(before.hypTables, after.hypTables, false);
            }
            watched();
            leaks();
            if (result != null && result == 0 && live) {
                loans.forEach(this::copyOf);
            }
            loans.forEach(this::struct);
            call();
            Pools pools = new Pools(
                    before.hostFree,
                    after.hostFree,
                    before.hostTables.size(),
                    after.hostTables.size(),
                    before.hypFree,
                    after.hypFree,
                    before.hypTables.size(),
                    after.hypTables.size(),
                    before.blocks,
                    after.blocks);
            Cpu caller = panic == null ? cpu : null;
            return new Report(
                    result,
                    panic == null ? null : panic.getMessage(),
                    caller == null ? null : caller.x(0),
                    caller == null ? null : caller.x(1),
                    lent.size(),
                    announced,
                    owners,
                    nobody,
                    two,
                    words,
                    written,
                    leaks,
                    el2Addresses,
                    tableAddresses,
                    pools,
                    copy,
                    broken);
        }

        private void breaks(Rule rule, String what) {
            broken.putIfAbsent(rule, what);
        }

        private void owners() {
            Map<String, List<Range>> ranges = new LinkedHashMap<>();
            Map<String, Long> numbers = new LinkedHashMap<>();
            long changed = 0;
            for (int page = 0; page < pages; page++) {
                if (before.ownerKey(page) == after.ownerKey(page)) {
                    continue;
                }
                changed++;
                String key = before.owner(page) + "\n" + after.owner(page);
                numbers.merge(key, 1L, Long::sum);
                long address = address(page);
                String what = what(address);
                List<Range> list = ranges.computeIfAbsent(key, _ -> new ArrayList<>());
                Range last = list.isEmpty() ? null : list.getLast();
                if (last != null && last.end == address && last.what.equals(what)) {
                    list.set(list.size() - 1, new Range(last.start, address + pageSize, what));
                } else {
                    list.add(new Range(address, address + pageSize, what));
                }
            }
            ranges.forEach((key, list) -> {
                int cut = key.indexOf('\n');
                owners.add(new OwnerChange(
                        key.substring(0, cut),
                        key.substring(cut + 1),
                        numbers.getOrDefault(key, 0L),
                        list.subList(0, Math.min(FIRST, list.size()))));
            });
            if (changed != 0) {
                breaks(Rule.I_50, count(changed, "page") + " changed hands");
            }
        }

        /// Rules that join both tables, where they held before.
        private void crossChecks() {
            long stolen = 0;
            long contradictions = 0;
            long unmapped = 0;
            for (int page = 0; page < pages; page++) {
                if (before.ownerKey(page) == after.ownerKey(page)
                        || regions.get(regionOf(page)).nomap()) {
                    continue;
                }
                PageState host = after.host(page);
                PageState hyp = after.hyp(page);
                stolen += before.owner(page).startsWith("hyp")
                                && before.host(page) == PageState.NOPAGE
                                && host != PageState.NOPAGE
                        ? 1
                        : 0;
                nobody += after.owners(page) == 0 ? 1 : 0;
                two += after.owners(page) == 2 ? 1 : 0;
                contradictions += switch (hyp) {
                    case OWNED -> host == PageState.NOPAGE ? 0 : 1;
                    case SHARED_OWNED -> host == PageState.SHARED_BORROWED ? 0 : 1;
                    case SHARED_BORROWED -> host == PageState.SHARED_OWNED ? 0 : 1;
                    default -> 0;
                };
                boolean annotated = Descriptor.annotated(after.entry[page]);
                // Stacks are mapped in the private range only; for all others that does not count.
                boolean mapped = after.mappedElsewhere(page) && before.hyp(page) == PageState.NOPAGE;
                unmapped += annotated && hyp != PageState.OWNED && !mapped ? 1 : 0;
            }
            if (stolen != 0) {
                breaks(Rule.I_14, count(stolen, "page") + " of the hypervisor can be mapped by the host");
            }
            if (nobody + two != 0) {
                breaks(Rule.I_20, count(nobody, "page") + " without an owner, " + two + " with two");
            }
            if (contradictions != 0) {
                breaks(Rule.I_21, count(contradictions, "page"));
            }
            if (unmapped != 0) {
                breaks(Rule.I_23, count(unmapped, "page") + " annotated and not mapped at EL2");
            }
            if (after.annotatedOutside > before.annotatedOutside) {
                breaks(Rule.I_16, count(after.annotatedOutside, "page"));
            }
            if (after.notLinear > before.notLinear) {
                breaks(Rule.I_26, count(after.notLinear, "page") + " mapped somewhere else");
            }
        }

        private void counts() {
            long wrong = 0;
            for (int page = 0; page < pages; page++) {
                if (before.counts[page] == after.counts[page]) {
                    continue;
                }
                long address = address(page);
                if (lent.contains(address)) {
                    wrong += after.counts[page] == 0 ? 0 : 1;
                } else if (!inPools(address)) {
                    wrong++;
                    note(
                            vmemmap[page],
                            before.counts[page] & 0xffff_ffffL,
                            after.counts[page] & 0xffff_ffffL,
                            "struct hyp_page of " + hex(address));
                }
            }
            if (wrong != 0) {
                breaks(Rule.I_53, count(wrong, "page"));
            }
        }

        private void note(long address, long was, long is, String what) {
            written++;
            if (words.size() < FIRST) {
                words.add(new Word(address, was, is, what));
            }
        }

        private void hostTable() {
            long wrong = 0;
            for (int page = 0; page < pages; page++) {
                long was = before.entry[page];
                long is = after.entry[page];
                if (was == is || lent.contains(address(page)) || before.ownerKey(page) != after.ownerKey(page)) {
                    continue;
                }
                long level = 3L << LEVEL_SHIFT;
                boolean split = (was & ~level) == (is & ~level) && (was & level) <= (is & level);
                long block = el2.host.table().geometry().entrySize((int) (was & level) >> LEVEL_SHIFT);
                boolean lost = is == 0 && touchesLent(address(page) & -block, block);
                boolean faulted = was == 0 && (is & ELSEWHERE) == 0;
                wrong += split || lost || faulted ? 0 : 1;
            }
            if (wrong != 0) {
                breaks(Rule.I_54, count(wrong, "page") + " mapped differently");
            }
        }

        /// Table pages that were live and still are: an entry changes for a lent page, for a block above one, or not.
        private void liveTables(Map<Long, Page> was, Map<Long, Page> is, boolean host) {
            was.forEach((address, old) -> {
                Page now = is.get(address);
                if (now != null && now.level == old.level && now.input == old.input) {
                    for (int i = 0; i < entries; i++) {
                        if (old.words[i] != now.words[i] && !explained(old, i, now.words[i], host)) {
                            note(address + i * 8L, old.words[i], now.words[i], what(address));
                        }
                    }
                }
            });
        }

        private boolean explained(Page table, int index, long value, boolean host) {
            TableGeometry geometry = (host ? el2.host.table() : el2.hyp.table()).geometry();
            long size = geometry.entrySize(table.level);
            long start = table.input + index * size;
            if (!host) {
                start = map.hypPa(start);
            }
            if (Descriptor.table(value, table.level)) {
                long next = geometry.tableAddress(value);
                return in(host ? el2.hostPool() : el2.hypPool(), next) && touches(start, size);
            }
            int page = at(start);
            if (table.level == TableGeometry.LAST_LEVEL && page >= 0) {
                boolean moved = before.ownerKey(page) != after.ownerKey(page);
                return host
                        ? (value == 0 || value == Stage2.OWNER_HYP << 2) && (moved || lent.contains(start))
                        : (value == 0 && moved) || lent.contains(start);
            }
            // Devices are unmapped to recycle their table pages.
            return value == 0 && (touches(start, size) || (host && !touchesMemory(start, size)));
        }

        private boolean touches(long start, long size) {
            if (touchesLent(start, size)) {
                return true;
            }
            // A page that is no memory and was donated all the same has its tables, too.
            return watched.keySet().stream().anyMatch(page -> page >= start && page < start + size && at(page) < 0);
        }

        private boolean touchesMemory(long start, long size) {
            return regions.stream().anyMatch(region -> region.base() < start + size && region.end() > start);
        }

        /// Pages that EL2 could write and that were not lent, and pages that were announced and not the host's to lend.
        private void watched() {
            watched.forEach((page, was) -> {
                if (before.hypTables.containsKey(page) || before.hostTables.containsKey(page)) {
                    return;
                }
                long[] is = words(page);
                for (int i = Arrays.mismatch(was, is); i >= 0 && i < entries; i++) {
                    if (was[i] != is[i] && !hostStores.contains(page + i * 8L)) {
                        note(page + i * 8L, was[i], is[i], what(page));
                    }
                }
            });
            if (written != 0) {
                breaks(Rule.N_1, count(written, "word") + " written");
            }
        }

        /// What lent memory shows that it did not show before, where the host can look.
        private void leaks() {
            kept.forEach((page, was) -> {
                int at = at(page);
                if (live && at >= 0 && after.host(at) == PageState.NOPAGE) {
                    return;
                }
                long[] is = words(page);
                for (int i = Arrays.mismatch(was, is); i >= 0 && i < entries; i++) {
                    if (was[i] != is[i]) {
                        leak(page + i * 8L, was[i], is[i]);
                    }
                }
            });
            if (el2Addresses + tableAddresses != 0) {
                breaks(Rule.N_3, el2Addresses + " of EL2, " + tableAddresses + " of live tables");
            }
        }

        private void leak(long address, long was, long is) {
            String what = null;
            if (el2Address(is)) {
                el2Addresses++;
                what = "EL2 address of " + hex(map.hypPa(is));
            } else if (liveTable(is & ~3L) && ((is & 3) == 3 || (is & 3) == 0)) {
                tableAddresses++;
                what = after.hostTables.containsKey(is & ~3L) ? "a live host stage-2 table" : what(is & ~3L);
            }
            if (what != null && leaks.size() < FIRST) {
                leaks.add(new Word(address, was, is, what));
            }
        }

        private boolean el2Address(long value) {
            boolean linear = map.tag() != 0 && (value & ~map.vaMask()) == map.tag() && at(map.hypPa(value)) >= 0;
            boolean own = Long.compareUnsigned(value, map.ioBase()) >= 0
                    && Long.compareUnsigned(value, map.vmemmapBase() * 2) < 0
                    && value > 0;
            return linear || own;
        }

        private boolean liveTable(long page) {
            return before.hostTables.containsKey(page)
                    || after.hostTables.containsKey(page)
                    || before.hypTables.containsKey(page);
        }

        private void struct(Loan loan) {
            int page = at(loan.struct);
            if (page < 0 || !lent.contains(loan.struct) || after.host(page) == PageState.NOPAGE) {
                return;
            }
            long pgd = ram.get(loan.struct + SnapshotStruct.PGD);
            boolean inside = pgd - loan.pgd >= 0 && pgd - loan.pgd < loan.pgdPages << shift && lent.contains(loan.pgd);
            if (el2Address(pgd)) {
                breaks(Rule.I_51, "pgtable.pgd is the EL2 address " + hex(pgd));
            } else if (pgd != 0 && !inside) {
                breaks(Rule.I_51, "pgtable.pgd is " + hex(pgd) + ", " + what(pgd & -pageSize));
            }
            long ops = ram.get(loan.struct + SnapshotStruct.MM_OPS);
            if (ops != 0) {
                breaks(Rule.I_51, "pgtable.mm_ops is " + hex(ops));
            }
        }

        private void copyOf(Loan loan) {
            int page = at(loan.struct);
            long root = ram.get(loan.struct + SnapshotStruct.PGD);
            if (page < 0 || after.host(page) == PageState.NOPAGE || !readable(root)) {
                return;
            }
            long used = ram.get(loan.struct + SnapshotStruct.USED_PAGES_INDX);
            if (Long.compareUnsigned(used, loan.arrayPages * entries) > 0) {
                breaks(Rule.I_52, used + " pages are listed in an array of " + loan.arrayPages * entries);
            }
            Set<Long> listed = new HashSet<>();
            for (long i = 0; i < used && i < LIST_LIMIT; i++) {
                long each = ram.get(loan.array + i * Long.BYTES);
                if (!listed.add(each) || !loan.list.contains(each)) {
                    breaks(Rule.I_52, hex(each) + " is listed and was not lent for it");
                }
            }
            Isomorphism match = new Isomorphism(listed);
            TableGeometry geometry = el2.host.table().geometry();
            for (int i = 0; i < geometry.rootPages(); i++) {
                long input = (long) i << geometry.shift(geometry.startLevel() - 1);
                long offset = (long) i << shift;
                match.compare(root + offset, el2.host.table().root() + offset, geometry.startLevel(), input);
            }
            if (match.pages != used) {
                breaks(Rule.I_52, match.pages + " table pages are in the copy, " + used + " are listed");
            }
            if (match.different != 0) {
                breaks(
                        Rule.I_52,
                        match.different + (match.different == 1 ? " entry differs" : " entries differ")
                                + " from the table");
            }
            copy = new Copy(used, match.annotations, match.own);
        }

        /// The copy against the table, which has lost the annotations of the lent pages meanwhile.
        private final class Isomorphism {
            private final Set<Long> listed;
            private final TableGeometry geometry = el2.host.table().geometry();
            long pages;
            long different;
            long annotations;
            long own;

            Isomorphism(Set<Long> listed) {
                this.listed = listed;
            }

            void compare(long copied, long original, int level, long input) {
                long[] mine = words(copied);
                long[] live = words(original);
                long size = geometry.entrySize(level);
                for (int i = 0; i < entries; i++) {
                    boolean table = Descriptor.table(mine[i], level);
                    boolean annotated = Descriptor.annotated(mine[i]);
                    long page = input + i * size;
                    boolean mineOnly = annotated && (lent.contains(page) || notAllocated.contains(page));
                    annotations += annotated ? 1 : 0;
                    own += mineOnly ? 1 : 0;
                    if (table && Descriptor.table(live[i], level)) {
                        pages++;
                        long next = geometry.tableAddress(mine[i]);
                        if (!listed.contains(next)) {
                            breaks(Rule.I_52, "the copy has a table at " + hex(next) + " that is not listed");
                        } else {
                            compare(next, geometry.tableAddress(live[i]), level + 1, input + i * size);
                        }
                    } else if (mine[i] != live[i] && !(mineOnly && live[i] == 0) && !moved(page, level)) {
                        different++;
                    }
                }
            }
        }

        /// A page that went to somebody else behind the copy is reported for that.
        private boolean moved(long page, int level) {
            int at = level == TableGeometry.LAST_LEVEL ? at(page) : -1;
            return at >= 0 && before.ownerKey(at) != after.ownerKey(at);
        }

        private void call() {
            if (panic != null) {
                breaks(Rule.N_2, panic.getMessage() + "");
                return;
            }
            Cpu caller = cpu;
            if (caller == null) {
                return;
            }
            long x1 = caller.x(1);
            if (x1 > 0 || x1 < -4095) {
                breaks(Rule.N_4, "x1 is " + hex(x1) + ", as an int " + (int) x1);
            }
            for (int i = 2; i < registers.length; i++) {
                if (caller.x(i) != registers[i]) {
                    breaks(Rule.I_55, "x" + i + " changed");
                }
            }
        }
    }
}
