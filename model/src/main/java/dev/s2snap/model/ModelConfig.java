package dev.s2snap.model;

import dev.s2snap.pkvm.MemoryRegion;
import java.util.ArrayList;
import java.util.List;

/// What a machine is made of. Mutable while it is put together; the model copies what it needs at [PkvmModel#init].
///
/// All addresses are physical, sizes in bytes; the defaults are those of the vector language.
public final class ModelConfig {
    /// Largest number of regions that the hypervisor takes (HYP_MEMBLOCK_REGIONS).
    public static final int MAX_REGIONS = 128;

    /// Physical range of a section of the hypervisor; size 0 means that there is none.
    public record Range(long base, long size) {}

    private static final Range NONE = new Range(0, 0);

    int pageShift;
    int paRange = 40;
    final List<MemoryRegion> regions = new ArrayList<>();
    long carveout;
    /// -1: exactly what is needed.
    long carveoutSize = -1;
    int vaBits = 39;
    int hypVaBits = 48;
    long tag;
    /// -1: first region's base rounded down to 1 GiB.
    long memstart = -1;
    int cpus;
    Range text = NONE;
    Range rodata = NONE;
    Range bss = NONE;
    Range idmap = NONE;
    Range percpu = NONE;
    long stack;
    Range vgic = NONE;
    boolean debug = true;
    boolean tlbRange = true;
    boolean fwb;
    boolean lpa2;
    boolean pa52;
    boolean hvhe;
    boolean vmid16 = true;
    SnapshotCall.Variant variant = SnapshotCall.Variant.CORRECTED;

    /// The small machine of the vectors: 4K pages, PARange 40, 128 MiB at 1 GiB, two CPUs.
    public static ModelConfig small() {
        ModelConfig config = new ModelConfig();
        config.pageShift = 12;
        config.addRegion(0x4000_0000L, 128L << 20, 0);
        config.carveout = 0x4600_0000L;
        config.idmap = new Range(0x4001_0000L, 0x1000);
        config.text = new Range(0x4001_0000L, 0x8000);
        config.rodata = new Range(0x4001_8000L, 0x2000);
        config.bss = new Range(0x4001_a000L, 0x3000);
        config.cpus = 2;
        config.percpu = new Range(0x4002_0000L, 0x2000);
        config.stack = 0x4002_8000L;
        config.vgic = new Range(0x4003_0100L, 0x80);
        return config;
    }

    /// Adds a region; regions are added in ascending order.
    ///
    /// @throws IllegalArgumentException if the region is empty, out of order, overlaps, or is one too many
    public void addRegion(long base, long size, int flags) {
        if (size <= 0 || base < 0 || base + size < base) {
            throw new IllegalArgumentException("region of size 0x" + Long.toHexString(size));
        }
        if (!regions.isEmpty() && base < regions.getLast().end()) {
            throw new IllegalArgumentException("regions must be ascending and must not overlap");
        }
        if (regions.size() == MAX_REGIONS) {
            throw new IllegalArgumentException("more than " + MAX_REGIONS + " regions");
        }
        regions.add(new MemoryRegion(base, size, flags));
    }

    public List<MemoryRegion> regions() {
        return List.copyOf(regions);
    }

    public int pageShift() {
        return pageShift;
    }

    public SnapshotCall.Variant variant() {
        return variant;
    }

    public ModelConfig variant(SnapshotCall.Variant value) {
        variant = value;
        return this;
    }

    long pageSize() {
        return 1L << pageShift;
    }

    /// First region's base rounded down to 1 GiB, unless given.
    long memstart() {
        return memstart != -1 ? memstart : regions.getFirst().base() & -(1L << 30);
    }

    /// Bits of the host's stage-2 input: PARange, capped at 48 unless 64K pages have LPA or others LPA2.
    int hostInputBits() {
        boolean large = pageShift == 16 ? pa52 : lpa2;
        return large ? paRange : Math.min(paRange, 48);
    }

    /// @return what is missing or contradictory, or an empty string
    String problem() {
        if (pageShift != 12 && pageShift != 14 && pageShift != 16) {
            return "cfg page_shift is missing (12, 14 or 16)";
        }
        if (regions.isEmpty()) {
            return "cfg region is missing";
        }
        if (carveout == 0) {
            return "cfg carveout is missing";
        }
        return "";
    }
}
