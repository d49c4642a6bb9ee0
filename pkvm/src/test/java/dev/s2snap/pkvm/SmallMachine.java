package dev.s2snap.pkvm;

import dev.s2snap.pkvm.MachineView.GuestTable;
import dev.s2snap.pkvm.MachineView.Table;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/// A machine of 16 MiB that keeps all rules, made entry by entry, to be damaged.
///
/// The hypervisor has a carve-out of 1 MiB with all tables and the hyp_vmemmap, two pages of text, and a stack. It
/// shares a page with the host, and the host one with it. From 6.14 on there is a guest, which borrows a page; from 7.0
/// on it owns another one. Behind the 16 MiB there is 1 MiB of NOMAP memory, and before them devices.
final class SmallMachine implements PhysicalMemory {
    static final long PAGE = 4096;
    static final long BLOCK = 2 << 20;

    static final long DEVICE = 0x0900_0000L;
    static final long RAM = 0x4000_0000L;
    static final long TEXT = RAM + 0x40_0000;
    static final long STACK = TEXT + 8 * PAGE;

    /// The host's, mapped to it as a page.
    static final long HOSTS = TEXT + 0x10 * PAGE;

    /// The host's, which has not touched it.
    static final long UNTOUCHED = TEXT + 0x30 * PAGE;

    /// The host shares it with the hypervisor.
    static final long LENT = TEXT + 0x20 * PAGE;

    /// The hypervisor shares it with the host.
    static final long GIVEN = TEXT + 0x22 * PAGE;

    /// The host shares it with the guest.
    static final long GUEST_BORROWS = TEXT + 0x24 * PAGE;

    /// The guest's own.
    static final long GUEST_OWNS = TEXT + 0x26 * PAGE;

    /// A block of the host.
    static final long HOST_BLOCK = RAM + 0x60_0000;

    static final long CARVEOUT = RAM + 0x80_0000;
    static final long CARVEOUT_SIZE = 1 << 20;

    /// A page of the hypervisor that is free.
    static final long FREE = CARVEOUT + CARVEOUT_SIZE - PAGE;

    static final long NOMAP = RAM + (16 << 20);

    static final long LINEAR = 0x1000_0000_0000L;
    static final long PRIVATE = 0x4000_0000_0000L;
    static final long VMEMMAP = 0x6000_0000_0000L;

    /// Where the guest has its memory.
    static final long GUEST_IPA = 0x8000_0000L;

    static final long XN = 1L << 54;
    static final long SHARED = 1L << 55;
    static final long BORROWED = 1L << 56;
    static final long READ_ONLY = 1 << 7;

    /// Attributes as the kernel writes them, less address and state.
    static final long HOST = 0x7ff;

    static final long HOST_DEVICE = HOST | XN;
    static final long HYP = 0x743 | XN;
    static final long HYP_TEXT = 0x743 | READ_ONLY;

    private static final TableGeometry STAGE2 = new TableGeometry(TranslationRegime.STAGE2, 12, 48, 0, false);
    private static final TableGeometry EL2 = new TableGeometry(TranslationRegime.EL2, 12, 48, 0, false);
    private static final long TABLE = 3;

    private final MemorySegment bytes = MemorySegment.ofArray(new byte[(int) CARVEOUT_SIZE]);
    private final Era era;
    private final HypPageLayout layout;
    private long next = CARVEOUT;

    final TranslationTable host;
    final TranslationTable hyp;
    final List<TranslationTable> guests = new ArrayList<>();

    // What is known of it; a test may take away or change any of it.
    final List<Integer> vmids = new ArrayList<>();
    List<String> guestsUnread = List.of();
    Fact<Era> releases;
    Fact<HypVmemmap> vmemmap;
    boolean framesKnown = true;
    Fact<List<MemoryRegion>> regions = Fact.known(
            List.of(new MemoryRegion(RAM, 16 << 20, 0), new MemoryRegion(NOMAP, 1 << 20, MemoryRegion.NOMAP)), "test");
    boolean ffa;
    boolean forcedWriteBack;
    long vttbr;
    boolean withHost = true;
    boolean withHyp = true;

