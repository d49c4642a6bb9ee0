package dev.s2snap.bench;

import dev.s2snap.inspect.KernelText;
import dev.s2snap.inspect.KernelTextDialect;
import dev.s2snap.inspect.Reading;
import dev.s2snap.inspect.TableDump;
import dev.s2snap.inspect.TableSelector;
import dev.s2snap.inspect.TextDump;
import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.HypVmemmap;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.vmsa.EntryVisitor;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import dev.s2snap.vmsa.TranslationTable;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;
import org.openjdk.jmh.infra.IterationParams;
import org.openjdk.jmh.runner.IterationType;

/// The text of a table of a million runs against the same text by `String.format`, byte for byte, which is checked
/// before anything is measured. The two take turns inside one invocation, and their order changes with every one.
///
/// The formatted one has it easier: it formats a line with one call, decodes attributes once for each value, is told
/// the widths of the columns, and gets what stands above and below the rows of a dump for nothing.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 4, time = 2)
@Measurement(iterations = 5, time = 2)
@Fork(3)
public class TextBenchmark {
    private static final TableGeometry GEOMETRY = new TableGeometry(TranslationRegime.STAGE2, 12, 40, 1, false);
    private static final long PAGE = 1 << 12;
    private static final int RUNS = 1 << 20;
    private static final int ROOT_PAGES = 2;
    private static final int PAGES = ROOT_PAGES + RUNS / (512 * 512) + RUNS / 512;
    private static final long START = 0x4000_0000L;
    private static final long OFFSET = 0x10_0000_0000L;
    private static final long WRITABLE = 0x7ff;
    private static final long READABLE = 1L << 54 | 0x77f;

    @Param({"dump", "kernel"})
    public String text;

    private PlainMemory memory;
    private TableDump dump;
    private byte[] head;
    private byte[] tail;

    private final Result.Series ratios = new Result.Series();
    private final Result.Series nanosPerRun = new Result.Series();
    private boolean formattedFirst;

    @Setup
    public void build() throws IOException {
        memory = new PlainMemory(PAGES * PAGE);
        int next = ROOT_PAGES;
        for (int gib = 0; gib < RUNS / (512 * 512); gib++) {
            int level2 = next++;
            set(0, gib + 1, page(level2) | 3);
            for (int i = 0; i < 512; i++) {
                int level3 = next++;
                set(level2, i, page(level3) | 3);
                for (int entry = 0; entry < 512; entry++) {
                    long address = START + ((long) gib << 30) + ((long) i << 21) + entry * PAGE;
                    set(level3, entry, address + OFFSET | (entry % 2 == 0 ? WRITABLE : READABLE));
                }
            }
        }
        TranslationTable table = new TranslationTable(memory, GEOMETRY, PlainMemory.BASE);
        dump = TableDump.of(Reading.of(new OneGuest(memory, table)), TableSelector.guest(0));
        if (dump.result().runs().size() != RUNS) {
            throw new IllegalStateException(dump.result().runs().size() + " runs");
        }
        // Everything but the rows.
        byte[] whole = bytes(this::write);
        int first = indexOf(whole, "0x00", 0);
        head = Arrays.copyOf(whole, first);
        tail = Arrays.copyOfRange(whole, indexOf(whole, "\n\n", first) + 1, whole.length);
        if (!Arrays.equals(whole, bytes(this::format))) {
            throw new IllegalStateException("the two texts differ");
        }
    }

    private static long page(int index) {
        return PlainMemory.BASE + index * PAGE;
    }

    private void set(int page, int entry, long descriptor) {
        memory.bytes().set(PhysicalMemory.LE64, page * PAGE + entry * 8L, descriptor);
    }

    private static int indexOf(byte[] bytes, String wanted, int from) {
        return new String(bytes, StandardCharsets.ISO_8859_1).indexOf(wanted, from);
    }

    private interface Writer {
        void write(OutputStream out) throws IOException;
    }

