package dev.s2snap.cli;

import java.io.OutputStream;
import java.io.PrintWriter;
import java.nio.charset.Charset;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/// A few commands in one process, without an answer. `./s2snap` runs it once after a build under a JVM that notes which
/// classes are loaded, and later JVMs begin with these in an AOT cache (JEP 483).
public final class Rehearsal {
    private Rehearsal() {}

    /// @param args the checkout, whose samples are read
    public static void main(String[] args) {
        PrintWriter err = new PrintWriter(System.err, true, Charset.defaultCharset());
        for (String[] line : commandLines(Path.of(args[0]))) {
            if (Main.run(line, OutputStream.nullOutputStream(), err) != Main.DONE) {
                System.err.println("s2snap: this rehearsal failed: " + String.join(" ", line));
                System.exit(Main.BAD_INPUT);
            }
        }
    }

    /// What people begin with, and the help of every command.
    static List<String[]> commandLines(Path checkout) {
        String core = checkout.resolve("samples/deb-6.12/npvm.core").toString();
        String registers = checkout.resolve("samples/deb-6.12/npvm.regs.json").toString();
        String script = checkout.resolve("samples/seed.txt").toString();
        List<String[]> lines = new ArrayList<>();
        lines.add(line("--help"));
        lines.add(line("--version"));
        lines.add(line("completion"));
        lines.add(line("info", core, "--regs", registers));
        for (String table : List.of("host", "hyp", "guest:0")) {
            lines.add(line("dump", core, "--regs", registers, "--table", table));
        }
        lines.add(line("dump", core, "--regs", registers, "--format", "json"));
        lines.add(line("explain", core, "0x433c6000", "--regs", registers));
        lines.add(line("dump", core, "--regs", registers, "--dialect", "v4"));
        lines.add(line("dump", "model:ram=256M,granule=16K,touch=random"));
        lines.add(line("snapshot"));
        lines.add(line("snapshot", core, "--regs", registers));
        lines.add(line("model", "--script", script));
        lines.add(line("debugfs", "kvm/host_page_tables"));
        lines.add(line("defects", "D-01"));
        Main.commandLine(new Output(OutputStream.nullOutputStream()))
                .getSubcommands()
                .keySet()
                .forEach(command -> lines.add(line("help", command)));
        return lines;
    }

    private static String[] line(String... words) {
        return words;
    }
}
