package dev.s2snap.pkvm;

import dev.s2snap.vmsa.LeafAttributes;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/// What [Rules] look at: the tables of a machine at rest, walked, and what is known of how its kernel writes ownership.
///
/// @param host the host's stage 2
/// @param hyp the hypervisor's stage 1
/// @param guests those guests whose tables are known
/// @param guestsUnread why there are guests whose tables are not known, one reason each
/// @param releases the kernel's encodings
/// @param vmemmap where the hyp_vmemmap is
/// @param frames its entries
/// @param regions the memory map, ascending
/// @param ffa whether memory may be shared with the secure world, of which no table tells
public record MachineView(
        Fact<Table> host,
        Fact<Table> hyp,
        List<GuestTable> guests,
        List<String> guestsUnread,
        Fact<Era> releases,
        Fact<HypVmemmap> vmemmap,
        Fact<PageFrames> frames,
        Fact<List<MemoryRegion>> regions,
        boolean ffa) {

    public MachineView {
        guests = List.copyOf(guests);
        guestsUnread = List.copyOf(guestsUnread);
    }

    /// What a machine shows: walks all of its tables.
    ///
    /// @param releases the kernel's encodings, as far as they are known
    public static MachineView of(
            Machine machine, Fact<Era> releases, Fact<HypVmemmap> vmemmap, Fact<PageFrames> frames) {
        OptionalLong vttbr = machine.registers().get("VTTBR_EL2");
        Fact<Table> host = machine.host()
                .map(table -> new Table("host", TableAudit.of(table), vttbr, forcedWriteBack(machine.registers())));
        OptionalLong ttbr = machine.registers().get("TTBR0_EL2");
        Fact<Table> hyp = machine.hyp().map(table -> new Table("hyp", TableAudit.of(table), ttbr, Optional.empty()));
        List<GuestTable> guests = new ArrayList<>();
        List<String> unread = new ArrayList<>();
        for (Guest guest : machine.guests()) {
            String label = "guest:" + guest.index();
            switch (guest.table()) {
                case Fact.Known<TranslationTable>(TranslationTable table, String _) -> {
                    Registers registers =
                            guest.index() < machine.guestRegisters().size()
                                    ? machine.guestRegisters().get(guest.index())
                                    : machine.registers();
                    guests.add(new GuestTable(
                            guest.vmid(),
                            new Table(
                                    label,
                                    TableAudit.of(table),
                                    registers.get("VTTBR_EL2"),
                                    forcedWriteBack(registers))));
                }
                case Fact.Unknown<TranslationTable>(String why) ->
                    unread.add("the table of " + label + " is not known: " + why);
            }
        }
        // Nobody who has a secure world and says nothing of it shall lose the warnings of all others.
        boolean ffa = machine.ffa().optional().orElse(false);
        return new MachineView(host, hyp, guests, unread, releases, vmemmap, frames, machine.regions(), ffa);
    }

    private static Optional<Boolean> forcedWriteBack(Registers registers) {
        OptionalLong hcr = registers.get("HCR_EL2");
        return hcr.isPresent() ? Optional.of((hcr.getAsLong() & LeafAttributes.HCR_FWB) != 0) : Optional.empty();
    }

    /// A table and the registers that hold it.
    ///
    /// @param label `host`, `hyp` or `guest:N`
    /// @param base the table base register, if there is one
    /// @param forcedWriteBack HCR_EL2.FWB of a CPU that walks this stage 2
    public record Table(String label, TableAudit audit, OptionalLong base, Optional<Boolean> forcedWriteBack) {
        public TranslationTable table() {
            return audit.table();
        }
    }

    /// @param vmid from its VTTBR_EL2
    public record GuestTable(int vmid, Table table) {
        /// The handle that pKVM gave the VM: VMIDs count from 1, handles from 0x1000, by the same slot (all releases).
        public int handle() {
            return 0x1000 + vmid - 1;
        }
    }
}
