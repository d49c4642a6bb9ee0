package dev.s2snap.pkvm;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class PageStateTest {

    /// The worked descriptors of SPEC 1.4 and 1.6.
    @Test
    void isInBits56And55OfADescriptor() {
        assertThat(PageState.ofSoftwareBits(0x0000_0000_4000_07ffL)).isEqualTo(PageState.OWNED);
        assertThat(PageState.ofSoftwareBits(0x0080_0000_4000_17ffL)).isEqualTo(PageState.SHARED_OWNED);
        assertThat(PageState.ofSoftwareBits(0x0100_0000_4000_17ffL)).isEqualTo(PageState.SHARED_BORROWED);
        assertThat(PageState.ofSoftwareBits(0x0140_0000_4000_1743L)).isEqualTo(PageState.SHARED_BORROWED);
        assertThat(PageState.ofSoftwareBits(0x0180_0000_4000_17ffL)).isEqualTo(PageState.RESERVED);
    }

    @Test
    void isNotInAnyOtherBit() {
        assertThat(PageState.ofSoftwareBits(~(3L << 55))).isEqualTo(PageState.OWNED);
        assertThat(PageState.ofSoftwareBits(-1)).isEqualTo(PageState.RESERVED);
    }

    @Test
    void hasWordsForPeople() {
        assertThat(PageState.values())
                .extracting(PageState::words)
                .containsExactly("owned", "shared", "borrowed", "reserved state 3", "no page");
    }
}
