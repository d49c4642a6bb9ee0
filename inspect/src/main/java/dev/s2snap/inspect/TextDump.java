package dev.s2snap.inspect;

import dev.s2snap.pkvm.Annotation;
import dev.s2snap.pkvm.Encodings.StateLocation;
import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.Owner;
import dev.s2snap.pkvm.PageState;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.Finding;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.TableCounts;
import dev.s2snap.vmsa.TableGeometry;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// A [TableDump] for a person: what the table is, its entries in columns, and the sums.
///
/// A row is a run of entries that are alike and, in the host's table, whose pages are owned alike; a block whose pages
/// differ has several rows. Empty entries have no row, unless EL2 maps the memory. What contradicts pKVM's rules is
/// marked
/// with `!`. The text depends on the machine only, not on where it was found.
public final class TextDump {
    private static final String GAP = "  ";

    /// 2^64.
    static final String TOP = "0x10000000000000000";

    /// Stands for empty entries.
    private static final LeafRun EMPTY = new LeafRun(0, 0, 0, LeafRun.Kind.INVALID, 0, 0);

    /// An empty entry of the host where there is no memory for the host.
    private static final String NOBODYS = "not the host";

    private static final int RECENT = 64;

    private static final Ownership NOT_SAID = new Ownership("");

    private static final int FORMS = Form.values().length;

    /// Level and kind of the entries; indexed by level, from -1 on, and by [Form].
    private static final String[] KINDS = kinds();

    // Of the sums below the table.
    private static final int SUM_COLUMN = 11;
    private static final int LEVEL_COLUMN = 35;

    private final TableDump dump;
    private final ByteText text;
    private final TableGeometry geometry;
    private final int digits;
    private final int outputDigits;
    private final Map<Long, Attribute> attributes = new HashMap<>();

    /// In front of `attributes`, because neighbours differ in one of few values: by a hash of the bits.
    private final Attribute[] recent = new Attribute[RECENT];

    /// Sums by owner, in order of appearance.
    private final Map<String, Sum> owners = new LinkedHashMap<>();

    private Sum lastSum = new Sum("");

    // Ends of the columns, found in a first pass over the rows.
    private int sizeWidth = "size".length();
    private int permissionWidth;
    private int memoryWidth = "memory".length();
    private int kindWidth = "level".length();
    private int outputWidth;
    private int ownerWidth;

    /// The decoded attributes of a descriptor, and their two columns as bytes.
    static final class Attribute {
        private final long bits;
        private final String permissions;
        private final String memory;
        private byte[] columns = {};

        Attribute(long bits, String permissions, String memory) {
            this.bits = bits;
            this.permissions = permissions;
            this.memory = memory;
        }

        String permissions() {
            return permissions;
        }

        String memory() {
            return memory;
        }

        /// Both, once it is known how wide the first one is.
        private byte[] columns(int width) {
            if (columns.length == 0) {
                String blanks = " ".repeat(width - permissions.length()) + GAP;
                columns = (permissions + blanks + memory).getBytes(StandardCharsets.UTF_8);
            }
            return columns;
        }
    }

    /// What an entry is called.
    private enum Form {
        BLOCK(" block"),
        PAGE(" page"),
        RESERVED(" reserved"),
        INVALID(" invalid"),
        ANNOTATED(" annotated");

        private final String words;

        Form(String words) {
            this.words = words;
        }
    }

    private static String[] kinds() {
        Form[] forms = Form.values();
        String[] kinds = new String[(TableGeometry.LAST_LEVEL - TableGeometry.FIRST_LEVEL + 1) * FORMS];
        for (int i = 0; i < kinds.length; i++) {
            kinds[i] = (TableGeometry.FIRST_LEVEL + i / FORMS) + forms[i % FORMS].words;
        }
        return kinds;
    }

    /// Bytes of one owner.
    private static final class Sum {
        private final String owner;
        private long bytes;

        Sum(String owner) {
            this.owner = owner;
        }
    }

