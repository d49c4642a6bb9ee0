package dev.s2snap.inspect;

import java.util.Optional;

/// An address to explain:
///
/// | | |
/// |---|---|
/// | `0x43039000` | a physical address |
/// | `guest:N:0x80000000` | an intermediate physical address of a guest; also `guest:vmid=N:..`, `guest:handle=N:..` |
/// | `hyp:0x600000100000` | a virtual address of EL2 |
/// | `host:0xffff800080000000` | a virtual address of the host's own stage 1 |
///
/// @param text as it was written
/// @param table whose input address it is; empty for a physical one
/// @param value the address
public record ExplainAddress(String text, Optional<TableSelector> table, long value) {

    /// Bit 55 of a virtual address selects the range: clear for TTBR0, set for TTBR1 (D8.2.3).
    private static final long UPPER = 1L << 55;

    /// No physical address of the VMSAv8-64 has more than 52 bits (D8.1.6).
    private static final int PHYSICAL_BITS = 52;

    /// @throws IllegalArgumentException if it is none; the message is for a person
    public static ExplainAddress parse(String text) {
        int colon = text.lastIndexOf(':');
        long value = number(text, text.substring(colon + 1));
        if (colon < 0) {
            if (value >>> PHYSICAL_BITS != 0) {
                throw new IllegalArgumentException("\"" + text + "\" is no physical address, which has up to "
                        + PHYSICAL_BITS + " bits; virtual ones are written hyp:VA and host:VA");
            }
            return new ExplainAddress(text, Optional.empty(), value);
        }
        return new ExplainAddress(text, Optional.of(table(text, text.substring(0, colon), value)), value);
    }

    private static TableSelector table(String text, String name, long value) {
        boolean upper = (value & UPPER) != 0;
        if (name.equals("hyp")) {
            return upper ? TableSelector.parse("hyp:upper") : TableSelector.HYP;
        }
        if (name.equals("host")) {
            return TableSelector.parse(upper ? "el1:upper" : "el1:lower");
        }
        if (name.startsWith("guest:")) {
            return TableSelector.parse(name);
        }
        throw wrong(text);
    }

    private static long number(String text, String digits) {
        try {
            return digits.startsWith("0x")
                    ? Long.parseUnsignedLong(digits.substring(2), 16)
                    : Long.parseUnsignedLong(digits);
        } catch (NumberFormatException e) {
            throw new IllegalArgumentException(wrong(text).getMessage(), e);
        }
    }

    private static IllegalArgumentException wrong(String text) {
        return new IllegalArgumentException("\"" + text
                + "\" is no address; write a physical one such as 0x40000000, guest:N:IPA, hyp:VA or host:VA");
    }

    /// Whether it is a virtual address of the host's own stage 1.
    boolean ofHost() {
        return table.isPresent()
                && (table.get().kind() == TableSelector.Kind.EL1_LOWER
                        || table.get().kind() == TableSelector.Kind.EL1_UPPER);
    }
}
