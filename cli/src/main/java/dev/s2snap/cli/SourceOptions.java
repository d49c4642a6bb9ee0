package dev.s2snap.cli;

import dev.s2snap.capture.CaptureException;
import dev.s2snap.inspect.Reading;
import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Machine;
import java.nio.file.Path;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/// What every command that reads a machine can be told about its source.
final class SourceOptions {

    @Option(
            names = "--regs",
            paramLabel = "FILE",
            description =
                    "System registers as JSON: an object from register name to hex string, and a list \"guests\" of"
                            + " such objects. Overrides what the source says.")
    private @Nullable Path registers;

    @Option(
            names = "--machine",
            paramLabel = "FILE",
            description = "Everything about the machine as JSON: \"schema\": 1, and any of \"era\", \"registers\","
                    + " \"guests\", \"regions\", \"vmemmap\" and \"ffa\", as in the note of a capture. Overrides"
                    + " what the source says; --regs overrides it.")
    private @Nullable Path machine;

    @Option(
            names = "--era",
            paramLabel = "RELEASE",
            converter = EraConverter.class,
            description =
                    "The kernel's release, such as 6.12, where the source does not say and it is not to be inferred.")
    private @Nullable Era era;

    private boolean registersNeeded = true;

    SourceOptions() {}

    /// For a command with several sources, which has options of its own.
    SourceOptions(@Nullable Path registers, @Nullable Path machine, @Nullable Era era) {
        this.registers = registers;
        this.machine = machine;
        this.era = era;
    }

    /// The first of these options that was given, if any was.
    Optional<String> given() {
        return registers != null
                ? Optional.of("--regs")
                : machine != null
                        ? Optional.of("--machine")
                        : Optional.ofNullable(era).map(_ -> "--era");
    }

    /// For a table that is described on the command line no registers are needed.
    void withoutRegisters() {
        registersNeeded = false;
    }

    boolean registersNeeded() {
        return registersNeeded;
    }

    Optional<Path> registers() {
        return Optional.ofNullable(registers);
    }

    Optional<Path> machine() {
        return Optional.ofNullable(machine);
    }

    /// @throws CaptureException if something was given that `source`, which is a model, knows better
    void refuseFacts(String source) {
        if (registers != null || machine != null) {
            throw new CaptureException(source + ": the model knows its own registers and facts; leave out "
                    + (registers != null ? "--regs" : "--machine"));
        }
    }

    /// `machine`, read as the kernel that was named, if any was.
    Reading reading(Machine machine) {
        Era given = era;
        return given == null ? Reading.of(machine) : Reading.of(machine, given, "--era");
    }

    /// Finds the era that a release belongs to.
    static final class EraConverter implements ITypeConverter<Era> {
        @Override
        public Era convert(String text) {
            String[] parts = text.split("\\.", -1);
            try {
                int release = parts.length < 2 ? -1 : release(parts);
                Era found = null;
                for (Era era : Era.values()) {
                    if (release(era.id().split("\\.", -1)) <= release) {
                        found = era;
                    }
                }
                if (found != null) {
                    return found;
                }
            } catch (NumberFormatException e) {
                throw new TypeConversionException("\"" + text + "\" is not a release such as 6.12");
            }
            throw new TypeConversionException("\"" + text + "\" is not a release such as 6.12, of 6.1 or later");
        }

        private static int release(String[] parts) {
            return Integer.parseUnsignedInt(parts[0]) * 1000 + Integer.parseUnsignedInt(parts[1]);
        }
    }
}
