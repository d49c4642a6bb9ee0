package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.MachineTables;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TranslationRegime;
import dev.s2snap.vmsa.TranslationTable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PkvmModelTest {
    private static PkvmModel small() {
        return PkvmModel.small(SnapshotCall.Variant.CORRECTED);
    }

    @Test
    void theHostReadsWhatItWroteAndFaultsAsNeeded() {
        try (PkvmModel model = small()) {
            assertThat(model.write(0x4123_4560L, 42)).isEqualTo(new PkvmModel.Access.Done(42));
            assertThat(model.read(0x4123_4560L)).isEqualTo(new PkvmModel.Access.Done(42));
            // A device page, which the table maps without execute permission.
            assertThat(model.write(0x0900_0000L, 7)).isEqualTo(new PkvmModel.Access.Done(7));
            assertThat(model.read(0x0900_0000L)).isEqualTo(new PkvmModel.Access.Done(7));
            assertThat(model.panic()).isNull();
        }
    }

    @Test
    void anAccessToTheHypervisorsMemoryIsAPanic() {
        try (PkvmModel model = small()) {
            assertThat(model.read(0x4600_0000L)).isEqualTo(new PkvmModel.Access.Refused(Errno.EPERM));
            assertThat(model.panic()).isNotNull().hasMessage("BUG handle_host_mem_abort");
            assertThat(model.panic().reason()).isEqualTo(HypPanic.Reason.BUG);
            assertThat(model.panic().where()).isEqualTo("handle_host_mem_abort");
            assertThatThrownBy(() -> model.read(0x4600_0000L))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessage("the hypervisor has panicked: BUG handle_host_mem_abort");
            // What is mapped already, the host may go on using.
            assertThat(model.host().optional()).isPresent();
        }
    }

    /// A valid entry without the permission: the handler finds nothing to do, again and again.
    @Test
    void anAccessAcrossTheEndOfAPageFaultsInBoth() {
        try (PkvmModel model = small()) {
            assertThat(model.write(0x4123_4ffcL, 0x1122334455667788L))
                    .isEqualTo(new PkvmModel.Access.Done(0x1122334455667788L));
            assertThat(model.read(0x4123_4ffcL)).isEqualTo(new PkvmModel.Access.Done(0x1122334455667788L));
            assertThat(model.read(0x4123_5000L)).isEqualTo(new PkvmModel.Access.Done(0x11223344L));
        }
    }

    @Test
    void anAccessThatBeginsInItsOwnPageAndEndsInTheHypervisorsIsAPanic() {
        for (boolean write : new boolean[] {false, true}) {
            try (PkvmModel model = small()) {
                assertThat(model.primitives().donateHyp(0x4_1235L, 1)).isZero();
                long across = 0x4123_4ffcL;
                assertThat(write ? model.write(across, -1) : model.read(across))
                        .isEqualTo(new PkvmModel.Access.Refused(Errno.EPERM));
                assertThat(model.panic()).isNotNull();
                assertThat(model.ram().get(0x4123_5000L)).isZero();
                assertThat(model.ram().get(0x4123_4ff8L)).isZero();
            }
        }
    }

    @Test
    void anAccessThatIsNeverAllowedIsALivelock() {
        try (PkvmModel model = small()) {
            assertThat(model.write(0x4123_4000L, 1)).isInstanceOf(PkvmModel.Access.Done.class);
            PageTable table = model.el2().host.table();
            assertThat(model.<Integer>atEl2(() ->
                            table.walk(0x4123_4000L, 1, PageTable.LEAF, (_, entry, old, _, _, _) -> {
                                table.store(entry, old & ~0x80L);
                                return 0;
                            })))
                    .isEqualTo(0);
            assertThat(model.read(0x4123_4000L)).isEqualTo(new PkvmModel.Access.Done(1));
            assertThat(model.write(0x4123_4000L, 2)).isEqualTo(new PkvmModel.Access.Livelock());
        }
    }

    @Test
    void beforeInitialisationThereAreNoTables() {
        try (PkvmModel model = new PkvmModel(ModelConfig.small())) {
            assertThat(model.host()).isInstanceOf(Fact.Unknown.class);
            assertThat(model.hyp()).isInstanceOf(Fact.Unknown.class);
            assertThat(model.registers().get("VTTBR_EL2")).isEmpty();
            assertThat(model.registers().get("HCR_EL2").getAsLong() & MachineTables.HCR_VM)
                    .isZero();
        }
    }

    @ParameterizedTest
    @CsvSource({"12, 40, false", "12, 48, true", "14, 48, false", "16, 36, true", "16, 48, false"})
    void asAMachineItShowsTheTablesThatItUses(int pageShift, int paRange, boolean hvhe) {
        ModelConfig config = ModelConfig.small();
        config.pageShift = pageShift;
        config.paRange = paRange;
        config.hvhe = hvhe;
        config.carveout = 0x4400_0000L;
        config.percpu = new ModelConfig.Range(0x4010_0000L, 0x1000);
        config.stack = 0x4020_0000L;
        config.text = new ModelConfig.Range(0x4030_0000L, 0x1000);
        config.idmap = config.text;
        config.rodata = new ModelConfig.Range(0x4040_0000L, 0x1000);
        config.bss = new ModelConfig.Range(0x4050_0000L, 0x1000);
        config.vgic = new ModelConfig.Range(0x4060_0000L, 0x100);
        try (PkvmModel model = new PkvmModel(config)) {
            assertThat(model.init()).isZero();
            TranslationTable host = model.host().optional().orElseThrow();
            assertThat(host.root()).isEqualTo(model.el2().host.table().root());
            assertThat(host.geometry()).isEqualTo(model.el2().host.table().geometry());
            TranslationTable hyp = model.hyp().optional().orElseThrow();
            assertThat(hyp.root()).isEqualTo(model.el2().hyp.table().root());
            assertThat(hyp.geometry()).isEqualTo(model.el2().hyp.table().geometry());
            assertThat(hyp.geometry().regime()).isEqualTo(hvhe ? TranslationRegime.EL2_0 : TranslationRegime.EL2);
            assertThat(LeafRuns.of(host).findings()).isEmpty();
            assertThat(LeafRuns.of(hyp).findings()).isEmpty();
            assertThat(Audit.of(model).miscounted()).isEmpty();
        }
    }

    /// With 52 bits of address the root's top bits are folded into 5:2 of the base register.
    @ParameterizedTest
    @CsvSource({"12, true, false", "14, true, false", "16, false, true"})
    void a52BitMachineIsReadBackRight(int pageShift, boolean lpa2, boolean pa52) {
        ModelConfig config = new ModelConfig();
        config.pageShift = pageShift;
        config.paRange = 52;
        config.lpa2 = lpa2;
        config.pa52 = pa52;
        config.hypVaBits = pa52 ? 48 : 52;
        long base = 0x000c_0000_4000_0000L;
        config.vaBits = pageShift == 12 ? 39 : 42;
        config.addRegion(base, 256L << 20, 0);
        config.carveout = base + (128L << 20);
        try (PkvmModel model = new PkvmModel(config)) {
            assertThat(model.init()).isZero();
            assertThat(model.host().optional().orElseThrow().root())
                    .isEqualTo(model.el2().host.table().root())
                    .isGreaterThan(base);
            assertThat(model.hyp().optional().orElseThrow().root())
                    .isEqualTo(model.el2().hyp.table().root());
            assertThat(model.write(base + 0x10_0000, 5)).isEqualTo(new PkvmModel.Access.Done(5));
            assertThat(model.read(base + 0x10_0000)).isEqualTo(new PkvmModel.Access.Done(5));
            Loan loan = Loan.honest(model, base + 0x100_0000).write();
            Audit before = Audit.of(model);
            assertThat(loan.call()).isZero();
            assertThat(Audit.of(model).since(before, loan.list)).isEmpty();
        }
    }

    @Test
    void itKnowsItsRegionsItsEraAndThatItHasNoGuests() {
        try (PkvmModel model = small()) {
            assertThat(model.regions().optional()).contains(model.config().regions());
            assertThat(model.regions().provenance()).isEqualTo("hyp_memory[]");
            assertThat(model.era()).isEqualTo(Fact.known(Era.V6_1, "the model's base, 6.12.117"));
            assertThat(model.guests()).isEmpty();
            assertThat(model.guestRegisters()).isEmpty();
            assertThat(model.memory()).isSameAs(model.ram());
            assertThat(model.cpu(1).id()).isEqualTo(1);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "0x4600_0800, -1, -22",
        "0x4600_0000, 0x800, -22",
        "0x4600_0000, 0x1000, -12",
        "0x4600_0000, 0x50000, -12"
    })
    void aCarveoutThatDoesNotFitIsAnError(String carveout, String size, int error) {
        ModelConfig config = ModelConfig.small();
        config.carveout = Long.decode(carveout.replace("_", ""));
        config.carveoutSize = Long.decode(size);
        try (PkvmModel model = new PkvmModel(config)) {
            assertThat(model.init()).isEqualTo(error);
            assertThat(model.host()).isInstanceOf(Fact.Unknown.class);
        }
    }

    @Test
    void aRecorderSeesEveryStoreToATable() {
        try (PkvmModel model = small()) {
            EventCounter events = new EventCounter();
            model.recorder(events);
            assertThat(model.<Integer>atEl2(() -> model.el2().memProtect.donateHyp(0x4_1000L, 1)))
                    .isEqualTo(0);
            String counted = events.take();
            assertThat(counted)
                    .contains("STORE=")
                    .contains("STOREREL=")
                    .contains("DSB=")
                    .contains("ISB=");
            assertThat(events.take()).isEqualTo("events");
            model.recorder(null);
            assertThat(model.<Integer>atEl2(() -> model.el2().memProtect.hypDonateHost(0x4_1000L, 1)))
                    .isEqualTo(0);
            assertThat(events.take()).isEqualTo("events");
        }
    }

    @Test
    void aLockTakenTwiceIsABugOfTheModel() {
        HypLock lock = new HypLock("host", HypLock.Rank.HOST, new Cpus(1));
        lock.lock();
        assertThatThrownBy(lock::lock)
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("deadlock: host lock taken twice");
        lock.unlock();
        assertThat(lock.held()).isFalse();
    }
}
