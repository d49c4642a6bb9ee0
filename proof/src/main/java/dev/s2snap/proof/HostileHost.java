package dev.s2snap.proof;

import static dev.s2snap.proof.World.ALLOWED;
import static dev.s2snap.proof.World.BORROWED;
import static dev.s2snap.proof.World.FFA;
import static dev.s2snap.proof.World.LENT;
import static dev.s2snap.proof.World.NOPAGE;
import static dev.s2snap.proof.World.OWNED;
import static dev.s2snap.proof.World.PLAIN;
import static dev.s2snap.proof.World.SHARED;
import static dev.s2snap.proof.World.SYSTEM;

import dev.s2snap.model.AddressMap;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.VmStructs;
import dev.s2snap.proof.World.Vm;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.SplittableRandom;

/// A host that makes things up: valid calls, nearly valid ones, and hostile ones. What it does next depends on the seed
/// and on the [World], so a seed is a trial.
///
/// It knows who owns what, as a host does that keeps books, and goes back to the same pages, because that is where
/// states meet. A snapshot is what it puts most thought into: each begins as a valid call and then goes wrong in one or
/// two of the ways in which a struct, a list or a buffer can.
final class HostileHost {
    private static final long HVC = 0xC600_0000L;
    private static final int SHARE_HYP = 9;
    private static final int UNSHARE_HYP = 10;
    private static final int INIT_VM = 25;
    private static final int INIT_VCPU = 26;
    private static final int TEARDOWN_VM = 27;
    private static final int SNAPSHOT = 28;

    /// Pages that it goes back to.
    private static final int HAUNTS = 192;

    /// How often it does what ends a machine of the base: one in so many.
    private static final int SUICIDAL = 20_000;

    private final World world;
    private final AddressMap map;
    private final SplittableRandom random;
    private final Deque<Op> planned = new ArrayDeque<>();
    private final int[] haunts = new int[HAUNTS];
    private final int quiet;
    private final int quietPages;
    private final int rootPages;
    private final long demand;
    private final long snapshotsIn;

    /// @param demand pages that a snapshot's list must have
    /// @param snapshotsIn one in so many of its ideas is a snapshot
    HostileHost(PkvmModel model, World world, long demand, int snapshotsIn, SplittableRandom random) {
        this.world = world;
        this.map = model.addresses();
        this.random = random;
        this.demand = demand;
        this.snapshotsIn = snapshotsIn;
        rootPages = model.host().optional().orElseThrow().geometry().rootPages();
        quietPages = (int) Math.min(world.pages / 4, 2 * (demand + 64));
        quiet = freePages(quietPages, 1);
        int around = random.nextInt(world.pages);
        for (int i = 0; i < HAUNTS; i++) {
            int near = Math.floorMod(around + random.nextInt(2048), world.pages);
            haunts[i] = i % 2 == 0 && !quiet(near) ? near : anyPage();
        }
        if (random.nextInt(4) == 0) {
            sprawl();
        }
    }

    /// Begins with a large run of memory that was lent for a moment, so that all of it has tables of the last level.
    private void sprawl() {
        long pages = Math.min(world.pages / 16L * 15, ((1L << 31) >>> world.shift) - 1);
        for (int i = 0; i < 8; i++) {
            int first = random.nextInt((int) (world.pages - pages));
            if (run(first, pages)) {
                long frame = world.address(first) >>> world.shift;
                add(Op.Kind.DONATE, frame, pages);
                add(Op.Kind.RETURN, frame, pages);
                return;
            }
        }
    }

    /// What it does next; not necessarily possible.
    Op next() {
        if (planned.isEmpty()) {
            plan();
        }
        return planned.removeFirst();
    }

    private void plan() {
        if (random.nextLong(snapshotsIn) == 0) {
            snapshot();
            return;
        }
        int page = page();
        long frame = world.address(page) >>> world.shift;
        switch (random.nextInt(64)) {
            case 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17 -> toggle(page, frame);
            case 18, 19, 20, 21, 22, 23, 24, 25 -> touch(page);
            case 26, 27, 28, 29, 30, 31 -> touch(anyPage());
            case 32, 33 -> touchDevice();
            case 34, 35, 36, 37 -> give(frame, donated());
            case 38, 39, 40, 41 -> lend(Op.Kind.DONATE, frame);
            case 42, 43 -> lend(Op.Kind.SHARE_FFA, frame);
            case 44, 45 -> release(Op.Kind.UNSHARE_FFA, FFA);
            case 46, 47 -> add(Op.Kind.PIN, frame, 1 + random.nextInt(2));
            case 48, 49 -> release(Op.Kind.UNPIN, PLAIN);
            case 50 -> add(Op.Kind.UNMAP_DEVICES);
            case 51 -> oddCall();
            case 52, 53 -> vm();
            case 54 -> oddRange();
            case 55, 56, 57 -> hypercall(SHARE_HYP, frame);
            case 58, 59, 60 -> hypercall(UNSHARE_HYP, frame);
            default -> toggle(anyPage(), 0);
        }
    }

