package dev.s2snap.pkvm;

import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TranslationTable;
import java.util.List;

/// One machine, at rest: what every answer is computed from. A model and a capture look the same.
public interface Machine {

    PhysicalMemory memory();

    /// Registers of a CPU that was running the host.
    Registers registers();

    /// Registers of the CPUs that were running guests, in the order of [#guests()].
    List<Registers> guestRegisters();

    /// The regions of physical memory, ascending.
    Fact<List<MemoryRegion>> regions();

    /// The host's stage 2.
    Fact<TranslationTable> host();

    /// The hypervisor's own stage 1, reached through TTBR0_EL2.
    Fact<TranslationTable> hyp();

    List<Guest> guests();

    /// Where the hyp_vmemmap is, if that is known without looking into the tables.
    Fact<HypVmemmap> vmemmap();

    /// How the kernel writes ownership, if that is known without looking into the tables.
    Fact<Era> era();

    /// Whether this host may share memory with the secure world (FF-A), of which only its own table tells.
    default Fact<Boolean> ffa() {
        return Fact.unknown("it was not said");
    }
}
