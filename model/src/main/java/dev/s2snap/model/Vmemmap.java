package dev.s2snap.model;

/// The array of struct hyp_page, one for each page frame: u16 reference count, u16 order (6.1 to 6.13).
///
/// Entry n is at vmemmap base + 4n in EL2's address space; only the parts that belong to memory are backed.
final class Vmemmap {
    static final int ENTRY_SIZE = 4;
    static final int NO_ORDER = 0xffff;
    static final int MAX_REFCOUNT = 0xffff;

    private final El2Memory memory;
    private final AddressMap map;
    private final int pageShift;

    Vmemmap(El2Memory memory, AddressMap map, int pageShift) {
        this.memory = memory;
        this.map = map;
        this.pageShift = pageShift;
    }

    /// EL2 address of the entry of the page at physical address `address`.
    long entry(long address) {
        return map.vmemmapBase() + (address >>> pageShift) * ENTRY_SIZE;
    }

    int refcount(long address) {
        return memory.read16(entry(address));
    }

    void increment(long address) {
        int count = refcount(address);
        if (count == MAX_REFCOUNT) {
            throw HypPanic.bug("hyp_page_ref_inc");
        }
        memory.write16(entry(address), count + 1);
    }

    /// @return the count afterwards
    int decrement(long address) {
        int count = refcount(address);
        if (count == 0) {
            throw HypPanic.bug("hyp_page_ref_dec");
        }
        memory.write16(entry(address), count - 1);
        return count - 1;
    }

    /// Sets a count of 1 on a page that has none.
    void setRefcounted(long address) {
        if (refcount(address) != 0) {
            throw HypPanic.bug("hyp_set_page_refcounted");
        }
        memory.write16(entry(address), 1);
    }

    int order(long address) {
        return memory.read16(entry(address) + 2);
    }

    void order(long address, int order) {
        memory.write16(entry(address) + 2, order);
    }

    void clear(long address) {
        memory.write32(entry(address), 0);
    }
}
