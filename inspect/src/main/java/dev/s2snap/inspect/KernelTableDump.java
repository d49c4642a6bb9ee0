package dev.s2snap.inspect;

import java.io.IOException;
import java.io.OutputStream;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.OptionalInt;

/// Prints a [KernelTable]: in the columns of [TextDump] for a person, and as JSON for programs.
///
/// The JSON is one object, schema 1, written as [JsonDump] writes. `leaves` are the regions that are not empty; the
/// value of `bits` counts only where `mask` has a bit, `pa` is always null, and `level` is null where the text has a
/// name that does not tell it. What is null in `geometry` is not told. `complete` is true if the regions certainly
/// reach the end of the table, and `end` is the address behind the last region.
public final class KernelTableDump {
    private static final String GAP = "  ";

    // Of the sums below the table.
    private static final int SUM_COLUMN = 11;
    private static final int OWNER_COLUMN = 35;

    private final KernelTable table;
    private final KernelTableWords words;
    private final ByteText text;

    // Ends of the columns, found in a first pass over the rows.
    private int sizeWidth = "size".length();
    private int kindWidth = "level".length();
    private int permissionWidth = "perm".length();
    private int memoryWidth;
    private int ownerWidth;

    private final Map<KernelTable.Kind, Long> sums = new EnumMap<>(KernelTable.Kind.class);
    private final Map<String, Long> owners = new LinkedHashMap<>();

    private KernelTableDump(KernelTable table, OutputStream out) {
        this.table = table;
        words = new KernelTableWords(table);
        text = new ByteText(out);
    }

    // For a person.

    public static void text(KernelTable table, OutputStream out) throws IOException {
        KernelTableDump dump = new KernelTableDump(table, out);
        dump.measure();
        dump.header();
        dump.rows();
        dump.sums();
        dump.text.flush();
    }

    private String label() {
        return table.host() ? "host" : "guest";
    }

    private void header() throws IOException {
        text.add(label()).add(": stage 2");
        if (table.inputBits().isPresent()) {
            text.add(", ").decimal(table.inputBits().getAsInt()).add("-bit input");
        }
        if (table.startLevel().isPresent()) {
            text.add(", start level ").decimal(table.startLevel().getAsInt());
        }
        text.add(", from a text of ").line(table.dialect().id());
        text.add(GAP).line("such a text has no output addresses, no granule and no root");
        if (!table.complete()) {
            text.add(GAP)
                    .add(table.cut() ? "the text is cut: " : "")
                    .add("nothing is told about what is behind ")
                    .hex(table.end())
                    .line();
        }
        text.line();
    }

    private void measure() {
        for (KernelTable.Region region : table.regions()) {
            sums.merge(region.kind(), region.size(), Long::sum);
            if (region.kind() == KernelTable.Kind.EMPTY) {
                continue;
            }
            sizeWidth = Math.max(sizeWidth, ByteText.size(region.size()).length());
            kindWidth = Math.max(kindWidth, kind(region).length());
            permissionWidth =
                    Math.max(permissionWidth, words.permissions(region).length());
            memoryWidth = Math.max(memoryWidth, words.memory(region).length());
            String owner = words.owner(region);
            ownerWidth = Math.max(ownerWidth, owner.length());
            owners.merge(owner, region.size(), Long::sum);
        }
    }

    private static String kind(KernelTable.Region region) {
        OptionalInt number = region.level().number();
        String level = number.isPresent()
                ? String.valueOf(number.getAsInt())
                : region.level().name();
        return level + " " + region.kind().id();
    }

    private void rows() throws IOException {
        if (owners.isEmpty()) {
            text.line("no entry is in use");
            return;
        }
        int digits = (64 - Long.numberOfLeadingZeros(table.end() - 1) + 3) / 4;
        int size = 2 * digits + 5 + GAP.length() + sizeWidth;
        int kind = size + GAP.length();
        int permission = kind + kindWidth + GAP.length();
        int memory = permission + permissionWidth + GAP.length();
        int owner = memory + (memoryWidth == 0 ? 0 : Math.max(memoryWidth, "memory".length()) + GAP.length());
        text.add("input address").right("size", size).column(kind).add("level");
        text.column(permission).add("perm");
        if (memoryWidth > 0) {
            text.column(memory).add("memory");
        }
        if (ownerWidth > 0) {
            text.column(owner).add("owner");
        }
        text.line();
        for (KernelTable.Region region : table.regions()) {
            if (region.kind() == KernelTable.Kind.EMPTY) {
                continue;
            }
            text.hex(region.start(), digits).add("-").hex(region.end(), digits);
            text.right(ByteText.size(region.size()), size).column(kind).add(kind(region));
            text.column(permission).add(words.permissions(region));
            text.column(memory).add(words.memory(region));
            text.column(owner).add(words.owner(region)).line();
        }
    }

    private void sums() throws IOException {
        text.line();
        sum("mapped", total(KernelTable.Kind.BLOCK) + total(KernelTable.Kind.PAGE));
        sum("invalid", total(KernelTable.Kind.INVALID));
        sum("empty", total(KernelTable.Kind.EMPTY));
        if (ownerWidth > 0) {
            String title = "owners";
            for (Map.Entry<String, Long> owner : owners.entrySet()) {
                text.add(title).column(SUM_COLUMN).add(ByteText.sum(owner.getValue()));
                text.column(OWNER_COLUMN).line(owner.getKey().isEmpty() ? "not told" : owner.getKey());
                title = "";
            }
        }
    }

    private long total(KernelTable.Kind kind) {
        return sums.getOrDefault(kind, 0L);
    }

    private void sum(String title, long bytes) throws IOException {
        text.add(title).column(SUM_COLUMN).line(ByteText.sum(bytes));
    }

    // For programs.

    /// @param source what the user called the text
    public static void json(KernelTable table, String source, OutputStream out) throws IOException {
        KernelTableDump dump = new KernelTableDump(table, out);
        dump.object(source);
        dump.text.flush();
    }

    private void object(String source) throws IOException {
        text.line("{\"schema\":1,");
        JsonDump.string(text.add("\"source\":"), source).line(",");
        JsonDump.string(text.add("\"table\":"), label()).line(",");
        JsonDump.string(text.add("\"dialect\":"), table.dialect().id()).line(",");
        number(text.add("\"geometry\":{\"granuleShift\":null,\"inputBits\":"), table.inputBits());
        number(text.add(",\"startLevel\":"), table.startLevel());
        text.line(",\"rootAddress\":null,\"rootEntries\":null,\"rootPages\":null,\"lpa2\":null},");
        text.add("\"complete\":").add(Boolean.toString(table.complete())).line(",");
        JsonDump.hex(text.add("\"end\":"), table.end()).line(",");
        text.add("\"leaves\":[");
        String between = "";
        for (KernelTable.Region region : table.regions()) {
            if (region.kind() == KernelTable.Kind.EMPTY) {
                continue;
            }
            text.line(between);
            JsonDump.hex(text.add("{\"start\":"), region.start());
            JsonDump.hex(text.add(",\"end\":"), region.end());
            number(text.add(",\"level\":"), region.level().number());
            text.add(",\"kind\":\"").add(region.kind().id()).add("\",\"pa\":null");
            JsonDump.hex(text.add(",\"bits\":"), region.told().bits());
            JsonDump.hex(text.add(",\"mask\":"), region.told().mask()).add("}");
            between = ",";
        }
        text.line();
        text.line("]}");
    }

    private static void number(ByteText text, OptionalInt number) {
        if (number.isPresent()) {
            text.decimal(number.getAsInt());
        } else {
            text.add("null");
        }
    }
}
