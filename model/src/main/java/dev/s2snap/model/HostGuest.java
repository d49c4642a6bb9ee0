package dev.s2snap.model;

import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/// A VM of the host's KVM: a stage-2 table in host memory, memory slots, and who refers to it.
///
/// The table is made of the host's own pages and is filled on fault. Every access of the kernel to it goes through the
/// host's stage 2, so that a table page may itself have to be faulted in first.
///
/// The VM lives as long as something refers to it: the process's file, and each debugfs file that is open. What it had
/// is freed with the last of them. When the process dies its memory goes at once, and the table with it, whoever refers
/// to the VM.
public final class HostGuest {
    /// What the guest does.
    public enum Access {
        READ,
        WRITE,
        EXECUTE
    }

    /// What a slot's memory is made of.
    public enum Backing {
        PAGES,
        /// Blocks where one fits and there is one, else pages: transparent huge pages.
        BLOCKS
    }

    /// Answer to a fault that no memory slot has: user space emulates the access.
    public static final int MMIO = 1;

    // Permissions of a stage-2 descriptor (D8.4.2).
    private static final long S2AP_READ = 1 << 6;
    private static final long S2AP_WRITE = 1 << 7;
    private static final long XN = 1L << 54;

    /// Level of the blocks that transparent huge pages are mapped with.
    private static final int BLOCK_LEVEL = TableGeometry.LAST_LEVEL - 1;

    private final HostKvm kvm;
    private final HostPages pages;
    private final HostTableMemory memory;
    private final String name;
    private final int vcpus;
    private final TableGeometry geometry;
    private final long vtcr;
    private final PageTable table;
    private final Stage2 stage2;
    private final long root;

    /// References of table pages: what the kernel keeps in struct page.
    private final Map<Long, Integer> counts = new HashMap<>();

    /// Zeroed pages for tables, so that a fault cannot run out of them half-way.
    private final Deque<Long> cache = new ArrayDeque<>();

    private final TreeMap<Long, Slot> slots = new TreeMap<>();
    private @Nullable HostVm el2;

    /// The process's file, and open files of debugfs.
    private int references = 1;

    private boolean closed;

    /// The table is gone.
    private boolean unmapped;

    /// A memory slot, and the process's memory behind it: physical addresses of pages and blocks, by guest address.
    private static final class Slot {
        final long start;
        final long end;
        final Backing backing;
        final boolean readOnly;
        final TreeMap<Long, Long> pages = new TreeMap<>();
        final TreeMap<Long, Long> blocks = new TreeMap<>();
        boolean logged;
        SortedSet<Long> dirty = new TreeSet<>();

        Slot(long start, long end, Backing backing, boolean readOnly) {
            this.start = start;
            this.end = end;
            this.backing = backing;
            this.readOnly = readOnly;
        }
    }

    HostGuest(HostKvm kvm, String name, TableGeometry geometry, int vcpus) {
        this.kvm = kvm;
        this.name = name;
        this.geometry = geometry;
        this.vcpus = vcpus;
        pages = kvm.pages;
        memory = kvm.memory;
        vtcr = kvm.vtcr(geometry);
        root = pages.allocate(geometry.rootPages(), (long) geometry.rootPages() << geometry.granuleShift());
        if (root == -1) {
            throw new HostKernel.HostException("no memory for a root of a stage 2", Errno.ENOMEM);
        }
        memory.zero(root, (long) geometry.rootPages() << geometry.granuleShift());
        for (int page = 0; page < geometry.rootPages(); page++) {
            counts.put(root + page * geometry.granule(), 1);
        }
        ModelConfig config = kvm.model.config();
        table = new PageTable(memory, geometry.granuleShift());
        table.init(geometry, root, new TablePages());
        stage2 = new Stage2(
                table, new Stage2.Traits(0, config.fwb, config.tlbRange, Stage2.ForcePages.NEVER, new NothingCached()));
    }

    // What it is.

