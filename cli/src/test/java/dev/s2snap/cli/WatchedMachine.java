package dev.s2snap.cli;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.HypVmemmap;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.MachineTables;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// A machine that remembers what was read of it, so that one can tell whether an answer still holds: an answer is made
/// of the memory that was asked for, of registers, and of facts that a machine never changes. If the first two are as
/// they were, the answer is what it was.
final class WatchedMachine implements Machine, PhysicalMemory {
    private final Machine machine;

    /// Where somebody has read.
    private final Map<Place, Copy> read = new HashMap<>();

    private Registers registers;
    private List<Registers> guestRegisters;

    private record Place(long address, long size) {}

    /// What the memory had there, unless it had nothing.
    private static final class Copy {
        final MemorySegment bytes;
        boolean present;

        Copy(long size) {
            bytes = MemorySegment.ofArray(new byte[(int) size]);
        }
    }

    WatchedMachine(Machine machine) {
        this.machine = machine;
        registers = machine.registers();
        guestRegisters = machine.guestRegisters();
    }

    /// Whether anything that was ever read of the machine has changed since the last such question.
    boolean changed() {
        Registers before = registers;
        List<Registers> guestsBefore = guestRegisters;
        registers = machine.registers();
        guestRegisters = machine.guestRegisters();
        boolean changed =
                !before.all().equals(registers.all()) || !values(guestsBefore).equals(values(guestRegisters));
        for (Map.Entry<Place, Copy> each : read.entrySet()) {
            Place place = each.getKey();
            changed |= renew(each.getValue(), machine.memory().offset(place.address, place.size));
        }
        return changed;
    }

    private static List<Map<String, Long>> values(List<Registers> registers) {
        return registers.stream().<Map<String, Long>>map(Registers::all).toList();
    }

    /// @return whether the copy was another one
    private boolean renew(Copy copy, long offset) {
        boolean before = copy.present;
        copy.present = offset != ABSENT;
        long size = copy.bytes.byteSize();
        if (!copy.present
                || (before && MemorySegment.mismatch(copy.bytes, 0, size, bytes(), offset, offset + size) < 0)) {
            return before != copy.present;
        }
        MemorySegment.copy(bytes(), offset, copy.bytes, 0, size);
        return true;
    }

    @Override
    public MemorySegment bytes() {
        return machine.memory().bytes();
    }

    @Override
    public long offset(long address, long size) {
        long offset = machine.memory().offset(address, size);
        read.computeIfAbsent(new Place(address, size), _ -> {
            Copy copy = new Copy(size);
            renew(copy, offset);
            return copy;
        });
        return offset;
    }

    @Override
    public PhysicalMemory memory() {
        return this;
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
    public Fact<TranslationTable> host() {
        return MachineTables.host(this, registers);
    }

    @Override
    public Fact<TranslationTable> hyp() {
        return MachineTables.hyp(this, registers);
    }

    @Override
    public List<Guest> guests() {
        return MachineTables.guests(this, guestRegisters);
    }

    @Override
    public Fact<List<MemoryRegion>> regions() {
        return machine.regions();
    }

    @Override
    public Fact<HypVmemmap> vmemmap() {
        return machine.vmemmap();
    }

    @Override
    public Fact<Era> era() {
        return machine.era();
    }

    @Override
    public Fact<Boolean> ffa() {
        return machine.ffa();
    }
}
