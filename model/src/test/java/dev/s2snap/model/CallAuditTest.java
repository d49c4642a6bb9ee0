package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.CallAudit.Report;
import dev.s2snap.model.CallAudit.Rule;
import java.io.BufferedReader;
import java.io.StringReader;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.LongUnaryOperator;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// Each rule holds behind an honest call and is found broken when the machine is spoiled behind the call's back.
class CallAuditTest {
    private static final long VM_TABLE = 0x4602_0000L;

    private final List<PkvmModel> machines = new ArrayList<>();

    @AfterEach
    void close() {
        machines.forEach(PkvmModel::close);
    }

    private PkvmModel machine(SnapshotCall.Variant variant) {
        PkvmModel model = PkvmModel.small(variant);
        machines.add(model);
        // The host has touched memory and its serial port, and shares a page.
        for (long address : new long[] {0x0900_0000L, 0x4400_0000L, 0x4002_c000L}) {
            assertThat(model.read(address)).isInstanceOf(PkvmModel.Access.Done.class);
        }
        assertThat(model.el2().memProtect.shareHyp(0x44600)).isZero();
        return model;
    }

    /// An honest call, spoiled before the second picture is taken.
    private interface Spoiler {
        void spoil(PkvmModel model, HostKernel.Lent lent);
    }

    private Report audited(SnapshotCall.Variant variant, Spoiler spoiler) {
        PkvmModel model = machine(variant);
        HostKernel.Lent lent = model.hostKernel().allocate();
        Cpu cpu = model.cpu(0);
        CallAudit audit =
                CallAudit.begin(model, model.addresses().kern(lent.struct())).on(cpu);
        assertThat(model.hostKernel().call(cpu, lent)).isZero();
        spoiler.spoil(model, lent);
        return audit.end(null);
    }

    private Report spoiled(Spoiler spoiler) {
        return audited(SnapshotCall.Variant.CORRECTED, spoiler);
    }

    @ParameterizedTest
    @EnumSource
    void anHonestCallBreaksNoRuleAndGivesEverythingBack(SnapshotCall.Variant variant) {
        Report report = audited(variant, (_, _) -> {});

        assertThat(report.broken()).isEmpty();
        assertThat(report.result()).isZero();
        assertThat(report.x0()).isZero();
        assertThat(report.panic()).isNull();
        assertThat(report.owners()).isEmpty();
        assertThat(report.written()).isZero();
        assertThat(report.leaks()).isEmpty();
        assertThat(report.lent()).isEqualTo(605);
        assertThat(report.demanded()).isEqualTo(600);
        assertThat(report.pools().lost()).isZero();
        assertThat(report.copy()).isNotNull();
        assertThat(report.copy().own()).isEqualTo(605);
        assertThat(report.copy().used()).isEqualTo(report.pools().hostTables() - 2);
    }

    @Test
    void aPageGivenAwayIsCountedAndNamed() {
        Report report = spoiled((model, _) -> assertThat(model.el2().memProtect.hypDonateHost(VM_TABLE >> 12, 1))
                .isZero());

        assertThat(report.broken()).containsOnlyKeys(Rule.I_14, Rule.I_50);
        assertThat(report.owners()).singleElement().satisfies(change -> {
            assertThat(change.from()).isEqualTo("hyp");
            assertThat(change.to()).isEqualTo("host");
            assertThat(change.pages()).isEqualTo(1);
            assertThat(change.ranges()).containsExactly(new CallAudit.Range(VM_TABLE, VM_TABLE + 0x1000, "VM table"));
        });
    }

    @Test
    void aLentPageThatDoesNotComeBackIsNamed() {
        Report report =
                spoiled((model, lent) -> assertThat(model.el2().memProtect.donateHyp(lent.pgd() >> 12, 1))
                        .isZero());

        assertThat(report.broken()).containsOnlyKeys(Rule.I_50);
        assertThat(report.owners().getFirst().ranges().getFirst().what()).isEqualTo("lent PGD");
    }

