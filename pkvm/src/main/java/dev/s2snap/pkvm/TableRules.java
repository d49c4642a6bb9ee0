package dev.s2snap.pkvm;

import dev.s2snap.pkvm.HypSpace.Kind;
import dev.s2snap.pkvm.HypSpace.Mapping;
import dev.s2snap.pkvm.HypSpace.Range;
import dev.s2snap.pkvm.MachineView.GuestTable;
import dev.s2snap.pkvm.MachineView.Table;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.Finding;
import dev.s2snap.vmsa.Finding.Step;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// The rules about one table, whatever it maps: I-1, I-2, I-5, I-7, and those that compare tables as trees.
///
/// Where the shape of a table is broken, what it maps below cannot be judged: such input addresses are [#unknown].
final class TableRules {
    private final MachineView view;
    private final Optional<HypSpace> space;
    private final List<Table> tables = new ArrayList<>();
    private final List<Violation> violations = new ArrayList<>();
    private final Map<Table, List<Range>> unknown = new HashMap<>();

    TableRules(MachineView view, Optional<HypSpace> space) {
        this.view = view;
        this.space = space;
        view.host().optional().ifPresent(tables::add);
        view.hyp().optional().ifPresent(tables::add);
        view.guests().forEach(guest -> tables.add(guest.table()));
    }

    List<Violation> violations() {
        return violations;
    }

    List<Table> tables() {
        return tables;
    }

    /// Input addresses of `table` below a defect, in no order; they may overlap.
    List<Range> unknown(Table table) {
        return unknown.getOrDefault(table, List.of());
    }

    private void unknown(Table table, long start, long end) {
        unknown.computeIfAbsent(table, _ -> new ArrayList<>()).add(new Range(start, end));
    }

    private boolean isUnknown(Table table, long input) {
        return unknown(table).stream().anyMatch(range -> input >= range.start() && input < range.end());
    }

    void check() {
        for (Table table : tables) {
            findings(table);
        }
        shared();
        for (Table table : tables) {
            oddTables(table);
            root(table);
            leaves(table);
        }
        guests();
    }

    private void report(Rule rule, Table table, long start, long end, long input, long size, String message) {
        violations.add(new Violation(
                rule,
                start,
                end,
                message,
                List.of(),
                List.of(new Evidence(
                        table.label(), input, input + size, Witness.path(table.table(), input), "its entry"))));
    }

    private void findings(Table table) {
        TableAudit audit = table.audit();
        TableGeometry geometry = table.table().geometry();
        for (LeafRuns.Unread range : audit.unread()) {
            unknown(table, range.start(), range.end());
        }
        for (Finding finding : audit.findings()) {
            Step last = finding.path().isEmpty()
                    ? new Step(0, 0, 0, 0)
                    : finding.path().getLast();
            boolean pointer = finding.path().isEmpty() || Descriptor.table(last.descriptor(), last.level());
            if (finding.rule() == Finding.Rule.RESERVED_BITS && pointer) {
                // All bits of table descriptors are looked at below.
                continue;
            }
            long page = finding.path().isEmpty() ? table.table().root() : geometry.tableAddress(last.descriptor());
            if (finding.rule() == Finding.Rule.SHARED_TABLE) {
                // Which of the two pointers is wrong, the tables do not tell.
                for (int i = 0; i < audit.pages(); i++) {
                    if (audit.address(i) == page) {
                        unknown(table, audit.input(i), audit.inputEnd(i));
                    }
                }
            }
            Rule rule = switch (finding.rule()) {
                case ABSENT_TABLE -> Rule.I_1;
                case TABLE_CYCLE, SHARED_TABLE -> Rule.I_2;
                case ADDRESS_SIZE -> pointer ? Rule.I_1 : Rule.I_5;
                case RESERVED_ENCODING, MISALIGNED_BLOCK, RESERVED_BITS -> Rule.I_5;
            };
            long size = finding.path().isEmpty() ? geometry.granule() : geometry.entrySize(last.level());
            if (!pointer) {
                unknown(table, last.inputAddress(), last.inputAddress() + size);
            }
            long start = pointer ? page : physical(table, last);
            violations.add(new Violation(
                    rule,
                    start,
                    start + (pointer ? geometry.granule() : size),
                    "the " + table.label() + " table: " + finding.message(),
                    List.of(),
                    List.of(new Evidence(
                            table.label(),
                            last.inputAddress(),
                            last.inputAddress() + size,
                            finding.path(),
                            pointer ? "the pointer" : "the entry"))));
        }
    }

