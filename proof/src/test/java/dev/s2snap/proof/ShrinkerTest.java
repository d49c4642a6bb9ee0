package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.ScriptRunner;
import dev.s2snap.model.SnapshotCall.Variant;
import java.io.BufferedReader;
import java.io.StringReader;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;

@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class ShrinkerTest {
    private final List<Discovery> found = new ArrayList<>();

    @BeforeAll
    void search() {
        Campaign campaign = new Campaign(() -> ModelConfig.small().variant(Variant.POSTED), 4);
        campaign.run(tally -> tally.calls() < 6000, found::add);
        assertThat(found).extracting(Discovery::id).contains("D-01", "D-02", "D-06", "D-08");
    }

    @Test
    void aFindingIsLeftWithAFewSteps() {
        assertThat(found).allSatisfy(discovery -> {
            // An empty pool needs a step that empties it, and pages whose tables are missing.
            assertThat(discovery.steps()).isLessThanOrEqualTo(discovery.id().equals("D-09") ? 16 : 6);
            assertThat(discovery.steps()).isLessThanOrEqualTo(discovery.before());
        });
    }

    @Test
    void itsScriptShowsTheSameOnTheMachineAlone() throws Exception {
        for (Discovery discovery : found) {
            List<String> transcript = new ArrayList<>();
            try (ScriptRunner runner = new ScriptRunner(transcript::add)) {
                runner.run(new BufferedReader(new StringReader(String.join("\n", discovery.script()))));
            }
            String answers = String.join("\n", transcript);
            boolean panic = discovery.witness().getFirst().startsWith("panic");
            assertThat(answers.contains("< HYP_PANIC"))
                    .as("%s: %s", discovery.id(), answers)
                    .isEqualTo(panic);
        }
    }

    @Test
    void aFindingOfAKernelsGuestKeepsAllStepsAndSaysSo() {
        List<Op> steps = List.of(new Op(Op.Kind.SHARE, 0x41000), new Op(Op.Kind.READ, 0x4200_0000L));
        Finding guest = new Finding(Finding.Kind.GUEST, 0x8000_0000L, "it is mapped", "it is not", List.of(), "fault");
        Discovery discovery =
                new Shrinker(ModelConfig::small).shrink(new Campaign.Found("GUEST", "", List.of(guest), steps, 2, 0));
        assertThat(discovery.steps()).isEqualTo(2);
        assertThat(discovery.script()).endsWith("> share_hyp 0x41000", "> read64 0x42000000");
        assertThat(discovery.witness())
                .hasSize(2)
                .first()
                .isEqualTo("the kernel's guest at 0x80000000: it is not; it is mapped");
        assertThat(discovery.witness().getLast()).startsWith("no script shows this again");
    }

    @Test
    void aPageThatIsLostIsAskedForAtTheEnd() throws Exception {
        Discovery lost = found.stream()
                .filter(discovery -> discovery.id().equals("D-01"))
                .findFirst()
                .orElseThrow();
        assertThat(lost.script().getLast()).startsWith("> leaf 0x");
        assertThat(lost.witness().getFirst()).contains("the hypervisor's table").contains("its entry is 0x0");
    }
}
