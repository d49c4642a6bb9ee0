package dev.s2snap.cli;

import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideInAPackage;
import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideOutsideOfPackages;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Holds the house to its floors: a module sees only those that the table lists, all of them on lower floors.
///
/// The table is stricter than floor numbers alone: `inspect` stands above `model` and `capture` and yet knows
/// neither, because it must not be able to tell the one from the other. The JDK and libraries are free here;
/// which module may use which library is said by its pom.
class FloorsTest {

    private static final List<Floor> HOUSE = List.of(
            new Floor(1, "vmsa", List.of()),
            new Floor(2, "pkvm", List.of("vmsa")),
            new Floor(3, "model", List.of("vmsa", "pkvm")),
            new Floor(3, "capture", List.of("vmsa", "pkvm")),
            new Floor(4, "inspect", List.of("vmsa", "pkvm")),
            new Floor(4, "proof", List.of("vmsa", "pkvm", "model")),
            new Floor(5, "cli", List.of("vmsa", "pkvm", "model", "capture", "inspect", "proof")));

    private static final String ROOT_PACKAGE = "dev.s2snap.";
    private static final Path CHECKOUT = checkout();

    private static JavaClasses classes;

    record Floor(int number, String module, List<String> mayImport) {

        String rootPackage() {
            return ROOT_PACKAGE + module;
        }

        Path sources() {
            return CHECKOUT.resolve(module).resolve("src/main/java");
        }

        @Override
        public String toString() {
            return module;
        }
    }

    @BeforeAll
    static void importTheHouse() {
        classes = new ClassFileImporter()
                .withImportOption(location -> !location.contains("/test-classes/"))
                .importPackages("dev.s2snap");
    }

    @Test
    void theTableListsTheModulesOfTheBuild() throws IOException {
        List<String> modules = new ArrayList<>();
        var matcher =
                Pattern.compile("<module>([^<]+)</module>").matcher(Files.readString(CHECKOUT.resolve("pom.xml")));
        while (matcher.find()) {
            modules.add(matcher.group(1));
        }
        assertThat(modules).isEqualTo(HOUSE.stream().map(Floor::module).toList());
    }

    @ParameterizedTest
    @FieldSource("HOUSE")
    void theTableOnlyLooksDown(Floor floor) {
        assertThat(HOUSE.stream().filter(other -> floor.mayImport().contains(other.module())))
                .hasSameSizeAs(floor.mayImport())
                .allMatch(other -> other.number() < floor.number());
    }

    /// What makes the rules below mean something: every source has its class among those they look at.
    @ParameterizedTest
    @FieldSource("HOUSE")
    void everySourceIsUnderItsRootPackageAndWasImported(Floor floor) throws IOException {
        for (String name : sourceNames(floor)) {
            assertThat(name).startsWith(floor.rootPackage() + ".");
            assertThat(classes.contain(name)).as("%s was imported", name).isTrue();
        }
    }

    /// A module without sources yet has nothing to look at; one with sources is vouched for by the test above.
    @ParameterizedTest
    @FieldSource("HOUSE")
    void aModuleImportsOnlyWhatIsBelow(Floor floor) {
        String[] own = Stream.concat(
                        Stream.of(floor.rootPackage()),
                        floor.mayImport().stream().map(ROOT_PACKAGE::concat))
                .map(name -> name + "..")
                .toArray(String[]::new);
        noClasses()
                .that()
                .resideInAPackage(floor.rootPackage() + "..")
                .should()
                .dependOnClassesThat(resideInAPackage("dev.s2snap..").and(resideOutsideOfPackages(own)))
                .because("floor " + floor.number() + " knows only " + floor.mayImport())
                .allowEmptyShould(true)
                .check(classes);
    }

    @ParameterizedTest
    @ValueSource(strings = {"vmsa", "pkvm"})
    void theLowerFloorsDoNoInputOrOutput(String module) {
        noClasses()
                .that()
                .resideInAPackage(ROOT_PACKAGE + module + "..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("java.io..", "java.net..", "java.nio.channels..", "java.nio.file..")
                .because("bytes come to it as a PhysicalMemory, and leave it as values")
                .allowEmptyShould(true)
                .check(classes);
    }

    private static List<String> sourceNames(Floor floor) throws IOException {
        if (!Files.isDirectory(floor.sources())) {
            return List.of();
        }
        try (var files = Files.walk(floor.sources())) {
            return files.map(file -> floor.sources().relativize(file).toString())
                    .filter(file -> file.endsWith(".java") && !file.endsWith("-info.java"))
                    .map(file ->
                            file.substring(0, file.length() - ".java".length()).replace(File.separatorChar, '.'))
                    .sorted()
                    .toList();
        }
    }

    /// Maven runs tests in the module, an IDE often in the checkout.
    private static Path checkout() {
        Path here = Path.of("").toAbsolutePath();
        while (!Files.isRegularFile(here.resolve("cli/pom.xml"))) {
            here = Objects.requireNonNull(here.getParent(), "not run inside a checkout of s2snap");
        }
        return here;
    }
}
