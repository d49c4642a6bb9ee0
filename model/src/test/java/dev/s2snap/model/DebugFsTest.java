package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.model.DebugFs.OpenFile;
import dev.s2snap.model.DebugFs.Opening;
import dev.s2snap.model.DebugFs.Refused;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TranslationTable;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Open, read, release: what each answers, and that nothing stays behind on any path.
class DebugFsTest {
    private static final long PAGE = 0x1000;
    private static final long IPA = 0x8000_0000L;
    private static final String GUEST = "kvm/42-7/stage2_page_tables";

    private final PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED);
    private final HostKernel host = model.hostKernel();
    private final HostPages pages = host.kvm().pages;
    private final DebugFs files = new DebugFs(model, DebugFsTest::runs);
    private final long free = host.pagesAvailable();

    @AfterEach
    void closeTheMachine() {
        model.close();
    }

    /// Everything that is in a table, and whose it is.
    private static byte[] runs(TranslationTable table, boolean host, boolean forcedWriteBack) {
        LeafRuns.Result result = LeafRuns.of(table);
        assertThat(result.findings()).isEmpty();
        return ((host ? "host " : "guest ") + (forcedWriteBack ? "fwb " : "") + result.runs())
                .getBytes(StandardCharsets.US_ASCII);
    }

    private OpenFile open(String path) {
        Opening opening = files.open(path);
        assertThat(opening).isInstanceOf(OpenFile.class);
        return (OpenFile) opening;
    }

    private void isRefused(String path, int error) {
        assertThat(files.open(path)).isEqualTo(new Refused(error));
    }

    private static String read(OpenFile file) {
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        byte[] buffer = new byte[100];
        for (int count = file.read(buffer); count != 0; count = file.read(buffer)) {
            assertThat(count).isPositive();
            all.write(buffer, 0, count);
        }
        return all.toString(StandardCharsets.US_ASCII);
    }

    private HostGuest guest() {
        HostGuest guest = host.kvm().create(42, 7, 0, 1);
        guest.addMemory(IPA, 1 << 20, HostGuest.Backing.PAGES, false);
        assertThat(guest.fault(IPA, HostGuest.Access.WRITE)).isZero();
        return guest;
    }

    // The host's table.

    @Test
    void theHostsTableIsTheCopyThatWasTakenWhenTheFileWasOpened() {
        host.touch(HostKernel.Touch.BOOT, 0);
        long before = host.pagesAvailable();
        String[] atTheTime = new String[1];
        model.observer(phase -> {
            if (phase == SnapshotCall.Phase.COPIED) {
                atTheTime[0] = new String(runs(model.hostTable(), true, false), StandardCharsets.US_ASCII);
            }
        });

        OpenFile file = open(DebugFs.HOST_TABLE);
        assertThat(host.pagesAvailable()).isEqualTo(before - 605);
        host.touch(HostKernel.Touch.PAGES, 0);
        assertThat(new String(runs(model.hostTable(), true, false), StandardCharsets.US_ASCII))
                .isNotEqualTo(atTheTime[0]);

        assertThat(read(file)).isEqualTo(atTheTime[0]);
        file.release();
        assertThat(host.pagesAvailable()).isEqualTo(before);
    }

    @ParameterizedTest
    @EnumSource(SnapshotCall.Variant.class)
    void ownershipIsAsBeforeWhenTheFileIsReleased(SnapshotCall.Variant variant) {
        try (PkvmModel machine = PkvmModel.small(variant)) {
            Audit before = Audit.of(machine);
            DebugFs debugFs = new DebugFs(machine, DebugFsTest::runs);
            for (int i = 0; i < 3; i++) {
                OpenFile file = (OpenFile) debugFs.open(DebugFs.HOST_TABLE);
                read(file);
                file.release();
            }
            assertThat(Audit.of(machine).changed(before)).isEmpty();
            assertThat(Audit.of(machine).miscounted()).isEmpty();
        }
    }

    @Test
    void twoSnapshotsAtATimeAreTwo() {
        OpenFile first = open(DebugFs.HOST_TABLE);
        OpenFile second = open(DebugFs.HOST_TABLE);
        String text = read(first);
        first.release();
        assertThat(read(second)).isNotEqualTo(text);
        second.release();
        assertThat(host.pagesAvailable()).isEqualTo(free);
    }

    /// Leaves exactly `count` pages, at one place.
    private long leave(long place, long count) {
        long at = place;
        if (at == -1) {
            at = pages.allocate(20_000, PAGE);
            while (pages.allocate(1, PAGE) != -1) {
                // until nothing is left
            }
        }
        if (count > 0) {
            pages.free(at, count);
        }
        assertThat(pages.available()).isEqualTo(count);
        return at;
    }

    /// D-23, D-24, and the rest of the open path: each allocation is the one that fails.
    @Test
    void whicheverAllocationFailsEverythingIsGivenBack() {
        Audit before = Audit.of(model);
        long place = -1;
        for (int count = 0; count < 605; count++) {
            place = leave(place, count);
            isRefused(DebugFs.HOST_TABLE, Errno.ENOMEM);
            assertThat(pages.available()).isEqualTo(count);
            assertThat(count == 0 || pages.allocate(count, PAGE) == place).isTrue();
        }
        assertThat(Audit.of(model).since(before)).isEmpty();
        leave(place, 605);
        OpenFile file = open(DebugFs.HOST_TABLE);
        assertThat(pages.available()).isZero();
        read(file);
        file.release();
        assertThat(pages.available()).isEqualTo(605);
        assertThat(Audit.of(model).changed(before)).isEmpty();
    }

    @ParameterizedTest
    @EnumSource(SnapshotCall.Variant.class)
    void d26AHypervisorWithoutTheCallIsNotSupported(SnapshotCall.Variant variant) {
        ModelConfig config = ModelConfig.small().variant(variant);
        config.debug = false;
        try (PkvmModel machine = new PkvmModel(config)) {
            assertThat(machine.init()).isZero();
            long before = machine.hostKernel().pagesAvailable();
            assertThat(new DebugFs(machine, DebugFsTest::runs).open(DebugFs.HOST_TABLE))
                    .isEqualTo(new Refused(Errno.EOPNOTSUPP));
            assertThat(machine.hostKernel().pagesAvailable()).isEqualTo(before);
        }
    }

    @Test
    void aHypervisorWithoutTablePagesIsNoMemory() {
        while (model.el2().hostPool().allocate(0) != 0) {
            // until nothing is left
        }
        isRefused(DebugFs.HOST_TABLE, Errno.ENOMEM);
        assertThat(host.pagesAvailable()).isEqualTo(free);
        assertThat(model.panic()).isNull();
    }

    /// A driver that frees pages which it has still shared: the host's own defect, and not the end of the machine.
    @ParameterizedTest
    @ValueSource(ints = {0, 1, 2, 3, 4, 5})
    void aPageThatIsNotToBeLentIsNotPermitted(int number) {
        // The same will be taken again.
        HostKernel.Lent lent = host.allocate();
        List<Long> some = List.of(
                lent.struct(),
                lent.pgd(),
                lent.pgd() + PAGE,
                lent.list().getFirst(),
                lent.list().getLast(),
                lent.array() + PAGE);
        Cpu cpu = model.cpu(0);
        cpu.x(0, Hypercall.PKVM_HOST_SHARE_HYP.id());
        cpu.x(1, some.get(number) >>> 12);
        assertThat(model.hvc(cpu)).isTrue();
        assertThat(cpu.x(1)).isZero();
        host.free(lent);
        Audit before = Audit.of(model);

        isRefused(DebugFs.HOST_TABLE, Errno.EPERM);

        assertThat(host.pagesAvailable()).isEqualTo(free);
        assertThat(Audit.of(model).changed(before)).isEmpty();
        assertThat(model.panic()).isNull();
    }

    @Test
    void aHypervisorThatPanicsIsTheEndOfTheHost() {
        model.observer(_ -> {
            throw HypPanic.bug("test");
        });
        assertThatThrownBy(() -> files.open(DebugFs.HOST_TABLE))
                .isInstanceOf(HostKernel.HostException.class)
                .hasMessageContaining("panicked");
    }

    // Release.

    @ParameterizedTest
    @ValueSource(strings = {DebugFs.HOST_TABLE, GUEST, "kvm/42-7/ipa_range", "kvm/42-7/stage2_levels"})
    void d25AFileIsReleasedOnceAndForAll(String path) {
        HostGuest guest = guest();
        long before = host.pagesAvailable();
        OpenFile file = open(path);
        file.release();
        assertThat(host.pagesAvailable()).isEqualTo(before);

        assertThatThrownBy(file::release)
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("released");
        assertThatThrownBy(() -> file.read(new byte[1])).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(file::rewind).isInstanceOf(IllegalStateException.class);
        assertThat(host.pagesAvailable()).isEqualTo(before);
        guest.close();
        assertThat(host.pagesAvailable()).isEqualTo(free);
    }

    @Test
    void aFileThatIsNeverReadIsReleasedTheSame() {
        OpenFile file = open(DebugFs.HOST_TABLE);
        file.release();
        assertThat(host.pagesAvailable()).isEqualTo(free);
    }

    // VMs.

    @Test
    void eachVmHasAFolderWhileItsFileIsOpen() {
        assertThat(files.folders()).isEqualTo(Map.of("kvm", List.of("host_page_tables")));
        HostGuest guest = guest();
        HostGuest other = host.kvm().create(42, 8, 32, 1);
        assertThat(files.folders())
                .isEqualTo(Map.of(
                        "kvm", List.of("host_page_tables", "42-7", "42-8"),
                        "kvm/42-7", List.of("ipa_range", "stage2_levels", "stage2_page_tables"),
                        "kvm/42-8", List.of("ipa_range", "stage2_levels", "stage2_page_tables")));
        guest.close();
        assertThat(files.folders()).containsOnlyKeys("kvm", "kvm/42-8");
        other.close();
    }

    @Test
    void theSmallFilesSayTheShapeOfTheTable() {
        guest();
        host.kvm().create(1, 3, 33, 1);
        assertThat(read(open("kvm/42-7/ipa_range"))).isEqualTo("40\n");
        assertThat(read(open("kvm/42-7/stage2_levels"))).isEqualTo("3\n");
        assertThat(read(open("kvm/1-3/ipa_range"))).isEqualTo("33\n");
        assertThat(read(open("kvm/1-3/stage2_levels"))).isEqualTo("2\n");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "kvm",
                "/kvm/host_page_tables",
                "kvm/host_stage2_page_tables",
                "kvm/42-7",
                "kvm/42-7/",
                "kvm/42-7/none",
                "kvm/42-8/ipa_range",
                "kvm/host_page_tables/ipa_range",
                "dma/42-7/ipa_range",
                "kvm/42-7/ipa_range/x"
            })
    void whatIsNotThereIsNotThere(String path) {
        guest().close();
        HostGuest guest = guest();
        isRefused(path, Errno.ENOENT);
        guest.close();
        assertThat(host.pagesAvailable()).isEqualTo(free);
    }

    @Test
    void aGuestsTableIsReadAsItIsThen() {
        HostGuest guest = guest();
        OpenFile file = open(GUEST);
        guest.fault(IPA + 4 * PAGE, HostGuest.Access.READ);
        String text = read(file);
        assertThat(text).startsWith("guest ").contains("start=" + (IPA + 4 * PAGE));
        guest.unmap(IPA, 1 << 20);
        // The text stays what it was when its beginning was read.
        assertThat(file.read(new byte[1])).isZero();
        file.rewind();
        assertThat(read(file)).isEqualTo("guest []");
        file.release();
    }

    @Test
    void aGuestWithForcedWriteBackIsReadAsOne() {
        ModelConfig config = ModelConfig.small();
        config.fwb = true;
        try (PkvmModel machine = new PkvmModel(config)) {
            assertThat(machine.init()).isZero();
            machine.hostKernel().kvm().create(42, 7, 0, 1);
            DebugFs debugFs = new DebugFs(machine, DebugFsTest::runs);
            assertThat(read((OpenFile) debugFs.open(GUEST))).isEqualTo("guest fwb []");
            // The host's own table never has it.
            assertThat(read((OpenFile) debugFs.open(DebugFs.HOST_TABLE))).startsWith("host [");
        }
    }

    /// D-27: what is open keeps the VM; what is not open cannot be opened any more.
    @Test
    void aVmThatIsClosedStaysReadableWhereItIsOpenAndNowhereElse() {
        HostGuest guest = guest();
        OpenFile file = open(GUEST);
        OpenFile levels = open("kvm/42-7/stage2_levels");
        String text = read(file);
        file.rewind();
        long before = host.pagesAvailable();

        guest.close();

        isRefused(GUEST, Errno.ENOENT);
        isRefused("kvm/42-7/ipa_range", Errno.ENOENT);
        assertThat(host.pagesAvailable()).isEqualTo(before);
        assertThat(read(file)).isEqualTo(text);
        file.release();
        assertThat(host.pagesAvailable()).isEqualTo(before);
        assertThat(read(levels)).isEqualTo("3\n");
        levels.release();
        assertThat(host.pagesAvailable()).isEqualTo(free);
        assertThat(host.kvm().guests()).isEmpty();
    }

    @Test
    void aNumberThatIsUsedAgainIsTheNewVms() {
        HostGuest old = guest();
        OpenFile file = open(GUEST);
        String text = read(file);
        file.rewind();
        old.close();

        HostGuest young = host.kvm().create(42, 7, 33, 1);
        assertThat(read(open("kvm/42-7/ipa_range"))).isEqualTo("33\n");
        assertThat(read(file)).isEqualTo(text);
        file.release();
        assertThat(host.kvm().guests()).containsExactly(young);
    }

    @Test
    void ofAProcessThatDiedTheTableIsGoneAndThatIsSaid() {
        HostGuest guest = guest();
        OpenFile file = open(GUEST);
        OpenFile begun = open(GUEST);
        byte[] first = new byte[10];
        assertThat(begun.read(first)).isEqualTo(10);
        OpenFile range = open("kvm/42-7/ipa_range");

        guest.kill();

        assertThat(file.read(first)).isEqualTo(Errno.ENOENT);
        isRefused(GUEST, Errno.ENOENT);
        // What was begun is read to its end.
        assertThat(read(begun)).endsWith("]");
        assertThat(read(range)).isEqualTo("40\n");
        // The hypervisor's part is there until the last one lets go.
        assertThat(host.pagesAvailable()).isLessThan(free);
        file.release();
        begun.release();
        assertThat(host.pagesAvailable()).isLessThan(free);
        range.release();
        assertThat(host.pagesAvailable()).isEqualTo(free);
    }

    /// Every order of opening, closing the VM, reading and releasing two files.
    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void everyOrderOfEventsEndsWithAllMemoryFree(boolean killed) {
        Audit before = Audit.of(model);
        List<List<String>> orders = new ArrayList<>();
        // o, r, x: open, read, release of one file; O, X: of another one; k: the process's end.
        interleave(List.of("o", "r", "x"), List.of("O", "R", "X"), List.of("k"), new ArrayList<>(), orders);
        assertThat(orders).hasSize(140);
        for (List<String> order : orders) {
            HostGuest guest = guest();
            OpenFile[] file = new OpenFile[2];
            boolean over = false;
            int open = 0;
            for (String event : order) {
                int which = Character.isUpperCase(event.charAt(0)) ? 1 : 0;
                OpenFile it = file[which];
                switch (event) {
                    case "k" -> {
                        if (killed) {
                            guest.kill();
                        } else {
                            guest.close();
                        }
                        over = true;
                    }
                    case "o", "O" -> {
                        Opening opening = files.open(GUEST);
                        assertThat(opening instanceof OpenFile).as("%s", order).isEqualTo(!over);
                        if (opening instanceof OpenFile opened) {
                            file[which] = opened;
                            open++;
                        }
                    }
                    case "r", "R" -> {
                        if (it != null) {
                            int count = it.read(new byte[7]);
                            assertThat(count).as("%s", order).isEqualTo(over && killed ? Errno.ENOENT : 7);
                        }
                    }
                    default -> {
                        if (it != null) {
                            it.release();
                            open--;
                        }
                    }
                }
                assertThat(host.pagesAvailable() == free)
                        .as("%s at %s: the VM is there until nobody refers to it", order, event)
                        .isEqualTo(over && open == 0);
            }
            assertThat(host.kvm().guests()).isEmpty();
        }
        assertThat(Audit.of(model).changed(before)).isEmpty();
    }

    private static void interleave(
            List<String> a, List<String> b, List<String> c, List<String> prefix, List<List<String>> orders) {
        if (a.isEmpty() && b.isEmpty() && c.isEmpty()) {
            orders.add(List.copyOf(prefix));
            return;
        }
        List<List<String>> all = List.of(a, b, c);
        for (int i = 0; i < 3; i++) {
            if (!all.get(i).isEmpty()) {
                List<List<String>> rest = new ArrayList<>(all);
                rest.set(i, all.get(i).subList(1, all.get(i).size()));
                prefix.add(all.get(i).getFirst());
                interleave(rest.get(0), rest.get(1), rest.get(2), prefix, orders);
                prefix.removeLast();
            }
        }
    }

    @Test
    void theHypervisorHasNoVmOfItAnyMore() {
        HostGuest guest = guest();
        OpenFile file = open(GUEST);
        assertThat(model.el2().guests.live()).hasSize(1);
        guest.close();
        assertThat(model.el2().guests.live()).hasSize(1);
        file.release();
        assertThat(model.el2().guests.live()).isEmpty();
    }
}
