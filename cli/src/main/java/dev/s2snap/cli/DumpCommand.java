package dev.s2snap.cli;

import dev.s2snap.inspect.JsonDump;
import dev.s2snap.inspect.NoAnswerException;
import dev.s2snap.inspect.TableDump;
import dev.s2snap.inspect.TableSelector;
import dev.s2snap.inspect.TextDump;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.Machine;
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
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
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
    private final Output output;

    @Parameters(paramLabel = "SOURCE", description = "An ELF core of the machine's memory, a capture, or model[:KEY=VALUE,...].")
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
            names = "-o",
            paramLabel = "FILE",
            description = "Write to this file, which appears complete or not at all.")
    private @Nullable Path file;

    @Mixin
    private SourceOptions options = new SourceOptions();

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

    DumpCommand(Output output) {
        this.output = output;
    }

    @Override
    public Integer call() throws IOException {
        try (Sources.Open open = Sources.open(source, options)) {
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
        TableSelector selector = table == null ? TableSelector.HOST : table;
        try {
            if (selector.of(machine) instanceof Fact.Unknown<?>(String why)) {
                throw new NoAnswerException(
                        "the " + selector.label() + " table is not known: " + why + advice(machine));
            }
            return TableDump.of(options.reading(machine), selector);
        } catch (NoAnswerException e) {
            throw new NoAnswerException(source + ": " + e.getMessage(), e);
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
