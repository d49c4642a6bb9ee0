package dev.s2snap.inspect;

import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.MachineView.Table;
import dev.s2snap.pkvm.PageFrames;
import dev.s2snap.pkvm.TableAudit;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/// Pages that the hypervisor took for a table and that no table reaches: nobody will ever give them back.
///
/// Nothing in memory that can be found says where the pools are. But the pool of EL2's tables and that of the host's
/// lie
/// one behind the other in the memory that the host reserved for the hypervisor, and each serves that table alone
/// (`divide_memory_pool`, all releases). So what lies between two pages of these tables is a page of a pool: free, with
/// no reference, or a table. What lies before the first or behind the last one is not looked at, and neither are the
/// pools of VMs: memory there that counts as in use may have a purpose that no table tells.
///
/// @param leaked by ascending physical address
/// @param notLooked what was not looked at, and why
record LeakedTables(List<Lint> leaked, List<Lint.NotLooked> notLooked) {

    static LeakedTables of(Fact<Table> host, Fact<Table> hyp, Fact<PageFrames> frames) {
        if (host instanceof Fact.Unknown<Table>(String why)) {
            return none("there is no host table: " + why);
        }
        if (hyp instanceof Fact.Unknown<Table>(String why)) {
            return none("there is no EL2 table: " + why);
        }
        if (frames instanceof Fact.Unknown<PageFrames>(String why)) {
            return none("counts are in the hyp_vmemmap: " + why);
        }
        List<Table> tables =
                List.of(host.optional().orElseThrow(), hyp.optional().orElseThrow());
        for (Table table : tables) {
            TableAudit audit = table.audit();
            if (!audit.findings().isEmpty() || !audit.unread().isEmpty()) {
                return none("the " + table.label() + " table could not be read whole");
            }
        }
        return between(tables, frames.optional().orElseThrow());
    }

    private static LeakedTables none(String reason) {
        return new LeakedTables(List.of(), List.of(new Lint.NotLooked(Lint.Kind.LEAKED_TABLE, reason)));
    }

    private static LeakedTables between(List<Table> tables, PageFrames frames) {
        int shift = frames.frameShift();
        long[] reached = tables.stream()
                .map(Table::audit)
                .flatMapToLong(
                        audit -> IntStream.range(0, audit.pages()).mapToLong(page -> audit.address(page) >>> shift))
                .sorted()
                .toArray();
        List<Lint> leaked = new ArrayList<>();
        long first = reached[0];
        long end = reached[reached.length - 1] + 1;
        long known = 0;
        for (PageFrames.Span span : frames.spans()) {
            long from = Math.max(first, span.first());
            long to = Math.min(end, span.end());
            if (from >= to || span.absent()) {
                continue;
            }
            known += to - from;
            for (long frame = from; frame < to; frame++) {
                int count = frames.layout().refcount(frames.entry(span, frame - span.first()));
                if (count != 0 && Arrays.binarySearch(reached, frame) < 0) {
                    add(leaked, frame << shift, (frame + 1) << shift);
                }
            }
        }
        long absent = end - first - known;
        List<Lint.NotLooked> notLooked = new ArrayList<>();
        if (absent > 0) {
            notLooked.add(new Lint.NotLooked(
                    Lint.Kind.LEAKED_TABLE,
                    "of " + (absent << shift >>> 10) + "K: the pages of the hyp_vmemmap are not in this memory"));
        }
        notLooked.add(new Lint.NotLooked(
                Lint.Kind.LEAKED_TABLE, "of VMs: their pools are in structures that no table leads to"));
        return new LeakedTables(leaked, notLooked);
    }

    /// Adds a page, to those before it if they meet.
    private static void add(List<Lint> leaked, long start, long end) {
        boolean goesOn = !leaked.isEmpty() && leaked.getLast().end() == start;
        long from = goesOn ? leaked.removeLast().start() : start;
        leaked.add(new Lint(
                Lint.Kind.LEAKED_TABLE, "pools", from, end, end - from, "in use as tables, and no table reaches it"));
    }
}
