package dev.s2snap.inspect;

import dev.s2snap.pkvm.Annotation;
import dev.s2snap.pkvm.Encodings.StateLocation;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.Owner;
import dev.s2snap.pkvm.PageState;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TranslationTable;
import java.io.IOException;
import java.io.OutputStream;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// All physical memory of a machine by who owns it, and for the guests' memory where each guest has it.
///
/// @param runs by ascending physical address; what is in none is no memory that anybody has, or not known
/// @param totals bytes of each owner, in order of appearance
/// @param guestMemory what guests' tables map, by ascending physical address
/// @param complete whether all tables could be read whole
/// @param remarks what was assumed or is missing, one sentence each
public record Owners(
        List<Run> runs, Map<String, Long> totals, List<GuestRun> guestMemory, boolean complete, List<String> remarks) {

    /// Memory of one owner.
    ///
    /// @param end exclusive
    /// @param owner in words; what contradicts pKVM's rules begins with `!`
    /// @param guest whose it is, if it was donated to a guest: its handle, and the frame of `start`
    public record Run(long start, long end, String owner, Optional<Owner.Guest> guest) {}

    /// Memory that a guest's table maps without a gap.
    ///
    /// @param ipa where the guest has `start`
    /// @param state what it is to the guest, if this kernel says so in its table
    /// @param handle of the VM, if the host's annotations name it
    public record GuestRun(
            long start, long end, int guest, int vmid, long ipa, Optional<PageState> state, Optional<Integer> handle) {}

    /// What the host maps, and where nothing tells in which state it is.
    private static final String NOT_KNOWN = "mapped to the host, owner not known";

    /// As far as the tables can be read.
    ///
    /// @throws NoAnswerException if it is not known who owns what
    public static Owners of(Reading reading) {
        TableDump dump = TableDump.ofReadable(reading);
        if (dump.states() instanceof Fact.Unknown<List<StateRun>>(String why)) {
            throw new NoAnswerException("it is not known who owns what: " + why);
        }
        List<Run> runs = new ArrayList<>();
        Map<String, Long> totals = new LinkedHashMap<>();
        try {
            new TextDump(dump, OutputStream.nullOutputStream()).rows(true, true, (start, end, _, run, _, ownership) -> {
                String owner = ownership.owner().equals("?") ? NOT_KNOWN : ownership.owner();
                totals.merge(owner, end - start, Long::sum);
                add(runs, new Run(start, end, owner, guest(reading, run)));
            });
        } catch (IOException e) {
            throw new AssertionError("rows of this sink are written nowhere", e);
        }
        List<String> remarks = new ArrayList<>(dump.remarks());
        boolean complete = dump.complete()
                && reading.machine()
                        .hyp()
                        .map(table -> reading.walk(table).complete())
                        .optional()
                        .orElse(true);
        List<GuestRun> guestMemory = new ArrayList<>();
        for (Guest guest : reading.machine().guests()) {
            switch (guest.table()) {
                case Fact.Known<TranslationTable>(TranslationTable table, String _) -> {
                    LeafRuns.Result walk = reading.walk(table);
                    if (!walk.complete()) {
                        complete = false;
                        remarks.add("some of the table of guest:" + guest.index()
                                + " could not be read: what it maps there is not listed");
                    }
                    walk.runs().stream()
                            .filter(LeafRun::mapped)
                            .map(run -> guestRun(reading, guest, table, run))
                            .forEach(guestMemory::add);
                }
                case Fact.Unknown<TranslationTable>(String why) ->
                    remarks.add("the table of guest:" + guest.index() + " is not known: " + why);
            }
        }
        guestMemory.sort(Comparator.comparingLong(GuestRun::start).thenComparingInt(GuestRun::guest));
        return new Owners(List.copyOf(runs), totals, List.copyOf(guestMemory), complete, List.copyOf(remarks));
    }

    /// Adds a run, to the last one if it goes on with it.
    private static void add(List<Run> runs, Run run) {
        if (!runs.isEmpty()) {
            Run last = runs.getLast();
            if (last.end == run.start && last.owner.equals(run.owner) && last.guest.isEmpty() && run.guest.isEmpty()) {
                runs.set(runs.size() - 1, new Run(last.start, run.end, run.owner, run.guest));
                return;
            }
        }
        runs.add(run);
    }

    /// The guest that an annotation names.
    private static Optional<Owner.Guest> guest(Reading reading, LeafRun run) {
        return !run.mapped()
                        && run.size() > 0
                        && reading.annotations()
                                instanceof Fact.Known<Annotation.Format>(Annotation.Format format, String _)
                        && format.decode(run.bits()) instanceof Annotation.OwnedBy(Owner.Guest guest)
                ? Optional.of(guest)
                : Optional.empty();
    }

    private static GuestRun guestRun(Reading reading, Guest guest, TranslationTable table, LeafRun run) {
        // Guests' tables have states from 6.14 on, when the host's moved away; before, nobody keeps any there.
        boolean states = reading.hostStates().optional().orElse(StateLocation.DESCRIPTOR) == StateLocation.VMEMMAP;
        Optional<Integer> handle = reading.machine()
                .host()
                .optional()
                .flatMap(host -> at(reading.walk(host).runs(), run.output()))
                .flatMap(annotated -> guest(reading, annotated))
                .filter(owner ->
                        owner.frame() == run.start() >>> table.geometry().granuleShift())
                .map(Owner.Guest::handle);
        return new GuestRun(
                run.output(),
                run.output() + run.size(),
                guest.index(),
                guest.vmid(),
                run.start(),
                states ? Optional.of(PageState.ofSoftwareBits(run.bits())) : Optional.empty(),
                handle);
    }

    /// The run that has `address`.
    private static Optional<LeafRun> at(List<LeafRun> runs, long address) {
        int low = 0;
        int high = runs.size() - 1;
        while (low <= high) {
            int middle = (low + high) >>> 1;
            LeafRun run = runs.get(middle);
            if (address < run.start()) {
                high = middle - 1;
            } else if (address >= run.end()) {
                low = middle + 1;
            } else {
                return Optional.of(run);
            }
        }
        return Optional.empty();
    }
}
