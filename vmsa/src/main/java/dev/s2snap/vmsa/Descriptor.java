package dev.s2snap.vmsa;

/// Descriptors of the VMSAv8-64 (D8.3): what bits 1:0 make of a 64-bit entry at its level.
public final class Descriptor {

    /// Bit 0: hardware looks at the entry.
    public static final long VALID = 1;

    /// Bit 1: table at levels below 3, page at level 3.
    public static final long TYPE = 1 << 1;

    /// Bit 10, access flag.
    public static final long AF = 1L << 10;

    /// Bits 63:59 of a table descriptor of a stage 1: NSTable, APTable, UXNTable or XNTable, PXNTable. They restrict
    /// everything below it (D8.3.1); in a stage 2 they are RES0.
    public static final long TABLE_ATTRIBUTES = 0x1fL << 59;

    /// Bits 58:55, ignored by hardware.
    public static final long SOFTWARE = 0xfL << 55;

    private Descriptor() {}

    public static boolean valid(long descriptor) {
        return (descriptor & VALID) != 0;
    }

    /// Whether the entry points to a table of the next level.
    public static boolean table(long descriptor, int level) {
        return (descriptor & (VALID | TYPE)) == (VALID | TYPE) && level != TableGeometry.LAST_LEVEL;
    }

    /// Whether the entry maps a block or a page; a reserved encoding does not.
    public static boolean leaf(long descriptor, int level, TableGeometry geometry) {
        return switch ((int) (descriptor & (VALID | TYPE))) {
            case 1 -> level != TableGeometry.LAST_LEVEL && geometry.blocksAt(level);
            case 3 -> level == TableGeometry.LAST_LEVEL;
            default -> false;
        };
    }

    /// Invalid but not zero: ignored by hardware, and meaningful to whoever wrote it.
    public static boolean annotated(long descriptor) {
        return descriptor != 0 && !valid(descriptor);
    }

    /// Valid, with bit 1 clear, at a level that has no blocks: treated as invalid by hardware (D8.3.1).
    public static boolean reserved(long descriptor, int level, TableGeometry geometry) {
        return (descriptor & (VALID | TYPE)) == VALID && !geometry.blocksAt(level);
    }
}
