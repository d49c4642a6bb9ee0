package dev.s2snap.proof;

import dev.s2snap.model.Errno;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// What must happen: an answer, and which pages change hands. Filled in by the [Oracle] and then only read; one object
/// serves all steps of a trial.
///
/// Where the specification leaves a choice there are two answers. Changes belong to answer 0 or above; with any other
/// nothing changes.
final class Expectation {
    /// No errno.
    static final int PANIC = Integer.MIN_VALUE;

    /// Answers beside the first. NONE if there is no choice.
    static final long NONE = Long.MIN_VALUE + 1;

    private long answer;
    private long also;
    private String bug = "";
    private @Nullable Runnable vm;
    private boolean leaks;
    private boolean loose;
    private boolean mayBeShort;
    private boolean unknowable;
    private int mapped;
    private int snapshot;
    private long room;
    private int root;

    private int changes;
    private int[] first = new int[8];
    private int[] count = new int[8];
    private byte[] host = new byte[8];
    private byte[] hyp = new byte[8];
    private byte[] role = new byte[8];

    private int pins;
    private int[] pinFirst = new int[8];
    private int[] pinCount = new int[8];
    private int[] pinDelta = new int[8];

    /// Pages that EL2 may write to, beside its own tables and pools: those that the call lends.
    private int lent;

    private int[] lentFirst = new int[8];
    private int[] lentCount = new int[8];

    /// Number of single page changes, faults or refusals that this step is.
    private long transitions;

    Expectation reset() {
        answer = 0;
        also = NONE;
        bug = "";
        vm = null;
        leaks = false;
        loose = false;
        mayBeShort = false;
        unknowable = false;
        mapped = -1;
        snapshot = -1;
        room = -1;
        root = -1;
        changes = 0;
        pins = 0;
        lent = 0;
        transitions = 1;
        return this;
    }

    Expectation answers(long value) {
        answer = value;
        return this;
    }

    /// A second answer that is as good.
    Expectation or(long value) {
        also = value;
        return this;
    }

    /// What is expected is a known bug of the base.
    Expectation knownBug(String id) {
        bug = id;
        return this;
    }

    /// Whatever it answers, no world has what comes of it.
    Expectation unknowable() {
        unknowable = true;
        return this;
    }

    boolean isUnknowable() {
        return unknowable;
    }

    /// What becomes of the VMs, if it succeeds.
    Expectation vm(Runnable change) {
        vm = change;
        return this;
    }

    /// The host can reach this page afterwards.
    Expectation maps(int page) {
        mapped = page;
        return this;
    }

    /// A snapshot, whose struct is in this page.
    Expectation snapshotOf(int page) {
        snapshot = page;
        return this;
    }

    /// A snapshot that can fail only for want of room: so many pages for tables, and so many words to list them.
    Expectation room(long tables, long words) {
        room = Math.min(tables, words);
        return or(Errno.ENOMEM);
    }

    /// Where the root of the copy goes.
    Expectation root(int page) {
        root = page;
        return this;
    }

    Expectation change(int page, int pages, byte toHost, byte toHyp, byte forWhat) {
        if (changes == first.length) {
            first = Arrays.copyOf(first, 2 * changes);
            count = Arrays.copyOf(count, 2 * changes);
            host = Arrays.copyOf(host, 2 * changes);
            hyp = Arrays.copyOf(hyp, 2 * changes);
            role = Arrays.copyOf(role, 2 * changes);
        }
        first[changes] = page;
        count[changes] = pages;
        host[changes] = toHost;
        hyp[changes] = toHyp;
        role[changes] = forWhat;
        transitions += pages - (changes == 0 ? 1 : 0);
        changes++;
        return this;
    }

    Expectation pin(int page, int pages, int delta) {
        if (pins == pinFirst.length) {
            pinFirst = Arrays.copyOf(pinFirst, 2 * pins);
            pinCount = Arrays.copyOf(pinCount, 2 * pins);
            pinDelta = Arrays.copyOf(pinDelta, 2 * pins);
        }
        pinFirst[pins] = page;
        pinCount[pins] = pages;
        pinDelta[pins] = delta;
        pins++;
        return this;
    }

    /// Pins of EL2's own code, which it may take back.
    Expectation pinLoosely(int page, int pages, int delta) {
        loose = true;
        return pin(page, pages, delta);
    }

    /// Pins that stay although the call fails (B-12).
    Expectation leaks(int page, int pages) {
        leaks = true;
        return pin(page, pages, 1);
    }

    Expectation lends(int page, int pages) {
        if (lent == lentFirst.length) {
            lentFirst = Arrays.copyOf(lentFirst, 2 * lent);
            lentCount = Arrays.copyOf(lentCount, 2 * lent);
        }
        lentFirst[lent] = page;
        lentCount[lent] = pages;
        lent++;
        return this;
    }

    /// Pages that went to the hypervisor and came back.
    Expectation roundTrips(long pages) {
        transitions += 2 * pages;
        return this;
    }

    /// Answers with which a call fails for want of table pages: nothing has changed, or it is the end.
    Expectation orShort() {
        mayBeShort = true;
        return this;
    }

    boolean allows(long value) {
        return unknowable
                || value == answer
                || (also != NONE && value == also)
                || (mayBeShort && (value == PANIC || value == Errno.ENOMEM));
    }

    /// The answer that it was. With an errno nothing changes.
    void happened(long value) {
        if (value < 0) {
            changes = 0;
            pins = leaks ? pins : 0;
            vm = null;
            mapped = value == Errno.EAGAIN ? mapped : -1;
        }
    }

    long answer() {
        return answer;
    }

    long also() {
        return also;
    }

    String bug() {
        return bug;
    }

    /// Tells the VMs what has become of them.
    void tellVms() {
        Runnable change = vm;
        if (change != null) {
            change.run();
        }
    }

    int mapped() {
        return mapped;
    }

    int snapshot() {
        return snapshot;
    }

    /// Tables that a copy has room for, or -1 if it does not come to that.
    long room() {
        return room;
    }

    /// First page of the copy's root, or -1 if it was not lent.
    int root() {
        return root;
    }

    long transitions() {
        return transitions;
    }

    int changes() {
        return changes;
    }

    int first(int index) {
        return first[index];
    }

    int count(int index) {
        return count[index];
    }

    byte host(int index) {
        return host[index];
    }

    byte hyp(int index) {
        return hyp[index];
    }

    byte role(int index) {
        return role[index];
    }

    int pinned() {
        return pins;
    }

    int pinFirst(int index) {
        return pinFirst[index];
    }

    int pinCount(int index) {
        return pinCount[index];
    }

    int pinDelta(int index) {
        return pinDelta[index];
    }

    boolean pinsAreLoose() {
        return loose;
    }

    int lent() {
        return lent;
    }

    int lentFirst(int index) {
        return lentFirst[index];
    }

    int lentCount(int index) {
        return lentCount[index];
    }
}