    /// Who owns it, in full and without what differs from page to page.
    record Ownership(String words, String owner) {
        Ownership(String words) {
            this(words, words);
        }
    }

    /// Takes rows: `kind` is level and kind of the entries, `output` is where `start` maps to, if `run` maps.
    interface RowSink {
        void row(long start, long end, String kind, LeafRun run, long output, Ownership ownership) throws IOException;
    }

    TextDump(TableDump dump, OutputStream out) {
        this.dump = dump;
        this.text = new ByteText(out);
        this.geometry = dump.table().geometry();
        boolean upper = geometry.regime().upper();
        this.outputDigits = (geometry.inputBits() + 3) / 4;
        this.digits = upper ? 16 : outputDigits;
        this.permissionWidth = dump.attributes().permissionsTitle().length();
    }

    public static void write(TableDump dump, OutputStream out) throws IOException {
        TextDump printer = new TextDump(dump, out);
        printer.header();
        printer.table();
        printer.sums();
        printer.text.flush();
    }

    private void header() throws IOException {
        text.add(dump.selector().label())
                .add(": ")
                .add(describe(geometry, dump.table().root()))
                .line();
        text.add(GAP).add("from ").line(dump.source());
        ownershipLine();
        text.line();
    }

    /// Geometry and place of a table, in words.
    static String describe(TableGeometry geometry, long root) {
        int pages = geometry.rootPages();
        return geometry.regime().title() + ", " + (geometry.granule() >>> 10) + "K granule, " + geometry.inputBits()
                + "-bit input, start level " + geometry.startLevel() + ", root 0x" + Long.toHexString(root) + " of "
                + geometry.rootEntries() + " entries in " + pages + (pages == 1 ? " page" : " pages")
                + (geometry.lpa2() ? ", 52-bit output (DS)" : "");
    }

    /// How ownership is written, for tables that have to do with it: the host's own stage 1 has not.
    private void ownershipLine() throws IOException {
        if (dump.selector().kind() == TableSelector.Kind.EL1_LOWER
                || dump.selector().kind() == TableSelector.Kind.EL1_UPPER) {
            return;
        }
        Reading reading = dump.reading();
        switch (reading.era()) {
            case Fact.Known<Era>(Era era, String source) -> {
                text.add(GAP).add("ownership as kernels ").add(era.releases()).line(" write it");
                // What a machine says of itself goes without saying: a model and its capture shall look the same.
                if (!reading.told()) {
                    text.add(GAP)
                            .add(GAP)
                            .add(source.startsWith("inferred") ? "" : "from ")
                            .line(source);
                }
            }
            case Fact.Unknown<Era>(String why) ->
                text.add(GAP).add("kernel not known: ").line(why);
        }
        Fact<?> states = switch (dump.selector().kind()) {
            case HOST -> dump.states();
            case HYP -> reading.hypStates();
            case GUEST, GUEST_VMID, GUEST_HANDLE -> reading.hostStates();
            case HYP_UPPER, EL1_LOWER, EL1_UPPER, GIVEN -> Fact.known("", "no page states are kept there");
        };
        if (states instanceof Fact.Unknown<?>(String why)) {
            // Without the era it has just been said.
            if (reading.era() instanceof Fact.Known<Era>) {
                text.add(GAP).add("page states not known: ").line(why);
            }
        } else if (dump.selector().kind() == TableSelector.Kind.HYP && !hypStatesAreHere()) {
            text.add(GAP).line("page states are in the hyp_vmemmap; the dump of the host table shows them");
        }
    }

    private boolean hypStatesAreHere() {
        return dump.reading().hypStates() instanceof Fact.Known<StateLocation>(StateLocation location, String _)
                && location == StateLocation.DESCRIPTOR;
    }

