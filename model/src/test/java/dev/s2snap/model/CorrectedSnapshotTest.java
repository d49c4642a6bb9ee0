package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// The rules of DEFECTS.md section 7, one by one. Rule 9 at the size where it matters (513 tables) is in [VectorTest]:
/// rows 14, 15 and 16 of section 8.
class CorrectedSnapshotTest {
    private static final long AT = 0x4100_0000L;

    private static PkvmModel small() {
        return PkvmModel.small(SnapshotCall.Variant.CORRECTED);
    }

    private static PkvmModel machine(Consumer<ModelConfig> changes) {
        ModelConfig config = ModelConfig.small();
        changes.accept(config);
        PkvmModel model = new PkvmModel(config);
        assertThat(model.init()).isZero();
        return model;
    }

    /// Makes the call, which must be refused, and looks at everything that a refusal must leave alone.
    private static void refused(Loan loan, int errno) {
        loan.write();
        List<long[]> list = contents(loan, loan.list);
        Audit before = Audit.of(loan.model);
        assertThat(Errno.name(loan.call())).isEqualTo(Errno.name(errno));
        assertThat(Audit.of(loan.model).since(before)).isEmpty();
        List<long[]> after = contents(loan, loan.list);
        for (int i = 0; i < list.size(); i++) {
            assertThat(after.get(i)).as("list page %d", i).isEqualTo(list.get(i));
        }
        assertThat(secrets(loan)).isEmpty();
    }

    private static List<long[]> contents(Loan loan, long[] pages) {
        List<long[]> contents = new ArrayList<>();
        for (long page : pages) {
            if (loan.model.el2().regions.isMemory(page) && (page & loan.page - 1) == 0) {
                contents.add(loan.words(page));
            }
        }
        return contents;
    }

    /// Words of lent pages that are addresses of EL2, or pointers to live tables.
    private static List<String> secrets(Loan loan) {
        AddressMap map = loan.model.addresses();
        Audit audit = Audit.of(loan.model);
        long low = map.hypVa(loan.model.config().regions().getFirst().base());
        long high = map.hypVa(loan.model.config().regions().getLast().end());
        List<String> found = new ArrayList<>();
        for (long page : loan.pages()) {
            long at = page - 8;
            for (long word : loan.words(page)) {
                at += 8;
                if (word == 0 || word == Loan.MARK) {
                    continue;
                }
                boolean el2 = (word >= low && word < high) || (word >= map.ioBase() && word < map.vmemmapBase() * 2);
                boolean table = (word & 3) == 3 && audit.hostTable(word & -loan.page & (1L << 48) - 1);
                if (el2 || table) {
                    found.add("0x%x at 0x%x".formatted(word, at));
                }
            }
        }
        return found;
    }

    private static void succeeds(Loan loan) {
        assertThat(Errno.name(loan.write().call())).isEqualTo("0");
    }

    @Nested
    class Rule1 {
        @Test
        void withoutTheDebugOptionTheCallDoesNothing() {
            try (PkvmModel model = machine(config -> config.debug = false)) {
                Loan loan = Loan.honest(model, AT);
                refused(loan, Errno.EOPNOTSUPP);
                assertThat(loan.field(SnapshotStruct.PGD)).isEqualTo(Loan.MARK);
            }
        }

        @Test
        void beforeInitialisationTheCallDoesNothing() {
            try (PkvmModel model = new PkvmModel(ModelConfig.small())) {
                assertThat(model.<Integer>atEl2(() ->
                                model.snapshotCall().call(model.addresses().kern(AT))))
                        .isEqualTo(Errno.EOPNOTSUPP);
            }
        }
    }

