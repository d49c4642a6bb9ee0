package dev.s2snap.pkvm;

import dev.s2snap.vmsa.Finding.Step;
import java.util.List;

/// What one table says about a [Violation].
///
/// @param table the table's label: `host`, `hyp`, `guest:N`; or `hyp_vmemmap`, or the name of a register
/// @param start first input address of that table, or physical address in the array
/// @param end exclusive
/// @param path the descriptors from the root to the entry of `start`, or empty
/// @param says a clause, such as "r-x page at level 3"
public record Evidence(String table, long start, long end, List<Step> path, String says) {
    public Evidence {
        path = List.copyOf(path);
    }
}
