package dev.s2snap.model;

import static dev.s2snap.vmsa.TableGeometry.LAST_LEVEL;

import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.TableGeometry;
import java.lang.invoke.VarHandle;
import org.jspecify.annotations.Nullable;

/// A table and the generic walker over it (`kvm_pgtable`). Entries are read and written through a [TableMemory]: at EL2
/// a
/// table page that EL2 does not map is an abort.
///
/// An all-zero object is what exists before initialisation: no input bits, so every range is out of range.
final class PageTable {

    /// Where table pages come from and how they are counted (`kvm_pgtable_mm_ops`). Addresses are physical.
    interface Pages {
        /// A zeroed page with one reference, or 0.
        long allocate();

        void get(long page);

        /// Drops a reference; the last one frees the page.
        void put(long page);

        int count(long page);
    }

    /// Called on entries. Which ones, say the flags of the walk.
    @FunctionalInterface
    interface Visitor {
        /// @param walk the walk, for its start and end
        /// @param entry address of the descriptor, as the code accesses it
        /// @param old its value when it was read
        /// @param address where the walk is: in the first entry it can be in the middle
        /// @param kind LEAF, PRE or POST
        /// @return 0 or an errno; -EAGAIN does not stop the walk
        int visit(Walk walk, long entry, long old, int level, long address, int kind);
    }

    /// Entries that are not tables, empty ones included.
    static final int LEAF = 1;

    /// Tables before their children.
    static final int PRE = 2;

    /// Tables after their children.
    static final int POST = 4;

    final TableMemory memory;
    final int pageShift;
    private @Nullable TableGeometry geometry;
    private long root;
    private @Nullable Pages pages;

    @Nullable
    Recorder recorder;

    /// The CPUs whose TLBs have translations of this table; null where nobody has: EL2's own TLB is [El2Memory]'s, and
    /// guests do not run.
    @Nullable
    Cpus cpus;

    /// VMID that translations through this table are tagged with; 0 is the host.
    int vmid;

    PageTable(TableMemory memory, int pageShift) {
        this.memory = memory;
        this.pageShift = pageShift;
    }

    /// Makes the table usable. Until then it is the all-zero object.
    ///
    /// @param root physical address of the first root page
    void init(TableGeometry geometry, long root, Pages pages) {
        this.geometry = geometry;
        this.root = root;
        this.pages = pages;
    }

    Pages pages() {
        return live(pages);
    }

    TableGeometry geometry() {
        return live(geometry);
    }

    /// Forgets the root: every walk is refused from now on.
    void clearRoot() {
        root = 0;
    }

    /// Physical address of the root, or 0.
    long root() {
        return root;
    }

    private static <T> T live(@Nullable T part) {
        if (part == null) {
            throw new IllegalStateException("table used before its initialisation");
        }
        return part;
    }

    private int shift(int level) {
        return pageShift + (LAST_LEVEL - level) * (pageShift - 3);
    }

    long entrySize(int level) {
        return 1L << shift(level);
    }

    int entriesPerTable() {
        return 1 << (pageShift - 3);
    }

    /// `KVM_PGTABLE_MIN_BLOCK_LEVEL`: 1 with 4K pages, else 2.
    boolean blocksAt(int level) {
        return level >= (pageShift == 12 ? 1 : 2);
    }

    /// One walk over [start, end).
    final class Walk {
        final long start;
        final long end;
        private final Visitor visitor;
        private final int kinds;
        private long address;

        private Walk(long start, long end, Visitor visitor, int kinds) {
            this.start = start;
            this.end = end;
            this.visitor = visitor;
            this.kinds = kinds;
            this.address = start;
        }

        private int table(long table, int level) {
            if (level > LAST_LEVEL) {
                return Errno.EINVAL;
            }
            int index = (int) (address >>> shift(level)) & entriesPerTable() - 1;
            for (; index < entriesPerTable(); index++) {
                if (Long.compareUnsigned(address, end) >= 0) {
                    break;
                }
                int error = entry(table + (long) index * Long.BYTES, level);
                if (error != 0) {
                    return error;
                }
            }
            return 0;
        }

