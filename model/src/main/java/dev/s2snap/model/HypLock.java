package dev.s2snap.model;

import org.jspecify.annotations.Nullable;

/// A spinlock of EL2. Not recursive; taking it twice on one CPU would spin for ever, hence is a bug of the model.
final class HypLock {
    private final String name;
    private boolean held;
    private @Nullable Runnable onRelease;

    HypLock(String name) {
        this.name = name;
    }

    void lock() {
        if (held) {
            throw new IllegalStateException("deadlock: " + name + " lock taken twice");
        }
        held = true;
    }

    void unlock() {
        held = false;
        if (onRelease != null) {
            onRelease.run();
        }
    }

    boolean held() {
        return held;
    }

    /// Runs `action` after each release; null for none.
    void onRelease(@Nullable Runnable action) {
        onRelease = action;
    }
}