    /// The physical address that an entry stands for.
    private long physical(Table table, Step step) {
        TableGeometry geometry = table.table().geometry();
        if (table.label().equals("host")) {
            return step.inputAddress();
        }
        if (Descriptor.leaf(step.descriptor(), step.level(), geometry)) {
            return geometry.outputAddress(step.descriptor(), step.level());
        }
        boolean linear = geometry.regime() != TranslationRegime.STAGE2
                && space.isPresent()
                && space.get().divided()
                && !space.get().inPrivateSpace(step.inputAddress());
        return linear
                ? space.orElseThrow().physical(step.inputAddress())
                : geometry.outputAddress(step.descriptor(), step.level());
    }

    /// Table pages that belong to two tables, and such that are no table pages at all (I-2, I-1).
    private void shared() {
        int count = 0;
        for (Table table : tables) {
            count += table.audit().pages();
        }
        // The low bits of a page's address are free: they say whose it is.
        long[] pages = new long[count];
        int at = 0;
        for (int index = 0; index < tables.size(); index++) {
            TableAudit audit = tables.get(index).audit();
            for (int page = 0; page < audit.pages(); page++) {
                pages[at++] = (audit.address(page) & -4096) | Math.min(index, 4095);
            }
        }
        Arrays.sort(pages);
        List<Long> twice = new ArrayList<>();
        for (int i = 1; i < pages.length; i++) {
            if ((pages[i] ^ pages[i - 1]) >>> 12 == 0
                    && pages[i] != pages[i - 1]
                    && (twice.isEmpty() || twice.getLast() != (pages[i] & -4096))) {
                twice.add(pages[i] & -4096);
            }
        }
        List<Range> frames = new ArrayList<>();
        for (Mapping mapping : space.map(HypSpace::mappings).orElse(List.of())) {
            if (mapping.kind() == Kind.VMEMMAP) {
                frames.add(new Range(mapping.start(), mapping.end()));
            }
        }
        if (twice.isEmpty() && frames.isEmpty()) {
            return;
        }
        Map<Long, List<String>> parents = new HashMap<>();
        Map<Long, List<Evidence>> paths = new HashMap<>();
        List<Long> order = new ArrayList<>();
        for (Table table : tables) {
            TableAudit audit = table.audit();
            for (int page = 0; page < audit.pages(); page++) {
                long address = audit.address(page);
                boolean isTwice = Collections.binarySearch(twice, address & -4096) >= 0;
                boolean isFrames = !isTwice && contains(frames, address);
                if ((!isTwice && !isFrames) || isUnknown(table, audit.input(page))) {
                    continue;
                }
                unknown(table, audit.input(page), audit.inputEnd(page));
                List<Step> path = Witness.path(table.table(), audit.input(page));
                int above =
                        Math.max(0, audit.level(page) - table.table().geometry().startLevel());
                Evidence evidence = new Evidence(
                        table.label(),
                        audit.input(page),
                        audit.inputEnd(page),
                        path.subList(0, Math.min(above, path.size())),
                        "its table at level " + audit.level(page));
                if (isFrames) {
                    violations.add(new Violation(
                            Rule.I_1,
                            address,
                            address + table.table().geometry().granule(),
                            "the " + table.label() + " table has a table page in the hyp_vmemmap",
                            List.of(),
                            List.of(evidence)));
                } else {
                    if (!parents.containsKey(address)) {
                        order.add(address);
                    }
                    parents.computeIfAbsent(address, _ -> new ArrayList<>()).add(table.label());
                    paths.computeIfAbsent(address, _ -> new ArrayList<>()).add(evidence);
                }
            }
        }
        for (long address : order) {
            List<String> of = parents.getOrDefault(address, List.of());
            if (of.size() > 1) {
                violations.add(new Violation(
                        Rule.I_2,
                        address,
                        address + tables.getFirst().table().geometry().granule(),
                        "a page is part of the tables " + String.join(" and ", of),
                        List.of(),
                        paths.getOrDefault(address, List.of())));
            }
        }
    }

