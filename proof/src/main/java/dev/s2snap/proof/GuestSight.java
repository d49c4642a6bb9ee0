package dev.s2snap.proof;

import dev.s2snap.proof.GuestBook.Leaf;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// What a guest's table really says, read from memory behind everybody's back: no access of the host, so no step.
final class GuestSight {
    // Permissions of a stage-2 descriptor (D8.4.2): S2AP 7:6, and XN 54 on machines without FEAT_XNX.
    private static final long READ = 1 << 6;
    private static final long WRITE = 1 << 7;
    private static final long EXECUTE_NEVER = 1L << 54;

    private GuestSight() {}

    private static Leaf leaf(long start, long size, long descriptor, long physical) {
        return new Leaf(
                start,
                size,
                (descriptor & READ) != 0,
                (descriptor & WRITE) != 0,
                (descriptor & EXECUTE_NEVER) == 0,
                (descriptor & Descriptor.AF) != 0,
                physical);
    }

    /// What maps an address, or null.
    static @Nullable Leaf at(TranslationTable table, long ipa) {
        if (table.translate(ipa) instanceof Translation.Mapped(var _, int level, long descriptor, long output)) {
            long size = table.geometry().entrySize(level);
            return leaf(ipa & -size, size, descriptor, output & -size);
        }
        return null;
    }

    /// A whole table.
    ///
    /// @param problems what is no table of the architecture, or no entry of a guest
    record Whole(List<Leaf> leaves, List<String> problems) {}

    static Whole all(TranslationTable table) {
        LeafRuns.Result result = LeafRuns.of(table);
        List<Leaf> leaves = new ArrayList<>();
        List<String> problems = new ArrayList<>();
        result.findings().forEach(finding -> problems.add(finding.message()));
        for (LeafRun run : result.runs()) {
            if (run.mapped()) {
                long size = table.geometry().entrySize(run.level());
                for (long at = 0; at < run.size(); at += size) {
                    leaves.add(leaf(run.start() + at, size, run.bits(), run.output() + at));
                }
            } else {
                problems.add("an entry that is neither empty nor valid: 0x" + Long.toHexString(run.bits()));
            }
        }
        return new Whole(leaves, problems);
    }
}
