package dev.s2snap.model;

import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// EL2: all objects of the hypervisor, and how they come to be (`__pkvm_init` and `__pkvm_init_finalise` of 6.12.117).
///
/// As constructed it is the all-zero hypervisor that answers calls before initialisation.
final class Hypervisor {
    /// SH0 inner shareable, ORGN0 and IRGN0 write-back: what KVM programs in VTCR_EL2 (D24.2) and TCR_EL2.
    private static final long CACHEABLE = 3L << 12 | 1 << 10 | 1 << 8;

    private static final long VTCR_RES1 = 1L << 31;
    private static final long VTCR_HA = 1 << 21;
    private static final long VTCR_VS = 1 << 19;
    private static final long VTCR_DS = 1L << 32;

    final ModelConfig config;
    final AddressMap map;
    final MemoryMap regions;
    final El2Memory memory;
    final Vmemmap vmemmap;
    final HypLock hostLock;
    final HypLock hypLock;
    final Stage2 host;
    final HypStage1 hyp;
    final MemProtect memProtect;
    final GuestVms guests;

    private final CarveoutSizes sizes;
    private final int pageShift;
    private final long pageSize;
    private @Nullable HypPool hostPool;
    private @Nullable HypPool hypPool;
    private long ioBase;
    private long vtcr;
    private boolean finalised;
    private volatile boolean protectedMode;
    private @Nullable Recorder recorder;

    /// Where the slices lie, and how many pages the stage 1 used before its pool existed.
    record Layout(
            long vmemmap,
            long vmTable,
            long hypStage1,
            long hostStage2,
            long ffa,
            long earlyUsed,
            List<Long> stackTops) {
        Layout {
            stackTops = List.copyOf(stackTops);
        }
    }

    private @Nullable Layout layout;

    Hypervisor(ModelConfig config, Ram ram, Cpus cpus) {
        this.config = config;
        hostLock = new HypLock("host", HypLock.Rank.HOST, cpus);
        hypLock = new HypLock("hyp", HypLock.Rank.SPACE, cpus);
        pageShift = config.pageShift;
        pageSize = config.pageSize();
        sizes = CarveoutSizes.of(config.regions, pageShift);
        map = new AddressMap(config);
        regions = new MemoryMap(config.regions);
        memory = new El2Memory(ram, map, pageShift, cpus);
        vmemmap = new Vmemmap(memory, map, pageShift);
        host = new Stage2(
                new PageTable(memory, pageShift),
                new Stage2.Traits(
                        Stage2.FLAG_NOFWB | Stage2.FLAG_IDMAP,
                        config.fwb,
                        config.tlbRange,
                        (start, end, prot) -> MemProtect.forcePages(regions, start, end, prot),
                        null));
        host.table().cpus = cpus;
        hyp = new HypStage1(new PageTable(memory, pageShift), memory, config.hvhe);
        memProtect = new MemProtect(this);
        guests = new GuestVms(this);
        ioBase = map.ioBase();
    }

    void recorder(@Nullable Recorder value) {
        recorder = value;
        host.table().recorder = value;
        hyp.table().recorder = value;
        guests.recorder(value);
    }

    @Nullable
    Recorder recorder() {
        return recorder;
    }

    HypPool hostPool() {
        return live(hostPool);
    }

    HypPool hypPool() {
        return live(hypPool);
    }

    Layout layout() {
        return live(layout);
    }

    /// VTCR_EL2 of the host.
    long vtcr() {
        return vtcr;
    }

    /// Whether initialisation has got so far that there is a stage 1.
    boolean started() {
        return hyp.table().root() != 0;
    }

    /// Whether initialisation has succeeded.
    boolean finalised() {
        return finalised;
    }

    /// The static key `kvm_protected_mode_initialized`.
    boolean protectedMode() {
        return protectedMode;
    }

    /// Sets the static key. It is the host that does this, between initialisation and the first CPU's prot_finalize.
    void protect() {
        protectedMode = true;
    }

    /// Physical address of the VM table, 0 before there is one: it is the last thing that initialisation makes.
    long vmTable() {
        Layout slices = layout;
        return finalised && slices != null ? slices.vmTable() : 0;
    }

