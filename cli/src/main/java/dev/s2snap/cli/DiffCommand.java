package dev.s2snap.cli;

import dev.s2snap.inspect.Diff;
import dev.s2snap.inspect.DiffDump;
import dev.s2snap.inspect.DiffSource;
import dev.s2snap.inspect.KernelTable;
import dev.s2snap.inspect.NoAnswerException;
import dev.s2snap.inspect.TableSelector;
import dev.s2snap.pkvm.Era;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/// `s2snap diff`: what changed from one source to another.
@Command(
        name = "diff",
        description = "Prints what changed between two sources: what is mapped, how, and who owns the memory.",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        versionProvider = Main.Version.class,
        footer = {
            "",
            "Examples:",
            "  s2snap diff model model:touch=pages --stat",
            "  s2snap diff samples/ptdump-7.3/stage2_page_tables samples/ptdump-7.3/stage2_page_tables",
            "",
            "Compared are the host's table, the hypervisor's and those of all guests, guests by VMID.",
            "",
            "Exit status: 0 no difference, 1 there is one, or it could not be told of a part, 2 bad usage or input."
        })
final class DiffCommand implements Callable<Integer> {
    private final Output output;

    @Parameters(
            index = "0",
            paramLabel = "SOURCE",
            description = "A: what was. An ELF core of the machine's memory, a capture, model[:KEY=VALUE,...], or the"
                    + " text of a stage 2 from a kernel's debugfs.")
    private String a = "";

    @Parameters(index = "1", paramLabel = "SOURCE", description = "B: what is now.")
    private String b = "";

    @Option(
            names = "--table",
            paramLabel = "TABLE",
            converter = DumpCommand.TableConverter.class,
            description = "Compare this table alone, named as for dump. Default: host, hyp and all guests.")
    private @Nullable TableSelector table;

    @Option(names = "--stat", description = "Totals only.")
    private boolean stat;

    @Option(names = "--format", paramLabel = "FORMAT", description = "text or json. Default: ${DEFAULT-VALUE}.")
    private AnswerOptions.Format format = AnswerOptions.Format.text;

    @Option(
            names = "-o",
            paramLabel = "FILE",
            description = "Write to this file, which appears complete or not at all.")
    private @Nullable Path file;

    @Option(names = "--regs-a", paramLabel = "FILE", description = "System registers of A, as --regs of dump.")
    private @Nullable Path registersOfA;

    @Option(names = "--regs-b", paramLabel = "FILE", description = "System registers of B.")
    private @Nullable Path registersOfB;

    @Option(names = "--machine-a", paramLabel = "FILE", description = "What else is known of A, as --machine of dump.")
    private @Nullable Path machineOfA;

    @Option(names = "--machine-b", paramLabel = "FILE", description = "What else is known of B.")
    private @Nullable Path machineOfB;

    @Option(
            names = "--era-a",
            paramLabel = "RELEASE",
            converter = SourceOptions.EraConverter.class,
            description = "The kernel's release of A, as --era of dump.")
    private @Nullable Era eraOfA;

    @Option(
            names = "--era-b",
            paramLabel = "RELEASE",
            converter = SourceOptions.EraConverter.class,
            description = "The kernel's release of B.")
    private @Nullable Era eraOfB;

    @Spec
    private CommandSpec spec = CommandSpec.create();

    DiffCommand(Output output) {
        this.output = output;
    }

    /// A source, and how to let go of it.
    private record Opened(DiffSource source, Runnable closing) implements AutoCloseable {
        @Override
        public void close() {
            closing.run();
        }
    }

    @Override
    public Integer call() throws IOException {
        try (Opened first = open(a, new SourceOptions(registersOfA, machineOfA, eraOfA), "-a");
                Opened second = open(b, new SourceOptions(registersOfB, machineOfB, eraOfB), "-b")) {
            Diff diff = Diff.of(first.source, second.source, Optional.ofNullable(table));
            output.write(Optional.ofNullable(file), out -> {
                switch (format) {
                    case text -> DiffDump.text(diff, a, b, stat, out);
                    case json -> DiffDump.json(diff, a, b, stat, out);
                }
            });
            return diff.equal() ? Main.DONE : Main.BAD_NEWS;
        } catch (NoAnswerException e) {
            throw new NoAnswerException(a + ", " + b + ": " + e.getMessage(), e);
        }
    }

    /// @param side of its options
    private Opened open(String source, SourceOptions options, String side) {
        Optional<KernelTable> text = Sources.kernelText(source, Optional.empty());
        if (text.isPresent()) {
            options.given().ifPresent(option -> {
                throw new ParameterException(
                        spec.commandLine(),
                        "a kernel's text is one table and has no registers; leave out " + option + side);
            });
            return new Opened(new DiffSource.OfText(text.get()), () -> {});
        }
        if (table != null && table.kind() == TableSelector.Kind.GIVEN) {
            options.withoutRegisters();
        }
        Sources.Open open = Sources.open(source, options);
        return new Opened(new DiffSource.OfMachine(options.reading(open.machine())), open::close);
    }
}
