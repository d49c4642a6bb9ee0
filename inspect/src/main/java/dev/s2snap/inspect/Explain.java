package dev.s2snap.inspect;

import dev.s2snap.inspect.ExplainedWalk.Role;
import dev.s2snap.inspect.Explanation.State;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.HypPlaces;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.MachineView;
import dev.s2snap.pkvm.Rules;
import dev.s2snap.pkvm.Violation;
import dev.s2snap.vmsa.Finding;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.Translation;
import java.io.IOException;
import java.io.OutputStream;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/// Finds everything that the tables of a machine say about one address.
///
/// Each table is walked once as a whole, to find every place where it maps the page; the ways to these places are then
/// followed one by one. What a missing page of a table hides is said, and does not keep the rest from being told.
public final class Explain {

    /// Places of one table at which the page is told to be mapped: a table that is wrong can have it everywhere.
    private static final int TOLD_ALIASES = 8;

    private final Reading reading;
    private final Machine machine;
    private final ExplainAddress address;
    private final MachineView view;
    private final Optional<HypPlaces> places;
    private final Optional<ExplainTable> host;
    private final List<ExplainTable> others = new ArrayList<>();
    private final List<ExplainedWalk> walks = new ArrayList<>();
    private final Map<String, Integer> notListed = new LinkedHashMap<>();
    private final List<String> remarks = new ArrayList<>();
    private boolean complete = true;

    private Explain(Reading reading, ExplainAddress address) {
        this.reading = reading;
        this.machine = reading.machine();
        this.address = address;
        this.view = Check.view(reading);
        this.places = HypPlaces.of(view);
        this.host = tell(TableSelector.HOST);
        tell(TableSelector.HYP).ifPresent(others::add);
        ExplainTable.of(reading, TableSelector.parse("hyp:upper")).optional().ifPresent(others::add);
        for (Guest guest : machine.guests()) {
            tell(TableSelector.guest(guest.index())).ifPresent(others::add);
        }
    }

    /// @throws NoAnswerException if there is no such table, or the address is none of its input addresses
    public static Explanation of(Reading reading, ExplainAddress address) {
        return new Explain(reading, address).explanation();
    }

    /// The descriptors that a translation looked at.
    static List<Finding.Step> path(Translation translation) {
        return switch (translation) {
            case Translation.Mapped(List<Finding.Step> path, int _, long _, long _) -> path;
            case Translation.Fault(List<Finding.Step> path, int _, long _) -> path;
            case Translation.Unreadable(List<Finding.Step> path, int _, long _) -> path;
            case Translation.OutOfRange _ -> List.of();
        };
    }

    /// A table that belongs to the answer; where it is missing the answer says so.
    private Optional<ExplainTable> tell(TableSelector selector) {
        return switch (ExplainTable.of(reading, selector)) {
            case Fact.Known<ExplainTable>(ExplainTable table, String _) -> {
                if (!table.leaves().complete()) {
                    complete = false;
                    remarks.add("the " + table.label() + " table could not be read whole: "
                            + ByteText.sum(table.leaves().unreadBytes()) + " of its addresses are not known");
                }
                yield Optional.of(table);
            }
            case Fact.Unknown<ExplainTable>(String why) -> {
                remarks.add("the " + selector.label() + " table is not known: " + why);
                yield Optional.empty();
            }
        };
    }

    private Explanation explanation() {
        Optional<TableSelector> asked = address.table();
        if (asked.isEmpty()) {
            if (host.isPresent() && !host.get().geometry().covers(address.value())) {
                throw beyond(host.get(), "physical address");
            }
            return of(address.value());
        }
        ExplainTable table = asked(indexed(asked.get()));
        ExplainedWalk walk = table.walk(address.value(), Role.ASKED, purpose(table, address.value()));
        walks.add(walk);
        complete &= walk.outcome() != ExplainedWalk.Outcome.UNREADABLE;
        if (walk.output().isEmpty()) {
            return nowhere(walk);
        }
        return of(walk.output().getAsLong());
    }

