package dev.s2snap.inspect;

/// Says what it means that one thing became another. The most telling meaning is the one: who has the memory, with whom
/// it is shared, what is mapped, and only then how.
final class DiffMeaning {
    private DiffMeaning() {}

    /// @param host whether it is the host's table, where memory is given away and taken back
    static String of(DiffEntry old, DiffEntry now, boolean host) {
        if (old.holder().isPresent() && now.holder().isPresent()) {
            DiffHolder before = old.holder().get();
            DiffHolder after = now.holder().get();
            if (!before.sameOwner(after)) {
                // Memory that is not the host's: devices, and what no memory map lists.
                if (old.empty() && now.empty() && old.owner().words().isEmpty()) {
                    return "mapped by hyp";
                }
                if (old.empty() && now.empty() && now.owner().words().isEmpty()) {
                    return "unmapped by hyp";
                }
                return host ? ownerChanged(before, after) : "state changed";
            }
            if (!before.sharedWith().equals(after.sharedWith())) {
                return shared(after.sharedWith());
            }
            if (before.guests() != after.guests()) {
                return "shared with another number of VMs";
            }
        }
        return entryChanged(old, now);
    }

    private static String ownerChanged(DiffHolder before, DiffHolder after) {
        if (before.owner().equals(DiffHolder.CONTRADICTION)) {
            return "states contradict each other no longer";
        }
        return switch (after.owner()) {
            case DiffHolder.HOST_NAME -> "returned to host";
            case DiffHolder.HYP_NAME -> "donated to hyp";
            case DiffHolder.NOBODY -> "taken from its owner";
            case DiffHolder.POISONED -> "taken back by force";
            case DiffHolder.CONTRADICTION -> "states contradict each other";
            default -> after.sharedWith().isEmpty() ? "donated to " + after.owner() : "shared by a VM with host";
        };
    }

    private static String shared(String with) {
        return with.isEmpty() ? "unshared" : "shared with " + with;
    }

    private static String entryChanged(DiffEntry old, DiffEntry now) {
        if (old.mapped() != now.mapped()) {
            return now.mapped() ? "mapped" : "unmapped";
        }
        if (old.empty() && now.empty()) {
            // Whose it is has not changed: that it is memory is told of one of them only.
            return old.owner().words().isEmpty()
                    ? "memory added"
                    : now.owner().words().isEmpty() ? "memory removed" : "state changed";
        }
        if (old.form() == DiffEntry.Form.TABLE) {
            return "table descriptor changed";
        }
        if (!old.mapped() && (old.empty() || now.empty() || old.shift().equals(now.shift()))) {
            return old.form() == DiffEntry.Form.INVALID || now.form() == DiffEntry.Form.INVALID
                    ? "invalid entry changed"
                    : "annotation changed";
        }
        if (!old.permissions().equals(now.permissions())) {
            return "permission changed";
        }
        if (old.distance().isPresent()
                && now.distance().isPresent()
                && !old.distance().equals(now.distance())) {
            return "maps elsewhere";
        }
        if (old.whole() && now.whole() && !old.memory().equals(now.memory())) {
            return "memory type changed";
        }
        if (old.shift().isPresent() && now.shift().isPresent()) {
            int change = now.shift().getAsInt() - old.shift().getAsInt();
            return change == 0 ? "attributes changed" : change < 0 ? "split" : "coalesced";
        }
        int change = now.level().orElse(0) - old.level().orElse(0);
        return change == 0 ? "attributes changed" : change > 0 ? "split" : "coalesced";
    }
}
