package dev.s2snap.inspect;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.HypVmemmap;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.MachineTables;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationRegime;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/// A machine whose tables are made entry by entry: 4 KiB pages, 48 bits, four levels, table pages from 0x8000_0000 on.
final class MadeMachine implements Machine, PhysicalMemory {
    static final long PAGE = 4096;
    static final long BLOCK = 2 << 20;

    /// Attributes of host and EL2 entries as 6.12 with nVHE writes them, less the output address.
    static final long HOST_PAGE = 0x7ff;

    static final long HOST_BLOCK = 0x7fd;
    static final long HYP_PAGE = 0x40000000000743L;
    static final long HYP_DEVICE = HYP_PAGE | 4 << 2;
    static final long SHARED = 1L << 55;
    static final long BORROWED = 1L << 56;
    static final long HYP_OWNED = 4;

    private static final long BASE = 0x8000_0000L;
    private static final TableGeometry STAGE2 = new TableGeometry(TranslationRegime.STAGE2, 12, 48, 0, false);
    private static final TableGeometry EL2 = new TableGeometry(TranslationRegime.EL2, 12, 48, 0, false);

    private final MemorySegment bytes = MemorySegment.ofArray(new byte[1 << 20]);
    private final Map<String, Long> registers = new TreeMap<>(Map.of(
            "VTTBR_EL2", BASE,
            "VTCR_EL2", 0x8002_3590L,
            "HCR_EL2", 1L,
            "ID_AA64MMFR1_EL1", 0x1000_0000L,
            "MAIR_EL2", 0x4_0044_ffffL,
            "SCTLR_EL2", 1L << 19));
    private final List<Guest> guests = new ArrayList<>();
    private int used;
    private Fact<Era> era = Fact.unknown("it was not said");
    private Fact<HypVmemmap> vmemmap = Fact.unknown("it was not said");
    private Fact<List<MemoryRegion>> regions = Fact.unknown("it was not said");
    private Fact<Boolean> ffa = Fact.unknown("it was not said");
    private Fact<TranslationTable> host = Fact.known(table(STAGE2), "VTTBR_EL2, VTCR_EL2");
    private Fact<TranslationTable> hyp = Fact.known(table(EL2), "TTBR0_EL2, TCR_EL2");

    private TranslationTable table(TableGeometry geometry) {
        return new TranslationTable(this, geometry, newPage());
    }

    private long newPage() {
        return BASE + PAGE * used++;
    }

    MadeMachine era(Era known) {
        era = Fact.known(known, "test");
        return this;
    }

    MadeMachine regions(MemoryRegion... known) {
        regions = Fact.known(List.of(known), "test");
        return this;
    }

    /// Whether there is a secure world to share with.
    MadeMachine ffa(boolean known) {
        ffa = Fact.known(known, "test");
        return this;
    }

    /// Where the array of page frames is said to be.
    MadeMachine vmemmap(long base, int entrySize) {
        vmemmap = Fact.known(new HypVmemmap(base, entrySize), "test");
        return this;
    }

    /// Writes the entry of a page in the hyp_vmemmap that begins at EL2 address `base`; maps it if need be.
    MadeMachine frame(long base, int entrySize, long address, long entry) {
        long virtual = base + (address >>> 12) * entrySize;
        TranslationTable table = hyp.optional().orElseThrow();
        if (!(table.translate(virtual) instanceof Translation.Mapped)) {
            put(hyp, virtual & -PAGE, 3, newPage() | HYP_PAGE);
        }
        if (table.translate(virtual) instanceof Translation.Mapped mapped) {
            bytes.set(LE64, mapped.output() - BASE, entry);
        }
        return this;
    }

    /// Physical address of EL2's root page.
    long hypRoot() {
        return hyp.optional().orElseThrow().root();
    }

    MadeMachine withoutHost() {
        host = Fact.unknown("there is none");
        return this;
    }

    MadeMachine withoutHyp() {
        hyp = Fact.unknown("there is none");
        return this;
    }

    MadeMachine register(String register, long value) {
        registers.put(register, value);
        return this;
    }

    MadeMachine without(String register) {
        registers.remove(register);
        return this;
    }

    /// Identity pages of the host.
    MadeMachine host(long start, long end, long attributes) {
        for (long at = start; at < end; at += PAGE) {
            put(host, at, 3, at | attributes);
        }
        return this;
    }

