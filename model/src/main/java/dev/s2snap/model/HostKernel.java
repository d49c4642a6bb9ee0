package dev.s2snap.model;

import dev.s2snap.pkvm.PageState;
import dev.s2snap.vmsa.GeometryException;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;

/// The caller's side of the snapshot: (1) allocate, (2) call, read the result, (6) free. As patch 03/10 of the series
/// does it, without its defects: sizes are bytes where bytes are meant (D-23, D-24), x0 is looked at before x1 is
/// believed (D-26), and what is freed is what was allocated, whatever the hypervisor left in the struct.
///
/// Every load and store of the host goes through its stage 2 and may fault.
public final class HostKernel {
    private final PkvmModel model;
    private final HostPages pages;
    private final HostTableMemory memory;
    private final HostKvm kvm;
    private final int pageShift;

    HostKernel(PkvmModel model) {
        this.model = model;
        ModelConfig config = model.config();
        pages = new HostPages(config);
        pageShift = config.pageShift;
        memory = new HostTableMemory(model);
        kvm = new HostKvm(model, pages, memory);
    }

    /// The kernel's VMs.
    public HostKvm kvm() {
        return kvm;
    }

    /// The host cannot go on: it was killed by an access that the hypervisor does not allow, or has no memory.
    public static final class HostException extends RuntimeException {
        private static final long serialVersionUID = 1;

        private final int error;

        HostException(String message) {
            this(message, 0);
        }

        HostException(String message, int error) {
            super(message);
            this.error = error;
        }

        /// What a system call answers, or 0 where there is no going on.
        public int error() {
            return error;
        }
    }

    /// Memory lent for one snapshot. Addresses are physical.
    ///
    /// @param struct one page
    /// @param pgd `pgdPages` contiguous pages
    /// @param list the memcache, in the order in which the hypervisor will take them
    /// @param array `arrayPages` contiguous pages
    public record Lent(long struct, long pgd, int pgdPages, List<Long> list, long array, int arrayPages) {
        public Lent {
            list = List.copyOf(list);
        }

        /// All pages together.
        public int pages() {
            return 1 + pgdPages + list.size() + arrayPages;
        }
    }

    /// (1) Allocates the buffers and fills in the struct.
    ///
    /// @throws HostException -ENOMEM, and nothing stays allocated
    public Lent allocate() {
        List<long[]> taken = new ArrayList<>();
        try {
            return allocate(taken);
        } catch (HostException e) {
            taken.forEach(range -> pages.free(range[0], range[1]));
            throw e;
        }
    }

    /// @param taken gets what was allocated, first page and number of pages
    private Lent allocate(List<long[]> taken) {
        long pageSize = 1L << pageShift;
        int pgdPages = model.hostTable().geometry().rootPages();
        int demand = Math.toIntExact(model.el2().hostTablePages());
        int arrayPages = Math.toIntExact(Math.ceilDiv((long) demand * Long.BYTES, pageSize));
        long struct = page(1, taken);
        long pgd = page(pgdPages, taken);
        List<Long> list = new ArrayList<>();
        long head = 0;
        for (int i = 0; i < demand; i++) {
            long page = page(1, taken);
            store(page, head);
            head = page;
            list.addFirst(page);
        }
        long array = page(arrayPages, taken);
        for (int offset = 0; offset < SnapshotStruct.SIZE; offset += Long.BYTES) {
            store(struct + offset, 0);
        }
        AddressMap map = model.addresses();
        store(struct + SnapshotStruct.MC_HEAD, head);
        store(struct + SnapshotStruct.MC_NR_PAGES, demand);
        store(struct + SnapshotStruct.PGD_HVA, map.kern(pgd));
        store(struct + SnapshotStruct.PGD_PAGES, pgdPages);
        store(struct + SnapshotStruct.USED_PAGES_HVA, map.kern(array));
        store(struct + SnapshotStruct.NUM_USED_PAGES, arrayPages);
        return new Lent(struct, pgd, pgdPages, list, array, arrayPages);
    }

