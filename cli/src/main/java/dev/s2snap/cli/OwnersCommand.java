package dev.s2snap.cli;

import dev.s2snap.inspect.NoAnswerException;
import dev.s2snap.inspect.Owners;
import dev.s2snap.inspect.OwnersDump;
import java.io.IOException;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

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

    @Mixin
    private AnswerOptions answer = new AnswerOptions();

    @Mixin
    private SourceOptions options = new SourceOptions();

    OwnersCommand(Output output) {
        this.output = output;
    }

    @Override
    public Integer call() throws IOException {
        try (Sources.Open open = Sources.open(answer.source(), options)) {
            Owners owners = Owners.of(options.reading(open.machine()));
            answer.write(
                    output, out -> OwnersDump.text(owners, out), out -> OwnersDump.json(owners, answer.source(), out));
            return owners.complete() ? Main.DONE : Main.BAD_NEWS;
        } catch (NoAnswerException e) {
            throw new NoAnswerException(answer.source() + ": " + e.getMessage(), e);
        }
    }
}
