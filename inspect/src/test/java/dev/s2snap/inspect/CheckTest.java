package dev.s2snap.inspect;

import static dev.s2snap.inspect.MadeMachine.BLOCK;
import static dev.s2snap.inspect.MadeMachine.BORROWED;
import static dev.s2snap.inspect.MadeMachine.HOST_BLOCK;
import static dev.s2snap.inspect.MadeMachine.HOST_PAGE;
import static dev.s2snap.inspect.MadeMachine.HYP_DEVICE;
import static dev.s2snap.inspect.MadeMachine.HYP_OWNED;
import static dev.s2snap.inspect.MadeMachine.HYP_PAGE;
import static dev.s2snap.inspect.MadeMachine.PAGE;
import static dev.s2snap.inspect.MadeMachine.SHARED;
import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.Rule;
import dev.s2snap.pkvm.Rules.NotChecked;
import dev.s2snap.pkvm.Violation;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.junit.jupiter.api.Test;

/// The rules on machines that are made for them: what real captures do not have, such as a memory map.
class CheckTest {
    private static final long RAM = 0x4000_0000L;
    private static final long LINEAR = 0x1000_0000_0000L;
    private static final long VMEMMAP = 0x6000_0000_0000L;
    private static final long STACKS = 0x4000_0000_0000L;
    private static final long XN = 1L << 54;

    /// Memory of 16 MiB, of which EL2 has a page of text, one of data and a stack; its tables lie outside, as far as
    /// these rules go in EL2's own memory.
    private static MadeMachine machine(Era era) {
        MadeMachine machine = new MadeMachine()
                .era(era)
                .regions(
                        new MemoryRegion(RAM, 16 << 20, 0),
                        new MemoryRegion(RAM + (16 << 20), 1 << 20, MemoryRegion.NOMAP),
                        new MemoryRegion(0x8000_0000L, 1 << 20, 0));
        long text = RAM + 0x10_0000;
        return machine.vmemmap(VMEMMAP, era.encodings().hypPage().entrySize())
                .hyp(LINEAR + text, text, text + PAGE, (HYP_PAGE & ~XN) | (1 << 7))
                .hyp(text, text, text + PAGE, (HYP_PAGE & ~XN) | (1 << 7))
                .hyp(LINEAR + text + 2 * PAGE, text + 2 * PAGE, text + 4 * PAGE, HYP_PAGE)
                .hyp(STACKS + PAGE, text + 6 * PAGE, text + 7 * PAGE, HYP_PAGE)
                .annotate(text, text + PAGE, owned(era))
                .annotate(text + 2 * PAGE, text + 4 * PAGE, owned(era))
                .annotate(text + 6 * PAGE, text + 7 * PAGE, owned(era));
    }

    private static long owned(Era era) {
        return era == Era.V7_0 ? 0x2000_0000_0000_0002L : HYP_OWNED;
    }

    private static Check check(MadeMachine machine) {
        return Check.of(Reading.of(machine));
    }

    /// Rule and range of each violation.
    private static List<String> found(Check check) {
        return check.report().violations().stream()
                .map(violation -> violation.rule().id() + " " + Long.toHexString(violation.start()) + "-"
                        + Long.toHexString(violation.end()))
                .toList();
    }

    private static List<String> reasons(Check check, Rule rule) {
        return check.report().notChecked().stream()
                .filter(left -> left.rule() == rule)
                .map(NotChecked::reason)
                .toList();
    }

    @Test
    void theMachineAsItIsMadeKeepsAllRules() {
        assertThat(found(check(machine(Era.V6_1)))).isEmpty();
    }

    @Test
    void aDeviceIsMappedReadWriteAndNoMemoryIs() {
        assertThat(found(check(machine(Era.V6_1).host(0x9000_0000L, 0x9000_1000L, HOST_PAGE | XN))))
                .isEmpty();
        assertThat(found(check(machine(Era.V6_1).host(0x9000_0000L, 0x9000_1000L, HOST_PAGE))))
                .containsExactly("I-11 90000000-90001000");
        assertThat(found(check(machine(Era.V6_1).host(RAM, RAM + PAGE, HOST_PAGE | XN))))
                .containsExactly("I-11 40000000-40001000");
    }

