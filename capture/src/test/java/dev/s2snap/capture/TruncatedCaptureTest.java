package dev.s2snap.capture;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TranslationTable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.NavigableSet;
import java.util.Optional;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// A capture that was cut off while it was copied: all of the machine, or one sentence.
class TruncatedCaptureTest {
    private static final Path SAMPLES = Path.of("..", "samples", "deb-6.12");

    @TempDir
    private Path folder;

    private static List<List<LeafRun>> tables(CapturedMachine machine) {
        return List.of(
                runs(machine.host().optional().orElseThrow()),
                runs(machine.hyp().optional().orElseThrow()),
                runs(machine.guests().getFirst().table().optional().orElseThrow()));
    }

    private static List<LeafRun> runs(TranslationTable table) {
        LeafRuns.Result result = LeafRuns.of(table);
        assertThat(result.findings()).isEmpty();
        return result.runs();
    }

    @Test
    void aCaptureCutOffAnywhereIsRefusedUnlessNothingIsMissing() throws IOException {
        Path file = folder.resolve("a.core");
        List<List<LeafRun>> whole;
        try (CapturedMachine machine =
                CapturedMachine.open(SAMPLES.resolve("npvm.core"), Optional.of(SAMPLES.resolve("npvm.regs.json")))) {
            CaptureWriter.write(machine, "test", file);
            whole = tables(machine);
        }
        int refused = 0;
        NavigableSet<Integer> lengths = lengths(Files.readAllBytes(file));
        // From the longest to the shortest, so that one file does for all.
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
            for (int length : lengths.descendingSet()) {
                channel.truncate(length);
                try (CapturedMachine machine = CapturedMachine.open(file)) {
                    assertThat(tables(machine)).as("%d bytes", length).isEqualTo(whole);
                } catch (CaptureException e) {
                    refused++;
                    assertThat(e.getMessage()).startsWith(file + ": ").doesNotContain("\n");
                }
            }
        }
        // The last page is full: it cannot be missed.
        assertThat(refused).isEqualTo(lengths.size() - 1);
    }

    /// Both sides of every boundary in the file, and 500 other places.
    private static NavigableSet<Integer> lengths(byte[] bytes) {
        NavigableSet<Integer> lengths = new TreeSet<>();
        ByteBuffer file = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        int headers = file.getShort(56);
        lengths.add(0);
        around(lengths, 16);
        for (int i = 0; i < headers; i++) {
            int header = 64 + 56 * i;
            around(lengths, header);
            around(lengths, header + 56);
            int offset = (int) file.getLong(header + 8);
            int size = (int) file.getLong(header + 32);
            around(lengths, offset);
            around(lengths, offset + 12);
            around(lengths, offset + size);
        }
        SplittableRandom random = new SplittableRandom(20261122);
        for (int i = 0; i < 500; i++) {
            lengths.add(random.nextInt(bytes.length));
        }
        lengths.removeIf(length -> length > bytes.length);
        return lengths;
    }

    private static void around(Set<Integer> lengths, int length) {
        lengths.addAll(List.of(length - 1, length, length + 1));
    }
}
