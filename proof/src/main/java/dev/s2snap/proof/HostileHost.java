package dev.s2snap.proof;

import static dev.s2snap.proof.World.BORROWED;
import static dev.s2snap.proof.World.FFA;
import static dev.s2snap.proof.World.LENT;
import static dev.s2snap.proof.World.PLAIN;
import static dev.s2snap.proof.World.SHARED;

import dev.s2snap.model.PkvmModel;
import java.util.SplittableRandom;

/// A host that makes things up: valid calls, nearly valid ones, and hostile ones. What it does next depends on the seed
/// and on the [World], so a seed is a trial. It knows who owns what, as a host does that keeps books.
final class HostileHost {
    private static final int SHARE_HYP = 9;
    private static final int UNSHARE_HYP = 10;
    private static final int READ_VMCR = 20;
    private static final int WRITE_VMCR = 21;

    /// How often it does what ends a machine of the base: one in so many.
    static final int SUICIDAL = 20_000;

    /// How often it lets a pool run dry.
    private static final int STARVING = 640;

    /// One machine in so many gets more VMs than there are slots.
    private static final int FLOODED = 12;

    /// How often it has a go at a page that is memory only in part, where there is one.
    private static final int AT_EDGES = 4_000;

    private final PkvmModel model;
    private final World world;
    private final SplittableRandom random;
    private final Haunts haunts;
    private final Plan plan;
    private final HostileVms vms;
    private final HostileSnapshots snapshots;
    private final long inputSize;
    private final long snapshotsIn;

    /// @param demand pages that a snapshot's list must have
    /// @param snapshotsIn one in so many of its ideas is a snapshot
    HostileHost(PkvmModel model, World world, long demand, int snapshotsIn, SplittableRandom random) {
        this.model = model;
        this.world = world;
        this.random = random;
        this.snapshotsIn = snapshotsIn;
        var shape = model.host().optional().orElseThrow().geometry();
        inputSize = shape.inputSize();
        haunts = new Haunts(world, demand, random);
        plan = new Plan(Math.min(2, model.cpus()), random);
        vms = new HostileVms(world, model.addresses(), haunts, plan, shape.rootPages(), random);
        snapshots = new HostileSnapshots(world, model.addresses(), haunts, plan, shape.rootPages(), demand, random);
        if (random.nextInt(4) == 0) {
            sprawl();
        }
        if (random.nextInt(FLOODED) == 0) {
            vms.flood();
        }
    }

    /// Begins with a large run of memory that was lent for a moment, so that all of it has tables of the last level.
    private void sprawl() {
        long pages = Math.min(world.pages / 16L * 15, ((1L << 31) >>> world.shift) - 1);
        for (int i = 0; i < 8; i++) {
            int first = random.nextInt((int) (world.pages - pages));
            if (haunts.run(first, pages)) {
                plan.add(Op.Kind.DONATE, frame(first), pages);
                plan.add(Op.Kind.RETURN, frame(first), pages);
                return;
            }
        }
    }

    /// What it does next; not necessarily possible.
    Op next() {
        while (plan.empty()) {
            idea();
        }
        return plan.next();
    }

    private void idea() {
        if (random.nextLong(snapshotsIn) == 0) {
            snapshots.idea();
            return;
        }
        if (vms.flooding()) {
            vms.idea();
            return;
        }
        int page = haunts.page();
        long frame = frame(page);
        switch (random.nextInt(64)) {
            case 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17 -> toggle(page);
            case 18, 19, 20, 21, 22, 23, 24, 25 -> touch(page);
            case 26, 27, 28, 29, 30, 31 -> touch(haunts.anyPage());
            case 32, 33 -> touchDevice();
            case 34, 35, 36, 37 -> giveBack(frame);
            case 38, 39, 40, 41 -> plan.add(Op.Kind.DONATE, frame, count());
            case 42, 43 -> plan.add(Op.Kind.SHARE_FFA, frame, count());
            case 44, 45 -> release(Op.Kind.UNSHARE_FFA, FFA);
            case 46, 47 -> plan.add(Op.Kind.PIN, frame, 1 + random.nextInt(2));
            case 48, 49 -> release(Op.Kind.UNPIN, PLAIN);
            case 50 -> seldom();
            case 51 -> oddCall();
            case 52, 53 -> vms.idea();
            case 54 -> oddRange();
            case 55, 56, 57 -> plan.hypercall(SHARE_HYP, frame);
            case 58, 59, 60 -> plan.hypercall(UNSHARE_HYP, frame);
            default -> toggle(haunts.anyPage());
        }
    }

