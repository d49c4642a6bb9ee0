package dev.s2snap.inspect;

import dev.s2snap.pkvm.Annotation;
import dev.s2snap.pkvm.Encodings.StateLocation;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.HypVmemmap;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.MachineTables;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.vmsa.LeafAttributes;
import dev.s2snap.vmsa.TranslationTable;
import java.io.IOException;
import java.io.OutputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;

/// Every fact about a machine, and where it comes from; what is not known, and why.
public final class MachineInfo {

    /// A fact that only the one who opened the machine knows.
    ///
    /// @param source where it comes from; empty if that is plain
    public record Line(String name, String value, String source) {}

    private static final int VALUE_COLUMN = 22;
    private static final int WIDTH = 110;

    private final Reading reading;
    private final Machine machine;
    private final ByteText text;
    private final List<Line> unknown = new ArrayList<>();

    private MachineInfo(Reading reading, OutputStream out) {
        this.reading = reading;
        this.machine = reading.machine();
        this.text = new ByteText(out);
    }

    /// @param origin what is known about the source itself, printed first
    public static void write(Reading reading, List<Line> origin, OutputStream out) throws IOException {
        MachineInfo info = new MachineInfo(reading, out);
        info.section("source");
        for (Line line : origin) {
            info.line(line.name, line.value, line.source);
        }
        info.kernel();
        info.cpu();
        info.memory();
        info.tables();
        info.registers();
        info.unknowns();
        info.text.flush();
    }

    private void kernel() throws IOException {
        section("kernel");
        fact("releases", reading.era().map(era -> era.releases() + " (era " + era.id() + ")"));
        fact("annotations", reading.annotations().map(Annotation.Format::words));
        fact("host page states", reading.hostStates().map(StateLocation::words));
        fact("hyp page states", reading.hypStates().map(StateLocation::words));
    }

    private void cpu() throws IOException {
        section("cpu");
        register("EL2", "HCR_EL2", hcr -> (hcr & MachineTables.HCR_E2H) != 0 ? "hVHE (E2H = 1)" : "nVHE (E2H = 0)");
        register(
                "host stage 2",
                "HCR_EL2",
                hcr -> (hcr & MachineTables.HCR_VM) == 0 ? "off (VM = 0)" : "on (VM = 1), " + writeBack(hcr));
        register("physical address", "ID_AA64MMFR0_EL1", MachineInfo::paRange);
        // ID_AA64MMFR1_EL1.XNX, bits 31:28; ID_AA64MMFR2_EL1.FWB, bits 43:40 (D24.2).
        register("stage 2 XNX", "ID_AA64MMFR1_EL1", value -> has(value, 28));
        register("stage 2 FWB", "ID_AA64MMFR2_EL1", value -> has(value, 40));
    }

    private static String writeBack(long hcr) {
        return (hcr & LeafAttributes.HCR_FWB) != 0 ? "forced write-back (FWB = 1)" : "FWB = 0";
    }

    private static String has(long register, int field) {
        return (register >>> field & 0xf) == 0 ? "the CPU does not have it" : "the CPU has it";
    }

    /// ID_AA64MMFR0_EL1.PARange, bits 3:0 (D24.2).
    private static String paRange(long mmfr0) {
        int[] bits = {32, 36, 40, 42, 44, 48, 52, 56};
        int range = (int) mmfr0 & 0xf;
        return range < bits.length ? bits[range] + " bits (PARange = " + range + ")" : "reserved PARange " + range;
    }

    private void memory() throws IOException {
        section("memory");
        switch (machine.regions()) {
            case Fact.Known<List<MemoryRegion>>(List<MemoryRegion> regions, String source) -> {
                for (MemoryRegion region : regions) {
                    text.column(2).hex(region.base(), 12).add("-").hex(region.end(), 12);
                    text.add("  ").add(ByteText.size(region.size()));
                    text.add(region.nomap() ? " NOMAP" : "")
                            .add("  [")
                            .add(source)
                            .line("]");
                }
            }
            case Fact.Unknown<List<MemoryRegion>>(String why) -> unknown("memory map", why);
        }
    }

