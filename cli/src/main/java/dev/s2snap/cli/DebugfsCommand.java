package dev.s2snap.cli;

import dev.s2snap.inspect.KernelText;
import dev.s2snap.inspect.KernelTextDialect;
import dev.s2snap.inspect.NoAnswerException;
import dev.s2snap.model.DebugFs;
import dev.s2snap.model.Errno;
import dev.s2snap.model.HostKernel.HostException;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.vmsa.TranslationTable;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/// `s2snap debugfs`: the files that the series gives the host's debugfs, on the model.
@Command(
        name = "debugfs",
        description = {
            "Lists the files of the model's debugfs that show stage-2 tables, or prints one.",
            "The host's table is a snapshot that is taken by the hypercall when the file is opened."
        },
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        versionProvider = Main.Version.class,
        footer = {
            "",
            "Examples:",
            "  s2snap debugfs model",
            "  s2snap debugfs model kvm/host_page_tables",
            "",
            "If the model runs no VM, one is made that has used a little of its memory.",
            "",
            "Exit status: 0 done, 2 bad usage, no such file, or a file that cannot be opened."
        })
final class DebugfsCommand implements Callable<Integer> {
    private final Output output;

    @Parameters(
            index = "0",
            paramLabel = "SOURCE",
            arity = "0..1",
            defaultValue = ModelSource.NAME,
            description = "'model', with settings if any. Default: ${DEFAULT-VALUE}.")
    private String source = ModelSource.NAME;

    @Parameters(
            index = "1",
            paramLabel = "PATH",
            arity = "0..1",
            description = "A file to print, such as kvm/host_page_tables. Without one all files are listed.")
    private @Nullable String path;

    @Option(
            names = "--dialect",
            paramLabel = "DIALECT",
            converter = DumpCommand.DialectConverter.class,
            description =
                    "How tables are written: v4, linux-6.12, linux-6.18, linux-7.3, android-6.6 or android-6.12. Default: v4.")
    private KernelTextDialect dialect = KernelTextDialect.V4;

    DebugfsCommand(Output output) {
        this.output = output;
    }

    @Override
    public Integer call() throws IOException {
        String wanted = path;
        if (wanted == null && isPath(source)) {
            wanted = source;
            source = ModelSource.NAME;
        }
        if (!source.equals(ModelSource.NAME) && !source.startsWith(ModelSource.NAME + ":")) {
            throw new NoAnswerException(source + ": only the model has a kernel that can be asked; see the tables of"
                    + " other sources with s2snap dump --dialect");
        }
        try (PkvmModel model = ModelSource.open(source, null)) {
            answer(model, wanted == null ? "" : plain(wanted));
        } catch (HostException e) {
            throw new NoAnswerException(source + ": the host cannot do that: " + e.getMessage(), e);
        }
        return Main.DONE;
    }

    /// A single argument that is no SOURCE.
    private static boolean isPath(String argument) {
        return plain(argument).equals(DebugFs.ROOT) || plain(argument).startsWith(DebugFs.ROOT + "/");
    }

    /// As it is called here: without the place where debugfs is mounted, and without slashes around it.
    private static String plain(String path) {
        String relative = path.startsWith(MOUNTED) ? path.substring(MOUNTED.length()) : path;
        return relative.endsWith("/") ? relative.substring(0, relative.length() - 1) : relative;
    }

    private static final String MOUNTED = "/sys/kernel/debug/";

    private void answer(PkvmModel model, String path) throws IOException {
        if (model.hostKernel().kvm().guests().isEmpty()) {
            DemoGuest.run(model);
        }
        DebugFs files = new DebugFs(model, this::text);
        Map<String, List<String>> folders = files.folders();
        if (path.isEmpty()) {
            list(folders);
        } else if (folders.containsKey(path)) {
            list(Map.of(path, folders.getOrDefault(path, List.of())));
        } else {
            print(files, path);
        }
    }

    /// As `ls -R` does.
    private void list(Map<String, List<String>> folders) throws IOException {
        StringBuilder lines = new StringBuilder();
        folders.forEach((folder, names) -> {
            lines.append(lines.isEmpty() ? "" : "\n").append(folder).append(":\n");
            names.stream().sorted().forEach(name -> lines.append(name).append('\n'));
        });
        output.standard().write(lines.toString().getBytes(StandardCharsets.US_ASCII));
    }

    /// As `cat` does.
    private void print(DebugFs files, String path) throws IOException {
        switch (files.open(path)) {
            case DebugFs.Refused(int error) ->
                throw new NoAnswerException(path + ": "
                        + (error == Errno.ENOENT
                                ? "there is no such file; see s2snap debugfs " + source
                                : "it cannot be opened: " + Errno.name(error)));
            case DebugFs.OpenFile file -> {
                OutputStream out = output.standard();
                try {
                    byte[] buffer = new byte[1 << 16];
                    for (int count = file.read(buffer); count > 0; count = file.read(buffer)) {
                        out.write(buffer, 0, count);
                    }
                } finally {
                    file.release();
                }
            }
        }
    }

    private byte[] text(TranslationTable table, boolean host, boolean forcedWriteBack) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try {
            KernelText.write(table, dialect, new KernelTextDialect.Use(host, forcedWriteBack), out);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return out.toByteArray();
    }
}