    private static boolean contains(List<Range> ranges, long address) {
        for (Range range : ranges) {
            if (address >= range.start() && address < range.end()) {
                return true;
            }
        }
        return false;
    }

    private void oddTables(Table table) {
        TableGeometry geometry = table.table().geometry();
        for (TableAudit.OddTable odd : table.audit().oddTables()) {
            if (isUnknown(table, odd.inputAddress())) {
                continue;
            }
            long page = geometry.tableAddress(odd.descriptor());
            List<Step> path = Witness.path(table.table(), odd.inputAddress());
            int depth = odd.level() - geometry.startLevel() + 1;
            violations.add(new Violation(
                    Rule.I_5,
                    page,
                    page + geometry.granule(),
                    "table descriptor 0x" + Long.toHexString(odd.descriptor()) + " of the " + table.label()
                            + " table has more in it than an address",
                    List.of(),
                    List.of(new Evidence(
                            table.label(),
                            odd.inputAddress(),
                            odd.inputAddress() + geometry.entrySize(odd.level()),
                            path.subList(0, Math.min(depth, path.size())),
                            "the pointer"))));
        }
    }

    private void root(Table table) {
        TableGeometry geometry = table.table().geometry();
        long size = geometry.rootBytes();
        // With 52-bit addresses bits 5:2 of the register are address bits 51:48 (D24.2).
        long low = geometry.outputBits() == 52 ? 0xffff_ffff_ffc0L : 0xffff_ffff_fffeL;
        long base = table.base().orElse(table.table().root()) & low;
        if ((base & (size - 1)) != 0) {
            violations.add(new Violation(
                    Rule.I_7,
                    base & -geometry.granule(),
                    (base & -geometry.granule()) + Math.max(size, geometry.granule()),
                    "the root of the " + table.label() + " table at 0x" + Long.toHexString(base)
                            + " is not aligned to its " + size + " bytes",
                    List.of(),
                    List.of(new Evidence(
                            table.label(), 0, geometry.inputSize(), List.of(), "base 0x" + Long.toHexString(base)))));
        }
    }

    /// Bits that KVM writes nowhere, in the hypervisor's table and the guests'. The host's are [PageRules]' business.
    private void leaves(Table table) {
        if (table.label().equals("host")) {
            return;
        }
        TableGeometry geometry = table.table().geometry();
        boolean stage2 = geometry.regime().stage2();
        for (LeafRun run : table.audit().runs()) {
            String wrong = "";
            if (run.mapped()) {
                wrong = stage2 ? guestBits(geometry, run) : hypBits(geometry, run);
            } else if (!stage2 && (run.bits() & Descriptor.VALID) == 0) {
                wrong = strayInvalid(run);
            }
            if (!wrong.isEmpty() && !isUnknown(table, run.start())) {
                boolean linear =
                        !run.mapped() && space.isPresent() && !space.get().inVmemmap(run.start());
                long start = run.mapped()
                        ? run.output()
                        : linear ? space.orElseThrow().physical(run.start()) : geometry.tableAddress(run.bits());
                report(
                        Rule.I_5,
                        table,
                        start,
                        start + run.size(),
                        run.start(),
                        run.size(),
                        "an entry of the " + table.label() + " table has " + wrong);
            }
        }
    }

    /// Bits 1:0, the address and what section 1 of the format tables of [Rules] lists.
    private static final long STAGE2_BITS = 3 | 0xf << 2 | 3 << 6 | 3 << 8 | Descriptor.AF | 3L << 53 | 3L << 55;

    private static final long HYP_BITS = 3 | 7 << 2 | 3 << 6 | 3 << 8 | Descriptor.AF | 1L << 50 | 3L << 53 | 3L << 55;

