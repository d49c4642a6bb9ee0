package dev.s2snap.inspect;

import dev.s2snap.pkvm.Annotation;
import dev.s2snap.pkvm.Encodings;
import dev.s2snap.pkvm.Encodings.StateLocation;
import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.HypPageLayout;
import dev.s2snap.pkvm.HypVmemmap;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.PageFrames;
import dev.s2snap.pkvm.PageState;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.Function;

/// A machine being read: its tables, each walked once, and how its kernel writes ownership.
///
/// The era is what the user says, else what the machine says, else inferred from the host's table, as far as that goes:
///
/// 1. An annotation has its owner in low bits (6.1 to 6.19) or its type in bits 63:60 (7.0 and later); no value is
/// both.
/// 2. With owners in low bits, page states in valid host descriptors are written by 6.1 to 6.13 only.
/// 3. If there are none, the entry that the hyp_vmemmap has for the hypervisor's own root page tells, if it can be
/// read:
///    its layout changed in 6.14 and in 6.17.
/// 4. If it cannot, states in the hypervisor's descriptors mean 6.14 to 6.16.
///
/// The hyp_vmemmap is where the machine says, else where EL2 maps an entry for its own root page: in the upper half of
/// one of the quarters of its address space.
///
/// The machine has to be at rest: after a change a new reading is needed. Not for concurrent use.
public final class Reading {

    /// Bits 58:55, less the two that KVM never sets.
    private static final long STATE_BITS = 3L << 55;

    private final Machine machine;
    private final Map<TranslationTable, LeafRuns.Result> walks = new HashMap<>();
    private final Fact<Era> era;
    private final Fact<Annotation.Format> annotations;
    private final Fact<HypVmemmap> vmemmap;
    private final Fact<PageFrames> frames;
    private final boolean told;

    private Reading(Machine machine, Optional<Fact<Era>> given) {
        this.machine = machine;
        Fact<Era> said = given.orElseGet(machine::era);
        if (said instanceof Fact.Known<Era> known) {
            this.told = given.isEmpty();
            this.era = known;
            this.annotations = known.map(era -> era.encodings().annotations());
        } else {
            this.told = false;
            this.annotations = inferredFormat();
            this.era = inferredEra();
        }
        this.vmemmap = where();
        this.frames = inFrames();
    }

    public static Reading of(Machine machine) {
        return new Reading(machine, Optional.empty());
    }

    /// Reads `machine` as one of `era`, whatever it says itself.
    ///
    /// @param source who says so, as a noun phrase
    public static Reading of(Machine machine, Era era, String source) {
        return new Reading(machine, Optional.of(Fact.known(era, source)));
    }

    public Machine machine() {
        return machine;
    }

    public Fact<Era> era() {
        return era;
    }

    /// Whether the era is what the machine itself says.
    boolean told() {
        return told;
    }

    /// The meaning of annotations, which may be known where the era is not.
    public Fact<Annotation.Format> annotations() {
        return annotations;
    }

    public Fact<StateLocation> hostStates() {
        return states(Encodings::hostStates);
    }

    public Fact<StateLocation> hypStates() {
        return states(Encodings::hypStates);
    }

    private Fact<StateLocation> states(Function<Encodings, StateLocation> which) {
        return switch (era) {
            case Fact.Known<Era>(Era known, String _) ->
                Fact.known(which.apply(known.encodings()), "the kernel's releases");
            case Fact.Unknown<Era>(String why) -> Fact.unknown(why);
        };
    }

    /// Where the hyp_vmemmap is.
    public Fact<HypVmemmap> vmemmap() {
        return vmemmap;
    }

    /// What the hyp_vmemmap has for each page frame.
    public Fact<PageFrames> frames() {
        return frames;
    }

    /// All leaves of `table`.
    public LeafRuns.Result walk(TranslationTable table) {
        return walks.computeIfAbsent(table, LeafRuns::of);
    }