    @Nested
    class Rule2 {
        @ParameterizedTest
        @ValueSource(longs = {1, 8, 0x800, 0xfff})
        void aStructThatIsNotAtTheStartOfAPageIsInvalid(long offset) {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT).write();
                loan.struct += offset;
                Audit before = Audit.of(model);
                assertThat(loan.call()).isEqualTo(Errno.EINVAL);
                assertThat(Audit.of(model).since(before)).isEmpty();
            }
        }

        /// Hypervisor text, an EL2 stack, the carve-out, a page that is shared already.
        @ParameterizedTest
        @ValueSource(longs = {0x4001_0000L, 0x4002_8000L, 0x4600_0000L, 0x4003_0000L})
        void aStructThatIsNotTheHostsAloneIsRefused(long struct) {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT).write();
                loan.struct = struct;
                Audit before = Audit.of(model);
                assertThat(loan.call()).isEqualTo(Errno.EPERM);
                assertThat(Audit.of(model).since(before)).isEmpty();
            }
        }
    }

    /// What the host writes while the call runs is not seen: the struct is its own no more, so the only way in are
    /// links
    /// of pages that were not donated yet, and those are judged like any other.
    @Nested
    class Rule3 {
        @Test
        void aLinkThatChangesBeforeItsPageIsDonatedIsAnOrdinaryBadLink() {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT).write();
                Audit before = Audit.of(model);
                int[] releases = new int[1];
                model.el2().hostLock.onRelease(() -> {
                    if (++releases[0] == 10) {
                        model.ram().set(loan.list[9], model.el2().host.table().root());
                    }
                });
                assertThat(loan.call()).isEqualTo(Errno.EPERM);
                model.el2().hostLock.onRelease(null);
                assertThat(Audit.of(model).since(before)).isEmpty();
                assertThat(secrets(loan)).isEmpty();
            }
        }
    }

    @Nested
    class Rule4 {
        @ParameterizedTest
        @ValueSource(longs = {1, 2, 513, -1, Long.MIN_VALUE})
        void anIndexOtherThanZeroIsInvalidAndNothingOfTheArrayIsGivenBack(long index) {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT);
                loan.index = index;
                Journal journal = new Journal(model);
                refused(loan, Errno.EINVAL);
                assertThat(journal.returned).containsExactly(loan.struct);
                assertThat(loan.field(SnapshotStruct.USED_PAGES_INDX)).isZero();
                loan.index = 0;
                succeeds(loan);
            }
        }
    }

    @Nested
    class Rule5 {
        /// Zero; one page more than there is memory; sizes that wrap to nothing, to what is needed, or to below the
        /// start.
        @ParameterizedTest
        @ValueSource(
                longs = {
                    0,
                    (128L << 20 >> 12) + 1,
                    1L << 52,
                    (1L << 52) + 1,
                    (1L << 52) + 2,
                    (1L << 52) + 600,
                    (1L << 52) - 0x4_1001L,
                    1L << 51,
                    Long.MAX_VALUE,
                    Long.MIN_VALUE,
                    -1
                })
        void aCountThatIsZeroOrExceedsMemoryIsInvalid(long count) {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT);
                Journal journal = new Journal(model);
                long[] good = {loan.pgdPages, loan.listPages, loan.arrayPages};
                for (int field = 0; field < 3; field++) {
                    loan.pgdPages = field == 0 ? count : good[0];
                    loan.listPages = field == 1 ? count : good[1];
                    loan.arrayPages = field == 2 ? count : good[2];
                    refused(loan, Errno.EINVAL);
                    assertThat(journal.returned).as("field %d", field).containsExactly(loan.struct);
                    journal.clear();
                }
                loan.arrayPages = good[2];
                succeeds(loan);
            }
        }

        @Test
        void aCountOfAllMemoryIsNoInvalidCount() {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT);
                loan.pgdPages = 128L << 20 >> 12;
                refused(loan, Errno.EPERM);
            }
        }

        /// The base gives back less than 2 GiB at a time.
        @Test
        void aRangeOf2GibibytesIsInvalid() {
            try (PkvmModel model = machine(config -> config.addRegion(0x1_0000_0000L, 4L << 30, 0))) {
                Loan loan = Loan.honest(model, AT);
                loan.pgd = 0x1_0000_0000L;
                loan.pgdPages = 1L << 19;
                refused(loan, Errno.EINVAL);
            }
        }

        /// Only multi-page ranges are given back at once; a list is given back page by page, and is bounded by memory.
        @Test
        void aListOf2GibibytesIsNoInvalidCount() {
            try (PkvmModel model = machine(config -> config.addRegion(0x1_0000_0000L, 4L << 30, 0))) {
                Loan loan = Loan.honest(model, AT);
                // It is too short, which is found out when its end is reached.
                loan.listPages = 1L << 19;
                refused(loan, Errno.EPERM);
            }
        }
    }

    @Nested
    class Rule6 {
        @ParameterizedTest
        @CsvSource({"-1, 0", "0, -1", "-1, -1", "0, -599"})
        void fewerPagesThanNeededAreTooFew(int pgd, int list) {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT);
                loan.pgdPages += pgd;
                loan.listPages += list;
                refused(loan, Errno.ENOMEM);
                loan.pgdPages -= pgd;
                loan.listPages -= list;
                succeeds(loan);
            }
        }

        @Test
        void morePagesThanNeededAreLentAndReturned() {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT);
                loan.pgd = 0x4300_0000L;
                loan.pgdPages = 7;
                loan.array = 0x4320_0000L;
                loan.arrayPages = 5;
                loan.list(0x4400_0000L, 777, 1);
                loan.write();
                Audit before = Audit.of(model);
                assertThat(loan.call()).isZero();
                Audit after = Audit.of(model);
                assertThat(after.since(before, loan.list)).isEmpty();
                assertThat(loan.field(SnapshotStruct.MC_NR_PAGES))
                        .isEqualTo(777 - loan.field(SnapshotStruct.USED_PAGES_INDX));
                assertThat(loan.word(loan.pgd + 2 * loan.page))
                        .as("behind the copy's root")
                        .isEqualTo(Loan.MARK);
            }
        }

        @Test
        void tooFewPagesAreToldBeforeBadAddresses() {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT);
                loan.listPages = 1;
                loan.pgd += 8;
                refused(loan, Errno.ENOMEM);
            }
        }
    }

    @Nested
    class Rule7 {
        @Test
        void addressesInsideOfPagesAreInvalid() {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT);
                loan.pgd += 8;
                refused(loan, Errno.EINVAL);
                loan.pgd -= 8;
                loan.array += 0x800;
                refused(loan, Errno.EINVAL);
                loan.array -= 0x800;
                loan.head += 1;
                refused(loan, Errno.EINVAL);
                loan.head -= 1;
                loan.write();
                model.ram().set(loan.list[20], loan.list[21] + 4);
                Audit before = Audit.of(model);
                assertThat(loan.call()).isEqualTo(Errno.EINVAL);
                assertThat(Audit.of(model).since(before)).isEmpty();
                succeeds(loan);
            }
        }

        @Test
        void aRangeThatLeavesItsRegionIsRefused() {
            try (PkvmModel model = machine(config -> {
                config.addRegion(0x4800_0000L, 0x3000, 0);
                config.addRegion(0x4800_3000L, 0x10_0000, 4);
            })) {
                for (long end : new long[] {0x4800_0000L, 0x4800_3000L}) {
                    Loan loan = Loan.honest(model, AT);
                    loan.pgd = end - loan.page;
                    refused(loan, Errno.EPERM);
                    loan = Loan.honest(model, AT);
                    loan.array = end - loan.page;
                    refused(loan, Errno.EPERM);
                    loan.array = end - 2 * loan.page;
                    succeeds(loan);
                }
            }
        }

        @Test
        void pagesThatAreNotMemoryOrNotToBeMappedAreRefused() {
            try (PkvmModel model = machine(config -> config.addRegion(0x4800_0000L, 0x10_0000, 4))) {
                for (long bad : new long[] {0x0900_0000L, 0x4800_0000L, 0x4810_0000L, 0}) {
                    Loan loan = Loan.honest(model, AT).write();
                    model.ram().set(loan.list[5], bad);
                    Audit before = Audit.of(model);
                    assertThat(loan.call()).as("link 0x%x", bad).isEqualTo(Errno.EPERM);
                    assertThat(Audit.of(model).since(before)).isEmpty();
                }
            }
        }
    }

    @Nested
    class Rule8 {
        @Test
        void structPgdListAndArrayAreDonatedInThisOrder() {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT);
                // Not in the order of their addresses.
                loan.array = 0x4080_0000L;
                loan.list(0x4400_0000L, 600, -1);
                Journal journal = new Journal(model);
                succeeds(loan);
                List<Long> expected = new ArrayList<>(List.of(loan.struct, loan.pgd, loan.pgd + loan.page));
                Arrays.stream(loan.list).forEach(expected::add);
                expected.addAll(List.of(loan.array, loan.array + loan.page));
                assertThat(journal.donated).isEqualTo(expected);
            }
        }

        /// Page `bad` of the list is one that the host does not own, or owns no more.
        @ParameterizedTest
        @ValueSource(ints = {0, 1, 2, 299, 598, 599})
        void exactlyThePagesBeforeTheRefusedOneComeBack(int bad) {
            try (PkvmModel model = small()) {
                long table = model.el2().host.table().root();
                Loan honest = Loan.honest(model, AT);
                for (long target : new long[] {
                    table, 0x4001_0000L, honest.struct, honest.pgd, honest.list[bad / 2], 0x4003_0000L, 0x0900_0000L
                }) {
                    if (target == honest.list[bad]) {
                        continue;
                    }
                    Loan loan = Loan.honest(model, AT).write();
                    model.ram().set(bad == 0 ? loan.struct + SnapshotStruct.MC_HEAD : loan.list[bad - 1], target);
                    Journal journal = new Journal(model);
                    Audit before = Audit.of(model);
                    assertThat(loan.call()).as("page %d is 0x%x", bad, target).isEqualTo(Errno.EPERM);
                    assertThat(Audit.of(model).since(before)).isEmpty();
                    assertThat(journal.returned).hasSize(bad + 2 + 1);
                    for (int i = 0; i < bad; i++) {
                        assertThat(loan.word(loan.list[i]))
                                .as("link %d", i)
                                .isEqualTo(i + 1 < bad ? loan.list[i + 1] : target);
                    }
                    assertThat(secrets(loan)).isEmpty();
                    assertThat(loan.zero(loan.pgd, loan.pgdPages)).isTrue();
                }
                succeeds(Loan.honest(model, AT));
            }
        }

        @Test
        void aCycleIsRefusedAtItsSecondRound() {
            try (PkvmModel model = small()) {
                for (int length : new int[] {1, 2, 7, 600}) {
                    Loan loan = Loan.honest(model, AT).write();
                    loan.listPages = 601;
                    model.ram().set(loan.struct + SnapshotStruct.MC_NR_PAGES, 601);
                    model.ram().set(loan.list[length - 1], loan.list[0]);
                    Audit before = Audit.of(model);
                    assertThat(loan.call()).as("cycle of %d", length).isEqualTo(Errno.EPERM);
                    assertThat(Audit.of(model).since(before)).isEmpty();
                    assertThat(loan.word(loan.list[length - 1])).isEqualTo(loan.list[0]);
                }
            }
        }

        @Test
        void buffersThatOverlapAreRefused() {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT);
                loan.pgd = loan.struct;
                refusedByOverlap(loan);
                loan = Loan.honest(model, AT);
                loan.pgd = loan.struct - loan.page;
                refusedByOverlap(loan);
                loan = Loan.honest(model, AT);
                loan.array = loan.struct;
                refusedByOverlap(loan);
                loan = Loan.honest(model, AT);
                loan.array = loan.pgd + loan.page;
                refusedByOverlap(loan);
                loan = Loan.honest(model, AT);
                loan.array = loan.list[599];
                refusedByOverlap(loan);
            }
        }

        private void refusedByOverlap(Loan loan) {
            loan.write();
            Audit before = Audit.of(loan.model);
            assertThat(loan.call()).isEqualTo(Errno.EPERM);
            assertThat(Audit.of(loan.model).since(before)).isEmpty();
            assertThat(secrets(loan)).isEmpty();
        }

        /// Struct, PGD, array and pages of the list lie in blocks of their own, so that each donation splits one: with
        /// `left` pages in the pool it is another one that cannot be made.
        private Loan scattered(PkvmModel model) {
            Loan loan = Loan.honest(model, AT);
            loan.struct = 0x4040_0000L;
            loan.pgd = 0x4060_0000L;
            loan.array = 0x4080_0000L;
            // The list in the blocks from 0x40a0_0000 on, 30 pages in each.
            long[] list = new long[(int) loan.listPages];
            for (int i = 0; i < list.length; i++) {
                list[i] = 0x40a0_0000L + i / 30 * 0x20_0000L + i % 30 * 0x1000L;
            }
            loan.list = list;
            loan.head = list[0];
            return loan;
        }

        private int blocks(Loan loan) {
            return 3 + Math.ceilDiv(loan.list.length, 30);
        }

        @Test
        void aHostPoolThatEndsAtAnyDonationIsNoMemoryAndNoChange() {
            exhausted(Hypervisor::hostPool);
        }

        @Test
        void anEl2PoolThatEndsAtAnyDonationIsNoMemoryAndNoChange() {
            exhausted(Hypervisor::hypPool);
        }

        private void exhausted(java.util.function.Function<Hypervisor, HypPool> which) {
            int refusals = 0;
            int result = Errno.ENOMEM;
            for (int left = 0; result != 0; left++) {
                assertThat(left).isLessThan(40);
                try (PkvmModel model = small()) {
                    HypPool pool = which.apply(model.el2());
                    List<Long> held = new ArrayList<>();
                    while (pool.freePages() > left) {
                        held.add(pool.allocate(0));
                    }
                    Loan loan = scattered(model);
                    loan.write();
                    List<long[]> list = contents(loan, loan.list);
                    Audit before = Audit.of(model);
                    result = loan.call();
                    assertThat(Audit.of(model).since(before, loan.list))
                            .as("%d pages left", left)
                            .isEmpty();
                    if (result != 0) {
                        refusals++;
                        assertThat(result).as("%d pages left", left).isEqualTo(Errno.ENOMEM);
                        assertThat(secrets(loan)).isEmpty();
                        List<long[]> after = contents(loan, loan.list);
                        for (int i = 0; i < list.size(); i++) {
                            assertThat(after.get(i)).isEqualTo(list.get(i));
                        }
                        held.forEach(pool::put);
                        succeeds(loan);
                    }
                }
            }
            assertThat(refusals).isEqualTo(23);
        }

        /// The tables that devices occupy are recycled by the donation itself, so the call is served as the posted one
        /// does.
        @Test
        void tablesOfDevicesCountAsFree() {
            try (PkvmModel model = machine(config -> config.addRegion(0xc000_0000L, 16L << 20, 0))) {
                MemProtect protect = model.el2().memProtect;
                // A table of blocks of its own: that gigabyte has memory, but not here.
                assertThat(model.<Integer>atEl2(() -> protect.fault(0xd000_0000L)))
                        .isEqualTo(0);
                Loan loan = scattered(model);
                loan.write();
                int tables = blocks(loan);
                while (model.el2().hostPool().freePages() > tables - 1) {
                    assertThat(model.el2().hostPool().allocate(0)).isNotZero();
                }
                Audit before = Audit.of(model);
                assertThat(loan.call()).isZero();
                assertThat(Audit.of(model).since(before, loan.list)).isEmpty();
                assertThat(model.el2().hostPool().freePages()).isZero();
                assertThat(Audit.of(model).hostTables()).isEqualTo(before.hostTables() - 1 + tables);
            }
        }

        /// A page at the end of a region that is memory only in part: recycling device tables discards what the host's
        /// table says of it, so that it would not come back.
        @Test
        void aPageThatIsMemoryOnlyInPartDoesNotGetLost() {
            try (PkvmModel model = machine(config -> {
                config.addRegion(0x8000_0000L, 0x40_0800L, 0);
                config.addRegion(0xc000_0000L, 16L << 20, 0);
            })) {
                MemProtect protect = model.el2().memProtect;
                assertThat(model.<Integer>atEl2(() -> protect.fault(0xd000_0000L)))
                        .isEqualTo(0);
                Loan loan = Loan.honest(model, AT);
                loan.struct = 0x8040_0000L;
                loan.write();
                // The struct needs two tables; the next donation finds none and recycles that of the devices.
                while (model.el2().hostPool().freePages() > 2) {
                    assertThat(model.el2().hostPool().allocate(0)).isNotZero();
                }
                Audit before = Audit.of(model);
                assertThat(loan.call()).isIn(0, Errno.EPERM, Errno.ENOMEM);
                assertThat(Audit.of(model).since(before, loan.list)).isEmpty();
            }
        }

        /// The page's entry would be the first of a page of the vmemmap that does not exist.
        @Test
        void aPageWithoutAVmemmapEntryIsNoPanic() {
            try (PkvmModel model = machine(config -> config.addRegion(0x8000_0000L, 0x40_0800L, 0))) {
                Loan loan = Loan.honest(model, AT);
                loan.list[0] = 0x8040_0000L;
                loan.head = loan.list[0];
                loan.write();
                Audit before = Audit.of(model);
                assertThat(loan.call()).isIn(0, Errno.EPERM);
                assertThat(Audit.of(model).since(before, loan.list)).isEmpty();
            }
        }
    }

    @Nested
    class Rule10 {
        @Test
        void aSuccessTellsRootShapeUsedPagesAndTheRestOfTheList() {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT);
                loan.write();
                Audit before = Audit.of(model);
                assertThat(loan.call()).isZero();
                Audit after = Audit.of(model);
                assertThat(after.since(before, loan.list)).isEmpty();
                assertThat(loan.field(SnapshotStruct.IA_BITS) & 0xff_ffff_ffffL).isEqualTo(40 | 1L << 32);
                assertThat(loan.field(SnapshotStruct.PGD)).isEqualTo(loan.pgd);
                assertThat(loan.field(SnapshotStruct.MM_OPS)).isZero();
                assertThat(loan.field(SnapshotStruct.FLAGS) & 0xffff_ffffL).isEqualTo(3);
                assertThat(loan.field(SnapshotStruct.MMU)).isEqualTo(Loan.MARK);
                assertThat(loan.field(SnapshotStruct.FORCE_PTE_CB)).isEqualTo(Loan.MARK);
                int used = (int) loan.field(SnapshotStruct.USED_PAGES_INDX);
                assertThat(used).isEqualTo(after.hostTables() - 2);
                for (int i = 0; i < used; i++) {
                    assertThat(loan.word(loan.array + i * 8L)).isEqualTo(loan.list[i]);
                }
                assertThat(loan.word(loan.array + used * 8L)).isEqualTo(Loan.MARK);
                assertThat(loan.field(SnapshotStruct.MC_HEAD)).isEqualTo(loan.list[used]);
                assertThat(loan.field(SnapshotStruct.MC_NR_PAGES)).isEqualTo(600 - used);
                for (int i = used; i + 1 < 600; i++) {
                    assertThat(loan.word(loan.list[i])).isEqualTo(loan.list[i + 1]);
                }
                assertThat(secrets(loan)).isEmpty();
            }
        }

        @Test
        void theCopyIsTheTableAsItWasWithTheLentPagesInIt() {
            try (PkvmModel model = small()) {
                MemProtect protect = model.el2().memProtect;
                for (long address : new long[] {0x4012_3000L, 0x4300_0000L, 0x0900_0000L, 0x80_0000_0000L}) {
                    assertThat(model.<Integer>atEl2(() -> protect.fault(address)))
                            .isEqualTo(0);
                }
                assertThat(model.<Integer>atEl2(() -> protect.shareHyp(0x4_2345L)))
                        .isEqualTo(0);
                Loan loan = Loan.honest(model, AT);
                succeeds(loan);
                TranslationTable live = model.hostTable();
                TranslationTable copy = new TranslationTable(model.ram(), live.geometry(), loan.pgd);
                List<Long> lent = loan.pages();
                int differences = 0;
                for (long page = 0x4000_0000L; page < 0x4800_0000L; page += 0x1000) {
                    if (lent.contains(page)) {
                        assertThat(entry(copy, page))
                                .as("0x%x in the copy", page)
                                .isEqualTo(4);
                        assertThat(entry(live, page)).as("0x%x now", page).isZero();
                        differences++;
                    } else {
                        assertThat(entry(copy, page)).as("0x%x", page).isEqualTo(entry(live, page));
                    }
                }
                assertThat(differences).isEqualTo(605);
                for (long device : new long[] {0x0900_0000L, 0x80_0000_0000L, 0x4800_0000L}) {
                    assertThat(entry(copy, device)).isEqualTo(entry(live, device));
                }
            }
        }

        private long entry(TranslationTable table, long address) {
            return switch (table.translate(address)) {
                case Translation.Mapped mapped -> mapped.descriptor();
                case Translation.Fault fault -> fault.descriptor();
                default -> throw new AssertionError("0x" + Long.toHexString(address));
            };
        }

        @Test
        void phasesAreToldWhenTheyAreComplete() {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT).write();
                List<String> told = new ArrayList<>();
                model.observer(phase -> told.add(phase + " " + Audit.of(model).hyp(loan.pgd) + " "
                        + (loan.field(SnapshotStruct.PGD) == loan.pgd)));
                assertThat(loan.call()).isZero();
                assertThat(told)
                        .containsExactly(
                                "DONATED " + Audit.OWNED + " false",
                                "COPIED " + Audit.OWNED + " false",
                                "RETURNED " + Audit.NOPAGE + " true");
                told.clear();
                model.observer(null);
                assertThat(loan.write().call()).isZero();
                assertThat(told).isEmpty();
            }
        }
    }

    @Nested
    class Rule11 {
        @Test
        void aFailureBehindTheDonationsZeroesRootArrayAndResult() {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT);
                loan.listPages = 599;
                refused(loan, Errno.ENOMEM);
                assertThat(loan.zero(loan.pgd, loan.pgdPages)).isTrue();
                assertThat(loan.zero(loan.array, loan.arrayPages)).isTrue();
                resultIsZero(loan);
            }
        }

        @Test
        void aFailureAtTheArrayZeroesRootAndResultAndLeavesTheArray() {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT);
                assertThat(model.<Integer>atEl2(() -> model.el2().memProtect.shareHyp((loan.array + loan.page) >>> 12)))
                        .isEqualTo(0);
                refused(loan, Errno.EPERM);
                assertThat(loan.zero(loan.pgd, loan.pgdPages)).isTrue();
                assertThat(loan.word(loan.array)).isEqualTo(Loan.MARK);
                resultIsZero(loan);
            }
        }

        @Test
        void aFailureBeforeTheRootLeavesItAlone() {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT);
                loan.index = 1;
                refused(loan, Errno.EINVAL);
                assertThat(loan.word(loan.pgd)).isEqualTo(Loan.MARK);
                assertThat(loan.word(loan.array)).isEqualTo(Loan.MARK);
                resultIsZero(loan);
            }
        }

        private void resultIsZero(Loan loan) {
            assertThat(loan.field(SnapshotStruct.IA_BITS)).isZero();
            assertThat(loan.field(SnapshotStruct.PGD)).isZero();
            assertThat(loan.field(SnapshotStruct.MM_OPS)).isZero();
            assertThat(loan.field(SnapshotStruct.FLAGS) & 0xffff_ffffL).isZero();
            assertThat(loan.field(SnapshotStruct.USED_PAGES_INDX)).isZero();
            // What the host wrote is still there, to be tried again.
            assertThat(loan.field(SnapshotStruct.MC_HEAD)).isEqualTo(loan.head);
            assertThat(loan.field(SnapshotStruct.MC_NR_PAGES)).isEqualTo(loan.listPages);
            assertThat(loan.field(SnapshotStruct.NUM_USED_PAGES)).isEqualTo(loan.arrayPages);
        }
    }

    @Nested
    class Rule12 {
        @Test
        void onFailurePagesComeBackInReverseOrder() {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT);
                Journal journal = new Journal(model);
                assertThat(model.<Integer>atEl2(() -> model.el2().memProtect.shareHyp(loan.array >>> 12)))
                        .isEqualTo(0);
                journal.clear();
                refused(loan, Errno.EPERM);
                List<Long> expected = new ArrayList<>();
                for (int i = 599; i >= 0; i--) {
                    expected.add(loan.list[i]);
                }
                expected.addAll(List.of(loan.pgd, loan.pgd + loan.page, loan.struct));
                assertThat(journal.returned).isEqualTo(expected);
            }
        }

        @Test
        void onSuccessUsedPagesArrayListRootAndStructComeBackInThisOrder() {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT);
                Journal journal = new Journal(model);
                succeeds(loan);
                int used = (int) loan.field(SnapshotStruct.USED_PAGES_INDX);
                List<Long> expected = new ArrayList<>();
                for (int i = 0; i < used; i++) {
                    expected.add(loan.list[i]);
                }
                expected.addAll(List.of(loan.array, loan.array + loan.page));
                for (int i = used; i < 600; i++) {
                    expected.add(loan.list[i]);
                }
                expected.addAll(List.of(loan.pgd, loan.pgd + loan.page, loan.struct));
                assertThat(journal.returned).isEqualTo(expected);
            }
        }
    }

    /// Between any two steps another CPU does what it likes with pages of its own.
    @Test
    void anotherCpuDisturbsNothing() {
        Property.holds(20, choices -> {
            try (PkvmModel model = small()) {
                Loan loan = Loan.honest(model, AT);
                boolean good = !choices.oneIn(3);
                if (!good) {
                    loan.listPages = 599;
                }
                loan.write();
                MemProtect protect = model.el2().memProtect;
                Audit before = Audit.of(model);
                List<Long> mine = new ArrayList<>();
                boolean[] inside = new boolean[1];
                model.el2().hostLock.onRelease(() -> {
                    if (inside[0] || !choices.oneIn(6)) {
                        return;
                    }
                    inside[0] = true;
                    long frame = 0x4_2000L + choices.below(0x1000);
                    switch (choices.below(4)) {
                        case 0 -> protect.fault(frame << 12);
                        case 1 -> {
                            if (protect.shareHyp(frame) == 0) {
                                mine.add(frame << 12);
                            }
                        }
                        case 2 -> {
                            if (protect.donateHyp(frame, 1) == 0) {
                                mine.add(frame << 12);
                            }
                        }
                        default -> protect.fault(0x0900_0000L + frame * 0x1000);
                    }
                    inside[0] = false;
                });
                int result = loan.call();
                model.el2().hostLock.onRelease(null);
                assertThat(result).isEqualTo(good ? 0 : Errno.ENOMEM);
                Audit after = Audit.of(model);
                assertThat(after.changed(before)).containsExactlyInAnyOrderElementsOf(mine);
                assertThat(after.miscounted()).isEmpty();
                assertThat(after.hostFree + after.hostTables()).isEqualTo(before.hostFree + before.hostTables());
                assertThat(secrets(loan)).isEmpty();
            }
        });
    }

    /// Writes down which pages EL2 maps for itself and which it unmaps.
    private static final class Journal implements Recorder {
        private final PkvmModel model;
        final List<Long> donated = new ArrayList<>();
        final List<Long> returned = new ArrayList<>();

        Journal(PkvmModel model) {
            this.model = model;
            model.recorder(this);
        }

        void clear() {
            donated.clear();
            returned.clear();
        }

        @Override
        public void store(long address, long before, long after, boolean release) {
            // Normal memory, read and write, not executable, owned: what a donated page is mapped with.
            if (release && (after & 0xfff0_0000_0000_0fffL) == 0x0040_0000_0000_0743L) {
                donated.add(after & 0x0000_ffff_ffff_f000L);
            }
        }

        @Override
        public void tlbiEl2(long va, int level, boolean leaf) {
            if (leaf) {
                returned.add(model.addresses().hypPa(va));
            }
        }
    }
}
