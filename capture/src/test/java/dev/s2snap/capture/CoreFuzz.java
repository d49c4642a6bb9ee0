package dev.s2snap.capture;

import dev.s2snap.capture.ElfHeaders.Load;
import dev.s2snap.vmsa.PhysicalMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/// Fuzz target: bytes as an ELF core. Memory that is found is compared with what the program headers say, read one by
/// one.
public final class CoreFuzz {

    private CoreFuzz() {}

    /// What Jazzer calls (`.ci/deep fuzz`), and [FuzzCorpusTest].
    public static void fuzzerTestOneInput(byte[] data) {
        accepts(data);
    }

    /// Whether `data` is a core.
    ///
    /// @throws AssertionError if it is misread
    static boolean accepts(byte[] data) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment file = arena.allocate(Math.max(1, data.length)).asSlice(0, data.length);
            MemorySegment.copy(data, 0, file, ValueLayout.JAVA_BYTE, 0, data.length);
            ElfCore core = ElfCore.of("fuzz", file, arena);
            List<Load> loads = ElfHeaders.read("fuzz", file).loads();
            for (long address : places(loads)) {
                for (int size : new int[] {1, 8, 4096, 65536}) {
                    check(core, loads, data, address, size);
                    check(core, loads, data, address & -size, size);
                }
            }
            core.note().ifPresent(NoteFuzz::note);
            return true;
        } catch (CaptureException e) {
            if (e.getMessage().indexOf('\n') >= 0) {
                throw new AssertionError("not one line: " + e.getMessage());
            }
            return false;
        }
    }

    /// Both sides of where something begins or ends, of the first few headers.
    private static Set<Long> places(List<Load> loads) {
        Set<Long> places = new TreeSet<>();
        for (Load load : loads.subList(0, Math.min(8, loads.size()))) {
            for (long boundary : new long[] {load.address(), load.dataEnd(), load.end()}) {
                places.addAll(List.of(boundary - 8, boundary - 1, boundary, boundary + 1));
            }
        }
        return places;
    }

    private static void check(ElfCore core, List<Load> loads, byte[] data, long address, int size) {
        long offset = core.offset(address, size);
        if (offset == PhysicalMemory.ABSENT) {
            // Across 64 KiB it may decline; below that it has to be right.
            boolean within = (address & -65536) == (address + size - 1 & -65536);
            if (within && size == 1 && expected(loads, data, address) >= 0) {
                throw new AssertionError("0x" + Long.toHexString(address) + " is there and was not found");
            }
            return;
        }
        for (long at : new TreeSet<>(steps(address, size))) {
            int is = core.bytes().get(ValueLayout.JAVA_BYTE, offset + (at - address)) & 0xff;
            int expected = expected(loads, data, at);
            if (is != expected) {
                throw new AssertionError("0x" + Long.toHexString(at) + ": " + is + " instead of " + expected);
            }
        }
    }

    private static List<Long> steps(long address, int size) {
        List<Long> steps = new ArrayList<>();
        for (long at = 0; at < size; at += Math.max(1, size / 16)) {
            steps.add(address + at);
        }
        steps.add(address + size - 1);
        return steps;
    }

    /// The byte at `address`, or -1.
    private static int expected(List<Load> loads, byte[] data, long address) {
        int found = -1;
        for (Load load : loads) {
            if (address >= load.address() && address < load.dataEnd()) {
                return data[(int) (load.offset() + (address - load.address()))] & 0xff;
            }
            if (address >= load.dataEnd() && address < load.end()) {
                found = 0;
            }
        }
        return found;
    }
}
