package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.StringReader;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// The vectors for mutation tests, which run each test hundreds of times: those written by hand, one for each behaviour
/// and defect, without the recorded random runs. [VectorTest] has all of them, and everything else runs that: by its
/// name this class is no test for Surefire.
class VectorSample {

    static Stream<Vectors.Recorded> sample() {
        return Vectors.all().stream()
                .filter(vector ->
                        vector.name().startsWith("hand/") || vector.name().startsWith("posted/"));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("sample")
    void thePostedVariantDoesLineByLineWhatWasRecorded(Vectors.Recorded vector) throws Exception {
        List<String> lines = vector.lines();
        List<String> out = new ArrayList<>();
        try (ScriptRunner runner = new ScriptRunner(out::add).variant(SnapshotCall.Variant.POSTED)) {
            runner.run(new BufferedReader(new StringReader(String.join("\n", lines))));
        }
        assertThat(out.equals(lines)).isTrue();
    }
}
