package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.capture.CapturedMachine;
import dev.s2snap.inspect.Explain;
import dev.s2snap.inspect.ExplainAddress;
import dev.s2snap.inspect.ExplainedEffect;
import dev.s2snap.inspect.ExplainedWalk;
import dev.s2snap.inspect.Explanation;
import dev.s2snap.inspect.Owners;
import dev.s2snap.inspect.Reading;
import dev.s2snap.inspect.TableDump;
import dev.s2snap.inspect.TableSelector;
import dev.s2snap.model.Hypercall;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.SnapshotCall;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.Translation;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ExplainCommandTest {
    private static final int EPERM = -1;

    @TempDir
    private Path folder;

    private static Run explain(String address, Object... more) {
        List<Object> args =
                new ArrayList<>(List.of("explain", Run.core("npvm"), address, "--regs", Run.registers("npvm")));
        args.addAll(List.of(more));
        return Run.of(args.toArray());
    }

    private static Map<String, Object> json(String address) {
        return JsonTree.parse(explain(address, "--format", "json").succeeds().out());
    }

    @Test
    void jsonHasWhatProgramsExpect() {
        Map<String, Object> tree = json("0x433c6000");
        assertThat(tree.keySet())
                .containsExactly(
                        "schema",
                        "source",
                        "address",
                        "physical",
                        "start",
                        "end",
                        "complete",
                        "owner",
                        "summary",
                        "walks",
                        "aliasesNotListed",
                        "states",
                        "violations",
                        "effects",
                        "effectsRelease",
                        "remarks");
        assertThat(tree)
                .containsEntry("schema", 1L)
                .containsEntry("physical", "0x433c6000")
                .containsEntry("complete", true)
                .containsEntry("owner", "! host, yet EL2 owns it too");
        List<Object> walks = JsonTree.list(tree.get("walks"));
        assertThat(walks).hasSize(2);
        Map<String, Object> hyp = JsonTree.object(walks.getLast());
        assertThat(hyp).containsEntry("table", "hyp").containsEntry("input", "0x400000001000");
        for (Object step : JsonTree.list(hyp.get("steps"))) {
            long bits = JsonTree.list(JsonTree.object(step).get("fields")).stream()
                    .map(JsonTree::object)
                    .mapToLong(field -> (long) field.get("high") - (long) field.get("low") + 1)
                    .sum();
            assertThat(bits).isEqualTo(64);
        }
    }

    @Test
    void theAnswerCanGoToAFile() throws IOException {
        Path file = folder.resolve("page.txt");
        assertThat(explain("0x433c6000", "-o", file).succeeds().text()).isEmpty();
        assertThat(Files.readString(file))
                .isEqualTo(explain("0x433c6000").succeeds().text());
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "0x10000000000000",
                "0x1000000000000",
                "guest:7:0x0",
                "foo",
                "hyp:0x123456789012345",
                "guest:0:-1"
            })
    void whatIsNoAddressOfThisMachineIsRefused(String address) {
        explain(address).isRefused();
    }

    @Test
    void anAddressIsNeeded() {
        assertThat(Run.of("explain", "model").isRefused().err()).contains("ADDRESS");
        assertThat(Run.of("explain", "nowhere.core", "0x0").isRefused().err()).contains("there is no such file");
    }

    /// The capture has no tables of the host's own.
    @Test
    void aTableThatIsNotInTheCaptureIsBadNews() {
        Run run = explain("host:0xffff000000000000");
        assertThat(run.status()).isEqualTo(Main.BAD_NEWS);
        assertThat(run.text())
                .startsWith(
                        "it is not known where host:0xffff000000000000 leads: the el1:upper table cannot be followed:");
    }

    @Test
    void aDamagedTableIsToldAsFarAsItGoes() throws IOException {
        DamagedCore core = DamagedCore.of("deb-6.12-host");
        core.set(core.entry("host", 0x4303_9000L, 1), 0x7_0000_0003L);
        Run run = core.run(folder, "explain", "0x43039000", "--era", "6.12");
        assertThat(run.err()).isEmpty();
        assertThat(run.status()).isEqualTo(Main.BAD_NEWS);
        assertThat(run.text().replaceAll("\\s+", " "))
                .contains("cannot be followed: the level 2 table page at 0x700000000 is not in this memory")
                .contains("a stack in the private range")
                .contains("note: the host table could not be read whole: 1G");
    }

    @Test
    void aTableThatIsItsOwnAncestorEnds() throws IOException {
        DamagedCore core = DamagedCore.of("deb-6.12-host");
        long root = core.root("host");
        core.set(core.entry("host", 0x4303_9000L, 0), root | 3);
        Run run = core.run(folder, "explain", "0x43039000");
        assertThat(run.err()).isEmpty();
        assertThat(run.status()).isEqualTo(Main.BAD_NEWS);
    }

    /// Words of a table that are put anywhere else in it: an answer, or one line.
    @ParameterizedTest
    @ValueSource(strings = {"deb-6.12-host", "deb-6.1-host", "deb-7.3-pvm"})
    void noDamageIsTooMuch(String capture) throws IOException {
        Random random = new Random(1);
        for (int round = 0; round < 12; round++) {
            DamagedCore core = DamagedCore.of(capture);
            for (int words = 0; words < 30; words++) {
                core.scribble(random);
            }
            for (String address : List.of("0x4fad0000", "hyp:0x600000100000")) {
                Run run = core.run(folder, "explain", address);
                if (run.status() == Main.BAD_INPUT) {
                    run.isRefused();
                } else {
                    assertThat(run.err()).isEmpty();
                    assertThat(run.text()).contains("level 0");
                }
            }
        }
    }

    /// What explain says of a page is what `owners` and `dump` say.
    @ParameterizedTest
    @CsvSource({
        "deb-6.1-npvm, 3",
        "deb-6.1-host, 5",
        "custom-7.3-npvm, 1",
        "custom-7.3-pvm, 1",
        "custom-7.3-rich-npvm, 2",
        "deb-7.3-pvm, 2",
    })
    void explainAgreesWithOwnersAndDump(String capture, int every) throws IOException {
        Path core = folder.resolve(capture + ".core");
        Files.write(core, CapturesTest.unpacked(capture + ".core.gz"));
        Path registers = CapturesTest.CAPTURES.resolve(capture + ".regs.json");
        try (CapturedMachine machine = CapturedMachine.open(core, Optional.of(registers))) {
            Reading reading = Reading.of(machine);
            Owners owners = Owners.of(reading);
            List<Owners.Run> runs = owners.runs();
            for (int i = 0; i < runs.size(); i += every) {
                Owners.Run run = runs.get(i);
                for (long at : new long[] {run.start(), run.end() - 1}) {
                    Explanation explanation = explain(reading, "0x" + Long.toHexString(at));
                    assertThat(explanation.owner()).as("0x%x", at).hasValue(run.owner());
                    assertLeaf(reading, TableSelector.HOST, explanation.walks().getFirst());
                    for (ExplainedWalk walk : explanation.walks()) {
                        if (walk.table().equals("hyp")) {
                            assertLeaf(reading, TableSelector.HYP, walk);
                        }
                    }
                }
            }
            for (Owners.GuestRun run : owners.guestMemory()) {
                Explanation explanation =
                        explain(reading, "guest:" + run.guest() + ":0x" + Long.toHexString(run.ipa()));
                assertThat(explanation.physical()).hasValue(run.start());
                assertLeaf(
                        reading,
                        TableSelector.guest(run.guest()),
                        explanation.walks().getFirst());
                assertThat(explain(reading, "0x" + Long.toHexString(run.start()))
                                .walks())
                        .extracting(ExplainedWalk::table)
                        .contains("guest:" + run.guest());
            }
        }
    }

    private static Explanation explain(Reading reading, String address) {
        return Explain.of(reading, ExplainAddress.parse(address));
    }

    private static void assertLeaf(Reading reading, TableSelector table, ExplainedWalk walk) {
        Optional<LeafRun> expected = TableDump.of(reading, table).result().runs().stream()
                .filter(run -> run.start() <= walk.input() && walk.input() < run.end())
                .findFirst();
        assertThat(walk.leaf()).isEqualTo(expected);
        assertThat(walk.output().isPresent())
                .isEqualTo(expected.map(LeafRun::mapped).orElse(false));
    }

    /// The model has the primitives of 6.12: what is said would happen is what happens.
    @Test
    void whatIsSaidToHappenHappensOnTheModel() {
        List<Long> pages = new ArrayList<>();
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            prepare(model);
            Reading reading = Reading.of(model);
            for (Owners.Run run : Owners.of(reading).runs()) {
                pages.add(run.start());
                pages.add(run.end() - 4096);
            }
        }
        pages.addAll(List.of(0x900_0000L, 0x3fff_f000L, 0x4800_0000L, 0x4010_0000L, 0x47ff_f000L));
        int refused = 0;
        for (long page : pages) {
            Explanation said;
            try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
                prepare(model);
                said = Explain.of(Reading.of(model), ExplainAddress.parse("0x" + Long.toHexString(page)));
            }
            for (Map.Entry<String, Hypercall> call : Map.of(
                            "host_share_hyp", Hypercall.PKVM_HOST_SHARE_HYP,
                            "host_unshare_hyp", Hypercall.PKVM_HOST_UNSHARE_HYP)
                    .entrySet()) {
                ExplainedEffect effect = effect(said, call.getKey());
                try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
                    prepare(model);
                    model.cpu(0).x(0, call.getValue().id());
                    model.cpu(0).x(1, page >>> 12);
                    assertThat(model.hvc(model.cpu(0))).isTrue();
                    long result = model.cpu(0).x(1);
                    refused += result == EPERM ? 1 : 0;
                    assertThat(effect.result())
                            .as("%s of 0x%x: %s", call.getKey(), page, effect.why())
                            .startsWith(result == 0 ? "0" : result == EPERM ? "-EPERM" : "-EBUSY");
                }
            }
            assertAccess(page, effect(said, "host read"), false);
            assertAccess(page, effect(said, "host write"), true);
        }
        assertThat(refused).isPositive();
    }

    private static void prepare(PkvmModel model) {
        assertThat(model.read(0x4020_0000L)).isInstanceOf(PkvmModel.Access.Done.class);
        assertThat(model.read(0x900_0000L)).isInstanceOf(PkvmModel.Access.Done.class);
        model.cpu(0).x(0, Hypercall.PKVM_HOST_SHARE_HYP.id());
        model.cpu(0).x(1, 0x4030_0000L >>> 12);
        assertThat(model.hvc(model.cpu(0))).isTrue();
    }

    private static ExplainedEffect effect(Explanation explanation, String operation) {
        return explanation.effects().stream()
                .filter(effect -> effect.operation().equals(operation))
                .findFirst()
                .orElseThrow();
    }

    private static void assertAccess(long page, ExplainedEffect said, boolean write) {
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            prepare(model);
            boolean memory =
                    model.regions().optional().orElseThrow().stream().anyMatch(region -> region.contains(page));
            if (!memory) {
                // The model has no devices to read or write.
                return;
            }
            PkvmModel.Access access = write ? model.write(page, 0) : model.read(page);
            assertThat(said.result())
                    .as("0x%x: %s", page, said.why())
                    .isEqualTo(
                            switch (access) {
                                case PkvmModel.Access.Done _ -> "allowed";
                                case PkvmModel.Access.Refused _ -> "panic";
                                case PkvmModel.Access.Livelock _ -> "fault";
                            });
            if (said.why().contains("hypervisor maps ")) {
                int level = model.host().optional().orElseThrow().translate(page) instanceof Translation.Mapped mapped
                        ? mapped.level()
                        : -1;
                String size =
                        level == 3 ? "maps this page rwx" : "maps the " + (level == 2 ? "2M" : "1G") + " around it rwx";
                assertThat(said.why().replace("the 4K around it", "this page")).contains(size);
            }
        }
    }
}
