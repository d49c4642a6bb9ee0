package dev.s2snap.proof;

import dev.s2snap.model.ModelConfig.Feature;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.Ram;

/// What a call finds beside the abstract state: words that the host wrote, registers, and how addresses translate. For
/// a call these are inputs.
final class Scene {
    private final PkvmModel model;
    private final Ram ram;
    private final Sight sight;
    private final long inputSize;
    private final long hypInputSize;

    Scene(PkvmModel model, Sight sight) {
        this.model = model;
        this.sight = sight;
        ram = (Ram) model.memory();
        hypInputSize = model.hyp().optional().orElseThrow().geometry().inputSize();
        inputSize = model.host().optional().orElseThrow().geometry().inputSize();
    }

    /// End of the addresses that the host's table translates.
    long inputSize() {
        return inputSize;
    }

    boolean has(Feature feature) {
        return model.config().has(feature);
    }

    long register(int cpu, int register) {
        return model.cpu(cpu).x(register);
    }

    /// Physical address behind a pointer of the host, after EL2 has folded it into its linear map.
    long physical(long pointer) {
        return model.addresses().hypPa(model.addresses().kernHypVa(pointer));
    }

    long word(long address) {
        return ram.get(address);
    }

    long half(long address) {
        return Integer.toUnsignedLong((int) ram.get(address));
    }

    /// Whether a physical range, as its first byte and its size modulo 2^64, lies in what EL2's table translates; the
    /// end of that counts as in.
    boolean hypCovers(long address, long size) {
        long virtual = model.addresses().hypVa(address);
        return Long.compareUnsigned(virtual, hypInputSize) <= 0
                && Long.compareUnsigned(virtual + size, hypInputSize) <= 0;
    }

    /// Whether one entry of the host's table stands for both addresses.
    boolean sameLeaf(long one, long other) {
        return sight.sameLeaf(one, other);
    }

    /// Whether the base takes a range of free memory that goes on behind the end of it, because what is there lies in
    /// the
    /// same empty entry (B-03).
    boolean straddles(World world, int first, long count) {
        for (long page = first; first >= 0 && page < first + count; page++) {
            if (page >= world.pages || world.memory[(int) page] != World.ALLOWED) {
                long address = world.address(first) + ((page - first) << world.shift);
                return page > first && sameLeaf(address - 1, address);
            }
            if (!world.free((int) page)) {
                return false;
            }
        }
        return false;
    }

    int rootPages() {
        return model.host().optional().orElseThrow().geometry().rootPages();
    }

    /// Pages below the root of the host's table, now.
    long tablePages() {
        return (long) sight.hostTables() - rootPages();
    }

    /// With fewer free pages than this in a pool, a step may find none.
    private static final int SPARE = 128;

    boolean poolsLow() {
        return model.primitives().hostPoolFree() < SPARE || model.primitives().hypPoolFree() < SPARE;
    }
}
