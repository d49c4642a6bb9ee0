package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assumptions.assumeThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The script, in a bash of its own, which is asked as readline asks: with the words before the cursor in COMP_WORDS.
class CompletionCommandTest {
    /// `|` parts words here. The last one is being typed.
    private static final String ASK = """
            set -eu
            . "$1"
            complete -p s2snap | grep -q -- '-F _s2snap'
            IFS='|' read -r -a COMP_WORDS <<<"$2|"
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            set +e
            _s2snap
            printf '%s\\n' "${COMPREPLY[@]}"
            """;

    @TempDir
    private Path folder;

    private Path script = Path.of("");

    @BeforeEach
    void printTheScript() throws IOException {
        assumeThat(Path.of("/bin/bash")).isExecutable();
        script = folder.resolve("s2snap.bash");
        Files.writeString(script, Run.of("completion").succeeds().text());
        Files.createFile(folder.resolve("my host.core"));
    }

    private List<String> complete(String words) throws IOException, InterruptedException {
        Process bash = new ProcessBuilder("/bin/bash", "-c", ASK, "bash", script.toString(), words)
                .directory(folder.toFile())
                .redirectErrorStream(true)
                .start();
        bash.getOutputStream().close();
        String reply = new String(bash.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(bash.waitFor(30, TimeUnit.SECONDS)).isTrue();
        assertThat(bash.exitValue()).as(reply).isZero();
        return reply.lines().filter(line -> !line.isEmpty()).toList();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = ';',
            value = {
                "s2snap|du; dump",
                "s2snap|de; debugfs defects",
                "s2snap|--v; --version",
                "./s2snap|inf; info",
                "s2snap|dump|--ta; --table",
                "s2snap|dump|--table|h; host hyp",
                "s2snap|dump|--table|gu; guest:0",
                "s2snap|dump|--format|; text json csv",
                "s2snap|dump|--format|=; text json csv",
                "s2snap|dump|--format|=|j; json",
                "s2snap|dump|--dialect|; v4 linux-6.12 linux-6.18 linux-7.3 android-6.6 android-6.12",
                "s2snap|dump|--era|6.1; 6.1 6.14 6.17",
                "s2snap|debugfs|--dialect|v; v4",
                "s2snap|snapshot|--variant|p; posted",
                "s2snap|defects|D-0; D-01 D-02 D-03 D-04 D-05 D-06 D-07 D-08 D-09",
                "s2snap|help|sn; snapshot",
                "s2snap|frobnicate|d;",
                "s2snap|dump|--era|x;",
            })
    void whatCanFollowIsOffered(String words, String offered) throws Exception {
        assertThat(complete(words)).containsExactly(offered == null ? new String[0] : offered.split(" ", -1));
    }

    @ParameterizedTest
    @CsvSource({"dump|my", "dump|--regs|my", "info|--table|host|m", "model|--script|my", "model|--script|a|my"})
    void filesAreOfferedWithBlanksInTheirNames(String words) throws Exception {
        assertThat(complete("s2snap|" + words)).contains("my host.core");
    }

    @Test
    void aSourceMayBeTheModel() throws Exception {
        assertThat(complete("s2snap|dump|m")).containsExactlyInAnyOrder("model", "my host.core");
    }

    @Test
    void everyCommandAndEveryOptionIsThere() throws Exception {
        List<String> commands = HelpTest.commands();
        assertThat(complete("s2snap|")).containsAll(commands);
        for (String command : commands) {
            assertThat(complete("s2snap|" + command + "|--")).as(command).contains("--help", "--version");
        }
        assertThat(complete("s2snap|dump|-")).contains("-o", "--table", "--format", "--dialect", "--regs", "--era");
    }
}
