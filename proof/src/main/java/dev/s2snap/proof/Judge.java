package dev.s2snap.proof;

import dev.s2snap.model.PkvmModel;
import dev.s2snap.pkvm.Evidence;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.HypPageLayout;
import dev.s2snap.pkvm.MachineView;
import dev.s2snap.pkvm.PageFrames;
import dev.s2snap.pkvm.Rules;
import dev.s2snap.pkvm.Violation;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.List;

/// The second judge, which knows nothing of the first: the rule catalogue over all tables of the machine.
final class Judge {
    private Judge() {}

    static List<Finding> judge(PkvmModel model, String call) {
        TranslationTable hyp = model.hyp().optional().orElseThrow();
        HypPageLayout layout = model.era().optional().orElseThrow().encodings().hypPage();
        Fact<PageFrames> frames = model.vmemmap()
                .map(where -> new PageFrames(hyp, LeafRuns.of(hyp).runs(), where, layout));
        MachineView view = MachineView.of(model, model.era(), model.vmemmap(), frames);
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
