package dev.s2snap.model;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.stream.Stream;
import java.util.zip.GZIPInputStream;

/// The recorded runs of the real code, in src/test/resources/vectors: scripts with their expected output.
final class Vectors {
    /// How many there are. A test run that found fewer would prove less than it says.
    static final int COUNT = 325;

    private static final Path FOLDER = folder();

    private static final Map<String, String> KINDS = kinds();

    private Vectors() {}

    /// One recorded run.
    ///
    /// @param name folder and file, without extensions
    /// @param kind normative, normative-6.12, normative-effect or posted-only
    record Recorded(String name, String kind) {
        List<String> lines() {
            try (BufferedReader in = new BufferedReader(new InputStreamReader(
                    new GZIPInputStream(Files.newInputStream(FOLDER.resolve(name + ".txt.gz"))),
                    StandardCharsets.UTF_8))) {
                return in.readAllLines();
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }

        /// Whether the script has a snapshot call, or one of the second CPU.
        boolean callsSnapshot() {
            return lines().stream().anyMatch(line -> line.startsWith(">") && line.contains(" snapshot"));
        }

        @Override
        public String toString() {
            return name;
        }
    }

    private static Path folder() {
        URL manifest = Objects.requireNonNull(Vectors.class.getResource("/vectors/MANIFEST.tsv"), "no vectors");
        try {
            return Path.of(manifest.toURI()).getParent();
        } catch (URISyntaxException e) {
            throw new IllegalStateException(e);
        }
    }

    /// Kind by name, from the manifest.
    private static Map<String, String> kinds() {
        Map<String, String> kinds = new TreeMap<>();
        try (Stream<String> lines = Files.lines(FOLDER.resolve("MANIFEST.tsv"))) {
            lines.skip(1).map(line -> line.split("\t", -1)).forEach(row -> kinds.put(name(row[0]), row[1]));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return kinds;
    }

    private static String name(String file) {
        return file.replaceFirst("\\.txt(\\.gz)?$", "");
    }

    /// What lies in the folders, not what the manifest says: sorted by name.
    static List<Recorded> all() {
        List<Recorded> all = new ArrayList<>();
        try (Stream<Path> files = Files.walk(FOLDER)) {
            files.filter(file -> file.toString().endsWith(".txt.gz")).forEach(file -> {
                String name = name(FOLDER.relativize(file).toString().replace('\\', '/'));
                all.add(new Recorded(name, Objects.requireNonNull(KINDS.get(name), name + " is not in the manifest")));
            });
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        all.sort((a, b) -> a.name.compareTo(b.name));
        return all;
    }

    static Stream<Recorded> ofKind(String... kinds) {
        return all().stream().filter(vector -> List.of(kinds).contains(vector.kind));
    }

    static int inManifest() {
        return KINDS.size();
    }
}
