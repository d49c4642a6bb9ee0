package dev.s2snap.proof;

import dev.s2snap.model.PkvmModel;
import java.util.ArrayList;
import java.util.List;

/// The steps of a host that asks for a snapshot as it should, from the buffers to the call; a test changes a field and
/// has a host that does not. Addresses are physical.
final class HonestSnapshot {
    private static final long SNAPSHOT = 0xC600_001CL;

    private final PkvmModel model;
    private final long page;
    final long demand;
    long struct;
    long pgd;
    long pgdPages;
    long array;
    long arrayPages;
    long index;
    long list;
    final long stride;
    long head;
    long listPages;

    /// Struct, PGD and array one behind the other from `at` on, and the list from `list` on.
    ///
    /// @param stride pages from one page of the list to the next
    HonestSnapshot(Trial trial, long at, long list, long stride) {
        model = trial.model();
        page = 1L << trial.world().shift;
        demand = new SnapshotOracle(trial.world(), trial.scene()).demand();
        struct = at;
        pgd = at + page;
        pgdPages = trial.scene().rootPages();
        array = pgd + pgdPages * page;
        arrayPages = Math.ceilDiv(demand * Long.BYTES, page);
        this.list = list;
        this.stride = stride;
        listPages = demand;
        // The host links each page to the one before it, so the last one is the head.
        head = listPage(0);
    }

    /// Page of the list by the order in which the call takes them.
    private long listPage(long order) {
        return list + (demand - 1 - order) * stride * page;
    }

    /// What the host stores before the call.
    List<Op> preparation() {
        return List.of(
                new Op(Op.Kind.LIST, list, demand, stride, 0),
                new Op(Op.Kind.STRUCT, struct, head, listPages, pgd, pgdPages, array, arrayPages, index));
    }

    Op call() {
        return Op.hvc(0, SNAPSHOT, pointer());
    }

    long pointer() {
        return model.addresses().kern(struct);
    }

    /// All steps.
    List<Op> steps() {
        List<Op> steps = new ArrayList<>(preparation());
        steps.add(call());
        return steps;
    }

    /// Number of donations that the call makes: struct, PGD, list pages, array.
    int donations() {
        return Math.toIntExact(3 + listPages);
    }

    /// The last page of what donation `number` takes.
    long donated(int number) {
        if (number == 0) {
            return struct;
        }
        if (number == 1) {
            return pgd + (pgdPages - 1) * page;
        }
        return number < 2 + listPages ? listPage(number - 2) : array + (arrayPages - 1) * page;
    }
}
