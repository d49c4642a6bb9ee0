package dev.s2snap.inspect;

import dev.s2snap.inspect.KernelTable.Level;
import dev.s2snap.inspect.KernelTable.Told;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.regex.Matcher;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/// Reads a kernel's text of a stage 2, the way back of [KernelText].
///
/// The dialect is found by the first line and by what the others have in their columns: a line that only one dialect
/// can have decides. Windows line ends, a byte order mark, empty lines at the end and a missing last newline are
/// accepted, and so are lines whose trailing blanks were cut. Every line is checked: ranges follow each other from 0
/// on, the size column says the size, and some descriptor is printed so.
///
/// Memory: 13 bytes for each line, and one entry for each level name and each set of attributes that occurs.
public final class KernelTextReader {
    /// More regions than this are refused. 64 GiB of 4K pages of which no two neighbours are alike have so many.
    public static final int MAX_REGIONS = 1 << 24;

    /// No dialect has lines of half the length.
    private static final int MAX_LINE = 256;

    /// Sizes and names up to the attributes: 0x, 16 digits, -, 0x, 16 digits.
    private static final int RANGE = 37;

    private static final int BLANKS = 3;

    /// Input addresses have 56 bits at most (FEAT_D128, D8.1.8).
    private static final int MAX_BITS = 56;

    private static final String OPENING = "---[ ";
    private static final String CLOSING = " ]---";
    private static final byte[] BYTE_ORDER_MARK = {(byte) 0xef, (byte) 0xbb, (byte) 0xbf};

    private final InputStream in;
    private final Optional<KernelTextDialect> wanted;

    // The input, and the line that is being read.
    private final byte[] buffer = new byte[1 << 16];
    private int place;
    private int filled;
    private final byte[] line = new byte[MAX_LINE];
    private int length;
    private long number;

    // What the first line says.
    private String title = "";
    private OptionalInt inputBits = OptionalInt.empty();
    private OptionalInt startLevel = OptionalInt.empty();

    // Dialects that can have written all lines so far.
    private List<Candidate> candidates = new ArrayList<>();

    // The regions so far.
    private int size;
    private long[] ends = new long[64];
    private byte[] levels = new byte[64];
    private int[] words = new int[64];
    private boolean emptyBefore;
    private final Map<String, Integer> levelNumbers = new HashMap<>();
    private final Map<String, Integer> wordNumbers = new HashMap<>();

    /// A dialect and what it makes of the levels and words so far.
    private static final class Candidate {
        final KernelTextDialect dialect;
        final KernelTextWords words;
        final List<Level> levels = new ArrayList<>();
        final List<Told> told = new ArrayList<>();

        Candidate(KernelTextDialect dialect, boolean host) {
            this.dialect = dialect;
            words = new KernelTextWords(dialect, host);
        }
    }

    private KernelTextReader(InputStream in, Optional<KernelTextDialect> wanted) {
        this.in = in;
        this.wanted = wanted;
    }

    /// Whether `beginning`, the first bytes of a file, look like a kernel's text, or like one that lost its first line.
    public static boolean recognises(byte[] beginning) {
        String text = new String(beginning, StandardCharsets.ISO_8859_1);
        if (text.startsWith(new String(BYTE_ORDER_MARK, StandardCharsets.ISO_8859_1))) {
            text = text.substring(BYTE_ORDER_MARK.length);
        }
        return text.startsWith(OPENING) || (text.matches("(?s)0x[0-9a-f]{11}.*") && !text.contains("\0"));
    }

    /// Reads all of `in`.
    ///
    /// @param dialect which one it is, or empty to find out
    /// @throws KernelTextException if it is no such text, or if several dialects are possible
    public static KernelTable read(InputStream in, Optional<KernelTextDialect> dialect) throws IOException {
        return new KernelTextReader(in, dialect).table();
    }

    private KernelTable table() throws IOException {
        if (!nextLine()) {
            throw wrong("the text is empty; copy it again");
        }
        header();
        while (nextLine()) {
            if (blank(0)) {
                requireNothingMore();
                break;
            }
            region();
        }
        return built(decided());
    }

