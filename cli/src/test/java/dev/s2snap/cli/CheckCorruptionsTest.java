package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.function.Consumer;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Real machines with one word changed, or a few that belong together: `check` names the rule and the page, and nothing
/// else.
class CheckCorruptionsTest {
    private static final String PVM = "deb-7.3-pvm";
    private static final String NPVM = "deb-7.3-npvm";
    private static final String HOST61 = "deb-6.1-host";
    private static final String HOST612 = "deb-6.12-host";

    /// What the two kernels get wrong without anybody's help.
    private static final List<String> STACKS61 = List.of("I-14 0x43036000-0x43037000", "I-14 0x43037000-0x43038000");

    private static final List<String> STACKS612 = List.of("I-14 0x43039000-0x4303a000", "I-14 0x4303a000-0x4303b000");

    private static final long PAGE = 0x7ff;
    private static final long HYP_OWNED = 4;
    private static final long HYP_OWNED_TYPED = 0x2000_0000_0000_0002L;
    private static final long SHARED = 1L << 55;
    private static final long BORROWED = 1L << 56;
    private static final long XN = 1L << 54;
    private static final long PXN = 1L << 53;
    private static final long READ_ONLY = 1 << 7;

    /// Damaged machines of each kind; more with -Ds2snap.scribbled=N.
    private static final int SCRIBBLED = Integer.getInteger("s2snap.scribbled", 80);

    @TempDir
    private Path folder;

    /// @param expected rule and physical range of every violation beyond those of the machine as it was
    record Damage(String what, String capture, Consumer<DamagedCore> change, List<String> expected) {
        @Override
        public String toString() {
            return capture + ": " + what;
        }
    }

    private static final List<Damage> DAMAGES = new ArrayList<>();

    private static void on(String capture, String what, Consumer<DamagedCore> change, String... expected) {
        DAMAGES.add(new Damage(what, capture, change, List.of(expected)));
    }