    private void tables() throws IOException {
        section("tables");
        fact("host", machine.host().map(MachineInfo::describe));
        fact("hyp", machine.hyp().map(MachineInfo::describe));
        for (String name : List.of("hyp:upper", "el1:lower", "el1:upper")) {
            fact(name, TableSelector.parse(name).of(machine).map(MachineInfo::describe));
        }
        fact("hyp_vmemmap", reading.vmemmap().map(MachineInfo::vmemmap));
        for (Guest guest : machine.guests()) {
            fact("guest:" + guest.index(), guest.table().map(MachineInfo::describe));
            text.column(VALUE_COLUMN).add("VMID ").decimal(guest.vmid());
            OptionalLong hcr = machine.guestRegisters().get(guest.index()).get("HCR_EL2");
            text.line(hcr.isEmpty() ? "" : ", " + writeBack(hcr.getAsLong()));
        }
        if (machine.guests().isEmpty()) {
            line("guests", "none known", "");
        }
    }

    private static String vmemmap(HypVmemmap where) {
        return "EL2 address 0x" + Long.toHexString(where.base()) + ", " + where.entrySize() + " bytes a page";
    }

    private static String describe(TranslationTable table) {
        return TextDump.describe(table.geometry(), table.root());
    }

    /// The registers that decide what was read.
    private void registers() throws IOException {
        section("registers");
        registers(machine.registers(), "VTTBR_EL2", "VTCR_EL2", "HCR_EL2", "TTBR0_EL2", "TCR_EL2", "TCR2_EL2");
        registers(
                machine.registers(),
                "MAIR_EL2",
                "SCTLR_EL2",
                "ID_AA64MMFR0_EL1",
                "ID_AA64MMFR1_EL1",
                "ID_AA64MMFR2_EL1");
        registers(machine.registers(), "TTBR1_EL2", "TTBR0_EL1", "TTBR1_EL1", "TCR_EL1", "MAIR_EL1", "SCTLR_EL1");
        for (int index = 0; index < machine.guestRegisters().size(); index++) {
            text.column(2).add("while guest:").decimal(index).line(" ran");
            registers(machine.guestRegisters().get(index), "VTTBR_EL2", "VTCR_EL2", "HCR_EL2");
        }
    }

    private void registers(Registers registers, String... names) throws IOException {
        for (String name : names) {
            OptionalLong value = registers.get(name);
            if (value.isPresent()) {
                text.column(2)
                        .add(name)
                        .column(VALUE_COLUMN)
                        .hex(value.getAsLong(), 16)
                        .line();
            }
        }
    }

    private void unknowns() throws IOException {
        section("not known");
        if (unknown.isEmpty()) {
            text.column(2).line("nothing of the above");
        }
        for (Line line : unknown) {
            text.column(2).add(line.name).column(VALUE_COLUMN).line(line.value);
        }
    }

    private void fact(String name, Fact<String> fact) throws IOException {
        switch (fact) {
            case Fact.Known<String>(String value, String source) -> line(name, value, source);
            case Fact.Unknown<String>(String why) -> unknown(name, why);
        }
    }

    @FunctionalInterface
    private interface Decoder {
        String decode(long value);
    }

    private void register(String name, String register, Decoder decoder) throws IOException {
        OptionalLong value = machine.registers().get(register);
        fact(
                name,
                value.isPresent()
                        ? Fact.known(decoder.decode(value.getAsLong()), register)
                        : Fact.unknown(register + " is needed"));
    }

    private void unknown(String name, String why) throws IOException {
        text.column(2).add(name).column(VALUE_COLUMN).line("?");
        unknown.add(new Line(name, why, ""));
    }

    private void line(String name, String value, String source) throws IOException {
        text.column(2).add(name).column(VALUE_COLUMN).add(value);
        if (VALUE_COLUMN + value.length() + source.length() > WIDTH) {
            text.line();
            text.column(VALUE_COLUMN - 2);
        }
        text.line(source.isEmpty() ? "" : "  [" + source + "]");
    }

    private void section(String title) throws IOException {
        text.line(title);
    }
}