    @Test
    void memoryOfADeviceThatEl2MapsIsNobodysMatter() {
        assertThat(found(check(machine(Era.V6_1).hyp(STACKS + 8 * PAGE, 0x9000_0000L, 0x9000_1000L, HYP_DEVICE))))
                .isEmpty();
    }

    @Test
    void onlyMemoryIsAnnotatedOrShared() {
        assertThat(found(check(machine(Era.V6_1).annotate(0x9000_0000L, 0x9000_2000L, HYP_OWNED))))
                .containsExactly("I-16 90000000-90002000");
        assertThat(found(check(machine(Era.V6_1).host(0x9000_0000L, 0x9000_1000L, HOST_PAGE | XN | SHARED))))
                .containsExactly("I-16 90000000-90001000");
    }

    @Test
    void nomapMemoryIsMappedAndNothingElse() {
        long nomap = RAM + (16 << 20);
        assertThat(found(check(machine(Era.V6_1).host(nomap, nomap + PAGE, HOST_PAGE))))
                .isEmpty();
        assertThat(found(check(machine(Era.V6_1).host(nomap, nomap + PAGE, HOST_PAGE | SHARED))))
                .containsExactly("I-16 41000000-41001000");
        assertThat(found(check(machine(Era.V6_1).annotate(nomap, nomap + PAGE, HYP_OWNED))))
                .containsExactly("I-16 41000000-41001000");
    }

    @Test
    void aBlockDoesNotGoAcrossTheEndOfMemory() {
        // 15 MiB and a half: the last block of 2 MiB is memory in part.
        MadeMachine machine = new MadeMachine()
                .era(Era.V6_1)
                .regions(new MemoryRegion(RAM, 15 << 20, 0))
                .hostBlock(RAM)
                .hostBlock(RAM + 7 * BLOCK);
        assertThat(found(check(machine))).contains("I-12 40e00000-41000000");
    }

    @Test
    void aPageSharedWithTheSecureWorldIsNotCheckedWhereThatCanBe() {
        MadeMachine machine = machine(Era.V6_1).host(RAM, RAM + PAGE, HOST_PAGE | SHARED);
        assertThat(found(check(machine))).containsExactly("I-22 40000000-40001000");
        Check lenient = check(machine.ffa(true));
        assertThat(found(lenient)).isEmpty();
        assertThat(reasons(lenient, Rule.I_22)).containsExactly("of 4K: the secure world may have them (FF-A)");
    }

    @Test
    void guestsHaveVmidsOfTheirOwn() {
        Check check = check(machine(Era.V6_1)
                .guest(1, 0, PAGE, RAM | HOST_PAGE)
                .guest(1, 0, PAGE, RAM + PAGE | HOST_PAGE)
                .guest(0, 0, PAGE, RAM + 2 * PAGE | HOST_PAGE));
        assertThat(check.report().violations()).extracting(Violation::rule).containsExactly(Rule.I_28, Rule.I_28);
        assertThat(check.report().violations())
                .extracting(Violation::message)
                .containsExactly("guest:1 has VMID 1, as has guest:0", "guest:2 has VMID 0, which is the host's");
    }

    @Test
    void aRootIsAligned() {
        // Base bits below the size of the root are 0; bit 0 is CnP.
        assertThat(found(check(machine(Era.V6_1).register("VTTBR_EL2", 0x8000_0001L))))
                .isEmpty();
        assertThat(found(check(machine(Era.V6_1).register("VTTBR_EL2", 0x8000_0800L))))
                .containsExactly("I-7 80000000-80001000");
    }

    @Test
    void anUnprotectedGuestMayNotMapTheHypervisor() {
        assertThat(found(check(machine(Era.V6_1).guest(1, 0, PAGE, RAM + 0x10_2000 | HOST_PAGE))))
                .containsExactly("I-20 40102000-40103000");
    }

    @Test
    void aGuestSharesWithTheHostWhatTheHostBorrows() {
        long donated = 0x2000_0000_0000_0004L | 0x1000L << 4;
        MadeMachine own = machine(Era.V7_0).annotate(RAM, RAM + PAGE, donated).guest(1, 0, PAGE, RAM | HOST_PAGE);
        assertThat(found(check(own))).isEmpty();
        MadeMachine others =
                machine(Era.V7_0).annotate(RAM, RAM + PAGE, donated + (1L << 4)).guest(1, 0, PAGE, RAM | HOST_PAGE);
        assertThat(found(check(others))).containsExactly("I-24 40000000-40001000");
    }