    /// Table pages from `pool`.
    PageTable.Pages pagesOf(HypPool pool) {
        return new PoolPages(pool);
    }

    private static <T> T live(@Nullable T part) {
        if (part == null) {
            throw new IllegalStateException("the hypervisor is not initialised");
        }
        return part;
    }

    CarveoutSizes sizes() {
        return sizes;
    }

    /// Pages that the worst host table can have, which is what a snapshot must bring along.
    long hostTablePages() {
        return sizes.hostStage2();
    }

    private long roundUp(long value) {
        return value + pageSize - 1 & -pageSize;
    }

    // Initialisation.

    /// The init hypercall, with the carve-out of the configuration.
    ///
    /// @return 0 or an errno
    int init() {
        return init(config.carveout, config.carveoutBytes());
    }

    /// The init hypercall.
    ///
    /// @param base physical address of the carve-out
    /// @return 0 or an errno: -EINVAL if the carve-out is not whole pages, -ENOMEM if it is too small
    int init(long base, long size) {
        if ((base & pageSize - 1) != 0 || (size & pageSize - 1) != 0) {
            return Errno.EINVAL;
        }
        EarlyAllocator carveout = new EarlyAllocator(pageShift, base, size);
        long vmemmapSlice = carveout.allocate(sizes.vmemmap());
        long vmTable = carveout.allocate(sizes.vmTable());
        long hypSlice = carveout.allocate(sizes.hypStage1());
        long hostSlice = carveout.allocate(sizes.hostStage2());
        long ffa = carveout.allocate(sizes.ffa());
        if (vmemmapSlice == 0 || vmTable == 0 || hypSlice == 0 || hostSlice == 0 || ffa == 0) {
            return Errno.ENOMEM;
        }
        EarlyAllocator early = new EarlyAllocator(pageShift, hypSlice, sizes.hypStage1() << pageShift);
        List<Long> stackTops = new ArrayList<>();
        int error = buildStage1(early, vmemmapSlice, new ModelConfig.Range(base, size), stackTops);
        if (error != 0) {
            return error;
        }
        memory.enable(hyp.table().geometry(), hyp.table().root());
        layout = new Layout(vmemmapSlice, vmTable, hypSlice, hostSlice, ffa, early.pagesUsed(), stackTops);
        return finalise(hypSlice, hostSlice, early.pagesUsed(), stackTops);
    }

    private int buildStage1(EarlyAllocator early, long vmemmapSlice, ModelConfig.Range carveout, List<Long> stackTops) {
        PageTable.Pages pages = new PageTable.Pages() {
            @Override
            public long allocate() {
                return early.allocate(1);
            }

            @Override
            public void get(long page) {}

            @Override
            public void put(long page) {}

            @Override
            public int count(long page) {
                return 0;
            }
        };
        int levels = (config.hypVaBits - 4) / (pageShift - 3);
        TableGeometry geometry = new TableGeometry(
                config.hvhe ? TranslationRegime.EL2_0 : TranslationRegime.EL2,
                pageShift,
                config.hypVaBits,
                TableGeometry.LAST_LEVEL + 1 - levels,
                config.lpa2,
                config.hostInputBits());
        long root = early.allocate(1);
        if (root == 0) {
            return Errno.ENOMEM;
        }
        hyp.table().init(geometry, root, pages);
        Mapping mapping = new Mapping();
        // Also without an identity map there is the call, with its barriers.
        mapping.whole(config.idmap.base(), config.idmap.size(), config.idmap.base(), HypStage1.RX);
        mapping.vmemmap(vmemmapSlice);
        mapping.linear(config.text, HypStage1.RX);
        mapping.linear(config.rodata, HypStage1.RO);
        mapping.linear(config.bss, HypStage1.RW);
        mapping.linear(carveout, HypStage1.RW);
        for (int cpu = 0; cpu < config.cpus; cpu++) {
            long area = config.percpu.base() + cpu * roundUp(config.percpu.size());
            mapping.linear(new ModelConfig.Range(area, config.percpu.size()), HypStage1.RW);
            // Two pages of addresses, the lower one without memory: an overflow aborts.
            long stack = allocatePrivate(2 * pageSize, 2 * pageSize);
            mapping.whole(stack + pageSize, pageSize, config.stack + cpu * pageSize, HypStage1.RW);
            stackTops.add(stack + 2 * pageSize);
        }
        mapping.linear(config.vgic, HypStage1.RO | 1L << 55);
        return mapping.error;
    }