    static {
        // The host reaches what is not its own.
        on(
                PVM,
                "a host leaf over a page of EL2",
                m -> m.leaf("host", 0x43340000, 0x43340000 | PAGE),
                "I-14 0x43340000-0x43341000");
        on(
                PVM,
                "a host leaf over a page of its own table",
                m -> m.leaf("host", 0x4fb0a000, 0x4fb0a000 | PAGE),
                "I-14 0x4fb0a000-0x4fb0b000");
        on(
                PVM,
                "a host leaf over a page of EL2's table",
                m -> m.leaf("host", 0x4f882000, 0x4f882000 | PAGE),
                "I-14 0x4f882000-0x4f883000");
        on(
                PVM,
                "a host leaf over a page of a guest's table",
                m -> m.leaf("host", 0x44e1b000, 0x44e1b000 | PAGE),
                "I-14 0x44e1b000-0x44e1c000");
        on(
                PVM,
                "a host leaf over an EL2 stack",
                m -> m.leaf("host", 0x44d13000, 0x44d13000 | PAGE),
                "I-14 0x44d13000-0x44d14000");
        on(
                PVM,
                "a host leaf over a guest's page",
                m -> m.leaf("host", 0x429bc000, 0x429bc000 | PAGE),
                "I-24 0x429bc000-0x429bd000");
        on(
                PVM,
                "text that the host can write",
                m -> m.change("host", 0x414c0000, 0, READ_ONLY),
                "I-15 0x414c0000-0x414c1000");
        on(
                PVM,
                "text that the host can execute",
                m -> m.change("host", 0x414c0000, XN, 0),
                "I-14 0x414c0000-0x414c1000");
        on(PVM, "an annotation that is gone", m -> m.leaf("host", 0x43340000, 0), "I-21 0x43340000-0x43341000");
        on(
                PVM,
                "a donated page that is the host's again",
                m -> m.leaf("host", 0x42cf6000, 0),
                "I-24 0x42cf6000-0x42cf7000");
        on(
                HOST61,
                "text that the host can write",
                m -> m.leaf("host", 0x40ee1000, 0x40ee1000 | PAGE),
                "I-15 0x40ee1000-0x40ee2000");
        on(
                HOST61,
                "a host leaf over a page of EL2",
                m -> m.leaf("host", 0x4216e000, 0x4216e000 | PAGE),
                "I-14 0x4216e000-0x4216f000");
        on(HOST61, "an annotation that is gone", m -> m.leaf("host", 0x4f900000, 0), "I-20 0x4f900000-0x4f901000");
        on(
                HOST61,
                "a host leaf that maps another address",
                m -> m.leaf("host", 0x40e02000, 0x40e05000 | PAGE),
                "I-10 0x40e02000-0x40e03000");
        on(
                HOST612,
                "a block that maps another address",
                m -> m.block("host", 0x40200000, 0x406007fd),
                "I-10 0x40200000-0x40400000");

        // States that contradict each other.
        on(
                HOST61,
                "borrowed by the host, and owned by EL2 alone",
                m -> m.change("hyp", m.linear(0x40f00000), SHARED, 0),
                "I-21 0x40f00000-0x40f01000");
        on(
                HOST61,
                "a share without its twin",
                m -> m.change("host", 0x40e02000, 0, SHARED),
                "I-22 0x40e02000-0x40e03000");
        on(
                HOST61,
                "a host that owns what EL2 shares with it",
                m -> m.change("host", 0x40f00000, BORROWED, 0),
                "I-20 0x40f00000-0x40f01000");
        on(
                HOST61,
                "EL2 borrows what the host owns",
                m -> m.change("hyp", m.linear(0x40f00000), SHARED, BORROWED),
                "I-21 0x40f00000-0x40f01000");
        on(
                HOST61,
                "two owners, both of which share",
                m -> m.change("host", 0x40f00000, BORROWED, SHARED),
                "I-20 0x40f00000-0x40f01000");
        on(HOST61, "state 3 of the host", m -> m.change("host", 0x40f00000, 0, SHARED), "I-5 0x40f00000-0x40f01000");
        on(
                HOST61,
                "state 3 of EL2",
                m -> m.change("hyp", m.linear(0x40f00000), 0, BORROWED),
                "I-5 0x40f00000-0x40f01000");
        on(
                HOST61,
                "a block that is shared as a whole",
                m -> m.block("host", 0x40200000, 0x402007fd | SHARED),
                "I-12 0x40200000-0x40400000");
        on(PVM, "two owners in the hyp_vmemmap", m -> m.states(0x4f900000, 0, 0), "I-20 0x4f900000-0x4f901000");
        on(PVM, "a share without its twin", m -> m.states(0x40300000, 1, 3), "I-22 0x40300000-0x40301000");
        on(PVM, "a page that nobody owns", m -> m.states(0x40300000, 3, 3), "I-27 0x40300000-0x40301000");
        on(PVM, "a loan that nobody made", m -> m.states(0x40300000, 2, 3), "I-20 0x40300000-0x40301000");
        on(PVM, "an owner at EL2 of the host's page", m -> m.states(0x40300000, 0, 0), "I-14 0x40300000-0x40301000");
        on(PVM, "an EL2 page without a state", m -> m.states(0x43340000, 3, 3), "I-21 0x43340000-0x43341000");
        on(
                PVM,
                "a state of the host in a descriptor",
                m -> m.change("host", 0x4146d000, 0, SHARED),
                "I-5 0x4146d000-0x4146e000");

        // Annotations.
        on(
                HOST61,
                "an annotation of nobody's",
                m -> m.leaf("host", 0x40e02000, HYP_OWNED),
                "I-23 0x40e02000-0x40e03000");
        on(
                HOST61,
                "an owner that does not exist",
                m -> m.leaf("host", 0x4f900000, 3 << 2),
                "I-13 0x4f900000-0x4f901000");
        on(HOST61, "a locked entry", m -> m.leaf("host", 0x40e02000, 0x400), "I-6 0x40e02000-0x40e03000");
        on(HOST612, "an annotated block", m -> m.block("host", 0x40200000, HYP_OWNED), "I-12 0x40200000-0x40400000");
        on(
                PVM,
                "an annotation of nobody's",
                m -> m.leaf("host", 0x4146d000, HYP_OWNED_TYPED),
                "I-23 0x4146d000-0x4146e000");
        on(
                PVM,
                "an owner that does not exist",
                m -> m.leaf("host", 0x43340000, 0x2000_0000_0000_000eL),
                "I-13 0x43340000-0x43341000");
        on(
                PVM,
                "poison in the host's table",
                m -> m.leaf("host", 0x43340000, 0x3000_0000_0000_0000L),
                "I-13 0x43340000-0x43341000");
        on(PVM, "a locked entry", m -> m.leaf("host", 0x4146d000, 1L << 60), "I-6 0x4146d000-0x4146e000");
        on(PVM, "a locked entry of a guest", m -> m.leaf("guest:0", 0x40020000, 1L << 60), "I-6 0x40020000-0x40021000");

        // Guests.
        on(
                PVM,
                "a guest frame that disagrees",
                m -> m.leaf("host", 0x42cf6000, m.leaf("host", 0x42cf6000) + (1L << 20)),
                "I-24 0x42cf6000-0x42cf7000");
        on(
                PVM,
                "a guest handle that disagrees",
                m -> m.leaf("host", 0x42cf6000, m.leaf("host", 0x42cf6000) + (1L << 4)),
                "I-24 0x42cf6000-0x42cf7000");
        on(PVM, "a guest that lost a page", m -> m.leaf("guest:0", 0x80004000L, 0), "I-24 0x42cf6000-0x42cf7000");
        on(
                PVM,
                "a guest that maps a page of EL2",
                m -> m.leaf("guest:0", 0x80030000L, 0x43340000 | PAGE),
                "I-20 0x43340000-0x43341000");
        on(
                PVM,
                "a guest that has a page twice",
                m -> m.leaf("guest:0", 0x80030000L, 0x42cf6000 | PAGE),
                "I-20 0x42cf6000-0x42cf7000");
        on(
                PVM,
                "a guest that maps a page of the host",
                m -> m.leaf("guest:0", 0x80030000L, 0x40300000 | PAGE),
                "I-24 0x40300000-0x40301000");
        on(
                PVM,
                "a guest that shares what the host does not borrow",
                m -> m.change("guest:0", 0x80004000L, 0, SHARED),
                "I-24 0x42cf6000-0x42cf7000");
        on(
                NPVM,
                "a wrong number of guests",
                m -> m.frame(borrowed(m), m.frame(borrowed(m)) + (1L << 32)),
                "I-24 BORROWED");
        on(
                NPVM,
                "no number of guests",
                m -> m.frame(borrowed(m), m.frame(borrowed(m)) & 0xffff_ffffL),
                "I-24 BORROWED");
        on(
                NPVM,
                "a guest that owns what it borrowed",
                m -> m.change("guest:0", 0x40000000, BORROWED, 0),
                "I-24 BORROWED");
        on(NPVM, "a host that owns what a guest borrows", m -> m.states(borrowed(m), 0, 3), "I-24 BORROWED");

        // EL2's own table.
        on(
                HOST61,
                "data that EL2 can execute",
                m -> m.change("hyp", m.linear(0x4216e000), XN, 0),
                "I-26 0x4216e000-0x4216f000");
        on(
                HOST61,
                "text that EL2 can write",
                m -> m.change("hyp", m.linear(0x40ee1000), READ_ONLY, 0),
                "I-26 0x40ee1000-0x40ee2000");
        on(
                HOST61,
                "constants that EL2 can execute",
                m -> m.change("hyp", m.linear(0x41848000), XN, 0),
                "I-26 0x41848000-0x41849000");
        on(
                PVM,
                "data that EL2 can execute",
                m -> m.change("hyp", m.linear(0x43340000), XN | PXN, 0),
                "I-26 0x43340000-0x43341000");
        on(
                PVM,
                "text that EL2 can write",
                m -> m.change("hyp", m.linear(0x414c0000), READ_ONLY, 0),
                "I-26 0x414c0000-0x414c1000");
        on(
                PVM,
                "a page of EL2 at the address of another",
                m -> m.change("hyp", m.linear(0x4f900000), 0x1000, 0x1000 ^ 0x2000),
                "I-26 0x4f900000-0x4f901000");
        on(
                PVM,
                "a page of EL2 that it does not map",
                m -> m.leaf("hyp", m.linear(0x4f900000), 0),
                "I-23 0x4f900000-0x4f901000");
        on(
                PVM,
                "an entry of EL2 that is not valid",
                m -> m.change("hyp", m.linear(0x4f900000), 1, 0),
                "I-23 0x4f900000-0x4f901000");
        on(
                HOST612,
                "a page of EL2 that it does not map",
                m -> m.leaf("hyp", m.linear(0x4f900000), 0),
                "I-23 0x4f900000-0x4f901000");
        on(HOST612, "a reference to a page of the host", m -> m.frame(0x40300000, 1), "I-25 0x40300000-0x40301000");

        // The shape of tables.
        on(
                PVM,
                "a count that is too high",
                m -> m.frame(0x4fb0a000, m.frame(0x4fb0a000) + 1),
                "I-3 0x4fb0a000-0x4fb0b000");
        on(
                PVM,
                "a count that is too low",
                m -> m.frame(0x4f882000, m.frame(0x4f882000) - 1),
                "I-3 0x4f882000-0x4f883000");
        on(
                PVM,
                "a reference to a page of the host",
                m -> m.frame(0x40300000, m.frame(0x40300000) + 1),
                "I-25 0x40300000-0x40301000");
        on(PVM, "a cycle", m -> m.block("host", 0x40000000, m.root("host") | 3), "I-2 0x4fb09000-0x4fb0a000");
        on(
                PVM,
                "a cycle of EL2's table",
                m -> m.set(m.entry("hyp", m.linear(0x4f800000), 2), m.root("hyp") | 3),
                "I-2 0x4f881000-0x4f882000");
        on(
                PVM,
                "a table with two parents",
                m -> m.block("host", 0x40000000, m.get(m.entry("host", 0x4f800000, 2))),
                "I-2 TABLE");
        on(
                PVM,
                "one table in two trees",
                m -> m.block("host", 0x40000000, m.get(m.entry("hyp", m.linear(0x4f800000), 2))),
                "I-2 TABLE");
        on(
                PVM,
                "a table that is not there",
                m -> m.block("host", 0x40000000, 0x7_0000_0003L),
                "I-1 0x700000000-0x700001000");
        on(
                PVM,
                "a table of EL2 that is not there",
                m -> m.set(m.entry("hyp", m.linear(0x4f800000), 2), 0x7_0000_0003L),
                "I-1 0x700000000-0x700001000");
        on(
                PVM,
                "a table in the hyp_vmemmap",
                m -> m.block("host", 0x40000000, 0x4f810003),
                "I-1 0x4f810000-0x4f811000");
        on(
                PVM,
                "a table descriptor with attributes",
                m -> m.set(m.entry("host", 0x40000000, 1), m.get(m.entry("host", 0x40000000, 1)) | 1L << 59),
                "I-5 0x4fb0a000-0x4fb0b000");
        on(HOST61, "a misaligned block", m -> m.block("host", 0x40200000, 0x402017fd), "I-5 0x40200000-0x40400000");
        on(HOST61, "a reserved encoding", m -> m.leaf("host", 0x40e02000, 0x40e027fd), "I-5 0x40e02000-0x40e03000");
        on(HOST61, "the contiguous bit", m -> m.change("host", 0x40e02000, 0, 1L << 52), "I-5 0x40e02000-0x40e03000");
        on(
                HOST61,
                "the dirty bit modifier",
                m -> m.change("host", 0x40e02000, 0, 1L << 51),
                "I-5 0x40e02000-0x40e03000");
        on(
                HOST61,
                "a software bit that KVM does not use",
                m -> m.change("host", 0x40e02000, 0, 1L << 57),
                "I-5 0x40e02000-0x40e03000");
        on(
                HOST61,
                "AP[1] of an entry of EL2",
                m -> m.change("hyp", m.linear(0x4216e000), 1 << 6, 0),
                "I-5 0x4216e000-0x4216f000");
        on(
                HOST61,
                "an access flag of EL2",
                m -> m.change("hyp", m.linear(0x4216e000), 1 << 10, 0),
                "I-5 0x4216e000-0x4216f000");
        on(
                PVM,
                "a software bit of a guest",
                m -> m.change("guest:0", 0x80004000L, 0, 1L << 58),
                "I-5 0x42cf6000-0x42cf7000");

        // What the host's memory looks like.
        on(
                HOST61,
                "memory of the host that is read-only",
                m -> m.change("host", 0x40e02000, READ_ONLY, 0),
                "I-11 0x40e02000-0x40e03000");
        on(HOST61, "device memory", m -> m.change("host", 0x40e02000, 0xf << 2, 1 << 2), "I-11 0x40e02000-0x40e03000");
        on(HOST61, "an access flag", m -> m.change("host", 0x40e02000, 1 << 10, 0), "I-11 0x40e02000-0x40e03000");
        on(
                HOST61,
                "memory that is not shareable",
                m -> m.change("host", 0x40e02000, 3 << 8, 0),
                "I-11 0x40e02000-0x40e03000");
        on(
                PVM,
                "memory that the host can only read",
                m -> m.change("host", 0x4146d000, READ_ONLY, XN),
                "I-11 0x4146d000-0x4146e000");
    }

