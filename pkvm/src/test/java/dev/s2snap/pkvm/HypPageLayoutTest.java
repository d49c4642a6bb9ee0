package dev.s2snap.pkvm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class HypPageLayoutTest {

    @Test
    void entriesOfFourBytesHaveCountsOnly() {
        HypPageLayout layout = HypPageLayout.COUNTS;
        assertThat(layout.entrySize()).isEqualTo(4);
        assertThat(layout.refcount(0x0003_ffffL)).isEqualTo(0xffff);
        assertThat(layout.order(0x0003_ffffL)).isEqualTo(3);
        assertThat(layout.order(0xffff_0001L)).isEqualTo(HypPageLayout.NO_ORDER);
        assertThat(layout.order(0x00ff_0001L)).isEqualTo(0xff);
        assertThat(layout.guestShares(0xffff_0001L)).isZero();
        assertThatThrownBy(() -> layout.hostState(0)).isInstanceOf(UnsupportedOperationException.class);
        assertThatThrownBy(() -> layout.hypState(0)).isInstanceOf(UnsupportedOperationException.class);
    }

    @ParameterizedTest
    @CsvSource({"0, OWNED", "1, SHARED_OWNED", "2, SHARED_BORROWED", "3, RESERVED", "4, NOPAGE", "0x33, RESERVED"})
    void sinceEntriesHaveTheHostsState(String value, PageState state) {
        long entry = Long.decode(value) << 24 | 0x0005_0002L | 7L << 32;
        HypPageLayout layout = HypPageLayout.HOST_STATE;
        assertThat(layout.hostState(entry)).isEqualTo(state);
        assertThat(layout.refcount(entry)).isEqualTo(2);
        assertThat(layout.order(entry)).isEqualTo(5);
        assertThat(layout.guestShares(entry)).isEqualTo(7);
        assertThatThrownBy(() -> layout.hypState(entry)).isInstanceOf(UnsupportedOperationException.class);
    }

    @ParameterizedTest
    @CsvSource({
        "0x00, OWNED, NOPAGE",
        "0x21, SHARED_OWNED, SHARED_OWNED",
        "0x11, SHARED_OWNED, SHARED_BORROWED",
        "0x33, NOPAGE, OWNED",
        "0x03, NOPAGE, NOPAGE",
        "0x22, SHARED_BORROWED, SHARED_OWNED",
        "0x44, RESERVED, RESERVED",
    })
    void sinceBothStatesShareAByteZeroSaysTheHosts(String value, PageState host, PageState hyp) {
        long entry = Long.decode(value) << 24 | 0x00ff_0001L | 0xffff_ffffL << 32;
        HypPageLayout layout = HypPageLayout.BOTH_STATES;
        assertThat(layout.hostState(entry)).isEqualTo(host);
        assertThat(layout.hypState(entry)).isEqualTo(hyp);
        assertThat(layout.order(entry)).isEqualTo(HypPageLayout.NO_ORDER);
        assertThat(layout.guestShares(entry)).isEqualTo(0xffff_ffffL);
    }

    @Test
    void anEntryIsFoundByItsFrame() {
        assertThat(new HypVmemmap(0x6000_0000_0000L, 8).entry(0x4_0000L)).isEqualTo(0x6000_0020_0000L);
        assertThat(new HypVmemmap(0x6000_0000_0000L, 4).entry(0x4_0000L)).isEqualTo(0x6000_0010_0000L);
        assertThatThrownBy(() -> new HypVmemmap(0, 16)).hasMessageContaining("not 16");
    }
}
