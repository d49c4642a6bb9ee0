package dev.s2snap.inspect;

import dev.s2snap.pkvm.Annotation;
import dev.s2snap.pkvm.Encodings;
import dev.s2snap.pkvm.Encodings.StateLocation;
import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;

/// A machine being read: its tables, each walked once, and how its kernel writes ownership.
///
/// The era is what the user says, else what the machine says, else inferred from the host's table, as far as that goes:
///
/// 1. An annotation has its owner in low bits (6.1 to 6.19) or its type in bits 63:60 (7.0 and later); no value is
/// both.
/// 2. With owners in low bits, page states in valid host descriptors are written by 6.1 to 6.13 only; if there are
/// none,
///    states in the hypervisor's descriptors mean 6.14 to 6.16.
/// 3. If there are none either, 6.17 to 6.19 is likely, but so is an older kernel that shares nothing: not known.
///
/// The machine has to be at rest: after a change a new reading is needed. Not for concurrent use.
public final class Reading {

    /// Bits 58:55, less the two that KVM never sets.
    private static final long STATE_BITS = 3L << 55;

    private final Machine machine;
    private final Map<TranslationTable, LeafRuns.Result> walks = new HashMap<>();
    private final Fact<Era> era;
    private final Fact<Annotation.Format> annotations;
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
            return Fact.unknown(annotations.provenance().substring("unknown: ".length()));
        }
        if (format == Annotation.Format.TYPED) {
            return Fact.known(Era.V7_0, source);
        }
        long hostStates = states(machine.host());
        if (hostStates > 0) {
            return Fact.known(Era.V6_1, source + " and " + count(hostStates, "page state") + " in host descriptors");
        }
        long hypStates = states(machine.hyp());
        if (hypStates > 0) {
            return Fact.known(
                    Era.V6_14,
                    source + " and " + count(hypStates, "page state") + " in EL2 descriptors but none in the host's");
        }
        return Fact.unknown(
                "owners in low bits are written by 6.1 to 6.19, and no descriptor has a page state that would"
                        + " tell which");
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
