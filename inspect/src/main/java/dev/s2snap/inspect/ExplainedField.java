package dev.s2snap.inspect;

import java.util.Set;

/// A field of a descriptor, decoded.
///
/// @param high highest bit
/// @param low lowest bit
/// @param name as the Arm ARM has it, `software` for bits 58:55, or in lower case what an annotation keeps there
/// @param value the bits alone, shifted down; of an address the address itself
/// @param meaning a clause for a person
public record ExplainedField(int high, int low, String name, long value, String meaning) {

    static final String RES0 = "RES0";
    static final String IGNORED = "IGNORED";

    /// `[7:6]`, or `[10]` of a single bit.
    public String range() {
        return high == low ? "[" + low + "]" : "[" + high + ":" + low + "]";
    }

    /// Fields of which nothing has to be said while they are 0.
    private static final Set<String> BLANK =
            Set.of(RES0, IGNORED, "NSTable", "APTable", "UXNTable", "XNTable", "PXNTable", "NS");

    /// Whether it is 0 where it has to be, where nobody looks, or where that restricts nothing.
    boolean blank() {
        return value == 0 && BLANK.contains(name);
    }

    /// The value as it is written beside the name: bits as bits while they are few.
    public String digits() {
        int width = high - low + 1;
        if (width == 1) {
            return Long.toString(value);
        }
        if (width > 4) {
            return "0x" + Long.toHexString(value);
        }
        String bits = Long.toBinaryString(value);
        return "0b" + "0".repeat(width - bits.length()) + bits;
    }
}
