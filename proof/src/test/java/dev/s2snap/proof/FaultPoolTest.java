package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.Errno;
import dev.s2snap.model.FailingPages;
import dev.s2snap.model.ModelConfig;
import dev.s2snap.pkvm.MemoryRegion;
import java.util.List;
import java.util.function.Supplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Pools that are empty, for real: each has so many free pages when the call begins, from none to what it needs. That
/// is every allocation of the call made to fail, one at a time, because none is given back before the last is made.
class FaultPoolTest {
    private static final long AT = 0x4004_1000L;
    private static final long LIST = 0x4004_8000L;
    private static final int STRIDE = 40;

    /// What a call takes out of the two pools.
    private record Need(long host, long hyp) {}

    private static HonestSnapshot prepared(Trial trial, int stride) {
        HonestSnapshot snapshot = new HonestSnapshot(trial, AT, LIST, stride);
        snapshot.preparation().forEach(op -> Before.step(trial, op));
        return snapshot;
    }

    private static Need need(Supplier<ModelConfig> machine, int stride) {
        try (Trial trial = new Trial(machine.get())) {
            return counted(trial, prepared(trial, stride));
        }
    }

    private static Need counted(Trial trial, HonestSnapshot snapshot) {
        FailingPages host = FailingPages.ofHost(trial.model());
        FailingPages hyp = FailingPages.ofHyp(trial.model());
        assertThat(Before.step(trial, snapshot.call())).isZero();
        return new Need(host.asked(), hyp.asked());
    }

    /// Leaves so many free pages in the pools; -1 for all.
    private static void drain(Trial trial, long host, long hyp) {
        if (host >= 0) {
            Before.step(
                    trial,
                    new Op(Op.Kind.TAKE_HOST_POOL, trial.model().primitives().hostPoolFree() - host));
        }
        if (hyp >= 0) {
            Before.step(
                    trial,
                    new Op(Op.Kind.TAKE_HYP_POOL, trial.model().primitives().hypPoolFree() - hyp));
        }
    }

    private static void refill(Trial trial) {
        Before.step(trial, new Op(Op.Kind.GIVE_HOST_POOL));
        Before.step(trial, new Op(Op.Kind.GIVE_HYP_POOL));
    }

    /// One machine, whose pools have so many pages left: the call, what it leaves, and that it works with full pools.
    private static void level(Supplier<ModelConfig> machine, int stride, long host, long hyp, boolean enough) {
        try (Trial trial = new Trial(machine.get())) {
            HonestSnapshot snapshot = prepared(trial, stride);
            drain(trial, host, hyp);
            Before before = new Before(trial);
            long answer = Before.audited(trial, snapshot);
            assertThat(Errno.name(answer))
                    .as("%d pages in the host's pool and %d in EL2's", host, hyp)
                    .isEqualTo(enough ? "0" : "-ENOMEM");
            before.nothingChanged();
            refill(trial);
            before = new Before(trial);
            snapshot.steps().forEach(op -> assertThat(Before.step(trial, op)).isZero());
            before.nothingChangedAnywhere();
        }
    }

    private static final Supplier<ModelConfig> SMALL = ModelConfig::small;

    @Test
    void aSnapshotAnswersForWhatTheHostsPoolHas() {
        Need need = need(SMALL, STRIDE);
        assertThat(need.host).isEqualTo(46);
        for (long host = 0; host <= need.host + 1; host++) {
            level(SMALL, STRIDE, host, -1, host >= need.host);
        }
    }

    @Test
    void aSnapshotAnswersForWhatThePoolOfEl2Has() {
        Need need = need(SMALL, STRIDE);
        assertThat(need.hyp).isGreaterThan(40);
        for (long hyp = 0; hyp <= need.hyp + 1; hyp++) {
            level(SMALL, STRIDE, -1, hyp, hyp >= need.hyp);
        }
    }

    /// On the diagonal both run out about the same donation; with `-Ds2snap.faults=all` all levels of both.
    @Test
    void aSnapshotAnswersForWhatBothPoolsHave() {
        Need need = need(SMALL, STRIDE);
        for (long host = 0; host <= need.host + 1; host += FaultDonationTest.ALL ? 1 : 5) {
            for (long hyp = 0; hyp <= need.hyp + 1; hyp += FaultDonationTest.ALL ? 1 : 5) {
                if (FaultDonationTest.ALL || Math.abs(host - hyp) < 5) {
                    level(SMALL, STRIDE, host, hyp, host >= need.host && hyp >= need.hyp);
                }
            }
        }
    }

    // Tables that come back by themselves.

    /// Four regions that end in the middle of a 2 MiB range, whose rest the host maps as a device.
    private static ModelConfig gaps() {
        return ModelConfig.machine(129L << 20, 40, 12, 4);
    }

    private static void touchDevices(Trial trial) {
        List<MemoryRegion> regions = trial.model().config().regions();
        for (MemoryRegion region : regions.subList(0, regions.size() - 1)) {
            assertThat(region.end() % (2 << 20)).isNotZero();
            Before.step(trial, new Op(Op.Kind.READ, region.end()));
        }
    }

    private static long recyclable() {
        try (Trial trial = new Trial(gaps())) {
            touchDevices(trial);
            long before = trial.model().primitives().hostPoolFree();
            Before.step(trial, new Op(Op.Kind.UNMAP_DEVICES));
            return trial.model().primitives().hostPoolFree() - before;
        }
    }