    /// Process and file, as in `1234-9`: the folder in debugfs.
    public String name() {
        return name;
    }

    /// The shape of its stage 2.
    public TableGeometry geometry() {
        return geometry;
    }

    /// VTCR_EL2 while it runs.
    public long vtcr() {
        return vtcr;
    }

    /// VMID: the hypervisor's slot plus 1; 0 before the guest has run.
    public int vmid() {
        return table.vmid;
    }

    /// Physical address of the root.
    long root() {
        return root;
    }

    /// Whether memory attributes have the encoding of FEAT_S2FWB.
    public boolean forcedWriteBack() {
        return stage2.traits().forcedWriteBack();
    }

    /// The stage 2, as the kernel reads it; null once the process is dead.
    public @Nullable TranslationTable table() {
        return unmapped ? null : new TranslationTable(memory, geometry, root);
    }

    /// The hypervisor's side of this VM; null before the guest has run.
    @Nullable
    HostVm el2() {
        return el2;
    }

    // Memory slots.

    /// Gives the guest memory at [start, start + size).
    ///
    /// @throws IllegalArgumentException if that is no whole pages, not in the guest's address space, or taken
    public void addMemory(long start, long size, Backing backing, boolean readOnly) {
        requireAlive();
        long mask = geometry.granule() - 1;
        long end = start + size;
        if (size <= 0 || start < 0 || ((start | size) & mask) != 0 || end < 0 || end > geometry.inputSize()) {
            throw new IllegalArgumentException("no memory slot: 0x" + Long.toHexString(start) + " to 0x"
                    + Long.toHexString(end) + " of " + geometry.inputBits() + " bits");
        }
        Map.Entry<Long, Slot> below = slots.lowerEntry(end);
        if (below != null && below.getValue().end > start) {
            throw new IllegalArgumentException("the slot overlaps the one at 0x" + Long.toHexString(below.getKey()));
        }
        slots.put(start, new Slot(start, end, backing, readOnly));
    }

    private @Nullable Slot slot(long ipa) {
        Map.Entry<Long, Slot> below = slots.floorEntry(ipa);
        return below == null || below.getValue().end <= ipa ? null : below.getValue();
    }

    /// Turns the dirty log of the slot at `start` on: from now on pages are mapped one by one, and writable only when
    /// they are written.
    public void logDirtyPages(long start) {
        requireAlive();
        Slot slot = slot(start);
        if (slot == null || slot.start != start) {
            throw new IllegalArgumentException("there is no slot at 0x" + Long.toHexString(start));
        }
        slot.logged = true;
        writeProtect(slot.start, slot.end - slot.start);
    }

    /// The pages of the slot at `start` that were written since the log was turned on or read; it starts anew.
    public List<Long> readDirtyLog(long start) {
        requireAlive();
        Slot slot = slot(start);
        if (slot == null || slot.start != start || !slot.logged) {
            throw new IllegalArgumentException("no dirty log at 0x" + Long.toHexString(start));
        }
        List<Long> dirty = List.copyOf(slot.dirty);
        slot.dirty = new TreeSet<>();
        dirty.forEach(page -> must(guarded(() -> stage2.writeProtect(page, geometry.granule()))));
        if (!dirty.isEmpty()) {
            invalidateAll();
        }
        return dirty;
    }

    // The table.

    /// A vCPU runs until it exits, which is at once: the model executes no guest. The hypervisor learns of the VM when
    /// it runs first.
    ///
    /// @return the exit code, or an errno
    public int run(int vcpu) {
        requireAlive();
        int error = start();
        return error != 0 ? error : Objects.requireNonNull(el2).run(vcpu);
    }

