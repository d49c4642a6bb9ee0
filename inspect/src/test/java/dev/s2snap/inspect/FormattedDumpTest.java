package dev.s2snap.inspect;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.pkvm.Era;
import dev.s2snap.vmsa.LeafRun;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/// The rows of [TextDump] against `String.format`: the columns that it fills by hand are the columns that were meant.
class FormattedDumpTest {

    private record Row(
            long start, long end, String kind, String permissions, String memory, String output, String owner) {}

    @Test
    void everyRowIsWhatStringFormatWouldWrite() throws IOException {
        for (int seed = 0; seed < 40; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            MadeMachine machine = random(random);
            Reading reading = random.nextBoolean() ? Reading.of(machine) : Reading.of(machine, Era.V6_1, "--era");
            for (TableSelector selector : List.of(TableSelector.HOST, TableSelector.HYP, TableSelector.guest(0))) {
                TableDump dump = TableDump.of(reading, selector);
                ByteArrayOutputStream out = new ByteArrayOutputStream();
                TextDump.write(dump, out);
                assertThat(rows(out.toString(StandardCharsets.UTF_8)))
                        .as("seed %d, %s", seed, selector.label())
                        .isEqualTo(formatted(dump));
            }
        }
    }

    private static MadeMachine random(SplittableRandom random) {
        MadeMachine machine = new MadeMachine();
        for (int i = 0; i < 60; i++) {
            long page = 0x4000_0000L + random.nextInt(100) * MadeMachine.PAGE;
            long next = page + MadeMachine.PAGE;
            switch (random.nextInt(6)) {
                case 0 -> machine.annotate(page, next, random.nextBoolean() ? MadeMachine.HYP_OWNED : 0x1234);
                case 1 -> machine.hostBlock(0x5000_0000L + random.nextInt(1 << 20) * MadeMachine.BLOCK);
                case 2 -> machine.hyp(0xd000_0000_0000L, page, next, MadeMachine.HYP_PAGE | MadeMachine.BORROWED);
                case 3 -> machine.hypEntry(0xd000_1000_0000L + page, random.nextInt(2) << 2);
                default ->
                    machine.host(
                            page, next, MadeMachine.HOST_PAGE ^ (random.nextLong() & (3L << 55 | 0x7cL | 1 << 10)));
            }
        }
        return machine.guest(1, 0x8000_0000L, 0x8000_0000L + random.nextInt(1, 9) * 0x1000, 0x4123_47ffL);
    }

    /// What stands between the header line and the sums.
    private static List<String> rows(String text) {
        return text.lines().filter(line -> line.matches("0x[0-9a-f]+-0x.*")).toList();
    }

    private static List<String> formatted(TableDump dump) throws IOException {
        List<Row> rows = new ArrayList<>();
        int digits = (dump.table().geometry().inputBits() + 3) / 4;
        TextDump words = new TextDump(dump, OutputStream.nullOutputStream());
        words.rows(
                true,
                false,
                (start, end, kind, run, output, ownership) -> rows.add(new Row(
                        start,
                        end,
                        kind,
                        run.mapped() ? words.attribute(run).permissions() : "",
                        run.mapped() ? words.attribute(run).memory() : "",
                        run.kind() != LeafRun.Kind.INVALID && output != start
                                ? ("0x%0" + digits + "x").formatted(output)
                                : "",
                        ownership.words())));
        int size = width(
                rows.stream().map(row -> ByteText.size(row.end - row.start)).toList(), 4);
        int kind = width(rows.stream().map(Row::kind).toList(), 5);
        int permissions = width(
                rows.stream().map(Row::permissions).toList(),
                dump.attributes().permissionsTitle().length());
        int memory = width(rows.stream().map(Row::memory).toList(), 6);
        int output = width(rows.stream().map(Row::output).toList(), 0);
        String format = "0x%0" + digits + "x-0x%0" + digits + "x  %" + size + "s  %-" + kind + "s  %-" + permissions
                + "s  %-" + memory + "s  " + (output == 0 ? "%s" : "%-" + output + "s  ") + "%s";
        return rows.stream()
                .map(row -> String.format(
                                Locale.ROOT,
                                format,
                                row.start,
                                row.end,
                                ByteText.size(row.end - row.start),
                                row.kind,
                                row.permissions,
                                row.memory,
                                row.output,
                                row.owner)
                        .stripTrailing())
                .toList();
    }

    private static int width(List<String> words, int least) {
        return Math.max(least, words.stream().mapToInt(String::length).max().orElse(0));
    }
}
