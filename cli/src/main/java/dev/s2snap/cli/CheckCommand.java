package dev.s2snap.cli;

import dev.s2snap.inspect.Check;
import dev.s2snap.inspect.JsonCheck;
import dev.s2snap.inspect.TextCheck;
import dev.s2snap.model.PkvmModel;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/// `s2snap check`: a machine against the rules of protected KVM.
@Command(
        name = "check",
        description = "Checks all tables of a machine against the rules that isolation rests on.",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        versionProvider = Main.Version.class,
        footer = {
            "",
            "Examples:",
            "  s2snap check model",
            "  s2snap check model:ram=4G,touch=pages --format json",
            "",
            "The rules are listed in docs/check.md. One that cannot be checked on a source is named with the reason.",
            "",
            "Exit status: 0 no rule is broken, 1 one is, 2 bad usage or input."
        })
final class CheckCommand implements Callable<Integer> {
    private final Output output;

    @Parameters(
            paramLabel = "SOURCE",
            description = "An ELF core of the machine's memory, a capture, or model[:KEY=VALUE,...].")
    private String source = "";

    @Option(names = "--format", paramLabel = "FORMAT", description = "text or json. Default: ${DEFAULT-VALUE}.")
    private Format format = Format.text;

    @Option(
            names = "-o",
            paramLabel = "FILE",
            description = "Write to this file, which appears complete or not at all.")
    private @Nullable Path file;

    @Mixin
    private SourceOptions options = new SourceOptions();

    /// The names are those on the command line.
    enum Format {
        text,
        json
    }

    CheckCommand(Output output) {
        this.output = output;
    }

    @Override
    public Integer call() throws IOException {
        try (Sources.Open open = Sources.open(source, options)) {
            // The model's host can share pages with the secure world, which leaves a trace in the host's table only.
            Check check = Check.of(options.reading(open.machine()), open.machine() instanceof PkvmModel);
            output.write(Optional.ofNullable(file), out -> {
                switch (format) {
                    case text -> TextCheck.write(check, out);
                    case json -> JsonCheck.write(check, out);
                }
            });
            return check.clean() ? Main.DONE : Main.BAD_NEWS;
        }
    }
}
