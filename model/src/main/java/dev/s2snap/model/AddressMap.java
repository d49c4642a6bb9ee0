package dev.s2snap.model;

/// Where things are in EL2's address space: the linear map, the private range and the vmemmap.
///
/// The host's linear map puts physical `memstart` at -2^vaBits. EL2 keeps the low bits of such an address that tell
/// pages of memory apart, and puts a constant tag above them; any other 64-bit value is folded into the same window.
public final class AddressMap {
    private final long kernBase;
    private final long memstart;
    private final long vaMask;
    private final long tag;
    private final long physvirtOffset;
    private final long ioBase;
    private final long vmemmapBase;

    AddressMap(ModelConfig config) {
        memstart = config.memstart();
        kernBase = -(1L << config.vaBits);
        long low = config.regions.getFirst().base();
        long high = config.regions.getLast().end();
        int bits = 64 - Long.numberOfLeadingZeros(kern(low) ^ kern(high) - 1);
        vaMask = bits == 64 ? -1 : (1L << bits) - 1;
        long region = 1L << (config.vaBits - 1);
        // The region bit is chosen so that the linear map keeps clear of the identity map.
        long regionBit = (config.idmap.base() & region) == 0 ? region : 0;
        long tagMask = (1L << (config.vaBits - 1)) - 1 & ~vaMask;
        tag = regionBit | (config.tag & tagMask);
        physvirtOffset = low - kernHypVa(kern(low));
        long privateBit = 1L << (config.hypVaBits - 2);
        ioBase = (config.idmap.base() & privateBit) ^ privateBit;
        vmemmapBase = ioBase | 1L << (config.hypVaBits - 3);
    }

    /// The host's linear-map address of a physical address.
    public long kern(long physical) {
        return physical - memstart + kernBase;
    }

    /// `kern_hyp_va`: total, but not injective.
    public long kernHypVa(long pointer) {
        return (pointer & vaMask) | tag;
    }

    public long hypVa(long physical) {
        return physical - physvirtOffset;
    }

    public long hypPa(long virtual) {
        return virtual + physvirtOffset;
    }

    public long kernBase() {
        return kernBase;
    }

    public long memstart() {
        return memstart;
    }

    public long vaMask() {
        return vaMask;
    }

    public long tag() {
        return tag;
    }

    public long physvirtOffset() {
        return physvirtOffset;
    }

    /// First address of the private range.
    public long ioBase() {
        return ioBase;
    }

    /// Address of the vmemmap's entry 0.
    public long vmemmapBase() {
        return vmemmapBase;
    }
}
