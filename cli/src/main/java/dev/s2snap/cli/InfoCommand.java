package dev.s2snap.cli;

import dev.s2snap.inspect.MachineInfo;
import java.io.IOException;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

/// `s2snap info`: the facts about a machine.
@Command(
        name = "info",
        description = "Prints what is known about a machine and where that comes from, and what is not known and why.",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        versionProvider = Main.Version.class,
        footer = {
            "",
            "Examples:",
            "  s2snap info samples/deb-6.12/npvm.core --regs samples/deb-6.12/npvm.regs.json",
            "  s2snap info model:ram=4G",
            "",
            "Exit status: 0 done, 2 bad usage or input."
        })
final class InfoCommand implements Callable<Integer> {
    private final Output output;

    @Parameters(
            paramLabel = "SOURCE",
            description = "An ELF core of the machine's memory, a capture, or model[:KEY=VALUE,...].")
    private String source = "";

    @Mixin
    private SourceOptions options = new SourceOptions();

    InfoCommand(Output output) {
        this.output = output;
    }

    @Override
    public Integer call() throws IOException {
        try (Sources.Open open = Sources.open(source, options)) {
            output.write(
                    Optional.empty(),
                    out -> MachineInfo.write(
                            options.reading(open.machine()), Sources.describe(source, open.machine()), out));
            return Main.DONE;
        }
    }
}
