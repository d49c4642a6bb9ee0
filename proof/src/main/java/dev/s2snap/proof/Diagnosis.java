package dev.s2snap.proof;

import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/// Which of the known defects of the posted snapshot call a finding shows (docs/defects.md): from what the host asked
/// for and what came of it. For a person and a table; nothing depends on it but which findings count as the same.
final class Diagnosis {
    /// What the host asked for.
    ///
    /// @param refusal what the posted call refuses first while it takes the buffers
    record Request(long index, long pgdPages, long listPages, long arrayPages, Refusal refusal) {}

    enum Refusal {
        NONE,
        /// The struct or the PGD.
        BUFFER,
        /// A page of the list that this call has already.
        ALIAS,
        /// A page of the list that is the hypervisor's.
        HYPERVISORS,
        /// Another page of the list, or the array.
        OTHER
    }

    private static final long SMALL = 1L << 40;

    private Diagnosis() {}

    /// The ids of the defects that show, or the kind of the first finding if it is none that is known.
    static Set<String> of(List<Finding> findings, Request request, World world) {
        Set<String> ids = new TreeSet<>();
        boolean stores = has(findings, Finding.Kind.STORE);
        boolean panic = has(findings, Finding.Kind.PANIC);
        boolean lost = findings.stream().anyMatch(finding -> lost(finding, world));
        if (panic || stores || lost) {
            ids.add(broken(request, stores, world));
        }
        for (Finding finding : findings) {
            switch (finding.kind()) {
                case LEAK -> ids.add("D-10");
                case LIVE_TABLE -> ids.add("D-11");
                case ROOM -> ids.add("D-05");
                default -> {}
            }
        }
        Finding first = findings.getFirst();
        if (ids.isEmpty() && first.kind() == Finding.Kind.ANSWER) {
            ids.add(wraps(request.pgdPages) || wraps(request.arrayPages) ? "D-03" : "D-13");
        }
        if (ids.isEmpty()) {
            ids.add(first.kind().name());
        }
        return ids;
    }

    /// What a shrunk script must still show: as bad an end as the first one, and no other.
    static String gravity(List<Finding> findings, World world) {
        return (has(findings, Finding.Kind.PANIC) ? "panic " : "")
                + (findings.stream().anyMatch(finding -> lost(finding, world)) ? "lost " : "")
                + (has(findings, Finding.Kind.STORE) ? "store" : "");
    }

    private static String broken(Request request, boolean stores, World world) {
        if (request.index != 0 && !stores && request.refusal == Refusal.NONE) {
            return "D-01";
        }
        return switch (request.refusal) {
            case ALIAS -> "D-08";
            case HYPERVISORS -> "D-07";
            case OTHER, BUFFER -> "D-06";
            case NONE ->
                wraps(request.pgdPages) || wraps(request.arrayPages)
                        ? "D-03"
                        : huge(request.pgdPages, world) || huge(request.arrayPages, world)
                                ? "D-34"
                                : request.arrayPages == 0 || request.pgdPages == 0
                                        ? "D-02"
                                        : world.poolsHeld() && !stores ? "D-09" : "D-05";
        };
    }

    /// Whether a page that was the hypervisor's is not any more.
    private static boolean lost(Finding finding, World world) {
        int page = finding.page() == -1 ? -1 : world.number(finding.page());
        return (finding.kind() == Finding.Kind.HOST || finding.kind() == Finding.Kind.HYP)
                && page >= 0
                && world.hyp[page] == World.OWNED;
    }

    private static boolean has(List<Finding> findings, Finding.Kind kind) {
        return findings.stream().anyMatch(finding -> finding.kind() == kind);
    }

    /// Whether so many pages are more bytes than 64 bits hold, or nearly.
    private static boolean wraps(long pages) {
        return Long.compareUnsigned(pages, SMALL) >= 0;
    }

    private static boolean huge(long pages, World world) {
        return !wraps(pages) && pages >= (1L << 31) >>> world.shift;
    }
}
