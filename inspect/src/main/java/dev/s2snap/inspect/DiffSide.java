package dev.s2snap.inspect;

import dev.s2snap.pkvm.Annotation;
import dev.s2snap.pkvm.Encodings.StateLocation;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Owner;
import dev.s2snap.pkvm.PageFrames;
import dev.s2snap.pkvm.PageState;
import dev.s2snap.vmsa.AddressRanges;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.EntryCursor;
import dev.s2snap.vmsa.Finding;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TableCounts;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import java.io.OutputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import org.jspecify.annotations.Nullable;

/// A machine's table, read where it may differ from another one and nowhere else. The words are those of [TextDump].
final class DiffSide {
    private final Reading reading;
    private final TableDump dump;
    private final TextDump words;
    private final TableGeometry geometry;
    private final boolean host;
    private final Fact<OwnershipRuns.Result> ownership;

    /// What the entries in the windows are, and what could not be read.
    private final List<LeafRun> runs = new ArrayList<>();

    private final List<Unread> unread = new ArrayList<>();

    /// A part of the table that is not there.
    private record Unread(long start, long end, Finding.Rule rule) {}

    /// @param known that the selector names
    /// @param windows where to look
    DiffSide(Reading reading, TableSelector selector, Fact.Known<TranslationTable> known, AddressRanges windows) {
        this.reading = reading;
        TranslationTable table = known.value();
        this.geometry = table.geometry();
        this.host = selector.kind() == TableSelector.Kind.HOST;
        read(new EntryCursor(table), windows);
        this.ownership = host
                ? OwnershipRuns.within(reading, runs, windows)
                : Fact.unknown("page states are kept for the host's memory");
        this.dump = new TableDump(
                reading,
                selector,
                table,
                known.source(),
                new LeafRuns.Result(runs, new TableCounts(), List.of(), Map.of(), List.of(), 0, 0),
                TableDump.attributes(reading.machine(), selector, table),
                ownership.map(OwnershipRuns.Result::runs),
                List.of());
        this.words = new TextDump(dump, OutputStream.nullOutputStream());
    }

    /// Whether it is known who owns what; of the host's table only.
    Fact<?> ownership() {
        return ownership;
    }

    private void read(EntryCursor cursor, AddressRanges windows) {
        for (int window = 0; window < windows.count(); window++) {
            long at = windows.start(window);
            while (at < windows.end(window)) {
                cursor.seek(at);
                long end = Math.min(cursor.end(), windows.end(window));
                if (!cursor.readable()) {
                    unread.add(new Unread(at, end, cursor.reason()));
                } else if (cursor.descriptor() != 0) {
                    add(cursor, at, end);
                }
                at = end;
            }
        }
    }

    /// Adds entries, to the last run if they go on with it.
    private void add(EntryCursor cursor, long start, long end) {
        int level = cursor.level();
        long descriptor = cursor.descriptor();
        boolean leaf = cursor.leaf();
        long output = leaf ? geometry.outputAddress(descriptor, level) + (start - cursor.start()) : 0;
        long bits = leaf ? descriptor & ~geometry.outputMask(level) : descriptor;
        LeafRun.Kind kind = !leaf
                ? LeafRun.Kind.INVALID
                : level == TableGeometry.LAST_LEVEL ? LeafRun.Kind.PAGE : LeafRun.Kind.BLOCK;
        if (!runs.isEmpty()) {
            LeafRun last = runs.getLast();
            if (last.end() == start
                    && last.bits() == bits
                    && last.level() == level
                    && last.kind() == kind
                    && (!leaf || output == last.output() + last.size())) {
                runs.set(runs.size() - 1, new LeafRun(last.start(), end, level, kind, last.output(), bits));
                return;
            }
        }
        runs.add(new LeafRun(start, end, level, kind, output, bits));
    }

    DiffTrack track() {
        return new Track();
    }

    /// Memory whose entry in the hyp_vmemmap should be there and is not.
    AddressRanges withoutFrames() {
        AddressRanges missing = new AddressRanges();
        if (ownership instanceof Fact.Known<OwnershipRuns.Result>
                && reading.hostStates().optional().orElse(StateLocation.DESCRIPTOR) == StateLocation.VMEMMAP
                && reading.frames() instanceof Fact.Known<PageFrames>(PageFrames frames, String _)) {
            for (PageFrames.Span span : frames.spans()) {
                if (span.absent()) {
                    missing.add(span.first() << frames.frameShift(), span.end() << frames.frameShift());
                }
            }
        }
        return missing;
    }

    /// Goes through entries and states side by side.
    private final class Track implements DiffTrack {
        private final List<StateRun> states =
                ownership.map(OwnershipRuns.Result::runs).optional().orElse(List.of());
        private final AddressRanges withoutFrames = withoutFrames();
        private int run;
        private int state;
        private int hole;
        private int missing;
        private long at;

        @Override
        public void seek(long address) {
            at = address;
            while (run < runs.size() && runs.get(run).end() <= at) {
                run++;
            }
            while (state < states.size() && states.get(state).end() <= at) {
                state++;
            }
            while (hole < unread.size() && unread.get(hole).end <= at) {
                hole++;
            }
            while (missing < withoutFrames.count() && withoutFrames.end(missing) <= at) {
                missing++;
            }
        }

