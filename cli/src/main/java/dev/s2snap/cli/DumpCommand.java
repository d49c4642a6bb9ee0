package dev.s2snap.cli;

import dev.s2snap.inspect.JsonDump;
import dev.s2snap.inspect.KernelText;
import dev.s2snap.inspect.KernelTextDialect;
import dev.s2snap.inspect.NoAnswerException;
import dev.s2snap.inspect.TableDump;
import dev.s2snap.inspect.TableSelector;
import dev.s2snap.inspect.TextDump;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.vmsa.Finding;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;
import picocli.CommandLine.TypeConversionException;

/// `s2snap dump`: one table, whole.
@Command(
        name = "dump",
        description = "Prints a translation table: every entry, what it allows, and who owns the memory.",
        mixinStandardHelpOptions = true,
        versionProvider = Main.Version.class,
        footer = {
            "",
            "Example:",
            "  s2snap dump samples/deb-6.12/npvm.core --regs samples/deb-6.12/npvm.regs.json --table hyp",
            "  s2snap dump model:ram=4G,granule=16K,ipa=48,regions=3,touch=random,seed=7",
            "",
            "Settings of a model: ram=64M..1T, ipa=32|36|40|42|44|48|52, granule=4K|16K|64K, regions=1..128,",
            "variant=posted|corrected, touch=none|boot|pages|random, seed=N, script=FILE.",
            "",
            "Exit status 1: some of the table could not be read."
        })
final class DumpCommand implements Callable<Integer> {
    /// Findings behind which something could not be read.
    private static final Set<Finding.Rule> UNREAD =
            EnumSet.of(Finding.Rule.ABSENT_TABLE, Finding.Rule.TABLE_CYCLE, Finding.Rule.SHARED_TABLE);

    private final Output output;

    @Parameters(
            paramLabel = "SOURCE",
            description = "An ELF core of the machine's memory, a capture, or model[:KEY=VALUE,...].")
    private String source = "";

    @Option(
            names = "--table",
            paramLabel = "TABLE",
            converter = TableConverter.class,
            description = "host (stage 2), hyp (EL2 stage 1), guest:N or guest:vmid=N (stage 2). Default: host.")
    private @Nullable TableSelector table;

    @Option(names = "--format", paramLabel = "FORMAT", description = "text or json. Default: ${DEFAULT-VALUE}.")
    private Format format = Format.text;

    @Option(
            names = "--dialect",
            paramLabel = "DIALECT",
            converter = DialectConverter.class,
            description = "The text of a kernel's debugfs instead, byte for byte, of a stage 2: v4 (the posted series,"
                    + " corrected), linux-6.12, linux-6.18 or linux-7.3.")
    private @Nullable KernelTextDialect dialect;

    @Option(
            names = "-o",
            paramLabel = "FILE",
            description = "Write to this file, which appears complete or not at all.")
    private @Nullable Path file;

    @Mixin
    private SourceOptions options = new SourceOptions();

    @Spec
    private CommandSpec spec = CommandSpec.create();

    /// The names are those on the command line.
    enum Format {
        text,
        json
    }

    static final class TableConverter implements ITypeConverter<TableSelector> {
        @Override
        public TableSelector convert(String text) {
            try {
                return TableSelector.parse(text);
            } catch (IllegalArgumentException e) {
                throw new TypeConversionException(e.getMessage());
            }
        }
    }

    /// Also for other commands.
    static final class DialectConverter implements ITypeConverter<KernelTextDialect> {
        @Override
        public KernelTextDialect convert(String text) {
            try {
                return KernelTextDialect.of(text);
            } catch (IllegalArgumentException e) {
                throw new TypeConversionException(e.getMessage());
            }
        }
    }

    DumpCommand(Output output) {
        this.output = output;
    }

    @Override
    public Integer call() throws IOException {
        KernelTextDialect words = dialect;
        if (words != null && format == Format.json) {
            throw new ParameterException(spec.commandLine(), "a dialect is text; leave out --dialect or --format json");
        }
        try (Sources.Open open = Sources.open(source, options)) {
            if (words != null) {
                return kernelText(open.machine(), words);
            }
            TableDump dump = dump(open.machine());
            output.write(Optional.ofNullable(file), out -> {
                switch (format) {
                    case text -> TextDump.write(dump, out);
                    case json -> JsonDump.write(dump, source, out);
                }
            });
            return dump.complete() ? Main.DONE : Main.BAD_NEWS;
        }
    }

    private TableDump dump(Machine machine) {
        try {
            return TableDump.of(options.reading(machine), known(machine));
        } catch (NoAnswerException e) {
            throw new NoAnswerException(source + ": " + e.getMessage(), e);
        }
    }

    /// The table that was asked for, if it is known.
    private TableSelector known(Machine machine) {
        TableSelector selector = table == null ? TableSelector.HOST : table;
        if (selector.of(machine) instanceof Fact.Unknown<?>(String why)) {
            throw new NoAnswerException("the " + selector.label() + " table is not known: " + why + advice(machine));
        }
        return selector;
    }

    /// A text that has no place for what could not be read: that goes to standard error.
    private int kernelText(Machine machine, KernelTextDialect words) throws IOException {
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        List<Finding> findings;
        try {
            findings = KernelText.write(options.reading(machine), known(machine), words, text);
        } catch (NoAnswerException e) {
            throw new NoAnswerException(source + ": " + e.getMessage(), e);
        }
        output.write(Optional.ofNullable(file), text::writeTo);
        if (findings.isEmpty()) {
            return Main.DONE;
        }
        Finding first = findings.getFirst();
        spec.commandLine()
                .getErr()
                .println("s2snap: " + source.replaceAll("\\p{Cntrl}", "?") + ": "
                        + first.rule().id() + ": "
                        + first.message()
                        + (findings.size() == 1 ? "" : ", and " + (findings.size() - 1) + " more findings")
                        + "; dump without --dialect lists them");
        boolean complete = findings.stream().noneMatch(finding -> UNREAD.contains(finding.rule()));
        return complete ? Main.DONE : Main.BAD_NEWS;
    }

    /// Which tables can be asked for instead.
    private static String advice(Machine machine) {
        List<String> known = new ArrayList<>();
        for (Guest guest : machine.guests()) {
            if (guest.table().optional().isPresent()) {
                known.add(TableSelector.guest(guest.index()).label());
            }
        }
        if (machine.host().optional().isPresent()) {
            known.add(TableSelector.HOST.label());
        }
        if (machine.hyp().optional().isPresent()) {
            known.add(TableSelector.HYP.label());
        }
        return known.isEmpty()
                ? "; no other table is known either, see whether --regs belongs to this machine"
                : "; ask for --table " + String.join(" or ", known);
    }
}
