package dev.s2snap.proof;

import dev.s2snap.model.AddressMap;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/// The snapshot calls of a hostile host. Each begins as a valid one and then goes wrong in none, one or two of the ways
/// in which a struct, a list or a buffer can.
final class HostileSnapshots {
    private static final int SNAPSHOT = 28;

    private final World world;
    private final AddressMap map;
    private final Haunts haunts;
    private final Plan plan;
    private final int rootPages;
    private final long demand;
    private final SplittableRandom random;

    /// @param demand pages that a list must have
    HostileSnapshots(
            World world,
            AddressMap map,
            Haunts haunts,
            Plan plan,
            int rootPages,
            long demand,
            SplittableRandom random) {
        this.world = world;
        this.map = map;
        this.haunts = haunts;
        this.plan = plan;
        this.rootPages = rootPages;
        this.demand = demand;
        this.random = random;
    }

    /// A call as it should be; then one or two things are not.
    private final class Request {
        int struct = haunts.freePages(1, 1);
        long pgd = world.address(haunts.freePages(rootPages, 1));
        long pgdPages = rootPages;
        long list = world.address(haunts.freePages(demand, 1));
        long head;
        long listPages = demand;
        long array;
        long arrayPages = Math.max(1, (demand * 8 + (1L << world.shift) - 1) >>> world.shift);
        long index;
        long pointer;
        final List<Op> behind = new ArrayList<>();

        Request() {
            array = world.address(haunts.freePages(arrayPages, 1));
            head = list + ((listPages - 1) << world.shift);
            pointer = map.kern(world.address(struct));
        }
    }

    void idea() {
        Request request = new Request();
        int wrongs = random.nextInt(3);
        for (int i = 0; i < wrongs; i++) {
            goWrong(request);
        }
        make(request);
    }

    /// A call of which one buffer is at a given address.
    void at(long address) {
        Request request = new Request();
        switch (random.nextInt(4)) {
            case 0 -> request.struct = world.number(address);
            case 1 -> request.pgd = address;
            case 2 -> request.head = address;
            default -> request.array = address;
        }
        request.pointer = map.kern(world.address(request.struct));
        make(request);
    }

    private void make(Request request) {
        plan.add(Op.Kind.LIST, request.list, demand, 1, 0);
        plan.add(
                Op.Kind.STRUCT,
                world.address(request.struct),
                request.head,
                request.listPages,
                request.pgd,
                request.pgdPages,
                request.array,
                request.arrayPages,
                request.index);
        request.behind.forEach(plan::add);
        plan.hypercall(SNAPSHOT, request.pointer);
    }

    /// A page that somebody has: the host, the hypervisor, or this very call.
    private long somePage(Request request) {
        return switch (random.nextInt(8)) {
            case 0 -> world.address(request.struct);
            case 1 -> request.pgd;
            case 2 -> request.array;
            case 3 -> request.list + (random.nextLong(demand) << world.shift);
            case 4 -> world.address(haunts.page());
            case 5 -> world.address(haunts.sharedPage());
            default -> world.address(haunts.systemPage());
        };
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
        request.pgd = world.address(haunts.freePages(request.pgdPages, 1));
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
