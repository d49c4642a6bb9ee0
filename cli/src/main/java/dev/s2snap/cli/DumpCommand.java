package dev.s2snap.cli;

import dev.s2snap.inspect.CsvDump;
import dev.s2snap.inspect.JsonDump;
import dev.s2snap.inspect.KernelTable;
import dev.s2snap.inspect.KernelTableDump;
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
import java.util.List;
import java.util.Optional;
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
        addMethodSubcommands = false,
        versionProvider = Main.Version.class,
        footer = {
            "",
            "Examples:",
            "  s2snap dump samples/deb-6.12/npvm.core --regs samples/deb-6.12/npvm.regs.json --table hyp",
            "  s2snap dump model:ram=4G,granule=16K,ipa=48,regions=3,touch=random,seed=7",
            "  s2snap dump samples/ptdump-7.3/stage2_page_tables --format csv",
            "",
            "Settings of a model: ram=64M..1T, ipa=32|36|40|42|44|48|52, granule=4K|16K|64K, regions=1..128,",
            "variant=posted|corrected, touch=none|boot|pages|random, seed=N, script=FILE.",
            "",
            "A table that no register tells of is described: --table at:ADDRESS,ia=BITS,start=LEVEL, and where it differs",
            "regime=stage2|el2|el2&0|el2&0-upper|el1&0|el1&0-upper, granule=4K|16K|64K, oa=BITS, lpa2.",
            "",
            "Exit status: 0 done, 1 some of the table could not be read, or the end of a text is missing, 2 bad usage or",
            "input."
        })
final class DumpCommand implements Callable<Integer> {
    private final Output output;

    @Parameters(
            paramLabel = "SOURCE",
            description =
                    "An ELF core of the machine's memory, a capture, model[:KEY=VALUE,...], or the text of a stage"
                            + " 2 from a kernel's debugfs.")
    private String source = "";

    @Option(
            names = "--table",
            paramLabel = "TABLE",
            converter = TableConverter.class,
            description =
                    "host, guest:N, guest:vmid=N (stage 2), hyp, hyp:upper (EL2 stage 1), el1:lower, el1:upper (the"
                            + " host's own stage 1) or at:ADDRESS,... (any). Default: host.")
    private @Nullable TableSelector table;

    @Option(names = "--format", paramLabel = "FORMAT", description = "text, json or csv. Default: ${DEFAULT-VALUE}.")
    private Format format = Format.text;

    @Option(
            names = "--dialect",
            paramLabel = "DIALECT",
            converter = DialectConverter.class,
            description = "The text of a kernel's debugfs instead, byte for byte, of a stage 2: v4 (the posted series,"
                    + " corrected), linux-6.12, linux-6.18, linux-7.3, android-6.6 or android-6.12.")
    private @Nullable KernelTextDialect dialect;

    @Option(
            names = "--from",
            paramLabel = "DIALECT",
            converter = DialectConverter.class,
            description = "Of a SOURCE that is a kernel's text: its dialect, where the text itself leaves it open.")
    private @Nullable KernelTextDialect from;

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
        json,
        csv
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
        if (words != null && format != Format.text) {
            throw new ParameterException(
                    spec.commandLine(), "a dialect is text; leave out --dialect or --format " + format);
        }
        Optional<KernelTable> text = Sources.kernelText(source, Optional.ofNullable(from));
        if (text.isPresent()) {
            return table(text.get());
        }
        if (from != null) {
            throw new ParameterException(
                    spec.commandLine(), "--from is for a kernel's text, and " + source + " is none; leave it out");
        }
        if (table != null && table.kind() == TableSelector.Kind.GIVEN) {
            options.withoutRegisters();
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
                    case csv -> CsvDump.write(dump, out);
                }
            });
            if (format == Format.csv) {
                tell(dump.result().findings(), dump.result().totalFindings(), "--format csv");
            }
            return dump.complete() ? Main.DONE : Main.BAD_NEWS;
        }
    }

    /// What a kernel wrote about a table, and nothing else of a machine.
    private int table(KernelTable table) throws IOException {
        for (String option : List.of("--table", "--regs", "--machine", "--era")) {
            if (spec.commandLine().getParseResult().hasMatchedOption(option)) {
                throw new ParameterException(
                        spec.commandLine(), "a kernel's text is one table and has no registers; leave out " + option);
            }
        }
        KernelTextDialect words = dialect;
        if (words != null) {
            // First into memory, so that there is no half a text where the answer is an error.
            ByteArrayOutputStream text = new ByteArrayOutputStream();
            try {
                table.write(words, text);
            } catch (NoAnswerException e) {
                throw new NoAnswerException(source + ": " + e.getMessage(), e);
            }
            output.write(Optional.ofNullable(file), text::writeTo);
        } else {
            output.write(Optional.ofNullable(file), out -> {
                switch (format) {
                    case text -> KernelTableDump.text(table, out);
                    case json -> KernelTableDump.json(table, source, out);
                    case csv -> CsvDump.write(table, out);
                }
            });
        }
        return table.cut() ? Main.BAD_NEWS : Main.DONE;
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

    /// The text of a kernel's debugfs.
    private int kernelText(Machine machine, KernelTextDialect words) throws IOException {
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        KernelText.Written written;
        try {
            written = KernelText.write(options.reading(machine), known(machine), words, text);
        } catch (NoAnswerException e) {
            throw new NoAnswerException(source + ": " + e.getMessage(), e);
        }
        output.write(Optional.ofNullable(file), text::writeTo);
        tell(written.findings(), written.number(), "--dialect");
        return written.complete() ? Main.DONE : Main.BAD_NEWS;
    }

    /// Of a form that has no place for findings.
    ///
    /// @param option leads to that form
    private void tell(List<Finding> findings, long number, String option) {
        if (!findings.isEmpty()) {
            Finding first = findings.getFirst();
            spec.commandLine()
                    .getErr()
                    .println("s2snap: " + source.replaceAll("\\p{Cntrl}", "?") + ": "
                            + first.rule().id() + ": "
                            + first.message()
                            + (number == 1 ? "" : ", and " + (number - 1) + " more findings")
                            + "; dump without " + option + " lists them");
        }
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
