package dev.s2snap.cli;

import dev.s2snap.cli.DefectsCatalogue.Defect;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/// `s2snap defects`: the defects of the posted call, run on the model beside the corrected one.
@Command(
        name = "defects",
        description = {
            "Runs the defects of the posted snapshot call, and the corrected call beside each.",
            "Both run on the executable pKVM with the same input; what each did to the machine is shown."
        },
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        versionProvider = Main.Version.class,
        footer = {
            "",
            "Examples:",
            "  s2snap defects",
            "  s2snap defects D-01",
            "",
            "Owners, overwritten words and leaks are read from the machine's memory before and after the call.",
            "docs/defects.md has a paragraph on each.",
            "",
            "Exit status: 0 done, as it is no news that v4 has defects, 2 bad usage."
        })
final class DefectsCommand implements Callable<Integer> {
    private final Output output;

    @Spec
    private CommandSpec spec = CommandSpec.create();

    @Parameters(paramLabel = "D-nn", arity = "0..*", description = "Tell these, side by side. Default: a table of all.")
    private List<String> ids = List.of();

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

    DefectsCommand(Output output) {
        this.output = output;
    }

    @Override
    public Integer call() throws IOException {
        List<Defect> wanted = new ArrayList<>();
        for (String id : ids) {
            wanted.add(DefectsCatalogue.find(id)
                    .orElseThrow(() -> new ParameterException(
                            spec.commandLine(), "there is no defect \"" + id + "\", only D-01 to D-34")));
        }
        List<DefectsStory> stories = new ArrayList<>();
        for (Defect defect : ids.isEmpty() ? DefectsCatalogue.ALL : wanted) {
            stories.add(DefectsStory.of(defect, !ids.isEmpty()));
        }
        output.write(
                Optional.ofNullable(file),
                out -> out.write(
                        switch (format) {
                            case json -> DefectsJson.of(stories);
                            case text ->
                                (ids.isEmpty()
                                                ? DefectsText.table(stories)
                                                : String.join(
                                                        "\n" + "-".repeat(DefectsText.WIDTH) + "\n\n",
                                                        stories.stream()
                                                                .map(DefectsText::story)
                                                                .toList()))
                                        .getBytes(StandardCharsets.UTF_8);
                        }));
        return Main.DONE;
    }
}
