package dev.s2snap.pkvm;

import dev.s2snap.pkvm.MachineView.GuestTable;
import dev.s2snap.pkvm.MachineView.Table;
import dev.s2snap.vmsa.Finding.Step;
import dev.s2snap.vmsa.TableGeometry;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;

/// Checks the catalogue of [Rule]s on a machine at rest.
///
/// A defect is one violation: where one breaks several rules, the most telling one stands for them and names the
/// others. The work is one pass over runs, table pages and the hyp_vmemmap; what is kept is bounded by the violations.
public final class Rules {

    /// Why a rule, or a part of it, was not checked.
    ///
    /// @param reason a clause
    public record NotChecked(Rule rule, String reason) {}

    /// @param violations by ascending physical address
    /// @param notChecked in the order of the catalogue
    public record Report(List<Violation> violations, List<NotChecked> notChecked) {
        public Report {
            violations = List.copyOf(violations);
            notChecked = List.copyOf(notChecked);
        }
    }

    private final MachineView view;
    private final Optional<HypSpace> space;
    private final Witness witness;
    private final TableRules tables;
    private final List<Violation> violations = new ArrayList<>();
    private final List<NotChecked> notChecked = new ArrayList<>();

    /// How many violations are asked whether they explain a wrong count, and a bound of that: a machine that is all
    /// wrong shall not take forever.
    private int explaining;

    private static final int EXPLAINING = 2000;

    private Rules(MachineView view) {
        this.view = view;
        this.space = view.hyp()
                .optional()
                .map(hyp -> new HypSpace(hyp.audit(), view.vmemmap().optional()));
        this.witness = new Witness(view, space);
        this.tables = new TableRules(view, space);
    }

    public static Report check(MachineView view) {
        Rules rules = new Rules(view);
        rules.all();
        rules.violations.sort(Comparator.comparing(Violation::start, Long::compareUnsigned)
                .thenComparing(Violation::rule)
                .thenComparing(Violation::end, Long::compareUnsigned));
        rules.notChecked.sort(Comparator.comparing(NotChecked::rule));
        return new Report(rules.violations, rules.notChecked);
    }

    private void all() {
        tables.check();
        violations.addAll(tables.violations());
        for (Table table : tables.tables()) {
            table.audit().unlisted().forEach((rule, number) -> notListed(table, rule.id(), number));
        }
        shapeOf("host", view.host());
        shapeOf("EL2", view.hyp());
        pages();
        references();
        for (Rule rule : List.of(Rule.I_1, Rule.I_7)) {
            notChecked(rule, "from which pool a table page is: where pools are is in the hypervisor's data section");
        }
        notChecked(Rule.I_4, "which pages are free is in lists of the hypervisor's data section");
        notChecked(Rule.I_29, "memcaches are in structures of VMs that no table leads to");
    }

    private void shapeOf(String label, Fact<Table> table) {
        if (table instanceof Fact.Unknown<Table>(String reason)) {
            for (Rule rule : List.of(Rule.I_1, Rule.I_2, Rule.I_5, Rule.I_7)) {
                notChecked(rule, "of the " + label + " table, which is not known: " + reason);
            }
        }
    }

    private void notListed(Table table, String rule, long number) {
        notChecked(
                Rule.I_5, number + " more findings (" + rule + ") of the " + table.label() + " table are not listed");
    }

    private void notChecked(Rule rule, String reason) {
        notChecked.add(new NotChecked(rule, reason));
    }

    private static final List<Rule> OF_PAGES = List.of(
            Rule.I_6, Rule.I_10, Rule.I_11, Rule.I_12, Rule.I_13, Rule.I_14, Rule.I_15, Rule.I_16, Rule.I_20, Rule.I_21,
            Rule.I_22, Rule.I_23, Rule.I_24, Rule.I_25, Rule.I_26, Rule.I_27);

