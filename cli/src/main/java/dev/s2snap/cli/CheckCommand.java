package dev.s2snap.cli;

import dev.s2snap.inspect.Check;
import dev.s2snap.inspect.JsonCheck;
import dev.s2snap.inspect.TextCheck;
import java.io.IOException;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

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

    @Mixin
    private AnswerOptions answer = new AnswerOptions();

    @Mixin
    private SourceOptions options = new SourceOptions();

    CheckCommand(Output output) {
        this.output = output;
    }

    @Override
    public Integer call() throws IOException {
        try (Sources.Open open = Sources.open(answer.source(), options)) {
            Check check = Check.of(options.reading(open.machine()));
            answer.write(output, out -> TextCheck.write(check, out), out -> JsonCheck.write(check, out));
            return check.clean() ? Main.DONE : Main.BAD_NEWS;
        }
    }
}
