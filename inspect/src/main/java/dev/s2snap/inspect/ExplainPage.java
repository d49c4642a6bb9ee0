package dev.s2snap.inspect;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.PageState;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/// What the hypervisor looks at when something is done with a page.
///
/// @param address of the page
/// @param granule its size
/// @param era how the kernel writes states
/// @param walk the host's way to it; empty if there is no host table
/// @param memory whether it is memory
/// @param nomap whether it is memory that must not be mapped
/// @param regions the memory map
/// @param host the host's state, as calls see it
/// @param hyp the hypervisor's state at the linear address, as calls see it
/// @param references to the page
/// @param shares guests with which the host shares it
record ExplainPage(
        long address,
        long granule,
        Fact<Era> era,
        Optional<ExplainedWalk> walk,
        Memory memory,
        boolean nomap,
        Fact<List<MemoryRegion>> regions,
        Optional<PageState> host,
        Optional<PageState> hyp,
        OptionalLong references,
        OptionalLong shares) {

    /// Whether something is memory.
    enum Memory {
        YES("memory"),
        NO("not memory"),
        UNKNOWN("memory or not: the memory map is not known");

        private final String words;

        Memory(String words) {
            this.words = words;
        }

        String words() {
            return words;
        }
    }

    long end() {
        return address + granule;
    }
}
