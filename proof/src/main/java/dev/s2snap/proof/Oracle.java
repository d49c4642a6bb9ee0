package dev.s2snap.proof;

import static dev.s2snap.proof.World.ALLOWED;
import static dev.s2snap.proof.World.BORROWED;
import static dev.s2snap.proof.World.FFA;
import static dev.s2snap.proof.World.LENT;
import static dev.s2snap.proof.World.NOPAGE;
import static dev.s2snap.proof.World.OWNED;
import static dev.s2snap.proof.World.PLAIN;
import static dev.s2snap.proof.World.SHARED;

import dev.s2snap.model.Errno;
import dev.s2snap.model.ModelConfig.Feature;

/// The specification as functions: what each call and each fault must do to the [World], which it does not change.
///
/// It says what the base does, 6.12.117, with its known bugs by their number (B-03, ...); of the snapshot call it says
/// what the corrected one does ([SnapshotOracle]), whatever the machine has. Written from the specification: it knows
/// no table and no descriptor.
///
/// Loose on purpose: whether the host has touched a page of its own before, and hence whether a fault finds a mapping
/// (0 or -EAGAIN); and whether the pools have memory, once somebody holds pages of them.
final class Oracle {
    private static final long BASE = 0xC600_0000L;
    private static final long SVE_HINT = 1 << 16;

    /// SMCCC's answer to a function that is not there, in x0; -1 is -EPERM as well, hence a value of its own.
    static final long NOT_SUPPORTED = Long.MIN_VALUE + 3;

    /// Bytes that the base's count of unmapped bytes can tell: 31 bits (D-34).
    private static final long COUNTED = 1L << 31;

    private final World world;
    private final Scene scene;
    private final SnapshotOracle snapshots;
    private final VmOracle vms;
    private final Expectation expected = new Expectation();

    Oracle(World world, Scene scene) {
        this.world = world;
        this.scene = scene;
        snapshots = new SnapshotOracle(world, scene);
        vms = new VmOracle(world, scene);
    }

    /// What the last snapshot call asked for.
    Diagnosis.Request asked() {
        return snapshots.asked();
    }

    /// Whether the step keeps to what the callers inside EL2 promise, and to memory that the host can reach. What does
    /// not is no step: no host can make it.
    boolean possible(Op op) {
        return switch (op.kind()) {
            case RETURN -> every(op, page -> world.role[page] == LENT) || any(op, page -> world.hyp[page] != OWNED);
            case UNSHARE_FFA ->
                every(op, page -> world.role[page] == FFA) || any(op, page -> world.host[page] != SHARED);
            case UNPIN -> every(op, page -> world.loosePins[page] > 0);
            case LIST -> listReachable(op);
            case STRUCT -> world.accessible(world.number(op.argument(0))) && inMemory(op.argument(0));
            default -> true;
        };
    }

    private boolean inMemory(long address) {
        int page = world.number(address);
        return page >= 0 && world.memory[page] == ALLOWED;
    }

    private boolean listReachable(Op op) {
        for (long i = 0; i < op.argument(1); i++) {
            long page = op.argument(0) + i * op.argument(2) * (1L << world.shift);
            if (!inMemory(page) || !world.accessible(world.number(page))) {
                return false;
            }
        }
        return true;
    }

    private interface Test {
        boolean holds(int page);
    }

    private boolean every(Op op, Test test) {
        int first = world.number(op.argument(0) << world.shift);
        long count = op.argument(1);
        if (first < 0 || count <= 0 || count > world.pages - first) {
            return false;
        }
        for (int page = first; page < first + count; page++) {
            if (!test.holds(page)) {
                return false;
            }
        }
        return true;
    }

    /// Whether a range of memory has such a page.
    private boolean any(Op op, Test test) {
        return every(op, _ -> true) && !every(op, page -> !test.holds(page));
    }

    /// What must happen. The answer is good until the next question.
    Expectation of(Op op) {
        expected.reset();
        switch (op.kind()) {
            case FAULT -> fault(op.argument(0));
            case IDMAP -> idmap(op.argument(0));
            case SHARE -> shareHyp(op.argument(0));
            case UNSHARE -> unshareHyp(op.argument(0));
            case READ, WRITE -> access(op.argument(0));
            case DONATE -> donate(op.argument(0), op.argument(1));
            case RETURN -> giveBack(op.argument(0), op.argument(1));
            case SHARE_FFA -> shareFfa(op.argument(0), op.argument(1));
            case UNSHARE_FFA -> unshareFfa(op);
            case PIN -> pin(op.argument(0), op.argument(1));
            case UNPIN -> expected.pinLoosely(world.number(op.argument(0) << world.shift), (int) op.argument(1), -1);
            case UNMAP_DEVICES, LIST, STRUCT -> {}
            case TAKE_HOST_POOL, TAKE_HYP_POOL, GIVE_HOST_POOL, GIVE_HYP_POOL -> expected.answers(ANY);
            case HVC -> hypercall(op);
        }
        return expected;
    }