    /// Of the host's table and the guests', less the states in bits 56:55.
    static String stage2Bits(TableGeometry geometry, LeafRun run) {
        long odd = run.bits() & ~STAGE2_BITS;
        if (odd != 0) {
            return "bits 0x" + Long.toHexString(odd) + " that KVM never sets";
        }
        if (run.level() < (geometry.granuleShift() == 12 ? 1 : 2)) {
            return "a block at level " + run.level() + ", where KVM has none";
        }
        return PageState.ofSoftwareBits(run.bits()) == PageState.RESERVED ? "the reserved state 3" : "";
    }

    private static String guestBits(TableGeometry geometry, LeafRun run) {
        String odd = stage2Bits(geometry, run);
        if (!odd.isEmpty()) {
            return odd;
        }
        // Normal write-back or non-cacheable, device, with and without FWB.
        return switch ((int) (run.bits() >>> 2) & 0xf) {
            case 0xf, 0x1, 0x5, 0x6, 0x7 ->
                geometry.lpa2() || (run.bits() >>> 8 & 3) == 3 ? "" : "a shareability other than inner";
            default -> "a memory type that KVM does not use";
        };
    }

    private static String hypBits(TableGeometry geometry, LeafRun run) {
        boolean el0 = geometry.regime().withEl0();
        long odd = run.bits() & ~(el0 ? HYP_BITS : HYP_BITS & ~(1L << 53));
        if (odd != 0) {
            return "bits 0x" + Long.toHexString(odd) + " that KVM never sets";
        }
        if (PageState.ofSoftwareBits(run.bits()) == PageState.RESERVED) {
            return "the reserved state 3";
        }
        // AP[1] is RES1 with one exception level, and lets EL0 in with two.
        if ((run.bits() >>> 6 & 1) != (el0 ? 0 : 1)) {
            return "permissions that KVM does not write (AP[1])";
        }
        if ((run.bits() & Descriptor.AF) == 0) {
            return "a clear access flag";
        }
        int index = (int) (run.bits() >>> 2) & 7;
        if (index != 0 && index != 4) {
            return "a memory type that KVM does not use at EL2 (AttrIndx " + index + ")";
        }
        return geometry.lpa2() || (run.bits() >>> 8 & 3) == 3 ? "" : "a shareability other than inner";
    }

    /// An entry that is neither valid nor zero: a fixmap slot that is not in use, or a mapping that lost its valid bit.
    private String strayInvalid(LeafRun run) {
        boolean elsewhere =
                space.isPresent() && space.get().divided() && !space.get().inPrivateSpace(run.start());
        return elsewhere
                ? "the value 0x" + Long.toHexString(run.bits())
                        + ", which is not valid, outside of the private range where the fixmap's slots are"
                : "";
    }

    private void guests() {
        List<GuestTable> guests = view.guests();
        for (int i = 0; i < guests.size(); i++) {
            GuestTable guest = guests.get(i);
            long root = guest.table().table().root();
            @Nullable GuestTable twin = null;
            for (GuestTable other : guests.subList(0, i)) {
                if (other.vmid() == guest.vmid() && other.table().table().root() != root) {
                    twin = other;
                }
            }
            if (guest.vmid() == 0 || twin != null) {
                long granule = guest.table().table().geometry().granule();
                violations.add(new Violation(
                        Rule.I_28,
                        root & -granule,
                        (root & -granule) + granule,
                        guest.vmid() == 0
                                ? guest.table().label() + " has VMID 0, which is the host's"
                                : guest.table().label() + " has VMID " + guest.vmid() + ", as has " + twinLabel(twin),
                        List.of(),
                        List.of(new Evidence(
                                guest.table().label(),
                                0,
                                guest.table().table().geometry().inputSize(),
                                List.of(),
                                "VTTBR_EL2.VMID = " + guest.vmid()))));
            }
        }
    }

    private static String twinLabel(@Nullable GuestTable twin) {
        return twin == null ? "another guest" : twin.table().label();
    }
}