    MadeMachine hostBlock(long start) {
        put(host, start, 2, start | HOST_BLOCK);
        return this;
    }

    /// Invalid pages of the host.
    MadeMachine annotate(long start, long end, long value) {
        for (long at = start; at < end; at += PAGE) {
            put(host, at, 3, value);
        }
        return this;
    }

    /// Pages of EL2 that map `start` at virtual address `virtual`.
    MadeMachine hyp(long virtual, long start, long end, long attributes) {
        for (long at = start; at < end; at += PAGE) {
            put(hyp, virtual + at - start, 3, at | attributes);
        }
        return this;
    }

    /// Pages of the upper range of the host's own stage 1.
    MadeMachine el1(long virtual, long start, long end, long attributes) {
        if (!registers.containsKey("TTBR1_EL1")) {
            registers.put("TTBR1_EL1", newPage() | 0x46L << 48);
            registers.put("TCR_EL1", 0x5_b550_3510L);
            registers.put("MAIR_EL1", 0x4_0044_ffffL);
            registers.put("SCTLR_EL1", 0L);
        }
        Fact<TranslationTable> table = MachineTables.el1(this, new Registers(registers), true);
        for (long at = start; at < end; at += PAGE) {
            put(table, virtual + at - start, 3, at | attributes);
        }
        return this;
    }

    MadeMachine hypEntry(long virtual, long descriptor) {
        return hypEntry(virtual, 3, descriptor);
    }

    MadeMachine hypEntry(long virtual, int level, long descriptor) {
        put(hyp, virtual, level, descriptor);
        return this;
    }

    /// A guest, with pages of which the first maps to `output`.
    MadeMachine guest(int vmid, long start, long end, long descriptor) {
        TranslationTable table = table(STAGE2);
        guests.add(new Guest(guests.size(), vmid, Fact.known(table, "VTTBR_EL2, VTCR_EL2")));
        for (long at = start; at < end; at += PAGE) {
            put(table, at, 3, descriptor + (at - start));
        }
        return this;
    }

    /// Gives a guest's root a pointer to a table that is not there.
    MadeMachine pointGuest(int index) {
        put(guests.get(index).table(), 1L << 39, 0, 0x7_0000_0003L);
        return this;
    }

    MadeMachine hostEntry(long address, int level, long descriptor) {
        put(host, address, level, descriptor);
        return this;
    }

    private void put(Fact<TranslationTable> table, long address, int level, long descriptor) {
        put(table.optional().orElseThrow(), address, level, descriptor);
    }

    private void put(TranslationTable table, long address, int level, long descriptor) {
        TableGeometry geometry = table.geometry();
        long page = table.root();
        for (int at = geometry.startLevel(); at < level; at++) {
            long entry = page + geometry.index(address, at) * 8L;
            if (load64(entry) == 0) {
                bytes.set(LE64, entry - BASE, newPage() | 3);
            }
            if (!Descriptor.table(load64(entry), at)) {
                throw new IllegalStateException("there is a block already");
            }
            page = geometry.tableAddress(load64(entry));
        }
        bytes.set(LE64, page + geometry.index(address, level) * 8L - BASE, descriptor);
    }

    @Override
    public MemorySegment bytes() {
        return bytes;
    }

    @Override
    public long offset(long address, long size) {
        return address >= BASE && address + size <= BASE + used * PAGE ? address - BASE : ABSENT;
    }

    @Override
    public PhysicalMemory memory() {
        return this;
    }

    @Override
    public Registers registers() {
        return new Registers(registers);
    }

    @Override
    public List<Registers> guestRegisters() {
        return guests.stream().map(_ -> registers()).toList();
    }

    @Override
    public Fact<List<MemoryRegion>> regions() {
        return regions;
    }

    @Override
    public Fact<TranslationTable> host() {
        return host;
    }

    @Override
    public Fact<TranslationTable> hyp() {
        return hyp;
    }

    @Override
    public List<Guest> guests() {
        return guests;
    }

    @Override
    public Fact<HypVmemmap> vmemmap() {
        return vmemmap;
    }

    @Override
    public Fact<Era> era() {
        return era;
    }

    @Override
    public Fact<Boolean> ffa() {
        return ffa;
    }
}
