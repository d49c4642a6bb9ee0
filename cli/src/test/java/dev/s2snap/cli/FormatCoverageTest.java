package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/// FORMAT_COVERAGE.md names tests that exist.
class FormatCoverageTest {
    private static final Path ROOT = Path.of("..");
    private static final Pattern NAMED = Pattern.compile("`(\\w+Test)\\.(\\w+)`");

    @Test
    void everyTestThatIsNamedExists() throws IOException {
        Map<String, String> tests = new HashMap<>();
        for (String module : List.of("vmsa", "pkvm", "inspect", "cli")) {
            try (var files = Files.walk(ROOT.resolve(module).resolve("src/test/java"))) {
                for (Path file :
                        files.filter(f -> f.toString().endsWith("Test.java")).toList()) {
                    String name = file.getFileName().toString();
                    tests.put(name.substring(0, name.length() - ".java".length()), Files.readString(file));
                }
            }
        }
        List<String> missing = new ArrayList<>();
        int named = 0;
        Matcher matcher = NAMED.matcher(Files.readString(ROOT.resolve("FORMAT_COVERAGE.md")));
        while (matcher.find()) {
            named++;
            String source = tests.getOrDefault(matcher.group(1), "");
            if (!source.contains("void " + matcher.group(2) + "(")) {
                missing.add(matcher.group());
            }
        }
        assertThat(missing).isEmpty();
        assertThat(named).isGreaterThan(40);
    }
}