    private int start() {
        if (el2 != null) {
            return 0;
        }
        HostVm running;
        try {
            running = HostVm.create(kvm.model, pages, kvm.model.cpu(0), vcpus);
        } catch (HostKernel.HostException e) {
            if (kvm.model.panic() != null) {
                throw e;
            }
            return e.error() != 0 ? e.error() : Errno.ENOMEM;
        }
        el2 = running;
        table.vmid = running.handle() - GuestVms.FIRST_HANDLE + 1;
        // Where the hypervisor looks for it when the host asks for invalidations.
        memory.store(mmu(running) + VmStructs.MMU_VMID, table.vmid);
        table.recorder = new Invalidations(running);
        return 0;
    }

    private static long mmu(HostVm running) {
        return running.kvm() + VmStructs.KVM_MMU;
    }

    /// TLB invalidation is the hypervisor's work: each is a hypercall.
    private final class Invalidations implements Recorder {
        private final long mmu;

        Invalidations(HostVm running) {
            mmu = kvm.model.addresses().kern(mmu(running));
        }

        @Override
        public void tlbiIpa(int vmid, long ipa, int level) {
            call(Hypercall.KVM_TLB_FLUSH_VMID_IPA, ipa, level);
        }

        @Override
        public void tlbiIpaNonShareable(int vmid, long ipa, int level) {
            call(Hypercall.KVM_TLB_FLUSH_VMID_IPA_NSH, ipa, level);
        }

        @Override
        public void tlbiRange(int vmid, long ipa, long count) {
            call(Hypercall.KVM_TLB_FLUSH_VMID_RANGE, ipa, count);
        }

        @Override
        public void tlbiVmid(int vmid) {
            call(Hypercall.KVM_TLB_FLUSH_VMID, 0, 0);
        }

        private void call(Hypercall call, long second, long third) {
            Cpu cpu = kvm.model.cpu(0);
            cpu.x(0, call.id());
            cpu.x(1, mmu);
            cpu.x(2, second);
            cpu.x(3, third);
            if (!kvm.model.hvc(cpu)) {
                throw new HostKernel.HostException("the hypervisor panicked: " + kvm.model.panic());
            }
        }
    }

    private void invalidateAll() {
        Recorder recorder = table.recorder;
        if (recorder != null) {
            recorder.tlbiVmid(table.vmid);
        }
    }

    /// The guest's access to `ipa` came to the host: maps the page, or the block around it, with what the slot allows
    /// and the access needs.
    ///
    /// @return 0; [#MMIO] where there is no slot, or one that is only read; -ENOMEM, and the guest's table is as before
    public int fault(long ipa, Access access) {
        requireAlive();
        Slot slot = slot(ipa);
        if (slot == null || (access == Access.WRITE && slot.readOnly)) {
            return MMIO;
        }
        int error = start();
        if (error == 0) {
            error = topUp(TableGeometry.LAST_LEVEL - geometry.startLevel());
        }
        if (error != 0) {
            return error;
        }
        long page = ipa & -geometry.granule();
        PageTable.Leaf leaf = table.leaf(page);
        must(leaf.error);
        long old = leaf.descriptor;
        int oldLevel = leaf.level;
        if (Descriptor.valid(old) && (old & Descriptor.AF) == 0) {
            guarded(() -> stage2.makeYoung(page) != 0 ? 0 : Errno.EAGAIN);
            return 0;
        }
        if (Descriptor.valid(old) && allowed(old, access)) {
            return 0;
        }
        long prot = Stage2.R;
        if (!slot.readOnly && (access == Access.WRITE || !slot.logged)) {
            prot |= Stage2.W;
        }
        if (access == Access.EXECUTE) {
            prot |= Stage2.X;
        }
        error = map(slot, page, prot, Descriptor.valid(old) ? oldLevel : -1);
        if (error == 0 && access == Access.WRITE && slot.logged) {
            slot.dirty.add(page);
        }
        return error;
    }

    private static boolean allowed(long descriptor, Access access) {
        return switch (access) {
            case READ -> (descriptor & S2AP_READ) != 0;
            case WRITE -> (descriptor & S2AP_WRITE) != 0;
            case EXECUTE -> (descriptor & XN) == 0;
        };
    }

