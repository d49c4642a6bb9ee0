package dev.s2snap.proof;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.SplittableRandom;

/// What a hostile host is going to do next: an idea can be several steps.
final class Plan {
    private static final long HVC = 0xC600_0000L;
    private static final int SVE_HINT = 1 << 16;

    private final SplittableRandom random;
    private final int cpus;
    private final Deque<Op> steps = new ArrayDeque<>();

    Plan(int cpus, SplittableRandom random) {
        this.cpus = cpus;
        this.random = random;
    }

    boolean empty() {
        return steps.isEmpty();
    }

    Op next() {
        return steps.removeFirst();
    }

    void add(Op step) {
        steps.add(step);
    }

    void add(Op.Kind kind, long... arguments) {
        steps.add(new Op(kind, arguments));
    }

    /// A hypercall on some CPU, by its number.
    void hypercall(int number, long... arguments) {
        steps.add(Op.hvc(random.nextInt(cpus), HVC + number + (random.nextInt(16) == 0 ? SVE_HINT : 0), arguments));
    }
}
