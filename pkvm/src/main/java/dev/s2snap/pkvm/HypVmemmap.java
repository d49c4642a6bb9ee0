package dev.s2snap.pkvm;

/// Where the hypervisor's array of page frames is: EL2 maps it page by page, and only the parts that it needs.
///
/// @param base EL2 virtual address of the entry of page frame 0
/// @param entrySize bytes of an entry, 4 or 8
public record HypVmemmap(long base, int entrySize) {
    public HypVmemmap {
        if (entrySize != 4 && entrySize != 8) {
            throw new IllegalArgumentException("an entry of the hyp_vmemmap has 4 or 8 bytes, not " + entrySize);
        }
    }

    /// EL2 virtual address of the entry of a page frame.
    public long entry(long frame) {
        return base + frame * entrySize;
    }
}
