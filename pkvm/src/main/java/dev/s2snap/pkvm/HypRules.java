package dev.s2snap.pkvm;

import dev.s2snap.pkvm.HypSpace.Kind;
import dev.s2snap.pkvm.HypSpace.Mapping;
import dev.s2snap.pkvm.HypSpace.Range;
import dev.s2snap.pkvm.MachineView.Table;
import java.util.ArrayList;
import java.util.List;

/// What EL2 may map, where, and with which permissions (I-26).
final class HypRules {
    private final Witness witness;
    private final PageNames names;
    private final Table hyp;
    private final HypSpace space;

    /// Input addresses below a defect of the table's shape.
    private final List<Range> unknown;

    private final List<Violation> violations = new ArrayList<>();

    HypRules(Witness witness, PageNames names, Table hyp, HypSpace space, List<Range> unknown) {
        this.witness = witness;
        this.names = names;
        this.hyp = hyp;
        this.space = space;
        this.unknown = unknown;
    }

    List<Violation> violations() {
        return violations;
    }

    void check() {
        for (Mapping mapping : space.mappings()) {
            String wrong = wrong(mapping);
            if (wrong.isEmpty() || isUnknown(mapping)) {
                continue;
            }
            boolean stray = mapping.kind() == Kind.STRAY && space.divided();
            long start = stray && !mapping.executable()
                    ? space.physical(mapping.run().start())
                    : mapping.start();
            long end = start + mapping.run().size();
            violations.add(new Violation(
                    Rule.I_26,
                    start,
                    end,
                    wrong,
                    List.of(),
                    List.of(witness.hyp(hyp, mapping, mapping.start(), mapping.end()))));
        }
    }

    private boolean isUnknown(Mapping mapping) {
        return unknown.stream()
                .anyMatch(range -> range.start() <= mapping.run().start()
                        && range.end() >= mapping.run().end());
    }

    private String wrong(Mapping mapping) {
        if (mapping.writable() && mapping.executable()) {
            return "EL2 can write and execute " + names.of(mapping.start(), mapping.end());
        }
        boolean text = space.inText(mapping.start(), mapping.end());
        if (mapping.executable() && space.textKnown() && !text) {
            return "EL2 can execute memory that is not its text";
        }
        if (mapping.writable() && text) {
            return "EL2 can write its text at another address";
        }
        if (mapping.kind() == Kind.STRAY && space.divided()) {
            return "EL2 maps 0x" + Long.toHexString(mapping.start()) + " at 0x"
                    + Long.toHexString(mapping.run().start()) + ", where its linear map has 0x"
                    + Long.toHexString(space.physical(mapping.run().start()));
        }
        return "";
    }
}
