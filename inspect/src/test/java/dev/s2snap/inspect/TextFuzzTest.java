package dev.s2snap.inspect;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/// The fuzz target on what is kept of earlier fuzzing, and on a few thousand inputs near it. The long run is
/// `.ci/deep fuzz`.
class TextFuzzTest {
    private static final int ROUNDS = 3000;

    @Test
    void textsEndInATableOrInOneSentence() throws IOException {
        List<byte[]> corpus = new ArrayList<>();
        try (Stream<Path> files = Files.list(Path.of("src/test/resources/fuzz/text"))) {
            for (Path file : files.sorted().toList()) {
                corpus.add(Files.readAllBytes(file));
            }
        }
        // A corpus of which nothing is understood would test the first check only.
        assertThat(corpus.stream().filter(TextFuzz::accepts).count()).isGreaterThanOrEqualTo(3);
        int understood = 0;
        SplittableRandom random = new SplittableRandom(20261122);
        for (int round = 0; round < ROUNDS; round++) {
            byte[] bytes = corpus.get(random.nextInt(corpus.size())).clone();
            // Letters and blanks for each other, or anything.
            for (int i = random.nextInt(1, 4); i > 0; i--) {
                bytes[random.nextInt(bytes.length)] =
                        random.nextBoolean() ? bytes[random.nextInt(bytes.length)] : (byte) random.nextInt(256);
            }
            understood += TextFuzz.accepts(bytes) ? 1 : 0;
        }
        assertThat(understood).isStrictlyBetween(0, ROUNDS);
    }
}
