package dev.s2snap.capture;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/// The fuzz targets on what is kept of earlier fuzzing, and on a few thousand inputs near it. The long run is
/// `.ci/deep fuzz`.
class FuzzCorpusTest {
    private static final int ROUNDS = 3000;

    private static List<byte[]> corpus(String target) throws IOException {
        try (Stream<Path> files = Files.list(Path.of("src/test/resources/fuzz", target))) {
            return files.sorted().map(FuzzCorpusTest::read).toList();
        }
    }

    private static byte[] read(Path file) {
        try {
            return Files.readAllBytes(file);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static void run(String target, Predicate<byte[]> accepts) throws IOException {
        List<byte[]> corpus = corpus(target);
        // A corpus of which nothing is understood would test the first check only.
        assertThat(corpus.stream().filter(accepts).count()).isGreaterThanOrEqualTo(3);
        int understood = 0;
        SplittableRandom random = new SplittableRandom(20261122);
        for (int round = 0; round < ROUNDS; round++) {
            byte[] bytes = corpus.get(random.nextInt(corpus.size())).clone();
            for (int i = bytes.length == 0 ? 0 : random.nextInt(1, 6); i > 0; i--) {
                bytes[random.nextInt(bytes.length)] = (byte) random.nextInt(256);
            }
            understood += accepts.test(bytes) ? 1 : 0;
        }
        assertThat(understood).isStrictlyBetween(0, ROUNDS);
    }

    @Test
    void coresEndInMemoryOrInOneSentence() throws IOException {
        run("core", CoreFuzz::accepts);
    }

    @Test
    void notesEndInFactsOrInOneSentence() throws IOException {
        run("note", NoteFuzz::accepts);
    }
}