    /// @param mappedLevel of the leaf that is there, or -1
    private int map(Slot slot, long page, long prot, int mappedLevel) {
        long size = geometry.entrySize(BLOCK_LEVEL);
        long block = page & -size;
        boolean whole = !slot.logged && block >= slot.start && block + size <= slot.end;
        long physical = whole ? block(slot, block) : -1;
        int level = BLOCK_LEVEL;
        long start = block;
        if (physical == -1) {
            physical = page(slot, page);
            if (physical == -1) {
                return Errno.ENOMEM;
            }
            size = geometry.granule();
            level = TableGeometry.LAST_LEVEL;
            start = page;
        }
        if (level == mappedLevel) {
            long address = start;
            return guarded(() -> stage2.relaxPermissions(address, prot));
        }
        long from = start;
        long bytes = size;
        long to = physical;
        return guarded(() -> stage2.map(from, bytes, to, prot));
    }

    /// The process's memory behind a block, taken when it is first touched; -1 if it is not a block.
    private long block(Slot slot, long block) {
        Long there = slot.blocks.get(block);
        if (there != null) {
            return there;
        }
        long size = geometry.entrySize(BLOCK_LEVEL);
        if (slot.backing != Backing.BLOCKS
                || !slot.pages.subMap(block, block + size).isEmpty()) {
            return -1;
        }
        long physical = pages.allocate(size >>> geometry.granuleShift(), size);
        if (physical != -1) {
            memory.zero(physical, size);
            slot.blocks.put(block, physical);
        }
        return physical;
    }

    private long page(Slot slot, long page) {
        Map.Entry<Long, Long> block = slot.blocks.floorEntry(page);
        if (block != null && page < block.getKey() + geometry.entrySize(BLOCK_LEVEL)) {
            return block.getValue() + (page - block.getKey());
        }
        Long there = slot.pages.get(page);
        if (there != null) {
            return there;
        }
        long physical = pages.allocate(1, geometry.granule());
        if (physical != -1) {
            memory.zero(physical, geometry.granule());
            slot.pages.put(page, physical);
        }
        return physical;
    }

    /// Takes write permission from the range. What the guest writes then comes back as a fault.
    public void writeProtect(long ipa, long size) {
        requireAlive();
        must(guarded(() -> stage2.writeProtect(ipa, size)));
        invalidateAll();
    }

    /// Whether the guest has used the range since it was last asked: takes the access flags away.
    public boolean age(long ipa, long size) {
        return young(ipa, size, true);
    }

    /// Whether the guest has used the range since [#age] was last asked; the flags stay.
    public boolean used(long ipa, long size) {
        return young(ipa, size, false);
    }

    private boolean young(long ipa, long size, boolean clear) {
        requireAlive();
        boolean[] young = new boolean[1];
        guarded(() -> {
            young[0] = stage2.testYoung(ipa, size, clear);
            return 0;
        });
        return young[0];
    }

    /// Takes the range from the guest's table, and tables that become empty; the process keeps its memory.
    public void unmap(long ipa, long size) {
        requireAlive();
        must(guarded(() -> stage2.unmap(ipa, size)));
    }

    /// Splits blocks of the range into pages that map the same, as KVM does it ahead of a dirty log where it was asked
    /// to (KVM_CAP_ARM_EAGER_SPLIT_CHUNK_SIZE).
    ///
    /// @param tables table pages that it may take: one for each block
    /// @return 0, or -ENOMEM if there are not so many, or more blocks than tables: the first ones are split then
    public int split(long ipa, long size, int tables) {
        requireAlive();
        int error = topUp(tables);
        return error != 0 ? error : guarded(() -> stage2.split(ipa, size, tables));
    }

    /// Cleans what the guest has in the range from caches to memory, as KVM does when the guest turns its caches on or
    /// off. The machine's caches are coherent, so that nothing is different.
    public void flush(long ipa, long size) {
        requireAlive();
        must(guarded(() -> stage2.flush(ipa, size)));
    }

