package dev.s2snap.cli;

import dev.s2snap.capture.AtomicFile;
import dev.s2snap.capture.CaptureException;
import dev.s2snap.model.SnapshotCall;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/// `s2snap model`: runs scripts on the executable pKVM.
@Command(
        name = "model",
        description = {
            "Runs scripts in the vector language on the executable pKVM and prints the transcripts.",
            "A transcript is the script with what the machine answered. A recorded vector is a script, and its"
                    + " transcript is the vector."
        },
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        versionProvider = Main.Version.class,
        footer = {
            "",
            "Examples:",
            "  s2snap model --script samples/seed.txt",
            "  s2snap model --variant posted --script samples/seed.txt | diff samples/seed.txt -",
            "",
            "The language is described in docs/vector-language.md.",
            "",
            "Exit status: 0 done, also when the modelled hypervisor panics, 2 bad usage or input."
        })
final class ModelCommand implements Callable<Integer> {
    private final Output output;

    @Option(
            names = "--variant",
            paramLabel = "VARIANT",
            converter = VariantConverter.class,
            description = "The snapshot call: posted (v4 as it was posted) or corrected. Overrides 'cfg variant' in a"
                    + " script; without either it is corrected.")
    private SnapshotCall.@Nullable Variant variant;

    @Option(
            names = "--script",
            paramLabel = "FILE",
            arity = "1..*",
            required = true,
            description = "Scripts, plain or gzip. Each runs on a machine of its own.")
    private List<Path> scripts = List.of();

    @Option(
            names = "-o",
            paramLabel = "DIR",
            description = "Write each transcript to a file of the script's name in this folder, instead of to standard"
                    + " output.")
    private @Nullable Path folder;

    ModelCommand(Output output) {
        this.output = output;
    }

    static final class VariantConverter implements ITypeConverter<SnapshotCall.Variant> {
        @Override
        public SnapshotCall.Variant convert(String text) {
            try {
                return SnapshotCall.Variant.of(text);
            } catch (IllegalArgumentException e) {
                throw new TypeConversionException(e.getMessage());
            }
        }
    }

    @Override
    public Integer call() throws IOException {
        Path target = folder;
        if (target == null) {
            for (Path script : scripts) {
                run(script, line -> print(line));
            }
            return Main.DONE;
        }
        try {
            Files.createDirectories(target);
        } catch (IOException e) {
            throw new CaptureException(target + ": the folder cannot be made: " + e.getMessage(), e);
        }
        Set<Path> names = new HashSet<>();
        List<Path> files = new ArrayList<>();
        for (Path script : scripts) {
            Path file = target.resolve(transcriptName(script));
            if (!names.add(file)) {
                throw new CaptureException(
                        script + ": a second script would be written to " + file + "; run it with another -o");
            }
            files.add(file);
        }
        for (int i = 0; i < files.size(); i++) {
            Path script = scripts.get(i);
            AtomicFile.write(
                    files.get(i),
                    out -> run(script, line -> {
                        try {
                            out.write(line.getBytes(StandardCharsets.UTF_8));
                            out.write('\n');
                        } catch (IOException e) {
                            throw new UncheckedIOException(e);
                        }
                    }));
        }
        return Main.DONE;
    }

    /// The script's name, without what says that it is compressed.
    private static String transcriptName(Path script) {
        String name = String.valueOf(script.getFileName());
        return name.endsWith(".gz") ? name.substring(0, name.length() - 3) : name;
    }

    private void print(String line) {
        try {
            output.standard().write(line.getBytes(StandardCharsets.UTF_8));
            output.standard().write('\n');
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private void run(Path file, Consumer<String> lines) throws IOException {
        try {
            Script.read(file).run(variant, lines);
        } catch (UncheckedIOException e) {
            throw e.getCause();
        }
    }
}
