package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.Cpu;
import dev.s2snap.model.Errno;
import dev.s2snap.model.FailingPages;
import dev.s2snap.model.Hypercall;
import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.PkvmModel.Access;
import dev.s2snap.model.Startup;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Each allocation of a table page in the calls of initialisation made to fail, but for the roots, which are not asked
/// of the pages behind a table. None of them is fatal: they answer with -ENOMEM.
class FaultInitTest {
    private static final long PROT_FINALIZE = 0xC600_0008L;

    private static long asked(int pageShift, boolean host) {
        try (PkvmModel model = new PkvmModel(Startup.config(pageShift))) {
            FailingPages pages = FailingPages.ofInit(model, host);
            assertThat(Startup.init(model)).isZero();
            return pages.asked();
        }
    }

    /// `__pkvm_init` has failed: no register points to what there is of tables, and the host has all memory as before.
    private static void nothingIsOn(PkvmModel model) {
        assertThat(model.panic()).isNull();
        assertThat(model.registers().all()).doesNotContainKeys("TTBR0_EL2", "VTTBR_EL2");
        assertThat(model.hyp().optional()).isEmpty();
        assertThat(model.host().optional()).isEmpty();
        assertThat(model.primitives().vmTable()).isZero();
        long last = model.config().regions().getLast().end() - 8;
        for (long address : new long[] {0x4000_0000L, last}) {
            assertThat(model.write(address, 77)).isEqualTo(new Access.Done(77));
            assertThat(model.read(address)).isEqualTo(new Access.Done(77));
        }
    }

    /// The host's CPUs go under their stage 2, and the machine is a good one.
    private static void comesUp(PkvmModel model) {
        model.recorder(null);
        for (int id = 0; id < model.cpus(); id++) {
            Cpu cpu = model.cpu(id);
            cpu.x(0, PROT_FINALIZE);
            assertThat(model.hvc(cpu)).isTrue();
            assertThat(cpu.x(1)).isZero();
        }
        assertThat(Judge.judge(model, "the end")).isEmpty();
    }

    @ParameterizedTest
    @CsvSource({"12, 19", "16, 7"})
    void initialisationAnswersIfAPageIsNotThereForTheTableOfEl2(int pageShift, long tables) {
        assertThat(asked(pageShift, false)).isEqualTo(tables);
        for (long number = 0; number < tables; number++) {
            try (PkvmModel model = new PkvmModel(Startup.config(pageShift))) {
                FailingPages pages = FailingPages.ofInit(model, false).fail(number);
                assertThat(Errno.name(Startup.init(model))).isEqualTo("-ENOMEM");
                assertThat(pages.asked()).isEqualTo(number + 1);
                nothingIsOn(model);
            }
        }
    }

    /// The first failure of the host's table is none: devices are unmapped, of which there are none yet, and the
    /// second attempt finds a page.
    @ParameterizedTest
    @CsvSource({"12, 11", "16, 2"})
    void initialisationAnswersIfAPageIsNotThereTwiceForTheHostsTable(int pageShift, long tables) {
        assertThat(asked(pageShift, true)).isEqualTo(tables);
        for (long number = 0; number < tables; number++) {
            try (PkvmModel model = new PkvmModel(Startup.config(pageShift))) {
                FailingPages pages = FailingPages.ofInit(model, true).fail(number, number + 1);
                assertThat(Errno.name(Startup.init(model))).isEqualTo("-ENOMEM");
                assertThat(pages.asked()).isEqualTo(number + 2);
                nothingIsOn(model);
            }
            try (PkvmModel model = new PkvmModel(Startup.config(pageShift))) {
                FailingPages.ofInit(model, true).fail(number);
                assertThat(Startup.init(model)).isZero();
                comesUp(model);
            }
        }
    }

    // Private mappings.

    /// Not aligned to a block, so that it is mapped in pages.
    private static final long DEVICE = 0x0903_0000L;

    /// KVM_PGTABLE_PROT_W, R and DEVICE: bits 1 to 3.
    private static final long READ_WRITE_DEVICE = 0xe;

    /// Over the borders of several tables.
    private static long size(ModelConfig config) {
        return (5L << (2 * config.pageShift() - 3)) / 2;
    }

    /// The host asks for a private mapping of a device.
    private static long map(PkvmModel model) {
        Cpu cpu = model.cpu(0);
        cpu.x(0, Hypercall.PKVM_CREATE_PRIVATE_MAPPING.id());
        cpu.x(1, DEVICE);
        cpu.x(2, size(model.config()));
        cpu.x(3, READ_WRITE_DEVICE);
        assertThat(model.hvc(cpu)).isTrue();
        return cpu.x(1);
    }

    private static List<LeafRun> mapped(PkvmModel model) {
        return LeafRuns.of(model.hyp().optional().orElseThrow()).runs().stream()
                .filter(LeafRun::mapped)
                .toList();
    }

    /// As 6.12 does it: what was mapped before the page was missing stays, at addresses that nobody is given any more,
    /// and nothing else is different.
    @ParameterizedTest
    @ValueSource(ints = {12, 16})
    void aPrivateMappingAnswersIfATablePageIsNotThereAndItsAddressesAreGone(int pageShift) {
        long first;
        long tables;
        try (PkvmModel model = new PkvmModel(Startup.config(pageShift))) {
            assertThat(Startup.init(model)).isZero();
            FailingPages pages = FailingPages.ofHyp(model);
            first = map(model);
            tables = pages.asked();
            assertThat(first).isNotEqualTo(Errno.ENOMEM);
        }
        assertThat(tables).isEqualTo(2);
        for (long number = 0; number < tables; number++) {
            try (PkvmModel model = new PkvmModel(Startup.config(pageShift))) {
                assertThat(Startup.init(model)).isZero();
                List<LeafRun> before = mapped(model);
                FailingPages.ofHyp(model).fail(number);
                assertThat(Errno.name(map(model))).isEqualTo("-ENOMEM");
                List<LeafRun> left = new ArrayList<>(mapped(model));
                left.removeAll(before);
                // At least what fits into the table that is there already.
                assertThat(left).hasSize(1);
                assertThat(left.getFirst().start()).isEqualTo(first);
                assertThat(left.getFirst().end()).isLessThan(first + size(model.config()));
                assertThat(left.getFirst().output()).isEqualTo(DEVICE);
                assertThat(mapped(model)).containsAll(before);
                assertThat(map(model)).isEqualTo(first + size(model.config()));
                comesUp(model);
            }
        }
    }
}
