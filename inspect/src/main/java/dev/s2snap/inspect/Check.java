package dev.s2snap.inspect;

import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.MachineView;
import dev.s2snap.pkvm.MachineView.GuestTable;
import dev.s2snap.pkvm.MachineView.Table;
import dev.s2snap.pkvm.Rules;
import java.util.ArrayList;
import java.util.List;

/// A machine held against the rules of protected KVM: what [TextCheck] and [JsonCheck] print.
///
/// @param tables the labels of the tables that were looked at
/// @param report broken rules, and those that could not be checked
/// @param lint what is allowed, but could be better
/// @param notLooked what of that was not looked for, and why
public record Check(List<String> tables, Rules.Report report, List<Lint> lint, List<Lint.NotLooked> notLooked) {

    public static Check of(Reading reading) {
        MachineView view = view(reading);
        Fact<Table> host = view.host();
        Fact<Table> hyp = view.hyp();
        List<GuestTable> guests = view.guests();
        List<Lint> lint = new ArrayList<>();
        host.optional().ifPresent(table -> lint.addAll(Lint.of(table, reading.hostStates())));
        guests.forEach(guest -> lint.addAll(Lint.of(guest.table(), reading.hostStates())));
        hyp.optional().ifPresent(table -> lint.addAll(Lint.empty(table)));
        LeakedTables leaks = LeakedTables.of(host, hyp, reading.frames());
        lint.addAll(leaks.leaked());
        List<String> tables = new ArrayList<>();
        host.optional().ifPresent(table -> tables.add(table.label()));
        hyp.optional().ifPresent(table -> tables.add(table.label()));
        guests.forEach(guest -> tables.add(guest.table().label()));
        return new Check(tables, Rules.check(view), lint, leaks.notLooked());
    }

    /// The machine as its rules see it: each table is walked once more.
    static MachineView view(Reading reading) {
        return MachineView.of(reading.machine(), reading.era(), reading.vmemmap(), reading.frames());
    }

    public Check {
        tables = List.copyOf(tables);
        lint = List.copyOf(lint);
        notLooked = List.copyOf(notLooked);
    }

    /// Whether no rule is broken.
    public boolean clean() {
        return report.violations().isEmpty();
    }
}
