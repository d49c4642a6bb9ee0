package dev.s2snap.proof;

import java.io.IOException;
import java.util.List;

/// One line of the corrected call, made into one that brings a known defect back; or one of the tables' code, made into
/// one that forgets a TLB invalidation.
///
/// @param defect its number, or TLBI
/// @param what it does, a clause
/// @param file of the model
/// @param line as it is, with the blanks in front
/// @param instead without them
/// @param steps what kills it: "campaign", of what machine, or the steps of that name in [MutantHunt]
/// @param shows what the finding is diagnosed as
record Mutant(String defect, String what, String file, String line, String instead, String steps, String shows) {
    private static final String CALL = "CorrectedSnapshot.java";
    private static final String STAGE2 = "Stage2.java";
    private static final String CHECKED = "        int error = checkCounts(request);";
    private static final String COUNT =
            "        return pages != 0 && Long.compareUnsigned(pages, limit >>> pageShift) <= 0;";

    static final List<Mutant> ALL = List.of(
            new Mutant(
                    "D-01",
                    "before it refuses the index it gives back what the host lists",
                    CALL,
                    CHECKED,
                    "int error = checkCounts(request); if (request.index != 0 && donate(request.used,"
                            + " request.usedPages) == 0) { giveBack(memory.read64(map.hypVa(request.used)), 1);"
                            + " giveBack(request.used, request.usedPages); }",
                    "campaign",
                    "D-01"),
            new Mutant(
                    "D-02",
                    "before it refuses an array of no pages it lists a page there",
                    CALL,
                    CHECKED,
                    "int error = checkCounts(request); if (request.usedPages == 0)"
                            + " memory.write64(map.hypVa(request.used), request.head);",
                    "campaign",
                    "D-02"),
            new Mutant(
                    "D-02",
                    "counts of zero are accepted; what is behind still refuses them, with another errno",
                    CALL,
                    COUNT,
                    "return Long.compareUnsigned(pages, limit >>> pageShift) <= 0;",
                    "campaign",
                    "D-13"),
            new Mutant("D-03", "counts that wrap are accepted", CALL, COUNT, "return pages != 0;", "campaign", "D-03"),
            new Mutant(
                    "D-04",
                    "only the first page of a range must be memory",
                    "MemoryMap.java",
                    "        return region >= 0 && !nomap[region] && contains(region, end - 1);",
                    "return region >= 0 && !nomap[region];",
                    "end-of-memory",
                    "D-06"),
            new Mutant(
                    "D-05",
                    "the array may be one entry short",
                    CALL,
                    "            fits = needed <= request.listPages && needed * Long.BYTES <= request.usedPages <<"
                            + " pageShift;",
                    "fits = needed <= request.listPages && (needed - 1) * Long.BYTES <= request.usedPages <<"
                            + " pageShift;",
                    "array",
                    "D-05"),
            new Mutant(
                    "D-06",
                    "the rollback of a list has no end",
                    CALL,
                    "                giveBackList(head, i);",
                    "giveBackList(head, Long.MAX_VALUE);",
                    "campaign",
                    "D-06"),
            new Mutant(
                    "D-07",
                    "the rollback of a list includes the page that was refused",
                    CALL,
                    "                giveBackList(head, i);",
                    "giveBackList(head, i + 1);",
                    "campaign",
                    "D-07"),
            new Mutant(
                    "D-08",
                    "a list that comes back to its head is taken for a longer one",
                    CALL,
                    "            int error = aligned(page) ? donate(page, 1) : Errno.EINVAL;",
                    "int error = aligned(page) ? i != 0 && page == head ? 0 : donate(page, 1) : Errno.EINVAL;",
                    "cycle",
                    "D-08"),
            new Mutant(
                    "D-09",
                    "a donation does not ask for table pages beforehand",
                    CALL,
                    "        int error = memProtect.donateHyp(physical >>> pageShift, pages, this::admit);",
                    "int error = memProtect.donateHyp(physical >>> pageShift, pages);",
                    "empty-pool",
                    "D-09"),
            new Mutant(
                    "D-10",
                    "on failure the PGD pointer is that of EL2",
                    CALL,
                    "            memory.write64(snap + SnapshotStruct.PGD, 0);",
                    "memory.write64(snap + SnapshotStruct.PGD,"
                            + " map.kernHypVa(memory.read64(snap + SnapshotStruct.PGD_HVA)));",
                    "campaign",
                    "D-10"),
            new Mutant(
                    "D-11",
                    "on failure the PGD is not zeroed and holds pointers to live tables",
                    CALL,
                    "            memory.zeroPages(map.hypVa(request.pgd), request.pgdPages << pageShift);",
                    "new TableCopy(el2.host.table().geometry(), memory, () -> TableCopy.Pages.NONE)"
                            + ".copy(el2.host.table().root(), request.pgd);",
                    "campaign",
                    "D-11"),
            new Mutant(
                    "D-12",
                    "the struct tells where the live table is",
                    CALL,
                    "        memory.write64(snap + SnapshotStruct.PGD, request.pgd);",
                    "memory.write64(snap + SnapshotStruct.PGD, host.root());",
                    "campaign",
                    "D-10"),
            new Mutant(
                    "D-34",
                    "a range may have 2 GiB and more",
                    CALL,
                    "                && saneCount(request.pgdPages, Math.min(memory, MAX_BYTES - 1))",
                    "&& saneCount(request.pgdPages, memory)",
                    "2-gibibytes",
                    "D-34"),
            new Mutant(
                    "TLBI",
                    "what the host had mapped is given away, and its TLB entry stays",
                    STAGE2,
                    "            flushIpa(address, level);",
                    "table.dsb(\"ish\");",
                    "campaign",
                    "TLB"),
            new Mutant(
                    "TLBI",
                    "the hint is for another level than the leaf's",
                    STAGE2,
                    "            flushIpa(address, level);",
                    "flushIpa(address, level == LAST_LEVEL ? level - 1 : level);",
                    "campaign",
                    "TLB"),
            new Mutant(
                    "TLBI",
                    "a table that goes is invalidated with the hint of a leaf (B-07)",
                    STAGE2,
                    "                flushIpa(at, Recorder.LEVEL_UNKNOWN);",
                    "flushIpa(at, level);",
                    "campaign-of-3-regions",
                    "TLB"),
            new Mutant(
                    "TLBI",
                    "a device that is unmapped stays in the TLB",
                    STAGE2,
                    "                flushIpa(at, level);",
                    "table.dsb(\"ish\");",
                    "campaign",
                    "TLB"),
            new Mutant(
                    "TLBI",
                    "EL2 keeps what it gave back in its TLB",
                    "HypStage1.java",
                    "        invalidate(address, level, leaf);",
                    "table.isb();",
                    "campaign",
                    "TLB"));

    boolean byCampaign() {
        return steps.startsWith("campaign");
    }

    /// The model with this mutant in it.
    MutantHouse house() throws IOException {
        String blanks = line.substring(0, line.length() - line.strip().length());
        return MutantHouse.with(file, line, blanks + instead);
    }

    /// Its row in the document, without the last column.
    String row() {
        return "| " + defect + " | " + what + " | " + (byCampaign() ? steps.replace('-', ' ') : "`" + steps + "`")
                + " | " + shows + " |";
    }

    /// Its lines in the document.
    String diff() {
        return "@@ " + defect + ", " + file + ": " + what + "\n-" + line.strip() + "\n+" + instead;
    }

    @Override
    public String toString() {
        return defect + ": " + what;
    }
}