    /// @param owned the annotation of the hypervisor's pages
    private SmallMachine(Era era, long owned) {
        this.era = era;
        this.layout = era.encodings().hypPage();
        this.releases = Fact.known(era, "test");
        this.vmemmap = Fact.known(new HypVmemmap(VMEMMAP, layout.entrySize()), "test");
        host = new TranslationTable(this, STAGE2, newPage());
        hyp = new TranslationTable(this, EL2, newPage());
        vttbr = host.root();
        // An array for all memory; its last page goes on behind that.
        long entries = (17L << 20) / PAGE * layout.entrySize();
        long array = VMEMMAP + (RAM / PAGE) * layout.entrySize();
        for (long at = 0; at < entries; at += PAGE) {
            put(hyp, array + at, 3, newPage() | HYP);
        }
        for (long page = CARVEOUT; page < CARVEOUT + CARVEOUT_SIZE; page += PAGE) {
            ofHyp(page, LINEAR + page, HYP, owned);
        }
        for (long page = TEXT; page < TEXT + 2 * PAGE; page += PAGE) {
            ofHyp(page, LINEAR + page, HYP_TEXT, era == Era.V7_0 ? (page | HOST | XN) & ~READ_ONLY : owned);
            put(hyp, page, 3, page | HYP_TEXT);
        }
        ofHyp(STACK, PRIVATE + PAGE, HYP, owned);
        host(DEVICE, DEVICE | HOST_DEVICE);
        host(HOSTS, HOSTS | HOST);
        put(host, HOST_BLOCK, 2, HOST_BLOCK | (HOST & ~2));
        shares(LENT, PageState.SHARED_OWNED, PageState.SHARED_BORROWED);
        shares(GIVEN, PageState.SHARED_BORROWED, PageState.SHARED_OWNED);
        if (era != Era.V6_1) {
            guest(1, GUEST_IPA, GUEST_BORROWS | HOST | BORROWED);
            states(GUEST_BORROWS, PageState.SHARED_OWNED, PageState.NOPAGE);
            frame(GUEST_BORROWS, frame(GUEST_BORROWS) | 1L << 32);
        }
        if (era == Era.V7_0) {
            put(guests.getFirst(), GUEST_IPA + PAGE, 3, GUEST_OWNS | HOST);
            host(GUEST_OWNS, donation(0x1000, (GUEST_IPA + PAGE) / PAGE));
            states(GUEST_OWNS, PageState.NOPAGE, PageState.NOPAGE);
        }
        count();
    }

    static SmallMachine of(Era era) {
        return new SmallMachine(era, hyps(era));
    }

    /// How a kernel annotates a page of the hypervisor.
    static long hyps(Era era) {
        return era == Era.V7_0 ? 0x2000_0000_0000_0002L : 1 << 2;
    }

    /// How 7.0 annotates a page of a guest.
    static long donation(int handle, long frame) {
        return 0x2000_0000_0000_0004L | (long) handle << 4 | frame << 20;
    }

    private void ofHyp(long page, long virtual, long attributes, long hostEntry) {
        put(hyp, virtual, 3, page | attributes);
        host(page, hostEntry);
        states(page, PageState.NOPAGE, PageState.OWNED);
    }

    private void shares(long page, PageState ofHost, PageState ofHyp) {
        boolean hostHere = era.encodings().hostStates() == Encodings.StateLocation.DESCRIPTOR;
        boolean hypHere = era.encodings().hypStates() == Encodings.StateLocation.DESCRIPTOR;
        host(page, page | HOST | (hostHere ? (long) ofHost.ordinal() << 55 : 0));
        put(hyp, LINEAR + page, 3, page | HYP | (hypHere ? (long) ofHyp.ordinal() << 55 : 0));
        states(page, ofHost, ofHyp);
    }

    private long newPage() {
        next += PAGE;
        return next - PAGE;
    }

    /// The first guest's table.
    TranslationTable guest() {
        return guests.getFirst();
    }

    /// Adds a guest with one page.
    SmallMachine guest(int vmid, long input, long descriptor) {
        TranslationTable table = new TranslationTable(this, STAGE2, newPage());
        guests.add(table);
        vmids.add(vmid);
        put(table, input, 3, descriptor);
        return this;
    }

    /// Gives all table pages the number of their references.
    SmallMachine count() {
        List<TranslationTable> all = new ArrayList<>(List.of(host, hyp));
        all.addAll(guests);
        for (TranslationTable table : all) {
            TableAudit audit = TableAudit.of(table);
            for (int page = 0; page < audit.pages(); page++) {
                long address = audit.address(page);
                frame(address, (frame(address) & ~0xffffL) | (audit.used(page) + 1));
            }
        }
        return this;
    }