    private void table() throws IOException {
        rows(true, false, this::measure);
        if (owners.isEmpty()) {
            text.line("no entry is in use");
            return;
        }
        int range = 2 * digits + (geometry.regime().upper() ? 6 : 5);
        int size = range + GAP.length() + sizeWidth;
        int kind = size + GAP.length();
        int permission = kind + kindWidth + GAP.length();
        int memory = permission + permissionWidth + GAP.length();
        int output = memory + memoryWidth + GAP.length();
        int owner = output + (outputWidth == 0 ? 0 : outputWidth + GAP.length());
        text.add(geometry.regime().stage2() ? "input address" : "virtual address")
                .right("size", size)
                .column(kind);
        text.add("level")
                .column(permission)
                .add(dump.attributes().permissionsTitle())
                .column(memory)
                .add("memory");
        if (outputWidth > 0) {
            text.column(output).add("maps to");
        }
        if (ownerWidth > 0) {
            text.column(owner).add("owner");
        }
        text.line();
        rows(true, false, (start, end, words, run, target, ownership) -> {
            text.hex(start, digits).add("-");
            // The upper range of a stage 1 ends at 2^64.
            (end == 0 ? text.add(TOP) : text.hex(end, digits)).rightSize(end - start, size);
            text.column(kind).add(words);
            if (run.mapped()) {
                text.column(permission).add(attribute(run).columns(permissionWidth));
                if (outputWidth > 0 && target != start) {
                    text.column(output).hex(target, outputDigits);
                }
            }
            if (!ownership.words.isEmpty()) {
                text.column(owner).add(ownership.words);
            }
            text.line();
        });
    }

    private void measure(long start, long end, String kind, LeafRun run, long output, Ownership ownership) {
        sizeWidth = Math.max(sizeWidth, ByteText.sizeLength(end - start));
        kindWidth = Math.max(kindWidth, kind.length());
        if (run.mapped()) {
            Attribute attribute = attribute(run);
            permissionWidth = Math.max(permissionWidth, attribute.permissions.length());
            memoryWidth = Math.max(memoryWidth, attribute.memory.length());
            if (output != start) {
                outputWidth = outputDigits + 2;
            }
        }
        ownerWidth = Math.max(ownerWidth, ownership.words.length());
        if (owners.isEmpty() || !lastSum.owner.equals(ownership.owner)) {
            lastSum = owners.computeIfAbsent(ownership.owner, Sum::new);
        }
        lastSum.bytes += end - start;
    }

    Attribute attribute(LeafRun run) {
        long bits = run.bits();
        int place = (int) ((bits * 0x9e37_79b9_7f4a_7c15L) >>> 58);
        Attribute known = recent[place];
        if (known == null || known.bits != bits) {
            known = attributes.computeIfAbsent(bits, _ -> decode(run));
            recent[place] = known;
        }
        return known;
    }

    private Attribute decode(LeafRun run) {
        var decoder = dump.attributes();
        String flags = decoder.flags(run.bits(), run.kind() == LeafRun.Kind.BLOCK);
        String shareability = decoder.device(run.bits()) ? "" : " " + decoder.shareability(run.bits());
        return new Attribute(
                run.bits(),
                decoder.permissions(run.bits()),
                decoder.memoryType(run.bits()) + shareability + (flags.isEmpty() ? "" : " " + flags));
    }

    /// Passes on all rows.
    ///
    /// @param frames whether annotations with consecutive frames of one guest are one row, with the bits of the first
    /// @param everything also for memory that has no entry and that EL2 does not map
    void rows(boolean frames, boolean everything, RowSink sink) throws IOException {
        Rows rows = new Rows(frames, sink);
        List<LeafRun> runs = dump.result().runs();
        switch (dump.states()) {
            case Fact.Known<List<StateRun>>(List<StateRun> states, String _) ->
                rowsByState(runs, states, everything, rows);
            case Fact.Unknown<List<StateRun>> _ -> {
                for (LeafRun run : runs) {
                    rows.row(run.start(), run.end(), run, ownership(run));
                }
            }
        }
        rows.finish();
    }

