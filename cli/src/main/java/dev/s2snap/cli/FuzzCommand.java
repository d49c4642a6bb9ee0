package dev.s2snap.cli;

import dev.s2snap.capture.AtomicFile;
import dev.s2snap.capture.CaptureException;
import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.SnapshotCall;
import dev.s2snap.proof.Campaign;
import dev.s2snap.proof.Discovery;
import dev.s2snap.proof.Machines;
import java.io.Console;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.LongFunction;
import java.util.function.Supplier;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// `s2snap fuzz`: a hostile host against the model, with an oracle that checks every step.
@Command(
        name = "fuzz",
        description = {
            "Lets a hostile host loose on the executable pKVM, and checks every step.",
            "What the specification did not predict is a finding: it is reduced to the steps that it needs, printed,"
                    + " and written to a file that 's2snap model --script' runs."
        },
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        versionProvider = Main.Version.class,
        footer = {
            "",
            "Examples:",
            "  s2snap fuzz --calls 20000",
            "  s2snap fuzz --calls 5000 --geometry granule=16K --seed 7",
            "",
            "With --variant posted it finds the known defects by itself, see docs/fuzz.md.",
            "",
            "Exit status: 0 nothing was found, 1 something was, 2 bad usage or input."
        })
final class FuzzCommand implements Callable<Integer> {
    private final Output output;

    @Option(
            names = "--seed",
            paramLabel = "NUMBER",
            defaultValue = "1",
            description = "The campaign follows from it, if --calls ends it (default: ${DEFAULT-VALUE}).")
    private long seed;

    @Option(
            names = "--calls",
            paramLabel = "NUMBER",
            description = "Ends the campaign after so many steps; with --time, whatever comes first.")
    private long calls;

    @Option(
            names = "--time",
            paramLabel = "SECONDS",
            description = "Ends the campaign after that time (default: 60, without --calls).")
    private long seconds;

    @Option(
            names = "--variant",
            paramLabel = "VARIANT",
            converter = ModelCommand.VariantConverter.class,
            defaultValue = "corrected",
            description = "The snapshot call of the machine: posted or corrected (default: ${DEFAULT-VALUE}).")
    private SnapshotCall.Variant variant = SnapshotCall.Variant.CORRECTED;

    @Option(
            names = "--threads",
            paramLabel = "NUMBER",
            defaultValue = "1",
            description = "Campaigns at a time, each with machines and a seed of its own: NUMBER seeds from --seed on"
                    + " (default: ${DEFAULT-VALUE}).")
    private int threads;

    @Option(
            names = "--geometry",
            paramLabel = "SETTINGS",
            defaultValue = "",
            description =
                    "The machine, as in model:SETTINGS; for example ram=2G,granule=16K; or any: one machine after the"
                            + " other that the seed makes up (default: the small machine of the recorded runs).")
    private String geometry = "";

    @Option(
            names = "-o",
            paramLabel = "DIR",
            defaultValue = ".",
            description = "Folder for the scripts of findings (default: the current one).")
    private Path folder = Path.of(".");

    FuzzCommand(Output output) {
        this.output = output;
    }