    private void pages() {
        String why = "";
        if (view.host() instanceof Fact.Unknown<Table>(String reason)) {
            why = "there is no host table: " + reason;
        } else if (view.hyp() instanceof Fact.Unknown<Table>(String reason)) {
            why = "there is no EL2 table: " + reason;
        } else if (view.releases() instanceof Fact.Unknown<Era>(String reason)) {
            why = "it is not known how this kernel writes ownership: " + reason;
        }
        if (!why.isEmpty()) {
            for (Rule rule : OF_PAGES) {
                notChecked(rule, why);
            }
            return;
        }
        Era era = view.releases().optional().orElseThrow();
        Table hyp = view.hyp().optional().orElseThrow();
        PageNames names = new PageNames(tables.tables(), space.orElseThrow());
        HypRules mappings = new HypRules(witness, names, hyp, space.orElseThrow(), tables.unknown(hyp));
        mappings.check();
        violations.addAll(mappings.violations());
        PageRules pages = new PageRules(
                view, witness, names, view.host().optional().orElseThrow(), hyp, space.orElseThrow(), era, tables);
        pages.check();
        // A mapping of EL2 that lost its valid bit is told by what it mapped.
        violations.removeIf(violation -> violation.rule() == Rule.I_5
                && violation.evidence().stream()
                        .anyMatch(evidence -> evidence.table().equals("hyp"))
                && pages.violations().stream()
                        .anyMatch(other -> other.rule() == Rule.I_23
                                && other.start() <= violation.start()
                                && other.end() >= violation.end()));
        violations.addAll(pages.violations());
        because(pages, era);
    }

    /// What of the rules for pages this source does not tell.
    private void because(PageRules pages, Era era) {
        boolean inFrames = era.encodings().hostStates() == Encodings.StateLocation.VMEMMAP;
        if (view.regions() instanceof Fact.Unknown<?>(String reason)) {
            notChecked(Rule.I_16, "it is not known what is memory: " + reason);
            notChecked(Rule.I_11, "whether what is mapped rw is a device: it is not known what is memory");
            notChecked(Rule.I_12, "whether blocks lie in one region: it is not known what is memory");
        }
        if (inFrames && view.frames() instanceof Fact.Unknown<?>(String reason)) {
            for (Rule rule : List.of(Rule.I_20, Rule.I_21, Rule.I_22, Rule.I_24, Rule.I_27)) {
                notChecked(rule, "page states are in the hyp_vmemmap: " + reason);
            }
        } else if (pages.withoutState() > 0) {
            notChecked(
                    Rule.I_21,
                    "of " + (pages.withoutState() >>> 10) + "K: the pages of the hyp_vmemmap are not in this memory");
        }
        if (view.frames() instanceof Fact.Unknown<?>(String reason)) {
            notChecked(Rule.I_25, "counts are in the hyp_vmemmap: " + reason);
        }
        if (!inFrames) {
            notChecked(Rule.I_27, "this kernel keeps no page states in the hyp_vmemmap");
        }
        if (pages.ownership().sharedWithSecureWorld() > 0) {
            notChecked(
                    Rule.I_22,
                    "of " + (pages.ownership().sharedWithSecureWorld() >>> 10)
                            + "K: the secure world may have them (FF-A)");
        }
        long sharedWithUnknown =
                pages.ownership().sharedWithUnknown() + pages.guests().sharedWithUnknown();
        if (era == Era.V6_1) {
            notChecked(Rule.I_24, "this kernel leaves guests' tables to the host");
        } else if (sharedWithUnknown > 0) {
            notChecked(
                    Rule.I_24,
                    "of " + (sharedWithUnknown >>> 10) + "K shared with guests: not all of their tables are"
                            + " known");
        }
        if (pages.guests().ofUnknownGuests() > 0) {
            notChecked(
                    Rule.I_24,
                    "of " + (pages.guests().ofUnknownGuests() >>> 10)
                            + "K donated to guests: their tables are not known");
        }
        view.guestsUnread().forEach(reason -> notChecked(Rule.I_28, reason));
    }

    // Table pages and their counts.

    private void references() {
        if (!(view.frames() instanceof Fact.Known<PageFrames>(PageFrames frames, String _))) {
            notChecked(
                    Rule.I_3,
                    "counts are in the hyp_vmemmap: "
                            + view.frames().provenance().replaceFirst("^unknown: ", ""));
            return;
        }
        boolean guestsAtEl2 =
                view.releases().optional().map(era -> era != Era.V6_1).orElse(false);
        explaining = Math.min(violations.size(), EXPLAINING);
        long unread = 0;
        for (Table table : tables.tables()) {
            boolean guest = view.guests().stream().map(GuestTable::table).anyMatch(table::equals);
            if (!guest || guestsAtEl2) {
                unread += references(table, frames);
            }
        }
        if (unread > 0) {
            notChecked(
                    Rule.I_3, "of " + unread + " table pages: their entries of the hyp_vmemmap are not in this memory");
        }
    }