    /// Rows of the host's table, cut where the ownership changes, and with the empty entries whose memory EL2 maps.
    private void rowsByState(List<LeafRun> runs, List<StateRun> states, boolean everything, Rows rows)
            throws IOException {
        int index = 0;
        long covered = 0;
        for (StateRun state : states) {
            index = rowsWithoutState(runs, index, covered, state.start(), rows);
            long at = state.start();
            while (at < state.end()) {
                while (index < runs.size() && runs.get(index).end() <= at) {
                    index++;
                }
                LeafRun run = index < runs.size() ? runs.get(index) : EMPTY;
                boolean inside = index < runs.size() && run.start() <= at;
                long to = index < runs.size() ? Math.min(state.end(), inside ? run.end() : run.start()) : state.end();
                if (inside) {
                    rows.row(at, to, run, ownership(run, state, at, to));
                } else if (everything || state.hyp() != PageState.NOPAGE) {
                    rows.row(at, to, EMPTY, ownership(state));
                }
                at = to;
            }
            covered = state.end();
        }
        rowsWithoutState(runs, index, covered, Long.MAX_VALUE, rows);
    }

    /// Rows for what the runs have from `from` to `to`, where no page state is known.
    ///
    /// @param index of the first run that may be there
    /// @return index of the first run that goes on behind `to`
    private int rowsWithoutState(List<LeafRun> runs, int index, long from, long to, Rows rows) throws IOException {
        for (int at = index; at < runs.size(); at++) {
            LeafRun run = runs.get(at);
            long start = Math.max(run.start(), from);
            long end = Math.min(run.end(), to);
            if (start < end) {
                rows.row(start, end, run, ownership(run));
            }
            if (run.end() > to) {
                return at;
            }
        }
        return runs.size();
    }

    /// Joins rows that are a guest's frame after frame, each an annotation of its own.
    private final class Rows {
        private final boolean frames;
        private final RowSink sink;
        private @Nullable LeafRun first;
        private LeafRun last = EMPTY;
        private Ownership ownership = new Ownership("");
        private long start;
        private long end;

        Rows(boolean frames, RowSink sink) {
            this.frames = frames;
            this.sink = sink;
        }

        void row(long start, long end, LeafRun run, Ownership ownership) throws IOException {
            boolean goesOn = frames
                    && first != null
                    && this.end == start
                    && end - start == geometry.granule()
                    && nextFrame(last, run)
                    && ownership.owner.equals(this.ownership.owner);
            if (!goesOn) {
                finish();
                first = run;
                this.start = start;
                this.ownership = ownership;
            }
            last = run;
            this.end = end;
        }

        void finish() throws IOException {
            LeafRun run = first;
            if (run != null) {
                String kind = run.size() == 0 ? "empty" : kind(run);
                Ownership words = last.equals(run) ? ownership : frames(run, last);
                sink.row(start, end, kind, run, run.output() + (start - run.start()), words);
                first = null;
            }
        }
    }

    private String kind(LeafRun run) {
        Form form = switch (run.kind()) {
            case BLOCK -> Form.BLOCK;
            case PAGE -> Form.PAGE;
            case INVALID -> Descriptor.valid(run.bits()) ? Form.RESERVED : stage1() ? Form.INVALID : Form.ANNOTATED;
        };
        return KINDS[(run.level() - TableGeometry.FIRST_LEVEL) * FORMS + form.ordinal()];
    }

    /// Whether it is a stage 1, whose invalid entries mean nothing here.
    private boolean stage1() {
        return !geometry.regime().stage2();
    }

    /// The owner in a table whose page states are not known, or are in itself.
    Ownership ownership(LeafRun run) {
        boolean mapped = run.mapped();
        return switch (dump.selector().kind()) {
            case HOST -> mapped ? new Ownership("?") : annotated(run);
            case HYP, HYP_UPPER -> mapped ? owner(hypWords(run)) : invalid(run);
            case EL1_LOWER, EL1_UPPER -> mapped ? new Ownership("") : invalid(run);
            case GIVEN -> mapped ? owner(software(run)) : stage1() ? invalid(run) : annotated(run);
            case GUEST, GUEST_VMID, GUEST_HANDLE -> mapped ? owner(guestWords(run)) : annotated(run);
        };
    }

