package dev.s2snap.inspect;

import static dev.s2snap.inspect.MadeMachine.BORROWED;
import static dev.s2snap.inspect.MadeMachine.HOST_PAGE;
import static dev.s2snap.inspect.MadeMachine.HYP_DEVICE;
import static dev.s2snap.inspect.MadeMachine.HYP_OWNED;
import static dev.s2snap.inspect.MadeMachine.HYP_PAGE;
import static dev.s2snap.inspect.MadeMachine.SHARED;
import static dev.s2snap.pkvm.PageState.NOPAGE;
import static dev.s2snap.pkvm.PageState.OWNED;
import static dev.s2snap.pkvm.PageState.RESERVED;
import static dev.s2snap.pkvm.PageState.SHARED_BORROWED;
import static dev.s2snap.pkvm.PageState.SHARED_OWNED;
import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.PageState;
import java.util.List;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class OwnershipRunsTest {
    /// Where EL2 has its linear map: virtual minus physical address.
    private static final long LINEAR = 0xd000_0000_0000L;

    /// Where the hyp_vmemmap is, if there is one.
    private static final long FRAMES = 0x6000_0000_0000L;

    private static StateRun run(long start, long end, PageState host, PageState hyp, long shares) {
        return new StateRun(start, end, host, hyp, OptionalLong.of(shares));
    }

    private static StateRun run(long start, long end, PageState host, PageState hyp) {
        return new StateRun(start, end, host, hyp, OptionalLong.empty());
    }

    private static OwnershipRuns.Result of(MadeMachine machine) {
        return OwnershipRuns.of(Reading.of(machine, Era.V6_1, "test"))
                .optional()
                .orElseThrow();
    }

    private static OwnershipRuns.Result of(Reading reading) {
        return OwnershipRuns.of(reading).optional().orElseThrow();
    }

    private static MadeMachine linear(MadeMachine machine, long start, long end, long attributes) {
        return machine.hyp(LINEAR + start, start, end, attributes);
    }

    @Test
    void statesAreInBits56And55AndAnnotationsAreNoPages() {
        MadeMachine machine = new MadeMachine()
                .hostBlock(0x4000_0000L)
                .host(0x4020_0000L, 0x4020_2000L, HOST_PAGE)
                .host(0x4020_2000L, 0x4020_3000L, HOST_PAGE | SHARED)
                .host(0x4020_3000L, 0x4020_4000L, HOST_PAGE | BORROWED)
                .host(0x4020_4000L, 0x4020_5000L, HOST_PAGE | SHARED | BORROWED)
                .annotate(0x4020_5000L, 0x4020_8000L, HYP_OWNED);
        assertThat(of(machine).runs())
                .containsExactly(
                        run(0x4000_0000L, 0x4020_2000L, OWNED, NOPAGE),
                        run(0x4020_2000L, 0x4020_3000L, SHARED_OWNED, NOPAGE),
                        run(0x4020_3000L, 0x4020_4000L, SHARED_BORROWED, NOPAGE),
                        run(0x4020_4000L, 0x4020_5000L, RESERVED, NOPAGE),
                        run(0x4020_5000L, 0x4020_8000L, NOPAGE, NOPAGE));
    }

    @Test
    void whatEl2MapsCutsTheHostsBlocks() {
        MadeMachine machine = new MadeMachine().hostBlock(0x4000_0000L);
        linear(machine, 0x4010_0000L, 0x4010_2000L, HYP_PAGE | BORROWED);
        assertThat(of(machine).runs())
                .containsExactly(
                        run(0x4000_0000L, 0x4010_0000L, OWNED, NOPAGE),
                        run(0x4010_0000L, 0x4010_2000L, OWNED, SHARED_BORROWED),
                        run(0x4010_2000L, 0x4020_0000L, OWNED, NOPAGE));
    }

    @Test
    void el2MappingsInAnyOrderOfAddressesAreSortedByPhysicalAddress() {
        MadeMachine machine = new MadeMachine().annotate(0x4000_0000L, 0x4000_4000L, HYP_OWNED);
        machine.hyp(0x1000_0000L, 0x4000_2000L, 0x4000_4000L, HYP_PAGE);
        machine.hyp(0x2000_0000L, 0x4000_0000L, 0x4000_2000L, HYP_PAGE);
        assertThat(of(machine).runs()).containsExactly(run(0x4000_0000L, 0x4000_4000L, NOPAGE, OWNED));
    }

    @Test
    void aPageMappedTwiceWithOneStateIsNoMatterOfRemark() {
        MadeMachine machine = new MadeMachine().annotate(0x4000_0000L, 0x4000_2000L, HYP_OWNED);
        linear(machine, 0x4000_0000L, 0x4000_2000L, HYP_PAGE);
        machine.hyp(0x4000_0000L, 0x4000_0000L, 0x4000_1000L, HYP_PAGE);
        assertThat(of(machine))
                .isEqualTo(
                        new OwnershipRuns.Result(List.of(run(0x4000_0000L, 0x4000_2000L, NOPAGE, OWNED)), List.of()));
    }

    @Test
    void whereMappingsDisagreeTheLinearMapCountsAndThatIsSaid() {
        MadeMachine machine = new MadeMachine().annotate(0x4000_0000L, 0x4000_3000L, HYP_OWNED);
        linear(machine, 0x4000_0000L, 0x4000_3000L, HYP_PAGE);
        // Below the linear map, and with another state.
        machine.hyp(0x1000_0000L, 0x4000_1000L, 0x4000_2000L, HYP_PAGE | SHARED);
        assertThat(of(machine).runs()).containsExactly(run(0x4000_0000L, 0x4000_3000L, NOPAGE, OWNED));
        assertThat(of(machine).remarks())
                .containsExactly(
                        "4K is mapped at EL2 more than once, with different states; that of the linear map counts");
    }

    @Test
    void anEmptyEntryWhoseMemoryEl2MapsIsTakenForMemoryAndThatIsSaid() {
        MadeMachine machine = new MadeMachine();
        linear(machine, 0x4000_0000L, 0x4000_2000L, HYP_PAGE);
        assertThat(of(machine).runs()).containsExactly(run(0x4000_0000L, 0x4000_2000L, OWNED, OWNED));
        assertThat(of(machine).remarks())
                .singleElement()
                .asString()
                .contains("8K")
                .contains("memory map is not known");
    }

    @Test
    void anEmptyEntryThatEl2MapsAsADeviceIsNoMemory() {
        MadeMachine machine = new MadeMachine().hyp(0x1000_0000L, 0x900_0000L, 0x900_1000L, HYP_DEVICE);
        assertThat(of(machine))
                .isEqualTo(new OwnershipRuns.Result(List.of(run(0x900_0000L, 0x900_1000L, NOPAGE, OWNED)), List.of()));
    }

    @Test
    void withAMemoryMapEmptyEntriesOfMemoryAreTheHosts() {
        MadeMachine machine = new MadeMachine()
                .regions(
                        new MemoryRegion(0x4000_0000L, 0x10_0000, 0),
                        new MemoryRegion(0x4010_0000L, 0x1000, MemoryRegion.NOMAP))
                .annotate(0x4000_1000L, 0x4000_2000L, HYP_OWNED)
                .hyp(0x1000_0000L, 0x900_0000L, 0x900_1000L, HYP_PAGE);
        assertThat(of(machine))
                .isEqualTo(new OwnershipRuns.Result(
                        List.of(
                                run(0x900_0000L, 0x900_1000L, NOPAGE, OWNED),
                                run(0x4000_0000L, 0x4000_1000L, OWNED, NOPAGE),
                                run(0x4000_1000L, 0x4000_2000L, NOPAGE, NOPAGE),
                                run(0x4000_2000L, 0x4010_0000L, OWNED, NOPAGE),
                                run(0x4010_0000L, 0x4010_1000L, NOPAGE, NOPAGE)),
                        List.of()));
    }

    @ParameterizedTest
    @EnumSource(
            value = Era.class,
            names = {"V6_14", "V6_17", "V7_0"})
    void statesInTheVmemmapAreNotGuessedFromDescriptors(Era era) {
        MadeMachine machine = new MadeMachine().host(0x4000_0000L, 0x4000_1000L, HOST_PAGE);
        assertThat(OwnershipRuns.of(Reading.of(machine, era, "test")))
                .isEqualTo(Fact.unknown("this kernel keeps page states in its hyp_vmemmap: it is not known where the"
                        + " hyp_vmemmap is: EL2 maps an entry for its own root page at 0 of the places where kernels"
                        + " put the hyp_vmemmap"));
    }

    @Test
    void bothStatesAreReadFromTheVmemmap() {
        MadeMachine machine = new MadeMachine()
                .vmemmap(FRAMES, 8)
                .regions(new MemoryRegion(0x4000_0000L, 0x6000, 0))
                .host(0x900_0000L, 0x900_1000L, HOST_PAGE)
                .host(0x4000_0000L, 0x4000_6000L, HOST_PAGE)
                .frame(FRAMES, 8, 0x4000_1000L, 0x0000_0000_33ff_0001L)
                .frame(FRAMES, 8, 0x4000_2000L, 0x0000_0000_3300_0002L)
                .frame(FRAMES, 8, 0x4000_3000L, 0x0000_0000_11ff_0000L)
                .frame(FRAMES, 8, 0x4000_4000L, 0x0000_0002_01ff_0000L)
                // Behind the memory, and not mapped by anybody.
                .frame(FRAMES, 8, 0x4000_6000L, 0x0000_0000_3300_0000L);
        assertThat(of(Reading.of(machine, Era.V7_0, "test")))
                .isEqualTo(new OwnershipRuns.Result(
                        List.of(
                                run(0x900_0000L, 0x900_1000L, OWNED, NOPAGE),
                                run(0x4000_0000L, 0x4000_1000L, OWNED, NOPAGE, 0),
                                run(0x4000_1000L, 0x4000_3000L, NOPAGE, OWNED, 0),
                                run(0x4000_3000L, 0x4000_4000L, SHARED_OWNED, SHARED_BORROWED, 0),
                                run(0x4000_4000L, 0x4000_5000L, SHARED_OWNED, NOPAGE, 2),
                                run(0x4000_5000L, 0x4000_6000L, OWNED, NOPAGE, 0),
                                // The page of the array itself, which EL2 maps, is no memory of this map.
                                run(0x8000_7000L, 0x8000_8000L, NOPAGE, OWNED)),
                        List.of()));
    }

    @Test
    void from614To616OnlyTheHostsStateIsThere() {
        MadeMachine machine = new MadeMachine()
                .vmemmap(FRAMES, 8)
                .regions(new MemoryRegion(0x4000_0000L, 0x3000, 0))
                .hyp(0xd000_4000_0000L, 0x4000_1000L, 0x4000_2000L, HYP_PAGE)
                .hyp(0xd000_4000_1000L, 0x4000_2000L, 0x4000_3000L, HYP_PAGE | BORROWED)
                .frame(FRAMES, 8, 0x4000_1000L, 0x0000_0000_04ff_0001L)
                .frame(FRAMES, 8, 0x4000_2000L, 0x0000_0000_01ff_0001L);
        assertThat(of(Reading.of(machine, Era.V6_14, "test")))
                .isEqualTo(new OwnershipRuns.Result(
                        List.of(
                                run(0x4000_0000L, 0x4000_1000L, OWNED, NOPAGE, 0),
                                run(0x4000_1000L, 0x4000_2000L, NOPAGE, OWNED, 0),
                                run(0x4000_2000L, 0x4000_3000L, SHARED_OWNED, SHARED_BORROWED, 0),
                                run(0x8000_5000L, 0x8000_6000L, NOPAGE, OWNED)),
                        List.of()));
    }

    @Test
    void whatTheVmemmapDoesNotSayIsSaid() {
        MadeMachine machine = new MadeMachine()
                .vmemmap(FRAMES, 8)
                .regions(new MemoryRegion(0x4000_0000L, 0x20_0000, 0), new MemoryRegion(0x5000_0000L, 0x1000, 4))
                .hyp(FRAMES + 0x24_0000L, 0x7000_0000L, 0x7000_1000L, HYP_PAGE)
                .frame(FRAMES, 8, 0x4000_0000L, 0)
                .frame(FRAMES, 8, 0x5000_0000L, 0)
                .regions(
                        new MemoryRegion(0x4000_0000L, 0x20_0000, 0),
                        new MemoryRegion(0x4800_0000L, 0x2000, 0),
                        new MemoryRegion(0x5000_0000L, 0x1000, MemoryRegion.NOMAP),
                        new MemoryRegion(0x6000_0000L, 0x4000, 0));
        assertThat(of(Reading.of(machine, Era.V7_0, "test")))
                .isEqualTo(new OwnershipRuns.Result(
                        List.of(
                                run(0x4000_0000L, 0x4020_0000L, OWNED, NOPAGE, 0),
                                run(0x5000_0000L, 0x5000_1000L, NOPAGE, NOPAGE, 0),
                                // EL2 maps it as its array, and it is no memory.
                                run(0x7000_0000L, 0x7000_1000L, NOPAGE, OWNED),
                                run(0x8000_5000L, 0x8000_7000L, NOPAGE, OWNED)),
                        List.of(
                                "the pages of the hyp_vmemmap for 2M of memory are not in this memory: who owns that is"
                                        + " not known",
                                "16K of memory has no entry in the hyp_vmemmap: who owns that is not known")));
    }

    @Test
    void withoutAnEraThereAreNoStates() {
        MadeMachine machine = new MadeMachine().host(0x4000_0000L, 0x4000_1000L, HOST_PAGE);
        assertThat(OwnershipRuns.of(Reading.of(machine)).provenance())
                .contains("era")
                .endsWith("say it with --era");
    }

    @Test
    void withoutBothTablesWholeThereAreNoStates() {
        assertThat(OwnershipRuns.of(Reading.of(new MadeMachine().withoutHyp(), Era.V6_1, "test")))
                .isEqualTo(Fact.unknown("the hypervisor's table is not known: there is none"));
        MadeMachine torn = new MadeMachine().hostEntry(0x4000_0000L, 2, 0x1000_0003L);
        assertThat(OwnershipRuns.of(Reading.of(torn, Era.V6_1, "test")))
                .isEqualTo(Fact.unknown("the host's table is partly unreadable"));
        MadeMachine tornHyp = new MadeMachine().hypEntry(LINEAR, 0).hyp(LINEAR, 0x4000_0000L, 0x4000_1000L, HYP_PAGE);
        assertThat(OwnershipRuns.of(Reading.of(tornHyp, Era.V6_1, "test"))).isInstanceOf(Fact.Known.class);
    }
}