    private KernelTextException wrong(String message) {
        return new KernelTextException(Math.max(number, 1), message);
    }

    // Lines.

    /// Reads the next line into `line`, without its end.
    private boolean nextLine() throws IOException {
        length = 0;
        number++;
        while (true) {
            if (place == filled) {
                filled = in.read(buffer);
                place = 0;
                if (filled <= 0) {
                    filled = 0;
                    if (length == 0) {
                        number--;
                        return false;
                    }
                    break;
                }
            }
            byte next = buffer[place++];
            if (next == '\n') {
                break;
            }
            if (length == MAX_LINE) {
                throw wrong("it is longer than " + MAX_LINE + " bytes, which no kernel's line is; see whether this file"
                        + " is a text, and whether its line ends are there");
            }
            line[length++] = next;
        }
        if (number == 1
                && length >= BYTE_ORDER_MARK.length
                && Arrays.equals(line, 0, BYTE_ORDER_MARK.length, BYTE_ORDER_MARK, 0, BYTE_ORDER_MARK.length)) {
            length -= BYTE_ORDER_MARK.length;
            System.arraycopy(line, BYTE_ORDER_MARK.length, line, 0, length);
        }
        if (length > 0 && line[length - 1] == '\r') {
            length--;
        }
        for (int i = 0; i < length; i++) {
            if (line[i] < ' ' || line[i] == 0x7f) {
                throw wrong("byte 0x" + Integer.toHexString(line[i] & 0xff) + " at column " + (i + 1)
                        + " is none of a kernel's text; save it as plain ASCII");
            }
        }
        return true;
    }

    private boolean blank(int from) {
        for (int i = from; i < length; i++) {
            if (line[i] != ' ') {
                return false;
            }
        }
        return true;
    }

    private String text(int from, int to) {
        return new String(line, from, to - from, StandardCharsets.US_ASCII);
    }

    private void requireNothingMore() throws IOException {
        long first = number;
        while (nextLine()) {
            if (!blank(0)) {
                throw new KernelTextException(first, "it is empty, and the text goes on behind it; take the line out");
            }
        }
    }

    // The first line.

    private void header() {
        String first = text(0, length).stripTrailing();
        if (!first.startsWith(OPENING) || !first.endsWith(CLOSING) || first.length() <= OPENING.length() + 5) {
            throw wrong("it is not \"" + OPENING + "Guest IPA" + CLOSING + "\" or another such first line; put the one"
                    + " that the kernel wrote in front");
        }
        title = first.substring(OPENING.length(), first.length() - CLOSING.length());
        boolean host = title.equals(KernelTextDialect.HOST_TITLE);
        for (KernelTextDialect dialect : KernelTextDialect.values()) {
            if (dialect.titled(title)) {
                candidates.add(new Candidate(dialect, host));
            }
        }
        if (candidates.isEmpty()) {
            throw wrong("\"" + title
                    + "\" is the title of no dialect; there are Guest IPA, Host IPA and IPA bits N start" + " lvl N");
        }
        if (wanted.isPresent()) {
            List<Candidate> others = List.copyOf(candidates);
            candidates.removeIf(candidate -> candidate.dialect != wanted.get());
            if (candidates.isEmpty()) {
                throw wrong("\"" + title + "\" is no title of " + wanted.get().id() + " but of " + ids(others)
                        + "; name that, or leave the dialect out");
            }
        }
        Matcher matcher = KernelTextDialect.TITLE.matcher(title);
        if (matcher.matches()) {
            inputBits = OptionalInt.of(Integer.parseInt(matcher.group(1).strip()));
            startLevel = OptionalInt.of(Integer.parseInt(matcher.group(2)));
            if (inputBits.getAsInt() > MAX_BITS) {
                throw wrong(
                        inputBits.getAsInt() + " bits are more than an input address has; the most are " + MAX_BITS);
            }
        }
    }

    private static String ids(List<Candidate> candidates) {
        return candidates.stream().map(candidate -> candidate.dialect.id()).collect(Collectors.joining(", "));
    }

    // Regions.