    @Test
    void aWordOutsideTheLentMemoryIsReportedWithWhatItWas() {
        Report report = spoiled((model, _) -> model.ram().set(VM_TABLE + 8, 0x1234));

        assertThat(report.broken()).containsOnlyKeys(Rule.N_1);
        assertThat(report.words()).containsExactly(new CallAudit.Word(VM_TABLE + 8, 0, 0x1234, "VM table"));
    }

    @Test
    void aWordThatAnotherCpuOfTheHostStoredIsTheHosts() {
        PkvmModel model = machine(SnapshotCall.Variant.CORRECTED);
        assertThat(model.el2().memProtect.shareHyp(0x41000)).isZero();
        for (boolean told : new boolean[] {true, false}) {
            CallAudit audit = CallAudit.begin(model, 0);
            if (told) {
                audit.storedByHost(0x4100_0010L);
            }
            model.ram().set(0x4100_0010L, told ? 1 : 2);
            assertThat(audit.end(0).written()).isEqualTo(told ? 0 : 1);
        }
    }

    @Test
    void anEntryOfALiveTableThatNoLentPageExplainsIsAnOverwrittenWord() {
        long[] entry = new long[1];
        Report report = spoiled((model, _) -> {
            // The host's own serial port, mapped by a block of level 2.
            entry[0] = entryOf(model, 0x0900_0000L);
            model.ram().set(entry[0], model.ram().get(entry[0]) ^ 1L << 54);
        });

        assertThat(report.broken()).containsKey(Rule.N_1);
        assertThat(report.words()).singleElement().satisfies(word -> {
            assertThat(word.address()).isEqualTo(entry[0]);
            assertThat(word.what()).startsWith("live host stage-2 table");
        });
    }

    /// Address of the last descriptor on the way to `address` in the host's table.
    private static long entryOf(PkvmModel model, long address) {
        var table = model.hostTable();
        var geometry = table.geometry();
        long page = table.root();
        for (int level = geometry.startLevel(); ; level++) {
            long at = page + geometry.index(address, level) * 8L;
            long descriptor = model.ram().get(at);
            if ((descriptor & 3) != 3 || level == 3) {
                return at;
            }
            page = geometry.tableAddress(descriptor);
        }
    }

    private void breaks(Rule rule, Spoiler spoiler) {
        assertThat(spoiled(spoiler).broken()).as(rule.id()).containsKey(rule);
    }

    @Test
    void everyRuleCanBeFoundBroken() {
        breaks(Rule.I_16, (model, _) -> model.ram().set(entryOf(model, 0x0900_0000L), 4));
        breaks(Rule.I_20, (model, lent) -> model.ram().set(entryOf(model, lent.struct()), 4));
        breaks(Rule.I_21, (model, lent) -> {
            assertThat(model.el2().memProtect.donateHyp(lent.pgd() >> 12, 1)).isZero();
            model.ram().set(entryOf(model, lent.pgd()), 0);
        });
        breaks(Rule.I_23, (model, lent) -> model.ram().set(entryOf(model, lent.struct()), 4));
        breaks(Rule.I_26, (model, lent) -> {
            assertThat(model.el2().memProtect.donateHyp(lent.pgd() >> 12, 1)).isZero();
            hypEntry(model, lent.pgd(), descriptor -> descriptor + 0x1000);
        });
        breaks(Rule.I_51, (model, lent) -> model.ram().set(lent.struct() + SnapshotStruct.MM_OPS, 1));
        breaks(Rule.I_51, (model, lent) -> model.ram().set(lent.struct() + SnapshotStruct.PGD, VM_TABLE));
        breaks(Rule.I_52, (model, lent) -> model.ram().set(lent.list().getFirst() + 8 * 511, 0x1234));
        breaks(Rule.I_52, (model, lent) -> model.ram().set(lent.array(), VM_TABLE));
        breaks(Rule.I_52, (model, lent) -> model.ram().set(lent.struct() + SnapshotStruct.USED_PAGES_INDX, 1));
        breaks(Rule.I_53, (model, _) -> model.el2().vmemmap.increment(VM_TABLE));
        breaks(Rule.I_53, (model, lent) -> model.el2().vmemmap.increment(lent.struct()));
        breaks(Rule.I_54, (model, _) -> {
            long entry = entryOf(model, 0x4400_0000L);
            model.ram().set(entry, model.ram().get(entry) & ~(1L << 7));
        });
        breaks(Rule.I_55, (model, _) -> model.cpu(0).x(5, 1));
        breaks(
                Rule.N_2,
                (model, _) -> model.atEl2(() -> {
                    throw HypPanic.warn("here");
                }));
        breaks(
                Rule.N_3,
                (model, lent) -> model.ram()
                        .set(lent.list().getLast() + 64, model.addresses().hypVa(VM_TABLE)));
        breaks(
                Rule.N_3,
                (model, lent) -> model.ram()
                        .set(lent.list().getLast() + 64, model.hostTable().root() | 3));
        breaks(Rule.N_4, (model, _) -> model.cpu(0).x(1, 1));
    }