    /// A guest by its index, whatever it was called.
    private TableSelector indexed(TableSelector selector) {
        return switch (selector.kind()) {
            case GUEST, GUEST_VMID, GUEST_HANDLE ->
                TableSelector.guest(selector.guest(machine).index());
            default -> selector;
        };
    }

    private ExplainTable asked(TableSelector selector) {
        return switch (ExplainTable.of(reading, selector)) {
            case Fact.Known<ExplainTable>(ExplainTable table, String _) -> {
                if (!table.geometry().covers(address.value())) {
                    throw beyond(table, "address");
                }
                yield table;
            }
            case Fact.Unknown<ExplainTable>(String why) ->
                throw new NoAnswerException("the " + selector.label() + " table is not known: " + why
                        + "; give a physical address, which needs no table");
        };
    }

    private NoAnswerException beyond(ExplainTable table, String what) {
        long first = table.geometry().inputBase();
        long last = first + table.geometry().inputSize() - 1;
        return new NoAnswerException(address.text() + " is no " + what + " of the " + table.label() + " table, whose "
                + table.geometry().inputBits() + " bits of input are " + hex(first) + " to " + hex(last)
                + "; give one of these");
    }

    /// The address leads to no page.
    private Explanation nowhere(ExplainedWalk walk) {
        return new Explanation(
                address,
                OptionalLong.empty(),
                0,
                0,
                Optional.empty(),
                List.of((walk.outcome() == ExplainedWalk.Outcome.UNREADABLE
                                ? "it is not known where " + address.text() + " leads"
                                : address.text() + " leads to no physical address")
                        + ": the " + walk.table() + " table " + walk.says()),
                walks,
                notListed,
                List.of(),
                List.of(),
                List.of(),
                ExplainEffects.release(reading.era().optional()),
                complete,
                remarks);
    }

    /// @param reached a physical address; of the host's stage 1 the input of its stage 2
    private Explanation of(long reached) {
        Optional<ExplainedWalk> way =
                host.map(table -> table.walk(reached, Role.HOST, "the host's way to this address"));
        way.ifPresent(walks::add);
        long physical = address.ofHost()
                ? way.map(walk -> walk.output().orElse(reached)).orElse(reached)
                : reached;
        long granule = host.or(() -> others.stream().findFirst())
                .map(table -> table.geometry().granule())
                .orElse(1L << 12);
        long page = physical & -granule;
        aliases(page, granule);
        Optional<ExplainedWalk> entry =
                physical == reached ? way : host.map(table -> table.walk(physical, Role.HOST, ""));
        ExplainStates states = new ExplainStates(reading, host, others, places, page, granule);
        Optional<TextDump.Ownership> owner = owner(page);
        List<ExplainedEffect> effects = List.of();
        if (host.isPresent() && entry.isPresent()) {
            ExplainedWalk walk = entry.get();
            String permissions = walk.output().isPresent()
                    ? host.get().attributes().permissions(walk.steps().getLast().descriptor())
                    : "---";
            effects = ExplainEffects.of(states.page(walk), walk, host.get().geometry(), permissions);
        }
        List<State> told = states.all(entry, guestAliases());
        return new Explanation(
                address,
                OptionalLong.of(physical),
                page,
                page + granule,
                owner.map(TextDump.Ownership::owner),
                summary(physical, page, granule, owner, states),
                walks,
                notListed,
                told,
                violations(page),
                effects,
                ExplainEffects.release(reading.era().optional()),
                complete,
                remarks);
    }

    private List<ExplainedWalk> guestAliases() {
        return walks.stream()
                .filter(walk ->
                        walk.table().startsWith("guest:") && walk.output().isPresent())
                .toList();
    }

    // Aliases.