    private long page(int count, List<long[]> taken) {
        long page = pages.allocate(count, 1L << pageShift);
        if (page == -1) {
            throw new HostException("the host has no " + count + " contiguous pages left", Errno.ENOMEM);
        }
        taken.add(new long[] {page, count});
        return page;
    }

    /// (2) Calls the hypervisor on `cpu`.
    ///
    /// @return 0 or an errno
    /// @throws HostException if the hypervisor panicked
    public int call(Cpu cpu, Lent lent) {
        cpu.x(0, Hypercalls.id(Hypercalls.HOST_STAGE2_SNAPSHOT));
        cpu.x(1, model.addresses().kern(lent.struct));
        if (!model.hvc(cpu)) {
            throw new HostException("the hypervisor panicked: " + model.panic());
        }
        return cpu.x(0) == Hypercalls.SUCCESS ? (int) cpu.x(1) : Errno.EOPNOTSUPP;
    }

    /// The copy, as the host reads it: every page is faulted back in on the way. Valid until [#free].
    ///
    /// Its shape is what the hypervisor says it is, not what the host thinks of itself (D-33).
    ///
    /// @throws GeometryException if there is no such shape, or it does not fit into what was lent
    public TranslationTable read(Lent lent) {
        long shape = load(lent.struct + SnapshotStruct.IA_BITS);
        TableGeometry geometry = new TableGeometry(
                TranslationRegime.STAGE2,
                pageShift,
                (int) shape,
                (byte) (shape >>> (8 * SnapshotStruct.START_LEVEL)),
                model.config().lpa2 && pageShift != 16);
        if (geometry.rootPages() > lent.pgdPages) {
            throw new GeometryException(
                    "the copy has " + geometry.rootPages() + " root pages, and " + lent.pgdPages + " were lent");
        }
        return new TranslationTable(memory, geometry, load(lent.struct + SnapshotStruct.PGD));
    }

    /// Number of table pages below the root that the copy uses.
    public long pagesUsed(Lent lent) {
        return load(lent.struct + SnapshotStruct.USED_PAGES_INDX);
    }

    /// (6) Frees what was lent.
    public void free(Lent lent) {
        pages.free(lent.array, lent.arrayPages);
        lent.list.forEach(page -> pages.free(page, 1));
        pages.free(lent.pgd, lent.pgdPages);
        pages.free(lent.struct, 1);
    }

    /// Creates a VM with `vcpus` vCPUs, by calls on `cpu`.
    ///
    /// @throws HostException if there is no memory or the hypervisor refuses; then the host has everything back
    public HostVm createVm(Cpu cpu, int vcpus) {
        return HostVm.create(model, pages, cpu, vcpus);
    }

    /// Pages that the host has left.
    public long pagesAvailable() {
        return pages.available();
    }

    /// Whether the kernel has the page with this physical address, and uses it for nothing.
    public boolean available(long address) {
        return pages.isFree(address);
    }

    /// Takes contiguous pages for what is not modelled.
    ///
    /// @return physical address of the first one, or -1 if there are no such pages
    public long take(long count) {
        return pages.allocate(count, 1L << pageShift);
    }

    /// Gives back what [#take] has taken.
    public void give(long base, long count) {
        pages.free(base, count);
    }

    /// From now on the kernel uses none of the free pages in [base, base + size): they are somebody else's.
    public void leave(long base, long size) {
        pages.leave(base, size);
    }

    /// Who owns the lent pages now, read from both tables: number of pages by state at the host and at the hypervisor.
    public Map<Ownership, Integer> owners(Lent lent) {
        Map<Ownership, Integer> owners = new TreeMap<>();
        count(owners, lent.struct, 1);
        count(owners, lent.pgd, lent.pgdPages);
        lent.list.forEach(page -> count(owners, page, 1));
        count(owners, lent.array, lent.arrayPages);
        return owners;
    }

