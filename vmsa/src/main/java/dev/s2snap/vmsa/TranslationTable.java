package dev.s2snap.vmsa;

import dev.s2snap.vmsa.Finding.Rule;
import dev.s2snap.vmsa.Finding.Step;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/// A translation table: a root address in a memory, with a geometry.
///
/// @param root physical address of the first root page
public record TranslationTable(PhysicalMemory memory, TableGeometry geometry, long root) {

    /// Visits all entries in ascending input address.
    ///
    /// The walk ends on any input: each table page is entered at most once, so the work is bounded by the pages that
    /// are present, and a second pointer to a page is a finding. Nothing is skipped without a finding.
    public void walk(EntryVisitor visitor) {
        new Walk(visitor).root();
    }

    /// Translates one input address as hardware would.
    public Translation translate(long address) {
        List<Step> path = new ArrayList<>();
        if (Long.compareUnsigned(address, geometry.inputSize()) >= 0) {
            return new Translation.OutOfRange(geometry.inputBits());
        }
        int level = geometry.startLevel();
        // Entries of concatenated root pages are numbered through.
        long entry = root + (address >>> geometry.shift(level)) * Long.BYTES;
        while (true) {
            if (memory.offset(entry, Long.BYTES) == PhysicalMemory.ABSENT) {
                return new Translation.Unreadable(path, level, entry);
            }
            long descriptor = memory.load64(entry);
            path.add(new Step(level, entry, address & -geometry.entrySize(level), descriptor));
            if (!Descriptor.table(descriptor, level)) {
                if (!Descriptor.leaf(descriptor, level, geometry)) {
                    return new Translation.Fault(path, level, descriptor);
                }
                long output = geometry.outputAddress(descriptor, level) | (address & geometry.entrySize(level) - 1);
                return new Translation.Mapped(path, level, descriptor, output);
            }
            level++;
            entry = geometry.tableAddress(descriptor) + (long) geometry.index(address, level) * Long.BYTES;
        }
    }

    private final class Walk {
        private final EntryVisitor visitor;
        private final MemorySegment bytes = memory.bytes();
        private final AddressSet entered = new AddressSet();
        private final long[] pathAddress = new long[5];
        private final long[] pathInput = new long[5];
        private int depth;

        Walk(EntryVisitor visitor) {
            this.visitor = visitor;
        }

        void root() {
            int level = geometry.startLevel();
            int count = Math.min(geometry.rootEntries(), geometry.entriesPerTable());
            for (int page = 0; page < geometry.rootPages(); page++) {
                long input = ((long) page * geometry.entriesPerTable()) << geometry.shift(level);
                page(root + page * geometry.granule(), level, input, count);
            }
        }

        private void page(long address, int level, long input, int count) {
            long offset = memory.offset(address, (long) count * Long.BYTES);
            if (offset == PhysicalMemory.ABSENT) {
                report(
                        Rule.ABSENT_TABLE,
                        "the level " + level + " table at " + hex(address) + " is not in this memory");
                return;
            }
            if (!entered.add(address)) {
                boolean cycle = false;
                for (int i = 0; i < depth; i++) {
                    cycle |= (pathAddress[i] & -geometry.granule()) == address;
                }
                report(
                        cycle ? Rule.TABLE_CYCLE : Rule.SHARED_TABLE,
                        "the level " + level + " table at " + hex(address)
                                + (cycle ? " is its own ancestor" : " was already reached through another entry"));
                return;
            }
            visitor.table(address, level, input);
            if (level == TableGeometry.LAST_LEVEL) {
                visitor.entries(bytes, offset, count, level, input);
                checkLeaves(address, offset, 0, count, level, input);
                return;
            }
            long entrySize = geometry.entrySize(level);
            int from = 0;
            for (int index = 0; index < count; index++) {
                long descriptor = bytes.get(PhysicalMemory.LE64, offset + (long) index * Long.BYTES);
                if (Descriptor.table(descriptor, level)) {
                    span(address, offset, from, index, level, input);
                    push(address + (long) index * Long.BYTES, input + index * entrySize);
                    page(
                            geometry.tableAddress(descriptor),
                            level + 1,
                            input + index * entrySize,
                            geometry.entriesPerTable());
                    depth--;
                    from = index + 1;
                }
            }
            span(address, offset, from, count, level, input);
        }

        private void span(long address, long offset, int from, int to, int level, long input) {
            if (from < to) {
                long first = offset + (long) from * Long.BYTES;
                visitor.entries(bytes, first, to - from, level, input + from * geometry.entrySize(level));
                checkLeaves(address, offset, from, to, level, input);
            }
        }

        /// Reports reserved encodings and misaligned blocks. The first loop is free of calls, for the compiler.
        private void checkLeaves(long address, long offset, int from, int to, int level, long input) {
            long reservedZero = misalignedMask(level);
            boolean blocks = geometry.blocksAt(level);
            int suspects = 0;
            for (int index = from; index < to; index++) {
                long descriptor = bytes.get(PhysicalMemory.LE64, offset + (long) index * Long.BYTES);
                boolean block = (descriptor & 3) == Descriptor.VALID;
                suspects += block && (!blocks || (descriptor & reservedZero) != 0) ? 1 : 0;
            }
            for (int index = from; suspects > 0 && index < to; index++) {
                long descriptor = bytes.get(PhysicalMemory.LE64, offset + (long) index * Long.BYTES);
                if ((descriptor & 3) != Descriptor.VALID || (blocks && (descriptor & reservedZero) == 0)) {
                    continue;
                }
                suspects--;
                push(address + (long) index * Long.BYTES, input + index * geometry.entrySize(level));
                if (!blocks) {
                    report(
                            Rule.RESERVED_ENCODING,
                            "descriptor " + hex(descriptor) + " at level " + level
                                    + " is reserved, hardware takes it for invalid");
                } else {
                    report(
                            Rule.MISALIGNED_BLOCK,
                            "block descriptor " + hex(descriptor) + " at level " + level
                                    + " has address bits below its size");
                }
                depth--;
            }
        }

        /// Address bits between the granule and the size of a block, RES0 but for nT (bit 16, D8.3.1).
        private long misalignedMask(int level) {
            return geometry.tableAddressMask() & ~geometry.outputMask(level) & ~(1L << 16);
        }

        private void push(long descriptorAddress, long input) {
            pathAddress[depth] = descriptorAddress;
            pathInput[depth] = input;
            depth++;
        }

        private void report(Rule rule, String message) {
            List<Step> path = new ArrayList<>(depth);
            for (int i = 0; i < depth; i++) {
                path.add(new Step(
                        geometry.startLevel() + i, pathAddress[i], pathInput[i], memory.load64(pathAddress[i])));
            }
            visitor.finding(new Finding(rule, Collections.unmodifiableList(path), message));
        }

        private static String hex(long value) {
            return "0x" + Long.toHexString(value);
        }
    }
}
