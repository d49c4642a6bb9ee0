package dev.s2snap.pkvm;

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
class TableFuzzTest {
    private static final int ROUNDS = 3000;

    private static List<byte[]> corpus() throws IOException {
        List<byte[]> corpus = new ArrayList<>();
        try (Stream<Path> files = Files.list(Path.of("src/test/resources/fuzz/table"))) {
            for (Path file : files.sorted().toList()) {
                corpus.add(Files.readAllBytes(file));
            }
        }
        return corpus;
    }

    @Test
    void anyRegistersAndAnyMemoryAreATableOrAReason() throws IOException {
        List<byte[]> corpus = corpus();
        // A corpus without tables would test the registers only.
        assertThat(corpus.stream().filter(TableFuzz::walks).count()).isGreaterThanOrEqualTo(3);
        SplittableRandom random = new SplittableRandom(20261122);
        for (int round = 0; round < ROUNDS; round++) {
            byte[] bytes = corpus.get(random.nextInt(corpus.size())).clone();
            for (int i = bytes.length == 0 ? 0 : random.nextInt(1, 6); i > 0; i--) {
                bytes[random.nextInt(bytes.length)] = (byte) random.nextInt(256);
            }
            TableFuzz.walks(bytes);
        }
    }
}
