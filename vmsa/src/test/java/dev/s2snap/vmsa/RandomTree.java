package dev.s2snap.vmsa;

import dev.s2snap.vmsa.Finding.Step;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.TreeSet;

/// A table with entries at random places and levels, many of them close together.
final class RandomTree {
    final TestTables tables;
    private final Random random;
    private final TableGeometry geometry;
    private final TreeSet<Long> addresses = new TreeSet<>();

    RandomTree(TableGeometry geometry, Random random, int entries) {
        this.geometry = geometry;
        this.random = random;
        tables = TestTables.of(geometry, 8 * entries + 8);
        addresses.add(0L);
        addresses.add(geometry.inputSize() - 1);
        for (int i = 0; i < entries; i++) {
            edit();
        }
    }

    /// One more entry, somewhere.
    void edit() {
        int level = random.nextInt(3) == 0
                ? random.nextInt(geometry.startLevel(), TableGeometry.LAST_LEVEL + 1)
                : TableGeometry.LAST_LEVEL;
        long address = place(level);
        if (blocked(address, level)) {
            return;
        }
        tables.set(address, level, descriptor(level));
        for (int at = geometry.startLevel(); at <= TableGeometry.LAST_LEVEL; at++) {
            long size = geometry.entrySize(at);
            long start = address & -size;
            for (long edge : new long[] {start - 1, start, start + size - 1, start + size}) {
                if (edge >= 0 && edge < geometry.inputSize()) {
                    addresses.add(edge);
                }
            }
        }
    }

    private long place(int level) {
        long near = random.nextInt(3) * (geometry.inputSize() / 3);
        long far = (long) random.nextInt(4) << geometry.shift(Math.max(geometry.startLevel(), level - 1));
        long step = (long) random.nextInt(6) << geometry.shift(level);
        return (near + far + step) % geometry.inputSize() & -geometry.entrySize(level);
    }

    /// Whether there is a block above, or a table below.
    private boolean blocked(long address, int level) {
        List<Step> path = path(tables.table(), address);
        Step last = path.getLast();
        return last.level() < level ? last.descriptor() != 0 : last.level() > level;
    }

    private long descriptor(int level) {
        return switch (random.nextInt(4)) {
            case 0 -> 0;
            case 1 -> 4;
            case 2 -> 0x7fc | (level == TableGeometry.LAST_LEVEL ? 3 : 1);
            default -> (long) random.nextInt(3) << 53 | 0x7fc | (level == TableGeometry.LAST_LEVEL ? 3 : 1);
        };
    }

    /// Where something can begin or end, ascending.
    List<Long> addresses() {
        return new ArrayList<>(addresses);
    }

    static List<Step> path(TranslationTable table, long address) {
        return switch (table.translate(address)) {
            case Translation.Mapped(List<Step> path, int _, long _, long _) -> path;
            case Translation.Fault(List<Step> path, int _, long _) -> path;
            case Translation.Unreadable(List<Step> path, int _, long _) -> path;
            case Translation.OutOfRange _ -> throw new AssertionError("no such address");
        };
    }

    /// Level and value of the entry at which a walk ends.
    static String last(TranslationTable table, long address) {
        Step last = path(table, address).getLast();
        return last.level() + ":" + last.descriptor();
    }
}
