package dev.s2snap.pkvm;

import dev.s2snap.pkvm.HypSpace.Kind;
import dev.s2snap.pkvm.HypSpace.Mapping;
import dev.s2snap.pkvm.HypSpace.Range;
import dev.s2snap.pkvm.MachineView.GuestTable;
import dev.s2snap.pkvm.MachineView.Table;
import dev.s2snap.pkvm.PageView.Memory;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.TableGeometry;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// The rules about pages of physical memory: what host, hypervisor, guests and hyp_vmemmap say of the same address.
///
/// The rules are asked once for a [Stretch], not for a page. One that breaks several rules is one violation: the most
/// telling rule stands for the others.
final class PageRules {
    /// If several are broken, the first one here is the violation's.
    private static final Rule[] TELLING = {
        Rule.I_15, Rule.I_10, Rule.I_6, Rule.I_16, Rule.I_13, Rule.I_12, Rule.I_14, Rule.I_5, Rule.I_24, Rule.I_20,
        Rule.I_21, Rule.I_23, Rule.I_22, Rule.I_27, Rule.I_11, Rule.I_25, Rule.I_26,
    };

    private final PageView view;
    private final Witness witness;
    private final Sweep sweep;
    private final HostEntryRules entries;
    private final OwnershipRules ownership;
    private final GuestRules guests;
    private final List<Violation> violations = new ArrayList<>();
    private @Nullable Stretch open;
    private long withoutState;

    PageRules(
            MachineView machine,
            Witness witness,
            PageNames names,
            Table host,
            Table hyp,
            HypSpace space,
            Era era,
            TableRules tables) {
        this.witness = witness;
        List<Range> linear = new ArrayList<>();
        boolean anyPrivate = false;
        for (Range range : tables.unknown(hyp)) {
            anyPrivate |= !space.divided()
                    || space.inPrivateSpace(range.start())
                    || space.inPrivateSpace(range.end() - 1)
                    || space.inVmemmap(range.start());
            linear.add(new Range(space.physical(range.start()), space.physical(range.end())));
        }
        for (Mapping mapping : space.mappings()) {
            if (mapping.kind() == Kind.STRAY && space.divided()) {
                // What belongs there is not where it belongs; that is said of the mapping.
                long start = space.physical(mapping.run().start());
                linear.add(new Range(start, start + mapping.run().size()));
            }
        }
        boolean complete = machine.guestsUnread().isEmpty();
        for (GuestTable guest : machine.guests()) {
            complete &= tables.unknown(guest.table()).isEmpty();
        }
        this.view = new PageView(machine, names, host, hyp, space, era, !anyPrivate, complete);
        this.sweep = new Sweep(view, tables.unknown(host), linear);
        this.entries = new HostEntryRules(view);
        this.ownership = new OwnershipRules(view);
        this.guests = new GuestRules(view);
    }

    List<Violation> violations() {
        return violations;
    }

    OwnershipRules ownership() {
        return ownership;
    }

    GuestRules guests() {
        return guests;
    }

    /// Bytes of memory whose state is in a page of the hyp_vmemmap that is not at hand.
    long withoutState() {
        return withoutState;
    }

    void check() {
        blocks();
        List<Violation> edges = List.copyOf(violations);
        sweep.forEach(this::next);
        close();
        // A part of such a block has the attributes of the other one; that is said of the block.
        violations.removeIf(violation -> violation.rule() == Rule.I_11
                && edges.stream().anyMatch(edge -> edge.start() <= violation.start() && edge.end() >= violation.end()));
        guests.entries(witness, violations);
    }

    // Blocks of the host across an edge of memory (I-12).

    private void blocks() {
        List<LeafRun> runs = view.host().audit().runs();
        for (MemoryRegion region : view.regions()) {
            for (long edge : new long[] {region.base(), region.end()}) {
                int index = at(runs, edge);
                LeafRun run = index < 0 ? null : runs.get(index);
                if (run == null || !run.mapped() || run.level() == TableGeometry.LAST_LEVEL) {
                    continue;
                }
                long size = view.geometry().entrySize(run.level());
                long start = edge & -size;
                boolean already = !violations.isEmpty()
                        && violations.getLast().rule() == Rule.I_12
                        && violations.getLast().start() == start;
                if (start != edge && !already) {
                    violations.add(new Violation(
                            Rule.I_12,
                            start,
                            start + size,
                            "a block of the host goes across the edge of memory at 0x" + Long.toHexString(edge),
                            List.of(),
                            List.of(witness.host(view.host(), start, start + size))));
                }
            }
        }
    }

