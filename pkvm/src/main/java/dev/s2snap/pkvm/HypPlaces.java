package dev.s2snap.pkvm;

import dev.s2snap.pkvm.HypSpace.Kind;
import dev.s2snap.pkvm.HypSpace.Mapping;
import dev.s2snap.pkvm.MachineView.GuestTable;
import dev.s2snap.pkvm.MachineView.Table;
import dev.s2snap.vmsa.LeafRun;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/// What the hypervisor has where, as far as the tables of a machine tell: read-only, for who explains one page.
public final class HypPlaces {
    private final HypSpace space;
    private final PageNames names;

    private HypPlaces(HypSpace space, PageNames names) {
        this.space = space;
        this.names = names;
    }

    /// Empty if EL2's table is not known.
    public static Optional<HypPlaces> of(MachineView view) {
        return view.hyp().optional().map(hyp -> {
            HypSpace space = new HypSpace(hyp.audit(), view.vmemmap().optional());
            List<Table> tables = new ArrayList<>();
            view.host().optional().ifPresent(tables::add);
            tables.add(hyp);
            view.guests().stream().map(GuestTable::table).forEach(tables::add);
            return new HypPlaces(space, new PageNames(tables, space));
        });
    }

    /// What lies from `start` to `end`, as a noun phrase: a page of which table, text, a stack, the hyp_vmemmap.
    public Optional<String> name(long start, long end) {
        return names.known(start, end);
    }

    /// What EL2 has a range of virtual addresses for, as a noun phrase.
    public String range(LeafRun run) {
        return space.mappings().stream()
                .filter(mapping -> mapping.run().equals(run))
                .findFirst()
                .map(this::words)
                .orElse("nothing that is known");
    }

    private String words(Mapping mapping) {
        if (!space.divided() && mapping.kind() == Kind.STRAY) {
            return "it is not known in which range of EL2";
        }
        return mapping.stack()
                ? "a stack in the private range"
                : switch (mapping.kind()) {
                    case LINEAR -> "the linear map";
                    case IDENTITY -> "the identity map";
                    case PRIVATE -> "the private range";
                    case VMEMMAP -> "the hyp_vmemmap";
                    case STRAY -> "none of the ranges that kernels use";
                };
    }

    /// The entry with which the linear map has a physical address. The hypervisor asks there, and nowhere else, what a
    /// page is to itself.
    public Optional<LeafRun> linear(long physical) {
        return space.mappings().stream()
                .filter(mapping ->
                        mapping.kind() == Kind.LINEAR && mapping.start() <= physical && physical < mapping.end())
                .findFirst()
                .map(Mapping::run);
    }

    /// The address of a physical one in the linear map, whether it is mapped there or not.
    public long linearAddress(long physical) {
        return space.linear(physical);
    }
}
