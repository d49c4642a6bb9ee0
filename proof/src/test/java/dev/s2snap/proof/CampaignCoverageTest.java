package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.ModelConfig;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import java.util.stream.Stream;
import org.jacoco.core.analysis.IClassCoverage;
import org.jacoco.core.analysis.IMethodCoverage;
import org.junit.jupiter.api.Test;

/// What of the model campaigns reach, by themselves.
class CampaignCoverageTest {
    private static final Path SOURCES = Path.of("..", "model", "src", "main", "java", "dev", "s2snap", "model");

    /// What reads, prints and scripts a machine: no part of it, and nothing that a host reaches.
    private static final Set<String> INSTRUMENTS = Set.of(
            "CallAudit.java",
            "EventCounter.java",
            "RunLength.java",
            "ScriptException.java",
            "ScriptRunner.java",
            "StateDump.java",
            "StateHash.java");

    /// The same of methods: names of errors and of variants, dumps of pools and of VMs, states of a page, machines for
    /// tests, and what tests take away.
    private static final Set<String> INSTRUMENT_METHODS = Set.of(
            "Cpus.lost",
            "Errno.name",
            "GuestVms.live",
            "HypLock.held",
            "HypPool.freeList",
            "MemProtect.states",
            "PkvmModel.small",
            "Ram.writable",
            "SnapshotCall.of");

    private static final String LAMBDA = "lambda$";

    private static final double GOAL = 0.95;

    /// Branches of a line, and how many of them were not taken.
    private record Line(String method, String source, int branches, int missed, boolean instrument) {}

    @Test
    void campaignsTakeNearlyAllBranchesOfTheModelThatCanBeTaken() throws Exception {
        List<Line> all;
        try (MeasuredHouse house = new MeasuredHouse()) {
            house.run(MeasuredCampaigns.class);
            all = lines(house.coverage(classes()));
        }
        List<Line> lines = all.stream().filter(line -> !line.instrument).toList();
        int branches = lines.stream().mapToInt(Line::branches).sum();
        int missed = lines.stream().mapToInt(Line::missed).sum();
        int excluded = 0;
        Map<String, Integer> left = new TreeMap<>();
        lines.forEach(line -> left.merge(key(line.method, line.source), line.missed, Integer::sum));
        for (Unreached known : Unreached.list()) {
            String key = key(known.method(), known.line());
            assertThat(left.getOrDefault(key, 0))
                    .as("branches not taken of %s, which is in unreached.txt: %s", key, known.reason())
                    .isGreaterThanOrEqualTo(known.branches());
            left.merge(key, -known.branches(), Integer::sum);
            excluded += known.branches();
        }
        int possible = branches - excluded;
        int instruments = all.stream().mapToInt(Line::branches).sum() - branches;
        String figure = String.format(
                "%d of %d branches taken, %d of the rest cannot be: %.1f %%; and %d of instruments, which do not count",
                branches - missed, branches, excluded, 100.0 * (branches - missed) / possible, instruments);
        left.values().removeIf(number -> number == 0);
        Files.writeString(
                Path.of("target", "campaign-coverage.txt"),
                figure + "\n"
                        + String.join(
                                "\n",
                                left.entrySet().stream().map(Object::toString).toList()) + "\n");
        assertThat(branches - missed).as(figure).isGreaterThanOrEqualTo((int) Math.ceil(GOAL * possible));
    }

    private static String key(String method, String source) {
        return method + ": " + source;
    }

    /// Names of the classes of the model that are part of the machine.
    private static Collection<String> classes() throws IOException {
        Path place = Path.of(ModelConfig.class
                .getProtectionDomain()
                .getCodeSource()
                .getLocation()
                .getPath());
        List<String> names;
        if (Files.isDirectory(place)) {
            try (Stream<Path> files = Files.walk(place)) {
                names = names(files.map(file -> place.relativize(file).toString()));
            }
        } else {
            try (JarFile jar = new JarFile(place.toFile())) {
                names = names(jar.stream().map(JarEntry::getName));
            }
        }
        assertThat(names).hasSizeGreaterThan(40);
        return names;
    }

    private static List<String> names(Stream<String> files) {
        return files.filter(file -> file.startsWith("dev/") && file.endsWith(".class"))
                .filter(file -> !file.contains("package-info"))
                .map(file ->
                        file.substring(0, file.length() - ".class".length()).replace('/', '.'))
                .toList();
    }

    private static List<Line> lines(Collection<IClassCoverage> coverage) throws IOException {
        List<Line> lines = new ArrayList<>();
        for (IClassCoverage each : coverage) {
            String file = String.valueOf(each.getSourceFileName());
            List<String> source = Files.readAllLines(SOURCES.resolve(file));
            for (IMethodCoverage method : each.getMethods()) {
                String name = file.substring(0, file.length() - ".java".length()) + "." + plain(method.getName());
                for (int line = Math.max(1, method.getFirstLine()); line <= method.getLastLine(); line++) {
                    int branches = method.getLine(line).getBranchCounter().getTotalCount();
                    if (branches > 0) {
                        lines.add(new Line(
                                name,
                                source.get(line - 1).strip(),
                                branches,
                                method.getLine(line).getBranchCounter().getMissedCount(),
                                INSTRUMENTS.contains(file) || INSTRUMENT_METHODS.contains(name)));
                    }
                }
            }
        }
        return lines;
    }

    /// The method that a lambda is in.
    private static String plain(String method) {
        return method.startsWith(LAMBDA) ? method.substring(LAMBDA.length(), method.lastIndexOf('$')) : method;
    }
}
