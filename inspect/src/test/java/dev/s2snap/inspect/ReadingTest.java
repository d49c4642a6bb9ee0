package dev.s2snap.inspect;

import static dev.s2snap.inspect.MadeMachine.BORROWED;
import static dev.s2snap.inspect.MadeMachine.HOST_PAGE;
import static dev.s2snap.inspect.MadeMachine.HYP_OWNED;
import static dev.s2snap.inspect.MadeMachine.HYP_PAGE;
import static dev.s2snap.inspect.MadeMachine.SHARED;
import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.pkvm.Annotation;
import dev.s2snap.pkvm.Encodings.StateLocation;
import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.HypVmemmap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ReadingTest {
    private static final long LOCATION = 0x4000_0000L;
    private static final long END = LOCATION + 0x4000;
    private static final long FRAMES = 0x6000_0000_0000L;

    @Test
    void whatTheMachineSaysIsNotInferred() {
        MadeMachine machine = new MadeMachine().era(Era.V6_17).annotate(LOCATION, END, 0x2000000000000002L);
        Reading reading = Reading.of(machine);
        assertThat(reading.era()).isEqualTo(Fact.known(Era.V6_17, "test"));
        assertThat(reading.told()).isTrue();
    }

    @Test
    void whatTheUserSaysOverridesTheMachine() {
        Reading reading = Reading.of(new MadeMachine().era(Era.V6_17), Era.V6_1, "--era");
        assertThat(reading.era()).isEqualTo(Fact.known(Era.V6_1, "--era"));
        assertThat(reading.annotations()).isEqualTo(Fact.known(Annotation.Format.OWNER_ID, "--era"));
        assertThat(reading.told()).isFalse();
    }

    @Test
    void ownersInLowBitsAndStatesInHostDescriptorsAre61() {
        Reading reading = Reading.of(
                new MadeMachine().annotate(LOCATION, END, HYP_OWNED).host(END, END + 0x1000, HOST_PAGE | SHARED));
        assertThat(reading.era())
                .isEqualTo(Fact.known(
                        Era.V6_1,
                        "inferred from 4 annotations (owner id in bits 9:2) and 1 page state in host descriptors"));
    }

    @Test
    void ownersInLowBitsAndStatesInEl2DescriptorsOnlyAre614() {
        Reading reading = Reading.of(new MadeMachine()
                .annotate(LOCATION, END, HYP_OWNED)
                .host(END, END + 0x1000, HOST_PAGE)
                .hyp(0xd000_0000L, END, END + 0x1000, HYP_PAGE | BORROWED));
        assertThat(reading.era().optional()).contains(Era.V6_14);
        assertThat(reading.hostStates().optional()).contains(StateLocation.VMEMMAP);
        assertThat(reading.hypStates().optional()).contains(StateLocation.DESCRIPTOR);
    }

    /// Entries as a kernel has them for the root page of EL2's table: one reference, order 0, the hypervisor's.
    @ParameterizedTest
    @CsvSource({"V6_1, 4, 0x00000001", "V6_14, 8, 0x04000001", "V6_17, 8, 0x33000001"})
    void theLayoutOfTheVmemmapTellsWhatDescriptorsDoNot(Era era, int entrySize, String entry) {
        MadeMachine machine =
                new MadeMachine().annotate(LOCATION, END, HYP_OWNED).host(END, END + 0x1000, HOST_PAGE);
        machine.frame(FRAMES, entrySize, machine.hypRoot(), Long.decode(entry));
        Reading reading = Reading.of(machine);
        assertThat(reading.era())
                .isEqualTo(Fact.known(
                        era,
                        "inferred from 4 annotations (owner id in bits 9:2) and the layout of the hyp_vmemmap at"
                                + " 0x600000000000"));
        assertThat(reading.vmemmap().optional()).contains(new HypVmemmap(FRAMES, entrySize));
        assertThat(reading.frames().optional().orElseThrow().layout())
                .isEqualTo(era.encodings().hypPage());
    }

    @Test
    void anEntryThatNoKernelWritesTellsNothing() {
        MadeMachine machine = new MadeMachine().annotate(LOCATION, END, HYP_OWNED);
        machine.frame(FRAMES, 8, machine.hypRoot(), 0x2200_0001L);
        Reading reading = Reading.of(machine);
        assertThat(reading.era().provenance())
                .isEqualTo("unknown: owners in low bits are written by 6.1 to 6.19, and neither a page state in a"
                        + " descriptor nor the hyp_vmemmap tells which");
        assertThat(reading.vmemmap().provenance()).startsWith("unknown: the kernel is not known: ");
        assertThat(reading.frames().provenance()).startsWith("unknown: it is not known where the hyp_vmemmap is: ");
    }

    @Test
    void theVmemmapIsWhereTheMachineSays() {
        MadeMachine machine = new MadeMachine().vmemmap(FRAMES + 0x1000, 8);
        assertThat(Reading.of(machine, Era.V7_0, "--era").vmemmap())
                .isEqualTo(Fact.known(new HypVmemmap(FRAMES + 0x1000, 8), "test"));
        assertThat(Reading.of(machine, Era.V6_1, "--era").frames())
                .isEqualTo(Fact.unknown("kernels 6.1 to 6.13 have entries of 4 bytes in the hyp_vmemmap, and this one"
                        + " is said to have 8"));
    }

    @Test
    void withoutEl2sTableNoVmemmapIsFound() {
        Reading reading = Reading.of(new MadeMachine().withoutHyp(), Era.V7_0, "--era");
        assertThat(reading.vmemmap()).isEqualTo(Fact.unknown("the hypervisor's table is not known: there is none"));
        Reading told = Reading.of(new MadeMachine().vmemmap(FRAMES, 8).withoutHyp(), Era.V7_0, "--era");
        assertThat(told.frames()).isEqualTo(Fact.unknown("the hypervisor's table is not known: there is none"));
    }

    @Test
    void typedAnnotationsAre70() {
        Reading reading = Reading.of(new MadeMachine().annotate(LOCATION, END, 0x2000008000010004L));
        assertThat(reading.era().optional()).contains(Era.V7_0);
    }

    @Test
    void ownersInLowBitsAloneDoNotTellTheEraButTheFormat() {
        Reading reading = Reading.of(
                new MadeMachine().annotate(LOCATION, END, HYP_OWNED).hyp(0xd000_0000L, LOCATION, END, HYP_PAGE));
        assertThat(reading.era()).isInstanceOf(Fact.Unknown.class);
        assertThat(reading.annotations().optional()).contains(Annotation.Format.OWNER_ID);
    }

    @Test
    void valuesThatNoKernelWritesAreNoEvidence() {
        Reading strange = Reading.of(new MadeMachine().annotate(LOCATION, END, 0x7700));
        assertThat(strange.era()).isEqualTo(Fact.unknown("none of the 4 annotations has a known value"));
        Reading mixed = Reading.of(
                new MadeMachine().annotate(LOCATION, END, 0x7700).annotate(END, END + 0x1000, 0x2000000000000002L));
        assertThat(mixed.era())
                .isEqualTo(Fact.known(Era.V7_0, "inferred from 1 of 5 annotations (type in bits 63:60)"));
    }

    @Test
    void annotationsOfTwoKindsAreNotDecided() {
        Reading reading = Reading.of(
                new MadeMachine().annotate(LOCATION, END, HYP_OWNED).annotate(END, END + 0x1000, 0x2000000000000002L));
        assertThat(reading.era()).isEqualTo(Fact.unknown("annotations of two kinds contradict each other"));
        assertThat(reading.annotations()).isInstanceOf(Fact.Unknown.class);
    }

    @Test
    void withoutAnnotationsNothingIsInferred() {
        assertThat(Reading.of(new MadeMachine().host(LOCATION, END, HOST_PAGE)).era())
                .isEqualTo(Fact.unknown("the host's table has no annotation to infer it from"));
        assertThat(Reading.of(new MadeMachine().withoutHost()).era())
                .isEqualTo(Fact.unknown("there is no host table to infer it from"));
    }
}
