package dev.s2snap.inspect;

import dev.s2snap.pkvm.Encodings.StateLocation;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.PageFrames;
import dev.s2snap.vmsa.AddressRanges;
import dev.s2snap.vmsa.TableDifference;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/// Where two machines can say different things about a table: found by comparing bytes, if bytes mean the same in both,
/// and everywhere otherwise.
///
/// @param ranges what has to be decoded
/// @param bulk whether bytes were compared
/// @param pointers where table descriptors differ in more than the address of the next table
record DiffWindows(AddressRanges ranges, boolean bulk, List<Pointers> pointers) {

    /// Two table descriptors at one place.
    record Pointers(long start, long end, int level, long first, long second) {}

    /// @param states whether page states belong to the table, and are known of both
    static DiffWindows of(
            Reading first, TranslationTable a, Reading second, TranslationTable b, boolean alike, boolean states) {
        if (!alike
                || !TableDifference.comparable(a.geometry(), b.geometry())
                || (states && !sameStates(first, second))) {
            return everything(a.geometry(), b.geometry());
        }
        AddressRanges entries = new AddressRanges();
        List<Pointers> pointers = new ArrayList<>();
        TableDifference.of(a, b, new TableDifference.Sink() {
            @Override
            public void differs(long start, long end) {
                entries.add(start, end);
            }

            @Override
            public void pointers(long start, long end, int level, long descriptor, long other) {
                pointers.add(new Pointers(start, end, level, descriptor, other));
            }
        });
        AddressRanges all = entries;
        if (states && first.hostStates().optional().equals(Optional.of(StateLocation.VMEMMAP))) {
            PageFrames frames = first.frames().optional().orElseThrow();
            PageFrames others = second.frames().optional().orElseThrow();
            all = all.with(DiffFrames.of(
                    frames,
                    first.machine().memory().bytes(),
                    others,
                    second.machine().memory().bytes()));
        }
        if (states && first.hypStates().optional().equals(Optional.of(StateLocation.DESCRIPTOR))) {
            all = all.with(ofHyp(mapped(first), mapped(second)));
        }
        return new DiffWindows(all, true, pointers);
    }

    private static DiffWindows everything(TableGeometry a, TableGeometry b) {
        return new DiffWindows(new AddressRanges(0, Math.max(a.inputSize(), b.inputSize())), false, List.of());
    }

    /// Whether page states are where the other machine has them, and look the same.
    private static boolean sameStates(Reading first, Reading second) {
        return first.era().optional().equals(second.era().optional())
                && first.machine()
                        .regions()
                        .optional()
                        .equals(second.machine().regions().optional())
                && (first.frames().optional().isEmpty()
                        || second.frames().optional().isEmpty()
                        || first.frames().optional().get().frameShift()
                                == second.frames().optional().get().frameShift());
    }

    private static List<OwnershipRuns.Mapped> mapped(Reading reading) {
        return reading.machine().hyp() instanceof Fact.Known<TranslationTable>(TranslationTable hyp, String _)
                ? OwnershipRuns.mapped(reading, hyp)
                : List.of();
    }

    /// Physical memory that EL2 maps in another state, or in one of them only.
    private static AddressRanges ofHyp(List<OwnershipRuns.Mapped> mine, List<OwnershipRuns.Mapped> theirs) {
        AddressRanges differing = new AddressRanges();
        new DiffLists<>(OwnershipRuns.Mapped::start, OwnershipRuns.Mapped::end)
                .sideBySide(mine, theirs, (start, end, a, b) -> {
                    if (a == null || b == null || a.state() != b.state() || a.device() != b.device()) {
                        differing.add(start, end);
                    }
                });
        return differing;
    }
}