    // Pages.

    private int page() {
        return random.nextInt(4) == 0 ? anyPage() : haunts[random.nextInt(HAUNTS)];
    }

    /// A page of memory, seldom one of those that it keeps for snapshots.
    private int anyPage() {
        int page = random.nextInt(world.pages);
        while (quiet(page) && random.nextInt(256) != 0) {
            page = random.nextInt(world.pages);
        }
        return page;
    }

    private boolean quiet(int page) {
        return page >= quiet && page < quiet + quietPages;
    }

    /// A page of the hypervisor's own.
    private int systemPage() {
        for (int i = 0; i < 64; i++) {
            int page = random.nextInt(world.pages);
            if (world.role[page] == SYSTEM) {
                return page;
            }
        }
        return page();
    }

    /// The first of so many pages in a row that the host may give away, or any page if it finds none.
    private int freePages(long count, int alignment) {
        if (count > 64 && quietPages > count && random.nextInt(4) != 0) {
            int first = quiet + random.nextInt((int) (quietPages - count));
            if (run(first, count)) {
                return first;
            }
        }
        int tries = count > 64 ? 16 : 32;
        for (int i = 0; i < tries; i++) {
            int first = anyPage() / alignment * alignment;
            if (run(first, count)) {
                return first;
            }
        }
        return random.nextInt(world.pages);
    }

    private boolean run(int first, long count) {
        if (count > world.pages - first) {
            return false;
        }
        for (int page = first; page < first + count; page++) {
            if (!world.free(page)) {
                return false;
            }
        }
        return true;
    }

    private void add(Op.Kind kind, long... arguments) {
        planned.add(new Op(kind, arguments));
    }

    private void hypercall(int number, long... arguments) {
        planned.add(Op.hvc(random.nextInt(2), HVC + number + (random.nextInt(16) == 0 ? 1 << 16 : 0), arguments));
    }

    // Ideas.

    /// Shares what is free and takes back what is shared.
    private void toggle(int page, long frame) {
        long at = frame != 0 ? frame : world.address(page) >>> world.shift;
        hypercall(world.host[page] == SHARED && world.hyp[page] == BORROWED ? UNSHARE_HYP : SHARE_HYP, at);
    }

    private void touch(int page) {
        if (!world.accessible(page) && random.nextInt(SUICIDAL) != 0) {
            return_(page);
            return;
        }
        long address = world.address(page) + (random.nextInt(1 << (world.shift - 3)) << 3);
        switch (random.nextInt(3)) {
            case 0 -> add(Op.Kind.READ, address);
            case 1 -> add(Op.Kind.WRITE, address, random.nextLong());
            default -> add(Op.Kind.FAULT, address);
        }
    }

    /// What cannot be touched is taken back, if it was lent.
    private void return_(int page) {
        long frame = world.address(page) >>> world.shift;
        add(Op.Kind.RETURN, frame, 1);
    }

    private void touchDevice() {
        long address = random.nextInt(8) == 0
                ? random.nextLong(1L << 36) & -8L
                : 0x0900_0000L + (random.nextLong(64) << world.shift);
        if (world.accessible(world.number(address))) {
            add(Op.Kind.READ, address);
        } else {
            add(Op.Kind.UNMAP_DEVICES);
        }
    }

    private long count() {
        return switch (random.nextInt(8)) {
            case 0 -> 16 + random.nextInt(112);
            case 1, 2 -> 2 + random.nextInt(14);
            default -> 1;
        };
    }

    private void lend(Op.Kind kind, long frame) {
        add(kind, frame, count());
    }

    private int donated() {
        for (int i = 0; i < 16; i++) {
            int page = page();
            if (world.role[page] == LENT) {
                return page;
            }
        }
        return -1;
    }

