package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.model.HostGuest.Access;
import dev.s2snap.model.HostGuest.Backing;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TableCounts;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// What EL1 does for a guest: its table, faults, and that nothing is left when it is gone.
class HostGuestTest {
    private static final long PAGE = 0x1000;
    private static final long CODE = 0x4000_0000L;
    private static final long DATA = 0x8000_0000L;

    /// Attributes of pages: RWX and RW without FWB, RO, as the captures of 6.12 have them.
    private static final long RWX = 0x7ff;

    private static final long XN = 1L << 54;
    private static final long RW = RWX | XN;
    private static final long RO = 0x77f | XN;

    private final PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED);
    private final HostKvm kvm = model.hostKernel().kvm();
    private final long free = model.hostKernel().pagesAvailable();

    @AfterEach
    void closeTheMachine() {
        assertThat(model.panic()).isNull();
        model.close();
    }

    private HostGuest guest() {
        return kvm.create(42, 7, 0, 1);
    }

    private static List<String> leaves(HostGuest guest) {
        TranslationTable table = guest.table();
        assertThat(table).isNotNull();
        LeafRuns.Result result = LeafRuns.of(table);
        assertThat(result.findings()).isEmpty();
        return result.runs().stream()
                .map(run -> "%x-%x %s %x".formatted(run.start(), run.end(), run.kind(), run.bits()))
                .toList();
    }

    @ParameterizedTest
    @CsvSource({
        // SPEC 1.2: page shift, PARange, IPA bits, start level, root pages, VTCR_EL2
        "12, 32, 32, 2, 4, 0x80283520",
        "12, 36, 36, 1, 1, 0x8029355c",
        "12, 40, 40, 1, 2, 0x802a3558",
        "12, 42, 42, 1, 8, 0x802b3556",
        "12, 44, 44, 0, 1, 0x802c3594",
        "12, 48, 48, 0, 1, 0x802d3590",
        "12, 52, 52, 0, 16, 0x1802e358c",
        "14, 36, 36, 2, 1, 0x8029b55c",
        "14, 40, 40, 2, 16, 0x802ab558",
        "14, 42, 42, 1, 1, 0x802bb596",
        "14, 48, 48, 1, 2, 0x802db590",
        "14, 52, 52, 0, 1, 0x1802eb5cc",
        "16, 40, 40, 2, 1, 0x802a7558",
        "16, 44, 44, 2, 4, 0x802c7554",
        "16, 48, 48, 1, 1, 0x802d7590",
        "16, 52, 52, 1, 1, 0x802e758c",
        // Smaller guests on a machine of 48 bits; PS stays the machine's.
        "12, 48, 33, 2, 8, 0x802d351f",
        "12, 48, 43, 1, 16, 0x802d3555",
        "12, 48, 32, 2, 4, 0x802d3520",
    })
    void aGuestsTableHasTheShapeOfItsInputSize(
            int pageShift, int paRange, int bits, int startLevel, int rootPages, String vtcr) {
        try (PkvmModel machine = new PkvmModel(ModelConfig.machine(256L << 20, paRange, pageShift, 1))) {
            assertThat(machine.init()).isZero();
            HostGuest guest = machine.hostKernel().kvm().create(1, 3, bits, 1);

            assertThat(guest.geometry().inputBits()).isEqualTo(bits);
            assertThat(guest.geometry().startLevel()).isEqualTo(startLevel);
            assertThat(guest.geometry().rootPages()).isEqualTo(rootPages);
            assertThat(guest.vtcr()).isEqualTo(Long.decode(vtcr));
            // Concatenated tables are aligned to their size.
            assertThat(guest.root() % ((long) rootPages << pageShift)).isZero();
            if (bits == paRange) {
                assertThat(guest.vtcr()).isEqualTo(machine.el2().vtcr());
                assertThat(machine.hostKernel().kvm().create(1, 4, 0, 1).geometry())
                        .isEqualTo(guest.geometry());
            }
            guest.addMemory(1L << (bits - 1), 1L << pageShift, Backing.PAGES, false);
            assertThat(guest.fault(1L << (bits - 1), Access.WRITE)).isZero();
            assertThat(machine.guests()).singleElement().satisfies(known -> {
                assertThat(known.vmid()).isEqualTo(1);
                assertThat(known.table()).isInstanceOf(Fact.Known.class);
                TranslationTable table = known.table().optional().orElseThrow();
                assertThat(table.geometry()).isEqualTo(guest.geometry());
                assertThat(table.root()).isEqualTo(guest.root());
                assertThat(LeafRuns.of(table).runs()).singleElement().matches(run -> run.start() == 1L << (bits - 1));
            });
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 31, 41, 64})
    void anInputSizeThatTheMachineDoesNotHaveIsRefused(int bits) {
        assertThatThrownBy(() -> kvm.create(1, 1, bits, 1))
                .isInstanceOfSatisfying(
                        HostKernel.HostException.class,
                        e -> assertThat(e.error()).isEqualTo(Errno.EINVAL));
        assertThat(model.hostKernel().pagesAvailable()).isEqualTo(free);
    }

    @Test
    void theTableIsFilledOnFaultWithWhatTheAccessNeedsAndNothingElse() {
        HostGuest guest = guest();
        guest.addMemory(CODE, 1 << 20, Backing.PAGES, false);
        guest.addMemory(DATA, 1 << 20, Backing.PAGES, true);
        assertThat(leaves(guest)).isEmpty();
        assertThat(model.guests()).isEmpty();

        assertThat(guest.fault(CODE + 8, Access.EXECUTE)).isZero();
        assertThat(guest.fault(CODE + 0x10000, Access.WRITE)).isZero();
        assertThat(guest.fault(CODE + 0x11000, Access.READ)).isZero();
        assertThat(guest.fault(DATA, Access.READ)).isZero();

        assertThat(leaves(guest))
                .containsExactly(
                        "40000000-40001000 PAGE " + Long.toHexString(RWX),
                        "40010000-40012000 PAGE " + Long.toHexString(RW),
                        "80000000-80001000 PAGE " + Long.toHexString(RO));
        // Level 2 and 3 for each gigabyte, below a root of two pages.
        LeafRuns.Result result =
                LeafRuns.of(model.guests().getFirst().table().optional().orElseThrow());
        assertThat(result.counts().total(TableCounts.Kind.TABLES)).isEqualTo(2 + 4);
    }

    @Test
    void everyTablePageIsTheHostsAndWasReachedThroughItsStage2() {
        HostGuest guest = guest();
        guest.addMemory(CODE, 1 << 20, Backing.PAGES, false);
        guest.fault(CODE, Access.READ);

        List<Long> tables = new ArrayList<>();
        TranslationTable table = model.guests().getFirst().table().optional().orElseThrow();
        if (table.translate(CODE) instanceof Translation.Mapped(var path, int _, long _, long output)) {
            path.forEach(step -> tables.add(step.address() & -PAGE));
            tables.add(output);
        }
        assertThat(tables).hasSize(4);
        for (long page : tables) {
            assertThat(model.hostTable().translate(page)).isInstanceOf(Translation.Mapped.class);
            assertThat(model.el2().memProtect.states(page >>> 12))
                    .isEqualTo(
                            new MemProtect.States(dev.s2snap.pkvm.PageState.OWNED, dev.s2snap.pkvm.PageState.NOPAGE));
        }
    }

    @Test
    void whatNoSlotHasIsForUserSpace() {
        HostGuest guest = guest();
        guest.addMemory(CODE, PAGE, Backing.PAGES, true);

        assertThat(guest.fault(0x1000_0000L, Access.WRITE)).isEqualTo(HostGuest.MMIO);
        assertThat(guest.fault(CODE + PAGE, Access.READ)).isEqualTo(HostGuest.MMIO);
        assertThat(guest.fault(CODE, Access.WRITE)).isEqualTo(HostGuest.MMIO);
        assertThat(leaves(guest)).isEmpty();
    }

    @Test
    void permissionsAreAddedToThePageThatIsThere() {
        HostGuest guest = guest();
        guest.addMemory(CODE, 1 << 20, Backing.PAGES, false);
        guest.fault(CODE, Access.READ);
        long before = LeafRuns.of(model.guests().getFirst().table().optional().orElseThrow())
                .runs()
                .getFirst()
                .output();

        guest.fault(CODE, Access.EXECUTE);
        // Once more is nothing.
        guest.fault(CODE, Access.EXECUTE);

        LeafRun run = LeafRuns.of(model.guests().getFirst().table().optional().orElseThrow())
                .runs()
                .getFirst();
        assertThat(run.output()).isEqualTo(before);
        assertThat(run.bits()).isEqualTo(RWX);
    }

    @Test
    void aBlockIsMappedWhereOneFitsAndThereIsOne() {
        HostGuest guest = guest();
        guest.addMemory(DATA + PAGE, 5 << 20, Backing.BLOCKS, false);

        guest.fault(DATA + (3 << 20), Access.READ);
        guest.fault(DATA + PAGE, Access.READ);

        assertThat(leaves(guest))
                .containsExactly(
                        "80001000-80002000 PAGE " + Long.toHexString(RW),
                        "80200000-80400000 BLOCK " + Long.toHexString(RW & ~2));
        guest.close();
        assertThat(model.hostKernel().pagesAvailable()).isEqualTo(free);
    }

    @Test
    void withoutABlockOfMemoryItIsPages() {
        HostGuest guest = guest();
        guest.addMemory(DATA, 2 << 20, Backing.BLOCKS, false);
        guest.run(0);
        // Every other page: there is memory, but no block of it.
        List<Long> taken = new ArrayList<>();
        for (long page = kvm.pages.allocate(1, PAGE); page != -1; page = kvm.pages.allocate(1, PAGE)) {
            taken.add(page);
        }
        List<Long> kept = new ArrayList<>();
        taken.forEach(page -> {
            if ((page & PAGE) != 0) {
                kept.add(page);
            } else {
                kvm.pages.free(page, 1);
            }
        });

        assertThat(guest.fault(DATA + PAGE, Access.WRITE)).isZero();
        assertThat(leaves(guest)).containsExactly("80001000-80002000 PAGE " + Long.toHexString(RW));

        kept.forEach(page -> kvm.pages.free(page, 1));
        // Also later: a block would be other memory than the page that is in it.
        assertThat(guest.fault(DATA, Access.WRITE)).isZero();
        assertThat(leaves(guest))
                .containsExactly(
                        "80000000-80001000 PAGE " + Long.toHexString(RW),
                        "80001000-80002000 PAGE " + Long.toHexString(RW));
    }

    @Test
    void theDirtyLogHasThePagesThatWereWritten() {
        HostGuest guest = guest();
        guest.addMemory(DATA, 2 << 20, Backing.BLOCKS, false);
        guest.fault(DATA, Access.WRITE);
        assertThat(leaves(guest)).containsExactly("80000000-80200000 BLOCK " + Long.toHexString(RW & ~2));

        guest.logDirtyPages(DATA);
        assertThat(leaves(guest)).containsExactly("80000000-80200000 BLOCK " + Long.toHexString(RO & ~2));
        assertThat(guest.readDirtyLog(DATA)).isEmpty();

        // A write to a page of it breaks the block; what else it mapped comes back on fault.
        guest.fault(DATA + 5 * PAGE, Access.WRITE);
        guest.fault(DATA + 6 * PAGE, Access.READ);
        assertThat(leaves(guest))
                .containsExactly(
                        "80005000-80006000 PAGE " + Long.toHexString(RW),
                        "80006000-80007000 PAGE " + Long.toHexString(RO));
        assertThat(guest.readDirtyLog(DATA)).containsExactly(DATA + 5 * PAGE);
        assertThat(leaves(guest)).containsExactly("80005000-80007000 PAGE " + Long.toHexString(RO));
        assertThat(guest.readDirtyLog(DATA)).isEmpty();
        guest.fault(DATA + 5 * PAGE, Access.WRITE);
        assertThat(guest.readDirtyLog(DATA)).containsExactly(DATA + 5 * PAGE);
        assertThatThrownBy(() -> guest.readDirtyLog(CODE)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> guest.logDirtyPages(DATA + PAGE)).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void agePutsPagesBackToNotUsed() {
        HostGuest guest = guest();
        guest.addMemory(DATA, 1 << 20, Backing.PAGES, false);
        guest.fault(DATA, Access.WRITE);

        assertThat(guest.age(DATA, 1 << 20)).isTrue();
        assertThat(guest.age(DATA, 1 << 20)).isFalse();
        assertThat(leaves(guest)).containsExactly("80000000-80001000 PAGE " + Long.toHexString(RW & ~0x400));
        guest.fault(DATA, Access.READ);
        assertThat(guest.age(DATA, PAGE)).isTrue();
    }

    @Test
    void whatWasUsedCanBeAskedWithoutTakingItAway() {
        HostGuest guest = guest();
        guest.addMemory(DATA, 1 << 20, Backing.PAGES, false);
        assertThat(guest.used(DATA, 1 << 20)).isFalse();
        guest.fault(DATA, Access.WRITE);
        assertThat(guest.used(DATA, 1 << 20)).isTrue();
        assertThat(guest.used(DATA, 1 << 20)).isTrue();
        assertThat(guest.age(DATA, 1 << 20)).isTrue();
        assertThat(guest.used(DATA, 1 << 20)).isFalse();
    }

    @Test
    void blocksAreSplitAsFarAsThereAreTables() {
        HostGuest guest = guest();
        guest.addMemory(DATA, 4 << 20, Backing.BLOCKS, false);
        guest.fault(DATA, Access.WRITE);
        guest.fault(DATA + (2 << 20), Access.WRITE);
        String page = Long.toHexString(RW);
        String block = Long.toHexString(RW & ~2);

        assertThat(guest.split(DATA, 4 << 20, 0)).isEqualTo(Errno.ENOMEM);
        assertThat(leaves(guest)).containsExactly("80000000-80400000 BLOCK " + block);
        assertThat(guest.split(DATA, 4 << 20, 1)).isEqualTo(Errno.ENOMEM);
        assertThat(leaves(guest)).containsExactly("80000000-80200000 PAGE " + page, "80200000-80400000 BLOCK " + block);
        assertThat(guest.split(DATA, 4 << 20, 1)).isZero();
        assertThat(leaves(guest)).containsExactly("80000000-80400000 PAGE " + page);
        guest.close();
        assertThat(model.hostKernel().pagesAvailable()).isEqualTo(free);
    }

    @Test
    void withoutMemoryForTablesNoBlockIsSplit() {
        HostGuest guest = guest();
        guest.addMemory(DATA, 2 << 20, Backing.BLOCKS, false);
        guest.fault(DATA, Access.WRITE);
        while (kvm.pages.allocate(1, PAGE) != -1) {}
        assertThat(guest.split(DATA, 2 << 20, 100)).isEqualTo(Errno.ENOMEM);
        assertThat(leaves(guest)).containsExactly("80000000-80200000 BLOCK " + Long.toHexString(RW & ~2));
    }

    @Test
    void cleaningCachesChangesNothing() {
        HostGuest guest = guest();
        guest.addMemory(DATA, 1 << 20, Backing.PAGES, false);
        guest.fault(DATA, Access.WRITE);
        guest.flush(0, guest.geometry().inputSize());
        assertThat(leaves(guest)).containsExactly("80000000-80001000 PAGE " + Long.toHexString(RW));
        assertThatThrownBy(() -> guest.flush(guest.geometry().inputSize(), PAGE))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("-ERANGE");
    }

    @Test
    void unmappingFreesTablesThatBecomeEmptyAndKeepsTheProcesssMemory() {
        HostGuest guest = guest();
        guest.addMemory(DATA, 1 << 20, Backing.PAGES, false);
        guest.run(0);
        long before = model.hostKernel().pagesAvailable();
        guest.fault(DATA, Access.WRITE);
        long output = LeafRuns.of(model.guests().getFirst().table().optional().orElseThrow())
                .runs()
                .getFirst()
                .output();

        guest.unmap(DATA, 1 << 20);

        assertThat(leaves(guest)).isEmpty();
        assertThat(model.hostKernel().pagesAvailable()).isEqualTo(before - 1);
        guest.fault(DATA, Access.READ);
        assertThat(LeafRuns.of(model.guests().getFirst().table().optional().orElseThrow())
                        .runs())
                .singleElement()
                .matches(run -> run.output() == output);
    }

    @Test
    void invalidationsAreTheHypervisorsForTheVmidOfTheGuest() {
        kvm.create(1, 1, 0, 1).run(0);
        HostGuest guest = guest();
        guest.addMemory(DATA, 2 << 20, Backing.BLOCKS, false);
        guest.fault(DATA, Access.WRITE);
        List<String> seen = new ArrayList<>();
        model.recorder(new Recorder() {
            @Override
            public void tlbiIpa(int vmid, long ipa, int level) {
                seen.add("ipa %d %x %d".formatted(vmid, ipa, level));
            }

            @Override
            public void tlbiIpaNonShareable(int vmid, long ipa, int level) {
                seen.add("nsh %d %x %d".formatted(vmid, ipa, level));
            }

            @Override
            public void tlbiVmid(int vmid) {
                seen.add("all " + vmid);
            }
        });

        guest.fault(DATA, Access.EXECUTE);
        guest.logDirtyPages(DATA);
        guest.fault(DATA + PAGE, Access.WRITE);
        guest.unmap(DATA, 2 << 20);
        model.recorder(null);

        assertThat(guest.vmid()).isEqualTo(2);
        assertThat(seen)
                .containsExactly(
                        "nsh 2 80000000 2",
                        "all 2",
                        "ipa 2 80001000 2",
                        "ipa 2 80001000 3",
                        "ipa 2 80000000 " + Recorder.LEVEL_UNKNOWN,
                        "ipa 2 80000000 " + Recorder.LEVEL_UNKNOWN);
    }

    private void useEverything(HostGuest guest) {
        guest.addMemory(CODE, 4 << 20, Backing.PAGES, false);
        guest.addMemory(DATA, 4 << 20, Backing.BLOCKS, false);
        guest.addMemory(0xff_0000_0000L, 1 << 20, Backing.PAGES, true);
        for (int i = 0; i < 20; i++) {
            assertThat(guest.fault(CODE + i * 0x3000L, Access.WRITE)).isZero();
            assertThat(guest.fault(0xff_0000_0000L + i * PAGE, Access.READ)).isZero();
        }
        assertThat(guest.fault(DATA, Access.EXECUTE)).isZero();
        guest.logDirtyPages(DATA);
        assertThat(guest.fault(DATA + PAGE, Access.WRITE)).isZero();
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void nothingIsLeftOfAVmThatIsGone(boolean killed) {
        Audit before = Audit.of(model);
        HostGuest guest = guest();
        useEverything(guest);

        if (killed) {
            guest.kill();
        } else {
            guest.close();
        }

        assertThat(kvm.guests()).isEmpty();
        assertThat(model.guests()).isEmpty();
        assertThat(guest.table()).isNull();
        assertThat(model.hostKernel().pagesAvailable()).isEqualTo(free);
        assertThat(Audit.of(model).changed(before)).isEmpty();
        assertThatThrownBy(() -> guest.fault(CODE, Access.READ)).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(guest::close).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(guest::kill).isInstanceOf(IllegalStateException.class);
        // Its number is free.
        guest().close();
    }

    @Test
    void memoryThatRunsOutIsAnErrnoAtEachPlaceAndNothingIsLost() {
        long extent = kvm.pages.allocate(20_000, PAGE);
        List<long[]> rest = new ArrayList<>();
        for (long page = kvm.pages.allocate(1, PAGE); page != -1; page = kvm.pages.allocate(1, PAGE)) {
            rest.add(new long[] {page, 1});
        }
        int refused = 0;
        boolean done = false;
        for (int pages = 0; !done; pages++) {
            kvm.pages.free(extent, pages);
            HostGuest guest = null;
            try {
                guest = guest();
                guest.addMemory(DATA, PAGE, Backing.PAGES, false);
                int error = guest.fault(DATA, Access.WRITE);
                done = error == 0;
                assertThat(error).isIn(0, Errno.ENOMEM);
                assertThat(leaves(guest)).hasSize(done ? 1 : 0);
            } catch (HostKernel.HostException e) {
                assertThat(e.error()).isEqualTo(Errno.ENOMEM);
            }
            refused += done ? 0 : 1;
            if (guest != null) {
                guest.close();
            }
            assertThat(kvm.pages.available()).as("with %d pages", pages).isEqualTo(pages);
            assertThat(kvm.guests()).isEmpty();
            if (pages > 0) {
                assertThat(kvm.pages.allocate(pages, PAGE)).isEqualTo(extent);
            }
        }
        // Root, struct kvm, VM area and root at EL2, struct vcpu and its area, two tables, the page itself.
        assertThat(refused).isEqualTo(2 + 1 + 2 + 2 + 2 + 2 + 2 + 1);
        assertThat(rest).isNotEmpty();
    }

    @Test
    void mistakesOfAProcessAreRefused() {
        HostGuest guest = guest();
        assertThatThrownBy(this::guest)
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("42 has a file 7");
        guest.addMemory(CODE, 2 * PAGE, Backing.PAGES, false);
        for (long[] slot : new long[][] {
            {CODE + PAGE, PAGE},
            {CODE - PAGE, 2 * PAGE},
            {CODE - PAGE, 4 * PAGE},
            {CODE + 1, PAGE},
            {0, 1},
            {0, 0},
            {1L << 40, PAGE},
            {(1L << 40) - PAGE, 2 * PAGE},
            {-PAGE, PAGE},
            {PAGE, Long.MAX_VALUE & -PAGE}
        }) {
            assertThatThrownBy(() -> guest.addMemory(slot[0], slot[1], Backing.PAGES, false))
                    .isInstanceOf(IllegalArgumentException.class);
        }
    }
}