    private static byte[] bytes(Writer writer) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        writer.write(out);
        return out.toByteArray();
    }

    @TearDown(Level.Iteration)
    public void forgetWarmup(IterationParams iteration) {
        if (iteration.getType() == IterationType.WARMUP) {
            ratios.clear();
            nanosPerRun.clear();
        }
    }

    @Benchmark
    public long pair() throws IOException {
        formattedFirst = !formattedFirst;
        Count out = new Count();
        long start = Result.cpuTime();
        if (formattedFirst) {
            format(out);
        } else {
            write(out);
        }
        long middle = Result.cpuTime();
        if (formattedFirst) {
            write(out);
        } else {
            format(out);
        }
        long end = Result.cpuTime();
        double formatted = formattedFirst ? middle - start : end - middle;
        double written = formattedFirst ? end - middle : middle - start;
        ratios.add(formatted / written);
        nanosPerRun.add(written / RUNS);
        return out.bytes;
    }

    /// What takes everything and only counts it.
    private static final class Count extends OutputStream {
        private long bytes;

        @Override
        public void write(int b) {
            bytes++;
        }

        @Override
        public void write(byte[] b, int offset, int length) {
            bytes += length;
        }
    }

    private void write(OutputStream out) throws IOException {
        if (text.equals("dump")) {
            TextDump.write(dump, out);
        } else {
            KernelText.write(
                    dump.table(), KernelTextDialect.LINUX_7_3, new KernelTextDialect.Use(false, false), out);
        }
    }

    private void format(OutputStream out) throws IOException {
        if (text.equals("dump")) {
            out.write(head);
            formatDump(out);
            out.write(tail);
        } else {
            new FormattedKernelText(out).write(dump.table());
        }
    }

    private void formatDump(OutputStream out) throws IOException {
        Map<Long, String> attributes = new HashMap<>();
        for (LeafRun run : dump.result().runs()) {
            String words = attributes.computeIfAbsent(
                    run.bits(),
                    bits -> String.format(
                            Locale.ROOT,
                            "%-4s  %s %s",
                            dump.attributes().permissions(bits),
                            dump.attributes().memoryType(bits),
                            dump.attributes().shareability(bits)));
            out.write(String.format(
                            Locale.ROOT,
                            "0x%010x-0x%010x  %4s  %d %-4s  %s  0x%010x\n",
                            run.start(),
                            run.end(),
                            size(run.size()),
                            run.level(),
                            run.kind().id(),
                            words,
                            run.output())
                    .getBytes(StandardCharsets.UTF_8));
        }
    }

    private static String size(long bytes) {
        long number = bytes;
        int unit = 0;
        while ((number & 1023) == 0) {
            number >>>= 10;
            unit++;
        }
        return number + String.valueOf("BKMGTPE".charAt(unit));
    }

    /// 7.3's text, as one would write it first.
    private static final class FormattedKernelText implements EntryVisitor {
        private static final long SEEN = 3L << 53 | 1 << 10 | 3 << 6 | 3;
        private static final String[] EXECUTE = {"px ux ", "PXNux ", "PXNUXN", "px UXN"};

        private final OutputStream out;
        private boolean open;
        private long start;
        private int level;
        private long value;

        FormattedKernelText(OutputStream out) {
            this.out = out;
        }

        void write(TranslationTable table) throws IOException {
            out.write("---[ Guest IPA ]---\n".getBytes(StandardCharsets.US_ASCII));
            table.walk(this);
            line(table.geometry().inputSize());
        }

        @Override
        public void entries(MemorySegment bytes, long offset, int count, int level, long inputAddress) {
            for (int i = 0; i < count; i++) {
                long seen = bytes.get(PhysicalMemory.LE64, offset + i * 8L) & SEEN;
                if (!open || seen != value || level != this.level) {
                    long address = inputAddress + i * GEOMETRY.entrySize(level);
                    if (open) {
                        line(address);
                    }
                    open = true;
                    start = address;
                    this.level = level;
                    value = seen;
                }
            }
        }

        private void line(long end) {
            long number = end - start >>> 10;
            int unit = 0;
            while ((number & 1023) == 0) {
                number >>>= 10;
                unit++;
            }
            String attributes = value == 0
                    ? ""
                    : String.format(
                            Locale.ROOT,
                            " %s %s %s %s %-2s %-3s",
                            (value & 1) != 0 ? " " : "F",
                            (value & 1 << 6) != 0 ? "R" : " ",
                            (value & 1 << 7) != 0 ? "W" : " ",
                            EXECUTE[(int) (value >>> 53) & 3],
                            (value & 1 << 10) != 0 ? "AF" : "",
                            (value & 3) == 1 ? "BLK" : "");
            try {
                out.write(String.format(
                                Locale.ROOT,
                                "0x%016x-0x%016x   %9d%c %d%s\n",
                                start,
                                end,
                                number,
                                "KMGTPE".charAt(unit),
                                level,
                                attributes)
                        .getBytes(StandardCharsets.US_ASCII));
            } catch (IOException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    /// A machine that is one guest.
    private record OneGuest(PhysicalMemory memory, TranslationTable table) implements Machine {
        private static final String NONE = "there is one guest";

        @Override
        public Registers registers() {
            return new Registers(Map.of("HCR_EL2", 1L, "VTCR_EL2", 0L, "ID_AA64MMFR1_EL1", 0L));
        }

        @Override
        public List<Registers> guestRegisters() {
            return List.of(registers());
        }

        @Override
        public Fact<List<MemoryRegion>> regions() {
            return Fact.unknown(NONE);
        }

        @Override
        public Fact<TranslationTable> host() {
            return Fact.unknown(NONE);
        }

        @Override
        public Fact<TranslationTable> hyp() {
            return Fact.unknown(NONE);
        }

        @Override
        public List<Guest> guests() {
            return List.of(new Guest(0, 1, Fact.known(table, "here")));
        }

        @Override
        public Fact<HypVmemmap> vmemmap() {
            return Fact.unknown("there is none");
        }

        @Override
        public Fact<Era> era() {
            return Fact.unknown(NONE);
        }
    }

    @TearDown
    public void report() throws IOException {
        // FNV-1a, as of the other benchmarks.
        long checksum = 0xcbf29ce484222325L;
        for (byte each : bytes(this::write)) {
            checksum = (checksum ^ each & 0xff) * 0x100000001b3L;
        }
        new Result("text-" + text)
                .with("runs", RUNS)
                .with("pairs", ratios.size())
                .with("ratioOfFormat", ratios.median())
                .with("nanosecondsPerRun", nanosPerRun.median())
                .print(checksum);
        memory.close();
    }
}
