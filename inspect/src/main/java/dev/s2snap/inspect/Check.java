package dev.s2snap.inspect;

import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.MachineView;
import dev.s2snap.pkvm.MachineView.GuestTable;
import dev.s2snap.pkvm.MachineView.Table;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.pkvm.Rules;
import dev.s2snap.pkvm.TableAudit;
import dev.s2snap.vmsa.LeafAttributes;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/// A machine held against the rules of protected KVM: what [TextCheck] and [JsonCheck] print.
///
/// @param tables the labels of the tables that were looked at
/// @param report broken rules, and those that could not be checked
/// @param lint what is allowed, but could be better
/// @param notLooked what of that was not looked for, and why
public record Check(List<String> tables, Rules.Report report, List<Lint> lint, List<Lint.NotLooked> notLooked) {

    public static Check of(Reading reading) {
        Machine machine = reading.machine();
        OptionalLong vttbr = machine.registers().get("VTTBR_EL2");
        Fact<Table> host = machine.host()
                .map(table -> new Table("host", TableAudit.of(table), vttbr, forcedWriteBack(machine.registers())));
        OptionalLong ttbr = machine.registers().get("TTBR0_EL2");
        Fact<Table> hyp = machine.hyp().map(table -> new Table("hyp", TableAudit.of(table), ttbr, Optional.empty()));
        List<GuestTable> guests = new ArrayList<>();
        List<String> unread = new ArrayList<>();
        for (Guest guest : machine.guests()) {
            String label = TableSelector.guest(guest.index()).label();
            switch (guest.table()) {
                case Fact.Known<TranslationTable>(TranslationTable table, String _) -> {
                    Registers registers =
                            guest.index() < machine.guestRegisters().size()
                                    ? machine.guestRegisters().get(guest.index())
                                    : machine.registers();
                    guests.add(new GuestTable(
                            guest.vmid(),
                            new Table(
                                    label,
                                    TableAudit.of(table),
                                    registers.get("VTTBR_EL2"),
                                    forcedWriteBack(registers))));
                }
                case Fact.Unknown<TranslationTable>(String why) ->
                    unread.add("the table of " + label + " is not known: " + why);
            }
        }
        MachineView view = new MachineView(
                host,
                hyp,
                guests,
                unread,
                reading.era(),
                reading.vmemmap(),
                reading.frames(),
                machine.regions(),
                // Nobody who has a secure world and says nothing of it shall lose the warnings of all others.
                machine.ffa().optional().orElse(false));
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

    private static Optional<Boolean> forcedWriteBack(Registers registers) {
        OptionalLong hcr = registers.get("HCR_EL2");
        return hcr.isPresent() ? Optional.of((hcr.getAsLong() & LeafAttributes.HCR_FWB) != 0) : Optional.empty();
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