    private static Ownership invalid(LeafRun run) {
        return new Ownership("invalid entry " + hex(run.bits()), "invalid entries");
    }

    private static Ownership owner(String words) {
        return words.isEmpty() ? NOT_SAID : new Ownership(words);
    }

    /// The owner of what `run` has from `start` to `end`, where everything is in `state`.
    Ownership ownership(LeafRun run, StateRun state, long start, long end) {
        if (!run.mapped()) {
            Ownership annotation = annotated(run);
            boolean expected = state.host() == PageState.NOPAGE
                    && state.hyp() == (annotation.owner.equals("hyp") ? PageState.OWNED : PageState.NOPAGE);
            if (!expected && state.host() != PageState.NOPAGE) {
                return new Ownership("! " + annotation.words + ", yet its state is " + hostWords(state.host()));
            }
            return expected ? annotation : hostAndHyp(annotation.words, state);
        }
        if (state.host() == PageState.NOPAGE && state.hyp() == PageState.OWNED) {
            // The hypervisor's text, from 7.3 on.
            return attribute(run).permissions.indexOf('w') < 0
                    ? new Ownership("hyp, the host may read it")
                    : new Ownership("! hyp, yet the host may write it");
        }
        if (state.host() == PageState.OWNED && !memory(run, start, end)) {
            return new Ownership(state.hyp() == PageState.NOPAGE ? "host, not memory" : "host and EL2, not memory");
        }
        return ownership(state);
    }

    /// Ownership without a look at the entry.
    static Ownership ownership(StateRun state) {
        if (state.host() == PageState.NOPAGE && state.hyp() == PageState.NOPAGE) {
            return new Ownership("nobody");
        }
        long guests = state.guestShares().orElse(0);
        if (guests > 0 && state.host() == PageState.SHARED_OWNED && state.hyp() == PageState.NOPAGE) {
            return new Ownership("host, shared with " + (guests == 1 ? "a guest" : guests + " guests"));
        }
        if (guests > 0) {
            return new Ownership("! " + hostWords(state.host()) + ", yet shared with guests " + guests + " times");
        }
        return state.host() == PageState.OWNED && state.hyp() == PageState.NOPAGE
                ? new Ownership("host")
                : hostAndHyp(hostWords(state.host()), state);
    }

    /// Whether a mapped range is memory: as the memory map says, or else as the kernel sees it, which maps memory with
    /// execute permission and everything else without (PKVM_HOST_MEM_PROT and PKVM_HOST_MMIO_PROT, 6.1 to 6.13).
    private boolean memory(LeafRun run, long start, long end) {
        return switch (dump.reading().machine().regions()) {
            case Fact.Known<List<MemoryRegion>>(List<MemoryRegion> regions, String _) ->
                regions.stream().anyMatch(region -> region.base() < end && start < region.end());
            case Fact.Unknown<List<MemoryRegion>> _ ->
                attribute(run).permissions.indexOf('x') >= 0;
        };
    }

    private static String hostWords(PageState host) {
        return switch (host) {
            case OWNED -> "host";
            case SHARED_OWNED -> "host, shared";
            case SHARED_BORROWED -> "borrowed by the host";
            case RESERVED -> "host with reserved state 3";
            case NOPAGE -> NOBODYS;
        };
    }

