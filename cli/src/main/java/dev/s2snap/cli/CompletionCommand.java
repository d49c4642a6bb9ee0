package dev.s2snap.cli;

import dev.s2snap.inspect.KernelTextDialect;
import dev.s2snap.inspect.TableSelector;
import dev.s2snap.model.SnapshotCall;
import dev.s2snap.pkvm.Era;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.ArgSpec;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Model.PositionalParamSpec;
import picocli.CommandLine.Spec;

/// `s2snap completion`: a script that teaches bash the command line, made from the commands themselves.
@Command(
        name = "completion",
        description = {
            "Prints a script with which bash completes commands, options, their values and names of files.",
            "The script needs bash alone, and s2snap is not started to complete."
        },
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        versionProvider = Main.Version.class,
        footer = {
            "",
            "Examples:",
            "  s2snap completion",
            "  s2snap completion > ~/.local/share/bash-completion/completions/s2snap",
            "",
            "For this shell only: eval \"$(s2snap completion)\". It holds for ./s2snap as well.",
            "",
            "Exit status: 0 done."
        })
final class CompletionCommand implements Callable<Integer> {
    /// Values of options and operands that have a converter of their own, by what --help calls them.
    private static final Map<String, List<String>> VALUES = Map.of(
            "TABLE",
                    List.of(
                            TableSelector.HOST.label(),
                            TableSelector.HYP.label(),
                            TableSelector.guest(0).label()),
            "DIALECT", ids(KernelTextDialect.values(), KernelTextDialect::id),
            "RELEASE", ids(Era.values(), Era::id),
            "VARIANT", ids(SnapshotCall.Variant.values(), SnapshotCall.Variant::id),
            "SOURCE", List.of(ModelSource.NAME),
            "D-nn",
                    DefectsCatalogue.ALL.stream()
                            .map(DefectsCatalogue.Defect::id)
                            .toList());

    private final Output output;

    @Spec
    private CommandSpec spec = CommandSpec.create();

    CompletionCommand(Output output) {
        this.output = output;
    }

    private static <T> List<String> ids(T[] all, Function<T, String> id) {
        return Arrays.stream(all).map(id).toList();
    }

    @Override
    public Integer call() throws IOException {
        output.standard().write(script(spec.root()).getBytes(StandardCharsets.UTF_8));
        return Main.DONE;
    }

    private static String script(CommandSpec s2snap) {
        List<String> commands = List.copyOf(s2snap.subcommands().keySet());
        StringBuilder values = new StringBuilder();
        StringBuilder options = new StringBuilder();
        StringBuilder operands = new StringBuilder();
        s2snap.subcommands().forEach((name, line) -> {
            CommandSpec command = line.getCommandSpec();
            for (OptionSpec option : command.options()) {
                if (option.arity().max() > 0) {
                    String pattern = Arrays.stream(option.names())
                            .map(word -> "'" + name + " " + word + "'")
                            .collect(Collectors.joining(" | "));
                    values.append(offer(8, pattern, wordsFor(option, commands), isFile(option)));
                }
            }
            List<String> names = command.options().stream()
                    .flatMap(option -> Arrays.stream(option.names()))
                    .toList();
            options.append(offer(20, name, names, false));
            List<PositionalParamSpec> positionals = command.positionalParameters();
            operands.append(offer(
                    20,
                    name,
                    positionals.stream()
                            .flatMap(p -> wordsFor(p, commands).stream())
                            .toList(),
                    Stream.concat(
                                    positionals.stream(),
                                    command.options().stream()
                                            .filter(o -> o.arity().max() > 1))
                            .anyMatch(CompletionCommand::isFile)));
        });
        List<String> first = Stream.concat(
                        commands.stream(), s2snap.options().stream().map(OptionSpec::longestName))
                .toList();
        return """
            # Completion of s2snap for bash, printed by s2snap completion.
            _s2snap() {
                local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words='' files='' file
                COMPREPLY=()
                if [ "$COMP_CWORD" -eq 1 ]; then
                    COMPREPLY=($(compgen -W '%s' -- "$word"))
                    return
                fi
                # Bash takes --option=value for three words.
                case $word in
                    =) word='' ;;
                    *) [ "$before" != = ] || before=${COMP_WORDS[COMP_CWORD - 2]} ;;
                esac
                case "${COMP_WORDS[1]} $before" in
            %s\
                    *)
                        case $word in
                            -*)
                                case ${COMP_WORDS[1]} in
            %s\
                                esac
                                ;;
                            *)
                                case ${COMP_WORDS[1]} in
            %s\
                                esac
                                ;;
                        esac
                        ;;
                esac
                COMPREPLY=($(compgen -W "$words" -- "$word"))
                if [ -n "$files" ]; then
                    compopt -o filenames 2>/dev/null
                    while IFS= read -r file; do
                        COMPREPLY+=("$file")
                    done < <(compgen -f -- "$word")
                fi
            }
            complete -F _s2snap s2snap
            """.formatted(String.join(" ", first), values, options, operands);
    }

    /// One line of a `case`.
    private static String offer(int indent, String pattern, List<String> words, boolean files) {
        List<String> actions = new ArrayList<>();
        if (!words.isEmpty()) {
            actions.add("words='" + String.join(" ", words) + "'");
        }
        if (files) {
            actions.add("files=yes");
        }
        return actions.isEmpty() ? "" : " ".repeat(indent) + pattern + ") " + String.join(" ", actions) + " ;;\n";
    }

    private static List<String> wordsFor(ArgSpec argument, List<String> commands) {
        if (argument.paramLabel().equals("COMMAND")) {
            return commands;
        }
        // An enum's own candidates are its constants, which are the values only where it has no converter.
        List<String> values = VALUES.get(argument.paramLabel());
        Iterable<String> constants = argument.completionCandidates();
        if (values == null && constants != null) {
            return StreamSupport.stream(constants.spliterator(), false).toList();
        }
        return values == null ? List.of() : values;
    }

    private static boolean isFile(ArgSpec argument) {
        return argument.paramLabel().equals("SOURCE")
                || argument.type() == Path.class
                || Arrays.asList(argument.auxiliaryTypes()).contains(Path.class);
    }
}