        @Override
        public long end() {
            long end = Long.MAX_VALUE;
            if (run < runs.size()) {
                end = edge(end, runs.get(run).start(), runs.get(run).end());
            }
            if (state < states.size()) {
                end = edge(end, states.get(state).start(), states.get(state).end());
            }
            if (hole < unread.size()) {
                end = edge(end, unread.get(hole).start, unread.get(hole).end);
            }
            if (missing < withoutFrames.count()) {
                end = edge(end, withoutFrames.start(missing), withoutFrames.end(missing));
            }
            return end;
        }

        private long edge(long end, long from, long to) {
            return Math.min(end, from <= at ? to : from);
        }

        @Override
        public String unread() {
            if (hole == unread.size() || unread.get(hole).start > at) {
                return "";
            }
            return switch (unread.get(hole).rule) {
                case ABSENT_TABLE -> "a table is not in this memory";
                case ADDRESS_SIZE -> "a table is beyond the output size";
                default -> "a table was already reached through another entry";
            };
        }

        @Override
        public DiffEntry entry() {
            LeafRun found = run < runs.size() && runs.get(run).start() <= at ? runs.get(run) : null;
            StateRun said = state < states.size() && states.get(state).start() <= at ? states.get(state) : null;
            boolean frameMissing = missing < withoutFrames.count() && withoutFrames.start(missing) <= at;
            Optional<DiffHolder> holder = frameMissing ? Optional.empty() : host ? holder(found, said) : holder(found);
            if (found == null) {
                TextDump.Ownership owner = said == null ? new TextDump.Ownership("") : TextDump.ownership(said);
                return new DiffEntry(
                        DiffEntry.Form.EMPTY,
                        OptionalInt.empty(),
                        OptionalInt.empty(),
                        OptionalLong.empty(),
                        0,
                        -1,
                        "",
                        "",
                        owner,
                        holder);
            }
            TextDump.Attribute attribute = found.mapped() ? words.attribute(found) : null;
            return new DiffEntry(
                    form(found),
                    OptionalInt.of(found.level()),
                    OptionalInt.of(geometry.shift(found.level())),
                    found.mapped()
                            ? OptionalLong.of(found.output() - found.start() - geometry.inputBase())
                            : OptionalLong.empty(),
                    found.bits(),
                    -1,
                    attribute == null ? "" : attribute.permissions(),
                    attribute == null ? "" : attribute.memory(),
                    said == null ? words.ownership(found) : words.ownership(found, said, at, end()),
                    holder);
        }
    }

    private DiffEntry.Form form(LeafRun run) {
        return switch (run.kind()) {
            case BLOCK -> DiffEntry.Form.BLOCK;
            case PAGE -> DiffEntry.Form.PAGE;
            case INVALID ->
                Descriptor.valid(run.bits())
                        ? DiffEntry.Form.RESERVED
                        : geometry.regime().stage2() ? DiffEntry.Form.ANNOTATED : DiffEntry.Form.INVALID;
        };
    }

    /// Who has memory of the host's table.
    private Optional<DiffHolder> holder(@Nullable LeafRun run, @Nullable StateRun state) {
        if (!(ownership instanceof Fact.Known<OwnershipRuns.Result>)) {
            return Optional.empty();
        }
        if (run != null
                && !run.mapped()
                && Descriptor.annotated(run.bits())
                && reading.annotations() instanceof Fact.Known<Annotation.Format>(Annotation.Format format, String _)) {
            switch (format.decode(run.bits())) {
                case Annotation.OwnedBy(Owner.Guest(int handle, long _)) -> {
                    return Optional.of(DiffHolder.vm(handle));
                }
                case Annotation.Poisoned _ -> {
                    return Optional.of(new DiffHolder(DiffHolder.POISONED, "", 0));
                }
                default -> {
                    // The states say the rest.
                }
            }
        }
        // What nobody says anything of is the host's to use.
        return Optional.of(state == null ? DiffHolder.HOST : DiffHolder.of(state));
    }

    /// Who has memory of another table, if this kernel keeps states in its descriptors.
    private Optional<DiffHolder> holder(@Nullable LeafRun run) {
        if (run == null || !run.mapped()) {
            return Optional.empty();
        }
        PageState state = PageState.ofSoftwareBits(run.bits());
        return switch (dump.selector().kind()) {
            case HYP ->
                is(reading.hypStates(), StateLocation.DESCRIPTOR)
                        ? Optional.of(DiffHolder.of(state, DiffHolder.HYP_NAME, DiffHolder.HOST_NAME))
                        : Optional.empty();
            // From 6.14 on, when the host's states moved away; before, nobody keeps any there.
            case GUEST, GUEST_VMID, GUEST_HANDLE ->
                is(reading.hostStates(), StateLocation.VMEMMAP)
                        ? Optional.of(DiffHolder.of(state, "guest", DiffHolder.HOST_NAME))
                        : Optional.empty();
            default -> Optional.empty();
        };
    }

    private static boolean is(Fact<StateLocation> fact, StateLocation location) {
        return fact.optional().map(known -> known == location).orElse(false);
    }
}