    /// The page that the guest without protection has at its first address.
    private static long borrowed(DamagedCore machine) {
        return machine.leaf("guest:0", 0x40000000) & 0xffff_ffff_f000L;
    }

    static List<Damage> damages() {
        return DAMAGES;
    }

    @ParameterizedTest
    @MethodSource("damages")
    void theDamageIsFoundAndNothingElse(Damage damage) throws IOException {
        DamagedCore machine = DamagedCore.of(damage.capture);
        String borrowed = damage.capture.equals(NPVM) ? range(borrowed(machine)) : "";
        damage.change.accept(machine);
        String table = damage.expected.contains("I-2 TABLE")
                ? range(machine.get(machine.entry("host", 0x40000000, 2)) & -4096)
                : "";
        List<String> expected = new ArrayList<>(
                damage.capture.equals(HOST61) ? STACKS61 : damage.capture.equals(HOST612) ? STACKS612 : List.of());
        for (String each : damage.expected) {
            expected.add(each.replace("BORROWED", borrowed).replace("TABLE", table));
        }

        Run run = machine.check(folder, "--format", "json");

        assertThat(run.err()).isEmpty();
        assertThat(run.status()).isEqualTo(1);
        assertThat(violations(run)).as(run.text()).containsExactlyInAnyOrderElementsOf(expected);
    }

