package dev.s2snap.inspect;

import dev.s2snap.pkvm.Owner;
import java.io.IOException;
import java.io.OutputStream;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Prints [Owners]: as columns for a person, and as JSON, schema 1, for programs, written as [JsonDump] writes.
///
/// `owners` are runs of physical memory; `handle` and `frame` are null unless the memory was donated to a guest, and
/// `frame` is that of `start`. `guestMemory` is what each guest's table maps: `ipa` is where the guest has `start`.
public final class OwnersDump {
    private static final String GAP = "  ";
    private static final int DIGITS = 12;
    private static final int SIZE = 2 * DIGITS + 15;

    private final Owners owners;
    private final ByteText text;

    private OwnersDump(Owners owners, OutputStream out) {
        this.owners = owners;
        text = new ByteText(out);
    }

    public static void text(Owners owners, OutputStream out) throws IOException {
        OwnersDump dump = new OwnersDump(owners, out);
        dump.columns();
        dump.text.flush();
    }

    private void columns() throws IOException {
        text.add("physical address").right("size", SIZE).add(GAP).line("owner");
        for (Owners.Run run : owners.runs()) {
            row(run.start(), run.end());
            text.add(run.owner());
            run.guest().ifPresent(guest -> text.add(", from frame ").hex(guest.frame()));
            text.line();
        }
        text.line();
        text.add("total").right("size", SIZE).add(GAP).line("owner");
        for (Map.Entry<String, Long> total : owners.totals().entrySet()) {
            text.right(ByteText.sum(total.getValue()), SIZE).add(GAP).line(total.getKey());
        }
        if (!owners.guestMemory().isEmpty()) {
            text.line();
            text.add("physical address").right("size", SIZE).add(GAP).line("guest has it at");
            for (Owners.GuestRun run : owners.guestMemory()) {
                row(run.start(), run.end());
                text.hex(run.ipa(), 10)
                        .add(" in guest:")
                        .decimal(run.guest())
                        .add(" (VMID ")
                        .decimal(run.vmid());
                run.handle().ifPresent(handle -> text.add(", handle ").hex(handle));
                run.state().ifPresent(state -> text.add(", ").add(state.words()));
                text.line(")");
            }
        }
        for (String remark : owners.remarks()) {
            text.add("note: ").line(remark);
        }
        if (!owners.complete()) {
            text.line("some of the tables could not be read; dump shows what is missing");
        }
    }

    private void row(long start, long end) {
        text.hex(start, DIGITS)
                .add("-")
                .hex(end, DIGITS)
                .right(ByteText.size(end - start), SIZE)
                .add(GAP);
    }

    /// @param source what the user called the machine
    public static void json(Owners owners, String source, OutputStream out) throws IOException {
        OwnersDump dump = new OwnersDump(owners, out);
        dump.object(source);
        dump.text.flush();
    }

    private void object(String source) throws IOException {
        text.line("{\"schema\":1,");
        JsonDump.string(text.add("\"source\":"), source).line(",");
        text.add("\"complete\":").add(Boolean.toString(owners.complete())).line(",");
        text.add("\"owners\":[");
        String between = "\n";
        for (Owners.Run run : owners.runs()) {
            range(between, run.start(), run.end());
            JsonDump.string(text.add(",\"owner\":"), run.owner());
            text.add(",\"handle\":");
            hexOrNull(run.guest().map(guest -> (long) guest.handle()).orElse(null));
            text.add(",\"frame\":");
            hexOrNull(run.guest().map(Owner.Guest::frame).orElse(null));
            text.add("}");
            between = ",\n";
        }
        text.line("],");
        text.add("\"totals\":[");
        between = "\n";
        for (Map.Entry<String, Long> total : owners.totals().entrySet()) {
            JsonDump.string(text.add(between).add("{\"owner\":"), total.getKey());
            text.add(",\"bytes\":").decimal(total.getValue()).add("}");
            between = ",\n";
        }
        text.line("],");
        text.add("\"guestMemory\":[");
        between = "\n";
        for (Owners.GuestRun run : owners.guestMemory()) {
            range(between, run.start(), run.end());
            text.add(",\"guest\":").decimal(run.guest()).add(",\"vmid\":").decimal(run.vmid());
            JsonDump.hex(text.add(",\"ipa\":"), run.ipa());
            text.add(",\"state\":");
            run.state().ifPresentOrElse(state -> JsonDump.string(text, state.name()), () -> text.add("null"));
            text.add(",\"handle\":");
            hexOrNull(run.handle().map(handle -> (long) handle).orElse(null));
            text.add("}");
            between = ",\n";
        }
        text.line("],");
        text.add("\"remarks\":[");
        between = "";
        for (String remark : owners.remarks()) {
            JsonDump.string(text.add(between), remark);
            between = ",";
        }
        text.line("]}");
    }

    private void range(String between, long start, long end) {
        JsonDump.hex(text.add(between).add("{\"start\":"), start);
        JsonDump.hex(text.add(",\"end\":"), end);
    }

    private void hexOrNull(@Nullable Long value) {
        if (value == null) {
            text.add("null");
        } else {
            JsonDump.hex(text, value);
        }
    }
}
