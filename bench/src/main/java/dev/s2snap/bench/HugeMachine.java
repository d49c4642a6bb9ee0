package dev.s2snap.bench;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.HypVmemmap;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.MachineTables;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Map;

/// 256 GiB of memory that the host maps with 4K pages, as a 7.x kernel would write it down: 512 MiB of host tables and
/// 512 MiB of hyp_vmemmap, every page of them a page of its own that was written.
///
/// Tables, vmemmap and the hypervisor's own tables lie in a carve-out at the end of the memory. Beside that the host
/// shares [#SHARED] pages with the hypervisor, spread over all of it. No rule is broken.
final class HugeMachine implements Machine, PhysicalMemory, AutoCloseable {
    static final long PAGE = 4096;
    static final long BASE = 4L << 30;
    static final long SIZE = 256L << 30;

    /// Pages that the host shares with the hypervisor.
    static final int SHARED = 1000;

    private static final long CARVE_OUT = (1L << 30) + (16L << 20);
    private static final long CARVE_OUT_BASE = BASE + SIZE - CARVE_OUT;

    // As 7.3 under nVHE writes them, less the addresses.
    private static final long TABLE = 3;
    private static final long HOST_PAGE = 0x7ff;
    private static final long OF_HYP = 0x2000_0000_0000_0002L;
    private static final long HYP_PAGE = 0x60_0000_0000_0703L;
    private static final long LINEAR = 0x8000_0000_0000L;
    private static final HypVmemmap VMEMMAP = new HypVmemmap(0x6000_0000_0000L, 8);

    /// `struct hyp_page` of a page that is the hypervisor's, and of one that the host shares with it.
    private static final long FRAME_OF_HYP = 0x3300_0000L;

    private static final long FRAME_SHARED = 0x1100_0000L;

    private final Arena arena = Arena.ofConfined();
    private final MemorySegment bytes = arena.allocate(CARVE_OUT, PAGE);
    private long used;
    private final long frames;
    private final Fact<TranslationTable> host;
    private final Fact<TranslationTable> hyp;
    private final Registers registers;

    HugeMachine() {
        long hostRoot = page();
        long hypRoot = page();
        registers = new Registers(Map.of(
                "VTTBR_EL2", hostRoot,
                "VTCR_EL2", 0x800d_3590L,
                "HCR_EL2", 0x4_8008_0001L,
                "TTBR0_EL2", hypRoot,
                "TCR_EL2", 0x35_b590_3510L,
                "MAIR_EL2", 0x4_0044_ffffL,
                "SCTLR_EL2", 0x68_180dL,
                "ID_AA64MMFR1_EL1", 0x1021_2122L));
        host = MachineTables.host(this, registers);
        hyp = MachineTables.hyp(this, registers);
        frames = allocate(SIZE / PAGE * VMEMMAP.entrySize());
        for (long at = BASE; at < BASE + SIZE; at += PAGE) {
            put(hostRoot, at, at < CARVE_OUT_BASE ? at | HOST_PAGE : OF_HYP);
        }
        for (long at = CARVE_OUT_BASE; at < BASE + SIZE; at += PAGE) {
            put(hypRoot, LINEAR + at, at | HYP_PAGE);
            frame(at, FRAME_OF_HYP);
        }
        for (long at = 0; at < SIZE / PAGE * VMEMMAP.entrySize(); at += PAGE) {
            put(hypRoot, VMEMMAP.entry(BASE / PAGE) + at, frames + at | HYP_PAGE);
        }
        for (int i = 0; i < SHARED; i++) {
            share(BASE + i * ((SIZE - CARVE_OUT) / SHARED & -PAGE));
        }
        count(hostRoot, 0);
        count(hypRoot, 0);
    }

    private void share(long address) {
        put(registers.get("TTBR0_EL2").orElseThrow(), LINEAR + address, address | HYP_PAGE);
        frame(address, FRAME_SHARED | 1);
    }

    /// Bytes of tables and vmemmap, from the start of [#bytes()].
    long used() {
        return used;
    }

    /// Leaves a page to the host, and tells nobody: the host's table maps what the hyp_vmemmap says is EL2's.
    void damage(int page) {
        frame(BASE + page * PAGE, FRAME_OF_HYP);
    }

    /// Lends a page to the hypervisor, both tables and the hyp_vmemmap agreeing.
    void share(int page) {
        share(BASE + page * PAGE);
    }

    private long page() {
        return allocate(PAGE);
    }

    private long allocate(long size) {
        long address = CARVE_OUT_BASE + used;
        used += size;
        if (used > CARVE_OUT) {
            throw new IllegalStateException("the carve-out is too small");
        }
        return address;
    }

    private void frame(long address, long entry) {
        set(frames + (address - BASE) / PAGE * VMEMMAP.entrySize(), entry);
    }

    private void put(long root, long address, long descriptor) {
        long table = root;
        for (int level = 0; level < 3; level++) {
            long entry = table + index(address, level) * 8;
            if (load64(entry) == 0) {
                set(entry, page() | TABLE);
            }
            table = load64(entry) & -PAGE & (1L << 48) - 1;
        }
        set(table + index(address, 3) * 8, descriptor);
    }

    private static long index(long address, int level) {
        return address >>> 12 + 9 * (3 - level) & 511;
    }

    /// A table page has a reference for each of its entries and one for itself.
    private void count(long table, int level) {
        int references = 1;
        for (int index = 0; index < 512; index++) {
            long descriptor = load64(table + index * 8L);
            references += descriptor == 0 ? 0 : 1;
            if (level < 3 && descriptor != 0) {
                count(descriptor & -PAGE & (1L << 48) - 1, level + 1);
            }
        }
        frame(table, FRAME_OF_HYP | references);
    }

    private void set(long address, long value) {
        bytes.set(LE64, address - CARVE_OUT_BASE, value);
    }

    @Override
    public MemorySegment bytes() {
        return bytes;
    }

    @Override
    public long offset(long address, long size) {
        long offset = address - CARVE_OUT_BASE;
        return offset < 0 || offset > used - size ? ABSENT : offset;
    }

    @Override
    public PhysicalMemory memory() {
        return this;
    }

    @Override
    public Registers registers() {
        return registers;
    }

    @Override
    public List<Registers> guestRegisters() {
        return List.of();
    }

    @Override
    public Fact<List<MemoryRegion>> regions() {
        return Fact.known(List.of(new MemoryRegion(BASE, SIZE, 0)), "made");
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
        return List.of();
    }

    @Override
    public Fact<HypVmemmap> vmemmap() {
        return Fact.known(VMEMMAP, "made");
    }

    @Override
    public Fact<Era> era() {
        return Fact.known(Era.V7_0, "made");
    }

    @Override
    public void close() {
        arena.close();
    }
}
