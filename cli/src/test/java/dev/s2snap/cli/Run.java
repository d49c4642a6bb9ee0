package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/// A command line, run in this process.
@SuppressWarnings("ArrayRecordComponent") // output is bytes, and runs are not compared
record Run(int status, byte[] out, String err) {
    static final Path SAMPLES = Path.of("..", "samples", "deb-6.12");

    static Run of(Object... args) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        Run run = to(out, args);
        return new Run(run.status, out.toByteArray(), run.err);
    }

    static Run to(OutputStream out, Object... args) {
        String[] words = new String[args.length];
        for (int i = 0; i < args.length; i++) {
            words[i] = args[i].toString();
        }
        StringWriter err = new StringWriter();
        int status = Main.run(words, out, new PrintWriter(err));
        return new Run(status, new byte[0], err.toString());
    }

    static Path core(String stage) {
        return SAMPLES.resolve(stage + ".core");
    }

    static Path registers(String stage) {
        return SAMPLES.resolve(stage + ".regs.json");
    }

    String text() {
        return new String(out, StandardCharsets.UTF_8);
    }

    Run succeeds() {
        assertThat(err).isEmpty();
        assertThat(status).isZero();
        return this;
    }

    /// Status 2, no output, and exactly one line that says so.
    Run isRefused() {
        assertThat(status).as(err).isEqualTo(2);
        assertThat(out).isEmpty();
        assertThat(err).startsWith("s2snap: ").endsWith("\n");
        assertThat(err.lines()).hasSize(1);
        assertThat(err).doesNotContain("defect");
        return this;
    }
}