    private static void hypEntry(PkvmModel model, long physical, LongUnaryOperator change) {
        PageTable table = model.el2().hyp.table();
        long va = model.addresses().hypVa(physical);
        long page = table.root();
        for (int level = table.geometry().startLevel(); level < 3; level++) {
            page = table.geometry()
                    .tableAddress(model.ram().get(page + table.geometry().index(va, level) * 8L));
        }
        long at = page + table.geometry().index(va, 3) * 8L;
        model.ram().set(at, change.applyAsLong(model.ram().get(at)));
    }

    @Test
    void aPageThatTheHostDidNotAllocateIsNotLent() {
        PkvmModel model = machine(SnapshotCall.Variant.CORRECTED);
        HostKernel.Lent lent = model.hostKernel().allocate();
        long second = lent.pgd() + 0x1000;
        model.ram().set(second, 0xc0ffeeL);
        CallAudit audit =
                CallAudit.begin(model, model.addresses().kern(lent.struct())).notAllocated(second);
        model.hostKernel().call(model.cpu(0), lent);

        Report report = audit.end(0);

        assertThat(report.lent()).isEqualTo(604);
        assertThat(report.broken()).containsOnlyKeys(Rule.N_1);
    }

    static Stream<Vectors.Recorded> calling() {
        return Vectors.ofKind("posted-only", "normative", "normative-effect").filter(Vectors.Recorded::callsSnapshot);
    }

    /// The second opinion on the corrected call: whatever was recorded, it breaks no rule.
    @ParameterizedTest(name = "{0}")
    @MethodSource("calling")
    void theCorrectedCallBreaksNoRuleInAnyRecordedScript(Vectors.Recorded vector) throws Exception {
        List<Report> reports = new ArrayList<>();
        audit(vector.lines(), SnapshotCall.Variant.CORRECTED, reports::add);
        assertThat(reports).allSatisfy(report -> {
            assertThat(report.broken()).isEmpty();
            assertThat(report.owners()).isEmpty();
        });
    }

    private static void audit(List<String> script, SnapshotCall.Variant variant, Consumer<Report> reports)
            throws Exception {
        List<String> out = new ArrayList<>();
        List<String> armed = new ArrayList<>();
        try (ScriptRunner runner = new ScriptRunner(out::add).variant(variant)) {
            for (String line : script) {
                if (line.startsWith("> arm ")) {
                    armed.add(line);
                }
                PkvmModel model = runner.model();
                boolean call = line.startsWith("> snapshot ") && model != null && model.panic() == null;
                CallAudit audit = null;
                // What another CPU changes meanwhile, other than by a call or a fault, is no doing of this one.
                if (call && armed.stream().allMatch(each -> each.matches("> arm \\d+ (snapshot|fault|idmap) .*"))) {
                    long[] structs = Stream.concat(
                                    Stream.of(line.split(" ", -1)[2]),
                                    armed.stream()
                                            .filter(each -> each.contains("snapshot"))
                                            .map(each -> each.split(" ", -1)[4]))
                            .mapToLong(word -> model.addresses().kern(Long.decode(word)))
                            .toArray();
                    audit = CallAudit.begin(model, structs);
                }
                runner.run(new BufferedReader(new StringReader(line)));
                if (call) {
                    armed.clear();
                    String last = out.getLast();
                    if (audit != null) {
                        reports.accept(
                                audit.end(last.startsWith("< ret ") ? Integer.valueOf(last.substring(6)) : null));
                    }
                }
            }
        }
    }
}