    @Test
    void aDonationToAGuestThatIsNotKnownIsNotChecked() {
        Check check = check(machine(Era.V7_0).annotate(RAM, RAM + PAGE, 0x2000_0000_0000_0004L | 0x1003L << 4));
        assertThat(found(check)).isEmpty();
        assertThat(reasons(check, Rule.I_24)).contains("of 4K donated to guests: their tables are not known");
    }

    @Test
    void memoryThatEl2SharesIsBorrowedByTheHost() {
        long rodata = RAM + 0x20_0000;
        MadeMachine twins = machine(Era.V6_1)
                .hyp(LINEAR + rodata, rodata, rodata + PAGE, HYP_PAGE | 1 << 7 | SHARED)
                .host(rodata, rodata + PAGE, HOST_PAGE | BORROWED);
        assertThat(found(check(twins))).isEmpty();
        MadeMachine alone = machine(Era.V6_1).hyp(LINEAR + rodata, rodata, rodata + PAGE, HYP_PAGE | 1 << 7 | SHARED);
        assertThat(found(check(alone))).containsExactly("I-21 40200000-40201000");
        MadeMachine borrower = machine(Era.V6_1).host(rodata, rodata + PAGE, HOST_PAGE | BORROWED);
        assertThat(found(check(borrower))).containsExactly("I-20 40200000-40201000");
    }

    @Test
    void textAtAnotherAddressIsNotWritten() {
        assertThat(found(check(machine(Era.V6_1).hyp(STACKS + 8 * PAGE, RAM + 0x10_0000, RAM + 0x10_1000, HYP_PAGE))))
                .contains("I-26 40100000-40101000");
    }

    @Test
    void withoutAMachineNothingIsChecked() throws IOException {
        Check check = check(new MadeMachine().withoutHost().withoutHyp());
        assertThat(check.clean()).isTrue();
        assertThat(reasons(check, Rule.I_14)).containsExactly("there is no host table: there is none");
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        TextCheck.write(check, out);
        assertThat(out.toString(StandardCharsets.UTF_8)).startsWith("no rule is broken; there is no table\n");
        assertThat(reasons(check(new MadeMachine().withoutHyp()), Rule.I_14))
                .containsExactly("there is no EL2 table: there is none");
        assertThat(reasons(check(new MadeMachine()), Rule.I_14).getFirst())
                .startsWith("it is not known how this kernel writes ownership: ");
    }

    @Test
    void whatABlockCouldMapIsLint() {
        MadeMachine machine = machine(Era.V6_1).host(RAM + BLOCK, RAM + 2 * BLOCK, HOST_PAGE);
        Check check = check(machine);
        assertThat(check.clean()).isTrue();
        assertThat(check.lint())
                .containsExactly(new Lint(
                        Lint.Kind.COALESCE, "host", RAM + BLOCK, RAM + 2 * BLOCK, PAGE, "could be a block of 2M"));
    }

    @Test
    void aTableWithoutEntriesIsLint() throws IOException {
        Check check = check(machine(Era.V6_1).hostEntry(RAM + 3 * BLOCK, 3, 0));
        assertThat(check.lint()).extracting(Lint::kind).containsExactly(Lint.Kind.EMPTY_TABLE);
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        TextCheck.write(check, out);
        assertThat(out.toString(StandardCharsets.UTF_8)).contains("could be better: 1 place, 4K of tables");
    }

    /// The table pages of [MadeMachine] lie one behind the other, as if they were of the pools.
    private static long tableOf(MadeMachine machine, long address) {
        TranslationTable host = machine.host().optional().orElseThrow();
        return host.translate(address) instanceof Translation.Fault(var path, int _, long _)
                ? path.getLast().address() & -PAGE
                : 0;
    }

    private static List<Lint> leaked(Check check) {
        return check.lint().stream()
                .filter(lint -> lint.kind() == Lint.Kind.LEAKED_TABLE)
                .toList();
    }