    private Fact<Annotation.Format> inferredFormat() {
        if (!(machine.host() instanceof Fact.Known<TranslationTable>(TranslationTable host, String _))) {
            return Fact.unknown("there is no host table to infer it from");
        }
        Map<Annotation.Format, Long> decoded = new HashMap<>();
        long annotated = 0;
        for (LeafRun run : walk(host).runs()) {
            if (!run.mapped() && Descriptor.annotated(run.bits())) {
                long entries = entries(run, host.geometry());
                annotated += entries;
                for (Annotation.Format format : Annotation.Format.values()) {
                    if (!(format.decode(run.bits()) instanceof Annotation.Unknown)) {
                        decoded.merge(format, entries, Long::sum);
                    }
                }
            }
        }
        if (decoded.size() == 1) {
            var only = decoded.entrySet().iterator().next();
            return Fact.known(
                    only.getKey(),
                    "inferred from " + only.getValue() + (only.getValue() == annotated ? "" : " of " + annotated)
                            + " annotations (" + only.getKey().words() + ")");
        }
        return Fact.unknown(
                decoded.isEmpty()
                        ? annotated == 0
                                ? "the host's table has no annotation to infer it from"
                                : "none of the " + annotated + " annotations has a known value"
                        : "annotations of two kinds contradict each other");
    }

    private Fact<Era> inferredEra() {
        if (!(annotations instanceof Fact.Known<Annotation.Format>(Annotation.Format format, String source))) {
            return Fact.unknown(because(annotations));
        }
        if (format == Annotation.Format.TYPED) {
            return Fact.known(Era.V7_0, source);
        }
        long hostStates = states(machine.host());
        if (hostStates > 0) {
            return Fact.known(Era.V6_1, source + " and " + count(hostStates, "page state") + " in host descriptors");
        }
        List<Fact.Known<Era>> candidates = new ArrayList<>();
        for (Era era : List.of(Era.V6_1, Era.V6_14, Era.V6_17)) {
            HypPageLayout layout = era.encodings().hypPage();
            for (long base : possibleBases()) {
                OptionalLong entry = rootEntry(new HypVmemmap(base, layout.entrySize()));
                if (entry.isPresent() && ofTable(layout, entry.getAsLong())) {
                    candidates.add(new Fact.Known<>(
                            era, source + " and the layout of the hyp_vmemmap at 0x" + Long.toHexString(base)));
                }
            }
        }
        if (candidates.size() == 1) {
            return candidates.getFirst();
        }
        long hypStates = states(machine.hyp());
        if (hypStates > 0) {
            return Fact.known(
                    Era.V6_14,
                    source + " and " + count(hypStates, "page state") + " in EL2 descriptors but none in the host's");
        }
        return Fact.unknown(
                "owners in low bits are written by 6.1 to 6.19, and neither a page state in a descriptor nor the"
                        + " hyp_vmemmap tells which");
    }

    /// Whether an entry can be that of a page of the hypervisor's stage 1: in use, the head of a block of one page, not
    /// the host's.
    private static boolean ofTable(HypPageLayout layout, long entry) {
        boolean page = layout.refcount(entry) > 0 && layout.order(entry) == 0;
        return page
                && switch (layout) {
                    case COUNTS -> true;
                    case HOST_STATE -> layout.hostState(entry) == PageState.NOPAGE;
                    case BOTH_STATES ->
                        layout.hostState(entry) == PageState.NOPAGE && layout.hypState(entry) == PageState.OWNED;
                };
    }

    /// Where kernels put the array: at bit va_bits - 3 of the quarter that has the private mappings, one of those that
    /// the linear map leaves (`__io_map_base | BIT(hyp_va_bits - 3)`, all releases).
    private List<Long> possibleBases() {
        if (!(machine.hyp() instanceof Fact.Known<TranslationTable>(TranslationTable hyp, String _))) {
            return List.of();
        }
        int bits = hyp.geometry().inputBits();
        List<Long> bases = new ArrayList<>();
        for (long quarter = 0; quarter < 4; quarter++) {
            bases.add(quarter << (bits - 2) | 1L << (bits - 3));
        }
        return bases;
    }

