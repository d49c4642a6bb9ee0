package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.HostGuest;
import dev.s2snap.model.HostKernel;
import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.Ram;
import dev.s2snap.proof.GuestBook.Leaf;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.function.BiFunction;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// The machine's own kernel does nothing that is found, and what it does wrong is: each test damages a guest's table,
/// the kernel's memory, or one line of the kernel.
class KernelHostTest {
    private static final long ACTS = 8000;

    private final Trial trial = new Trial(ModelConfig.small());
    private final Ram ram = (Ram) trial.model().memory();
    private final HostKernel kernel = trial.model().hostKernel();
    private final KernelHost host = new KernelHost(trial, new SplittableRandom(7));
    private final List<Finding> found = new ArrayList<>();

    @AfterEach
    void close() {
        trial.close();
    }

    private void act(int acts) {
        KernelHunt.act(trial, host, acts, found);
    }

    /// A page that a guest has, and the table that maps it.
    private record Page(TranslationTable table, Leaf leaf, long entry) {}

    private Page page() {
        for (int act = 0; act < 1000; act++) {
            act(1);
            for (HostGuest guest : kernel.kvm().guests()) {
                TranslationTable said = guest.table();
                if (said != null) {
                    TranslationTable table = new TranslationTable(ram, said.geometry(), said.root());
                    List<Leaf> leaves = GuestSight.all(table).leaves();
                    if (!leaves.isEmpty()) {
                        Leaf leaf = leaves.getFirst();
                        Translation.Mapped mapped = (Translation.Mapped) table.translate(leaf.start());
                        return new Page(table, leaf, mapped.path().getLast().address());
                    }
                }
            }
        }
        throw new IllegalStateException("no guest has a page");
    }

    private void isFound(String what) {
        host.check();
        assertThat(host.findings()).as(what).isNotEmpty().allSatisfy(finding -> {
            assertThat(finding.kind()).isEqualTo(Finding.Kind.GUEST);
            assertThat(finding.toString()).startsWith("the kernel's guest");
        });
        assertThat(host.due(Long.MAX_VALUE)).as("goes on").isFalse();
    }

    @Test
    void aKernelAtWorkFindsNothing() {
        assertThat(new KernelHunt().apply(1L, ACTS)).isEmpty();
    }

    @ParameterizedTest
    @CsvSource({"write permission, 7", "read permission, 6", "access flag, 10", "execute never, 54", "address, 12"})
    void aBitThatIsWrongInAGuestsTableIsFound(String what, int bit) {
        Page page = page();
        ram.set(page.entry, ram.get(page.entry) ^ (1L << bit));
        isFound(what);
    }

    @Test
    void aPageThatIsMissingIsFound() {
        ram.set(page().entry, 0);
        isFound("a page");
    }

    @Test
    void anEntryThatIsNeitherEmptyNorValidIsFound() {
        ram.set(page().entry, 0x400);
        isFound("an entry");
    }

    @Test
    void aPageThatNobodyAskedForIsFound() {
        Page page = page();
        long more = page.entry % 4096 == 0 ? page.entry + 8 : page.entry - 8;
        ram.set(more, ram.get(page.entry));
        isFound("a page");
    }

    @Test
    void aGuestsPageThatIsNotTheHostsAloneIsFound() {
        int number = trial.world().number(page().leaf.physical());
        trial.world().host[number] = World.SHARED;
        for (int i = 0; i < 4; i++) {
            host.check();
        }
        assertThat(host.findings()).extracting(Finding::said).contains("a guest's page is the host's alone");
    }

    /// What kernels find on machines of which each was damaged so; one kernel may end its machine before it finds
    /// anything.
    private static List<Finding> afterwards(Consumer<HostKernel> damage) {
        List<Finding> all = new ArrayList<>();
        for (long seed = 1; seed <= 8; seed++) {
            try (Trial trial = new Trial(ModelConfig.small())) {
                HostKernel kernel = trial.model().hostKernel();
                KernelHost host = new KernelHost(trial, new SplittableRandom(seed));
                KernelHunt.act(trial, host, 20, all);
                damage.accept(kernel);
                KernelHunt.act(trial, host, 400, all);
            }
        }
        return all;
    }

    @Test
    void aPageThatTwoGuestsHaveIsFound() {
        // The allocator gets them back while guests have them.
        List<Finding> all = afterwards(kernel -> kernel.kvm().guests().stream()
                .map(HostGuest::table)
                .filter(Objects::nonNull)
                .flatMap(table -> GuestSight.all(table).leaves().stream())
                .filter(leaf -> !kernel.available(leaf.physical()))
                .forEach(leaf -> kernel.give(leaf.physical(), 1)));
        assertThat(all).isNotEmpty().extracting(Finding::kind).contains(Finding.Kind.GUEST);
    }

    @Test
    void memoryThatIsLostIsFound() {
        assertThat(afterwards(kernel -> kernel.take(1)))
                .extracting(Finding::said)
                .anyMatch(said -> said.endsWith("since the kernel uses none"));
    }

    @Test
    void itActsWhenItIsItsTurn() {
        assertThat(host.due(0)).isFalse();
        assertThat(host.due(1)).isTrue();
        host.stepped();
        assertThat(host.due(1)).isFalse();
    }

    @Test
    void nothingActsOnADeadMachine() {
        assertThat(trial.step(new Op(Op.Kind.READ, trial.world().address(systemPage()))))
                .isEmpty();
        assertThat(trial.over()).isTrue();
        act(1);
        assertThat(found).isEmpty();
        assertThat(host.due(Long.MAX_VALUE)).isFalse();
    }