    /// A pair of states: legal ones in words of their own, others with both halves and a mark.
    private static Ownership hostAndHyp(String host, StateRun state) {
        if (state.host() == PageState.SHARED_OWNED && state.hyp() == PageState.SHARED_BORROWED) {
            return new Ownership("host, shared with hyp");
        }
        if (state.host() == PageState.SHARED_BORROWED && state.hyp() == PageState.SHARED_OWNED) {
            return new Ownership("hyp, shared with host");
        }
        if (state.host() == PageState.SHARED_OWNED && state.hyp() == PageState.NOPAGE) {
            return new Ownership("host, shared, not with hyp");
        }
        if (host.equals(NOBODYS) && state.hyp() == PageState.OWNED) {
            return new Ownership("EL2, not memory of the host");
        }
        return new Ownership("! " + host
                + switch (state.hyp()) {
                    case OWNED -> ", yet EL2 owns it too";
                    case SHARED_OWNED -> ", yet EL2 owns and shares it";
                    case SHARED_BORROWED -> ", yet EL2 borrows it";
                    case RESERVED -> ", EL2 has reserved state 3";
                    case NOPAGE -> ", yet EL2 does not map it";
                });
    }

    private Ownership annotated(LeafRun run) {
        if (Descriptor.valid(run.bits())) {
            return new Ownership("! reserved encoding " + hex(run.bits()), "! reserved encodings");
        }
        if (!(dump.reading().annotations()
                instanceof Fact.Known<Annotation.Format>(Annotation.Format format, String _))) {
            return new Ownership("annotation " + hex(run.bits()), "annotations");
        }
        return switch (format.decode(run.bits())) {
            case Annotation.OwnedBy(Owner.Host _) -> new Ownership("host");
            case Annotation.OwnedBy(Owner.Hyp _) -> new Ownership("hyp");
            case Annotation.OwnedBy(Owner.Guest(int handle, long frame)) ->
                new Ownership(guest(handle) + " frame " + hex(frame), guest(handle));
            case Annotation.Locked _ -> new Ownership("! locked, an update was under way", "! locked");
            case Annotation.Poisoned _ -> new Ownership("poisoned: taken back by force", "poisoned");
            case Annotation.Unknown(long value) ->
                new Ownership("! unknown annotation " + hex(value), "! unknown annotations");
        };
    }

    /// Whether `next` has the same guest's next frame.
    private boolean nextFrame(LeafRun run, LeafRun next) {
        long pages = next.size() >>> geometry.granuleShift();
        return !run.mapped()
                && !next.mapped()
                && run.end() == next.start()
                && run.level() == next.level()
                && run.size() == geometry.granule()
                && pages == 1
                && owner(run) instanceof Owner.Guest(int handle, long frame)
                && owner(next) instanceof Owner.Guest(int nextHandle, long nextFrame)
                && handle == nextHandle
                && frame + 1 == nextFrame;
    }

    private Owner owner(LeafRun run) {
        return dump.reading().annotations() instanceof Fact.Known<Annotation.Format>(Annotation.Format format, String _)
                        && format.decode(run.bits()) instanceof Annotation.OwnedBy(Owner owner)
                ? owner
                : Owner.HOST;
    }

    private Ownership frames(LeafRun first, LeafRun last) {
        return owner(first) instanceof Owner.Guest(int handle, long from)
                        && owner(last) instanceof Owner.Guest(int _, long to)
                ? new Ownership(guest(handle) + " frames " + hex(from) + "-" + hex(to + 1), guest(handle))
                : ownership(first);
    }

    private static String guest(int handle) {
        return "guest handle " + hex(handle);
    }

    private String hypWords(LeafRun run) {
        if (!hypStatesAreHere()) {
            return software(run);
        }
        return switch (PageState.ofSoftwareBits(run.bits())) {
            case OWNED -> "hyp";
            case SHARED_OWNED -> "hyp, shared with host";
            case SHARED_BORROWED -> "host, shared with hyp";
            case RESERVED -> "! reserved state 3";
            case NOPAGE -> throw new AssertionError("no software bits say NOPAGE");
        };
    }

    /// Guests' tables have states from 6.14 on; before, the host's KVM alone writes them.
    private String guestWords(LeafRun run) {
        if (!(dump.reading().hostStates() instanceof Fact.Known<StateLocation>(StateLocation location, String _))
                || location != StateLocation.VMEMMAP) {
            return software(run);
        }
        return switch (PageState.ofSoftwareBits(run.bits())) {
            case OWNED -> "guest";
            case SHARED_OWNED -> "guest, shared with host";
            case SHARED_BORROWED -> "host, shared with guest";
            case RESERVED -> "! reserved state 3";
            case NOPAGE -> throw new AssertionError("no software bits say NOPAGE");
        };
    }

