package dev.s2snap.cli;

import dev.s2snap.capture.AtomicFile.Content;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/// What commands have in common that answer a question about a machine: for a person or for a program, here or in a
/// file.
final class AnswerOptions {

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

    /// The names are those on the command line.
    enum Format {
        text,
        json
    }

    String source() {
        return source;
    }

    /// Writes the answer in the form that was asked for.
    void write(Output output, Content text, Content json) throws IOException {
        output.write(
                Optional.ofNullable(file),
                switch (format) {
                    case text -> text;
                    case json -> json;
                });
    }
}
