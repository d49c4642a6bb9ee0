package dev.s2snap.cli;

import dev.s2snap.inspect.Explain;
import dev.s2snap.inspect.ExplainAddress;
import dev.s2snap.inspect.Explanation;
import dev.s2snap.inspect.JsonExplanation;
import dev.s2snap.inspect.NoAnswerException;
import dev.s2snap.inspect.Reading;
import dev.s2snap.inspect.TextExplanation;
import java.io.IOException;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.TypeConversionException;

/// `s2snap explain`: everything about one address.
@Command(
        name = "explain",
        description = {
            "Explains one address: each table's way to it, whose it is, what would happen.",
            "Every descriptor on the way is decoded field by field."
        },
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        versionProvider = Main.Version.class,
        footer = {
            "",
            "Examples:",
            "  s2snap explain model 0x40000000",
            "  s2snap explain samples/deb-6.12/npvm.core 0x433c6000 --regs samples/deb-6.12/npvm.regs.json",
            "  s2snap explain samples/deb-6.12/npvm.core guest:0:0x80000000 --regs samples/deb-6.12/npvm.regs.json",
            "",
            "Exit status: 0 done, 1 some of a table could not be read, 2 bad usage or input."
        })
final class ExplainCommand implements Callable<Integer> {
    private final Output output;

    @Mixin
    private AnswerOptions answer = new AnswerOptions();

    @Parameters(
            index = "1",
            paramLabel = "ADDRESS",
            converter = AddressConverter.class,
            description = "A physical address, guest:N:IPA, hyp:VA of EL2 or host:VA of the host's own stage 1; hex"
                    + " begins with 0x.")
    private @Nullable ExplainAddress address;

    @Mixin
    private SourceOptions options = new SourceOptions();

    static final class AddressConverter implements ITypeConverter<ExplainAddress> {
        @Override
        public ExplainAddress convert(String text) {
            try {
                return ExplainAddress.parse(text);
            } catch (IllegalArgumentException e) {
                throw new TypeConversionException(e.getMessage());
            }
        }
    }

    ExplainCommand(Output output) {
        this.output = output;
    }

    @Override
    public Integer call() throws IOException {
        try (Sources.Open open = Sources.open(answer.source(), options)) {
            Reading reading = options.reading(open.machine());
            ExplainAddress asked = address;
            if (asked == null) {
                throw new AssertionError("picocli calls no command without its parameters");
            }
            Explanation explanation = Explain.of(reading, asked);
            answer.write(
                    output,
                    out -> TextExplanation.write(explanation, out),
                    out -> JsonExplanation.write(explanation, answer.source(), out));
            return explanation.complete() ? Main.DONE : Main.BAD_NEWS;
        } catch (NoAnswerException e) {
            throw new NoAnswerException(answer.source() + ": " + e.getMessage(), e);
        }
    }
}