        private int entry(long entry, int level) {
            long old = memory.read64(entry);
            long at = address;
            boolean table = Descriptor.table(old, level);
            int kind = table ? PRE : LEAF;
            int error = 0;
            if ((kinds & kind) != 0) {
                error = visitor.visit(this, entry, old, level, at, kind);
                // The visitor may have replaced a leaf by a table or the other way round.
                old = memory.read64(entry);
                table = Descriptor.table(old, level);
            }
            if (stops(error)) {
                return error;
            }
            if (!table) {
                address = (address & -entrySize(level)) + entrySize(level);
                return 0;
            }
            error = table(follow(old), level + 1);
            if (stops(error)) {
                return error;
            }
            if ((kinds & POST) != 0) {
                error = visitor.visit(this, entry, old, level, at, POST);
            }
            return stops(error) ? error : 0;
        }

        /// -EAGAIN says that there was nothing to do here; the walk goes on and succeeds.
        private boolean stops(int error) {
            return error != 0 && error != Errno.EAGAIN;
        }
    }

    /// Where the table that `descriptor` points to is accessed.
    long follow(long descriptor) {
        return memory.virtual(child(descriptor));
    }

    /// Physical address of the table that `descriptor` points to.
    long child(long descriptor) {
        return geometry().tableAddress(descriptor);
    }

    /// Walks [address, address + size), both rounded to pages. The sum wraps: an end at or below the start visits
    /// nothing and succeeds.
    ///
    /// @return 0, -ERANGE beyond the input size, -EINVAL without a root, or what the visitor returned
    int walk(long address, long size, int kinds, Visitor visitor) {
        long pageMask = (1L << pageShift) - 1;
        long start = address & ~pageMask;
        long end = start + size + pageMask & ~pageMask;
        TableGeometry shape = geometry;
        long limit = shape == null ? 1 : shape.inputSize();
        if (Long.compareUnsigned(start, limit) > 0 || Long.compareUnsigned(end, limit) > 0) {
            return Errno.ERANGE;
        }
        if (shape == null || root == 0) {
            return Errno.EINVAL;
        }
        int startLevel = shape.startLevel();
        Walk walk = new Walk(start, end, visitor, kinds);
        long page = start >>> shift(startLevel - 1);
        while (Long.compareUnsigned(walk.address, end) < 0) {
            int error = walk.table(memory.virtual(root + (page << pageShift)), startLevel);
            if (error != 0) {
                return error;
            }
            page++;
        }
        return 0;
    }

    /// What [#leaf] found: the last entry met that is not a table.
    static final class Leaf implements Visitor {
        /// 0, or why there was no such entry.
        int error;

        long descriptor;
        int level;

        @Override
        public int visit(Walk walk, long entry, long old, int at, long address, int kind) {
            descriptor = old;
            level = at;
            return 0;
        }
    }

    /// Looks up the entry that covers `address`, valid or not.
    Leaf leaf(long address) {
        Leaf found = new Leaf();
        found.error = walk(address, 1L << pageShift, LEAF, found);
        return found;
    }

    /// Physical address of the table page that an entry is in.
    private long tablePage(long entry) {
        return memory.physical(entry) & -(1L << pageShift);
    }

    void getTable(long entry) {
        pages().get(tablePage(entry));
    }

    void putTable(long entry) {
        pages().put(tablePage(entry));
    }

    void store(long entry, long value) {
        Recorder current = recorder;
        if (current != null) {
            current.store(memory.physical(entry), memory.read64(entry), value, false);
        }
        memory.write64(entry, value);
    }

    void storeRelease(long entry, long value) {
        Recorder current = recorder;
        if (current != null) {
            current.store(memory.physical(entry), memory.read64(entry), value, true);
        }
        // For table walks on other CPUs, which take no lock.
        VarHandle.releaseFence();
        memory.write64(entry, value);
    }

    void dsb(String domain) {
        Recorder current = recorder;
        if (current != null) {
            current.dsb(domain);
        }
    }

    void isb() {
        Recorder current = recorder;
        if (current != null) {
            current.isb();
        }
    }

    /// A table descriptor: nothing but the address and bits 1:0.
    long tableDescriptor(long page) {
        return geometry().addressBits(page) | Descriptor.TYPE | Descriptor.VALID;
    }

    /// A valid leaf: address, attributes, and the type bit at level 3.
    long leafDescriptor(long address, long attributes, int level) {
        long type = level == LAST_LEVEL ? Descriptor.TYPE : 0;
        return geometry().addressBits(address) | attributes | type | Descriptor.VALID;
    }

    /// Whether an entry of `level` may map `size` bytes or more from `address` on to `physical` as one leaf.
    boolean blockSupported(int level, long address, long end, long physical) {
        long size = entrySize(level);
        return blocksAt(level)
                && Long.compareUnsigned(size, end - address) <= 0
                && (physical & size - 1) == 0
                && (address & size - 1) == 0;
    }
}