    private interface Operation {
        int run();
    }

    /// What is a panic at EL2 is a warning in the host's kernel, and a defect of this class.
    private static int guarded(Operation operation) {
        try {
            return operation.run();
        } catch (HypPanic warning) {
            throw new IllegalStateException("the host's KVM: " + warning.getMessage(), warning);
        }
    }

    private static void must(int error) {
        if (error != 0 && error != Errno.EAGAIN) {
            throw new IllegalStateException("the host's KVM: " + Errno.name(error));
        }
    }

    // Table pages.

    /// Takes pages until `least` are in the cache. What was taken before memory ran out stays there.
    private int topUp(int least) {
        while (cache.size() < least) {
            long page = pages.allocate(1, geometry.granule());
            if (page == -1) {
                return Errno.ENOMEM;
            }
            memory.zero(page, geometry.granule());
            cache.addFirst(page);
        }
        return 0;
    }

    private final class TablePages implements PageTable.Pages {
        @Override
        public long allocate() {
            Long page = cache.pollFirst();
            if (page == null) {
                return 0;
            }
            counts.put(page, 1);
            return page;
        }

        @Override
        public void get(long page) {
            counts.merge(page, 1, Integer::sum);
        }

        @Override
        public void put(long page) {
            if (counts.merge(page, -1, Integer::sum) == 0) {
                counts.remove(page);
                pages.free(page, 1);
            }
        }

        @Override
        public int count(long page) {
            return counts.getOrDefault(page, 0);
        }
    }

    /// Caches of the machine are coherent here, and nothing is recorded of them.
    private static final class NothingCached implements Stage2.CacheMaintenance {
        @Override
        public void cleanInvalidate(long physical, long size) {}

        @Override
        public void invalidateInstructions(long physical, long size) {}
    }

    // The end.

    /// The process closes its file. The folder in debugfs is gone then; what is open of it keeps the VM.
    ///
    /// @throws IllegalStateException if it is closed
    public void close() {
        if (closed) {
            throw new IllegalStateException("the file of VM " + name + " is closed");
        }
        closed = true;
        put();
    }

    /// The process dies: its memory is freed and the guest's table with it, and then its files are closed.
    ///
    /// @throws IllegalStateException if the process is dead
    public void kill() {
        requireAlive();
        unmapAll();
        if (!closed) {
            close();
        }
    }

    /// Whether the process has closed its file.
    public boolean closed() {
        return closed;
    }

    /// Takes a reference.
    ///
    /// @return false if the VM is going away; there is no reference then
    boolean get() {
        if (closed) {
            return false;
        }
        references++;
        return true;
    }

    /// Drops a reference; with the last one everything is freed.
    void put() {
        if (references == 0) {
            throw new IllegalStateException("VM " + name + " has no references left");
        }
        if (--references > 0) {
            return;
        }
        if (!unmapped) {
            unmapAll();
        }
        HostVm running = el2;
        if (running != null) {
            running.destroy();
        }
        kvm.forget(this);
    }

    private void requireAlive() {
        if (unmapped) {
            throw new IllegalStateException("VM " + name + " is gone");
        }
    }

    private void unmapAll() {
        unmapped = true;
        guarded(() -> {
            stage2.destroy();
            return 0;
        });
        if (!counts.isEmpty()) {
            throw new IllegalStateException("the host's KVM: table pages of VM " + name + " are still in use");
        }
        List<Long> single = new ArrayList<>(cache);
        cache.clear();
        for (Slot slot : slots.values()) {
            single.addAll(slot.pages.values());
            slot.blocks
                    .values()
                    .forEach(block -> pages.free(block, geometry.entrySize(BLOCK_LEVEL) >>> geometry.granuleShift()));
        }
        slots.clear();
        single.forEach(page -> pages.free(page, 1));
    }
}