    /// Maps one thing after another, until the first error.
    private final class Mapping {
        int error;

        void whole(long va, long size, long physical, long prot) {
            if (error == 0) {
                error = hyp.map(va, roundUp(size), physical, prot);
            }
        }

        /// The linear map is always built page by page.
        void linear(ModelConfig.Range range, long prot) {
            if (range.size() == 0) {
                return;
            }
            long end = roundUp(range.base() + range.size());
            for (long page = range.base() & -pageSize; page < end; page += pageSize) {
                whole(map.hypVa(page), pageSize, page, prot);
            }
        }

        /// The entries of each region, in whole pages. A page at the edge of two regions is mapped once.
        void vmemmap(long slice) {
            long back = slice;
            long mappedEnd = 0;
            for (int i = 0; i < regions.count(); i++) {
                long start = Math.max(vmemmap.entry(regions.base(i)) & -pageSize, mappedEnd);
                mappedEnd = roundUp(vmemmap.entry(regions.end(i)));
                if (start < mappedEnd) {
                    whole(start, mappedEnd - start, back, HypStage1.RW);
                    back += mappedEnd - start;
                }
            }
        }
    }

    private long allocatePrivate(long size, long alignment) {
        long start = ioBase + alignment - 1 & -alignment;
        ioBase = start + size;
        return start;
    }

    /// `__pkvm_create_private_mapping`: takes addresses of the private range for [physical, physical + size), rounded
    /// out to pages, and maps them. The specification has the range and its end, not the errors. Here: -ENOMEM where
    /// the range is empty or would reach the vmemmap, else that of the mapping, and then the addresses are gone all the
    /// same.
    ///
    /// @param prot R, W, X, DEVICE
    /// @return the EL2 address of `physical`, or an errno; -ERANGE before initialisation, as all walks
    long createPrivateMapping(long physical, long size, long prot) {
        if (!started()) {
            return Errno.ERANGE;
        }
        hypLock.lock();
        long mapped = mapPrivate(physical, size, prot);
        hypLock.unlock();
        return mapped;
    }

    private long mapPrivate(long physical, long size, long prot) {
        long offset = physical & pageSize - 1;
        long left = map.vmemmapBase() - ioBase;
        long bytes = roundUp(size + offset);
        if (size == 0 || Long.compareUnsigned(size, left) > 0 || bytes > left) {
            return Errno.ENOMEM;
        }
        long start = allocatePrivate(bytes, pageSize);
        int error = hyp.map(start, bytes, physical - offset, prot);
        return error != 0 ? error : start + offset;
    }

    private int finalise(long hypSlice, long hostSlice, long earlyUsed, List<Long> stackTops) {
        HypPool hpool = new HypPool(0, memory, map, vmemmap, pageShift, hypSlice, sizes.hypStage1(), earlyUsed);
        hypPool = hpool;
        HypPool pool = new HypPool(1, memory, map, vmemmap, pageShift, hostSlice, sizes.hostStage2(), 0);
        hostPool = pool;
        int error = initHostStage2(pool);
        if (error != 0) {
            return error;
        }
        hyp.table().init(hyp.table().geometry(), hyp.table().root(), new PoolPages(hpool));
        error = hyp.table()
                .walk(
                        0,
                        hyp.table().geometry().inputSize(),
                        PageTable.LEAF | PageTable.POST,
                        (_, entry, old, _, _, _) -> {
                            if (Descriptor.valid(old)) {
                                hyp.table().getTable(entry);
                            }
                            return 0;
                        });
        for (int cpu = 0; error == 0 && cpu < config.cpus; cpu++) {
            long slot = allocatePrivate(pageSize, pageSize);
            error = hyp.map(slot, pageSize, config.bss.base(), HypStage1.RW);
            if (error == 0) {
                hyp.invalidatePage(slot);
            }
        }
        if (error == 0) {
            error = fixHostOwnership(stackTops);
        }
        finalised = error == 0;
        return error;
    }