    @Test
    void aPageOfAPoolThatCountsAsInUseAndIsInNoTableIsLint() throws IOException {
        MadeMachine machine = machine(Era.V6_1).hostEntry(RAM + 3 * BLOCK, 3, 4);
        long page = tableOf(machine, RAM + 3 * BLOCK);
        machine.frame(VMEMMAP, 4, page, 2).host(RAM + 4 * BLOCK, RAM + 4 * BLOCK + PAGE, HOST_PAGE);
        assertThat(leaked(check(machine))).isEmpty();
        machine.hostEntry(RAM + 3 * BLOCK, 2, 0);
        Check check = check(machine);
        assertThat(leaked(check))
                .containsExactly(new Lint(
                        Lint.Kind.LEAKED_TABLE,
                        "pools",
                        page,
                        page + PAGE,
                        PAGE,
                        "in use as tables, and no table reaches it"));
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        TextCheck.write(check, out);
        assertThat(out.toString(StandardCharsets.UTF_8))
                .contains("  pools   0x0000" + Long.toHexString(page) + "-")
                .contains("  in use as tables, and no table reaches it, saves 4K\n");
    }

    @Test
    void aFreePageBetweenTablesIsNoLint() {
        MadeMachine machine = machine(Era.V6_1).hostEntry(RAM + 3 * BLOCK, 3, 4);
        long page = tableOf(machine, RAM + 3 * BLOCK);
        machine.frame(VMEMMAP, 4, page, 0x0000_0000L)
                .host(RAM + 4 * BLOCK, RAM + 4 * BLOCK + PAGE, HOST_PAGE)
                .hostEntry(RAM + 3 * BLOCK, 2, 0);
        assertThat(leaked(check(machine))).isEmpty();
    }

    @Test
    void memoryThatNoPoolNeedsToHaveIsNotLookedAt() {
        MadeMachine machine = machine(Era.V6_1).frame(VMEMMAP, 4, 0x8000_0000L + 250 * PAGE, 1);
        assertThat(leaked(check(machine))).isEmpty();
    }

    @Test
    void whereLeakedPagesCannotBeToldItSaysWhy() throws IOException {
        assertThat(notLooked(machine(Era.V6_1).withoutHost())).containsExactly("there is no host table: there is none");
        assertThat(notLooked(machine(Era.V6_1).withoutHyp())).containsExactly("there is no EL2 table: there is none");
        assertThat(notLooked(new MadeMachine()).getFirst()).startsWith("counts are in the hyp_vmemmap: ");
        assertThat(notLooked(machine(Era.V6_1).hostEntry(RAM + 3 * BLOCK, 2, 0x7_0000_0003L)))
                .containsExactly("the host table could not be read whole");
        assertThat(notLooked(machine(Era.V6_1)).getFirst())
                .matches("of \\d+K: the pages of the hyp_vmemmap are not in this memory");
        assertThat(notLooked(machine(Era.V6_1).frame(VMEMMAP, 4, 0x8000_0000L, 1)))
                .containsExactly("of VMs: their pools are in structures that no table leads to");
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        JsonCheck.write(check(machine(Era.V6_1)), out);
        assertThat(out.toString(StandardCharsets.UTF_8))
                .contains(
                        "{\"rule\":\"leaked-table\",\"reason\":\"of VMs: their pools are in structures that no table leads"
                                + " to\"}]}");
    }

    private static List<String> notLooked(MadeMachine machine) {
        return check(machine).notLooked().stream().map(Lint.NotLooked::reason).toList();
    }

    @Test
    void whatIsNotCheckedOfARootIsSaid() {
        assertThat(reasons(check(machine(Era.V6_1)), Rule.I_7))
                .containsExactly(
                        "from which pool a table page is: where pools are is in the hypervisor's data section");
    }

    @Test
    void aBlockInTheWrongPlaceIsSaidOnceForAll() {
        long at = RAM + 2 * BLOCK;
        assertThat(found(check(machine(Era.V6_1).hostEntry(at, 2, at + BLOCK | HOST_BLOCK))))
                .containsExactly("I-10 40400000-40600000");
    }

    @Test
    void aTextThatIsTooLongSaysSo() throws IOException {
        MadeMachine machine = machine(Era.V6_1);
        for (int i = 0; i < 25; i++) {
            machine.host(RAM + 2 * i * PAGE, RAM + (2 * i + 1) * PAGE, HOST_PAGE | 1L << 52);
        }
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        TextCheck.write(check(machine), out);
        assertThat(out.toString(StandardCharsets.UTF_8))
                .startsWith("25 violations of 1 rule: I-5 in host, hyp")
                .contains("and 5 more; --format json has all");
    }
}