    /// An answer that nobody specifies.
    static final long ANY = Long.MIN_VALUE + 2;

    // Faults.

    /// The handler: what it cannot map is a defect to it.
    private void fault(long address) {
        idmap(address & -(1L << 12));
        if (expected.answer() != 0 && expected.answer() != Errno.EAGAIN) {
            expected.answers(Expectation.PANIC);
        }
    }

    /// The lazy map.
    private void idmap(long address) {
        int number = world.number(address);
        if (address < 0 || address >= scene.inputSize()) {
            expected.answers(Errno.ERANGE);
        } else if (!world.accessible(number)) {
            expected.answers(Errno.EPERM);
        } else {
            boolean known = number >= 0
                    && world.memory[number] == ALLOWED
                    && (world.host[number] == SHARED || world.host[number] == BORROWED);
            // What is shared is mapped; what the host owns may be.
            expected.answers(known ? Errno.EAGAIN : 0).or(Errno.EAGAIN).maps(number);
            poolsMayBeShort();
        }
    }

    /// A load or store of the host faults its pages in and is done, or it is the end.
    private void access(long address) {
        int number = world.number(address);
        long last = address + Long.BYTES - 1;
        boolean reachable = address >= 0
                && last < scene.inputSize()
                && world.accessible(number)
                && world.accessible(world.number(last));
        expected.answers(reachable ? 0 : Expectation.PANIC).maps(reachable ? number : -1);
    }

    // Transitions.

    /// First page of a range, after the checks that every walk over the host's table makes of the range itself.
    private int first(long frame, long pages) {
        long address = frame << world.shift;
        long size = pages << world.shift;
        long end = address + size;
        // Unsigned, and the end of the table is no error (kvm_pgtable_walk of 6.12).
        if (Long.compareUnsigned(address, scene.inputSize()) > 0 || Long.compareUnsigned(end, scene.inputSize()) > 0) {
            expected.answers(Errno.ERANGE);
            return REFUSED;
        }
        if (Long.compareUnsigned(end, address) <= 0) {
            // Nothing is checked and nothing done.
            if (pages != 0) {
                expected.knownBug("B-04");
            }
            return NOTHING;
        }
        if (Long.compareUnsigned(pages, 1L << (64 - world.shift)) >= 0) {
            expected.knownBug("B-04");
        }
        return world.number(address);
    }

    /// A range of no pages is looked for in EL2's table as well, which may cover less.
    private void nothingAtEl2(long frame, long pages) {
        if (!scene.hypCovers(frame << world.shift, pages << world.shift)) {
            expected.answers(Errno.ERANGE);
        }
    }

    private static final int REFUSED = -2;
    private static final int NOTHING = -3;

    /// Number of pages, as the byte count of 64 bits has them.
    private long effective(long pages) {
        return pages << world.shift >>> world.shift;
    }

    /// Whether all of a range is memory in the wanted states.
    private boolean all(int first, long count, byte host, byte hyp) {
        for (long page = first; page < first + count; page++) {
            boolean good = page >= 0
                    && page < world.pages
                    && world.memory[(int) page] == ALLOWED
                    && world.host[(int) page] == host
                    && world.hyp[(int) page] == hyp;
            if (!good) {
                return false;
            }
        }
        return true;
    }

    /// A transition of free pages: refused unless all are, but see B-03.
    private boolean allFree(int first, long count) {
        if (first >= 0 && all(first, count, OWNED, NOPAGE)) {
            return true;
        }
        expected.answers(Errno.EPERM);
        if (scene.straddles(world, first, count)) {
            expected.knownBug("B-03").or(0);
        }
        return false;
    }

    private void poolsMayBeShort() {
        if (world.poolsHeld() || scene.poolsLow()) {
            expected.orShort();
        }
    }

    private void shareHyp(long frame) {
        int page = first(frame, 1);
        if (page == REFUSED) {
            return;
        }
        if (page < 0 || !world.free(page)) {
            expected.answers(Errno.EPERM);
            return;
        }
        expected.change(page, 1, SHARED, BORROWED, PLAIN);
        poolsMayBeShort();
    }