    /// The base unmaps all devices when the pool is empty, and the call counts what that sets free.
    @Test
    void tablesOfDevicesCountAsFree() {
        int stride = 8;
        long need = need(FaultPoolTest::gaps, stride).host;
        long spare = recyclable();
        assertThat(spare).isEqualTo(3);
        assertThat(need).isGreaterThan(spare);
        for (long host = 0; host <= need + 1; host++) {
            try (Trial trial = new Trial(gaps())) {
                touchDevices(trial);
                HonestSnapshot snapshot = prepared(trial, stride);
                drain(trial, host, -1);
                Before before = new Before(trial);
                assertThat(Errno.name(Before.step(trial, snapshot.call())))
                        .as("%d pages and %d of devices for %d", host, spare, need)
                        .isEqualTo(host + spare >= need ? "0" : "-ENOMEM");
                before.nothingChanged();
            }
        }
    }

    // Pairs.

    /// 64K pages: a table page is for 512 MiB, and the buffers of a snapshot are few.
    private static ModelConfig largePages() {
        return ModelConfig.machine(2L << 30, 40, 16, 1);
    }

    /// The list reaches over parts of memory where there are no tables yet.
    private static HonestSnapshot onLargePages(Trial trial) {
        HonestSnapshot snapshot = new HonestSnapshot(trial, 0x4200_0000L, 0x4400_0000L, 900);
        snapshot.preparation().forEach(op -> Before.step(trial, op));
        return snapshot;
    }

    private static Op giveAway(Trial trial, long page) {
        return new Op(Op.Kind.SHARE_FFA, page >>> trial.world().shift, 1);
    }

    private static Op takeBack(Trial trial, long page) {
        return new Op(Op.Kind.UNSHARE_FFA, page >>> trial.world().shift, 1);
    }

    private static Need needOnLargePages() {
        try (Trial trial = new Trial(largePages())) {
            return counted(trial, onLargePages(trial));
        }
    }

    @Test
    void allPairsOfRefusedDonationsOnLargePagesAreRefusedAndLeaveNothing() {
        try (Trial trial = new Trial(largePages())) {
            HonestSnapshot snapshot = onLargePages(trial);
            for (int one = 0; one < snapshot.donations(); one++) {
                for (int other = one; other < snapshot.donations(); other++) {
                    snapshot.preparation().forEach(op -> Before.step(trial, op));
                    Before.step(trial, giveAway(trial, snapshot.donated(one)));
                    Before.step(trial, giveAway(trial, snapshot.donated(other)));
                    Before before = new Before(trial);
                    assertThat(Errno.name(Before.step(trial, snapshot.call()))).isEqualTo("-EPERM");
                    before.nothingChanged();
                    Before.step(trial, takeBack(trial, snapshot.donated(one)));
                    if (other != one) {
                        Before.step(trial, takeBack(trial, snapshot.donated(other)));
                    }
                }
            }
            snapshot.steps().forEach(op -> assertThat(Before.step(trial, op)).isZero());
        }
    }

    /// Whichever the call meets first is the answer. Giving the page away may split a block, for which the call then
    /// needs no page any more.
    @Test
    void allPairsOfARefusedDonationAndALevelOfAPoolOnLargePagesAreErrnosAndLeaveNothing() {
        Need need = needOnLargePages();
        assertThat(need.host).isEqualTo(2);
        assertThat(need.hyp).isGreaterThanOrEqualTo(2);
        int donations = 3 + 30;
        for (int donation = 0; donation < donations; donation++) {
            for (long host = 0; host < need.host; host++) {
                pair(donation, host, -1, need);
            }
            for (long hyp = 0; hyp < need.hyp; hyp++) {
                pair(donation, -1, hyp, need);
            }
        }
        for (long host = 0; host <= need.host; host++) {
            for (long hyp = 0; hyp <= need.hyp; hyp++) {
                pair(-1, host, hyp, need);
            }
        }
    }

    /// @param donation number of the refused one, or -1
    private static void pair(int donation, long host, long hyp, Need needed) {
        try (Trial trial = new Trial(largePages())) {
            HonestSnapshot snapshot = onLargePages(trial);
            assertThat(snapshot.donations()).isEqualTo(33);
            Before first = new Before(trial);
            if (donation >= 0) {
                Before.step(trial, giveAway(trial, snapshot.donated(donation)));
            }
            drain(trial, host, hyp);
            Before before = new Before(trial);
            String answer = Errno.name(Before.step(trial, snapshot.call()));
            if (donation >= 0) {
                assertThat(answer).isIn("-EPERM", "-ENOMEM");
            } else {
                assertThat(answer).isEqualTo(host >= needed.host && hyp >= needed.hyp ? "0" : "-ENOMEM");
            }
            before.nothingChanged();
            refill(trial);
            if (donation >= 0) {
                Before.step(trial, takeBack(trial, snapshot.donated(donation)));
            }
            snapshot.steps().forEach(op -> assertThat(Before.step(trial, op)).isZero());
            first.nothingChanged();
        }
    }

    // The base, whose transitions ask for no memory beforehand.

    /// D-09, which the base has for its own calls: the pool is empty, and that is fatal.
    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void theBasesOwnTransitionsDieOfAnEmptyPool(boolean hostPool) {
        long frame = 0x4100_0000L >>> 12;
        List<Op> calls = List.of(
                Op.hvc(0, 0xC600_0009L, frame), new Op(Op.Kind.DONATE, frame, 1), new Op(Op.Kind.SHARE_FFA, frame, 1));
        List<String> where = List.of("WARN do_share", "WARN do_donate", "WARN do_share");
        for (int call = 0; call < (hostPool ? 3 : 2); call++) {
            try (Trial trial = new Trial(ModelConfig.small())) {
                drain(trial, hostPool ? 0 : -1, hostPool ? -1 : 0);
                assertThat(trial.step(calls.get(call))).isEmpty();
                assertThat(trial.over()).isTrue();
                assertThat(trial.model().panic()).hasMessage(where.get(call));
            }
        }
    }
}
