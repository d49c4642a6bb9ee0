package dev.s2snap.cli;

import dev.s2snap.capture.CaptureWriter;
import dev.s2snap.inspect.NoAnswerException;
import dev.s2snap.inspect.Reading;
import dev.s2snap.inspect.TableDump;
import dev.s2snap.inspect.TableSelector;
import dev.s2snap.inspect.TextDump;
import dev.s2snap.model.HostKernel.HostException;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.SnapshotCall;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.PageFrames;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/// `s2snap snapshot`: a consistent snapshot, of a model through the hypercall, of other machines by reading them at
/// rest.
@Command(
        name = "snapshot",
        description = {
            "Takes a snapshot of a machine's tables and prints the host's.",
            "On the model it makes the hypercall and shows its six steps as they happen; other machines are read at rest."
        },
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        versionProvider = Main.Version.class,
        footer = {
            "",
            "Examples:",
            "  s2snap snapshot",
            "  s2snap snapshot samples/deb-6.12/npvm.core --regs samples/deb-6.12/npvm.regs.json -o npvm.s2snap",
            "",
            "A capture holds the tables as they were before the hypercall, which splits blocks under what it borrows.",
            "",
            "Exit status: 0 done, 1 the call was refused, or some of a table could not be read, 2 bad usage or input."
        })
final class SnapshotCommand implements Callable<Integer> {
    private final Output output;

    @Parameters(
            paramLabel = "SOURCE",
            arity = "0..1",
            defaultValue = "model",
            description = "model[:KEY=VALUE,...] (see dump --help), an ELF core of the machine's memory, or a capture."
                    + " Default: ${DEFAULT-VALUE}.")
    private String source = "model";

    @Option(
            names = "-o",
            paramLabel = "FILE",
            description = "Keep a capture in this file, which any later command reads.")
    private @Nullable Path file;

    @Option(
            names = "--variant",
            paramLabel = "VARIANT",
            converter = ModelCommand.VariantConverter.class,
            description = "The model's snapshot call: posted or corrected. Default: corrected.")
    private SnapshotCall.@Nullable Variant variant;

    @Mixin
    private SourceOptions options = new SourceOptions();

    SnapshotCommand(Output output) {
        this.output = output;
    }

    @Override
    public Integer call() throws IOException {
        try (Sources.Open open = Sources.open(source, options, variant)) {
            Machine machine = open.machine();
            boolean complete = true;
            String capture = "";
            if (file != null) {
                CaptureWriter.Written written =
                        CaptureWriter.write(machine, Main.tool(), file, vmemmap(options.reading(machine)));
                complete = written.findings().isEmpty();
                capture = "capture: " + file + ", " + (written.bytes() >>> 10) + "K of pages in " + written.runs()
                        + (written.runs() == 1 ? " run\n" : " runs\n");
            }
            OutputStream out = output.standard();
            if (machine instanceof PkvmModel model) {
                complete &= callAndShow(model, capture, out);
            } else {
                complete &= readAtRest(machine, capture, out);
            }
            return complete ? Main.DONE : Main.BAD_NEWS;
        }
    }

    /// The pages of the hyp_vmemmap, which belong to a capture as far as it is known where they are.
    private static List<CaptureWriter.Extent> vmemmap(Reading reading) {
        return reading.frames().optional().map(PageFrames::pages).orElse(List.of()).stream()
                .map(page -> new CaptureWriter.Extent(page.base(), page.end()))
                .toList();
    }

    private boolean callAndShow(PkvmModel model, String capture, OutputStream out) throws IOException {
        StringBuilder text = new StringBuilder();
        try {
            SnapshotStory story = new SnapshotStory(model, options, text);
            boolean taken = story.tell();
            text.append(capture);
            out.write(text.toString().getBytes(StandardCharsets.UTF_8));
            out.write(story.dump());
            return taken;
        } catch (HostException e) {
            text.append("\n").append(e.getMessage()).append("\n");
            out.write(text.toString().getBytes(StandardCharsets.UTF_8));
            return false;
        }
    }

    private boolean readAtRest(Machine machine, String capture, OutputStream out) throws IOException {
        TableSelector first = firstKnown(machine);
        TableDump dump = TableDump.of(options.reading(machine), first);
        List<String> tables = new ArrayList<>();
        machine.host().optional().ifPresent(_ -> tables.add("host"));
        machine.hyp().optional().ifPresent(_ -> tables.add("hyp"));
        for (Guest guest : machine.guests()) {
            tables.add("guest:" + guest.index());
        }
        String head = "read at rest: " + source + "\ntables: " + String.join(", ", tables) + "\n" + capture + "\n";
        out.write(head.getBytes(StandardCharsets.UTF_8));
        TextDump.write(dump, out);
        return dump.complete();
    }

    private static TableSelector firstKnown(Machine machine) {
        List<TableSelector> all = new ArrayList<>(List.of(TableSelector.HOST));
        machine.guests().forEach(guest -> all.add(TableSelector.guest(guest.index())));
        all.add(TableSelector.HYP);
        for (TableSelector selector : all) {
            if (selector.of(machine) instanceof Fact.Known<?>) {
                return selector;
            }
        }
        throw new NoAnswerException(
                "no table of this machine is known: " + machine.host().provenance());
    }
}
