package dev.s2snap.inspect;

import dev.s2snap.inspect.Diff.NotCompared;
import dev.s2snap.inspect.DiffSource.OfMachine;
import dev.s2snap.inspect.DiffSource.OfText;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.vmsa.AddressRanges;
import dev.s2snap.vmsa.EntryCursor;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/// Finds the tables that belong together, and compares each pair.
final class DiffTables {
    private final DiffSource a;
    private final DiffSource b;
    private final Optional<TableSelector> only;
    private final DiffGroups groups = new DiffGroups();
    private final List<Diff.Table> tables = new ArrayList<>();
    private final List<String> notes = new ArrayList<>();
    private List<String> machines = List.of();

    DiffTables(DiffSource a, DiffSource b, Optional<TableSelector> only) {
        this.a = a;
        this.b = b;
        this.only = only;
    }

    Diff compare() {
        switch (a) {
            case OfMachine(Reading first) when b instanceof OfMachine(Reading second) -> machines(first, second);
            case OfMachine(Reading first) when b instanceof OfText(KernelTable text) -> texts(text, first, false);
            case OfText(KernelTable text) when b instanceof OfMachine(Reading second) -> texts(text, second, true);
            case OfText(KernelTable text) when b instanceof OfText(KernelTable other) -> texts(text, other);
            default -> throw new AssertionError("there are two kinds of sources");
        }
        return new Diff(machines, tables, groups.groups(), groups.notCompared(), notes);
    }

    // Two machines.

    private void machines(Reading first, Reading second) {
        machines = DiffMachines.of(first, second);
        if (only.isPresent()) {
            TableSelector selector = only.get();
            pair(first, selector, known(first, selector), second, selector, known(second, selector), selector.label());
            return;
        }
        for (TableSelector selector : List.of(TableSelector.HOST, TableSelector.HYP)) {
            Fact<TranslationTable> mine = selector.of(first.machine());
            Fact<TranslationTable> theirs = selector.of(second.machine());
            if (mine instanceof Fact.Known<TranslationTable> old
                    && theirs instanceof Fact.Known<TranslationTable> now) {
                pair(first, selector, old, second, selector, now, selector.label());
            } else if (mine.optional().isPresent() != theirs.optional().isPresent()) {
                boolean inB = mine instanceof Fact.Unknown<TranslationTable>;
                leaveOut(
                        selector.label(),
                        "its table is not known of " + (inB ? "A: " : "B: ") + Reading.because(inB ? mine : theirs));
            } else if (!mine.equals(theirs)) {
                leaveOut(
                        selector.label(),
                        "its table is not known of A: " + Reading.because(mine) + ", nor of B: "
                                + Reading.because(theirs));
            }
        }
        guests(first, second);
        if (tables.isEmpty()) {
            throw new NoAnswerException("nothing can be compared: the host table of the first is "
                    + first.machine().host().provenance() + ", of the second "
                    + second.machine().host().provenance());
        }
    }

    private static Fact.Known<TranslationTable> known(Reading reading, TableSelector selector) {
        return switch (selector.of(reading.machine())) {
            case Fact.Known<TranslationTable> known -> known;
            case Fact.Unknown<TranslationTable>(String why) ->
                throw new NoAnswerException("the " + selector.label() + " table is not known: " + why);
        };
    }

    private void leaveOut(String label, String why) {
        groups.leaveOut(new NotCompared(label, 0, 0, why));
    }