    private void aliases(long page, long granule) {
        host.ifPresent(table -> aliases(table, page, granule));
        others.forEach(table -> aliases(table, page, granule));
        boolean atHand = false;
        for (String name : List.of("el1:lower", "el1:upper")) {
            Optional<ExplainTable> own =
                    ExplainTable.of(reading, TableSelector.parse(name)).optional();
            if (own.isPresent() && own.get().atHand()) {
                atHand = true;
                if (!own.get().leaves().complete()) {
                    remarks.add("the " + name + " table could not be read whole: there may be more aliases in it");
                }
                aliases(own.get(), page, granule);
            }
        }
        if (!atHand) {
            remarks.add(
                    "the host's own stage 1 is not in this memory: at which of its virtual addresses it has the page is"
                            + " not known");
        }
    }

    private void aliases(ExplainTable table, long page, long granule) {
        int told = 0;
        int left = 0;
        for (LeafRun run : table.mapping(page)) {
            long input = run.start() + (page - run.output());
            boolean there = walks.stream()
                    .anyMatch(walk -> walk.table().equals(table.label()) && (walk.input() & -granule) == input);
            if (there) {
                continue;
            }
            if (told < TOLD_ALIASES) {
                walks.add(table.walk(input, Role.ALIAS, purpose(table, input)));
                told++;
            } else {
                left++;
            }
        }
        if (left > 0) {
            notListed.put(table.label(), left);
        }
    }

    private String purpose(ExplainTable table, long input) {
        return switch (table.selector().kind()) {
            case HYP ->
                table.leaves().runs().stream()
                        .filter(run -> run.mapped() && run.start() <= input && input < run.end())
                        .findFirst()
                        .flatMap(run -> places.map(known -> known.range(run)))
                        .orElse("a virtual address of EL2");
            case HYP_UPPER -> "a virtual address of EL2";
            case HOST -> "another address of the host";
            case GUEST, GUEST_VMID, GUEST_HANDLE -> {
                Guest guest = table.selector().guest(machine);
                yield "the guest with VMID " + guest.vmid();
            }
            default -> "a virtual address of the host";
        };
    }

    // What is said of the page as a whole.

    /// In the words of `owners`.
    private Optional<TextDump.Ownership> owner(long page) {
        if (host.isEmpty() || !host.get().atHand()) {
            return Optional.empty();
        }
        List<TextDump.Ownership> found = new ArrayList<>();
        try {
            TableDump dump = TableDump.of(reading, TableSelector.HOST);
            new TextDump(dump, OutputStream.nullOutputStream()).rows(false, true, (start, end, _, _, _, ownership) -> {
                if (start <= page && page < end && !ownership.owner().equals("?")) {
                    found.add(ownership);
                }
            });
        } catch (IOException e) {
            throw new AssertionError("rows of this sink are written nowhere", e);
        }
        return found.stream().findFirst();
    }

    private List<String> summary(
            long physical, long page, long granule, Optional<TextDump.Ownership> owner, ExplainStates states) {
        String who = owner.map(TextDump.Ownership::words).orElse("it is not known whose it is");
        String what = places.flatMap(known -> known.name(page, page + granule)).orElse("");
        List<String> is = new ArrayList<>();
        if (!what.isEmpty()) {
            is.add(what);
        }
        if (!who.contains("not memory")) {
            is.add(states.memoryWords());
        }
        List<String> lines = new ArrayList<>();
        lines.add((address.table().isPresent() ? address.text() + " is " : "") + hex(physical) + ": " + who
                + (is.isEmpty() ? "" : "; " + String.join(", ", is)));
        List<String> mappings = new ArrayList<>();
        for (ExplainedWalk walk : walks) {
            if (walk.output().isPresent() && (walk.output().getAsLong() & -granule) == page) {
                mappings.add(walk.table() + " at " + hex(walk.input() & -granule));
            }
        }
        int left = notListed.values().stream().mapToInt(Integer::intValue).sum();
        lines.add(
                mappings.isEmpty()
                        ? "mapped by nobody"
                        : "mapped by " + String.join(", ", mappings)
                                + (left == 0 ? "" : " and " + left + " more times"));
        return lines;
    }

    private List<Violation> violations(long page) {
        return Rules.check(view).violations().stream()
                .filter(violation -> Long.compareUnsigned(violation.start(), page) <= 0
                        && Long.compareUnsigned(page, violation.end()) < 0)
                .toList();
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }
}