    /// The entry of the hypervisor's root page, if EL2 maps it and it is in the memory.
    private OptionalLong rootEntry(HypVmemmap where) {
        if (!(machine.hyp() instanceof Fact.Known<TranslationTable>(TranslationTable hyp, String _))) {
            return OptionalLong.empty();
        }
        long virtual = where.entry(hyp.root() >>> hyp.geometry().granuleShift());
        if (!(hyp.translate(virtual) instanceof Translation.Mapped mapped)
                || machine.memory().offset(mapped.output(), Long.BYTES) == PhysicalMemory.ABSENT) {
            return OptionalLong.empty();
        }
        long entry = machine.memory().load64(mapped.output());
        return OptionalLong.of(where.entrySize() == 4 ? entry & 0xffff_ffffL : entry);
    }

    private Fact<HypVmemmap> where() {
        if (machine.vmemmap() instanceof Fact.Known<HypVmemmap> known) {
            return known;
        }
        if (!(machine.hyp() instanceof Fact.Known<TranslationTable>(TranslationTable hyp, String _))) {
            return Fact.unknown("the hypervisor's table is not known: " + because(machine.hyp()));
        }
        if (!(era instanceof Fact.Known<Era>(Era known, String _))) {
            return Fact.unknown("the kernel is not known: " + because(era));
        }
        int entrySize = known.encodings().hypPage().entrySize();
        List<HypVmemmap> found = new ArrayList<>();
        for (long base : possibleBases()) {
            HypVmemmap candidate = new HypVmemmap(base, entrySize);
            long virtual = candidate.entry(hyp.root() >>> hyp.geometry().granuleShift());
            if (hyp.translate(virtual) instanceof Translation.Mapped) {
                found.add(candidate);
            }
        }
        return found.size() == 1
                ? Fact.known(found.getFirst(), "inferred: EL2 maps the entry of its own root page there")
                : Fact.unknown("EL2 maps an entry for its own root page at " + found.size() + " of the places where"
                        + " kernels put the hyp_vmemmap");
    }

    private Fact<PageFrames> inFrames() {
        if (!(vmemmap instanceof Fact.Known<HypVmemmap>(HypVmemmap where, String source))) {
            return Fact.unknown("it is not known where the hyp_vmemmap is: " + because(vmemmap));
        }
        if (!(era instanceof Fact.Known<Era>(Era known, String _))) {
            return Fact.unknown("the layout of the hyp_vmemmap is not known: " + because(era));
        }
        HypPageLayout layout = known.encodings().hypPage();
        if (layout.entrySize() != where.entrySize()) {
            return Fact.unknown("kernels " + known.releases() + " have entries of " + layout.entrySize()
                    + " bytes in the hyp_vmemmap, and this one is said to have " + where.entrySize());
        }
        if (!(machine.hyp() instanceof Fact.Known<TranslationTable>(TranslationTable hyp, String _))) {
            return Fact.unknown("the hypervisor's table is not known: " + because(machine.hyp()));
        }
        return Fact.known(new PageFrames(hyp, walk(hyp).runs(), where, layout), source);
    }

    static String because(Fact<?> unknown) {
        return unknown.provenance().substring("unknown: ".length());
    }

    /// Number of valid entries with a page state other than 0 in bits 56:55.
    private long states(Fact<TranslationTable> fact) {
        if (!(fact instanceof Fact.Known<TranslationTable>(TranslationTable table, String _))) {
            return 0;
        }
        long sum = 0;
        for (LeafRun run : walk(table).runs()) {
            if (run.mapped() && (run.bits() & STATE_BITS) != 0) {
                sum += entries(run, table.geometry());
            }
        }
        return sum;
    }

    private static long entries(LeafRun run, TableGeometry geometry) {
        return run.size() >>> geometry.shift(run.level());
    }

    private static String count(long number, String noun) {
        return number + " " + noun + (number == 1 ? "" : "s");
    }
}