    private void pair(
            Reading first,
            TableSelector selector,
            Fact.Known<TranslationTable> old,
            Reading second,
            TableSelector other,
            Fact.Known<TranslationTable> now,
            String label) {
        boolean host = selector.kind() == TableSelector.Kind.HOST;
        boolean states = false;
        if (host) {
            Fact<?> mine = OwnershipRuns.within(first, List.of(), new AddressRanges());
            Fact<?> theirs = OwnershipRuns.within(second, List.of(), new AddressRanges());
            states = mine instanceof Fact.Known<?> && theirs instanceof Fact.Known<?>;
            if (!states) {
                leaveOut(label, "who owns what is not known" + of("A", mine) + of("B", theirs));
            }
        }
        boolean alike = DiffMachines.alike(first.machine(), second.machine(), selector, other)
                && first.era().optional().equals(second.era().optional())
                && first.annotations().optional().equals(second.annotations().optional());
        DiffWindows windows = DiffWindows.of(first, old.value(), second, now.value(), alike, states);
        DiffSide mine = new DiffSide(first, selector, old, windows.ranges());
        DiffSide theirs = new DiffSide(second, other, now, windows.ranges());
        TableGeometry geometry = old.value().geometry();
        DiffGroups.Table table =
                new DiffGroups.Table(label, geometry.inputBase(), host, OptionalInt.of(geometry.granuleShift()), "");
        for (DiffWindows.Pointers pointers : windows.pointers()) {
            groups.change(
                    table,
                    pointers.start(),
                    pointers.end(),
                    DiffEntry.table(pointers.level(), pointers.first()),
                    DiffEntry.table(pointers.level(), pointers.second()));
        }
        groups.compare(table, windows.ranges(), mine.track(), theirs.track(), alike);
        if (states) {
            withoutFrames(label, mine, theirs);
        }
        tables.add(new Diff.Table(label, windows.bulk()));
    }

    private static String of(String source, Fact<?> fact) {
        return fact instanceof Fact.Unknown<?>(String why) ? ", of " + source + ": " + why : "";
    }

    /// Parts of the hyp_vmemmap that are not there hide who owns what.
    private void withoutFrames(String label, DiffSide mine, DiffSide theirs) {
        AddressRanges missing = mine.withoutFrames().with(theirs.withoutFrames());
        for (int i = 0; i < missing.count(); i++) {
            groups.leaveOut(new NotCompared(
                    label, missing.start(i), missing.end(i), "a page of the hyp_vmemmap is not in this memory"));
        }
    }

    // Guests.

    /// A VMID stands for a VM: pKVM gives both by the same slot. The same one can be on several CPUs.
    private void guests(Reading first, Reading second) {
        List<Guest> old = distinct(first.machine());
        List<Guest> now = distinct(second.machine());
        List<Guest> left = new ArrayList<>(now);
        boolean protectedMachine = first.machine().host().optional().isPresent()
                || second.machine().host().optional().isPresent();
        for (Guest guest : old) {
            Optional<Guest> match =
                    left.stream().filter(other -> other.vmid() == guest.vmid()).findFirst();
            if (match.isPresent()) {
                left.remove(match.get());
                pair(
                        first,
                        TableSelector.guest(guest.index()),
                        known(first, TableSelector.guest(guest.index())),
                        second,
                        TableSelector.guest(match.get().index()),
                        known(second, TableSelector.guest(match.get().index())),
                        name(guest, protectedMachine));
            } else {
                alone(first, guest, name(guest, protectedMachine), false);
            }
        }
        for (Guest guest : left) {
            alone(second, guest, name(guest, protectedMachine), true);
        }
    }

    /// Those whose tables are known, each table once.
    private List<Guest> distinct(Machine machine) {
        List<Guest> guests = new ArrayList<>();
        for (Guest guest : machine.guests()) {
            switch (guest.table()) {
                case Fact.Known<TranslationTable>(TranslationTable table, String _) -> {
                    if (guests.stream()
                            .noneMatch(known -> known.vmid() == guest.vmid()
                                    && known.table().optional().orElseThrow().root() == table.root())) {
                        guests.add(guest);
                    }
                }
                case Fact.Unknown<TranslationTable>(String why) ->
                    leaveOut(TableSelector.guest(guest.index()).label(), "its table is not known: " + why);
            }
        }
        return guests;
    }

    private static String name(Guest guest, boolean protectedMachine) {
        return protectedMachine
                ? "VM 0x" + Integer.toHexString(0x1000 + guest.vmid() - 1)
                : "guest with VMID " + guest.vmid();
    }

