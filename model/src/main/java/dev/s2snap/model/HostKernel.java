package dev.s2snap.model;

import dev.s2snap.pkvm.PageState;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/// The caller's side of the snapshot: (1) allocate, (2) call, read the result, (6) free. As patch 03/10 of the series
/// does it, without its defects: sizes are bytes where bytes are meant (D-23, D-24), x0 is looked at before x1 is
/// believed (D-26), and what is freed is what was allocated, whatever the hypervisor left in the struct.
///
/// Every load and store of the host goes through its stage 2 and may fault.
public final class HostKernel {
    private final PkvmModel model;
    private final HostPages pages;
    private final int pageShift;

    public HostKernel(PkvmModel model) {
        this.model = model;
        ModelConfig config = model.config();
        long carveout = config.carveoutSize != -1
                ? config.carveoutSize
                : model.el2().sizes().total() << config.pageShift;
        pages = new HostPages(config, carveout);
        pageShift = config.pageShift;
    }

    /// The host cannot go on: it was killed by an access that the hypervisor does not allow, or has no memory.
    public static final class HostException extends RuntimeException {
        private static final long serialVersionUID = 1;

        HostException(String message) {
            super(message);
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
    public Lent allocate() {
        long pageSize = 1L << pageShift;
        int pgdPages = model.hostTable().geometry().rootPages();
        int demand = Math.toIntExact(model.el2().hostTablePages());
        int arrayPages = Math.toIntExact(Math.ceilDiv((long) demand * Long.BYTES, pageSize));
        long struct = page(1);
        long pgd = page(pgdPages);
        List<Long> list = new ArrayList<>();
        long head = 0;
        for (int i = 0; i < demand; i++) {
            long page = page(1);
            store(page, head);
            head = page;
            list.addFirst(page);
        }
        long array = page(arrayPages);
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

    private long page(int count) {
        long page = pages.allocate(count, 1L << pageShift);
        if (page == -1) {
            throw new HostException("the host has no " + count + " contiguous pages left");
        }
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
    public TranslationTable read(Lent lent) {
        return new TranslationTable(
                new HostView(), model.hostTable().geometry(), load(lent.struct + SnapshotStruct.PGD));
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

    /// Pages that the host has left.
    public long pagesAvailable() {
        return pages.available();
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

    /// What a kernel does while it boots: touches its memory, talks to its serial port, and shares some pages with
    /// the hypervisor.
    ///
    /// @param device address of a device's registers
    /// @param shares number of pages to share
    public void boot(long device, int shares) {
        long step = 1L << (pageShift + pageShift - 3);
        pages.extents().forEach((start, end) -> {
            for (long address = start; address < end; address = (address & -step) + step) {
                load(address);
            }
        });
        load(device);
        for (int i = 0; i < shares; i++) {
            Cpu cpu = model.cpu(0);
            cpu.x(0, Hypercalls.id(Hypercalls.HOST_SHARE_HYP));
            cpu.x(1, page(1) >>> pageShift);
            if (!model.hvc(cpu) || cpu.x(1) != 0) {
                throw new HostException("a page that the host owns could not be shared");
            }
        }
    }

    private long load(long address) {
        return value(model.read(address), address);
    }

    private void store(long address, long value) {
        value(model.write(address, value), address);
    }

    private static long value(PkvmModel.Access access, long address) {
        return switch (access) {
            case PkvmModel.Access.Done(long value) -> value;
            case PkvmModel.Access.Refused(int error) ->
                throw new HostException("host access to 0x" + Long.toHexString(address) + ": " + Errno.name(error));
            case PkvmModel.Access.Livelock() ->
                throw new HostException("host access to 0x" + Long.toHexString(address) + " never completes");
        };
    }

    /// Memory as the host's own loads see it.
    private final class HostView implements PhysicalMemory {
        @Override
        public MemorySegment bytes() {
            return model.ram().bytes();
        }

        @Override
        public long offset(long address, long size) {
            load(address & -Long.BYTES);
            return model.ram().offset(address, size);
        }
    }
}
