package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.pkvm.PageState;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Ownership as SPEC 5.4 and 5.5 state it, on the small machine.
class PageStatesTest {
    private static final int PERM = Errno.EPERM;

    /// The complete table of SPEC 5.5: a page is brought into the state of the row, then each operation is tried on it.
    /// `ok` is 0.
    @ParameterizedTest(name = "{0}")
    @CsvSource({
        //           share unshare donate giveback ffa unffa pin
        "OWNED,         0,  PERM,     0,   PERM,    0,  PERM, PERM",
        "SHARED,     PERM,     0,  PERM,   PERM, PERM,     0,    0",
        "PINNED,     PERM, EBUSY,  PERM,   PERM, PERM,     0,    0",
        "FFA,        PERM,  PERM,  PERM,   PERM, PERM,     0, PERM",
        "DONATED,    PERM,  PERM,  PERM,      0, PERM,  PERM, PERM",
    })
    void everyTransitionAnswersAsTheTableSays(
            String state,
            String share,
            String unshare,
            String donate,
            String giveBack,
            String ffa,
            String unffa,
            String pin) {
        String[] expected = {share, unshare, donate, giveBack, ffa, unffa, pin};
        for (int operation = 0; operation < expected.length; operation++) {
            try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
                MemProtect protect = model.el2().memProtect;
                long frame = 0x4_1234L;
                assertThat(model.<Integer>atEl2(() -> switch (state) {
                            case "OWNED" -> 0;
                            case "SHARED" -> protect.shareHyp(frame);
                            case "PINNED" -> protect.shareHyp(frame) + protect.pin(frame, 1);
                            case "FFA" -> protect.shareFfa(frame, 1);
                            default -> protect.donateHyp(frame, 1);
                        }))
                        .isEqualTo(0);
                Audit before = Audit.of(model);
                int chosen = operation;
                Integer result = model.atEl2(() -> operate(protect, chosen, frame, 1));
                int wanted = switch (expected[operation]) {
                    case "0" -> 0;
                    case "EBUSY" -> Errno.EBUSY;
                    default -> PERM;
                };
                assertThat(result).as("operation %d", operation).isEqualTo(wanted);
                if (wanted != 0) {
                    assertThat(Audit.of(model).since(before)).isEmpty();
                }
            }
        }
    }

    private static final String[] OPERATIONS = {
        "share", "unshare", "donate", "giveback", "share_ffa", "unshare_ffa", "pin", "unpin", "fault"
    };

    private static int operate(MemProtect protect, int operation, long frame, int pages) {
        return switch (operation) {
            case 0 -> protect.shareHyp(frame);
            case 1 -> protect.unshareHyp(frame);
            case 2 -> protect.donateHyp(frame, pages);
            case 3 -> protect.hypDonateHost(frame, pages);
            case 4 -> protect.shareFfa(frame, pages);
            case 5 -> protect.unshareFfa(frame, pages);
            case 6 -> protect.pin(frame, pages);
            case 7 -> {
                protect.unpin(frame, pages);
                yield 0;
            }
            default -> protect.fault(frame << 12);
        };
    }

    /// One page as the specification sees it.
    private static final class Page {
        int host = Audit.OWNED;
        int hyp = Audit.NOPAGE;
        int pins;
    }

    /// The rules of SPEC 5.4 on states alone, with no idea of tables.
    private static final class Rules {
        final Page[] pages;

        Rules(int count) {
            pages = new Page[count];
            for (int i = 0; i < count; i++) {
                pages[i] = new Page();
            }
        }

        int apply(int operation, int first, int count) {
            int error = 0;
            for (int i = first; i < first + count; i++) {
                Page page = pages[i];
                boolean ok = switch (operation) {
                    case 0, 2 -> page.host == Audit.OWNED && page.hyp == Audit.NOPAGE;
                    case 1 -> {
                        if (page.host == Audit.SHARED && page.pins > 0) {
                            yield false;
                        }
                        yield page.host == Audit.SHARED && page.hyp == Audit.BORROWED;
                    }
                    case 3 -> page.hyp == Audit.OWNED && page.host == Audit.NOPAGE;
                    case 4 -> page.host == Audit.OWNED;
                    case 5 -> page.host == Audit.SHARED;
                    case 6 -> page.host == Audit.SHARED && page.hyp == Audit.BORROWED;
                    default -> throw new AssertionError();
                };
                if (!ok && error == 0) {
                    error = operation == 1 && page.host == Audit.SHARED && page.pins > 0 ? Errno.EBUSY : PERM;
                }
            }
            for (int i = first; error == 0 && i < first + count; i++) {
                Page page = pages[i];
                switch (operation) {
                    case 0 -> set(page, Audit.SHARED, Audit.BORROWED);
                    case 1 -> set(page, Audit.OWNED, Audit.NOPAGE);
                    case 2 -> set(page, Audit.NOPAGE, Audit.OWNED);
                    case 3 -> set(page, Audit.OWNED, Audit.NOPAGE);
                    case 4 -> page.host = Audit.SHARED;
                    case 5 -> page.host = Audit.OWNED;
                    default -> page.pins++;
                }
            }
            return error;
        }

        private static void set(Page page, int host, int hyp) {
            page.host = host;
            page.hyp = hyp;
        }
    }

    /// Pages of one 2 MiB block, at its edges and across to the next one, and pages far from it.
    private static final long[] FRAMES = {
        0x4_11fdL, 0x4_11feL, 0x4_11ffL, 0x4_1200L, 0x4_1201L, 0x4_1202L, 0x4_2000L, 0x4_2001L, 0x4_7fffL
    };

    private static final int CONTIGUOUS = 6;

    @Test
    void randomSequencesKeepToTheRulesAndToTheCountsOfEveryTable() {
        Property.holds(120, choices -> {
            SnapshotCall.Variant variant = SnapshotCall.Variant.CORRECTED;
            try (PkvmModel model = PkvmModel.small(variant)) {
                MemProtect protect = model.el2().memProtect;
                Audit start = Audit.of(model);
                Rules rules = new Rules(FRAMES.length);
                while (choices.more(40)) {
                    int operation = choices.below(OPERATIONS.length);
                    int first = choices.below(FRAMES.length);
                    boolean several = operation >= 2 && operation <= 6 && first < CONTIGUOUS;
                    int count = several ? choices.between(1, CONTIGUOUS - first) : 1;
                    long frame = FRAMES[first];
                    choices.note("%s %x+%d", OPERATIONS[operation], frame, count);
                    step(model, protect, rules, operation, first, count);
                    Audit now = Audit.of(model);
                    for (int i = 0; i < FRAMES.length; i++) {
                        long address = FRAMES[i] << 12;
                        assertThat(now.host(address))
                                .as("host state of %x", FRAMES[i])
                                .isEqualTo(rules.pages[i].host);
                        assertThat(now.hyp(address))
                                .as("hyp state of %x", FRAMES[i])
                                .isEqualTo(rules.pages[i].hyp);
                        assertThat(now.count(address))
                                .as("pins of %x", FRAMES[i])
                                .isEqualTo(rules.pages[i].pins);
                        assertThat(protect.states(FRAMES[i])).isEqualTo(states(rules.pages[i]));
                    }
                    assertThat(now.miscounted()).isEmpty();
                    assertThat(now.hostFree + now.hostTables()).isEqualTo(start.hostFree + start.hostTables());
                    assertThat(now.hypFree + now.hypTables()).isEqualTo(start.hypFree + start.hypTables());
                }
                Set<Long> touched = new HashSet<>();
                for (long frame : FRAMES) {
                    touched.add(frame << 12);
                }
                List<Long> elsewhere = new ArrayList<>(Audit.of(model).changed(start));
                elsewhere.removeAll(touched);
                assertThat(elsewhere).as("other pages").isEmpty();
            }
        });
    }

    private static MemProtect.States states(Page page) {
        PageState[] names = {
            PageState.OWNED, PageState.SHARED_OWNED, PageState.SHARED_BORROWED, PageState.RESERVED, PageState.NOPAGE
        };
        return new MemProtect.States(names[page.host], names[page.hyp]);
    }

    private static void step(PkvmModel model, MemProtect protect, Rules rules, int operation, int first, int count) {
        Page page = rules.pages[first];
        long frame = FRAMES[first];
        if (operation == 7) {
            // Without a pin it is a panic, which has a test of its own.
            if (page.pins > 0) {
                page.pins--;
                assertThat(model.<Integer>atEl2(() -> operate(protect, 7, frame, 1)))
                        .isEqualTo(0);
            }
            return;
        }
        if (operation == 8) {
            Integer result = model.atEl2(() -> operate(protect, 8, frame, 1));
            if (page.host == Audit.NOPAGE) {
                assertThat(result).isEqualTo(PERM);
            } else {
                // Whether it was mapped already is nobody's business.
                assertThat(result).isIn(0, Errno.EAGAIN);
            }
            return;
        }
        int expected = rules.apply(operation, first, count);
        assertThat(model.<Integer>atEl2(() -> operate(protect, operation, frame, count)))
                .isEqualTo(expected);
    }

    @Test
    void unpinningAPageWithoutPinsIsAPanic() {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            assertThat(model.<Integer>atEl2(() -> operate(model.el2().memProtect, 7, 0x4_1234L, 1)))
                    .isNull();
            assertThat(model.panic()).isNotNull().hasMessage("BUG hyp_page_ref_dec");
        }
    }
}