    private long frame(int page) {
        return world.address(page) >>> world.shift;
    }

    private void seldom() {
        plan.add(Op.Kind.UNMAP_DEVICES);
        if (random.nextInt(STARVING / 64) == 0) {
            starve();
        }
        if (!world.edges().isEmpty() && random.nextInt(AT_EDGES / 64) == 0) {
            edge();
        }
    }

    /// Shares what is free and takes back what is shared.
    private void toggle(int page) {
        boolean shared = world.host[page] == SHARED && world.hyp[page] == BORROWED;
        plan.hypercall(shared ? UNSHARE_HYP : SHARE_HYP, frame(page));
    }

    // Accesses.

    private void touch(int page) {
        if (!world.accessible(page) && random.nextInt(SUICIDAL) != 0) {
            // What cannot be touched is taken back, if it was lent.
            plan.add(Op.Kind.RETURN, frame(page), 1);
            return;
        }
        long address = world.address(page) + (random.nextInt(1 << (world.shift - 3)) << 3);
        switch (random.nextInt(16)) {
            case 0, 1, 2, 3, 4 -> plan.add(Op.Kind.READ, address);
            case 5, 6, 7, 8, 9 -> plan.add(Op.Kind.WRITE, address, random.nextLong());
            case 10 -> plan.add(Op.Kind.IDMAP, lookup(address));
            case 11 -> across(page);
            default -> plan.add(Op.Kind.FAULT, address);
        }
    }

    /// The lazy map has an answer for every address.
    private long lookup(long address) {
        return switch (random.nextInt(4)) {
            case 0 -> random.nextLong();
            case 1 -> inputSize + ((random.nextLong(3) - 1) << world.shift);
            case 2 -> world.address(haunts.systemPage());
            default -> address;
        };
    }

    /// A word at the end of a page.
    private void across(int page) {
        long address = world.address(page) + (1L << world.shift) - 1 - random.nextInt(7);
        if (world.accessible(world.number(address + 7))) {
            if (random.nextBoolean()) {
                plan.add(Op.Kind.READ, address);
            } else {
                plan.add(Op.Kind.WRITE, address, random.nextLong());
            }
        }
    }

    private void touchDevice() {
        long address = switch (random.nextInt(16)) {
            case 0 -> random.nextLong(inputSize) & -8L;
            case 1 -> random.nextLong(Math.min(inputSize, 1L << 36)) & -8L;
            case 2 -> besideMemory();
            default -> 0x0900_0000L + (random.nextLong(64) << world.shift);
        };
        if (world.accessible(world.number(address))) {
            plan.add(Op.Kind.READ, address);
        }
    }

    /// In a gap, not far from a page of memory.
    private long besideMemory() {
        int page = random.nextInt(world.pages);
        while (page > 0 && world.memory[page] != World.NO_MEMORY) {
            page--;
        }
        return world.address(page) - (page == 0 ? 1L << world.shift : 0);
    }

    // Ownership.

    private long count() {
        return switch (random.nextInt(8)) {
            case 0 -> 16 + random.nextInt(112);
            case 1, 2 -> 2 + random.nextInt(14);
            default -> 1;
        };
    }

