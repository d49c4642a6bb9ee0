package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.HostGuest.Access;
import dev.s2snap.model.HostGuest.Backing;
import dev.s2snap.proof.GuestBook.Leaf;
import java.util.List;
import org.junit.jupiter.api.Test;

/// The guests' book by itself: what it says that a table has, and that it sees when a table has something else.
class GuestBookTest {
    private static final long PAGE = 0x1000;
    private static final long BLOCK = 0x20_0000;
    private static final long MEMORY = 0x8000_0000L;
    private static final long BEHIND = 0x4100_0000L;

    private final GuestBook book = new GuestBook(PAGE, BLOCK, 1L << 32);

    private static Leaf page(long start, boolean write, boolean execute) {
        return new Leaf(start, PAGE, true, write, execute, true, BEHIND + (start - MEMORY));
    }

    private static Leaf block(long start) {
        return new Leaf(start, BLOCK, true, true, false, true, BEHIND + (start - MEMORY));
    }

    private void fault(long ipa, Access access, Leaf now) {
        assertThat(book.faulted(ipa, access, now)).isEmpty();
    }

    @Test
    void aSlotIsOfWholePagesInTheGuestAndOfItsOwn() {
        assertThat(book.addMemory(MEMORY, 4 * PAGE, Backing.PAGES, false)).isTrue();
        assertThat(book.addMemory(MEMORY + 3 * PAGE, PAGE, Backing.PAGES, false))
                .isFalse();
        assertThat(book.addMemory(MEMORY - PAGE, 2 * PAGE, Backing.PAGES, false))
                .isFalse();
        assertThat(book.addMemory(MEMORY + 4 * PAGE, PAGE, Backing.PAGES, false))
                .isTrue();
        assertThat(book.addMemory(0, 0, Backing.PAGES, false)).isFalse();
        assertThat(book.addMemory(8, PAGE, Backing.PAGES, false)).isFalse();
        assertThat(book.addMemory(-PAGE, PAGE, Backing.PAGES, false)).isFalse();
        assertThat(book.addMemory((1L << 32) - PAGE, 2 * PAGE, Backing.PAGES, false))
                .isFalse();
        assertThat(book.addMemory(0, Long.MAX_VALUE & -PAGE, Backing.PAGES, false))
                .isFalse();
        assertThat(book.slots()).containsExactly(MEMORY, MEMORY + 4 * PAGE);
        assertThat(book.slotSize(MEMORY)).isEqualTo(4 * PAGE);
        assertThat(book.slotSize(MEMORY + PAGE)).isZero();
    }

    @Test
    void userSpaceGetsWhatNoSlotHasAndStoresToWhatIsOnlyRead() {
        book.addMemory(MEMORY, PAGE, Backing.PAGES, true);
        assertThat(book.emulated(MEMORY, Access.WRITE)).isTrue();
        assertThat(book.emulated(MEMORY, Access.READ)).isFalse();
        assertThat(book.emulated(MEMORY + PAGE, Access.READ)).isTrue();
        assertThat(book.faulted(MEMORY + PAGE, Access.READ, null)).hasSize(1);
    }

    @Test
    void aFaultMapsThePageAndRightsAreAdded() {
        book.addMemory(MEMORY, 4 * PAGE, Backing.PAGES, false);
        assertThat(book.faulted(MEMORY, Access.READ, null)).hasSize(1);
        fault(MEMORY + 8, Access.READ, page(MEMORY, true, false));
        fault(MEMORY + 8, Access.EXECUTE, page(MEMORY, true, true));
        assertThat(book.compare(List.of(page(MEMORY, true, true)))).isEmpty();
        assertThat(book.compare(List.of(page(MEMORY, true, false)))).hasSize(1);
        assertThat(book.compare(List.of())).hasSize(1);
        assertThat(book.compare(List.of(page(MEMORY, true, true), page(MEMORY + PAGE, true, false))))
                .extracting(GuestBook.Difference::said)
                .containsExactly("it is not mapped");
        assertThat(book.compare(List.of(page(MEMORY, true, true), page(MEMORY + 4 * PAGE, true, false))))
                .extracting(GuestBook.Difference::said)
                .contains("only memory of a slot is mapped");
    }

    @Test
    void aBlockIsAllowedWhereTheSlotHasBlocksAndItFits() {
        book.addMemory(MEMORY, BLOCK + PAGE, Backing.BLOCKS, false);
        fault(MEMORY + 5 * PAGE, Access.WRITE, block(MEMORY));
        assertThat(book.faulted(MEMORY + BLOCK, Access.WRITE, block(MEMORY + BLOCK)))
                .extracting(GuestBook.Difference::said)
                .containsExactly("the page is mapped, or a block within the slot");
        assertThat(book.faulted(MEMORY + BLOCK, Access.WRITE, page(MEMORY, true, false)))
                .as("another page")
                .hasSize(1);
        GuestBook pages = new GuestBook(PAGE, BLOCK, 1L << 32);
        pages.addMemory(MEMORY, BLOCK, Backing.PAGES, false);
        assertThat(pages.faulted(MEMORY, Access.READ, block(MEMORY))).hasSize(1);
    }

