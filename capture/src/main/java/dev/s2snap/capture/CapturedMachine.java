package dev.s2snap.capture;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.HypVmemmap;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.MachineTables;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.vmsa.GeometryException;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TranslationTable;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.Supplier;

/// A machine in a file: memory from an ELF core, registers from its note `S2SNAP` or from a file beside it.
///
/// Registers that contradict each other make the table that they describe an unknown one; the other tables can still
/// be read. Closing it takes the memory away.
public final class CapturedMachine implements Machine, AutoCloseable {
    private static final String NOTE = "note " + CaptureNote.NAME;

    private final ElfCore memory;
    private final Registers registers;
    private final List<Registers> guestRegisters;
    private final Fact<List<MemoryRegion>> regions;
    private final Fact<Era> era;
    private final Fact<HypVmemmap> vmemmap = Fact.unknown("the file does not say");
    private final Fact<TranslationTable> host;
    private final Fact<TranslationTable> hyp;
    private final List<Guest> guests;
    private final String registerSource;
    private final Optional<String> tool;

    private CapturedMachine(ElfCore memory, String name, Optional<CaptureNote> note, Optional<RegisterFile> given) {
        this.memory = memory;
        this.tool = note.map(CaptureNote::tool);
        // One of both is there: open saw to that.
        this.registers = given.map(RegisterFile::host)
                .or(() -> note.map(CaptureNote::registers))
                .orElseThrow();
        this.guestRegisters = given.flatMap(RegisterFile::guests)
                .or(() -> note.map(CaptureNote::guests))
                .orElse(List.of());
        this.era = note.isEmpty()
                ? Fact.unknown("the file has no note " + CaptureNote.NAME)
                : note.get()
                        .era()
                        .map(era -> Fact.known(era, NOTE))
                        .orElseGet(() -> Fact.unknown("the note does not say"));
        this.regions = note.isEmpty()
                ? Fact.unknown("the file has no memory map")
                : note.get()
                        .regions()
                        .map(regions -> Fact.known(regions, NOTE))
                        .orElseGet(() -> Fact.unknown("the note has no memory map"));
        this.registerSource = given.isEmpty() ? NOTE : note.isEmpty() ? "--regs" : "--regs, which overrides " + NOTE;
        // Where the registers come from goes without saying, unless there was a choice.
        String suffix = given.isPresent() && note.isPresent() ? " of " + registerSource : "";
        this.host =
                table(() -> MachineTables.host(memory, registers), registers, suffix, List.of("VTTBR_EL2", "VTCR_EL2"));
        this.hyp = table(
                () -> MachineTables.hyp(memory, registers),
                registers,
                suffix,
                List.of("TTBR0_EL2", "TCR_EL2", "HCR_EL2"));
        this.guests = guests(name, suffix);
    }

    /// Opens a core that has a note with its registers.
    ///
    /// @throws CaptureException as the other one does
    public static CapturedMachine open(Path core) {
        return open(core, Optional.empty());
    }

    /// Opens a core.
    ///
    /// @param registers a [RegisterFile]; it overrides the registers, and its guests if it names any, those of a note
    /// @throws CaptureException if a file cannot be used, or if there are no registers
    public static CapturedMachine open(Path core, Optional<Path> registers) {
        Optional<RegisterFile> given = registers.map(RegisterFile::read);
        ElfCore memory = ElfCore.open(core);
        boolean opened = false;
        try {
            Optional<CaptureNote> note = memory.note().map(json -> CaptureNote.parse(core.toString(), json));
            if (given.isEmpty() && note.isEmpty()) {
                throw new CaptureException(
                        core + ": it has no registers (no " + NOTE + "); give them with --regs FILE.json");
            }
            String name = registers.map(Path::toString).orElseGet(core::toString);
            CapturedMachine machine = new CapturedMachine(memory, name, note, given);
            opened = true;
            return machine;
        } finally {
            if (!opened) {
                memory.close();
            }
        }
    }

    private List<Guest> guests(String name, String suffix) {
        List<Guest> list = new ArrayList<>();
        for (int index = 0; index < guestRegisters.size(); index++) {
            Registers of = guestRegisters.get(index);
            int vmid = MachineTables.vmid(of.get("VTTBR_EL2").orElse(0));
            OptionalLong named = of.get("VMID");
            if (named.isPresent() && of.get("VTTBR_EL2").isPresent() && named.getAsLong() != vmid) {
                throw new CaptureException(
                        name + ": guests[" + index + "]: VMID 0x" + Long.toHexString(named.getAsLong())
                                + " contradicts VTTBR_EL2, which holds VMID 0x" + Integer.toHexString(vmid)
                                + "; correct one of them");
            }
            Fact<TranslationTable> table = table(
                    () -> MachineTables.guests(memory, List.of(of)).getFirst().table(),
                    of,
                    suffix,
                    List.of("VTTBR_EL2", "VTCR_EL2"));
            list.add(new Guest(index, vmid, table));
        }
        return List.copyOf(list);
    }

    private static Fact<TranslationTable> table(
            Supplier<Fact<TranslationTable>> decode, Registers registers, String suffix, List<String> deciding) {
        try {
            Fact<TranslationTable> fact = decode.get();
            return fact instanceof Fact.Known<TranslationTable>(TranslationTable table, String source)
                    ? Fact.known(table, source + suffix)
                    : fact;
        } catch (GeometryException e) {
            StringBuilder values = new StringBuilder();
            for (String register : deciding) {
                values.append(values.isEmpty() ? "" : ", ")
                        .append(register)
                        .append(" 0x")
                        .append(Long.toHexString(registers.get(register).orElse(0)));
            }
            return Fact.unknown(e.getMessage() + " (" + values + ")");
        }
    }

    @Override
    public PhysicalMemory memory() {
        return memory;
    }

    @Override
    public Registers registers() {
        return registers;
    }

    @Override
    public List<Registers> guestRegisters() {
        return guestRegisters;
    }

    @Override
    public Fact<List<MemoryRegion>> regions() {
        return regions;
    }

    @Override
    public Fact<TranslationTable> host() {
        return host;
    }

    @Override
    public Fact<TranslationTable> hyp() {
        return hyp;
    }

    @Override
    public List<Guest> guests() {
        return guests;
    }

    @Override
    public Fact<HypVmemmap> vmemmap() {
        return vmemmap;
    }

    @Override
    public Fact<Era> era() {
        return era;
    }

    /// The runs of memory that the file has.
    public List<ElfCore.Segment> segments() {
        return memory.segments();
    }

    /// Where the registers come from, as a noun phrase.
    public String registerSource() {
        return registerSource;
    }

    /// What wrote the note, if there is one.
    public Optional<String> tool() {
        return tool;
    }

    @Override
    public void close() {
        memory.close();
    }
}
