package dev.s2snap.pkvm;

import dev.s2snap.pkvm.HypSpace.Kind;
import dev.s2snap.pkvm.HypSpace.Mapping;
import dev.s2snap.pkvm.MachineView.Table;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// What lies at a physical address, as far as the tables tell, in words.
final class PageNames {
    private final List<Table> tables;
    private final HypSpace space;

    /// Made when the first name is asked for: most machines need none.
    private final Map<Long, String> pages = new HashMap<>();

    PageNames(List<Table> tables, HypSpace space) {
        this.tables = tables;
        this.space = space;
    }

    String of(long start, long end) {
        return known(start, end).orElse("memory of the hypervisor");
    }

    /// Empty for memory of which the tables say nothing more.
    Optional<String> known(long start, long end) {
        if (end - start == space.geometry().granule()) {
            String page = tablePages().get(start);
            if (page != null) {
                return Optional.of(page);
            }
        }
        if (space.inText(start, end)) {
            return Optional.of("text of the hypervisor");
        }
        boolean frame = false;
        for (Mapping mapping : space.mappings()) {
            if (start >= mapping.start() && end <= mapping.end()) {
                if (mapping.stack()) {
                    return Optional.of("an EL2 stack");
                }
                frame |= mapping.kind() == Kind.VMEMMAP;
            }
        }
        return frame ? Optional.of("the hyp_vmemmap") : Optional.empty();
    }

    private Map<Long, String> tablePages() {
        if (pages.isEmpty()) {
            for (Table table : tables) {
                TableAudit audit = table.audit();
                for (int page = 0; page < audit.pages(); page++) {
                    pages.putIfAbsent(
                            audit.address(page),
                            "a level " + audit.level(page) + " page of the " + table.label() + " table");
                }
            }
        }
        return pages;
    }
}