    /// Software bits whose meaning is not known, as they are.
    private static String software(LeafRun run) {
        long software = run.bits() >>> 55 & 0xf;
        return software == 0 ? "" : "software bits " + hex(software);
    }

    private void sums() throws IOException {
        text.line();
        sum("mapped", TableCounts.Kind.LEAVES);
        sum(stage1() ? "invalid" : "annotated", TableCounts.Kind.ANNOTATED);
        sum("empty", TableCounts.Kind.EMPTY);
        long unread = dump.result().unreadBytes();
        if (unread != 0) {
            text.add("UNREAD")
                    .column(SUM_COLUMN)
                    .add(ByteText.sum(unread))
                    .column(LEVEL_COLUMN)
                    .line("see the findings");
        }
        text.add("tables").column(SUM_COLUMN).decimal(dump.result().counts().total(TableCounts.Kind.TABLES));
        levels(TableCounts.Kind.TABLES);
        String title = "owners";
        for (Sum owner : owners.values()) {
            if (ownerWidth > 0) {
                text.add(title)
                        .column(SUM_COLUMN)
                        .add(ByteText.sum(owner.bytes))
                        .column(LEVEL_COLUMN);
                text.line(
                        switch (owner.owner) {
                            case "?" -> "mapped to the host, owner not known";
                            case "" -> "not known";
                            default -> owner.owner;
                        });
                title = "";
            }
        }
        if (dump.result().tableAttributes() != 0) {
            text.add("note").column(SUM_COLUMN);
            text.line(
                    "table descriptors restrict access further (APTable, XNTable); the columns show the leaves alone");
        }
        for (String remark : dump.remarks()) {
            text.add("assumed").column(SUM_COLUMN).line(remark);
        }
        findings();
    }

    private void findings() throws IOException {
        List<Finding> findings = dump.result().findings();
        text.add("findings").column(SUM_COLUMN);
        if (findings.isEmpty()) {
            text.line("none");
            return;
        }
        text.decimal(dump.result().totalFindings())
                .line(dump.complete() ? "" : "; this table is NOT completely readable");
        for (Finding finding : findings) {
            text.add(GAP).add(finding.rule().id()).add(": ").add(finding.message());
            if (!finding.path().isEmpty()) {
                Finding.Step step = finding.path().getLast();
                text.add(", at input address ").hex(step.inputAddress(), digits).add(" (descriptor at ");
                text.hex(step.address()).add(")");
            }
            text.line();
        }
        for (Map.Entry<Finding.Rule, Long> rest : dump.result().unlisted().entrySet()) {
            text.add(GAP)
                    .add(rest.getKey().id())
                    .add(": ")
                    .decimal(rest.getValue())
                    .line(" more of the same");
        }
    }

    private void sum(String title, TableCounts.Kind kind) throws IOException {
        text.add(title).column(SUM_COLUMN).add(ByteText.sum(bytes(kind)));
        levels(kind);
    }

    private long bytes(TableCounts.Kind kind) {
        long bytes = 0;
        for (int level = TableGeometry.FIRST_LEVEL; level <= TableGeometry.LAST_LEVEL; level++) {
            long number = dump.result().counts().get(kind, level);
            bytes += number == 0 ? 0 : number * geometry.entrySize(level);
        }
        return bytes;
    }

    /// How many there are on which level.
    private void levels(TableCounts.Kind kind) throws IOException {
        String between = "";
        text.column(LEVEL_COLUMN);
        for (int level = TableGeometry.FIRST_LEVEL; level <= TableGeometry.LAST_LEVEL; level++) {
            long number = dump.result().counts().get(kind, level);
            if (number != 0) {
                text.add(between).decimal(number).add(" at level ").decimal(level);
                between = ", ";
            }
        }
        text.line();
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }
}
