package dev.s2snap.vmsa;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/// Physical memory of a machine, little-endian, read only through this interface.
///
/// All bytes lie in one off-heap segment, [#bytes()], in an order that only the implementation knows.
/// A reader asks once per page for the place of an address ([#offset(long, long)]) and then loads from
/// the segment, so that nothing virtual is left in its inner loop. Absent memory is a value, not an
/// exception.
///
/// Implementations are safe for concurrent readers.
public interface PhysicalMemory {

    /// The place of an address that is not in this memory.
    long ABSENT = -1;

    /// A descriptor, wherever it lies in a file: the address in memory is aligned, the place may not be.
    ValueLayout.OfLong LE64 = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /// The segment that holds all bytes of this memory. The same object at every call.
    MemorySegment bytes();

    /// The offset in [#bytes()] of physical address `address`, if `size` bytes from there are present
    /// and contiguous in the segment; otherwise [#ABSENT]. `size` is at least 1 and in bytes.
    long offset(long address, long size);

    /// The 64-bit word at `address`, which must be present: ask [#offset(long, long)] where that is not known.
    ///
    /// @throws IndexOutOfBoundsException if it is absent
    default long load64(long address) {
        long offset = offset(address, Long.BYTES);
        if (offset == ABSENT) {
            throw new IndexOutOfBoundsException("no memory at physical address 0x" + Long.toHexString(address));
        }
        return bytes().get(LE64, offset);
    }
}