    /// A guest that only one of them has.
    private void alone(Reading reading, Guest guest, String name, boolean created) {
        TableSelector selector = TableSelector.guest(guest.index());
        Fact.Known<TranslationTable> known = known(reading, selector);
        TableGeometry geometry = known.value().geometry();
        AddressRanges all = new AddressRanges(0, geometry.inputSize());
        DiffSide side = new DiffSide(reading, selector, known, all);
        DiffTrack nothing = new DiffSide(reading, selector, known, new AddressRanges()).track();
        DiffGroups.Table table = new DiffGroups.Table(
                name, 0, false, OptionalInt.of(geometry.granuleShift()), created ? "created" : "gone");
        groups.open(table, table.meaning());
        groups.compare(table, all, created ? nothing : side.track(), created ? side.track() : nothing, true);
        tables.add(new Diff.Table(name, false));
    }

    // Texts.

    private void texts(KernelTable text, Reading reading, boolean textFirst) {
        TableSelector selector = only.orElseGet(() -> text.host() ? TableSelector.HOST : onlyGuest(reading));
        Fact.Known<TranslationTable> known = known(reading, selector);
        TableGeometry geometry = known.value().geometry();
        if (!geometry.regime().stage2()) {
            throw new NoAnswerException("a kernel's text is of a stage 2, and " + selector.label()
                    + " is none; ask for --table host or guest:N");
        }
        if (text.inputBits().isPresent() && text.inputBits().getAsInt() != geometry.inputBits()) {
            machines = List.of("input addresses of "
                    + (textFirst ? text.inputBits().getAsInt() : geometry.inputBits()) + " -> "
                    + (textFirst ? geometry.inputBits() : text.inputBits().getAsInt()) + " bits");
        }
        long end = Math.max(text.end(), geometry.inputSize());
        if (!text.complete() && !text.cut() && emptyFrom(known.value(), text.end())) {
            notes.add(lastRegion(text));
            end = text.end();
        }
        AddressRanges all = new AddressRanges(0, end);
        DiffTrack machine = new DiffSide(reading, selector, known, all).track();
        DiffTrack told = new DiffTextTrack(text);
        DiffGroups.Table table = new DiffGroups.Table(
                selector.label(),
                0,
                selector.kind() == TableSelector.Kind.HOST,
                OptionalInt.of(geometry.granuleShift()),
                "");
        groups.compare(table, all, textFirst ? told : machine, textFirst ? machine : told, false);
        tables.add(new Diff.Table(selector.label(), false));
    }

    /// Whether a table has nothing behind an address, and so ends in one region, as the text has it.
    private static boolean emptyFrom(TranslationTable table, long address) {
        EntryCursor cursor = new EntryCursor(table);
        for (long at = address; at < table.geometry().inputSize(); at = cursor.end()) {
            cursor.seek(at);
            if (!cursor.readable() || cursor.descriptor() != 0) {
                return false;
            }
        }
        return true;
    }

    private static TableSelector onlyGuest(Reading reading) {
        List<Guest> guests = reading.machine().guests();
        if (guests.size() != 1) {
            throw new NoAnswerException("the text is of a guest, and the machine has " + guests.size()
                    + "; say which table with --table guest:N");
        }
        return TableSelector.guest(0);
    }

    private void texts(KernelTable text, KernelTable other) {
        if (only.isPresent()) {
            throw new NoAnswerException("a kernel's text is one table; leave out --table");
        }
        if (!text.inputBits().equals(other.inputBits())) {
            machines = List.of("input addresses of " + bits(text) + " -> " + bits(other));
        }
        AddressRanges all = new AddressRanges(0, Math.max(text.end(), other.end()));
        String label = text.host() && other.host() ? "host" : "guest";
        groups.compare(
                new DiffGroups.Table(label, 0, false, OptionalInt.empty(), ""),
                all,
                new DiffTextTrack(text),
                new DiffTextTrack(other),
                false);
        if (!text.complete() && !other.complete()) {
            if (text.cut() || other.cut()) {
                leaveOut(label, "both texts tell nothing about what is behind their last lines");
            } else {
                notes.add(lastRegion(text));
            }
        }
        tables.add(new Diff.Table(label, false));
    }

    private static String lastRegion(KernelTable text) {
        return "the last region of a table, here from 0x" + Long.toHexString(text.end()) + " on, is in no text of "
                + text.dialect().id();
    }

    private static String bits(KernelTable table) {
        return table.inputBits().isPresent() ? table.inputBits().getAsInt() + " bits" : "unknown size";
    }
}
