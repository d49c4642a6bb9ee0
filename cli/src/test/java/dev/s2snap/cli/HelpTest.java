package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.OutputStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class HelpTest {
    @TempDir
    private Path folder;

    static List<String> commands() {
        return List.copyOf(Main.commandLine(new Output(OutputStream.nullOutputStream()))
                .getSubcommands()
                .keySet());
    }

    /// All lines that are examples in any help.
    static List<String> examples() {
        List<String> examples = new ArrayList<>(examplesIn(help()));
        commands().forEach(command -> examples.addAll(examplesIn(help(command))));
        return examples;
    }

    private static String help(String... command) {
        Object[] args = Arrays.copyOf(command, command.length + 1, Object[].class);
        args[command.length] = "--help";
        return Run.of(args).succeeds().text();
    }

    private static List<String> examplesIn(String help) {
        return help.lines()
                .dropWhile(line -> !line.matches("Examples?:"))
                .skip(1)
                .takeWhile(line -> line.startsWith("  s2snap"))
                .map(String::strip)
                .toList();
    }

    @ParameterizedTest
    @MethodSource("commands")
    void everyCommandHasExamplesAndSaysItsExitStatus(String command) {
        String help = help(command);
        assertThat(help).startsWith("Usage: s2snap " + command + " ").contains("\nExit status");
        assertThat(examplesIn(help)).isNotEmpty().allMatch(line -> line.startsWith("s2snap " + command));
    }

    @ParameterizedTest
    @MethodSource("commands")
    void aCommandIsFoundUnderTheNameThatItsHelpHas(String command) {
        assertThat(Run.of("help", command).succeeds().text()).isEqualTo(help(command));
    }

    @Test
    void whoAsksForNothingGetsTheHelp() {
        String help = help();
        assertThat(help).contains("\nExit status").contains("\nCommands:\n");
        assertThat(examplesIn(help)).isNotEmpty();
        assertThat(Run.of().succeeds().text()).isEqualTo(help);
        assertThat(Run.of("help").succeeds().text()).isEqualTo(help);
    }

    @Test
    void theHelpListsEveryCommandInOneLine() {
        List<String> lines = help().lines()
                .dropWhile(line -> !line.equals("Commands:"))
                .skip(1)
                .takeWhile(line -> !line.isEmpty())
                .map(line -> line.strip().split(" ", 2)[0])
                .toList();
        assertThat(lines).isEqualTo(commands());
    }

    @Test
    void thereIsNoHelpForWhatDoesNotExist() {
        assertThat(Run.of("help", "frobnicate").isRefused().err())
                .isEqualTo("s2snap: there is no command \"frobnicate\"; see s2snap --help\n");
    }

    @Test
    void theVersionHasTheName() {
        assertThat(Run.of("--version").succeeds().text()).startsWith("s2snap ");
        assertThat(Run.of("dump", "-V").succeeds().text()).startsWith("s2snap ");
    }

    /// What a shell would do behind a pipe or a redirection is left out.
    @ParameterizedTest
    @MethodSource("examples")
    void anExampleRuns(String example) {
        String[] words = example.split(" [|>] ", 2)[0].split(" ", -1);
        Object[] args = Arrays.copyOfRange(words, 1, words.length, Object[].class);
        for (int i = 0; i < args.length; i++) {
            if (args[i].toString().startsWith("samples/")) {
                args[i] = Path.of("..", args[i].toString());
            } else if (i > 0 && args[i - 1].equals("-o")) {
                args[i] = folder.resolve(args[i].toString());
                assertThat((Path) args[i]).doesNotExist();
            }
        }
        Run run = Run.of(args);
        assertThat(run.err()).isEmpty();
        // Two machines that differ are the point of an example of diff.
        assertThat(run.status()).isBetween(Main.DONE, example.startsWith("s2snap diff ") ? Main.BAD_NEWS : Main.DONE);
    }

    @Test
    void textThatIsNoTerminalHasNoColours() {
        assertThat(help()).doesNotContain("\u001b");
    }

    @Test
    void whatIsRehearsedForAQuickStartSucceeds() {
        List<String[]> lines = Rehearsal.commandLines(Path.of(".."));
        assertThat(lines).extracting(line -> line[line.length - 1]).containsAll(commands());
        for (String[] line : lines) {
            Run.of((Object[]) line).succeeds();
        }
    }
}
