package dev.s2snap.inspect;

import static dev.s2snap.inspect.MadeMachine.BORROWED;
import static dev.s2snap.inspect.MadeMachine.HOST_PAGE;
import static dev.s2snap.inspect.MadeMachine.HYP_OWNED;
import static dev.s2snap.inspect.MadeMachine.HYP_PAGE;
import static dev.s2snap.inspect.MadeMachine.SHARED;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.inspect.DiffSource.OfMachine;
import dev.s2snap.inspect.DiffSource.OfText;
import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.vmsa.PhysicalMemory;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class DiffTest {
    private static final long FRAMES = 0x6000_0000_0000L;
    private static final long LINEAR = 0xd000_0000_0000L;
    private static final long MEMORY = 0x4000_0000L;
    private static final long OF_HYP = 0x2000_0000_0000_0002L;
    private static final long OF_VM = 0x2000_0080_0001_0004L;

    private static final long READ_ONLY = HOST_PAGE & ~0x80L;

    /// A machine of 7.0 and later with four pages of memory, which the host has mapped.
    private static MadeMachine machine() {
        return new MadeMachine()
                .era(Era.V7_0)
                .vmemmap(FRAMES, 8)
                .regions(new MemoryRegion(MEMORY, 0x4000, 0))
                .host(MEMORY, MEMORY + 0x4000, HOST_PAGE)
                .frame(FRAMES, 8, MEMORY, 0);
    }

    private static Diff diff(MadeMachine a, MadeMachine b) {
        return Diff.of(new OfMachine(Reading.of(a)), new OfMachine(Reading.of(b)), Optional.empty());
    }

    /// Table, meaning and ranges of all groups.
    private static List<String> groups(Diff diff) {
        List<String> lines = new ArrayList<>();
        for (Diff.Group group : diff.groups()) {
            for (Diff.Change change : group.changes()) {
                lines.add(String.format("%s: %s %x-%x", group.table(), group.meaning(), change.start(), change.end()));
            }
        }
        return lines;
    }

    @Test
    void aMachineDoesNotDifferFromItself() {
        MadeMachine machine = machine();
        Diff diff = diff(machine, machine);
        assertThat(diff.equal()).isTrue();
        assertThat(diff.tables()).containsExactly(new Diff.Table("host", true), new Diff.Table("hyp", true));
    }

    @Test
    void aReferenceCountIsNoDifference() {
        assertThat(diff(machine(), machine().frame(FRAMES, 8, MEMORY + 0x2000, 0x1_0007))
                        .equal())
                .isTrue();
    }

    /// What happens to the third page, by its descriptor, its entry in the hyp_vmemmap, and what it means.
    @ParameterizedTest
    @CsvSource({
        "0x2000000000000002, 0x33000000, donated to hyp",
        "0x2000008000010004, 0x03000000, donated to VM 0x1000",
        "0x3000000000000000, 0x03000000, taken back by force",
        "0,                  0x03000000, taken from its owner",
        "0x400027ff,         0x11000000, shared with hyp",
        "0x400027ff,         0x01000000, shared with others",
        "0x400027ff,         0x101000000, shared with VMs",
        "0x400027ff,         0x30000000, states contradict each other",
        "0x400027ff,         0x100000000, states contradict each other",
        "0x400027ff,         0x111000000, states contradict each other",
        "0x400027ff,         0x22000000, donated to hyp",
        "0x400027ff,         0x02000000, shared by a VM with host",
        "0,                  0,          unmapped",
        "0x4000277f,         0,          permission changed",
        "0x400037ff,         0,          maps elsewhere",
        "0x400027fb,         0,          memory type changed",
        "0x2000000400027ff,  0,          attributes changed",
        "0x1000000000000000, 0,          unmapped",
        "0x400027fd,         0,          unmapped",
    })
    void eachChangeHasItsMeaning(String descriptor, String frame, String meaning) {
        MadeMachine changed = machine()
                .hostEntry(MEMORY + 0x2000, 3, Long.parseUnsignedLong(descriptor.replace("0x", ""), 16))
                .frame(FRAMES, 8, MEMORY + 0x2000, Long.decode(frame));
        assertThat(groups(diff(machine(), changed))).containsExactly("host: " + meaning + " 40002000-40003000");
    }

    @Test
    void whatWasGivenAwayComesBack() {
        MadeMachine away = machine()
                .annotate(MEMORY, MEMORY + 0x1000, OF_HYP)
                .frame(FRAMES, 8, MEMORY, 0x3300_0000L)
                .annotate(MEMORY + 0x1000, MEMORY + 0x2000, OF_VM)
                .frame(FRAMES, 8, MEMORY + 0x1000, 0x0300_0000L)
                .frame(FRAMES, 8, MEMORY + 0x2000, 0x1100_0000L)
                .frame(FRAMES, 8, MEMORY + 0x3000, 0x3000_0000L);
        assertThat(groups(diff(away, machine())))
                .containsExactly(
                        "host: returned to host 40000000-40001000",
                        "host: returned to host 40001000-40002000",
                        "host: unshared 40002000-40003000",
                        "host: states contradict each other no longer 40003000-40004000");
    }

    @Test
    void theNumberOfVmsIsAState() {
        MadeMachine one = machine().frame(FRAMES, 8, MEMORY, 0x1_0100_0000L);
        MadeMachine two = machine().frame(FRAMES, 8, MEMORY, 0x2_0100_0000L);
        assertThat(groups(diff(one, two))).containsExactly("host: shared with another number of VMs 40000000-40001000");
    }

    @Test
    void aGuestsFramesAreOneRange() throws IOException {
        MadeMachine donated = machine()
                .annotate(MEMORY, MEMORY + 0x1000, OF_VM)
                .annotate(MEMORY + 0x1000, MEMORY + 0x2000, OF_VM + (1L << 20))
                .frame(FRAMES, 8, MEMORY, 0x0300_0000L)
                .frame(FRAMES, 8, MEMORY + 0x1000, 0x0300_0000L);
        Diff diff = diff(machine(), donated);
        assertThat(groups(diff)).containsExactly("host: donated to VM 0x1000 40000000-40002000");
        assertThat(text(diff, false)).contains("""

                host: donated to VM 0x1000: 8K
                  0x000040000000-0x000040002000        8K  3 page, rwx, host -> 3 annotated, guest handle 0x1000

                total
                  host  8K  donated to VM 0x1000
                """);
    }

    @Test
    void anotherFrameOfTheSameGuestIsADifference() throws IOException {
        MadeMachine one = machine().annotate(MEMORY, MEMORY + 0x1000, OF_VM).frame(FRAMES, 8, MEMORY, 0x0300_0000L);
        MadeMachine other =
                machine().annotate(MEMORY, MEMORY + 0x1000, OF_VM + (1L << 20)).frame(FRAMES, 8, MEMORY, 0x0300_0000L);
        Diff diff = diff(one, other);
        assertThat(groups(diff)).containsExactly("host: annotation changed 40000000-40001000");
        assertThat(text(diff, false))
                .contains("guest handle 0x1000 frame 0x80000 -> guest handle 0x1000 frame 0x80001");
    }

    private static MadeMachine blocks() {
        return new MadeMachine().era(Era.V6_1);
    }

    @Test
    void blocksSplitAndCoalesce() {
        MadeMachine block = blocks().hostBlock(MEMORY);
        MadeMachine pages = blocks().host(MEMORY, MEMORY + 0x20_0000, HOST_PAGE);
        assertThat(groups(diff(block, pages))).containsExactly("host: split 40000000-40200000");
        assertThat(groups(diff(pages, block))).containsExactly("host: coalesced 40000000-40200000");
    }

    @Test
    void aDonatedPageSplitsItsBlock() {
        MadeMachine pages = blocks().host(MEMORY, MEMORY + 0x20_0000, HOST_PAGE)
                .annotate(MEMORY + 0x1000, MEMORY + 0x2000, HYP_OWNED)
                .hyp(LINEAR, MEMORY + 0x1000, MEMORY + 0x2000, HYP_PAGE);
        assertThat(groups(diff(blocks().hostBlock(MEMORY), pages)))
                .containsExactly(
                        "host: split 40000000-40001000",
                        "host: split 40002000-40200000",
                        "host: donated to hyp 40001000-40002000",
                        "hyp: mapped d00000000000-d00000001000");
    }

    /// Until 6.16 the hypervisor's state is in its own table, by virtual address.
    @Test
    void aStateInTheHypervisorsTableIsAStateOfTheMemory() {
        MadeMachine owned = blocks().host(MEMORY, MEMORY + 0x1000, HOST_PAGE | SHARED)
                .hyp(LINEAR + MEMORY, MEMORY, MEMORY + 0x1000, HYP_PAGE);
        MadeMachine shared = blocks().host(MEMORY, MEMORY + 0x1000, HOST_PAGE | SHARED)
                .hyp(LINEAR + MEMORY, MEMORY, MEMORY + 0x1000, HYP_PAGE | BORROWED);
        assertThat(groups(diff(owned, shared)))
                .containsExactly(
                        "host: states contradict each other no longer 40000000-40001000",
                        "hyp: state changed d00040000000-d00040001000");
        assertThat(groups(diff(blocks().host(MEMORY, MEMORY + 0x1000, HOST_PAGE | SHARED), shared)))
                .containsExactly("host: shared with hyp 40000000-40001000", "hyp: mapped d00040000000-d00040001000");
    }

    @Test
    void kernelsOfTwoErasAreComparedByWhatTheyMean() {
        MadeMachine old = new MadeMachine()
                .era(Era.V6_1)
                .regions(new MemoryRegion(MEMORY, 0x4000, 0))
                .host(MEMORY, MEMORY + 0x1000, HOST_PAGE | SHARED)
                .host(MEMORY + 0x1000, MEMORY + 0x3000, HOST_PAGE)
                .annotate(MEMORY + 0x3000, MEMORY + 0x4000, HYP_OWNED)
                .hyp(LINEAR + MEMORY, MEMORY, MEMORY + 0x1000, HYP_PAGE | BORROWED)
                .hyp(LINEAR + MEMORY + 0x3000, MEMORY + 0x3000, MEMORY + 0x4000, HYP_PAGE);
        MadeMachine now = machine()
                .annotate(MEMORY + 0x3000, MEMORY + 0x4000, OF_HYP)
                .frame(FRAMES, 8, MEMORY, 0x1100_0000L)
                .frame(FRAMES, 8, MEMORY + 0x3000, 0x3300_0000L)
                .hyp(LINEAR + MEMORY, MEMORY, MEMORY + 0x1000, HYP_PAGE)
                .hyp(LINEAR + MEMORY + 0x3000, MEMORY + 0x3000, MEMORY + 0x4000, HYP_PAGE);
        Diff diff = diff(old, now);
        assertThat(diff.machines()).containsExactly("kernel: 6.1 to 6.13 -> 7.0 and later");
        assertThat(diff.tables()).containsExactly(new Diff.Table("host", false), new Diff.Table("hyp", false));
        // What is left is the array itself.
        assertThat(groups(diff))
                .containsExactly("host: mapped by hyp 80005000-80006000", "hyp: mapped 600000200000-600000201000");
        assertThat(diff.equal()).isFalse();
        assertThat(groups(diff(old, now.frame(FRAMES, 8, MEMORY, 0)))).contains("host: unshared 40000000-40001000");
    }

    @Test
    void moreMemoryIsAnotherMachineAndIsCompared() {
        MadeMachine more = machine().regions(new MemoryRegion(MEMORY, 0x6000, 0));
        Diff diff = diff(machine(), more);
        assertThat(diff.machines())
                .containsExactly("memory: 16K in 1 region from 0x40000000 -> 24K in 1 region from 0x40000000");
        assertThat(diff.tables()).startsWith(new Diff.Table("host", false));
        assertThat(groups(diff)).containsExactly("host: memory added 40004000-40006000");
        assertThat(groups(diff(more, machine()))).containsExactly("host: memory removed 40004000-40006000");
        assertThat(diff(blocks(), machine()).machines())
                .contains("memory: not known -> 16K in 1 region from 0x40000000");
    }

    @Test
    void registersThatSayWhatEntriesMeanAreCompared() {
        MadeMachine forced = machine().register("HCR_EL2", 1L | 1L << 46 | 1L << 3);
        Diff diff = diff(machine(), forced);
        assertThat(diff.machines()).containsExactly("HCR_EL2: 0x1 -> 0x400000000001, as far as it matters here");
        assertThat(groups(diff)).containsExactly("host: memory type changed 40000000-40004000");
        assertThat(diff(machine(), machine().without("MAIR_EL2")).machines())
                .containsExactly("MAIR_EL2: 0x40044ffff -> not known");
    }

    @Test
    void guestsComeAndGo() {
        MadeMachine with = machine().guest(2, 0x8000_0000L, 0x8000_2000L, 0x4000_07ffL);
        Diff created = diff(machine(), with);
        assertThat(groups(created)).containsExactly("VM 0x1001: created 80000000-80002000");
        assertThat(groups(diff(with, machine()))).containsExactly("VM 0x1001: gone 80000000-80002000");
        Diff empty = diff(machine(), machine().guest(1, 0, 0, 0));
        assertThat(empty.groups()).extracting(Diff.Group::meaning).containsExactly("created");
        assertThat(empty.groups().getFirst().bytes()).isZero();
        assertThat(empty.equal()).isFalse();
    }

    @Test
    void guestsAreMatchedByVmid() {
        MadeMachine one = machine()
                .guest(2, 0x8000_0000L, 0x8000_1000L, 0x4000_07ffL)
                .guest(1, 0x9000_0000L, 0x9000_1000L, 0x4000_17ffL);
        MadeMachine other = machine()
                .guest(1, 0x9000_0000L, 0x9000_1000L, 0x4000_17ffL)
                .guest(2, 0x8000_0000L, 0x8000_2000L, 0x4000_07ffL | SHARED);
        assertThat(groups(diff(one, other)))
                .containsExactly(
                        "VM 0x1001: shared with host 80000000-80001000", "VM 0x1001: mapped 80001000-80002000");
    }

    @Test
    void aTableThatIsPartlyThereIsComparedAsFarAsItIs() throws IOException {
        MadeMachine damaged = machine().hostEntry(1L << 39, 0, 0x7_0000_0003L).frame(FRAMES, 8, MEMORY, 0x1100_0000L);
        Diff diff = diff(machine(), damaged);
        assertThat(groups(diff)).containsExactly("host: shared with hyp 40000000-40001000");
        assertThat(diff.notCompared())
                .containsExactly(
                        new Diff.NotCompared("host", 1L << 39, 2L << 39, "of B a table is not in this memory"));
        assertThat(text(diff, true))
                .contains("not compared\n  0x008000000000-0x010000000000      512G  host: of B a table");
        Diff both = diff(damaged, damaged);
        assertThat(both.groups()).isEmpty();
        assertThat(both.equal()).isFalse();
        assertThat(text(both, false)).endsWith("no difference in what could be compared\n");
        assertThat(both.notCompared().getFirst().why()).isEqualTo("of both a table is not in this memory");
    }

    @Test
    void aTableThatLeadsIntoItselfIsNotEqual() {
        MadeMachine loop = machine().hostEntry(1L << 39, 0, 0x8000_0003L);
        assertThat(diff(loop, loop).notCompared())
                .containsExactly(new Diff.NotCompared(
                        "host", 1L << 39, 2L << 39, "of both a table was already reached through another entry"));
    }

    @Test
    void missingPagesOfTheVmemmapAreNotCompared() {
        MadeMachine missing = machine().hypEntry(FRAMES + ((MEMORY + 0x40_0000) >>> 12) * 8, 0x7_0000_0000L | HYP_PAGE);
        Diff diff = diff(missing, missing);
        assertThat(diff.groups()).isEmpty();
        assertThat(diff.notCompared())
                .containsExactly(new Diff.NotCompared(
                        "host",
                        MEMORY + 0x40_0000,
                        MEMORY + 0x60_0000,
                        "a page of the hyp_vmemmap is not in this memory"));
        assertThat(groups(diff(machine(), missing))).hasSize(1).allMatch(line -> line.startsWith("hyp: mapped"));
    }

    @Test
    void withoutTheEraEntriesAreComparedAndOwnersAreNot() {
        MadeMachine unknown = new MadeMachine().host(MEMORY, MEMORY + 0x1000, HOST_PAGE);
        MadeMachine other = new MadeMachine().host(MEMORY, MEMORY + 0x1000, HOST_PAGE | SHARED);
        Diff diff = diff(unknown, unknown);
        assertThat(diff.groups()).isEmpty();
        assertThat(diff.notCompared()).hasSize(1);
        assertThat(diff.notCompared().getFirst().why())
                .startsWith("who owns what is not known, of A: the era of this kernel is not known")
                .contains(", of B: the era");
        assertThat(groups(diff(unknown, other))).containsExactly("host: attributes changed 40000000-40001000");
    }

    @Test
    void aTableThatOnlyOneHasIsNotCompared() {
        Diff diff = diff(machine(), machine().withoutHyp());
        assertThat(diff.notCompared())
                .extracting(left -> left.table() + ": " + left.why())
                .containsExactly(
                        "host: who owns what is not known, of B: the hypervisor's table is not known: there is none",
                        "hyp: its table is not known of B: there is none");
        assertThat(diff.machines().getFirst())
                .startsWith("hyp: EL2 stage 1, 4K granule")
                .endsWith("-> not known");
        assertThatThrownBy(() -> diff(
                        machine().withoutHost().withoutHyp(),
                        machine().withoutHost().withoutHyp()))
                .isInstanceOf(NoAnswerException.class)
                .hasMessageStartingWith("nothing can be compared: ");
    }

    @Test
    void hypIsComparedWhereNeitherHasAHostTable() {
        Diff diff = diff(machine().withoutHost(), machine().withoutHost());
        assertThat(diff.equal()).isTrue();
        assertThat(diff.tables()).extracting(Diff.Table::label).containsExactly("hyp");
    }

    @Test
    void tableDescriptorsAreComparedBesideTheirAddress() throws IOException {
        MadeMachine plain = machine().hyp(LINEAR + MEMORY, MEMORY, MEMORY + 0x1000, HYP_PAGE);
        MadeMachine restricted = machine().hyp(LINEAR + MEMORY, MEMORY, MEMORY + 0x1000, HYP_PAGE);
        long entry = restricted.hypRoot() + (((LINEAR + MEMORY) >>> 39) & 511) * 8;
        restricted.bytes().set(PhysicalMemory.LE64, restricted.offset(entry, 8), restricted.load64(entry) | 1L << 60);
        Diff diff = diff(plain, restricted);
        assertThat(groups(diff)).containsExactly("hyp: table descriptor changed d00000000000-d08000000000");
        assertThat(text(diff, false)).contains("512G  bits 0x3 -> bits 0x1000000000000003\n");
    }

    @Test
    void theUpperRangeEndsAtTheTop() throws IOException {
        long virtual = -0x1000L;
        MadeMachine mapped = machine().el1(virtual, MEMORY, MEMORY + 0x1000, 0x743);
        MadeMachine other = machine().el1(virtual, MEMORY + 0x1000, MEMORY + 0x2000, 0x743);
        Diff diff = Diff.of(
                new OfMachine(Reading.of(mapped)),
                new OfMachine(Reading.of(other)),
                Optional.of(TableSelector.parse("el1:upper")));
        assertThat(groups(diff)).containsExactly("el1:upper: maps elsewhere fffffffffffff000-0");
        assertThat(text(diff, false))
                .contains("0xfffffffffffff000-0x10000000000000000  4K  to 0x40000000 -> to 0x40001000");
        assertThat(json(diff, false))
                .contains("\"end\":\"0x10000000000000000\",\"old\":{\"kind\":\"page\",\"level\":3,"
                        + "\"pa\":\"0x40000000\"");
    }

    @Test
    void aTableThatIsAskedForHasToBeKnown() {
        assertThatThrownBy(() -> Diff.of(
                        new OfMachine(Reading.of(machine())),
                        new OfMachine(Reading.of(machine())),
                        Optional.of(TableSelector.parse("el1:lower"))))
                .isInstanceOf(NoAnswerException.class)
                .hasMessageStartingWith("the el1:lower table is not known: ");
    }

    // Texts.

    private static OfText ofText(MadeMachine machine, TableSelector selector, KernelTextDialect dialect)
            throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        KernelText.write(Reading.of(machine), selector, dialect, out);
        return new OfText(KernelTextReader.read(new ByteArrayInputStream(out.toByteArray()), Optional.of(dialect)));
    }

    @ParameterizedTest
    @CsvSource({"V4", "LINUX_6_12", "LINUX_7_3"})
    void aTextIsEqualToTheTableItWasMadeOf(KernelTextDialect dialect) throws IOException {
        MadeMachine machine = machine().guest(1, 0x8000_0000L, 0x8000_2000L, 0x4000_07ffL);
        OfText text = ofText(machine, TableSelector.guest(0), dialect);
        TableSelector guest = TableSelector.guest(0);
        for (Diff diff : List.of(
                Diff.of(text, new OfMachine(Reading.of(machine)), Optional.of(guest)),
                Diff.of(new OfMachine(Reading.of(machine)), text, Optional.of(guest)),
                Diff.of(text, text, Optional.empty()))) {
            assertThat(groups(diff)).isEmpty();
            assertThat(diff.equal()).isTrue();
            assertThat(diff.notes()).hasSize(dialect == KernelTextDialect.LINUX_6_12 ? 1 : 0);
        }
    }

    @Test
    void aTextDiffersInWhatItTells() throws IOException {
        MadeMachine machine = machine()
                .guest(1, 0x8000_0000L, 0x8000_2000L, 0x4000_07ffL)
                .guest(2, 0x8000_1000L, 0x8000_3000L, 0x4000_077fL);
        OfText text = ofText(machine, TableSelector.guest(0), KernelTextDialect.LINUX_7_3);
        Diff diff = Diff.of(text, new OfMachine(Reading.of(machine)), Optional.of(TableSelector.guest(1)));
        assertThat(groups(diff))
                .containsExactly(
                        "guest:1: unmapped 80000000-80001000",
                        "guest:1: permission changed 80001000-80002000",
                        "guest:1: mapped 80002000-80003000");
        assertThat(json(diff, false)).contains("\"mask\":\"0x600000000004c3\"");
        OfText other = ofText(machine, TableSelector.guest(1), KernelTextDialect.LINUX_7_3);
        assertThat(groups(Diff.of(text, other, Optional.empty()))).hasSize(3);
        assertThat(text(Diff.of(text, other, Optional.empty()), false)).contains("3 page, rwx -> empty");
        assertThat(json(Diff.of(text, other, Optional.empty()), true)).contains("\"pages\":null");
        assertThatThrownBy(() -> Diff.of(text, other, Optional.of(TableSelector.HOST)))
                .isInstanceOf(NoAnswerException.class)
                .hasMessageContaining("leave out --table");
    }

    @Test
    void whatIsBehindTheEndOfATextIsNotEqual() throws IOException {
        MadeMachine machine = machine().guest(1, 0x8000_0000L, 0x8000_2000L, 0x4000_07ffL);
        OfText text = ofText(machine, TableSelector.guest(0), KernelTextDialect.LINUX_6_12);
        MadeMachine more = machine()
                .guest(1, 0x8000_0000L, 0x8000_2000L, 0x4000_07ffL)
                .guest(2, 1L << 40, (1L << 40) + 0x1000, 0x4000_07ffL);
        Diff diff = Diff.of(text, new OfMachine(Reading.of(more)), Optional.of(TableSelector.guest(1)));
        assertThat(diff.equal()).isFalse();
        assertThat(diff.notCompared())
                .containsExactly(new Diff.NotCompared(
                        "guest:1",
                        1L << 39,
                        1L << 48,
                        "of A the text tells nothing about what is behind its last line"));
    }

    @Test
    void aTextFindsItsTable() throws IOException {
        MadeMachine machine = machine();
        OfText guest = ofText(
                machine().guest(1, 0, 0x1000, 0x4000_07ffL), TableSelector.guest(0), KernelTextDialect.LINUX_7_3);
        assertThatThrownBy(() -> Diff.of(guest, new OfMachine(Reading.of(machine)), Optional.empty()))
                .isInstanceOf(NoAnswerException.class)
                .hasMessage("the text is of a guest, and the machine has 0; say which table with --table guest:N");
        OfText host = ofText(machine, TableSelector.HOST, KernelTextDialect.ANDROID_6_12);
        assertThat(Diff.of(host, new OfMachine(Reading.of(machine)), Optional.empty())
                        .groups())
                .isEmpty();
        assertThatThrownBy(() -> Diff.of(host, new OfMachine(Reading.of(machine)), Optional.of(TableSelector.HYP)))
                .isInstanceOf(NoAnswerException.class)
                .hasMessageContaining("of a stage 2, and hyp is none");
    }

    // The forms.

    private static String text(Diff diff, boolean stat) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        DiffDump.text(diff, "a", "b", stat, out);
        return out.toString(StandardCharsets.UTF_8);
    }

    private static String json(Diff diff, boolean stat) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        DiffDump.json(diff, "a", "b", stat, out);
        return out.toString(StandardCharsets.UTF_8);
    }

    @Test
    void theTextOfNoDifferenceSaysSo() throws IOException {
        assertThat(text(diff(machine(), machine()), false)).isEqualTo("""
                A: a
                B: b
                compared: host, hyp

                no difference
                """);
    }

    @Test
    void totalsCanBeAllThatIsTold() throws IOException {
        MadeMachine changed = machine()
                .host(MEMORY, MEMORY + 0x1000, READ_ONLY)
                .frame(FRAMES, 8, MEMORY + 0x2000, 0x1100_0000L)
                .frame(FRAMES, 8, MEMORY + 0x3000, 0x1100_0000L);
        Diff diff = diff(machine(), changed);
        assertThat(text(diff, true)).isEqualTo("""
                A: a
                B: b
                compared: host, hyp

                total
                  host  4K  permission changed
                  host  8K  shared with hyp
                """);
        assertThat(json(diff, true)).isEqualTo("""
                {"schema":1,
                "a":"a",
                "b":"b",
                "equal":false,
                "machines":[],
                "tables":[{"table":"host","way":"bulk"},{"table":"hyp","way":"bulk"}],
                "groups":[
                {"table":"host","meaning":"permission changed","pages":1,"bytes":4096},
                {"table":"host","meaning":"shared with hyp","pages":2,"bytes":8192}],
                "notCompared":[],
                "notes":[]}
                """);
        assertThat(json(diff, false))
                .contains("{\"start\":\"0x40002000\",\"end\":\"0x40004000\",\"old\":{\"kind\":\"page\",\"level\":3,"
                        + "\"pa\":\"0x40002000\",\"bits\":\"0x7ff\",\"mask\":null,\"perm\":\"rwx\","
                        + "\"memory\":\"normal WB inner\",\"owner\":\"host\"},");
    }

    @Test
    void longListsAreCutInTextAndNotInJson() throws IOException {
        MadeMachine many = new MadeMachine().era(Era.V6_1);
        MadeMachine none = new MadeMachine().era(Era.V6_1);
        for (int i = 0; i < 25; i++) {
            many.host(MEMORY + i * 0x2000L, MEMORY + i * 0x2000L + 0x1000, HOST_PAGE);
            none.hostEntry((long) (i * 2 + 1) << 39, 0, 0x7_0000_0003L);
        }
        Diff diff = diff(none, many);
        assertThat(text(diff, false)).contains("  and 5 more; --format json has all\n");
        assertThat(json(diff, false).lines().filter(line -> line.contains("\"old\"")))
                .hasSize(25);
        assertThat(json(diff, false).lines().filter(line -> line.contains("\"reason\"")))
                .hasSize(25);
    }
}