    /// @return the number of table pages whose count is not at hand
    private long references(Table table, PageFrames frames) {
        TableAudit audit = table.audit();
        TableGeometry geometry = table.table().geometry();
        long unread = 0;
        boolean linearOnly = !table.table().geometry().regime().stage2() && countsLinearOnly(audit, frames);
        PageFrames.Span span = null;
        for (int page = 0; page < audit.pages(); page++) {
            long frame = audit.address(page) >>> frames.frameShift();
            if (span == null || frame < span.first() || frame >= span.end()) {
                span = frames.span(frame).orElse(null);
            }
            if (span == null || span.absent()) {
                unread++;
                continue;
            }
            int count = frames.layout().refcount(frames.entry(span, frame - span.first()));
            int used = audit.used(page);
            if (count != used + 1 && !(linearOnly && beyondLinear(audit, page))) {
                count(table, audit, page, count, geometry.granule());
            }
        }
        return unread;
    }

    /// Whether this kernel counts the entries of the linear map alone. 6.1 walks only that when it makes up for the
    /// entries which the early allocator did not count; 6.12 walks everything.
    private boolean countsLinearOnly(TableAudit audit, PageFrames frames) {
        int exact = 0;
        int uncounted = 0;
        for (int page = 0; page < audit.pages(); page++) {
            long frame = audit.address(page) >>> frames.frameShift();
            PageFrames.Span span = frames.span(frame).orElse(null);
            if (span != null && !span.absent() && beyondLinear(audit, page)) {
                int count = frames.layout().refcount(frames.entry(span, frame - span.first()));
                exact += count == audit.used(page) + 1 ? 1 : 0;
                uncounted += count == 1 ? 1 : 0;
            }
        }
        boolean linearOnly = uncounted > exact;
        if (linearOnly) {
            notChecked(Rule.I_3, "of EL2's tables beside the linear map: this kernel does not count their entries");
        }
        return linearOnly;
    }

    /// Whether a page of EL2's table has entries beside the linear map.
    private boolean beyondLinear(TableAudit audit, int page) {
        HypSpace known = space.orElseThrow();
        return known.mappings().stream()
                .anyMatch(mapping -> mapping.kind() != HypSpace.Kind.LINEAR
                        && mapping.run().start() < audit.inputEnd(page)
                        && mapping.run().end() > audit.input(page));
    }

    private void count(Table table, TableAudit audit, int page, int count, long granule) {
        boolean misread = tables.unknown(table).stream()
                .anyMatch(range -> range.start() <= audit.input(page) && range.end() >= audit.inputEnd(page));
        if (misread) {
            return;
        }
        int used = audit.used(page);
        long address = audit.address(page);
        List<Step> path = Witness.path(table.table(), audit.input(page));
        int above = audit.level(page) - table.table().geometry().startLevel();
        Evidence evidence = new Evidence(
                "hyp_vmemmap",
                address,
                address + granule,
                List.of(),
                "a level " + audit.level(page) + " page of the " + table.label() + " table with " + used
                        + " entries and " + count + " references");
        // A defect that made or cleared an entry of this page has changed the number of its entries.
        for (int i = 0; i < explaining; i++) {
            Violation violation = violations.get(i);
            boolean here = violation.evidence().stream()
                    .anyMatch(said -> said.table().equals(table.label())
                            && said.start() < audit.inputEnd(page)
                            && said.end() > audit.input(page)
                            && !said.path().isEmpty()
                            && said.path().getLast().level() == audit.level(page));
            if (here) {
                List<Rule> also = new ArrayList<>(violation.also());
                if (!also.contains(Rule.I_3)) {
                    also.add(Rule.I_3);
                }
                List<Evidence> more = new ArrayList<>(violation.evidence());
                more.add(evidence);
                violations.set(
                        i,
                        new Violation(
                                violation.rule(), violation.start(), violation.end(), violation.message(), also, more));
                return;
            }
        }
        violations.add(new Violation(
                Rule.I_3,
                address,
                address + granule,
                "a page of the " + table.label() + " table has " + count + " references, and " + used
                        + " entries would be " + (used + 1),
                List.of(),
                List.of(
                        new Evidence(
                                table.label(),
                                audit.input(page),
                                audit.inputEnd(page),
                                path.subList(0, Math.max(0, Math.min(above, path.size()))),
                                "the pointer to it"),
                        evidence)));
    }
}