    @Test
    void aLogHasWhatWasWrittenAndNothingElseIsWritable() {
        book.addMemory(MEMORY, BLOCK, Backing.BLOCKS, false);
        assertThat(book.readLog(MEMORY)).isNull();
        assertThat(book.log(MEMORY + PAGE)).isFalse();
        fault(MEMORY, Access.WRITE, block(MEMORY));
        assertThat(book.log(MEMORY)).isTrue();
        Leaf protectedBlock = book.at(MEMORY);
        assertThat(protectedBlock).isNotNull();
        assertThat(book.compare(List.of(block(MEMORY))))
                .extracting(GuestBook.Difference::said)
                .contains("what is writable is in the log");

        fault(MEMORY + PAGE, Access.WRITE, page(MEMORY + PAGE, true, false));
        fault(MEMORY + 2 * PAGE, Access.READ, page(MEMORY + 2 * PAGE, false, false));
        assertThat(book.at(MEMORY)).as("the rest of the block").isNull();
        assertThat(book.compare(List.of(page(MEMORY + PAGE, true, false), page(MEMORY + 2 * PAGE, false, false))))
                .isEmpty();
        assertThat(book.readLog(MEMORY)).containsExactly(MEMORY + PAGE);
        assertThat(book.readLog(MEMORY)).isEmpty();
        assertThat(book.compare(List.of(page(MEMORY + PAGE, false, false), page(MEMORY + 2 * PAGE, false, false))))
                .isEmpty();
    }

    @Test
    void whatIsOnlyReadIsNeverWritable() {
        book.addMemory(MEMORY, PAGE, Backing.PAGES, true);
        fault(MEMORY, Access.READ, page(MEMORY, false, false));
        assertThat(book.compare(List.of(page(MEMORY, true, false))))
                .extracting(GuestBook.Difference::said)
                .contains("the guest only reads here");
    }

    @Test
    void memoryStaysWhereItIs() {
        book.addMemory(MEMORY, 4 * PAGE, Backing.PAGES, false);
        fault(MEMORY, Access.READ, page(MEMORY, true, false));
        book.unmap(MEMORY, PAGE);
        assertThat(book.maps(MEMORY, PAGE)).isFalse();
        fault(MEMORY, Access.READ, page(MEMORY, true, false));
        book.unmap(MEMORY, PAGE);
        assertThat(book.faulted(MEMORY, Access.READ, new Leaf(MEMORY, PAGE, true, true, false, true, BEHIND + PAGE)))
                .extracting(GuestBook.Difference::said)
                .containsExactly("its memory is at 0x41000000");
    }

    @Test
    void whatGrewOldIsUsedAgainBeforeItGetsRights() {
        book.addMemory(MEMORY, 4 * PAGE, Backing.PAGES, false);
        fault(MEMORY, Access.READ, page(MEMORY, true, false));
        assertThat(book.used(MEMORY, PAGE)).isTrue();
        book.age(MEMORY, PAGE);
        assertThat(book.used(MEMORY, PAGE)).isFalse();
        fault(MEMORY, Access.EXECUTE, page(MEMORY, true, false));
        assertThat(book.compare(List.of(page(MEMORY, true, false)))).isEmpty();
        assertThat(book.used(MEMORY, PAGE)).isTrue();
    }

    @Test
    void blocksReachIntoARangeAsAWholeAndAnEmptyRangeHasNone() {
        book.addMemory(MEMORY, BLOCK, Backing.BLOCKS, false);
        fault(MEMORY, Access.WRITE, block(MEMORY));
        assertThat(book.blocks(MEMORY + PAGE, 0)).isZero();
        assertThat(book.blocks(MEMORY + PAGE, PAGE)).isEqualTo(1);
        book.split(MEMORY + PAGE, PAGE, 0);
        assertThat(book.leaves()).hasSize(1);
        book.split(MEMORY + PAGE, PAGE, 1);
        assertThat(book.leaves()).hasSize(512).contains(page(MEMORY + 7 * PAGE, true, false));
        book.writeProtect(MEMORY, PAGE);
        assertThat(book.leaves()).contains(page(MEMORY, false, false), page(MEMORY + PAGE, true, false));
        book.unmap(MEMORY + PAGE, BLOCK);
        assertThat(book.leaves()).containsExactly(page(MEMORY, false, false));
        assertThat(book.leaves().iterator().next()).hasToString("r--, 0x1000 bytes at 0x41000000");
    }
}
