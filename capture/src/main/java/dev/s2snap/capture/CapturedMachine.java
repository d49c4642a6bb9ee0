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
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.stream.Collectors;

/// A machine in a file: memory from an ELF core, registers and other facts from its note `S2SNAP` or from files beside
/// it.
///
/// Registers that contradict each other make the table that they describe an unknown one; the other tables can still
/// be read. Closing it takes the memory away.
public final class CapturedMachine implements Machine, AutoCloseable {
    private static final String NOTE = "note " + CaptureNote.NAME;
    private static final String REGS = "--regs";
    private static final String MACHINE = "--machine";

    private final ElfCore memory;
    private final Registers registers;
    private final List<Registers> guestRegisters;
    private final Fact<List<MemoryRegion>> regions;
    private final Fact<Era> era;
    private final Fact<HypVmemmap> vmemmap;
    private final Fact<Boolean> ffa;
    private final Fact<TranslationTable> host;
    private final Fact<TranslationTable> hyp;
    private final List<Guest> guests;
    private final String registerSource;
    private final Optional<String> tool;

    /// Who says what about the machine.
    ///
    /// @param name as a noun phrase
    /// @param file for messages
    private record Source(String name, Path file, CaptureNote facts) {}

    /// @param sources in order of precedence
    private CapturedMachine(ElfCore memory, Optional<String> tool, List<Source> sources) {
        this.memory = memory;
        this.tool = tool;
        List<Source> ofRegisters = saying(sources, CaptureNote::registers);
        List<Source> ofGuests = saying(sources, CaptureNote::guests);
        this.registers = ofRegisters.isEmpty()
                ? new Registers(Map.of())
                : ofRegisters.getFirst().facts.registers().orElseThrow();
        this.registerSource = ofRegisters.isEmpty() ? "nowhere" : overriding(ofRegisters);
        this.guestRegisters = ofGuests.isEmpty()
                ? List.of()
                : ofGuests.getFirst().facts.guests().orElseThrow();
        this.era = first(sources, CaptureNote::era, "the file has no " + NOTE);
        this.vmemmap = first(sources, CaptureNote::vmemmap, "the file has no " + NOTE);
        this.ffa = first(sources, CaptureNote::ffa, "the file has no " + NOTE);
        this.regions = first(sources, CaptureNote::regions, "the file has no memory map");
        String suffix = suffix(ofRegisters);
        this.host =
                table(() -> MachineTables.host(memory, registers), registers, suffix, List.of("VTTBR_EL2", "VTCR_EL2"));
        this.hyp = table(
                () -> MachineTables.hyp(memory, registers),
                registers,
                suffix,
                List.of("TTBR0_EL2", "TCR_EL2", "HCR_EL2"));
        this.guests = ofGuests.isEmpty() ? List.of() : guests(ofGuests.getFirst().file, suffix(ofGuests));
    }

    private static <T> List<Source> saying(List<Source> sources, Function<CaptureNote, Optional<T>> what) {
        return sources.stream()
                .filter(source -> what.apply(source.facts).isPresent())
                .toList();
    }

    /// The first source, and which others it overrides.
    private static String overriding(List<Source> sources) {
        String others = sources.stream().skip(1).map(Source::name).collect(Collectors.joining(" and "));
        return sources.getFirst().name + (others.isEmpty() ? "" : ", which overrides " + others);
    }

    /// Where registers come from goes without saying, unless there was a choice.
    private static String suffix(List<Source> sources) {
        return sources.size() <= 1 ? "" : " of " + overriding(sources);
    }

    /// What the first source says that says anything.
    ///
    /// @param nobody why it is unknown if there is no note that could say it
    private static <T> Fact<T> first(List<Source> sources, Function<CaptureNote, Optional<T>> what, String nobody) {
        for (Source source : sources) {
            Optional<T> value = what.apply(source.facts);
            if (value.isPresent()) {
                return Fact.known(value.get(), source.name);
            }
        }
        // Register files are about nothing else, hence their silence is not worth a word.
        List<String> why = new ArrayList<>();
        sources.stream()
                .filter(source -> !source.name.equals(REGS))
                .forEach(source -> why.add(source.name + " does not say"));
        if (sources.stream().noneMatch(source -> source.name.equals(NOTE))) {
            why.add(nobody);
        }
        return Fact.unknown(String.join(", and ", why));
    }

    /// Opens a core that has a note with its registers.
    ///
    /// @throws CaptureException as the other one does
    public static CapturedMachine open(Path core) {
        return open(core, Optional.empty());
    }

    /// Opens a core.
    ///
    /// @throws CaptureException as the other one does
    public static CapturedMachine open(Path core, Optional<Path> registers) {
        return open(core, registers, Optional.empty());
    }

    /// Opens a core.
    ///
    /// @param registers a [RegisterFile]; it overrides the registers, and its guests if it names any, those of the
    ///     others
    /// @param machine a file with the content of a note, [CaptureNote]; what it says overrides the note of the core
    /// @throws CaptureException if a file cannot be used, or if there are no registers
    public static CapturedMachine open(Path core, Optional<Path> registers, Optional<Path> machine) {
        return open(core, registers, machine, true);
    }

    /// Opens a core.
    ///
    /// @param registersNeeded false if somebody knows where a table is without them
    /// @throws CaptureException if a file cannot be used, or if there are no registers and they are needed
    public static CapturedMachine open(
            Path core, Optional<Path> registers, Optional<Path> machine, boolean registersNeeded) {
        List<Source> sources = new ArrayList<>();
        registers.ifPresent(file -> sources.add(new Source(REGS, file, facts(RegisterFile.read(file)))));
        machine.ifPresent(file -> sources.add(new Source(MACHINE, file, CaptureNote.read(file))));
        ElfCore memory = ElfCore.open(core);
        boolean opened = false;
        try {
            Optional<CaptureNote> note = memory.note().map(json -> CaptureNote.parse(core.toString(), json));
            note.ifPresent(facts -> sources.add(new Source(NOTE, core, facts)));
            if (registersNeeded && saying(sources, CaptureNote::registers).isEmpty()) {
                throw new CaptureException(
                        core + ": it has no registers (no " + NOTE + "); give them with --regs FILE.json");
            }
            CapturedMachine found = new CapturedMachine(memory, note.map(CaptureNote::tool), sources);
            opened = true;
            return found;
        } finally {
            if (!opened) {
                memory.close();
            }
        }
    }

    private static CaptureNote facts(RegisterFile file) {
        return new CaptureNote(
                "",
                Optional.empty(),
                Optional.of(file.host()),
                file.guests(),
                Optional.empty(),
                Optional.empty(),
                Optional.empty());
    }

    private List<Guest> guests(Path file, String suffix) {
        List<Guest> list = new ArrayList<>();
        for (int index = 0; index < guestRegisters.size(); index++) {
            Registers of = guestRegisters.get(index);
            int vmid = MachineTables.vmid(of.get("VTTBR_EL2").orElse(0));
            OptionalLong named = of.get("VMID");
            if (named.isPresent() && of.get("VTTBR_EL2").isPresent() && named.getAsLong() != vmid) {
                throw new CaptureException(
                        file + ": guests[" + index + "]: VMID 0x" + Long.toHexString(named.getAsLong())
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

    @Override
    public Fact<Boolean> ffa() {
        return ffa;
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