    private void give(long frame, int lent) {
        if (lent < 0) {
            lend(Op.Kind.DONATE, frame);
            return;
        }
        long count = 1;
        while (count < 64 && lent + count < world.pages && world.role[(int) (lent + count)] == LENT) {
            count++;
        }
        add(Op.Kind.RETURN, world.address(lent) >>> world.shift, 1 + random.nextLong(count));
    }

    private void release(Op.Kind kind, byte role) {
        for (int i = 0; i < 32; i++) {
            int page = page();
            if (world.role[page] == role && (kind != Op.Kind.UNPIN || world.loosePins[page] > 0)) {
                add(kind, world.address(page) >>> world.shift, 1);
                return;
            }
        }
        touch(page());
    }

    private void oddCall() {
        long pointer = random.nextBoolean() ? map.kern(world.address(page())) : random.nextLong();
        int number = switch (random.nextInt(6)) {
            case 0 -> random.nextInt(8);
            case 1 -> 29 + random.nextInt(100);
            case 2 -> 13;
            case 3 -> 8;
            default -> 11 + 8 * random.nextInt(2);
        };
        hypercall(number, pointer);
    }

    /// Counts and frames that wrap, or end behind everything.
    private void oddRange() {
        long frame = world.address(page()) >>> world.shift;
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
        add(kind, random.nextInt(4) == 0 ? random.nextLong() : frame, count);
    }

    // VMs.

    private void vm() {
        List<Vm> vms = new ArrayList<>(world.vms.values());
        if (vms.isEmpty() || (vms.size() < 6 && random.nextInt(3) == 0)) {
            createVm();
            return;
        }
        Vm vm = vms.get(random.nextInt(vms.size()));
        switch (random.nextInt(4)) {
            case 0 -> hypercall(TEARDOWN_VM, 0x1000 + vm.slot() + (random.nextInt(8) == 0 ? 1 : 0));
            default -> addVcpu(vm);
        }
    }

    private void createVm() {
        int kvm = freePages(1, 1);
        int vcpus = random.nextInt(8) == 0 ? 0 : 1 + random.nextInt(3);
        long areaPages = (VmStructs.vmArea(vcpus) + (1L << world.shift) - 1) >>> world.shift;
        int area = freePages(areaPages, 1);
        int root = freePages(rootPages, random.nextInt(2000) == 0 ? 1 : rootPages);
        if (!world.accessible(kvm)) {
            return_(kvm);
            return;
        }
        add(Op.Kind.WRITE, world.address(kvm) + VmStructs.KVM_CREATED_VCPUS, vcpus);
        if (random.nextInt(16) != 0) {
            hypercall(SHARE_HYP, world.address(kvm) >>> world.shift);
        }
        if ((world.address(root) & ((long) rootPages << world.shift) - 1) != 0 && random.nextInt(SUICIDAL) != 0) {
            return;
        }
        hypercall(INIT_VM, kern(kvm), kern(area), kern(root));
    }

    private void addVcpu(Vm vm) {
        int host = freePages(2, 1);
        int area = freePages((VmStructs.HYP_VCPU_SIZE + (1L << world.shift) - 1) >>> world.shift, 1);
        if (!run(host, 2)) {
            return_(host);
            return;
        }
        // A wrong index leaves a pin behind for ever (B-12); not too often, or no page is left.
        int index = random.nextInt(64) == 0 ? 7 : vm.vcpus().size();
        add(Op.Kind.WRITE, world.address(host) + VmStructs.VCPU_KVM, map.kern(vm.kvm()));
        add(Op.Kind.WRITE, world.address(host) + VmStructs.VCPU_INDEX, index);
        add(Op.Kind.WRITE, vm.kvm() + VmStructs.KVM_HANDLE, 0x1000 + vm.slot());
        for (int page = host; page < host + (random.nextInt(16) == 0 ? 1 : 2); page++) {
            hypercall(SHARE_HYP, world.address(page) >>> world.shift);
        }
        hypercall(INIT_VCPU, 0x1000 + vm.slot() + (random.nextInt(16) == 0 ? 3 : 0), kern(host), kern(area));
        if (random.nextBoolean()) {
            // Follows pointers: only where EL2 can.
            hypercall(UNSHARE_HYP, world.address(host) >>> world.shift);
        }
    }

    private long kern(int page) {
        return map.kern(world.address(page));
    }

    // Snapshots.

    /// A call as it should be; then one or two things are not.
    private final class Request {
        int struct = freePages(1, 1);
        long pgd = world.address(freePages(rootPages, 1));
        long pgdPages = rootPages;
        long list = world.address(freePages(demand, 1));
        long head;
        long listPages = demand;
        long array;
        long arrayPages = Math.max(1, (demand * 8 + (1L << world.shift) - 1) >>> world.shift);
        long index;
        long pointer;
        final List<Op> behind = new ArrayList<>();

