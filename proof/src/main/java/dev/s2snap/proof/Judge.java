package dev.s2snap.proof;

import dev.s2snap.model.PkvmModel;
import dev.s2snap.pkvm.Evidence;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.MachineView;
import dev.s2snap.pkvm.MachineView.Table;
import dev.s2snap.pkvm.PageFrames;
import dev.s2snap.pkvm.Rules;
import dev.s2snap.pkvm.TableAudit;
import dev.s2snap.pkvm.Violation;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/// The second judge, which knows nothing of the first: the rule catalogue over all tables of the machine.
final class Judge {
    private Judge() {}

    static List<Finding> judge(PkvmModel model, String call) {
        Fact<Table> host = model.host()
                .map(table -> new Table(
                        "host", TableAudit.of(table), model.registers().get("VTTBR_EL2"), Optional.empty()));
        Fact<Table> hyp = model.hyp()
                .map(table ->
                        new Table("hyp", TableAudit.of(table), model.registers().get("TTBR0_EL2"), Optional.empty()));
        Fact<PageFrames> frames = hyp.map(table -> new PageFrames(
                table.table(),
                table.audit().runs(),
                model.vmemmap().optional().orElseThrow(),
                model.era().optional().orElseThrow().encodings().hypPage()));
        MachineView view = new MachineView(
                host, hyp, List.of(), List.of(), model.era(), model.vmemmap(), frames, model.regions(), true);
        List<Finding> findings = new ArrayList<>();
        for (Violation violation : Rules.check(view).violations()) {
            findings.add(new Finding(
                    Finding.Kind.RULE,
                    violation.start(),
                    violation.rule().id() + ": " + violation.rule().words(),
                    violation.message(),
                    violation.evidence().stream().map(Evidence::says).toList(),
                    call));
        }
        return findings;
    }
}