    private int systemPage() {
        World world = trial.world();
        int page = 0;
        while (world.role[page] != World.SYSTEM || world.accessible(page)) {
            page++;
        }
        return page;
    }

    // What a hostile host must leave alone.

    private Op write(long address) {
        return new Op(Op.Kind.WRITE, address, 1);
    }

    @Test
    void whatTheKernelUsesTheHostileHostLeavesAlone() {
        long used = page().leaf.physical();
        long frame = used >>> 12;
        long free = 0x4500_0000L;
        assertThat(List.of(
                        write(used),
                        write(used - 4),
                        new Op(Op.Kind.SHARE, frame),
                        new Op(Op.Kind.DONATE, frame, 1),
                        new Op(Op.Kind.SHARE_FFA, frame, 1),
                        new Op(Op.Kind.LIST, free, 600, 1, 0).with(0, used - (5 << 12)),
                        new Op(Op.Kind.STRUCT, used, 0, 0, 0, 0, 0, 0, 0),
                        new Op(Op.Kind.STRUCT, free, 0, 0, used, 2, 0, 0, 0),
                        new Op(Op.Kind.STRUCT, free, 0, 0, 0, 0, used, 2, 0),
                        Op.hvc(0, 0xC600_0009L, frame)))
                .allSatisfy(op -> assertThat(host.harmedBy(op)).as("%s", op).isTrue());
        assertThat(List.of(
                        write(free),
                        new Op(Op.Kind.READ, used),
                        new Op(Op.Kind.FAULT, used),
                        new Op(Op.Kind.SHARE, free >>> 12),
                        new Op(Op.Kind.LIST, free, 600, 1, 0),
                        new Op(Op.Kind.STRUCT, free, 0, 0, free, 2, free, 2, 0),
                        Op.hvc(0, 0xC600_0009L, free >>> 12)))
                .allSatisfy(op -> assertThat(host.harmedBy(op)).as("%s", op).isFalse());
    }

    @Test
    void whatTheHostileHostHasGivenAwayTheKernelLeavesAlone() {
        long first = kernel.take(64);
        kernel.give(first, 64);
        for (long page = first; page < first + (64 << 12); page += 4096) {
            assertThat(trial.step(new Op(Op.Kind.DONATE, page >>> 12, 1))).isEmpty();
        }
        page();
        assertThat(trial.over()).isFalse();
        assertThat(kernel.available(first)).isFalse();
        act(200);
        assertThat(found).isEmpty();
    }

    // Mutants of the kernel.

    private static String hunt(String file, String line, String instead)
            throws IOException, ReflectiveOperationException {
        @SuppressWarnings("unchecked") // KernelHunt is one
        BiFunction<Long, Long, String> hunt = (BiFunction<Long, Long, String>) MutantHouse.with(file, line, instead)
                .loadClass("dev.s2snap.proof.KernelHunt")
                .getDeclaredConstructor()
                .newInstance();
        return hunt.apply(1L, ACTS);
    }

    /// Each line of the kernel that is left out, or is another, is found by what only the kernel knows.
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            ignoreLeadingAndTrailingWhitespace = false,
            value = {
                "HostGuest.java|            slot.dirty.add(page);|",
                "HostGuest.java|            prot /= Stage2.X;|            prot /= 0;",
                "HostGuest.java|        if (!slot.readOnly && (access == Access.WRITE // !slot.logged)) {|        if (!slot.readOnly) {",
                "HostGuest.java|            slot.pages.put(page, physical);|",
                "HostGuest.java|        slot.dirty = new TreeSet<>();|",
                "HostGuest.java|            running.destroy();|",
                "HostGuest.java|            invalidateAll();|",
                "HostGuest.java|        writeProtect(slot.start, slot.end - slot.start);|",
                "HostGuest.java|        single.forEach(page -> pages.free(page, 1));|",
                "HostKernel.java|        pages.free(lent.struct, 1);|",
                "HostVm.java|            pages.free(head, 1);|",
                "HostKvm.java|        guests.remove(guest);|",
                "Stage2.java|                if (clear) {|                if (!clear) {",
                "Stage2.java|            makeEntry(entry, table.tableDescriptor(root));|",
                "Hypercalls.java|            case KVM_TLB_FLUSH_VMID -> recorder.tlbiVmid(vmid);|            case KVM_TLB_FLUSH_VMID -> {}",
                "DebugFs.java|        return guest.get() ? new OpenFile(content, guest::put) : new Refused(Errno.ENOENT);|"
                        + "        return guest.get() ? new OpenFile(content, () -> {}) : new Refused(Errno.ENOENT);",
            })
    void aLineOfTheKernelThatIsWrongIsFound(String file, String line, String instead)
            throws IOException, ReflectiveOperationException {
        assertThat(hunt(file, or(line), instead == null ? "" : or(instead))).startsWith("GUEST");
    }

    /// A bar stands between the columns of the table above.
    private static String or(String line) {
        return line.contains("prot") ? line.replace('/', '|') : line.replace("//", "||");
    }

    @ParameterizedTest
    @ValueSource(strings = {"HostGuest.java"})
    void theLinesAsTheyAreShowNothing(String file) throws IOException, ReflectiveOperationException {
        String line = "            running.destroy();";
        assertThat(hunt(file, line, line)).isEmpty();
    }
}
