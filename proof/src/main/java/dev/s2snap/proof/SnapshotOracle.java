package dev.s2snap.proof;

import static dev.s2snap.proof.World.ALLOWED;

import dev.s2snap.model.Errno;
import dev.s2snap.model.ModelConfig.Feature;
import dev.s2snap.model.SnapshotStruct;
import dev.s2snap.proof.Diagnosis.Refusal;

/// What the snapshot call must answer: the rules of docs/snapshot-call.md, in their order. Ownership is the same before
/// and after, whatever it answers; what it may store to is what it takes.
final class SnapshotOracle {
    private final World world;
    private final Scene scene;
    private final int[] takenIn;
    private int call;

    private final long memory;
    private final long demand;

    SnapshotOracle(World world, Scene scene) {
        this.world = world;
        this.scene = scene;
        takenIn = new int[world.pages];
        long tables = 0;
        for (int from = 0; from < world.pages; ) {
            int to = from;
            while (to < world.pages && world.memory[to] != World.NO_MEMORY && world.region[to] == world.region[from]) {
                to++;
            }
            tables += to == from ? 0 : worstCase(to - from - (world.edge(to - 1) ? 1 : 0));
            from = Math.max(to, from + 1);
        }
        memory = world.bytes;
        demand = tables + 16 + worstCase((1L << 30) >>> world.shift);
    }

    /// Table pages of five levels for so many pages (host_s2_pgtable_pages, 6.8 and later).
    private long worstCase(long pages) {
        long entries = 1L << (world.shift - 3);
        long sum = 0;
        long left = pages;
        for (int level = 0; level < 5; level++) {
            left = Math.ceilDiv(left, entries);
            sum += left;
        }
        return sum;
    }

    /// Pages that a list must have.
    long demand() {
        return demand;
    }

    private boolean aligned(long address) {
        return (address & (1L << world.shift) - 1) == 0;
    }

    private Diagnosis.Request asked = new Diagnosis.Request(0, 0, 0, 0, Refusal.NONE);

    /// What the last call asked for.
    Diagnosis.Request asked() {
        return asked;
    }

    void call(Expectation expected, long pointer) {
        if (!scene.has(Feature.DEBUG)) {
            expected.answers(Oracle.NOT_SUPPORTED);
            return;
        }
        call++;
        asked = new Diagnosis.Request(0, 0, 0, 0, Refusal.BUFFER);
        long struct = scene.physical(pointer);
        if (!aligned(struct)) {
            expected.answers(Errno.EINVAL);
            return;
        }
        int page = world.number(struct);
        if (!take(expected, page)) {
            expected.answers(Errno.EPERM);
            return;
        }
        expected.roundTrips(1).snapshotOf(page);
        Request request = new Request(
                scene.word(struct + SnapshotStruct.MC_HEAD),
                scene.word(struct + SnapshotStruct.MC_NR_PAGES),
                scene.physical(scene.word(struct + SnapshotStruct.PGD_HVA)),
                scene.word(struct + SnapshotStruct.PGD_PAGES),
                scene.physical(scene.word(struct + SnapshotStruct.USED_PAGES_HVA)),
                scene.word(struct + SnapshotStruct.NUM_USED_PAGES),
                scene.word(struct + SnapshotStruct.USED_PAGES_INDX));
        asked = new Diagnosis.Request(
                request.index, request.pgdPages, request.listPages, request.arrayPages, refusal(request));
        call++;
        takenIn[page] = call;
        expected.answers(serve(expected, request));
        if (expected.answer() == 0) {
            // Only the copy can fail now, if the tables do not fit; how many there are by then is not known here.
            expected.room(request.listPages, request.arrayPages << world.shift >>> 3);
        }
        if (world.poolsHeld() || scene.poolsLow()) {
            // It asks before it donates: never the end.
            expected.or(Errno.ENOMEM);
        }
    }

    private record Request(
            long head, long listPages, long pgd, long pgdPages, long array, long arrayPages, long index) {}

