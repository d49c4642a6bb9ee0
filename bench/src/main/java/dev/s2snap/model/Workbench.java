package dev.s2snap.model;

import dev.s2snap.vmsa.EntryVisitor;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import dev.s2snap.vmsa.WritableMemory;
import java.lang.foreign.MemorySegment;
import java.util.Map;

/// A machine on the bench: the model with its package opened to the benchmarks, which is why this class lives here.
///
/// One region of memory from 1 GiB on, 4K pages, the corrected snapshot call, no recorder.
public final class Workbench implements AutoCloseable {
    private static final int PAGE_SHIFT = 12;

    /// Most that the base gives back at once is less than 2 GiB.
    private static final long CHUNK_PAGES = 1 << 18;

    private final PkvmModel model;
    private final ModelConfig config;

    /// @param size of memory in bytes
    public Workbench(long size) {
        config = ModelConfig.machine(size, 40, PAGE_SHIFT, 1);
        model = new PkvmModel(config);
        require(model.init(), "init");
    }

    private static void require(int error, String what) {
        if (error != 0) {
            throw new IllegalStateException(what + ": " + Errno.name(error));
        }
    }

    public PkvmModel model() {
        return model;
    }

    /// First bytes and ends of what the host may use, ascending.
    public Map<Long, Long> hostMemory() {
        return new HostPages(config).extents();
    }

    /// Memory as EL2 reaches it, through its live stage 1.
    public WritableMemory el2Memory() {
        return model.el2().memory;
    }

    public TableGeometry hostGeometry() {
        return model.el2().host.table().geometry();
    }

    /// Lends [start, end) to the hypervisor.
    public void donate(long start, long end) {
        require(model.el2().memProtect.donateHyp(start >>> PAGE_SHIFT, (end - start) >>> PAGE_SHIFT), "donation");
    }

    /// Takes [start, end) back. Its pages keep their level-3 tables, in which they now have empty entries.
    public void takeBack(long start, long end) {
        require(model.el2().memProtect.hypDonateHost(start >>> PAGE_SHIFT, (end - start) >>> PAGE_SHIFT), "return");
    }

    /// Leaves every page of [start, end) with an empty entry of its own at level 3, to be faulted in.
    public void empty(long start, long end) {
        for (long from = start; from < end; from += CHUNK_PAGES << PAGE_SHIFT) {
            long to = Math.min(end, from + (CHUNK_PAGES << PAGE_SHIFT));
            donate(from, to);
            takeBack(from, to);
        }
    }

    /// The handler of a stage-2 abort of the host, without the host: `handle_host_mem_abort`.
    public int fault(long address) {
        return model.el2().memProtect.fault(address);
    }

    /// Faults in every page of [start, end).
    public void touch(long start, long end) {
        for (long page = start; page < end; page += 1L << PAGE_SHIFT) {
            require(fault(page), "fault");
        }
    }

    /// Bytes of the table pages in use, of the host's and the hypervisor's tables.
    public long tableBytes() {
        Hypervisor el2 = model.el2();
        long free = el2.hostPool().freePages() + el2.hypPool().freePages();
        return (el2.sizes().hostStage2() + el2.sizes().hypStage1() - free) << PAGE_SHIFT;
    }

    /// FNV-1a, by words, over the entries of the host's table in the order of a walk: its leaves, annotations and
    /// empty entries, wherever its pages lie.
    public long checksum() {
        return checksum(model.hostTable());
    }

    /// The same over any table.
    public static long checksum(TranslationTable table) {
        long[] hash = {0xcbf29ce484222325L};
        table.walk(new EntryVisitor() {
            @Override
            public void entries(MemorySegment bytes, long offset, int count, int level, long inputAddress) {
                hash[0] = mix(hash[0], bytes, offset, count);
            }
        });
        return hash[0];
    }

    private static long mix(long start, MemorySegment bytes, long offset, int count) {
        long hash = start;
        for (int i = 0; i < count; i++) {
            hash = (hash ^ bytes.get(PhysicalMemory.LE64, offset + (long) i * Long.BYTES)) * 0x100000001b3L;
        }
        return hash;
    }

    @Override
    public void close() {
        model.close();
    }
}
