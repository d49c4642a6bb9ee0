package dev.s2snap.inspect;

import static dev.s2snap.inspect.MadeMachine.BORROWED;
import static dev.s2snap.inspect.MadeMachine.HOST_PAGE;
import static dev.s2snap.inspect.MadeMachine.HYP_DEVICE;
import static dev.s2snap.inspect.MadeMachine.HYP_OWNED;
import static dev.s2snap.inspect.MadeMachine.HYP_PAGE;
import static dev.s2snap.inspect.MadeMachine.SHARED;
import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.MemoryRegion;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

class TextDumpTest {

    private static String text(Reading reading, TableSelector selector) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try {
            TextDump.write(TableDump.of(reading, selector), out);
        } catch (IOException e) {
            throw new AssertionError(e);
        }
        return out.toString(StandardCharsets.UTF_8);
    }

    private static MadeMachine small() {
        return new MadeMachine()
                .hostEntry(0, 1, 0x400000000007fdL)
                .hostBlock(0x4000_0000L)
                .host(0x4020_0000L, 0x4020_2000L, HOST_PAGE)
                .host(0x4020_2000L, 0x4020_3000L, HOST_PAGE | SHARED)
                .host(0x4020_3000L, 0x4020_4000L, HOST_PAGE | BORROWED)
                .annotate(0x4020_4000L, 0x4020_7000L, HYP_OWNED)
                .annotate(0x4020_7000L, 0x4020_8000L, 0x400)
                .annotate(0x4020_8000L, 0x4020_9000L, 0x7700)
                .hyp(0xd000_4010_0000L, 0x4010_0000L, 0x4010_1000L, HYP_PAGE)
                .hyp(0xd000_4020_2000L, 0x4020_2000L, 0x4020_3000L, HYP_PAGE | BORROWED)
                .hyp(0xd000_4020_3000L, 0x4020_3000L, 0x4020_4000L, HYP_PAGE | SHARED)
                .hyp(0xd000_4020_4000L, 0x4020_4000L, 0x4020_6000L, HYP_PAGE)
                .hyp(0xd000_4030_0000L, 0x4030_0000L, 0x4030_1000L, HYP_PAGE)
                .hyp(0x1000L, 0x900_0000L, 0x900_1000L, HYP_DEVICE | 1L << 51)
                .hypEntry(0x2000L, 0x5678_0702L);
    }

    @Test
    void theHostsTableSaysWhoOwnsWhat() {
        MadeMachine machine = small().era(Era.V6_1).regions(new MemoryRegion(0x4000_0000L, 0x1000_0000L, 0));
        assertThat(text(Reading.of(machine), TableSelector.HOST)).isEqualTo("""
                host: stage 2, 4K granule, 48-bit input, start level 0, root 0x80000000 of 512 entries in 1 page
                  from VTTBR_EL2, VTCR_EL2
                  ownership as kernels 6.1 to 6.13 write it

                input address                     size  level        perm  memory           owner
                0x000000000000-0x000009000000     144M  1 block      rw-   normal WB inner  host, not memory
                0x000009000000-0x000009001000       4K  1 block      rw-   normal WB inner  host and EL2, not memory
                0x000009001000-0x000040000000  901116K  1 block      rw-   normal WB inner  host, not memory
                0x000040000000-0x000040100000       1M  2 block      rwx   normal WB inner  host
                0x000040100000-0x000040101000       4K  2 block      rwx   normal WB inner  ! host, yet EL2 owns it too
                0x000040101000-0x000040200000    1020K  2 block      rwx   normal WB inner  host
                0x000040200000-0x000040202000       8K  3 page       rwx   normal WB inner  host
                0x000040202000-0x000040203000       4K  3 page       rwx   normal WB inner  host, shared with hyp
                0x000040203000-0x000040204000       4K  3 page       rwx   normal WB inner  hyp, shared with host
                0x000040204000-0x000040206000       8K  3 annotated                         hyp
                0x000040206000-0x000040207000       4K  3 annotated                         ! hyp, yet EL2 does not map it
                0x000040207000-0x000040208000       4K  3 annotated                         ! locked, an update was under way
                0x000040208000-0x000040209000       4K  3 annotated                         ! unknown annotation 0x7700
                0x000040300000-0x000040301000       4K  empty                               ! host, yet EL2 owns it too

                mapped     1G 2M 16K               1 at level 1, 1 at level 2, 4 at level 3
                annotated  20K                     5 at level 3
                empty      255T 1022G 1021M 988K   511 at level 0, 510 at level 1, 510 at level 2, 503 at level 3
                tables     4                       1 at level 0, 1 at level 1, 1 at level 2, 1 at level 3
                owners     1023M 1020K             host, not memory
                           4K                      host and EL2, not memory
                           2M 4K                   host
                           8K                      ! host, yet EL2 owns it too
                           4K                      host, shared with hyp
                           4K                      hyp, shared with host
                           8K                      hyp
                           4K                      ! hyp, yet EL2 does not map it
                           4K                      ! locked
                           4K                      ! unknown annotations
                findings   none
                """);
    }

    @Test
    void theHypervisorsTableSaysWhereItMapsTo() {
        assertThat(text(Reading.of(small().era(Era.V6_1)), TableSelector.HYP)).isEqualTo("""
                hyp: EL2 stage 1, 4K granule, 48-bit input, start level 0, root 0x80001000 of 512 entries in 1 page
                  from TTBR0_EL2, TCR_EL2
                  ownership as kernels 6.1 to 6.13 write it

                virtual address                size  level      perm  memory            maps to         owner
                0x000000001000-0x000000002000    4K  3 page     rw-   device nGnRE DBM  0x000009000000  hyp
                0x000000002000-0x000000003000    4K  3 invalid                                          invalid entry 0x56780702
                0xd00040100000-0xd00040101000    4K  3 page     rw-   normal WB inner   0x000040100000  hyp
                0xd00040202000-0xd00040203000    4K  3 page     rw-   normal WB inner   0x000040202000  host, shared with hyp
                0xd00040203000-0xd00040204000    4K  3 page     rw-   normal WB inner   0x000040203000  hyp, shared with host
                0xd00040204000-0xd00040206000    8K  3 page     rw-   normal WB inner   0x000040204000  hyp
                0xd00040300000-0xd00040301000    4K  3 page     rw-   normal WB inner   0x000040300000  hyp

                mapped     28K                     7 at level 3
                invalid    4K                      1 at level 3
                empty      255T 1023G 1023M 992K   510 at level 0, 1022 at level 1, 1021 at level 2, 1528 at level 3
                tables     8                       1 at level 0, 2 at level 1, 2 at level 2, 3 at level 3
                owners     20K                     hyp
                           4K                      invalid entries
                           4K                      host, shared with hyp
                           4K                      hyp, shared with host
                findings   none
                """);
    }

    @Test
    void withStatesInTheVmemmapOnlyAnnotationsNameAnOwner() {
        MadeMachine machine = new MadeMachine()
                .host(0x4000_0000L, 0x4000_1000L, HOST_PAGE)
                .annotate(0x4000_1000L, 0x4000_2000L, 0x2000000000000002L)
                .annotate(0x4000_2000L, 0x4000_3000L, 0x2000008000010004L)
                .annotate(0x4000_3000L, 0x4000_4000L, 0x2000008000110004L)
                .annotate(0x4000_4000L, 0x4000_5000L, 0x2000008000010004L)
                .annotate(0x4000_5000L, 0x4000_6000L, 0x2000008000110014L)
                .annotate(0x4000_6000L, 0x4000_7000L, 0x3000000000000000L);
        assertThat(text(Reading.of(machine), TableSelector.HOST)).isEqualTo("""
                host: stage 2, 4K granule, 48-bit input, start level 0, root 0x80000000 of 512 entries in 1 page
                  from VTTBR_EL2, VTCR_EL2
                  ownership as kernels 7.0 and later write it
                    inferred from 6 annotations (type in bits 63:60)
                  page states not known: this kernel keeps page states in its hyp_vmemmap: it is not known where the hyp_vmemmap is: EL2 maps an entry for its own root page at 0 of the places where kernels put the hyp_vmemmap

                input address                  size  level        perm  memory           owner
                0x000040000000-0x000040001000    4K  3 page       rwx   normal WB inner  ?
                0x000040001000-0x000040002000    4K  3 annotated                         hyp
                0x000040002000-0x000040004000    8K  3 annotated                         guest handle 0x1000 frames 0x80000-0x80002
                0x000040004000-0x000040005000    4K  3 annotated                         guest handle 0x1000 frame 0x80000
                0x000040005000-0x000040006000    4K  3 annotated                         guest handle 0x1001 frame 0x80001
                0x000040006000-0x000040007000    4K  3 annotated                         poisoned: taken back by force

                mapped     4K                      1 at level 3
                annotated  24K                     6 at level 3
                empty      255T 1023G 1023M 996K   511 at level 0, 511 at level 1, 511 at level 2, 505 at level 3
                tables     4                       1 at level 0, 1 at level 1, 1 at level 2, 1 at level 3
                owners     4K                      mapped to the host, owner not known
                           4K                      hyp
                           12K                     guest handle 0x1000
                           4K                      guest handle 0x1001
                           4K                      poisoned
                findings   none
                """);
    }

    @Test
    void theHostsOwnStage1EndsAtTheTopOfTheAddressSpace() {
        MadeMachine machine = new MadeMachine()
                .el1(0xffff_0000_0000_0000L, 0x4000_0000L, 0x4000_2000L, 0xe8_0000_0000_0f03L)
                .el1(-0x1000L, 0x4200_0000L, 0x4200_1000L, 0x40_0000_0000_0783L);
        TableSelector upper = TableSelector.parse("el1:upper");
        assertThat(text(Reading.of(machine), upper)).isEqualTo("""
                el1:upper: EL1&0 stage 1, upper range, 4K granule, 48-bit input, start level 0, root 0x80002000 of 512 entries in 1 page
                  from TTBR1_EL1, TCR_EL1

                virtual address                         size  level   EL1/EL0  memory                  maps to
                0xffff000000000000-0xffff000000002000     8K  3 page  rw-/---  normal WB inner nG DBM  0x000040000000
                0xfffffffffffff000-0x10000000000000000    4K  3 page  r-x/---  normal WB inner         0x000042000000

                mapped     12K                     3 at level 3
                invalid    0
                empty      255T 1023G 1023M 1012K  510 at level 0, 1022 at level 1, 1022 at level 2, 1021 at level 3
                tables     7                       1 at level 0, 2 at level 1, 2 at level 2, 2 at level 3
                findings   none
                """);
    }

    @Test
    void aGivenTableIsReadWithoutItsRegisters() {
        MadeMachine machine = new MadeMachine().host(0x4000_0000L, 0x4000_1000L, HOST_PAGE);
        TableSelector given = TableSelector.parse("at:0x80000000,ia=48,start=0");
        assertThat(text(Reading.of(machine), given))
                .startsWith("at:0x80000000,ia=48,start=0: stage 2, 4K granule, 48-bit input, start level 0, root"
                        + " 0x80000000 of 512 entries in 1 page\n  from the command line\n")
                .contains("0x000040000000-0x000040001000    4K  3 page  rwx   MemAttr 0xf inner");
        // EL2's table has the registers of its exception level.
        TableSelector stage1 = TableSelector.parse("at:0x80001000,regime=el2,ia=48");
        assertThat(text(Reading.of(machine.hyp(0xd000_0000L, 0x4000_0000L, 0x4000_1000L, HYP_PAGE)), stage1))
                .contains("0x0000d0000000-0x0000d0001000    4K  3 page  rw-   normal WB inner");
    }

    @Test
    void aGuestsPagesHaveStatesFrom614On() {
        MadeMachine machine = new MadeMachine().guest(1, 0x8000_0000L, 0x8000_2000L, 0x4200_07ffL | BORROWED);
        assertThat(text(Reading.of(machine, Era.V7_0, "--era"), TableSelector.guest(0)))
                .isEqualTo("""
                guest:0: stage 2, 4K granule, 48-bit input, start level 0, root 0x80002000 of 512 entries in 1 page
                  from VTTBR_EL2, VTCR_EL2
                  ownership as kernels 7.0 and later write it
                    from --era

                input address                  size  level   perm  memory           maps to         owner
                0x000080000000-0x000080002000    8K  3 page  rwx   normal WB inner  0x000042000000  host, shared with guest

                mapped     8K                      2 at level 3
                annotated  0
                empty      255T 1023G 1023M 1016K  511 at level 0, 511 at level 1, 511 at level 2, 510 at level 3
                tables     4                       1 at level 0, 1 at level 1, 1 at level 2, 1 at level 3
                owners     8K                      host, shared with guest
                findings   none
                """);
        assertThat(text(Reading.of(machine, Era.V6_1, "--era"), TableSelector.guest(0)))
                .contains("  software bits 0x2\n");
    }

    @Test
    void whatCannotBeReadIsSaidLoudly() {
        MadeMachine machine =
                new MadeMachine().hostEntry(0x4000_0000L, 2, 0x1000_0003L).hostEntry(0x8000_0000L, 3, 0x8000_07fdL);
        assertThat(text(Reading.of(machine, Era.V6_1, "--era"), TableSelector.HOST))
                .isEqualTo("""
                host: stage 2, 4K granule, 48-bit input, start level 0, root 0x80000000 of 512 entries in 1 page
                  from VTTBR_EL2, VTCR_EL2
                  ownership as kernels 6.1 to 6.13 write it
                    from --era
                  page states not known: the host's table is partly unreadable

                input address                  size  level       perm  memory  owner
                0x000080000000-0x000080001000    4K  3 reserved                ! reserved encoding 0x800007fd

                mapped     0
                annotated  4K                      1 at level 3
                empty      255T 1023G 1021M 1020K  511 at level 0, 510 at level 1, 1022 at level 2, 511 at level 3
                UNREAD     2M                      see the findings
                tables     5                       1 at level 0, 1 at level 1, 2 at level 2, 1 at level 3
                owners     4K                      ! reserved encodings
                findings   2; this table is NOT completely readable
                  absent-table: the level 3 table at 0x10000000 is not in this memory, at input address 0x000040000000 (descriptor at 0x80003000)
                  reserved-encoding: descriptor 0x800007fd at level 3 is reserved, hardware takes it for invalid, at input address 0x000080000000 (descriptor at 0x80005000)
                """);
    }

    @Test
    void anEmptyTableIsSaidToBeEmpty() {
        assertThat(text(Reading.of(new MadeMachine()), TableSelector.HOST)).contains("\nno entry is in use\n");
    }
}