    private int initHostStage2(HypPool pool) {
        int ia = config.hostInputBits();
        int levels = Math.max(2, (ia - 4 - 4) / (pageShift - 3));
        int startLevel = TableGeometry.LAST_LEVEL + 1 - levels;
        TableGeometry geometry = new TableGeometry(
                TranslationRegime.STAGE2, pageShift, ia, startLevel, config.lpa2 && pageShift != 16, ia);
        vtcr = vtcr(geometry);
        int order = HypPool.order((long) geometry.rootPages() << pageShift, pageShift);
        long root = pool.allocate(order);
        if (root == 0) {
            return Errno.ENOMEM;
        }
        pool.split(root);
        host.table().init(geometry, root, new PoolPages(pool));
        host.table().dsb("ishst");
        return 0;
    }

    private long vtcr(TableGeometry geometry) {
        int tg0 = pageShift == 12 ? 0 : pageShift == 14 ? 2 : 1;
        int sl0 = (pageShift == 12 ? 2 : 3) - geometry.startLevel();
        return VTCR_RES1
                | (geometry.lpa2() ? VTCR_DS : 0)
                | VTCR_HA
                | (config.vmid16 ? VTCR_VS : 0)
                | (long) paRangeCode(geometry.inputBits()) << 16
                | (long) tg0 << 14
                | CACHEABLE
                | (long) sl0 << 6
                | 64 - geometry.inputBits();
    }

    /// ID_AA64MMFR0_EL1.PARange, and the PS fields (D24.2).
    static int paRangeCode(int bits) {
        return switch (bits) {
            case 32 -> 0;
            case 36 -> 1;
            case 40 -> 2;
            case 42 -> 3;
            case 44 -> 4;
            case 48 -> 5;
            default -> 6;
        };
    }

    /// TCR_EL2 as this hypervisor's own table needs it.
    long tcr() {
        TableGeometry geometry = hyp.table().geometry();
        int tg0 = pageShift == 12 ? 0 : pageShift == 14 ? 2 : 1;
        long physicalSize = paRangeCode(config.hostInputBits());
        return 64 - geometry.inputBits()
                | CACHEABLE
                | (long) tg0 << 14
                | physicalSize << (config.hvhe ? 32 : 16)
                | (geometry.lpa2() ? 1L << (config.hvhe ? 59 : 32) : 0);
    }

    /// What the hypervisor maps, the host must not own: annotate it, or mark what the two share.
    private int fixHostOwnership(List<Long> stackTops) {
        PageTable.Visitor adopt = (_, _, old, level, _, _) -> Descriptor.valid(old)
                ? memProtect.adoptHypMapping(old, level, hyp.table().geometry().outputAddress(old, level))
                : 0;
        for (int i = 0; i < regions.count(); i++) {
            int error = hyp.table()
                    .walk(map.hypVa(regions.base(i)), regions.end(i) - regions.base(i), PageTable.LEAF, adopt);
            if (error != 0) {
                return error;
            }
        }
        for (long top : stackTops) {
            int error = hyp.table().walk(top - pageSize, pageSize, PageTable.LEAF, adopt);
            if (error != 0) {
                return error;
            }
        }
        return 0;
    }

    /// Table pages from a pool, with their reference counts in the vmemmap.
    private final class PoolPages implements PageTable.Pages {
        private final HypPool pool;

        PoolPages(HypPool pool) {
            this.pool = pool;
        }

        @Override
        public long allocate() {
            return pool.allocate(0);
        }

        @Override
        public void get(long page) {
            pool.get(page);
        }

        @Override
        public void put(long page) {
            pool.put(page);
        }

        @Override
        public int count(long page) {
            return vmemmap.refcount(page);
        }
    }
}