    private static String range(long page) {
        return "0x" + Long.toHexString(page) + "-0x" + Long.toHexString(page + 4096);
    }

    static List<String> violations(Run run) {
        List<String> found = new ArrayList<>();
        for (Object each :
                JsonTree.list(Objects.requireNonNull(JsonTree.parse(run.out()).get("violations")))) {
            Map<String, Object> violation = JsonTree.object(each);
            found.add(violation.get("rule") + " " + violation.get("start") + "-" + violation.get("end"));
        }
        return found;
    }

    @ParameterizedTest
    @ValueSource(strings = {PVM, NPVM, HOST61, HOST612, "custom-7.3-rich-npvm", "ptdump-7.3-nvhe-guest"})
    void whateverIsScribbledIntoAMachineThereIsAnAnswer(String capture) throws IOException {
        RandomGenerator random = new SplittableRandom(7);
        for (int i = 0; i < SCRIBBLED; i++) {
            DamagedCore machine = DamagedCore.of(capture);
            int words = 1 + random.nextInt(20);
            for (int word = 0; word < words; word++) {
                machine.scribble(random);
            }
            Run run = machine.check(folder, "--format", "json");
            assertThat(run.err()).isEmpty();
            assertThat(run.status()).isBetween(0, 1);
            JsonTree.parse(run.out());
        }
    }

    @Test
    void thereAreManyOfThem() {
        assertThat(DAMAGES).hasSizeGreaterThan(80);
    }
}
