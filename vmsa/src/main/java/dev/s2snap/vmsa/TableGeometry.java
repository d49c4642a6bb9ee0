package dev.s2snap.vmsa;

/// The shape of a translation table: everything a walk needs besides the memory and the root's address.
///
/// | granule | entries | level 3 | level 2 | level 1 | level 0  | level -1 |
/// |---------|---------|---------|---------|---------|----------|----------|
/// | 4K      | 512     | 4K      | 2M      | 1G      | 512G     | 256T     |
/// | 16K     | 2048    | 16K     | 32M     | 64G     | 128T     |          |
/// | 64K     | 8192    | 64K     | 512M    | 4T      |          |          |
///
/// The root of a stage 2 may be up to 16 concatenated pages (D8.2.2); the root of any regime may use
/// only part of a page. `lpa2` is the DS bit: 52-bit output addresses with the 4K and 16K granules.
///
/// @param granuleShift 12, 14 or 16
/// @param inputBits size of the input address in bits, 64 - TnSZ
/// @param startLevel level of the root, -1 to 3
/// @param lpa2 descriptors carry OA[51:50] in bits 9:8, FEAT_LPA2 with DS = 1
/// @param outputBits size of the output address in bits, from the PS or IPS field: an address beyond it is a fault
public record TableGeometry(
        TranslationRegime regime, int granuleShift, int inputBits, int startLevel, boolean lpa2, int outputBits) {

    /// The level whose valid entries are pages and never tables.
    public static final int LAST_LEVEL = 3;

    /// The lowest level there is, only with 4K pages and more than 48 bits of input.
    public static final int FIRST_LEVEL = -1;

    private static final int MAX_CONCATENATED = 16;

    /// VTCR_EL2.D128 (FEAT_D128).
    private static final long VTCR_D128 = 1L << 38;

    public TableGeometry {
        if (granuleShift != 12 && granuleShift != 14 && granuleShift != 16) {
            throw new GeometryException("a granule of 2^" + granuleShift + " bytes does not exist");
        }
        if (lpa2 && granuleShift == 16) {
            throw new GeometryException("DS = 1 has no meaning with the 64K granule");
        }
        int maxBits = maxOutputBits(granuleShift, lpa2);
        if (inputBits < 16 || inputBits > maxBits) {
            throw new GeometryException("an input address of " + inputBits + " bits does not exist with the "
                    + (1 << (granuleShift - 10)) + "K granule" + (lpa2 ? " and DS = 1" : ""));
        }
        int firstLevel = granuleShift == 12 && lpa2 ? -1 : granuleShift == 16 ? 1 : 0;
        if (startLevel < firstLevel || startLevel > LAST_LEVEL) {
            throw new GeometryException("start level " + startLevel + " does not exist with the "
                    + (1 << (granuleShift - 10)) + "K granule");
        }
        int rootBits = inputBits - shift(granuleShift, startLevel);
        int pageBits = granuleShift - 3;
        if (rootBits < 1) {
            throw new GeometryException("an input address of " + inputBits + " bits is too small for start level "
                    + startLevel + ", whose entries cover 2^" + shift(granuleShift, startLevel) + " bytes");
        }
        int maxRootBits = regime.stage2() ? pageBits + 4 : pageBits;
        if (rootBits > maxRootBits) {
            throw new GeometryException("an input address of " + inputBits + " bits needs a root of "
                    + (1L << (rootBits - pageBits)) + " pages at start level " + startLevel + ", more than the "
                    + (regime.stage2() ? MAX_CONCATENATED : 1) + " that may be concatenated");
        }
        if (outputBits < 32 || outputBits > maxBits) {
            throw new GeometryException("an output address of " + outputBits + " bits does not exist with the "
                    + (1 << (granuleShift - 10)) + "K granule" + (lpa2 ? " and DS = 1" : ""));
        }
    }

    /// A geometry whose output address is as long as its descriptors can carry.
    public TableGeometry(TranslationRegime regime, int granuleShift, int inputBits, int startLevel, boolean lpa2) {
        this(regime, granuleShift, inputBits, startLevel, lpa2, maxOutputBits(granuleShift, lpa2));
    }

    private static int maxOutputBits(int granuleShift, boolean lpa2) {
        return lpa2 || granuleShift == 16 ? 52 : 48;
    }

    /// PS and IPS (D24.2). 6 and 7 are 52 and 56 bits; of these 64-bit descriptors carry what they can.
    private static int outputBits(int field, int granuleShift, boolean lpa2) {
        int[] bits = {32, 36, 40, 42, 44, 48, 52, 52};
        return Math.min(bits[field & 7], maxOutputBits(granuleShift, lpa2));
    }

    /// Decodes VTCR_EL2 (D24.2): T0SZ 5:0, SL0 7:6, TG0 15:14, DS 32, SL2 33.
    ///
    /// @throws GeometryException if TG0 or the start level is reserved, T0SZ, SL0 and TG0 contradict each other, or the
    ///     descriptors have 128 bits (FEAT_D128)
    public static TableGeometry ofVtcr(long vtcr) {
        if ((vtcr & VTCR_D128) != 0) {
            throw new GeometryException("VTCR_EL2.D128 = 1: tables of 128-bit descriptors are not read");
        }
        int granuleShift = granuleShift((int) (vtcr >>> 14) & 3, "VTCR_EL2");
        boolean ds = (vtcr >>> 32 & 1) != 0;
        int sl0 = (int) (vtcr >>> 6) & 3;
        int sl2 = (int) (vtcr >>> 33) & 1;
        int startLevel;
        if (granuleShift == 12) {
            // SL0 0, 1, 2 are levels 2, 1, 0; 3 is level 3 (FEAT_TTST). With DS there is SL2: 1:00 is level -1.
            if (ds && sl2 == 1 && sl0 != 0) {
                throw new GeometryException("VTCR_EL2.SL2 = 1 with SL0 = " + sl0 + " is reserved");
            }
            startLevel = ds && sl2 == 1 ? -1 : sl0 == 3 ? 3 : 2 - sl0;
        } else {
            if (granuleShift == 14 && sl0 == 3 && !ds) {
                throw new GeometryException("VTCR_EL2.SL0 = 3 with 16K pages needs DS = 1");
            }
            startLevel = 3 - sl0;
        }
        boolean lpa2 = ds && granuleShift != 16;
        return new TableGeometry(
                TranslationRegime.STAGE2,
                granuleShift,
                64 - ((int) vtcr & 63),
                startLevel,
                lpa2,
                outputBits((int) (vtcr >>> 16), granuleShift, lpa2));
    }

    /// Decodes the TCR of a stage 1 (D24.2). EL2 has one range: T0SZ 5:0, TG0 15:14, PS 18:16, DS 32. The others have
    /// two: T0SZ 5:0, TG0 15:14, T1SZ 21:16, TG1 31:30, IPS 34:32, DS 59. The start level follows from the input size
    /// (D8.2.1).
    ///
    /// @param regime which range of which register
    /// @param tcr TCR_EL2, or TCR_EL1 for EL1&0
    /// @throws GeometryException if the granule is reserved, or contradicts the size
    public static TableGeometry ofTcr(TranslationRegime regime, long tcr) {
        if (regime.stage2()) {
            throw new IllegalArgumentException("stage 2 is controlled by VTCR_EL2");
        }
        String register =
                regime == TranslationRegime.EL1_0 || regime == TranslationRegime.EL1_0_UPPER ? "TCR_EL1" : "TCR_EL2";
        int granuleShift = regime.upper()
                ? granuleShiftOfTg1((int) (tcr >>> 30) & 3, register)
                : granuleShift((int) (tcr >>> 14) & 3, register);
        boolean lpa2 = (tcr >>> (regime.withEl0() ? 59 : 32) & 1) != 0 && granuleShift != 16;
        int inputBits = 64 - ((int) (tcr >>> (regime.upper() ? 16 : 0)) & 63);
        int levels = Math.ceilDiv(inputBits - granuleShift, granuleShift - 3);
        int outputBits = outputBits((int) (tcr >>> (regime.withEl0() ? 32 : 16)), granuleShift, lpa2);
        return new TableGeometry(regime, granuleShift, inputBits, 4 - levels, lpa2, outputBits);
    }

    private static int granuleShift(int tg0, String register) {
        return switch (tg0) {
            case 0 -> 12;
            case 1 -> 16;
            case 2 -> 14;
            default -> throw new GeometryException(register + ".TG0 = 3 is reserved");
        };
    }

    /// TG1 has other values than TG0.
    private static int granuleShiftOfTg1(int tg1, String register) {
        return switch (tg1) {
            case 1 -> 14;
            case 2 -> 12;
            case 3 -> 16;
            default -> throw new GeometryException(register + ".TG1 = 0 is reserved");
        };
    }

    /// The address in a table base register (D24.2): bits 47:1, or with 52-bit addresses bits 47:6 and
    /// 51:48 in bits 5:2. Bit 0 is CnP. The address is aligned down to the size of the root.
    ///
    /// @param ttbr VTTBR_EL2, or a TTBR of the regime
    public long rootAddress(long ttbr) {
        long low = ttbr & 0x0000_ffff_ffff_fffeL;
        long address = outputBits == 52 ? (low & ~0x3fL) | (ttbr >>> 2 & 0xf) << 48 : low;
        return address & -rootBytes();
    }

    private static int shift(int granuleShift, int level) {
        return granuleShift + (LAST_LEVEL - level) * (granuleShift - 3);
    }

    /// Number of address bits below an entry of `level`: the entry covers `1L << shift(level)` bytes.
    public int shift(int level) {
        return shift(granuleShift, level);
    }

    /// Bytes covered by an entry of `level`.
    public long entrySize(int level) {
        return 1L << shift(level);
    }

    public long granule() {
        return 1L << granuleShift;
    }

    /// Entries in a whole table page.
    public int entriesPerTable() {
        return 1 << (granuleShift - 3);
    }

    /// Index of `address` in its table page at `level`.
    public int index(long address, int level) {
        return (int) (address >>> shift(level)) & entriesPerTable() - 1;
    }

    /// Size of the input address space in bytes. (At most 2^52.)
    public long inputSize() {
        return 1L << inputBits;
    }

    /// The first input address: 0, or that of the upper range, whose end is 2^64 and therefore 0 in a `long`.
    public long inputBase() {
        return regime.upper() ? -inputSize() : 0;
    }

    /// Whether `address` is one that this table translates.
    public boolean covers(long address) {
        return Long.compareUnsigned(address - inputBase(), inputSize()) < 0;
    }

    /// Entries of the root that are looked at: less than a page, a page, or up to 16 pages.
    public int rootEntries() {
        return 1 << (inputBits - shift(startLevel));
    }

    /// Pages of the root, 1 even where it uses only part of one.
    public int rootPages() {
        return Math.max(1, rootEntries() >> (granuleShift - 3));
    }

    /// Bytes of the root that are looked at, which is also its alignment.
    public long rootBytes() {
        return (long) rootEntries() * Long.BYTES;
    }

    /// Whether a valid entry of `level` with bit 1 clear is a block; otherwise it is a reserved encoding (D8.3.1).
    /// 4K: levels 2 and 1, with DS also 0. 16K: level 2, with DS also 1. 64K: level 2, with 52-bit addresses also 1.
    public boolean blocksAt(int level) {
        return switch (granuleShift) {
            case 12 -> level == 2 || level == 1 || (level == 0 && lpa2);
            case 14 -> level == 2 || (level == 1 && lpa2);
            default -> level == 2 || level == 1;
        };
    }

    /// The bits of a descriptor that carry the output address of an entry of `level` (D8.3.1).
    public long outputMask(int level) {
        return addressMask(shift(level));
    }

    /// The bits of a table descriptor that carry the next table's address.
    public long tableAddressMask() {
        return addressMask(granuleShift);
    }

    /// Bits of a valid leaf of `level` that have to be 0 (RES0, D8.3.1): between the granule and the size of a block,
    /// but for nT (bit 16), and those next to the address that carry none of it.
    public long reservedBits(int level) {
        long belowSize = addressMask(12) & ~outputMask(level) & ~(level < LAST_LEVEL ? 1L << 16 : 0);
        return belowSize | aboveAddress();
    }

    /// Bits of a table descriptor that have to be 0 (RES0, D8.3.1), next to the address. Others are ignored.
    public long reservedTableBits() {
        return (addressMask(12) & ~tableAddressMask()) | aboveAddress() | 1L << 50;
    }

    /// 49:48 where they are no address bits. Bit 50 is GP in a stage 1.
    private long aboveAddress() {
        return (lpa2 ? 0 : 3L << 48) | (regime.stage2() ? 1L << 50 : 0);
    }

    /// The bits of a descriptor with which an address is beyond the output size: an Address size fault (D8.2.2).
    public long beyondOutput() {
        return addressBits(-1L << outputBits);
    }

    /// All bits of a valid leaf of `level` that are worth a finding.
    public long suspectBits(int level) {
        return beyondOutput() | reservedBits(level);
    }

    private long addressMask(int low) {
        if (lpa2) {
            return bits(49, low) | 0x300;
        }
        return bits(47, low) | (granuleShift == 16 ? 0xf000 : 0);
    }

    private static long bits(int high, int low) {
        return (1L << (high + 1)) - (1L << low);
    }

    /// The address in a descriptor, of which only the bits of `mask` are looked at.
    long address(long descriptor, long mask) {
        long field = descriptor & mask;
        if (lpa2) {
            return (field & ~0x300L) | (field & 0x300) << 42;
        }
        if (granuleShift == 16) {
            return (field & ~0xf000L) | (field & 0xf000) << 36;
        }
        return field;
    }

    /// Output address of a valid block or page of `level`.
    public long outputAddress(long descriptor, int level) {
        return address(descriptor, outputMask(level));
    }

    /// Address of the table that a table descriptor points to.
    public long tableAddress(long descriptor) {
        return address(descriptor, tableAddressMask());
    }

    /// The first bit above the address bits of a descriptor, apart from those that LPA and LPA2 have elsewhere.
    long addressEnd() {
        return 1L << (lpa2 ? 50 : 48);
    }

    /// The bits of a descriptor that stand for `address`: the inverse of [#tableAddress(long)] and
    /// [#outputAddress(long, int)] for an aligned address.
    public long addressBits(long address) {
        if (lpa2) {
            return (address & bits(49, granuleShift)) | (address >>> 42 & 0x300);
        }
        if (granuleShift == 16) {
            return (address & bits(47, granuleShift)) | (address >>> 36 & 0xf000);
        }
        return address & bits(47, granuleShift);
    }
}
