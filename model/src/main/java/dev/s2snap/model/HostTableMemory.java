package dev.s2snap.model;

import dev.s2snap.vmsa.PhysicalMemory;
import java.lang.foreign.MemorySegment;

/// Memory as the kernel at EL1 sees it: through its linear map, and then through the host's stage 2, which maps a page
/// when it is first touched or says no.
///
/// Every access throws [HostKernel.HostException] where the host may not go; the hypervisor has panicked then.
final class HostTableMemory implements TableMemory, PhysicalMemory {
    private final PkvmModel model;
    private final AddressMap map;
    private final long pageSize;

    HostTableMemory(PkvmModel model) {
        this.model = model;
        map = model.addresses();
        pageSize = model.config().pageSize();
    }

    /// A load of the kernel at a physical address.
    long load(long physical) {
        return value(model.read(physical), physical);
    }

    /// A store of the kernel at a physical address.
    void store(long physical, long value) {
        value(model.write(physical, value), physical);
    }

    /// Zeroes whole pages. A page that takes the first store takes all of them.
    void zero(long physical, long size) {
        for (long page = physical; page < physical + size; page += pageSize) {
            store(page, 0);
            model.ram().bytes().asSlice(model.ram().place(page), pageSize).fill((byte) 0);
        }
    }

    private static long value(PkvmModel.Access access, long address) {
        return switch (access) {
            case PkvmModel.Access.Done(long value) -> value;
            case PkvmModel.Access.Refused(int error) ->
                throw new HostKernel.HostException(
                        "host access to 0x" + Long.toHexString(address) + ": " + Errno.name(error));
            case PkvmModel.Access.Livelock() ->
                throw new HostKernel.HostException(
                        "host access to 0x" + Long.toHexString(address) + " never completes");
        };
    }

    @Override
    public long read64(long va) {
        return load(physical(va));
    }

    @Override
    public void write64(long va, long value) {
        store(physical(va), value);
    }

    @Override
    public long virtual(long physical) {
        return map.kern(physical);
    }

    @Override
    public long physical(long virtual) {
        return virtual - map.kernBase() + map.memstart();
    }

    @Override
    public MemorySegment bytes() {
        return model.ram().bytes();
    }

    /// Faults the page in, so that what is read there next is what the host would read.
    @Override
    public long offset(long address, long size) {
        load(address & -Long.BYTES);
        return model.ram().offset(address, size);
    }
}
