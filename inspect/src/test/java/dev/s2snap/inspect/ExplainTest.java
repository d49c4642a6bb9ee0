package dev.s2snap.inspect;

import static dev.s2snap.inspect.MadeMachine.BLOCK;
import static dev.s2snap.inspect.MadeMachine.BORROWED;
import static dev.s2snap.inspect.MadeMachine.HOST_PAGE;
import static dev.s2snap.inspect.MadeMachine.HYP_OWNED;
import static dev.s2snap.inspect.MadeMachine.HYP_PAGE;
import static dev.s2snap.inspect.MadeMachine.PAGE;
import static dev.s2snap.inspect.MadeMachine.SHARED;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.groups.Tuple.tuple;

import dev.s2snap.inspect.ExplainedWalk.Outcome;
import dev.s2snap.inspect.ExplainedWalk.Role;
import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.PageState;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ExplainTest {
    private static final long RAM = 0x4000_0000L;
    private static final long LINEAR = 0xd000_0000_0000L;
    private static final long FRAMES = 0x6000_0000_0000L;
    private static final long PRIVATE = 0x4000_0000_1000L;

    private static Explanation explain(Reading reading, String address) {
        return Explain.of(reading, ExplainAddress.parse(address));
    }

    /// A machine of 6.12: pages of the host, of the hypervisor, shared both ways, its stack, and a guest's.
    private static MadeMachine old() {
        return new MadeMachine()
                .era(Era.V6_1)
                .vmemmap(FRAMES, 4)
                .regions(
                        new MemoryRegion(RAM, 0x20_0000, 0),
                        new MemoryRegion(RAM + 0x20_0000, PAGE, MemoryRegion.NOMAP))
                .host(RAM, RAM + PAGE, HOST_PAGE)
                .annotate(RAM + PAGE, RAM + 2 * PAGE, HYP_OWNED)
                .host(RAM + 2 * PAGE, RAM + 3 * PAGE, HOST_PAGE | SHARED)
                .host(RAM + 3 * PAGE, RAM + 4 * PAGE, HOST_PAGE | BORROWED)
                .host(0x900_0000L, 0x900_1000L, (HOST_PAGE & ~4L) | 1L << 54)
                .hyp(LINEAR + RAM + PAGE, RAM + PAGE, RAM + 2 * PAGE, HYP_PAGE)
                .hyp(LINEAR + RAM + 2 * PAGE, RAM + 2 * PAGE, RAM + 3 * PAGE, HYP_PAGE | BORROWED)
                .hyp(LINEAR + RAM + 3 * PAGE, RAM + 3 * PAGE, RAM + 4 * PAGE, HYP_PAGE | SHARED)
                .hyp(PRIVATE, RAM + 5 * PAGE, RAM + 6 * PAGE, HYP_PAGE)
                .guest(1, 0x8000_0000L, 0x8000_1000L, RAM | HOST_PAGE);
    }

    /// A machine of 7.3, whose states are in the hyp_vmemmap.
    private static MadeMachine recent() {
        return new MadeMachine()
                .era(Era.V7_0)
                .vmemmap(FRAMES, 8)
                .regions(new MemoryRegion(RAM, 0x20_0000, 0))
                .host(RAM, RAM + PAGE, HOST_PAGE)
                .annotate(RAM + PAGE, RAM + 2 * PAGE, 0x2000_0080_0001_0004L)
                .host(RAM + 2 * PAGE, RAM + 4 * PAGE, HOST_PAGE)
                .frame(FRAMES, 8, RAM, 0x00ff_0000L)
                .frame(FRAMES, 8, RAM + PAGE, 0x03ff_0000L)
                .frame(FRAMES, 8, RAM + 2 * PAGE, 0x1100_0002L)
                .frame(FRAMES, 8, RAM + 3 * PAGE, 0x2_0100_0000L)
                .guest(1, 0x8000_0000L, 0x8000_1000L, RAM + PAGE | HOST_PAGE);
    }

    private static List<String> effects(Explanation explanation) {
        return explanation.effects().stream()
                .map(effect -> effect.operation() + " " + effect.verdict().id() + " " + effect.result())
                .toList();
    }

    private static String why(Explanation explanation, String operation) {
        return explanation.effects().stream()
                .filter(effect -> effect.operation().equals(operation))
                .findFirst()
                .orElseThrow()
                .why();
    }

    private static String text(Explanation explanation) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        TextExplanation.write(explanation, out);
        return out.toString(StandardCharsets.UTF_8);
    }

    @Test
    void aPageOfTheHostIsExplained() {
        Explanation page = explain(Reading.of(old()), "0x40000123");
        assertThat(page.physical()).hasValue(0x4000_0123L);
        assertThat(page.start()).isEqualTo(RAM);
        assertThat(page.end()).isEqualTo(RAM + PAGE);
        assertThat(page.owner()).hasValue("host");
        assertThat(page.summary())
                .containsExactly("0x40000123: host; memory", "mapped by host at 0x40000000, guest:0 at 0x80000000");
        assertThat(page.walks()).extracting(ExplainedWalk::table).containsExactly("host", "guest:0");
        ExplainedWalk host = page.walks().getFirst();
        assertThat(host.role()).isEqualTo(Role.HOST);
        assertThat(host.output()).hasValue(0x4000_0123L);
        assertThat(host.steps()).extracting(ExplainedWalk.Step::level).containsExactly(0, 1, 2, 3);
        assertThat(host.last().orElseThrow().index()).isZero();
        assertThat(host.leaf().orElseThrow().start()).isEqualTo(RAM);
        assertThat(effects(page))
                .containsExactly(
                        "host read allowed allowed",
                        "host write allowed allowed",
                        "host execute allowed allowed",
                        "host_share_hyp allowed 0",
                        "host_unshare_hyp refused -EPERM",
                        "host_donate_hyp allowed 0",
                        "host_share_guest refused no call",
                        "host_donate_guest refused no call");
        assertThat(page.complete()).isTrue();
        assertThat(page.release()).isEqualTo("as 6.12 checks");
    }

    @Test
    void aPageOfTheHypervisorStopsTheMachineBefore7_0() {
        Explanation page = explain(Reading.of(old()), "0x40001000");
        assertThat(page.owner()).hasValue("hyp");
        assertThat(page.walks()).extracting(ExplainedWalk::outcome).containsExactly(Outcome.INVALID, Outcome.MAPPED);
        assertThat(page.walks().getLast().purpose()).isEqualTo("the linear map");
        assertThat(effects(page)).contains("host read refused panic", "host_share_hyp refused -EPERM");
        assertThat(why(page, "host read")).contains("annotated").contains("it panics");
        assertThat(page.states())
                .extracting(Explanation.State::who, Explanation.State::words, Explanation.State::place)
                .contains(
                        tuple("host", "no page", "its entry is annotated"),
                        tuple("hyp", "owned", "bits 56:55 of its entry in the linear map, at 0xd00040001000"));
    }

    @Test
    void theReferencesOfASharedPageKeepItShared() {
        MadeMachine machine = old().frame(FRAMES, 4, RAM + 2 * PAGE, 1);
        Explanation page = explain(Reading.of(machine), "0x40002000");
        assertThat(page.owner()).hasValue("host, shared with hyp");
        assertThat(effects(page)).contains("host_unshare_hyp refused -EBUSY", "host_share_hyp refused -EPERM");
        assertThat(why(page, "host_unshare_hyp")).isEqualTo("the host's state passes; there is 1 reference to it");
        Explanation two = explain(Reading.of(old().frame(FRAMES, 4, RAM + 2 * PAGE, 2)), "0x40002000");
        assertThat(why(two, "host_unshare_hyp")).endsWith("there are 2 references to it");
        Explanation free = explain(Reading.of(old().frame(FRAMES, 4, RAM + 2 * PAGE, 0)), "0x40002000");
        assertThat(effects(free)).contains("host_unshare_hyp allowed 0");
        Explanation uncounted = explain(Reading.of(old()), "0x40002000");
        assertThat(effects(uncounted)).contains("host_unshare_hyp depends 0 without references");
    }

    @Test
    void whatTheHypervisorLooksAtWithAnOptionOnlyDependsOnIt() {
        MadeMachine machine = old().host(RAM + 6 * PAGE, RAM + 7 * PAGE, HOST_PAGE | SHARED)
                .host(RAM + 7 * PAGE, RAM + 8 * PAGE, HOST_PAGE)
                .hyp(LINEAR + RAM + 7 * PAGE, RAM + 7 * PAGE, RAM + 8 * PAGE, HYP_PAGE)
                .frame(FRAMES, 4, RAM, 0);
        Explanation shared = explain(Reading.of(machine), "0x40006000");
        assertThat(effects(shared)).contains("host_unshare_hyp depends -EPERM with CONFIG_NVHE_EL2_DEBUG");
        assertThat(why(shared, "host_unshare_hyp"))
                .contains("has to be borrowed, and is no page")
                .endsWith("panics");
        Explanation owned = explain(Reading.of(machine), "0x40007000");
        assertThat(effects(owned)).contains("host_share_hyp depends -EPERM with CONFIG_NVHE_EL2_DEBUG");
        assertThat(why(owned, "host_share_hyp")).endsWith("which is looked at with that option only");
    }

    /// 6.12 asks the linear map what a page is to the hypervisor, and a stack is not in it.
    @Test
    void aStackThatTheHostHasBreaksARuleAndCouldBeShared() {
        Explanation page = explain(Reading.of(old()), "0x40005000");
        assertThat(page.owner()).hasValue("! host, yet EL2 owns it too");
        assertThat(page.summary().getFirst()).contains("an EL2 stack");
        assertThat(page.walks().getLast().purpose()).isEqualTo("a stack in the private range");
        assertThat(page.violations()).isNotEmpty();
        assertThat(effects(page)).contains("host read allowed allowed", "host_donate_hyp allowed 0");
        assertThat(page.states())
                .filteredOn(state -> state.who().equals("hyp"))
                .extracting(Explanation.State::words)
                .containsExactly("no page", "owned");
    }

    @ParameterizedTest
    @CsvSource({
        // A page of memory between mapped ones: level 3.
        "0x40008000, this page rwx: it is memory",
        // No memory: 1G has no memory in it but the device that is mapped already.
        "0x9002000, this page rw: it is no memory",
        "0x80000000, the 1G around it rw: it is no memory",
        "0x40500000, the 2M around it rw: it is no memory",
        // Memory ends in the same 2M.
        "0x40300000, the 4K around it rw: it is no memory",
        "0x40200000, NOMAP",
    })
    void whatIsEmptyIsMappedAsLargeAsFits(String address, String words) {
        MadeMachine machine = old();
        Explanation page = explain(Reading.of(machine), address);
        if (words.equals("NOMAP")) {
            assertThat(page.summary().getFirst()).endsWith("nobody; NOMAP memory");
            assertThat(why(page, "host_share_hyp")).contains("memory that is marked NOMAP");
            assertThat(page.states().getFirst().place()).isEqualTo("it is NOMAP memory");
        } else {
            assertThat(why(page, "host read")).endsWith("maps " + words);
        }
    }

    @Test
    void since6_16OnlyLevelsWithBlocksAreTried() {
        MadeMachine made = new MadeMachine().regions(new MemoryRegion(RAM, PAGE, 0));
        // Nothing but an empty root: 6.12 takes all 512G of an entry at level 0.
        assertThat(why(explain(Reading.of(made, Era.V6_1, "test"), "0x8000000000"), "host read"))
                .endsWith("maps the 512G around it rw: it is no memory");
        assertThat(why(explain(Reading.of(made, Era.V6_17, "test"), "0x8000000000"), "host read"))
                .endsWith("maps the 1G around it rw: it is no memory");
        assertThat(why(explain(Reading.of(made, Era.V6_14, "test"), "0x8000000000"), "host read"))
                .endsWith("maps it, as a page or with a block around it, rw: it is no memory");
        assertThat(why(explain(Reading.of(made, Era.V6_17, "test"), "0x40000000"), "host read"))
                .endsWith("maps the 4K around it rwx: it is memory");
    }

    @Test
    void aDeviceIsNotExecutedAndNotGivenAway() {
        Explanation page = explain(Reading.of(old()), "0x9000000");
        assertThat(page.owner()).hasValue("host, not memory");
        assertThat(page.summary().getFirst()).isEqualTo("0x9000000: host, not memory");
        assertThat(effects(page))
                .contains(
                        "host read allowed allowed",
                        "host execute refused fault",
                        "host_share_hyp refused -EPERM",
                        "host_donate_hyp refused -EPERM");
        assertThat(why(page, "host execute")).contains("the entry permits rw-").contains("(-EAGAIN)");
        assertThat(why(page, "host_share_hyp")).endsWith("this is no memory");
        assertThat(effects(explain(Reading.of(old()), "0x80000000"))).contains("host execute refused fault");
    }

    @Test
    void withoutAMemoryMapAnEmptyEntryIsMemoryOrNot() throws IOException {
        MadeMachine machine = new MadeMachine().host(RAM, RAM + PAGE, HOST_PAGE).frame(FRAMES, 4, RAM, 0);
        Explanation page = explain(Reading.of(machine, Era.V6_1, "test"), "0x40001000");
        assertThat(page.owner()).isEmpty();
        assertThat(page.summary().getFirst())
                .isEqualTo("0x40001000: it is not known whose it is; memory or not: the memory map is not known");
        assertThat(page.summary().getLast()).isEqualTo("mapped by nobody");
        assertThat(effects(page))
                .contains(
                        "host read depends allowed",
                        "host execute depends allowed in memory",
                        "host_share_hyp depends 0 if it is memory");
        assertThat(page.states().getFirst().value()).isEmpty();
        assertThat(text(page)).contains("  host read,\n  host write         allowed: a stage-2 translation fault");
    }

    @Test
    void aDonatedPageIsTheGuestsAndTheHostIsAborted() {
        Explanation page = explain(Reading.of(recent()), "0x40001000");
        assertThat(page.owner()).hasValue("guest handle 0x1000");
        assertThat(page.summary().getFirst()).isEqualTo("0x40001000: guest handle 0x1000 frame 0x80000; memory");
        assertThat(effects(page)).contains("host read refused abort", "host_donate_guest refused -EPERM");
        assertThat(page.states())
                .extracting(Explanation.State::who)
                .containsExactly("host", "hyp", "guest:0", "references", "guest shares");
        assertThat(page.release()).isEqualTo("as 7.3 checks");
    }

    @Test
    void stateIn7_3IsAskedOfTheHypVmemmap() {
        Explanation owned = explain(Reading.of(recent()), "0x40000000");
        assertThat(effects(owned))
                .contains(
                        "host_share_hyp allowed 0",
                        "host_share_guest depends 0 if the guest's side passes",
                        "host_donate_guest depends 0 if the guest's side passes");
        assertThat(why(owned, "host_share_hyp")).endsWith("which maps it rw when it pins it");
        Explanation pinned = explain(Reading.of(recent()), "0x40002000");
        assertThat(why(pinned, "host_unshare_hyp")).isEqualTo("both states pass; there are 2 references to it");
        Explanation guests = explain(Reading.of(recent()), "0x40003000");
        assertThat(why(guests, "host_share_guest")).startsWith("the host shares it with 2 already");
        assertThat(effects(guests)).contains("host_unshare_hyp refused -EPERM");
        assertThat(why(guests, "host_unshare_hyp"))
                .contains("the hypervisor's state has to be borrowed, and is no page");
    }

    @Test
    void aFrameWithoutAnEntryHasNoState() {
        Explanation page = explain(Reading.of(recent()), "0x60000000");
        assertThat(page.states().getFirst().place()).isEqualTo("the hyp_vmemmap has no entry for it at hand");
        Reading nowhere = Reading.of(new MadeMachine().host(RAM, RAM + PAGE, HOST_PAGE), Era.V7_0, "test");
        Explanation unread = explain(nowhere, "0x40000000");
        assertThat(unread.states().getFirst().words()).isEqualTo("not known");
        assertThat(effects(unread)).contains("host_share_hyp unknown not known");
    }

    @Test
    void betweenTheKernelsThatAreKnownNothingIsGuessed() {
        Explanation page = explain(Reading.of(old(), Era.V6_14, "test"), "0x40000000");
        assertThat(effects(page))
                .contains(
                        "host read allowed allowed",
                        "host_share_hyp unknown not known",
                        "host_donate_guest unknown not known");
        assertThat(why(page, "host_share_hyp")).contains("is not known here");
        assertThat(effects(explain(Reading.of(old(), Era.V6_14, "test"), "0x40001000")))
                .contains("host read refused fault");
        assertThat(why(explain(Reading.of(old(), Era.V6_17, "test"), "0x9000000"), "host execute"))
                .endsWith("what the hypervisor does about it is not known here");
        assertThat(page.release()).isEqualTo("of kernels 6.14 to 6.16");
        Explanation unknown = explain(Reading.of(new MadeMachine().host(RAM, RAM + PAGE, HOST_PAGE)), "0x40000000");
        assertThat(why(unknown, "host_share_hyp")).isEqualTo("the kernel's release is not known");
        assertThat(unknown.states()).extracting(Explanation.State::words).containsOnly("not known");
        assertThat(unknown.release()).isEqualTo("kernel not known");
    }

    @Test
    void anAddressOfAGuestIsFollowed() {
        Explanation page = explain(Reading.of(old()), "guest:0:0x80000010");
        assertThat(page.physical()).hasValue(RAM + 0x10);
        assertThat(page.summary().getFirst()).isEqualTo("guest:0:0x80000010 is 0x40000010: host; memory");
        assertThat(page.walks())
                .extracting(ExplainedWalk::table, ExplainedWalk::role)
                .containsExactly(tuple("guest:0", Role.ASKED), tuple("host", Role.HOST));
        assertThat(page.walks().getFirst().purpose()).isEqualTo("the guest with VMID 1");
        assertThat(explain(Reading.of(old()), "guest:vmid=1:0x80000010")
                        .walks()
                        .getFirst()
                        .table())
                .isEqualTo("guest:0");
        assertThat(explain(Reading.of(recent()), "guest:handle=0x1000:0x80000000")
                        .owner())
                .hasValue("guest handle 0x1000");
    }

    @Test
    void anAddressOfEl2IsFollowed() {
        Explanation page = explain(Reading.of(old()), "hyp:0xd00040001008");
        assertThat(page.physical()).hasValue(RAM + PAGE + 8);
        assertThat(page.walks()).extracting(ExplainedWalk::table).containsExactly("hyp", "host");
    }

    @Test
    void anAddressOfTheHostIsFollowedThroughBothStages() {
        MadeMachine machine = old().el1(0xffff_8000_0000_0000L, RAM, RAM + PAGE, 0x703)
                .el1(0xffff_8000_0010_0000L, RAM, RAM + PAGE, 0x703);
        Explanation page = explain(Reading.of(machine), "host:0xffff800000000004");
        assertThat(page.physical()).hasValue(RAM + 4);
        assertThat(page.walks())
                .extracting(ExplainedWalk::table)
                .containsExactly("el1:upper", "host", "guest:0", "el1:upper");
        assertThat(page.walks().getLast().input()).isEqualTo(0xffff_8000_0010_0000L);
        assertThat(page.walks().getFirst().leaf()).isPresent();
        assertThat(page.remarks()).isEmpty();
    }

    /// That is wrong (I-10), and is told as the tables say it.
    @Test
    void aHostThatIsNoIdentityMapReachesTheOtherPage() {
        MadeMachine machine = old().hostEntry(RAM + 9 * PAGE, 3, RAM | HOST_PAGE)
                .el1(0xffff_8000_0000_0000L, RAM + 9 * PAGE, RAM + 10 * PAGE, 0x703);
        Explanation page = explain(Reading.of(machine), "host:0xffff800000000000");
        assertThat(page.physical()).hasValue(RAM);
        assertThat(page.walks())
                .extracting(ExplainedWalk::table, ExplainedWalk::input)
                .contains(tuple("host", RAM + 9 * PAGE), tuple("host", RAM));
        Explanation other = explain(Reading.of(machine), "0x40009000");
        assertThat(why(other, "host read")).endsWith("and reaches another page");
        assertThat(other.violations()).extracting(v -> v.rule().id()).contains("I-10");
    }

    @Test
    void anAddressThatLeadsNowhereIsAnAnswer() throws IOException {
        Explanation nowhere = explain(Reading.of(old()), "guest:0:0x90000000");
        assertThat(nowhere.physical()).isEmpty();
        assertThat(nowhere.complete()).isTrue();
        assertThat(nowhere.summary())
                .containsExactly("guest:0:0x90000000 leads to no physical address: the guest:0 table does not map it:"
                        + " the entry at level 2 is empty");
        assertThat(text(nowhere)).contains("level 2  entry 128").doesNotContain("what would happen");
        Explanation invalid = explain(Reading.of(old().hypEntry(PRIVATE + 3 * PAGE, 0x702)), "hyp:0x400000004000");
        assertThat(text(invalid)).contains("the entry at level 3 is invalid").contains("left over from a mapping");
        Explanation reserved = explain(Reading.of(old().hostEntry(RAM + 9 * PAGE, 3, RAM | 1)), "0x40009000");
        assertThat(text(reserved)).contains("the entry at level 3 is a reserved encoding");
        assertThat(effects(reserved)).contains("host read refused fault", "host_share_hyp unknown not known");
    }

    @Test
    void entriesThatFaultForAnotherReasonSayWhich() {
        Explanation unaccessed = explain(
                Reading.of(old().hostEntry(RAM + 9 * PAGE, 3, RAM + 9 * PAGE | (HOST_PAGE & ~0x400L))), "0x40009000");
        assertThat(why(unaccessed, "host read")).startsWith("an access flag fault, unless hardware sets the flag");
        Explanation writeOnly = explain(
                Reading.of(old().hostEntry(RAM + 9 * PAGE, 3, RAM + 9 * PAGE | (HOST_PAGE & ~0x40L))), "0x40009000");
        assertThat(effects(writeOnly))
                .contains("host read refused fault", "host write allowed allowed", "host execute refused fault");
        MadeMachine noXnx = old().hostEntry(RAM + 9 * PAGE, 3, RAM + 9 * PAGE | HOST_PAGE | 1L << 53)
                .without("ID_AA64MMFR1_EL1");
        assertThat(effects(explain(Reading.of(noXnx), "0x40009000"))).contains("host execute depends not known");
        MadeMachine indirect = old().register("VTCR_EL2", 0x8002_3590L | 1L << 36);
        assertThat(effects(explain(Reading.of(indirect), "0x40000000"))).contains("host read depends not known");
    }

    @Test
    void aMissingTableIsNamedAndTheRestIsTold() throws IOException {
        MadeMachine machine = old().hostEntry(1L << 30, 1, 0x7_0000_0003L);
        Explanation page = explain(Reading.of(machine), "0x40001000");
        assertThat(page.complete()).isFalse();
        assertThat(page.owner()).isEmpty();
        ExplainedWalk host = page.walks().getFirst();
        assertThat(host.outcome()).isEqualTo(Outcome.UNREADABLE);
        assertThat(host.says())
                .isEqualTo("cannot be followed: the level 2 table page at 0x700000000 is not in this memory");
        assertThat(page.walks().getLast().table()).isEqualTo("hyp");
        assertThat(effects(page)).contains("host read unknown not known");
        assertThat(page.remarks().getFirst())
                .isEqualTo("the host table could not be read whole: 1G of its addresses are not known");
        assertThat(text(page)).contains("note: the host table could not be read whole");
        Explanation guest = explain(Reading.of(old().pointGuest(0)), "guest:0:0x8000000000");
        assertThat(guest.complete()).isFalse();
        assertThat(guest.summary().getFirst()).startsWith("it is not known where guest:0:0x8000000000 leads");
    }

    @Test
    void aMachineWithoutATableIsExplainedByTheOthers() {
        Explanation noHost = explain(Reading.of(old().withoutHost()), "0x40001000");
        assertThat(noHost.walks()).extracting(ExplainedWalk::table).containsExactly("hyp");
        assertThat(noHost.effects()).isEmpty();
        assertThat(noHost.remarks()).contains("the host table is not known: there is none");
        Explanation noHyp = explain(Reading.of(old().withoutHyp(), Era.V6_1, "test"), "0x40001000");
        assertThat(noHyp.walks()).extracting(ExplainedWalk::table).containsExactly("host");
        assertThat(noHyp.states().get(1).place()).isEqualTo("there is no EL2 table");
        assertThat(explain(Reading.of(old().withoutHost().withoutHyp()), "0x40000000")
                        .walks())
                .extracting(ExplainedWalk::table)
                .containsExactly("guest:0");
    }

    @Test
    void ofATableThatMapsThePageEverywhereSomePlacesAreTold() throws IOException {
        MadeMachine machine = old();
        for (int i = 0; i < 20; i++) {
            machine.hyp(0x1000_0000L + 2L * i * PAGE, RAM + PAGE, RAM + 2 * PAGE, HYP_PAGE);
        }
        Explanation page = explain(Reading.of(machine), "0x40001000");
        assertThat(page.walks()).hasSize(9);
        assertThat(page.notListed()).containsEntry("hyp", 13);
        assertThat(page.summary().getLast()).endsWith(" and 13 more times");
        assertThat(text(page)).contains("\nhyp: 13 more places that map it\n");
    }

    @ParameterizedTest
    @CsvSource({
        "0x1000000000000, is no physical address of the host table",
        "guest:0:0x1000000000000, is no address of the guest:0 table",
        "hyp:0x1000000000000, is no address of the hyp table",
        "guest:5:0x1000, there is no guest:5",
        "host:0x1000, the el1:lower table is not known: the registers lack",
    })
    void whatIsBeyondATableIsRefused(String address, String message) {
        assertThatExceptionOfType(NoAnswerException.class)
                .isThrownBy(() -> explain(Reading.of(old()), address))
                .withMessageContaining(message);
    }

    @Test
    void linesAreNoLongerThanAScreen() throws IOException {
        for (String address : List.of("0x40000000", "0x40001000", "0x40005000", "hyp:0xd00040001008", "0x80000000")) {
            assertThat(text(explain(Reading.of(old()), address)).lines()).allMatch(line -> line.length() <= 120);
        }
    }

    @Test
    void theTextHasEveryPartInItsOrder() throws IOException {
        assertThat(text(explain(Reading.of(old()), "0x40005000")))
                .startsWith("0x40005000: ! host, yet EL2 owns it too; an EL2 stack, memory\n")
                .containsSubsequence(
                        "mapped by hyp at 0x400000001000",
                        "\nhost 0x40005000 (the host's way to this address) does not map it: the entry at level 3 is empty\n",
                        "\nhyp 0x400000001000 (also maps it, a stack in the private range) maps to 0x40005000",
                        "  in the run 0x400000001000-0x400000002000 of alike entries at level 3\n",
                        "      [47:12] output address  0x40005000\n",
                        "\npage state\n",
                        "\nrules that it breaks\n",
                        "  I-20 (critical) ",
                        "\nwhat would happen, as 6.12 checks; accesses as far as stage 2 decides\n",
                        "\nnote: the host's own stage 1 is not in this memory");
    }

    @Test
    void statesAndBlocksAreReadAtTheirOwnLevel() {
        MadeMachine machine = new MadeMachine().era(Era.V6_1).hostBlock(RAM).hyp(LINEAR, 0, PAGE, HYP_PAGE);
        Explanation page = explain(Reading.of(machine), Long.toString(RAM + BLOCK - 1));
        assertThat(page.walks().getFirst().says())
                .isEqualTo("maps to 0x401fffff with a 2M block: rwx, normal WB, inner shareable");
        assertThat(page.states().getFirst().value()).hasValue(PageState.OWNED.name());
        assertThat(page.start()).isEqualTo(RAM + BLOCK - PAGE);
    }

    @Test
    void programsGetOneObject() throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        JsonExplanation.write(explain(Reading.of(old()), "guest:0:0x8000000000"), "a \"name\"", out);
        assertThat(out.toString(StandardCharsets.UTF_8)).isEqualTo("""
                {"schema":1,
                "source":"a \\"name\\"",
                "address":"guest:0:0x8000000000",
                "physical":null,"start":null,"end":null,
                "complete":true,
                "owner":null,
                "summary":[
                "guest:0:0x8000000000 leads to no physical address: the guest:0 table does not map it: the entry at level 0 is empty"],
                "walks":[
                {"table":"guest:0","regime":"stage2","role":"asked","purpose":"the guest with VMID 1","input":"0x8000000000",\
                "outcome":"empty","output":null,"says":"does not map it: the entry at level 0 is empty","leaf":null,"steps":[
                 {"level":0,"page":"0x8000d000","index":1,"address":"0x8000d008","inputAddress":"0x8000000000",\
                "descriptor":"0x0","kind":"empty","fields":[
                  {"high":63,"low":1,"name":"IGNORED","value":"0x0","meaning":"not looked at"},
                  {"high":0,"low":0,"name":"VALID","value":"0x0","meaning":"invalid: a translation fault"}]}]}],
                "aliasesNotListed":{},
                "states":[],
                "violations":[],
                "effects":[],
                "effectsRelease":"as 6.12 checks",
                "remarks":[]}
                """);
        out.reset();
        JsonExplanation.write(explain(Reading.of(old()), "0x40005000"), "b", out);
        assertThat(out.toString(StandardCharsets.UTF_8))
                .contains("\"owner\":\"! host, yet EL2 owns it too\"")
                .contains(
                        "\"leaf\":{\"start\":\"0x400000001000\",\"end\":\"0x400000002000\",\"level\":3,\"kind\":\"page\",\"pa\":\"0x40005000\"")
                .contains("{\"rule\":\"I-20\",\"severity\":\"critical\"")
                .contains("{\"operation\":\"host read\",\"verdict\":\"allowed\",\"result\":\"allowed\"");
    }
}