    private void unshareHyp(long frame) {
        int page = first(frame, 1);
        if (page == REFUSED) {
            return;
        }
        if (page < 0 || world.memory[page] != ALLOWED || world.host[page] != SHARED) {
            expected.answers(Errno.EPERM);
        } else if (world.pins[page] != 0) {
            expected.answers(Errno.EBUSY);
        } else if (world.hyp[page] != BORROWED && scene.has(Feature.DEBUG)) {
            expected.answers(Errno.EPERM);
        } else if (world.hyp[page] != BORROWED) {
            // Shared with the secure world: what EL2 is to unmap then is not there.
            expected.answers(Expectation.PANIC).knownBug("B-17");
        } else {
            expected.change(page, 1, OWNED, NOPAGE, PLAIN);
        }
    }

    private void donate(long frame, long pages) {
        int first = first(frame, pages);
        long count = effective(pages);
        if (first == NOTHING && scene.has(Feature.DEBUG)) {
            nothingAtEl2(frame, pages);
        } else if (first != REFUSED && first != NOTHING && allFree(first, count)) {
            expected.change(first, (int) count, NOPAGE, OWNED, LENT);
            poolsMayBeShort();
        }
    }

    private void giveBack(long frame, long pages) {
        int first = first(frame, pages);
        if (unlikeAtEl2(first, pages)) {
            expected.answers(Errno.EPERM);
        } else if (effective(pages) << world.shift >= COUNTED) {
            expected.answers(Expectation.PANIC).knownBug("D-34");
        } else {
            expected.change(first, (int) pages, OWNED, NOPAGE, PLAIN);
        }
    }

    private void shareFfa(long frame, long pages) {
        int first = first(frame, pages);
        long count = effective(pages);
        if (first != REFUSED && first != NOTHING && allFree(first, count)) {
            expected.change(first, (int) count, SHARED, NOPAGE, FFA);
            poolsMayBeShort();
        }
    }

    /// Whether one of the pages is not the hypervisor's own.
    private boolean unlikeAtEl2(int first, long pages) {
        for (int page = first; page < first + pages; page++) {
            if (world.hyp[page] != OWNED) {
                return true;
            }
        }
        return false;
    }

    private void unshareFfa(Op op) {
        int first = world.number(op.argument(0) << world.shift);
        int count = (int) op.argument(1);
        for (int page = first; page < first + count; page++) {
            if (world.memory[page] != ALLOWED || world.host[page] != SHARED) {
                expected.answers(Errno.EPERM);
                return;
            }
        }
        expected.change(first, count, OWNED, NOPAGE, PLAIN);
    }

    private void pin(long frame, long pages) {
        int first = first(frame, pages);
        if (first == REFUSED) {
            return;
        }
        if (first == NOTHING) {
            nothingAtEl2(frame, pages);
            return;
        }
        long count = effective(pages);
        if (first < 0 || !all(first, count, SHARED, BORROWED)) {
            expected.answers(Errno.EPERM);
        } else {
            expected.pinLoosely(first, (int) count, 1);
        }
    }

    // Hypercalls.

    private void hypercall(Op op) {
        long number = (op.argument(1) & ~SVE_HINT) - BASE;
        // Up to 7 they belong to initialisation, and behind 28 there are none (the table of 6.7).
        if (Long.compareUnsigned(number, 8) < 0 || Long.compareUnsigned(number, 28) > 0) {
            expected.answers(NOT_SUPPORTED);
            return;
        }
        long x1 = op.size() > 2 ? op.argument(2) : scene.register((int) op.argument(0), 1);
        long x2 = op.size() > 3 ? op.argument(3) : scene.register((int) op.argument(0), 2);
        long x3 = op.size() > 4 ? op.argument(4) : scene.register((int) op.argument(0), 3);
        switch ((int) number) {
            case 8 -> expected.answers(Errno.EPERM); // this CPU has its stage 2
            case 9 -> shareHyp(x1);
            case 10 -> unshareHyp(x1);
            case 12 -> vms.run(expected, x1);
            case 14, 15, 16, 17, 18 -> vms.flush(expected, x1);
            case 25 -> vms.create(expected, x1, x2, x3);
            case 26 -> vms.addVcpu(expected, (int) x1, x2, x3);
            case 27 -> vms.tearDown(expected, (int) x1);
            case 28 -> snapshots.call(expected, x1);
            case 20 -> expected.answers(Integer.toUnsignedLong(world.vmcr[(int) op.argument(0)]));
            case 21 -> expected.answers(ANY).vm(() -> world.vmcr[(int) op.argument(0)] = (int) x1);
            default -> expected.answers(ANY);
        }
    }
}
