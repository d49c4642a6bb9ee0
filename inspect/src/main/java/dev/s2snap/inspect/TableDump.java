package dev.s2snap.inspect;

import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.vmsa.LeafAttributes;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TranslationTable;
import java.util.List;

/// One table, whole: what [TextDump] and [JsonDump] print.
///
/// @param source where the table's place and geometry come from
/// @param result its leaves, counts and findings
/// @param attributes what the leaves' attribute bits mean
/// @param states who owns what by physical address; of the host's table only
/// @param remarks what was assumed for the states, one sentence each
public record TableDump(
        Reading reading,
        TableSelector selector,
        TranslationTable table,
        String source,
        LeafRuns.Result result,
        LeafAttributes attributes,
        Fact<List<StateRun>> states,
        List<String> remarks) {

    /// @throws NoAnswerException if this machine has no such table, it is not known where it is, or its root cannot be
    /// read
    public static TableDump of(Reading reading, TableSelector selector) {
        return of(
                reading,
                selector,
                selector.kind() == TableSelector.Kind.HOST
                        ? OwnershipRuns.of(reading)
                        : Fact.unknown("page states are listed with the host table"));
    }

    /// The host's table with those page states that can be told of tables which are not completely readable.
    ///
    /// @throws NoAnswerException as the other one does
    static TableDump ofReadable(Reading reading) {
        return of(reading, TableSelector.HOST, OwnershipRuns.readable(reading));
    }

    private static TableDump of(Reading reading, TableSelector selector, Fact<OwnershipRuns.Result> ownership) {
        var machine = reading.machine();
        Fact.Known<TranslationTable> known = selector.readable(machine);
        TranslationTable table = known.value();
        return new TableDump(
                reading,
                selector,
                table,
                known.source(),
                reading.walk(table),
                attributes(machine, selector, table),
                ownership.map(OwnershipRuns.Result::runs),
                ownership.optional().map(OwnershipRuns.Result::remarks).orElse(List.of()));
    }

    /// What the leaves of a table mean that `selector` names.
    static LeafAttributes attributes(Machine machine, TableSelector selector, TranslationTable table) {
        return switch (selector.kind()) {
            case HOST -> Attributes.host(machine, table);
            case HYP, HYP_UPPER, EL1_LOWER, EL1_UPPER -> Attributes.stage1(machine, table);
            case GIVEN -> Attributes.given(machine, table);
            case GUEST, GUEST_VMID, GUEST_HANDLE ->
                Attributes.guest(machine, table, selector.guest(machine).index());
        };
    }

    /// Whether every table page could be read.
    public boolean complete() {
        return result.complete();
    }
}