        Request() {
            array = world.address(freePages(arrayPages, 1));
            head = list + ((listPages - 1) << world.shift);
            pointer = kern(struct);
        }
    }

    private void snapshot() {
        Request request = new Request();
        int wrongs = random.nextInt(3);
        for (int i = 0; i < wrongs; i++) {
            goWrong(request);
        }
        add(Op.Kind.LIST, request.list, demand, 1, 0);
        add(
                Op.Kind.STRUCT,
                world.address(request.struct),
                request.head,
                request.listPages,
                request.pgd,
                request.pgdPages,
                request.array,
                request.arrayPages,
                request.index);
        planned.addAll(request.behind);
        hypercall(SNAPSHOT, request.pointer);
    }

    /// A page that somebody has: the host, the hypervisor, or this very call.
    private long somePage(Request request) {
        return switch (random.nextInt(8)) {
            case 0 -> world.address(request.struct);
            case 1 -> request.pgd;
            case 2 -> request.array;
            case 3 -> request.list + (random.nextLong(demand) << world.shift);
            case 4 -> world.address(page());
            case 5 -> sharedPage();
            default -> world.address(systemPage());
        };
    }

    private long sharedPage() {
        for (int i = 0; i < 64; i++) {
            int page = page();
            if (world.memory[page] == ALLOWED && world.host[page] != OWNED && world.host[page] != NOPAGE) {
                return world.address(page);
            }
        }
        return world.address(page());
    }

    private long oddCount(long right) {
        long wrap = 1L << (64 - world.shift);
        return switch (random.nextInt(8)) {
            case 0, 1 -> 0;
            case 2 -> right - 1;
            case 3 -> right + 1;
            case 4 -> wrap;
            case 5 -> wrap + 1;
            case 6 -> 1;
            default -> random.nextLong(2 * right + 2);
        };
    }

    /// A root of 2 GiB.
    private void huge(Request request) {
        request.pgdPages = (1L << 31) >>> world.shift;
        request.pgd = world.address(freePages(request.pgdPages, 1));
    }

    private void goWrong(Request request) {
        // Where there is so much memory, these are worth a try: 2 GiB at once, and more tables than a page can list.
        boolean large = world.pages > (1L << 31) >>> world.shift;
        boolean manyTables = world.pages >>> (world.shift - 3) > 1 << (world.shift - 3);
        int idea = random.nextInt(16);
        if (large && idea < 5) {
            huge(request);
            return;
        }
        if (manyTables && idea < 8) {
            request.arrayPages = 1;
            return;
        }
        switch (random.nextInt(13)) {
            case 0, 1 -> {
                request.index = 1L + random.nextInt(3);
                for (int i = 0; i < request.index; i++) {
                    planWrite(request, request.array + i * 8L, somePage(request));
                }
            }
            case 2 -> request.arrayPages = random.nextInt(3) == 0 ? 1 : oddCount(request.arrayPages);
            case 3 -> request.pgdPages = oddCount(request.pgdPages);
            case 4 -> request.listPages = oddCount(request.listPages);
            case 5 -> {
                request.arrayPages = random.nextBoolean() ? 0 : 1;
                request.array = somePage(request);
            }
            case 6 -> {
                request.pgdPages = oddCount(request.pgdPages);
                request.pgd = somePage(request);
            }
            case 7 -> request.head = somePage(request) + (random.nextInt(3) == 0 ? 8 : 0);
            case 8, 9 -> {
                long page = request.list + (random.nextLong(demand) << world.shift);
                planWrite(request, page, somePage(request) + (random.nextInt(6) == 0 ? 4 : 0));
            }
            case 10 -> request.array = somePage(request) + (random.nextInt(4) == 0 ? 16 : 0);
            case 11 -> request.pgd = somePage(request) + (random.nextInt(4) == 0 ? 32 : 0);
            default ->
                request.pointer = switch (random.nextInt(3)) {
                    case 0 -> map.kern(somePage(request));
                    case 1 -> request.pointer + 8;
                    default -> random.nextLong();
                };
        }
    }

    /// The host writes to its own page behind the preparation, before the call.
    private void planWrite(Request request, long address, long value) {
        if (world.accessible(world.number(address))) {
            request.behind.add(new Op(Op.Kind.WRITE, address, value));
        }
    }
}