    // Changes.

    /// Physical address of the entry of `level` for an input address; makes the tables above it.
    long entry(TranslationTable table, long input, int level) {
        TableGeometry geometry = table.geometry();
        long page = table.root();
        for (int at = 0; at < level; at++) {
            long entry = page + geometry.index(input, at) * 8L;
            if (load64(entry) == 0) {
                set(entry, newPage() | TABLE);
            }
            page = geometry.tableAddress(load64(entry));
        }
        return page + geometry.index(input, level) * 8L;
    }

    SmallMachine put(TranslationTable table, long input, int level, long descriptor) {
        set(entry(table, input, level), descriptor);
        return this;
    }

    long get(TranslationTable table, long input, int level) {
        return load64(entry(table, input, level));
    }

    /// Sets and clears bits of an entry at level 3.
    SmallMachine change(TranslationTable table, long input, long clear, long set) {
        return put(table, input, 3, (get(table, input, 3) & ~clear) | set);
    }

    SmallMachine host(long address, long descriptor) {
        return put(host, address, 3, descriptor);
    }

    private void set(long address, long value) {
        bytes.set(LE64, address - CARVEOUT, value);
    }

    private long frameAddress(long page) {
        long virtual = VMEMMAP + page / PAGE * layout.entrySize();
        return EL2.tableAddress(get(hyp, virtual, 3)) + virtual % PAGE;
    }

    long frame(long page) {
        long place = frameAddress(page) - CARVEOUT;
        return layout.entrySize() == 8
                ? bytes.get(LE64, place)
                : Integer.toUnsignedLong(bytes.get(ValueLayout.JAVA_INT_UNALIGNED, place));
    }

    SmallMachine frame(long page, long value) {
        long place = frameAddress(page) - CARVEOUT;
        if (layout.entrySize() == 8) {
            bytes.set(LE64, place, value);
        } else {
            bytes.set(ValueLayout.JAVA_INT_UNALIGNED, place, (int) value);
        }
        return this;
    }

    /// Writes states into the hyp_vmemmap, as far as this kernel has them there.
    SmallMachine states(long page, PageState ofHost, PageState ofHyp) {
        if (layout == HypPageLayout.COUNTS) {
            return this;
        }
        int noPage = layout == HypPageLayout.HOST_STATE ? 4 : 3;
        long host = ofHost == PageState.NOPAGE ? noPage : ofHost.ordinal();
        long hyp = layout == HypPageLayout.HOST_STATE ? 0 : (ofHyp == PageState.NOPAGE ? 3 : ofHyp.ordinal()) ^ 3;
        return frame(page, (frame(page) & ~0xff00_0000L) | host << 24 | hyp << 28);
    }

    // Answers.

    Rules.Report check() {
        Table ofHost = new Table("host", TableAudit.of(host), OptionalLong.of(vttbr), Optional.of(forcedWriteBack));
        Table ofHyp = new Table("hyp", TableAudit.of(hyp), OptionalLong.of(hyp.root()), Optional.empty());
        List<GuestTable> ofGuests = new ArrayList<>();
        for (TranslationTable guest : guests) {
            int index = ofGuests.size();
            Table table = new Table("guest:" + index, TableAudit.of(guest), OptionalLong.empty(), Optional.of(false));
            ofGuests.add(new GuestTable(vmids.get(index), table));
        }
        Fact<PageFrames> frames = framesKnown
                ? vmemmap.map(where -> new PageFrames(hyp, LeafRuns.of(hyp).runs(), where, layout))
                : Fact.unknown("nobody asked");
        return Rules.check(new MachineView(
                withHost ? Fact.known(ofHost, "test") : Fact.unknown("nobody asked"),
                withHyp ? Fact.known(ofHyp, "test") : Fact.unknown("nobody asked"),
                ofGuests,
                guestsUnread,
                releases,
                vmemmap,
                frames,
                regions,
                ffa));
    }

    @Override
    public MemorySegment bytes() {
        return bytes;
    }

    @Override
    public long offset(long address, long size) {
        return address >= CARVEOUT && address + size <= CARVEOUT + CARVEOUT_SIZE ? address - CARVEOUT : ABSENT;
    }
}
