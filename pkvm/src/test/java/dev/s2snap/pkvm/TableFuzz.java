package dev.s2snap.pkvm;

import dev.s2snap.vmsa.GeometryException;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Map;

/// Fuzz target: any registers and any memory, from the registers to the runs of the table.
///
/// | bytes | |
/// |---|---|
/// | 1 | 0: the host's table, 1: the hypervisor's |
/// | 8 | VTCR_EL2 or TCR_EL2 |
/// | 8 | HCR_EL2 |
/// | 8 | VTTBR_EL2 or TTBR0_EL2 |
/// | 10 each | descriptors: 2 for their place in 64 KiB of memory at 0, 8 for the value |
public final class TableFuzz {
    private static final int MEMORY = 1 << 16;
    private static final int HEAD = 25;

    private TableFuzz() {}

    /// What Jazzer calls (`.ci/deep fuzz`), and [TableFuzzTest].
    public static void fuzzerTestOneInput(byte[] data) {
        walks(data);
    }

    /// Whether there was a table to walk.
    ///
    /// @throws AssertionError if the walk contradicts the translation of single addresses
    static boolean walks(byte[] data) {
        if (data.length < HEAD) {
            return false;
        }
        ByteBuffer in = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN);
        boolean hyp = (in.get() & 1) != 0;
        long control = in.getLong();
        long hcr = in.getLong();
        long root = in.getLong();
        MemorySegment bytes = MemorySegment.ofArray(new byte[MEMORY]);
        while (in.remaining() >= 10) {
            long index = Short.toUnsignedInt(in.getShort()) % (MEMORY / 8);
            bytes.set(PhysicalMemory.LE64, index * 8, in.getLong());
        }
        PhysicalMemory memory = new Image(bytes);
        Registers registers = new Registers(
                hyp
                        ? Map.of("TCR_EL2", control, "HCR_EL2", hcr, "TTBR0_EL2", root)
                        : Map.of("VTCR_EL2", control, "HCR_EL2", hcr | MachineTables.HCR_VM, "VTTBR_EL2", root));
        Fact<TranslationTable> table;
        try {
            table = hyp ? MachineTables.hyp(memory, registers) : MachineTables.host(memory, registers);
        } catch (GeometryException e) {
            return false;
        }
        table.optional().ifPresent(TableFuzz::check);
        return table.optional().isPresent();
    }

    private static void check(TranslationTable table) {
        LeafRuns.Result result = LeafRuns.of(table);
        long end = 0;
        for (LeafRun run : result.runs()) {
            if (run.start() < end || run.end() <= run.start()) {
                throw new AssertionError("runs do not ascend at " + run);
            }
            end = run.end();
        }
        if (end > table.geometry().inputSize()) {
            throw new AssertionError("a run ends at 0x" + Long.toHexString(end) + ", beyond the input size");
        }
    }

    private record Image(MemorySegment bytes) implements PhysicalMemory {
        @Override
        public long offset(long address, long size) {
            return address >= 0 && address <= MEMORY - size ? address : ABSENT;
        }
    }
}
