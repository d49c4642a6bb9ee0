package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.vmsa.EntryVisitor;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TranslationTable;
import java.io.BufferedReader;
import java.io.StringReader;
import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// After every successful call of every recorded run the host has the live table as it was while the host lock was
/// held:
/// leaves and annotations bit for bit, and pointers only to the pages that the used list names.
class CopyTest {

    static Stream<Vectors.Recorded> normativeCalls() {
        return Vectors.all().stream()
                .filter(vector -> vector.lines().get(1).startsWith("# kind normative")
                        && vector.lines().stream().anyMatch(line -> line.startsWith("> snapshot")));
    }

    @Test
    void thereAreSuchCalls() {
        assertThat(normativeCalls()).hasSizeGreaterThan(70);
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("normativeCalls")
    void theCopyIsTheLiveTableAsItWasUnderTheLock(Vectors.Recorded vector) throws Exception {
        for (SnapshotCall.Variant variant : SnapshotCall.Variant.values()) {
            Watcher watcher = new Watcher();
            try (ScriptRunner runner = new ScriptRunner(watcher).variant(variant)) {
                watcher.runner = runner;
                runner.run(new BufferedReader(new StringReader(String.join("\n", vector.lines()))));
            }
            assertThat(watcher.pending).isEmpty();
            long expected = recordedSuccesses(vector);
            assertThat(watcher.compared).isEqualTo(expected);
        }
    }

    private static long recordedSuccesses(Vectors.Recorded vector) {
        Deque<Boolean> calls = new ArrayDeque<>();
        long successes = 0;
        for (String line : vector.lines()) {
            if (line.startsWith("> ") || line.startsWith("< cpu1 begin ")) {
                calls.push(line.contains(" snapshot"));
            } else if (line.startsWith("< ret ") && !calls.isEmpty() && calls.pop() && line.equals("< ret 0")) {
                successes++;
            }
        }
        return successes;
    }

    /// Follows the transcript: which call of which struct returns what.
    private static final class Watcher implements Consumer<String> {
        private final Deque<String> calls = new ArrayDeque<>();
        private final Deque<LeafRuns.Result> pending = new ArrayDeque<>();
        private ScriptRunner runner;
        private boolean watching;
        private int compared;

        @Override
        public void accept(String line) {
            PkvmModel model = runner.model();
            if (model != null && !watching) {
                watching = true;
                model.observer(phase -> {
                    if (phase == SnapshotCall.Phase.COPIED) {
                        assertThat(model.el2().hostLock.held()).isTrue();
                        pending.push(LeafRuns.of(model.hostTable()));
                    }
                });
            }
            if (line.startsWith("> ")) {
                calls.push(line.substring(2));
            } else if (line.startsWith("< cpu1 begin ")) {
                calls.push(line.substring("< cpu1 begin ".length()));
            } else if (line.startsWith("< ret ") && !calls.isEmpty()) {
                String call = calls.pop();
                if (call.startsWith("snapshot") && line.equals("< ret 0") && model != null) {
                    compare(model, call.split(" ", -1));
                }
            }
        }

        private void compare(PkvmModel model, String[] call) {
            AddressMap map = model.addresses();
            long argument = Long.parseUnsignedLong(call[1].substring(2), 16);
            long pointer = call[0].equals("snapshot") ? map.kern(argument) : argument;
            long struct = map.hypPa(map.kernHypVa(pointer));
            Ram ram = model.ram();
            TranslationTable copy =
                    new TranslationTable(ram, model.hostTable().geometry(), ram.get(struct + SnapshotStruct.PGD));
            LeafRuns.Result live = pending.pop();
            LeafRuns.Result copied = LeafRuns.of(copy);
            assertThat(copied.findings()).isEmpty();
            assertThat(copied.runs()).isEqualTo(live.runs());

            List<Long> tables = new ArrayList<>();
            copy.walk(new EntryVisitor() {
                @Override
                public void table(long address, int level, long inputAddress) {
                    if (level != copy.geometry().startLevel()) {
                        tables.add(address);
                    }
                }

                @Override
                public void entries(MemorySegment bytes, long offset, int count, int level, long inputAddress) {}
            });
            long array = map.hypPa(map.kernHypVa(ram.get(struct + SnapshotStruct.USED_PAGES_HVA)));
            List<Long> used = new ArrayList<>();
            for (long i = 0; i < ram.get(struct + SnapshotStruct.USED_PAGES_INDX); i++) {
                used.add(ram.get(array + i * Long.BYTES));
            }
            assertThat(tables).isEqualTo(used);
            compared++;
        }
    }
}
