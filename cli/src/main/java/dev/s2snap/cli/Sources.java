package dev.s2snap.cli;

import dev.s2snap.capture.CaptureException;
import dev.s2snap.capture.CapturedMachine;
import dev.s2snap.capture.ElfCore;
import dev.s2snap.inspect.KernelTable;
import dev.s2snap.inspect.KernelTextDialect;
import dev.s2snap.inspect.KernelTextException;
import dev.s2snap.inspect.KernelTextReader;
import dev.s2snap.inspect.MachineInfo;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.SnapshotCall;
import dev.s2snap.pkvm.Machine;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// From what the user wrote for SOURCE to a machine. Files are recognised by their content, never by their name.
final class Sources {
    private static final String UNDERSTOOD = "; what is understood is an ELF core of the machine's memory, a capture, a"
            + " kernel's text of a stage 2, or 'model'";

    /// How many runs of memory are listed one by one.
    private static final int LISTED_SEGMENTS = 32;

    private Sources() {}

    /// Opens `source`.
    ///
    /// @throws CaptureException if it is nothing that is understood, or damaged
    static Open open(String source, SourceOptions options) {
        return open(source, options, null);
    }

    /// @param variant the model's snapshot call, or null where there is no preference
    static Open open(String source, SourceOptions options, SnapshotCall.@Nullable Variant variant) {
        if (isModel(source)) {
            options.refuseFacts(source);
            PkvmModel model = ModelSource.open(source, variant);
            return new Open(model, model::close);
        }
        if (variant != null) {
            throw new CaptureException(source + ": only the model has variants; leave out --variant");
        }
        Path file = Path.of(source);
        byte[] magic = magic(file);
        if (startsWith(magic, "\u007fELF")) {
            CapturedMachine machine =
                    CapturedMachine.open(file, options.registers(), options.machine(), options.registersNeeded());
            return new Open(machine, machine::close);
        }
        if (KernelTextReader.recognises(magic)) {
            throw new CaptureException(
                    source + ": it is a kernel's text of one table, and this needs a whole machine; see s2snap dump");
        }
        throw new CaptureException(source + ": " + otherFormat(magic) + UNDERSTOOD);
    }

    /// A model is no file, and told by its name.
    private static boolean isModel(String source) {
        return source.equals(ModelSource.NAME) || source.startsWith(ModelSource.NAME + ":");
    }

    /// Reads `source` if it is a kernel's text of a stage 2, which is a table and no machine.
    ///
    /// @param dialect which kernel's, or empty to find out
    /// @return empty if it is something else
    /// @throws CaptureException if it cannot be read, or is no such text after all
    static Optional<KernelTable> kernelText(String source, Optional<KernelTextDialect> dialect) {
        if (isModel(source)) {
            return Optional.empty();
        }
        Path file = Path.of(source);
        if (!KernelTextReader.recognises(magic(file))) {
            return Optional.empty();
        }
        try (InputStream in = Files.newInputStream(file)) {
            return Optional.of(KernelTextReader.read(in, dialect));
        } catch (KernelTextException e) {
            throw new CaptureException(source + ": " + e.getMessage(), e);
        } catch (IOException e) {
            throw new CaptureException(source + ": it cannot be read: " + e.getMessage(), e);
        }
    }

    /// A machine, and how to let go of it.
    record Open(Machine machine, Runnable closing) implements AutoCloseable {
        @Override
        public void close() {
            closing.run();
        }
    }

    private static byte[] magic(Path file) {
        if (Files.isDirectory(file)) {
            throw new CaptureException(file + ": it is a folder; give the name of a file");
        }
        if (Files.exists(file) && !Files.isRegularFile(file)) {
            throw new CaptureException(file + ": it is not a regular file; save the machine's memory to one");
        }
        try (InputStream in = Files.newInputStream(file)) {
            return in.readNBytes(16);
        } catch (NoSuchFileException e) {
            throw new CaptureException(file + ": there is no such file; check the name", e);
        } catch (AccessDeniedException e) {
            throw new CaptureException(file + ": it may not be read; check its permissions", e);
        } catch (IOException e) {
            throw new CaptureException(file + ": it cannot be read: " + e.getMessage(), e);
        }
    }

    private static String otherFormat(byte[] magic) {
        if (magic.length == 0) {
            return "it is empty";
        }
        if (startsWith(magic, "KDUMP   ") || startsWith(magic, "makedumpfile")) {
            return "it is a kdump, which this version does not read";
        }
        if (startsWith(magic, "(\u00b5/\u00fd")) {
            return "it is compressed; unpack it with zstd -d first";
        }
        if (startsWith(magic, "\u001f\u008b")) {
            return "it is compressed; unpack it with gunzip first";
        }
        return "its format is not known";
    }

    private static boolean startsWith(byte[] bytes, String magic) {
        byte[] wanted = magic.getBytes(StandardCharsets.ISO_8859_1);
        return bytes.length >= wanted.length && Arrays.equals(Arrays.copyOf(bytes, wanted.length), wanted);
    }

    /// What is known about the source itself.
    static List<MachineInfo.Line> describe(String source, Machine machine) {
        List<MachineInfo.Line> lines = new ArrayList<>();
        lines.add(new MachineInfo.Line("name", source, ""));
        if (machine instanceof CapturedMachine captured) {
            lines.add(new MachineInfo.Line(
                    "format",
                    "ELF core"
                            + captured.tool()
                                    .map(tool -> ", captured by " + tool)
                                    .orElse(""),
                    ""));
            lines.add(new MachineInfo.Line("registers", "from " + captured.registerSource(), ""));
            segments(captured.segments(), lines);
        }
        return lines;
    }

    private static void segments(List<ElfCore.Segment> segments, List<MachineInfo.Line> lines) {
        long size = segments.stream().mapToLong(s -> s.end() - s.start()).sum();
        long zeros = segments.stream().mapToLong(ElfCore.Segment::zeros).sum();
        lines.add(new MachineInfo.Line(
                "memory",
                (size >>> 10) + "K in " + segments.size() + " runs"
                        + (zeros == 0 ? "" : ", of which " + (zeros >>> 10) + "K are zeros that the file leaves out"),
                ""));
        for (ElfCore.Segment segment : segments.subList(0, Math.min(segments.size(), LISTED_SEGMENTS))) {
            lines.add(new MachineInfo.Line(
                    "",
                    hex(segment.start()) + "-" + hex(segment.end()) + "  " + ((segment.end() - segment.start()) >>> 10)
                            + "K",
                    ""));
        }
        if (segments.size() > LISTED_SEGMENTS) {
            lines.add(new MachineInfo.Line("", "and " + (segments.size() - LISTED_SEGMENTS) + " more", ""));
        }
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }
}
