package dev.s2snap.proof;

import static dev.s2snap.proof.World.ALLOWED;
import static dev.s2snap.proof.World.NOPAGE;
import static dev.s2snap.proof.World.OWNED;
import static dev.s2snap.proof.World.SYSTEM;

import java.util.SplittableRandom;

/// Which pages a hostile host takes: those it goes back to, because that is where states meet, and now and then any.
///
/// Two parts of memory it leaves alone nearly always: one that stays free for large buffers, and the beginning, where
/// the machine's own kernel takes its pages.
final class Haunts {
    private static final int NUMBER = 192;

    /// It takes a page of those parts once in so many times that it comes across one.
    private static final int BOLD = 256;

    /// The part of memory that is the kernel's: one of so many, at the beginning.
    static final int KERNEL_SHARE = 8;

    private final World world;
    private final SplittableRandom random;
    private final int[] haunts = new int[NUMBER];
    private final int kernel;
    private final int quiet;
    private final int quietPages;

    /// @param large pages of the largest buffer that is needed often
    Haunts(World world, long large, SplittableRandom random) {
        this.world = world;
        this.random = random;
        kernel = world.pages / KERNEL_SHARE;
        quietPages = (int) Math.min(world.pages / 4, 2 * (large + 64));
        quiet = freePages(quietPages, 1);
        int around = random.nextInt(world.pages);
        for (int i = 0; i < NUMBER; i++) {
            int near = Math.floorMod(around + random.nextInt(2048), world.pages);
            haunts[i] = i % 2 == 0 && !quiet(near) ? near : anyPage();
        }
    }

    int page() {
        return random.nextInt(4) == 0 ? anyPage() : haunts[random.nextInt(NUMBER)];
    }

    int anyPage() {
        int page = random.nextInt(world.pages);
        while (quiet(page) && random.nextInt(BOLD) != 0) {
            page = random.nextInt(world.pages);
        }
        return page;
    }

    private boolean quiet(int page) {
        return page < kernel || (page >= quiet && page < quiet + quietPages);
    }

    /// A page of the hypervisor's own.
    int systemPage() {
        for (int i = 0; i < 64; i++) {
            int page = random.nextInt(world.pages);
            if (world.role[page] == SYSTEM) {
                return page;
            }
        }
        return page();
    }

    /// A page that the host shares or borrows.
    int sharedPage() {
        for (int i = 0; i < 64; i++) {
            int page = page();
            if (world.memory[page] == ALLOWED && world.host[page] != OWNED && world.host[page] != NOPAGE) {
                return page;
            }
        }
        return page();
    }

    /// A page that the hypervisor has for a reason, or any if it finds none.
    int pageFor(byte role) {
        for (int i = 0; i < 32; i++) {
            int page = page();
            if (world.role[page] == role) {
                return page;
            }
        }
        return page();
    }

    /// The first of so many pages in a row that the host may give away, or any page if it finds none.
    ///
    /// @param alignment of the first page's number from the start of memory
    int freePages(long count, int alignment) {
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

    /// Whether the host may give away so many pages from `first` on.
    boolean run(int first, long count) {
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
}
