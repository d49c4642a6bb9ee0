package dev.s2snap.cli;

import dev.s2snap.capture.CaptureException;
import dev.s2snap.inspect.NoAnswerException;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintWriter;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.IVersionProvider;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/// `s2snap`.
///
/// | exit status | |
/// |---|---|
/// | 0 | done |
/// | 1 | done, and the answer itself is bad news, such as a table that is partly unreadable |
/// | 2 | bad usage or bad input, with one line on standard error: what, where, and what to do |
///
/// A reader that goes away (`| head`) is no error.
@Command(
        name = "s2snap",
        description = "Shows the translation tables of protected KVM, on real machines and on a model of one.",
        mixinStandardHelpOptions = true,
        versionProvider = Main.Version.class,
        synopsisSubcommandLabel = "COMMAND",
        footer = {
            "",
            "Example:",
            "  s2snap dump samples/deb-6.12/npvm.core --regs samples/deb-6.12/npvm.regs.json",
            "",
            "Exit status: 0 done, 1 the answer is bad news, 2 bad usage or input."
        })
public final class Main implements Callable<Integer> {

    static final int DONE = 0;
    static final int BAD_NEWS = 1;
    static final int BAD_INPUT = 2;

    @Spec
    private CommandSpec spec = CommandSpec.create();

    private Main() {}

    public static void main(String[] args) {
        // Not System.out: a PrintStream swallows errors.
        FileOutputStream out = new FileOutputStream(FileDescriptor.out);
        PrintWriter err = new PrintWriter(System.err, true, Charset.defaultCharset());
        System.exit(run(args, out, err));
    }

    /// Runs one command line in this process.
    ///
    /// @param out standard output
    /// @param err standard error
    /// @return the exit status
    public static int run(String[] args, OutputStream out, PrintWriter err) {
        Output output = new Output(out);
        CommandLine line = new CommandLine(new Main())
                .addSubcommand(new SnapshotCommand(output))
                .addSubcommand(new DumpCommand(output))
                .addSubcommand(new InfoCommand(output))
                .addSubcommand(new ModelCommand(output))
                .addSubcommand(new DebugfsCommand(output))
                .addSubcommand(new DefectsCommand(output))
                .setExpandAtFiles(false)
                .setUsageHelpWidth(110)
                .setErr(err)
                .setParameterExceptionHandler((e, _) -> usage(err, e))
                .setExecutionExceptionHandler((e, _, _) -> failure(err, e));
        // Help and version are text like any other: they may be cut off by a reader, too.
        PrintWriter text = new PrintWriter(output.standard(), false, StandardCharsets.UTF_8);
        line.setOut(text);
        try {
            int status = line.execute(args);
            text.flush();
            output.standard().flush();
            return status;
        } catch (IOException e) {
            return failure(err, e);
        } catch (InternalError e) {
            // What the JDK throws when a mapped file has become shorter.
            complain(err, "the source changed while it was read; run it again: " + e.getMessage());
        } catch (OutOfMemoryError e) {
            complain(err, "there is too little memory; give more with S2SNAP_JAVA_OPTS=-Xmx...: " + e.getMessage());
        }
        return BAD_INPUT;
    }

    @Override
    public Integer call() {
        throw new ParameterException(spec.commandLine(), "there is no command");
    }

    private static int usage(PrintWriter err, ParameterException e) {
        String command = e.getCommandLine().getCommandSpec().qualifiedName();
        complain(err, message(e) + "; see " + command + " --help");
        return BAD_INPUT;
    }

    private static int failure(PrintWriter err, Exception e) {
        switch (e) {
            case CaptureException _, NoAnswerException _ -> complain(err, message(e));
            case IOException io
            when Output.readerIsGone(io) -> {
                return DONE;
            }
            case IOException _ -> complain(err, "standard output: it cannot be written: " + message(e));
            default -> {
                StackTraceElement[] trace = e.getStackTrace();
                complain(
                        err,
                        "this is a defect of s2snap, please report it: " + e
                                + (trace.length == 0 ? "" : " at " + trace[0]));
            }
        }
        return BAD_INPUT;
    }

    private static String message(Exception e) {
        return Optional.ofNullable(e.getMessage()).orElse(e.getClass().getSimpleName());
    }

    /// Exactly one line, whatever the message contains; names of files may contain anything.
    private static void complain(PrintWriter err, String message) {
        StringBuilder line = new StringBuilder("s2snap: ");
        message.chars().forEach(c -> line.append(Character.isISOControl(c) ? '?' : (char) c));
        err.println(line);
        err.flush();
    }

    static final class Version implements IVersionProvider {
        @Override
        public String[] getVersion() {
            return new String[] {tool()};
        }
    }

    /// Name and version, from the jar.
    static String tool() {
        String version = Main.class.getPackage().getImplementationVersion();
        return "s2snap " + (version == null ? "(not built as a jar)" : version);
    }
}
