package dev.s2snap.cli;

import dev.s2snap.inspect.NoAnswerException;
import dev.s2snap.inspect.Owners;
import dev.s2snap.inspect.OwnersDump;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/// `s2snap owners`: physical memory by who owns it.
@Command(
        name = "owners",
        description = "Prints all physical memory by owner, and where each guest has what it maps.",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        versionProvider = Main.Version.class,
        footer = {
            "",
            "Examples:",
            "  s2snap owners samples/deb-6.12/npvm.core --regs samples/deb-6.12/npvm.regs.json",
            "  s2snap owners model:ram=1G,touch=random --format json",
            "",
            "Exit status: 0 done, 1 some of a table could not be read, 2 bad usage or input."
        })
final class OwnersCommand implements Callable<Integer> {
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

    OwnersCommand(Output output) {
        this.output = output;
    }

    @Override
    public Integer call() throws IOException {
        try (Sources.Open open = Sources.open(source, options)) {
            Owners owners = Owners.of(options.reading(open.machine()));
            output.write(Optional.ofNullable(file), out -> {
                switch (format) {
                    case text -> OwnersDump.text(owners, out);
                    case json -> OwnersDump.json(owners, source, out);
                }
            });
            return owners.complete() ? Main.DONE : Main.BAD_NEWS;
        } catch (NoAnswerException e) {
            throw new NoAnswerException(source + ": " + e.getMessage(), e);
        }
    }
}