    /// The run that has `address`, or -1.
    private static int at(List<LeafRun> runs, long address) {
        int low = 0;
        int high = runs.size() - 1;
        while (low <= high) {
            int middle = (low + high) >>> 1;
            if (runs.get(middle).end() <= address) {
                low = middle + 1;
            } else if (runs.get(middle).start() > address) {
                high = middle - 1;
            } else {
                return middle;
            }
        }
        return -1;
    }

    // Stretches.

    private void next(Stretch stretch) {
        judge(stretch);
        Stretch before = open;
        if (before != null && !stretch.sound() && before.goesOnIn(stretch)) {
            before.end = stretch.end;
            return;
        }
        close();
        if (!stretch.sound()) {
            stretch.mappings = List.copyOf(stretch.mappings);
            stretch.guests = List.copyOf(stretch.guests);
            open = stretch;
        }
    }

    private void close() {
        if (open != null) {
            add(open);
            open = null;
        }
    }

    private void judge(Stretch stretch) {
        Memory memory = view.memory(stretch);
        boolean device = PageView.primary(stretch).map(Mapping::device).orElse(false);
        Optional<PageState> hostState = device ? Optional.empty() : view.hostState(stretch, memory);
        Optional<PageState> hypState = device ? Optional.empty() : view.hypState(stretch, memory);
        if (stretch.inFrames && !stretch.frameKnown && view.hostInFrames()) {
            withoutState += stretch.size();
        }
        entries.check(stretch, memory);
        if (stretch.broke(Rule.I_10)) {
            return;
        }
        if (memory != Memory.NO) {
            ownership.check(stretch, hostState, hypState);
        }
        guests.check(stretch, hostState, hypState);
    }

    private void add(Stretch stretch) {
        Rule rule = null;
        List<Rule> also = new ArrayList<>();
        for (Rule each : TELLING) {
            if (stretch.broke(each)) {
                if (rule == null) {
                    rule = each;
                } else {
                    also.add(each);
                }
            }
        }
        if (rule == null) {
            throw new IllegalStateException("a broken rule has no place in the order");
        }
        List<Evidence> evidence = new ArrayList<>();
        evidence.add(witness.host(view.host(), stretch.start, stretch.end));
        for (Mapping mapping : stretch.mappings) {
            evidence.add(witness.hyp(view.hyp(), mapping, stretch.start, stretch.end));
        }
        if (stretch.mappings.isEmpty() && view.space().divided()) {
            evidence.add(witness.notMapped(view.hyp(), stretch.start, stretch.end));
        }
        boolean counts = view.frames().isPresent() && view.frames().get().layout() == HypPageLayout.COUNTS;
        if (stretch.frameKnown && (!counts || stretch.broke(Rule.I_25))) {
            evidence.add(witness.frame(view.frames().orElseThrow(), stretch.frame, stretch.start, stretch.end));
        }
        for (GuestLeaf leaf : stretch.guests) {
            evidence.add(witness.guest(leaf.guest().table(), leaf.input(stretch.start), stretch.end - stretch.start));
        }
        Optional<Annotation> annotation = stretch.hostUnknown ? Optional.empty() : view.annotation(stretch);
        if (stretch.guests.isEmpty()
                && annotation.orElse(null) instanceof Annotation.OwnedBy(Owner owner)
                && owner instanceof Owner.Guest(int handle, long frame)) {
            for (GuestTable guest : view.guests()) {
                if (guest.handle() == handle) {
                    evidence.add(witness.guest(
                            guest.table(), frame << view.geometry().granuleShift(), stretch.end - stretch.start));
                }
            }
        }
        violations.add(new Violation(rule, stretch.start, stretch.end, stretch.message(), also, evidence));
    }
}
