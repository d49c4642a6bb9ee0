package dev.s2snap.cli;

import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/// `s2snap help`: the same text as `--help`.
@Command(
        name = "help",
        description = "Says how to use s2snap, or one of its commands.",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        versionProvider = Main.Version.class,
        footer = {
            "",
            "Examples:",
            "  s2snap help",
            "  s2snap help dump",
            "",
            "Exit status: 0 done, 2 there is no such command."
        })
final class HelpCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec = CommandSpec.create();

    @Parameters(paramLabel = "COMMAND", arity = "0..1", description = "One of those that s2snap help lists.")
    private @Nullable String command;

    @Override
    public Integer call() {
        CommandLine whole = spec.commandLine().getParent();
        CommandLine about = command == null ? whole : whole.getSubcommands().get(command);
        if (about == null) {
            throw new ParameterException(whole, "there is no command \"" + command + "\"");
        }
        about.usage(whole.getOut());
        return Main.DONE;
    }
}
