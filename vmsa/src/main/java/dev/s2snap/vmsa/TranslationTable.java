package dev.s2snap.vmsa;

import dev.s2snap.vmsa.Finding.Rule;
import dev.s2snap.vmsa.Finding.Step;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/// A translation table: a root address in a memory, with a geometry.
///
/// @param root physical address of the first root page
public record TranslationTable(PhysicalMemory memory, TableGeometry geometry, long root) {

    /// Of each rule at most this many findings are passed on one by one.
    public static final int LISTED_FINDINGS = 1000;

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
        if (!geometry.covers(address)) {
            return new Translation.OutOfRange(geometry.inputBits());
        }
        long beyond = geometry.beyondOutput();
        int level = geometry.startLevel();
        // Entries of concatenated root pages are numbered through.
        long entry = root + ((address - geometry.inputBase()) >>> geometry.shift(level)) * Long.BYTES;
        while (true) {
            if (memory.offset(entry, Long.BYTES) == PhysicalMemory.ABSENT) {
                return new Translation.Unreadable(path, level, entry);
            }
            long descriptor = memory.load64(entry);
            path.add(new Step(level, entry, address & -geometry.entrySize(level), descriptor));
            boolean leaf = Descriptor.leaf(descriptor, level, geometry);
            // An address beyond the output size is a fault at this level (D8.2.2).
            if ((!leaf && !Descriptor.table(descriptor, level)) || (descriptor & beyond) != 0) {
                return new Translation.Fault(path, level, descriptor);
            }
            if (leaf) {
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
        private final long beyond = geometry.beyondOutput();
        private final long reservedOfTables = geometry.reservedTableBits();

        private final long[] pathAddress = new long[5];
        private final long[] pathInput = new long[5];
        private final long[] pathDescriptor = new long[5];
        private int depth;

        private final long[] found = new long[Rule.values().length];
        private long tableAttributes;

        Walk(EntryVisitor visitor) {
            this.visitor = visitor;
        }

        void root() {
            int level = geometry.startLevel();
            int count = Math.min(geometry.rootEntries(), geometry.entriesPerTable());
            for (int page = 0; page < geometry.rootPages(); page++) {
                long input = ((long) page * geometry.entriesPerTable()) << geometry.shift(level);
                page(root + page * geometry.granule(), level, geometry.inputBase() + input, count);
            }
            for (Rule rule : Rule.values()) {
                if (found[rule.ordinal()] > LISTED_FINDINGS) {
                    visitor.unlisted(rule, found[rule.ordinal()] - LISTED_FINDINGS);
                }
            }
            if (tableAttributes != 0) {
                visitor.tableAttributes(tableAttributes);
            }
        }

        private void page(long address, int level, long input, int count) {
            long offset = memory.offset(address, (long) count * Long.BYTES);
            boolean absent = offset == PhysicalMemory.ABSENT;
            if (absent || !entered.add(address)) {
                visitor.unread(input, (long) count << geometry.shift(level));
                report(
                        absent ? Rule.ABSENT_TABLE : ancestor(address) ? Rule.TABLE_CYCLE : Rule.SHARED_TABLE,
                        address,
                        level);
                return;
            }
            visitor.table(address, level, input);
            if (level == TableGeometry.LAST_LEVEL) {
                visitor.entries(bytes, offset, count, level, input);
                if (!visitor.clean()) {
                    checkLeaves(address, offset, 0, count, level, input);
                }
                return;
            }
            int from = 0;
            for (int index = 0; index < count; index++) {
                long descriptor = bytes.get(PhysicalMemory.LE64, offset + (long) index * Long.BYTES);
                if (Descriptor.table(descriptor, level)) {
                    span(address, offset, from, index, level, input);
                    push(address + (long) index * Long.BYTES, input + index * geometry.entrySize(level), descriptor);
                    descend(descriptor, level);
                    depth--;
                    from = index + 1;
                }
            }
            span(address, offset, from, count, level, input);
        }

        /// Enters the table that the descriptor at the end of the path points to.
        private void descend(long descriptor, int level) {
            if ((descriptor & beyond) != 0) {
                visitor.unread(pathInput[depth - 1], geometry.entrySize(level));
                report(Rule.ADDRESS_SIZE, descriptor, level);
                return;
            }
            if ((descriptor & reservedOfTables) != 0) {
                report(Rule.RESERVED_BITS, descriptor, level);
            }
            tableAttributes |= descriptor & Descriptor.TABLE_ATTRIBUTES;
            page(geometry.tableAddress(descriptor), level + 1, pathInput[depth - 1], geometry.entriesPerTable());
        }

        private boolean ancestor(long address) {
            boolean ancestor = false;
            for (int i = 0; i < depth; i++) {
                ancestor |= (pathAddress[i] & -geometry.granule()) == address;
            }
            return ancestor;
        }

        private void span(long address, long offset, int from, int to, int level, long input) {
            if (from < to) {
                long first = offset + (long) from * Long.BYTES;
                visitor.entries(bytes, first, to - from, level, input + from * geometry.entrySize(level));
                if (!visitor.clean()) {
                    checkLeaves(address, offset, from, to, level, input);
                }
            }
        }

        /// Nearly no table has anything to report: all entries together are asked first.
        private void checkLeaves(long address, long offset, int from, int to, int level, long input) {
            long any = 0;
            long anyReservedType = 0;
            for (int index = from; index < to; index++) {
                long descriptor = bytes.get(PhysicalMemory.LE64, offset + (long) index * Long.BYTES);
                // Annotations use all bits; a mask of ones for valid entries leaves them out.
                any |= descriptor & -(descriptor & Descriptor.VALID);
                anyReservedType |= descriptor & ~(descriptor >>> 1);
            }
            long suspect = geometry.suspectBits(level);
            boolean typeSuspect = !geometry.blocksAt(level) && (anyReservedType & Descriptor.VALID) != 0;
            if ((any & suspect) != 0 || typeSuspect) {
                for (int index = from; index < to; index++) {
                    long descriptor = bytes.get(PhysicalMemory.LE64, offset + (long) index * Long.BYTES);
                    if (Descriptor.valid(descriptor)) {
                        push(
                                address + (long) index * Long.BYTES,
                                input + index * geometry.entrySize(level),
                                descriptor);
                        checkLeaf(descriptor, level);
                        depth--;
                    }
                }
            }
        }

        private void checkLeaf(long descriptor, int level) {
            if (!Descriptor.leaf(descriptor, level, geometry)) {
                report(Rule.RESERVED_ENCODING, descriptor, level);
                return;
            }
            if ((descriptor & beyond) != 0) {
                report(Rule.ADDRESS_SIZE, descriptor, level);
            }
            long reserved = descriptor & geometry.reservedBits(level);
            if ((reserved & geometry.tableAddressMask()) != 0) {
                report(Rule.MISALIGNED_BLOCK, descriptor, level);
            } else if (reserved != 0) {
                report(Rule.RESERVED_BITS, descriptor, level);
            }
        }

        private void push(long descriptorAddress, long input, long descriptor) {
            pathAddress[depth] = descriptorAddress;
            pathInput[depth] = input;
            pathDescriptor[depth] = descriptor;
            depth++;
        }

        /// @param value the descriptor, or the address of a table that cannot be entered
        private void report(Rule rule, long value, int level) {
            if (found[rule.ordinal()]++ >= LISTED_FINDINGS) {
                return;
            }
            List<Step> path = new ArrayList<>(depth);
            for (int i = 0; i < depth; i++) {
                path.add(new Step(geometry.startLevel() + i, pathAddress[i], pathInput[i], pathDescriptor[i]));
            }
            visitor.finding(new Finding(rule, path, message(rule, value, level)));
        }

        private String message(Rule rule, long value, int level) {
            return switch (rule) {
                case ABSENT_TABLE -> "the level " + level + " table at " + hex(value) + " is not in this memory";
                case TABLE_CYCLE -> "the level " + level + " table at " + hex(value) + " is its own ancestor";
                case SHARED_TABLE ->
                    "the level " + level + " table at " + hex(value) + " was already reached through another entry";
                case ADDRESS_SIZE ->
                    (Descriptor.table(value, level) ? "table" : "leaf") + " descriptor " + hex(value) + " at level "
                            + level + " has an address beyond the " + geometry.outputBits()
                            + " bits of the output size: an access faults";
                case RESERVED_ENCODING ->
                    "descriptor " + hex(value) + " at level " + level + " is reserved, hardware takes it for invalid";
                case MISALIGNED_BLOCK ->
                    "block descriptor " + hex(value) + " at level " + level + " has address bits below its size";
                case RESERVED_BITS ->
                    "descriptor " + hex(value) + " at level " + level
                            + " has bits set that have to be 0 (RES0), next to its address";
            };
        }

        private static String hex(long value) {
            return "0x" + Long.toHexString(value);
        }
    }
}