    private void region() {
        if (length > OPENING.length() && line[0] == '-') {
            throw wrong("a second table begins; make two files of them");
        }
        long start = hex(0);
        long end = hex(19);
        if (length < RANGE || line[18] != '-') {
            throw wrong("it does not begin with an address range such as 0x0000000000000000-0x0000000040000000; take it"
                    + " out, or copy the text again");
        }
        range(start, end);
        int at = sizeColumn(start, end);
        int behind = at;
        while (behind < length && line[behind] != ' ') {
            behind++;
        }
        if (size == ends.length) {
            grow();
        }
        ends[size] = end;
        levels[size] = (byte) level(at, behind);
        words[size] = words(behind);
        if (size > 0 && behind == length && emptyBefore && levels[size] == levels[size - 1]) {
            throw wrong("it and the line above look empty, and a kernel would have written one line; trailing blanks"
                    + " were cut, which mean something here: copy the text again with them");
        }
        emptyBefore = behind == length;
        size++;
    }

    private long hex(int at) {
        if (length < at + 18 || line[at] != '0' || line[at + 1] != 'x') {
            throw wrong("it does not begin with an address range such as 0x0000000000000000-0x0000000040000000; take it"
                    + " out, or copy the text again");
        }
        long value = 0;
        for (int i = at + 2; i < at + 18; i++) {
            int digit = Character.digit(line[i], 16);
            if (digit < 0) {
                throw wrong("column " + (i + 1) + " is no hexadecimal digit; an address has 16 of them");
            }
            value = value << 4 | digit;
        }
        return value;
    }

    private void range(long start, long end) {
        long expected = size == 0 ? 0 : ends[size - 1];
        if (start != expected) {
            int order = Long.compareUnsigned(start, expected);
            throw wrong(
                    order < 0
                            ? address(start) + " is before " + address(expected)
                                    + ", where the line above ends; put the" + " lines in order, or copy the text again"
                            : "there is nothing about " + address(expected) + "-" + address(start)
                                    + " before it, and a kernel leaves no gap; copy the text again");
        }
        if (Long.compareUnsigned(end, start) <= 0) {
            throw wrong("its end " + address(end) + " is not behind its start; copy the text again");
        }
        int bits = inputBits.orElse(MAX_BITS);
        if (Long.compareUnsigned(end, 1L << bits) > 0) {
            throw wrong("it ends at " + address(end) + ", behind the " + bits
                    + " bits of an input address; copy the text" + " again");
        }
        if ((end & 0xfff) != 0) {
            throw wrong("its end " + address(end) + " is not at the end of a page; copy the text again");
        }
        if (size == MAX_REGIONS) {
            throw wrong("there are more than " + MAX_REGIONS + " regions; cut the text");
        }
    }

    private static String address(long value) {
        return "0x" + Long.toHexString(value);
    }

    /// Checks the size column, and answers the place of the level.
    private int sizeColumn(long start, long end) {
        byte[] wantedSize = new byte[32];
        int columns = KernelTextLines.size(end - start, wantedSize, 0);
        int at = RANGE + BLANKS;
        if (length <= at + columns
                || !blank(RANGE, at)
                || !Arrays.equals(line, at, at + columns, wantedSize, 0, columns)
                || line[at + columns] != ' ') {
            String found = text(RANGE, length).strip().split(" ", 2)[0];
            String right = new String(wantedSize, 0, columns, StandardCharsets.US_ASCII).strip();
            throw wrong(
                    found.equals(right)
                            ? "the size is not in its column, which ends at column " + (at + columns)
                                    + "; keep the blanks of the kernel's text"
                            : "its size is " + right + ", and the size column says \"" + found
                                    + "\"; copy the text again");
        }
        return at + columns + 1;
    }

    private boolean blank(int from, int to) {
        for (int i = from; i < to; i++) {
            if (line[i] != ' ') {
                return false;
            }
        }
        return true;
    }

    private void grow() {
        int more = size < 1 << 20 ? 2 * size : size + (size >> 1);
        ends = Arrays.copyOf(ends, more);
        levels = Arrays.copyOf(levels, more);
        words = Arrays.copyOf(words, more);
    }