    private void giveBack(long frame) {
        int lent = haunts.pageFor(LENT);
        if (world.role[lent] != LENT) {
            plan.add(Op.Kind.DONATE, frame, count());
            return;
        }
        long count = 1;
        while (count < 64 && lent + count < world.pages && world.role[(int) (lent + count)] == LENT) {
            count++;
        }
        plan.add(Op.Kind.RETURN, frame(lent), 1 + random.nextLong(count));
    }

    private void release(Op.Kind kind, byte role) {
        if (kind == Op.Kind.UNSHARE_FFA && random.nextInt(8) == 0) {
            plan.add(kind, frame(haunts.page()), count());
            return;
        }
        for (int i = 0; i < 32; i++) {
            int page = haunts.page();
            if (world.role[page] == role && (kind != Op.Kind.UNPIN || world.loosePins[page] > 0)) {
                plan.add(kind, frame(page), 1);
                return;
            }
        }
        touch(haunts.page());
    }

    /// Somebody else has the pages of a pool, so that there are few or none.
    private void starve() {
        for (int i = random.nextInt(4); i > 0; i--) {
            touchDevice();
        }
        boolean host = random.nextInt(3) != 0;
        boolean hyp = random.nextInt(3) == 0 || !host;
        if (host) {
            take(Op.Kind.TAKE_HOST_POOL, model.primitives().hostPoolFree());
        }
        if (hyp) {
            take(Op.Kind.TAKE_HYP_POOL, model.primitives().hypPoolFree());
        }
        // The base does not ask before it begins; what it can then not end is the end.
        if (random.nextInt(4) == 0) {
            plan.hypercall(SHARE_HYP, frame(haunts.page()));
        }
        snapshots.idea();
        if (host) {
            plan.add(Op.Kind.GIVE_HOST_POOL);
        }
        if (hyp) {
            plan.add(Op.Kind.GIVE_HYP_POOL);
        }
    }

    private void take(Op.Kind kind, long free) {
        plan.add(kind, random.nextInt(8) == 0 ? free + 1 : Math.max(0, free - random.nextInt(24)));
    }

    /// Pages that are memory only in part can be given away in the base; the snapshot call refuses them.
    private void edge() {
        int edge = world.edges().get(random.nextInt(world.edges().size()));
        switch (random.nextInt(4)) {
            case 0 -> plan.hypercall(SHARE_HYP, frame(edge));
            case 1 -> plan.add(Op.Kind.DONATE, frame(edge), 1);
            case 2 -> plan.add(Op.Kind.READ, world.address(edge) + (1L << world.shift) - 8);
            default -> snapshots.at(world.address(edge));
        }
    }

    // Oddities.

    private void oddCall() {
        if (random.nextInt(4) == 0) {
            plan.hypercall(WRITE_VMCR, random.nextInt());
            plan.hypercall(READ_VMCR);
            return;
        }
        long pointer = random.nextBoolean() ? model.addresses().kern(world.address(haunts.page())) : random.nextLong();
        int number = switch (random.nextInt(6)) {
            case 0 -> random.nextInt(8);
            case 1 -> 29 + random.nextInt(100);
            case 2 -> 13;
            case 3 -> 8;
            default -> 11 + 8 * random.nextInt(2);
        };
        plan.hypercall(number, pointer);
    }

    /// Counts and frames that wrap, or end behind everything.
    private void oddRange() {
        long frame = frame(haunts.page());
        long wrap = 1L << (64 - world.shift);
        long count = switch (random.nextInt(6)) {
            case 0 -> 0;
            case 1 -> wrap;
            case 2 -> wrap + 1 + random.nextInt(3);
            case 3 -> wrap - frame;
            case 4 -> random.nextLong();
            default -> world.pages;
        };
        Op.Kind kind = switch (random.nextInt(3)) {
            case 0 -> Op.Kind.SHARE_FFA;
            case 1 -> Op.Kind.PIN;
            default -> Op.Kind.DONATE;
        };
        plan.add(kind, random.nextInt(4) == 0 ? random.nextLong() : frame, count);
    }
}
