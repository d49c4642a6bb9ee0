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
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.function.Function;
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
        addMethodSubcommands = false,
        versionProvider = Main.Version.class,
        synopsisSubcommandLabel = "COMMAND",
        commandListHeading = "%nCommands:%n",
        footer = {
            "",
            "Examples:",
            "  s2snap snapshot",
            "  s2snap dump samples/deb-6.12/npvm.core --regs samples/deb-6.12/npvm.regs.json",
            "  s2snap help dump",
            "",
            "Exit status: 0 done, 1 the answer is bad news, 2 bad usage or input (one line on standard error)."
        })
public final class Main implements Callable<Integer> {

    static final int DONE = 0;
    static final int BAD_NEWS = 1;
    static final int BAD_INPUT = 2;

    private static final Set<String> ABOUT_OTHERS = Set.of("completion", "help");

    @Spec
    private CommandSpec spec = CommandSpec.create();

    Main() {}

    public static void main(String[] args) {
        // Colours are picocli's, in help only: on a terminal, and not where NO_COLOR is set. It does not know this one.
        if ("dumb".equals(System.getenv("TERM"))) {
            System.setProperty("picocli.ansi", "false");
        }
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
        CommandLine line = commandLine(output, args)
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

    /// The commands, in the order of the help. They are made when they are needed: reading the annotations of all of
    /// them takes longer than most answers.
    private static Map<String, Function<Output, Object>> commands() {
        Map<String, Function<Output, Object>> commands = new LinkedHashMap<>();
        commands.put("snapshot", SnapshotCommand::new);
        commands.put("dump", DumpCommand::new);
        commands.put("check", CheckCommand::new);
        commands.put("owners", OwnersCommand::new);
        commands.put("explain", ExplainCommand::new);
        commands.put("diff", DiffCommand::new);
        commands.put("info", InfoCommand::new);
        commands.put("model", ModelCommand::new);
        commands.put("debugfs", DebugfsCommand::new);
        commands.put("defects", DefectsCommand::new);
        commands.put("fuzz", FuzzCommand::new);
        commands.put("completion", CompletionCommand::new);
        commands.put("help", _ -> new HelpCommand());
        return commands;
    }

    /// s2snap with all of its commands; if `args` begin with one that needs none of the others, with that one only.
    static CommandLine commandLine(Output output, String... args) {
        CommandLine line = new CommandLine(new Main());
        Map<String, Function<Output, Object>> commands = commands();
        Function<Output, Object> only =
                args.length == 0 || ABOUT_OTHERS.contains(args[0]) ? null : commands.get(args[0]);
        (only == null ? commands.values() : List.of(only))
                .forEach(command -> line.addSubcommand(command.apply(output)));
        return line.setExpandAtFiles(false).setUsageHelpWidth(110);
    }

    /// Who asks for nothing is told what there is.
    @Override
    public Integer call() {
        spec.commandLine().usage(spec.commandLine().getOut());
        return DONE;
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
