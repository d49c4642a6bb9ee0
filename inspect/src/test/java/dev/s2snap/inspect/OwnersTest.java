package dev.s2snap.inspect;

import static dev.s2snap.inspect.MadeMachine.BORROWED;
import static dev.s2snap.inspect.MadeMachine.HOST_PAGE;
import static dev.s2snap.inspect.MadeMachine.HYP_PAGE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.Owner;
import dev.s2snap.pkvm.PageState;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class OwnersTest {
    private static final long FRAMES = 0x6000_0000_0000L;
    private static final long LINEAR = 0xd000_0000_0000L;

    /// A machine of 7.0 and later: a page of the host, two frames of a guest, one of the hypervisor, one shared with a
    /// guest, and memory that nobody has touched.
    private static MadeMachine protectedGuest() {
        return new MadeMachine()
                .vmemmap(FRAMES, 8)
                .regions(
                        new MemoryRegion(0x4000_0000L, 0x8000, 0),
                        new MemoryRegion(0x4000_8000L, 0x1000, MemoryRegion.NOMAP))
                .host(0x900_0000L, 0x900_1000L, (HOST_PAGE & ~0x80L) | 1L << 54)
                .host(0x4000_0000L, 0x4000_1000L, HOST_PAGE)
                .annotate(0x4000_1000L, 0x4000_2000L, 0x2000_0080_0001_0004L)
                .annotate(0x4000_2000L, 0x4000_3000L, 0x2000_0080_0011_0004L)
                .annotate(0x4000_3000L, 0x4000_4000L, 0x2000_0000_0000_0002L)
                .host(0x4000_4000L, 0x4000_5000L, HOST_PAGE)
                .frame(FRAMES, 8, 0x4000_1000L, 0x03ff_0000L)
                .frame(FRAMES, 8, 0x4000_2000L, 0x03ff_0000L)
                .frame(FRAMES, 8, 0x4000_3000L, 0x3300_0001L)
                .frame(FRAMES, 8, 0x4000_4000L, 0x1_01ff_0000L)
                .guest(1, 0x8000_0000L, 0x8000_2000L, 0x4000_17ffL)
                .guest(2, 0x8000_0000L, 0x8000_1000L, 0x4000_47ffL | BORROWED);
    }

    @Test
    void allMemoryHasItsOwner() {
        Owners owners = Owners.of(Reading.of(protectedGuest()));
        assertThat(owners.runs())
                .startsWith(
                        run(0x900_0000L, 0x900_1000L, "host, not memory"),
                        run(0x4000_0000L, 0x4000_1000L, "host"),
                        new Owners.Run(
                                0x4000_1000L,
                                0x4000_3000L,
                                "guest handle 0x1000",
                                Optional.of(new Owner.Guest(0x1000, 0x8_0000L))),
                        run(0x4000_3000L, 0x4000_4000L, "hyp"),
                        run(0x4000_4000L, 0x4000_5000L, "host, shared with a guest"),
                        run(0x4000_5000L, 0x4000_8000L, "host"),
                        run(0x4000_8000L, 0x4000_9000L, "nobody"));
        assertThat(owners.totals())
                .containsAllEntriesOf(Map.of(
                        "host, not memory", 0x1000L,
                        "host", 0x4000L,
                        "guest handle 0x1000", 0x2000L,
                        "hyp", 0x1000L,
                        "host, shared with a guest", 0x1000L,
                        "nobody", 0x1000L));
        assertThat(owners.complete()).isTrue();
    }

    private static Owners.Run run(long start, long end, String owner) {
        return new Owners.Run(start, end, owner, Optional.empty());
    }

    @Test
    void theGuestsMemoryIsFoundByItsPhysicalAddress() {
        assertThat(Owners.of(Reading.of(protectedGuest())).guestMemory())
                .containsExactly(
                        new Owners.GuestRun(
                                0x4000_1000L,
                                0x4000_3000L,
                                0,
                                1,
                                0x8000_0000L,
                                Optional.of(PageState.OWNED),
                                Optional.of(0x1000)),
                        new Owners.GuestRun(
                                0x4000_4000L,
                                0x4000_5000L,
                                1,
                                2,
                                0x8000_0000L,
                                Optional.of(PageState.SHARED_BORROWED),
                                Optional.empty()));
    }

    @Test
    void anAnnotationThatNamesAnotherFrameGivesNoHandle() {
        MadeMachine machine = protectedGuest().guest(3, 0x9000_0000L, 0x9000_1000L, 0x4000_17ffL);
        assertThat(Owners.of(Reading.of(machine)).guestMemory())
                .filteredOn(run -> run.vmid() == 3)
                .singleElement()
                .satisfies(run -> assertThat(run.handle()).isEmpty());
    }

    @Test
    void before614GuestsTablesHaveNoStates() {
        MadeMachine machine = new MadeMachine()
                .host(0x4000_0000L, 0x4000_2000L, HOST_PAGE)
                .hyp(LINEAR + 0x4000_0000L, 0x4000_0000L, 0x4000_1000L, HYP_PAGE)
                .guest(1, 0x8000_0000L, 0x8000_1000L, 0x4000_17ffL | BORROWED);
        Owners owners = Owners.of(Reading.of(machine, Era.V6_1, "test"));
        assertThat(owners.runs())
                .containsExactly(
                        run(0x4000_0000L, 0x4000_1000L, "! host, yet EL2 owns it too"),
                        run(0x4000_1000L, 0x4000_2000L, "host"));
        assertThat(owners.guestMemory())
                .singleElement()
                .satisfies(run -> assertThat(run.state()).isEmpty());
    }

    @Test
    void withoutStatesThereIsNoAnswer() {
        MadeMachine machine = new MadeMachine().host(0x4000_0000L, 0x4000_1000L, HOST_PAGE);
        assertThatThrownBy(() -> Owners.of(Reading.of(machine)))
                .isInstanceOf(NoAnswerException.class)
                .hasMessageStartingWith("it is not known who owns what: the era of this kernel is not known");
    }

    @Test
    void programsGetOneObject() throws IOException {
        MadeMachine machine = new MadeMachine()
                .host(0x4000_0000L, 0x4000_1000L, HOST_PAGE)
                .guest(1, 0x8000_0000L, 0x8000_1000L, 0x4000_07ffL);
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        OwnersDump.json(Owners.of(Reading.of(machine, Era.V6_1, "test")), "a \"name\"", out);
        assertThat(out.toString(StandardCharsets.UTF_8)).isEqualTo("""
                {"schema":1,
                "source":"a \\"name\\"",
                "complete":true,
                "owners":[
                {"start":"0x40000000","end":"0x40001000","owner":"host","handle":null,"frame":null}],
                "totals":[
                {"owner":"host","bytes":4096}],
                "guestMemory":[
                {"start":"0x40000000","end":"0x40001000","guest":0,"vmid":1,"ipa":"0x80000000","state":null,"handle":null}],
                "remarks":[]}
                """);
        out.reset();
        OwnersDump.json(Owners.of(Reading.of(protectedGuest())), "b", out);
        assertThat(out.toString(StandardCharsets.UTF_8))
                .contains("\"owner\":\"guest handle 0x1000\",\"handle\":\"0x1000\",\"frame\":\"0x80000\"}")
                .contains("\"ipa\":\"0x80000000\",\"state\":\"OWNED\",\"handle\":\"0x1000\"}");
    }

    @Test
    void aGuestThatCannotBeReadIsSaidToBe() throws IOException {
        MadeMachine machine = protectedGuest()
                .guest(4, 0x8000_0000L, 0x8000_1000L, 0x4000_07ffL)
                .pointGuest(2);
        Owners owners = Owners.of(Reading.of(machine));
        assertThat(owners.complete()).isFalse();
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        OwnersDump.text(owners, out);
        assertThat(out.toString(StandardCharsets.UTF_8))
                .contains("0x000040001000-0x000040003000        8K  guest handle 0x1000, from frame 0x80000\n")
                .contains("0x0080000000 in guest:0 (VMID 1, handle 0x1000, owned)\n")
                .endsWith("some of the tables could not be read; dump shows what is missing\n");
    }

    @Test
    void memoryWhosePartOfTheHypVmemmapCannotBeReadIsLeftOut() {
        MadeMachine machine = protectedGuest()
                .host(0x8000_0000L, 0x8000_1000L, HOST_PAGE)
                .hypEntry(FRAMES + (0x8000_0000L >>> 12) * 8, 2, 0x7_0000_0003L);
        Owners owners = Owners.of(Reading.of(machine));
        assertThat(owners.complete()).isFalse();
        assertThat(owners.remarks())
                .contains("EL2's table could not be read where it tells of 0x80000000-0xc0000000: who owns that is not"
                        + " known");
        assertThat(owners.runs())
                .contains(
                        run(0x4000_3000L, 0x4000_4000L, "hyp"),
                        run(0x8000_0000L, 0x8000_1000L, "mapped to the host, owner not known"));
    }

    @Test
    void ofManyDamagesTheFirstAreNamedAndTheOthersCounted() {
        MadeMachine machine = protectedGuest();
        for (int i = 1; i <= 6; i++) {
            machine.hostEntry(0x4000_0000L + ((long) i << 22), 2, 0x7_0000_0003L);
        }
        assertThat(Owners.of(Reading.of(machine)).remarks())
                .contains("the host's table could not be read at 0x40400000-0x40600000, 0x40800000-0x40a00000,"
                        + " 0x40c00000-0x40e00000, 0x41000000-0x41200000 and 2 more: who owns that is not known");
    }
}
