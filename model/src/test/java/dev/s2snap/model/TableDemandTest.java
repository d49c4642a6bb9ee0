package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.PageState;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/// What [TableDemand] says before a donation, against what the donation then does.
class TableDemandTest {
    private static final int RUNS = 800;

    /// Memory with edges inside of large entries, and device space between and behind, so that both kinds of tables
    /// exist.
    private static ModelConfig config(Choices choices) {
        ModelConfig config = new ModelConfig();
        config.pageShift = choices.pick(12, 12, 12, 14, 16);
        config.paRange = choices.pick(48, 40, 44, 36);
        long page = 1L << config.pageShift;
        long carveout = config.pageShift == 16 ? 32L << 20 : 16L << 20;
        config.addRegion(0x4000_0000L, 2 * carveout, 0);
        config.carveout = 0x4000_0000L + carveout;
        long odd = choices.below(600) * page + choices.pick(0, 0x800);
        config.addRegion(0x8000_0000L, 0x40_0000L + odd, 0);
        config.addRegion(0xc000_0000L + choices.below(20) * page, 0x80_0000L + choices.below(600) * page, 0);
        choices.note("shift %d, PARange %d, regions %s", config.pageShift, config.paRange, config.regions());
        return config;
    }

    @Test
    void predictsExactlyWhatADonationTakesFromBothPools() {
        AtomicInteger plain = new AtomicInteger();
        AtomicInteger retried = new AtomicInteger();
        AtomicInteger refused = new AtomicInteger();
        Property.holds(RUNS, choices -> {
            try (PkvmModel model = new PkvmModel(config(choices))) {
                assertThat(model.init()).isZero();
                while (choices.more(8)) {
                    disturb(choices, model);
                }
                donate(choices, model, plain, retried, refused);
            }
        });
        if (System.getProperty("s2snap.seed") == null) {
            assertThat(plain.get()).as("donations that fit").isGreaterThan(RUNS / 10);
            assertThat(retried.get()).as("donations that recycled tables").isGreaterThan(RUNS / 80);
            assertThat(refused.get()).as("donations that did not fit").isGreaterThan(RUNS / 20);
        }
    }

    private static long page(Choices choices, PkvmModel model) {
        MemoryRegion region = choices.pick(model.config().regions().toArray(MemoryRegion[]::new));
        long pages = region.size() >>> model.config().pageShift;
        long index = choices.oneIn(4) ? pages - 1 - choices.below(3) : choices.below((int) pages);
        return (region.base() >>> model.config().pageShift) + index;
    }

    /// Populates tables in one of many ways.
    private static void disturb(Choices choices, PkvmModel model) {
        MemProtect protect = model.el2().memProtect;
        int shift = model.config().pageShift;
        long frame = page(choices, model);
        switch (choices.below(7)) {
            case 0 -> {
                choices.note("fault %x", frame << shift);
                if (protect.states(frame).host() != PageState.NOPAGE) {
                    model.atEl2(() -> protect.fault(frame << shift));
                }
            }
            case 1, 5, 6 -> {
                // Devices: beside, between and behind memory, also in a table of their own.
                long address = choices.pick(
                        0x0900_0000L,
                        0x8040_0000L,
                        0x9000_0000L,
                        0xbfff_f000L,
                        0xc080_0000L,
                        0xe000_0000L,
                        0x2_4000_0000L,
                        0xf_0000_0000L);
                long ipa = address + ((long) choices.below(3000) << shift);
                if (!model.el2().regions.isMemory(ipa & -4096)) {
                    choices.note("device fault %x", ipa);
                    model.atEl2(() -> protect.fault(ipa));
                }
            }
            case 2 -> {
                choices.note("donate %x", frame);
                model.atEl2(() -> protect.donateHyp(frame, 1));
            }
            case 3 -> {
                int pages = choices.between(1, 700);
                choices.note("donate and give back %x+%d", frame, pages);
                if (inOneRegion(model, frame, pages)
                        && Integer.valueOf(0).equals(model.atEl2(() -> protect.donateHyp(frame, pages)))) {
                    assertThat(model.atEl2(() -> protect.hypDonateHost(frame, pages)))
                            .isEqualTo(0);
                }
            }
            default -> {
                choices.note("share %x", frame);
                model.atEl2(() -> protect.shareHyp(frame));
            }
        }
        assertThat(model.panic()).isNull();
    }

    private static boolean inOneRegion(PkvmModel model, long frame, long pages) {
        int shift = model.config().pageShift;
        return model.el2().regions.isRangeAllowedMemory(frame << shift, (frame + pages) << shift);
    }

    /// Takes pages until only `left` are left.
    private static void exhaust(HypPool pool, long left) {
        while (pool.freePages() > left) {
            assertThat(pool.allocate(0)).isNotZero();
        }
    }

    private static void donate(
            Choices choices, PkvmModel model, AtomicInteger plain, AtomicInteger retried, AtomicInteger refused) {
        Hypervisor el2 = model.el2();
        int shift = model.config().pageShift;
        long frame = page(choices, model);
        long pages = choices.oneIn(3) ? 1 : choices.between(1, 1500);
        if (pages > 1 && !inOneRegion(model, frame, pages)) {
            return;
        }
        for (long each = frame; each < frame + pages; each++) {
            MemProtect.States states = el2.memProtect.states(each);
            if (!states.equals(new MemProtect.States(PageState.OWNED, PageState.NOPAGE))) {
                return;
            }
        }
        long start = frame << shift;
        long end = (frame + pages) << shift;
        TableDemand host = new TableDemand(el2.host.table());
        long missing = host.missing(start, end);
        long recyclable = host.recyclable(el2.regions, start, end);
        long hypMissing = new TableDemand(el2.hyp.table())
                .missing(model.addresses().hypVa(start), model.addresses().hypVa(end));
        // Just enough, or a little less: what recycling may or may not make up for.
        if (!choices.oneIn(4)) {
            exhaust(el2.hostPool(), Math.max(0, missing - choices.below((int) Math.min(recyclable, 3) + 2)));
        }
        if (choices.oneIn(3)) {
            exhaust(el2.hypPool(), Math.max(0, hypMissing - choices.below(2)));
        }
        long free = el2.hostPool().freePages();
        long hypFree = el2.hypPool().freePages();
        choices.note(
                "donate %x+%d: host misses %d of %d and can recycle %d, EL2 misses %d of %d",
                frame, pages, missing, free, recyclable, hypMissing, hypFree);
        Integer result = model.atEl2(() -> el2.memProtect.donateHyp(frame, pages));
        if (missing > free + recyclable || hypMissing > hypFree) {
            assertThat(result).as("the donation must fail").isNull();
            assertThat(model.panic()).isNotNull().hasMessage("WARN do_donate");
            refused.incrementAndGet();
            return;
        }
        assertThat(result).as("the donation must succeed").isEqualTo(0);
        boolean retry = missing > free;
        (retry ? retried : plain).incrementAndGet();
        assertThat(el2.hostPool().freePages()).isEqualTo(free - missing + (retry ? recyclable : 0));
        assertThat(el2.hypPool().freePages()).isEqualTo(hypFree - hypMissing);
        List<String> wrong = new ArrayList<>(Audit.of(model).miscounted());
        assertThat(wrong).isEmpty();
        assertThat(host.missing(start, end)).as("nothing is missing afterwards").isZero();
    }
}