    /// States of a page at both sides.
    public record Ownership(PageState host, PageState hyp) implements Comparable<Ownership> {
        @Override
        public int compareTo(Ownership other) {
            int byHost = host.compareTo(other.host);
            return byHost != 0 ? byHost : hyp.compareTo(other.hyp);
        }
    }

    private void count(Map<Ownership, Integer> owners, long base, int count) {
        for (int i = 0; i < count; i++) {
            MemProtect.States states = model.el2().memProtect.states((base >>> pageShift) + i);
            if (states.host() instanceof PageState host && states.hyp() instanceof PageState hyp) {
                owners.merge(new Ownership(host, hyp), 1, Integer::sum);
            } else {
                throw new IllegalStateException("lent page outside of the tables: " + states);
            }
        }
    }

    /// How much of its memory a host has used.
    public enum Touch {
        /// None: every entry of the table that is not the hypervisor's is empty.
        NONE,
        /// All memory in blocks, a device, and a few pages shared with the hypervisor: a kernel that has booted.
        BOOT,
        /// All memory page by page, so that every page has an entry of its own.
        PAGES,
        /// A random mixture.
        RANDOM
    }

    /// Uses memory.
    ///
    /// @param seed of the random mixture
    public void touch(Touch how, long seed) {
        switch (how) {
            case NONE -> {}
            case BOOT -> {
                touchBlocks();
                load(SERIAL_PORT);
                for (int i = 0; i < BOOT_SHARES; i++) {
                    share(page(1, new ArrayList<>()), true);
                }
            }
            case PAGES -> touchPages();
            case RANDOM -> touchRandom(new SplittableRandom(seed));
        }
    }

    /// Where the `virt` machine of QEMU has its serial port.
    private static final long SERIAL_PORT = 0x0900_0000L;

    private static final int BOOT_SHARES = 3;

    private long blockSize() {
        return 1L << (2 * pageShift - 3);
    }

    private void touchBlocks() {
        pages.extents().forEach((start, end) -> {
            for (long address = start; address < end; address = (address & -blockSize()) + blockSize()) {
                load(address);
            }
        });
    }

    /// A page of a block that was shared for a moment leaves a table behind, and the rest comes back in pages.
    private void touchPages() {
        pages.extents().forEach((start, end) -> {
            for (long address = start; address < end; address = (address & -blockSize()) + blockSize()) {
                share(address, true);
                share(address, false);
                long blockEnd = Math.min(end, (address & -blockSize()) + blockSize());
                for (long page = address; page < blockEnd; page += 1L << pageShift) {
                    load(page);
                }
            }
        });
    }

    private void touchRandom(SplittableRandom random) {
        long[][] extents = pages.extents().entrySet().stream()
                .map(extent -> new long[] {extent.getKey(), extent.getValue()})
                .toArray(long[][]::new);
        for (int i = 0; i < RANDOM_STEPS; i++) {
            long[] extent = extents[random.nextInt(extents.length)];
            long address = random.nextLong(extent[0], extent[1]) & -(1L << pageShift);
            switch (random.nextInt(4)) {
                case 0 -> {
                    // Shared for good, where it is still free.
                    if (pages.take(address)) {
                        share(address, true);
                    }
                }
                case 1 -> load(SERIAL_PORT + (random.nextLong(16) << pageShift));
                default -> load(address);
            }
        }
    }

    private static final int RANDOM_STEPS = 2000;

    /// Shares a page with the hypervisor, or takes it back.
    private void share(long address, boolean shared) {
        Cpu cpu = model.cpu(0);
        cpu.x(0, Hypercalls.id(shared ? Hypercalls.HOST_SHARE_HYP : Hypercalls.HOST_UNSHARE_HYP));
        cpu.x(1, address >>> pageShift);
        if (!model.hvc(cpu) || cpu.x(1) != 0) {
            throw new HostException("page 0x" + Long.toHexString(address) + " could not be "
                    + (shared ? "shared: " : "taken back: ") + Errno.name(cpu.x(1)));
        }
    }

    private long load(long address) {
        return memory.load(address);
    }

    private void store(long address, long value) {
        memory.store(address, value);
    }
}
