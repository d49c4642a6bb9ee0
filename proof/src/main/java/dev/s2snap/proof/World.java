package dev.s2snap.proof;

import dev.s2snap.pkvm.MemoryRegion;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeMap;

/// The abstract state of a machine: of each page of memory, what it is to the host and to the hypervisor, for what the
/// hypervisor has it, and how often it is pinned; and the VMs. No tables, no descriptors, no addresses of EL2.
///
/// It is a finite map from page to state, kept as arrays, because a step changes single pages. Where the specification
/// is loose the state has nothing: which pages of its own the host has touched, and in what blocks, is not part of it,
/// and neither is what is mapped outside of memory, which belongs to nobody.
///
/// Pages are numbered from the first page of memory; gaps between regions have numbers too.
final class World {
    // Page states, as the specification numbers them.
    static final byte OWNED = 0;
    static final byte SHARED = 1;
    static final byte BORROWED = 2;
    static final byte NOPAGE = 3;

    private static final List<String> STATES = List.of("owned", "shared by its owner", "shared, borrowed", "no access");

    // What the hypervisor has a page for, or with whom the host shares it.
    static final byte PLAIN = 0;
    /// The hypervisor's since it came up.
    static final byte SYSTEM = 1;
    /// Donated by EL2's own code.
    static final byte LENT = 2;
    /// Shared with the secure world.
    static final byte FFA = 3;
    /// A part of a VM.
    static final byte VM = 4;

    /// A VM that lives.
    ///
    /// @param kvm page of the host's struct kvm
    /// @param area first page and number of pages of the VM area
    /// @param root the same of its stage 2
    /// @param vcpus first pages of the areas, and the first and the last page of the host's structs
    record Vm(int slot, long kvm, Range area, Range root, long created, List<Vcpu> vcpus) {}

    record Vcpu(Range area, Range host) {}

    /// @param first page number
    record Range(int first, int pages) {}

    /// 16 GiB of 4K pages.
    private static final int MOST_PAGES = 1 << 22;

    final int shift;
    final long base;
    final int pages;

    /// Whether a page is memory that the host may share and donate, memory that it may not (NOMAP), or none.
    final byte[] memory;

    static final byte NO_MEMORY = 0;
    static final byte ALLOWED = 1;
    static final byte NOMAP = 2;

    /// Number of the region that a page is in.
    final byte[] region;

    final byte[] host;
    final byte[] hyp;
    final byte[] role;
    final char[] pins;

    /// Those of the pins that EL2's own code asked for, and may take back.
    final char[] loosePins;

    /// By slot.
    final TreeMap<Integer, Vm> vms = new TreeMap<>();

    /// Pages that were taken out of a pool, so that there may be too little.
    boolean hostPoolHeld;

    boolean hypPoolHeld;

    /// Bytes of all regions.
    final long bytes;

    /// Pages of which only the first bytes are memory.
    private final List<Integer> edges = new ArrayList<>();

    /// What the vgic's control register of each CPU holds.
    final int[] vmcr;

    World(List<MemoryRegion> regions, int shift, int cpus) {
        this.shift = shift;
        vmcr = new int[cpus];
        long page = 1L << shift;
        base = regions.getFirst().base() & -page;
        long span = (regions.getLast().end() + page - 1 - base) >>> shift;
        if (span > MOST_PAGES) {
            throw new IllegalArgumentException(
                    "the oracle keeps books of at most " + MOST_PAGES + " pages, from the first region to the last");
        }
        pages = (int) span;
        memory = new byte[pages];
        region = new byte[pages];
        host = new byte[pages];
        hyp = new byte[pages];
        role = new byte[pages];
        pins = new char[pages];
        loosePins = new char[pages];
        Arrays.fill(hyp, NOPAGE);
        Arrays.fill(host, NOPAGE);
        byte number = 0;
        long sum = 0;
        for (MemoryRegion each : regions) {
            if ((each.base() & page - 1) != 0) {
                throw new IllegalArgumentException("the oracle knows regions that begin with a page only, not "
                        + Long.toHexString(each.base()) + " to " + Long.toHexString(each.end()));
            }
            sum += each.size();
            int first = number(each.base());
            int end = (int) ((each.end() + page - 1 - base) >>> shift);
            if ((each.end() & page - 1) != 0) {
                edges.add(end - 1);
            }
            Arrays.fill(memory, first, end, each.nomap() ? NOMAP : ALLOWED);
            Arrays.fill(region, first, end, number++);
            if (!each.nomap()) {
                Arrays.fill(host, first, end, OWNED);
            }
        }
        bytes = sum;
    }

    /// Whether only the first bytes of the page are memory.
    boolean edge(int page) {
        return !edges.isEmpty() && edges.contains(page);
    }

    /// Pages of which only the first bytes are memory.
    List<Integer> edges() {
        return edges;
    }

    /// Whether such a page is not the host's alone. The base forgets who has it when it recycles the tables of devices,
    /// because what is behind it is none of memory; no world has what comes then.
    boolean edgeGiven() {
        for (int page : edges) {
            if (memory[page] == ALLOWED && (host[page] != OWNED || hyp[page] != NOPAGE)) {
                return true;
            }
        }
        return false;
    }

    boolean poolsHeld() {
        return hostPoolHeld || hypPoolHeld;
    }

    /// Number of the page at a physical address, or -1 outside.
    int number(long address) {
        long number = (address - base) >>> shift;
        return address < base || number >= pages ? -1 : (int) number;
    }

    long address(int page) {
        return base + ((long) page << shift);
    }

    /// Whether the host may give the page away: allowed memory, its own, and nobody else's.
    boolean free(int page) {
        return page >= 0 && memory[page] == ALLOWED && host[page] == OWNED && hyp[page] == NOPAGE;
    }

    /// Whether the host may access the page.
    boolean accessible(int page) {
        return page < 0 || memory[page] != ALLOWED || host[page] != NOPAGE;
    }

    void apply(Expectation expected) {
        for (int i = 0; i < expected.changes(); i++) {
            int first = expected.first(i);
            int end = first + expected.count(i);
            Arrays.fill(host, first, end, expected.host(i));
            Arrays.fill(hyp, first, end, expected.hyp(i));
            Arrays.fill(role, first, end, expected.role(i));
        }
        for (int i = 0; i < expected.pinned(); i++) {
            for (int page = expected.pinFirst(i); page < expected.pinFirst(i) + expected.pinCount(i); page++) {
                pins[page] += (char) expected.pinDelta(i);
                loosePins[page] += (char) (expected.pinsAreLoose() ? expected.pinDelta(i) : 0);
            }
        }
        expected.tellVms();
    }

    static String words(byte state) {
        return STATES.get(state);
    }

    /// How many pages have exactly one owner, which is all that the host may give away or has given away.
    long owned() {
        long owned = 0;
        for (int page = 0; page < pages; page++) {
            boolean byHost = host[page] == OWNED || host[page] == SHARED;
            boolean byHyp = hyp[page] == OWNED || hyp[page] == SHARED;
            owned += memory[page] == ALLOWED && byHost != byHyp ? 1 : 0;
        }
        return owned;
    }
}