    private long serve(Expectation expected, Request request) {
        boolean sane = request.index == 0
                && sane(request.pgdPages, Math.min(memory, (1L << 31) - 1))
                && sane(request.listPages, memory)
                && sane(request.arrayPages, Math.min(memory, (1L << 31) - 1));
        if (!sane) {
            return Errno.EINVAL;
        }
        // Too little is -ENOMEM, whatever else is wrong; the buffers are lent all the same, as far as they go.
        boolean shortage = request.pgdPages < scene.rootPages() || request.listPages < demand;
        long error = lend(expected, request);
        return shortage ? Errno.ENOMEM : error;
    }

    private boolean sane(long pages, long limit) {
        return pages != 0 && Long.compareUnsigned(pages, limit >>> world.shift) <= 0;
    }

    private long lend(Expectation expected, Request request) {
        if (!aligned(request.pgd) || !aligned(request.array) || !aligned(request.head)) {
            return Errno.EINVAL;
        }
        if (!oneRegion(request.pgd, request.pgdPages) || !oneRegion(request.array, request.arrayPages)) {
            return Errno.EPERM;
        }
        if (!takeAll(expected, request.pgd, request.pgdPages)) {
            return Errno.EPERM;
        }
        expected.root(world.number(request.pgd));
        long page = request.head;
        for (long i = 0; i < request.listPages; i++) {
            if (!aligned(page)) {
                return Errno.EINVAL;
            }
            if (!take(expected, world.number(page))) {
                return Errno.EPERM;
            }
            expected.roundTrips(1);
            page = scene.word(page);
        }
        return takeAll(expected, request.array, request.arrayPages) ? 0 : Errno.EPERM;
    }

    private boolean oneRegion(long address, long pages) {
        int first = world.number(address);
        return first >= 0
                && pages <= world.pages - first
                && world.memory[first] == ALLOWED
                && world.memory[first + (int) pages - 1] == ALLOWED
                && world.region[first + (int) pages - 1] == world.region[first];
    }

    /// All or nothing, as one donation is.
    private boolean takeAll(Expectation expected, long address, long pages) {
        int first = world.number(address);
        for (int page = first; page < first + pages; page++) {
            if (!world.free(page) || world.edge(page) || takenIn[page] == call) {
                return false;
            }
        }
        for (int page = first; page < first + pages; page++) {
            takenIn[page] = call;
        }
        expected.lends(first, (int) pages).roundTrips(pages);
        return true;
    }

    private boolean take(Expectation expected, int page) {
        if (page < 0 || !world.free(page) || world.edge(page) || takenIn[page] == call) {
            return false;
        }
        takenIn[page] = call;
        expected.lends(page, 1);
        return true;
    }

    /// What the posted call would refuse first, which looks at nothing but ownership and alignment, in the same order.
    private Refusal refusal(Request request) {
        Expectation ignored = new Expectation().reset();
        if (!aligned(request.pgd) || !takeBytes(ignored, request.pgd, request.pgdPages)) {
            return Refusal.BUFFER;
        }
        long page = request.head;
        for (long i = 0; Long.compareUnsigned(i, request.listPages) < 0; i++) {
            int number = world.number(page);
            if (number >= 0 && aligned(page) && takenIn[number] == call) {
                return Refusal.ALIAS;
            }
            if (number >= 0 && world.hyp[number] == World.OWNED) {
                return Refusal.HYPERVISORS;
            }
            if (!aligned(page) || !take(ignored, number)) {
                return Refusal.OTHER;
            }
            page = scene.word(page);
        }
        return aligned(request.array) && takeBytes(ignored, request.array, request.arrayPages)
                ? Refusal.NONE
                : Refusal.OTHER;
    }

    /// As the base counts: bytes modulo 2^64, and none are always granted.
    private boolean takeBytes(Expectation ignored, long address, long pages) {
        long effective = pages << world.shift >>> world.shift;
        boolean nothing = Long.compareUnsigned(address + (pages << world.shift), address) <= 0;
        return nothing
                || (oneRegion(address, Math.min(effective, world.pages)) && takeAll(ignored, address, effective));
    }
}
