package dev.s2snap.model;

import dev.s2snap.pkvm.MemoryRegion;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

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
        ModelConfig config = machine(128L << 20, 40, 12, 1);
        config.carveout = 0x4600_0000L;
        return config;
    }

    /// A machine of any size, laid out as the small one: memory from 1 GiB on, the hypervisor's sections at its
    /// beginning, the carve-out at its end.
    ///
    /// @param ram bytes of memory
    /// @param paRange physical address bits, one of 32, 36, 40, 42, 44, 48, 52
    /// @param pageShift 12, 14 or 16
    /// @param regions number of regions, with gaps between them
    /// @throws IllegalArgumentException if such a machine cannot be
    public static ModelConfig machine(long ram, int paRange, int pageShift, int regions) {
        long page = 1L << pageShift;
        if (regions < 1 || regions > MAX_REGIONS) {
            throw new IllegalArgumentException("a machine has 1 to " + MAX_REGIONS + " regions, not " + regions);
        }
        long start = 1L << 30;
        if (ram < MIN_RAM || ram > MAX_RAM || ram % page != 0) {
            throw new IllegalArgumentException("a model has 64M to 1T of memory in whole pages");
        }
        if (paRange < 63 && start + ram + regions * GAP > 1L << paRange) {
            throw new IllegalArgumentException(
                    (ram >>> 20) + "M of memory from 1G on do not fit into " + paRange + " bits of address");
        }
        ModelConfig config = new ModelConfig();
        config.pageShift = pageShift;
        config.paRange = paRange;
        config.lpa2 = paRange == 52 && pageShift != 16;
        config.pa52 = paRange == 52 && pageShift == 16;
        config.cpus = 2;
        // What the last region must hold, whatever its share is: the carve-out, for as many regions as there are.
        long worst = CarveoutSizes.of(List.of(new MemoryRegion(start, ram, 0)), pageShift)
                        .total()
                + 8L * regions;
        long last = Math.max(ram / regions, (worst << pageShift) + BLOCK) & -page;
        long each = regions == 1 ? 0 : (ram - last) / (regions - 1) & -page;
        if (regions > 1 && each < SECTION_PAGES * page) {
            throw new IllegalArgumentException(regions + " regions are too many for " + (ram >>> 20) + "M of memory");
        }
        long base = start;
        for (int i = 0; i < regions - 1; i++) {
            config.addRegion(base, each, 0);
            base += each + GAP;
        }
        config.addRegion(base, ram - each * (regions - 1), 0);
        config.placeCarveout();
        config.sections(start);
        long span = config.regions.getLast().end() - start;
        int usual = pageShift == 12 ? 39 : pageShift == 14 ? 36 : 42;
        config.vaBits = span <= 1L << (usual - 1) ? usual : 48;
        return config;
    }

    /// Puts the hypervisor's memory at the end of the last region.
    private void placeCarveout() {
        MemoryRegion last = regions.getLast();
        long size = carveoutDemand();
        carveout = last.end() - size & -BLOCK;
        if (carveout < last.base()) {
            carveout = last.end() - size & -pageSize();
        }
    }

    /// The smallest and the largest machine.
    private static final long MIN_RAM = 64L << 20;

    private static final long MAX_RAM = 1L << 40;

    /// Bytes between two regions, and the alignment of the carve-out.
    private static final long GAP = 2L << 20;

    private static final long BLOCK = 2L << 20;

    /// Pages from the start of memory to behind the hypervisor's sections.
    private static final int SECTION_PAGES = 64;

    /// Puts the hypervisor's sections where the small machine has them, counted in pages.
    private void sections(long start) {
        long page = pageSize();
        idmap = new Range(start + 0x10 * page, page);
        text = new Range(start + 0x10 * page, 8 * page);
        rodata = new Range(start + 0x18 * page, 2 * page);
        bss = new Range(start + 0x1a * page, 3 * page);
        percpu = new Range(start + 0x20 * page, 2 * page);
        stack = start + 0x28 * page;
        vgic = new Range(start + 0x30 * page + 0x100, 0x80);
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

    /// Gives a machine of [#machine] another number of CPUs than 2.
    ///
    /// @param value 1 to 4: for more there is no room between the hypervisor's sections
    /// @throws IllegalArgumentException if there is no such machine
    public ModelConfig cpus(int value) {
        if (value < 1 || value > 4) {
            throw new IllegalArgumentException("a machine has 1 to 4 CPUs, not " + value);
        }
        cpus = value;
        return this;
    }

    /// What a machine may have or not.
    public enum Feature {
        /// EL2's build option for development: second checks, and the snapshot call.
        DEBUG("debug"),
        /// TLB maintenance by ranges, FEAT_TLBIRANGE.
        TLB_RANGE("tlbrange"),
        /// Forced write-back, FEAT_S2FWB.
        FWB("fwb"),
        /// EL2 uses the EL2&0 regime (VHE).
        HVHE("hvhe"),
        /// VMIDs of 16 bits.
        VMID16("vmid16");

        private final String key;

        Feature(String key) {
            this.key = key;
        }

        /// The feature that a key of the vector language names.
        static Optional<Feature> of(String key) {
            return Stream.of(values())
                    .filter(feature -> feature.key.equals(key))
                    .findFirst();
        }
    }

    /// Gives the machine a feature, or takes it away.
    public ModelConfig with(Feature feature, boolean present) {
        switch (feature) {
            case DEBUG -> debug = present;
            case TLB_RANGE -> tlbRange = present;
            case FWB -> fwb = present;
            case VMID16 -> vmid16 = present;
            case HVHE -> hvhe = present;
        }
        return this;
    }

    public boolean has(Feature feature) {
        return switch (feature) {
            case DEBUG -> debug;
            case TLB_RANGE -> tlbRange;
            case FWB -> fwb;
            case VMID16 -> vmid16;
            case HVHE -> hvhe;
        };
    }

    /// Puts a region of memory that the host may not map (NOMAP) between two others. The hypervisor's memory is placed
    /// anew: it needs more for one more region.
    ///
    /// @throws IllegalArgumentException if it is not between two regions, or is one too many
    public ModelConfig nomap(long base, long size) {
        int index = 0;
        while (index < regions.size() && regions.get(index).base() < base) {
            index++;
        }
        if (index == 0 || index == regions.size()) {
            throw new IllegalArgumentException(
                    "NOMAP memory at 0x" + Long.toHexString(base) + " is not between two regions");
        }
        List<MemoryRegion> behind = new ArrayList<>(regions.subList(index, regions.size()));
        regions.subList(index, regions.size()).clear();
        addRegion(base, size, MemoryRegion.NOMAP);
        behind.forEach(region -> addRegion(region.base(), region.size(), region.flags()));
        placeCarveout();
        return this;
    }

    /// Takes bytes from the end of a region, so that it may end within a page.
    ///
    /// @throws IllegalArgumentException if nothing would be left of it
    public ModelConfig shorten(int region, long bytes) {
        MemoryRegion whole = regions.get(region);
        if (bytes < 0 || bytes >= whole.size()) {
            throw new IllegalArgumentException(
                    "a region of 0x" + Long.toHexString(whole.size()) + " bytes cannot lose " + bytes);
        }
        regions.set(region, new MemoryRegion(whole.base(), whole.size() - bytes, whole.flags()));
        return this;
    }

    /// First byte of the memory that the hypervisor gets.
    public long carveout() {
        return carveout;
    }

    /// Bytes that the hypervisor needs there.
    public long carveoutDemand() {
        return CarveoutSizes.of(regions, pageShift).total() << pageShift;
    }

    /// Makes it so many bytes large, whatever it needs.
    public ModelConfig carveoutBytes(long bytes) {
        carveoutSize = bytes;
        return this;
    }

    /// Bytes that it has.
    public long carveoutBytes() {
        return carveoutSize == -1 ? carveoutDemand() : carveoutSize;
    }

    public int cpus() {
        return cpus;
    }

    /// Makes the host's linear map begin with this physical address.
    public ModelConfig memstart(long address) {
        memstart = address;
        return this;
    }

    /// Bits of EL2's addresses.
    public int hypVaBits() {
        return hypVaBits;
    }

    /// This configuration as lines of the vector language, from `cfg` to `init`.
    public List<String> script() {
        List<String> lines = new ArrayList<>();
        line(lines, "page_shift", pageShift);
        line(lines, "parange", paRange);
        regions.forEach(region -> line(lines, "region", hex(region.base()), hex(region.size()), region.flags()));
        if (carveoutSize == -1) {
            line(lines, "carveout", hex(carveout));
        } else {
            line(lines, "carveout", hex(carveout), hex(carveoutSize));
        }
        line(lines, "va_bits", vaBits);
        line(lines, "hyp_va_bits", hypVaBits);
        line(lines, "tag", hex(tag));
        if (memstart != -1) {
            line(lines, "memstart", hex(memstart));
        }
        line(lines, "cpus", cpus);
        line(lines, "text", text);
        line(lines, "rodata", rodata);
        line(lines, "bss", bss);
        line(lines, "idmap", idmap);
        line(lines, "percpu", percpu);
        line(lines, "stack", hex(stack));
        line(lines, "vgic", vgic);
        for (Feature feature : Feature.values()) {
            line(lines, feature.key, has(feature));
        }
        line(lines, "lpa2", lpa2);
        line(lines, "pa52", pa52);
        line(lines, "variant", variant.id());
        lines.add("> init");
        return lines;
    }

    private static void line(List<String> lines, String key, Object... values) {
        StringBuilder line = new StringBuilder("> cfg ").append(key);
        for (Object value : values) {
            line.append(' ');
            switch (value) {
                case Range(long base, long size) ->
                    line.append(hex(base)).append(' ').append(hex(size));
                case Boolean flag -> line.append(flag ? 1 : 0);
                default -> line.append(value);
            }
        }
        lines.add(line.toString());
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
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