    private int level(int from, int to) {
        String name = text(from, to);
        Integer known = levelNumbers.get(name);
        if (known != null) {
            return known;
        }
        List<Candidate> before = List.copyOf(candidates);
        remain(
                candidate -> candidate.dialect.level(name, startLevel),
                candidate -> candidate.levels,
                () -> "\"" + name + "\" is no level of " + ids(before) + "; copy the text again");
        levelNumbers.put(name, levelNumbers.size());
        return levelNumbers.size() - 1;
    }

    private int words(int from) {
        String text = text(from, length);
        Integer known = wordNumbers.get(text);
        if (known != null) {
            return known;
        }
        List<Candidate> before = List.copyOf(candidates);
        remain(
                candidate -> candidate.words.read(text),
                candidate -> candidate.told,
                () -> "no descriptor is printed as \"" + text.strip() + "\" by " + ids(before)
                        + "; see that each column has kept its blanks"
                        + (wanted.isPresent() ? ", or name another dialect" : ""));
        wordNumbers.put(text, wordNumbers.size());
        return wordNumbers.size() - 1;
    }

    /// Keeps the dialects that have a meaning for what was just read, and that meaning with them.
    private <T> void remain(
            Function<Candidate, @Nullable T> meaning,
            Function<Candidate, List<T>> meanings,
            Supplier<String> otherwise) {
        List<Candidate> remaining = new ArrayList<>();
        for (Candidate candidate : candidates) {
            T found = meaning.apply(candidate);
            if (found != null) {
                meanings.apply(candidate).add(found);
                remaining.add(candidate);
            }
        }
        if (remaining.isEmpty()) {
            throw wrong(otherwise.get());
        }
        candidates = remaining;
    }

    // The end.

    private Candidate decided() {
        if (candidates.size() > 1) {
            throw wrong("up to here all lines are possible in " + ids(candidates)
                    + ", which mean different things by them; say which it is with --from");
        }
        return candidates.getFirst();
    }

    private KernelTable built(Candidate candidate) {
        KernelTable.Builder table = new KernelTable.Builder(candidate.dialect, title, host(candidate));
        table.inputBits = inputBits;
        table.size = size;
        table.ends = ends;
        table.levels = levels;
        table.words = words;
        table.toldByNumber = candidate.told;
        table.startLevel = startLevel;
        table.levelsByNumber = candidate.levels;
        if (candidate.dialect == KernelTextDialect.ANDROID_6_6 && levelNumbers.containsKey("PUD")) {
            // Level 1 is called so in a table that starts above it, and there is only level 0.
            table.startLevel = OptionalInt.of(0);
            table.levelsByNumber = candidate.levels.stream()
                    .map(level -> level.name().equals("PGD") ? new Level("PGD", OptionalInt.of(0)) : level)
                    .toList();
        }
        KernelTable built = new KernelTable(table);
        requireLeaves(built);
        return built;
    }

    /// In v4 all tables have the same title, and what tells them apart is who owns valid entries, or that nobody does.
    private boolean host(Candidate candidate) {
        if (candidate.dialect != KernelTextDialect.V4) {
            return title.equals(KernelTextDialect.HOST_TITLE);
        }
        boolean states = false;
        boolean valid = false;
        for (Told told : candidate.told) {
            states |= told.words().contains(" PKVM_") || told.words().contains(" HYP");
            valid |= (told.bits() & KernelTextDialect.VALID) != 0;
        }
        return states || !valid;
    }

    /// A valid entry above the last level that is no block is a table, and tables have no lines.
    private void requireLeaves(KernelTable table) {
        long entry = KernelTextDialect.VALID | KernelTextDialect.TYPE;
        List<KernelTable.Region> regions = table.regions();
        for (int i = 0; i < regions.size(); i++) {
            KernelTable.Region region = regions.get(i);
            if ((region.told().bits() & entry) == entry
                    && region.level().number().orElse(0) < 3) {
                throw new KernelTextException(
                        i + 2L,
                        "a valid entry of level " + region.level().name()
                                + " without BLK is a table, and a kernel writes no line for one; copy the text again");
            }
        }
    }
}
