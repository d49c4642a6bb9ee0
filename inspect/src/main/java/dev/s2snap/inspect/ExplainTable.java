package dev.s2snap.inspect;

import dev.s2snap.inspect.ExplainFields.Keeper;
import dev.s2snap.inspect.ExplainedWalk.Outcome;
import dev.s2snap.inspect.ExplainedWalk.Role;
import dev.s2snap.inspect.ExplainedWalk.Step;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.Finding;
import dev.s2snap.vmsa.LeafAttributes;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/// A table that is asked about single addresses.
///
/// @param source where its place and geometry come from
record ExplainTable(
        Reading reading,
        TableSelector selector,
        TranslationTable table,
        String source,
        LeafAttributes attributes,
        ExplainFields fields) {

    /// @throws NoAnswerException if the machine has no such guest
    static Fact<ExplainTable> of(Reading reading, TableSelector selector) {
        Machine machine = reading.machine();
        return switch (selector.of(machine)) {
            case Fact.Known<TranslationTable>(TranslationTable table, String source) ->
                Fact.known(of(reading, selector, table, source), source);
            case Fact.Unknown<TranslationTable>(String why) -> Fact.unknown(why);
        };
    }

    private static ExplainTable of(Reading reading, TableSelector selector, TranslationTable table, String source) {
        Machine machine = reading.machine();
        Registers registers = machine.registers();
        LeafAttributes attributes;
        Keeper keeper;
        switch (selector.kind()) {
            case HOST -> {
                attributes = Attributes.host(machine, table);
                keeper = Keeper.HOST;
            }
            case GUEST, GUEST_VMID, GUEST_HANDLE -> {
                int index = selector.guest(machine).index();
                attributes = Attributes.guest(machine, table, index);
                registers = machine.guestRegisters().get(index);
                keeper = Keeper.GUEST;
            }
            case HYP, HYP_UPPER -> {
                attributes = Attributes.stage1(machine, table);
                keeper = Keeper.HYP;
            }
            default -> {
                attributes = Attributes.stage1(machine, table);
                keeper = Keeper.LINUX;
            }
        }
        ExplainFields fields = new ExplainFields(reading, table.geometry(), keeper, attributes, registers);
        return new ExplainTable(reading, selector, table, source, attributes, fields);
    }

    String label() {
        return selector.label();
    }

    TableGeometry geometry() {
        return table.geometry();
    }

    /// Whether anything of its root is in the memory.
    boolean atHand() {
        return table.memory().offset(table.root(), Long.BYTES) != PhysicalMemory.ABSENT;
    }

    LeafRuns.Result leaves() {
        return reading.walk(table);
    }

    /// The runs that map something of the page.
    List<LeafRun> mapping(long page) {
        return leaves().runs().stream()
                .filter(run -> run.mapped() && page >= run.output() && page < run.output() + run.size())
                .toList();
    }

    ExplainedWalk walk(long input, Role role, String purpose) {
        Translation translation = table.translate(input);
        List<Finding.Step> path = Explain.path(translation);
        List<Step> steps = path.stream().map(this::step).toList();
        Outcome outcome = outcome(translation);
        OptionalLong output = translation instanceof Translation.Mapped mapped
                ? OptionalLong.of(mapped.output())
                : OptionalLong.empty();
        Optional<LeafRun> leaf =
                outcome == Outcome.UNREADABLE || outcome == Outcome.BEYOND ? Optional.empty() : leaf(input);
        return new ExplainedWalk(
                label(),
                geometry().regime().id(),
                source,
                TextDump.describe(geometry(), table.root()),
                role,
                purpose,
                input,
                steps,
                outcome,
                output,
                leaf,
                says(translation, outcome));
    }

    private Step step(Finding.Step step) {
        boolean root = step.level() == geometry().startLevel();
        long page = root ? table.root() : step.address() & -geometry().granule();
        return new Step(
                step.level(),
                page,
                (int) ((step.address() - page) / Long.BYTES),
                step.address(),
                step.inputAddress(),
                step.descriptor(),
                fields.kind(step.descriptor(), step.level()),
                fields.of(step.descriptor(), step.level()));
    }

    private Outcome outcome(Translation translation) {
        return switch (translation) {
            case Translation.Mapped _ -> Outcome.MAPPED;
            case Translation.Unreadable _ -> Outcome.UNREADABLE;
            case Translation.OutOfRange _ -> Outcome.BEYOND;
            case Translation.Fault(var _, int level, long descriptor) -> {
                if (descriptor == 0) {
                    yield Outcome.EMPTY;
                }
                if (!Descriptor.valid(descriptor)) {
                    yield Outcome.INVALID;
                }
                boolean known = Descriptor.table(descriptor, level) || Descriptor.leaf(descriptor, level, geometry());
                yield known ? Outcome.ADDRESS_SIZE : Outcome.RESERVED;
            }
        };
    }

    private String says(Translation translation, Outcome outcome) {
        return switch (translation) {
            case Translation.Mapped(var _, int level, long descriptor, long output) -> {
                boolean block = level < TableGeometry.LAST_LEVEL;
                String flags = attributes.flags(descriptor, block);
                yield "maps to " + hex(output) + " with a "
                        + ByteText.size(geometry().entrySize(level))
                        + (block ? " block: " : " page: ")
                        + attributes.permissions(descriptor)
                        + (geometry().regime().withEl0() ? " (" + attributes.permissionsTitle() + ")" : "") + ", "
                        + attributes.memoryType(descriptor) + ", " + attributes.shareability(descriptor) + " shareable"
                        + (flags.isEmpty() ? "" : ", " + flags);
            }
            case Translation.Fault(var _, int level, long _) ->
                "does not map it: "
                        + switch (outcome) {
                            case EMPTY -> "the entry at level " + level + " is empty";
                            case INVALID -> "the entry at level " + level + " is invalid";
                            case RESERVED -> "the entry at level " + level + " is a reserved encoding";
                            default ->
                                "the address in the entry at level " + level + " is beyond the "
                                        + geometry().outputBits() + " bits of the output size";
                        };
            case Translation.OutOfRange(int bits) -> "does not map it: its input addresses have " + bits + " bits";
            case Translation.Unreadable(var _, int level, long missing) ->
                "cannot be followed: the level " + level + " table page at "
                        + hex(missing & -geometry().granule()) + " is not in this memory";
        };
    }

    /// The run that has `input`; addresses of an upper range are above 2^63.
    private Optional<LeafRun> leaf(long input) {
        return leaves().runs().stream()
                .filter(run -> Long.compareUnsigned(run.start(), input) <= 0
                        && Long.compareUnsigned(input, run.end() - 1) <= 0)
                .findFirst();
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }
}