    @Override
    public Integer call() throws IOException {
        if (calls < 0 || seconds < 0 || threads < 1 || threads > 256) {
            throw new CaptureException(
                    "fuzz: --calls and --time are not negative, and --threads is 1 to 256; see s2snap fuzz --help");
        }
        LongFunction<Supplier<ModelConfig>> machines = machines();
        Bounds bounds = new Bounds(
                System.nanoTime(),
                (seconds == 0 && calls == 0 ? 60 : seconds) * 1_000_000_000L,
                Math.ceilDiv(calls, threads));
        Campaign.Tally sum = new Campaign.Tally();
        List<Discovery> found = new ArrayList<>();
        try (ExecutorService pool = Executors.newFixedThreadPool(threads)) {
            List<Future<Campaign.Tally>> running = new ArrayList<>();
            for (int i = 0; i < threads; i++) {
                long first = seed + i;
                Progress progress = new Progress(threads == 1);
                running.add(pool.submit(() -> campaigns(first, machines, bounds, progress, found)));
            }
            for (Future<Campaign.Tally> tally : running) {
                sum.add(tally.get());
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new CaptureException("fuzz: interrupted", e);
        } catch (ExecutionException e) {
            if (e.getCause() instanceof UncheckedIOException trouble) {
                throw trouble.getCause();
            }
            throw new IllegalStateException(e.getCause());
        }
        summary(sum, found, System.nanoTime() - bounds.started);
        return found.isEmpty() ? Main.DONE : Main.BAD_NEWS;
    }

    /// When to end.
    ///
    /// @param nanoseconds from the start, or 0
    /// @param calls of one thread, or 0
    private record Bounds(long started, long nanoseconds, long calls) {
        boolean left(long done) {
            return (calls == 0 || done < calls) && (nanoseconds == 0 || System.nanoTime() - started < nanoseconds);
        }
    }

    /// The geometry that is a new machine again and again.
    private static final String ANY = "any";

    /// Calls on one machine of these.
    private static final long CALLS_OF_ANY = 100_000;

    /// The machine of a seed.
    private LongFunction<Supplier<ModelConfig>> machines() {
        if (geometry.equals(ANY)) {
            return each -> () -> Machines.any(each).variant(variant);
        }
        Supplier<ModelConfig> machine = ModelSource.machine(geometry, variant);
        try {
            Campaign.test(machine.get());
        } catch (IllegalArgumentException e) {
            throw new CaptureException("--geometry " + geometry + ": " + e.getMessage(), e);
        }
        return _ -> machine;
    }

    /// The campaigns of one thread: one, or one for each machine.
    private Campaign.Tally campaigns(
            long first,
            LongFunction<Supplier<ModelConfig>> machines,
            Bounds bounds,
            Progress progress,
            List<Discovery> found) {
        Campaign.Tally sum = new Campaign.Tally();
        boolean any = geometry.equals(ANY);
        for (long each = first; bounds.left(sum.calls()); each += threads) {
            Campaign campaign = new Campaign(machines.apply(each), each);
            campaign.run(
                    tally -> {
                        progress.reached(sum, tally, System.nanoTime() - bounds.started);
                        return bounds.left(sum.calls() + tally.calls()) && (!any || tally.calls() < CALLS_OF_ANY);
                    },
                    discovery -> report(discovery, found));
            sum.add(campaign.tally());
        }
        return sum;
    }

    /// How far a campaign is, once a second, for a person who watches.
    private static final class Progress {
        private static final long SECOND = 1_000_000_000L;

        private final boolean shown;
        private long next = SECOND;

        @SuppressWarnings("SystemConsoleNull") // it is null again where there is no terminal, since JDK 25
        Progress(boolean wanted) {
            Console console = System.console();
            shown = wanted && console != null && console.isTerminal();
        }

        /// @param before of campaigns that are over
        void reached(Campaign.Tally before, Campaign.Tally tally, long spent) {
            if (shown && spent >= next) {
                next = spent + SECOND;
                System.err.printf(
                        Locale.ROOT,
                        "%d s, %d calls, %d transitions\u001b[K\r",
                        spent / SECOND,
                        before.calls() + tally.calls(),
                        before.transitions() + tally.transitions());
            }
        }
    }

    /// A kind of finding is told once, whichever thread was the first.
    private void report(Discovery discovery, List<Discovery> found) {
        synchronized (found) {
            if (found.stream().anyMatch(known -> known.id().equals(discovery.id()))) {
                return;
            }
            found.add(discovery);
            Path file = folder.resolve("fuzz-" + discovery.id() + ".txt");
            List<String> lines = new ArrayList<>();
            lines.add("# found by s2snap fuzz --variant " + variant.id() + ", seed " + seed);
            discovery.witness().forEach(line -> lines.add("# " + line));
            lines.addAll(discovery.script());
            try {
                Files.createDirectories(folder);
                AtomicFile.write(
                        file, out -> out.write((String.join("\n", lines) + "\n").getBytes(StandardCharsets.UTF_8)));
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
            print(String.format(
                    Locale.ROOT,
                    "%s after %d calls, %d steps of %d; script in %s",
                    discovery.id(),
                    discovery.calls(),
                    discovery.steps(),
                    discovery.before(),
                    file));
            discovery.witness().stream().limit(WITNESSES).forEach(line -> print("  " + line));
            List<String> steps = discovery.script().stream()
                    .filter(line -> !line.startsWith("> cfg"))
                    .toList();
            steps.stream().limit(STEPS).forEach(line -> print("    " + line));
            if (steps.size() > STEPS) {
                print("    and " + (steps.size() - STEPS) + " more steps, in the script");
            }
            print("");
        }
    }

    /// Lines of a script that are printed; the file has all.
    private static final int STEPS = 40;

    /// Lines of a witness that are printed; the file has all.
    private static final int WITNESSES = 8;

    private void summary(Campaign.Tally tally, List<Discovery> found, long nanoseconds) {
        long percent = tally.calls() == 0 ? 0 : tally.successes() * 100 / tally.calls();
        print(String.format(
                Locale.ROOT,
                "%d calls on %d %s, %d transitions, %d %% done, %d snapshots %s",
                tally.calls(),
                tally.trials(),
                tally.trials() == 1 ? "machine" : "machines",
                tally.transitions(),
                percent,
                tally.snapshots(),
                tally.answers()));
        print(String.format(
                Locale.ROOT,
                "%.1f s, %.0f transitions a second",
                nanoseconds / 1e9,
                tally.transitions() * 1e9 / Math.max(1, nanoseconds)));
        print("known bugs of the base, as predicted, in so many machines: "
                + (tally.bugs().isEmpty() ? "none" : tally.bugs()));
        print(found.isEmpty() ? "nothing was found" : "found: " + String.join(", ", ids(found)));
    }

    private static List<String> ids(List<Discovery> found) {
        return found.stream().map(Discovery::id).sorted().toList();
    }

    private void print(String line) {
        try {
            output.standard().write((line + "\n").getBytes(StandardCharsets.UTF_8));
            output.standard().flush();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
