package dev.s2snap.inspect;

import dev.s2snap.pkvm.Annotation;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.MachineTables;
import dev.s2snap.pkvm.Owner;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.GeometryException;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/// Names one table of a machine:
///
/// | | |
/// |---|---|
/// | `host` | the host's stage 2, VTTBR_EL2 |
/// | `hyp` | the hypervisor's stage 1, TTBR0_EL2 |
/// | `hyp:upper` | its upper range under E2H, TTBR1_EL2 |
/// | `el1:lower`, `el1:upper` | the host's own stage 1, TTBR0_EL1 and TTBR1_EL1 |
/// | `guest:N`, `guest:vmid=N` | a guest's stage 2 |
/// | `guest:handle=N` | a protected guest's, by the handle that the host's annotations name (7.0 and later) |
/// | `at:ADDRESS,KEY=VALUE,...` | any table, of which no register tells: see [GivenTable] |
///
/// @param number index of the guest, its VMID or its handle; 0 for the others
/// @param given the table of `at:`
public record TableSelector(Kind kind, int number, Optional<GivenTable> given) {

    /// What is named.
    public enum Kind {
        HOST,
        HYP,
        HYP_UPPER,
        EL1_LOWER,
        EL1_UPPER,
        GUEST,
        GUEST_VMID,
        GUEST_HANDLE,
        GIVEN;

        /// Whether it is a table of the hypervisor itself.
        public boolean ofHyp() {
            return this == HYP || this == HYP_UPPER;
        }
    }

    public static final TableSelector HOST = new TableSelector(Kind.HOST, 0);
    public static final TableSelector HYP = new TableSelector(Kind.HYP, 0);

    private static final Map<String, TableSelector> NAMES = new TreeMap<>(Map.of(
            "host",
            HOST,
            "hyp",
            HYP,
            "hyp:upper",
            new TableSelector(Kind.HYP_UPPER, 0),
            "el1:lower",
            new TableSelector(Kind.EL1_LOWER, 0),
            "el1:upper",
            new TableSelector(Kind.EL1_UPPER, 0)));

    private static final String GUEST = "guest:";
    private static final String VMID = "guest:vmid=";
    private static final String HANDLE = "guest:handle=";
    private static final String GIVEN = "at:";

    private TableSelector(Kind kind, int number) {
        this(kind, number, Optional.empty());
    }

    /// The guest at place `index` of [Machine#guests()].
    public static TableSelector guest(int index) {
        return new TableSelector(Kind.GUEST, index);
    }

    /// @throws IllegalArgumentException if `text` names no table; the message is for a person
    public static TableSelector parse(String text) {
        TableSelector named = NAMES.get(text);
        if (named != null) {
            return named;
        }
        if (text.startsWith(GIVEN)) {
            return new TableSelector(Kind.GIVEN, 0, Optional.of(GivenTable.parse(text.substring(GIVEN.length()))));
        }
        try {
            if (text.startsWith(VMID)) {
                return new TableSelector(Kind.GUEST_VMID, number(text.substring(VMID.length())));
            }
            if (text.startsWith(HANDLE)) {
                return new TableSelector(Kind.GUEST_HANDLE, number(text.substring(HANDLE.length())));
            }
            if (text.startsWith(GUEST)) {
                return guest(number(text.substring(GUEST.length())));
            }
        } catch (NumberFormatException e) {
            throw new IllegalArgumentException("\"" + text + "\" is no table: behind the colon belongs a number", e);
        }
        throw new IllegalArgumentException(
                "\"" + text + "\" is no table; there are host, hyp, hyp:upper, el1:lower, el1:upper, guest:N,"
                        + " guest:vmid=N, guest:handle=N and at:ADDRESS,...");
    }

    private static int number(String digits) {
        return digits.startsWith("0x")
                ? Integer.parseUnsignedInt(digits.substring(2), 16)
                : Integer.parseUnsignedInt(digits);
    }

    /// The guest that is named.
    ///
    /// @throws NoAnswerException if the machine has no such guest
    Guest guest(Machine machine) {
        List<Guest> guests = machine.guests();
        for (Guest guest : guests) {
            boolean named = switch (kind) {
                case GUEST -> number == guest.index();
                case GUEST_HANDLE -> hasHandle(machine, guest);
                default -> number == guest.vmid();
            };
            if (named) {
                return guest;
            }
        }
        throw new NoAnswerException("there is no " + label() + "; "
                + switch (guests.size()) {
                    case 0 -> "no guest of this machine is known";
                    case 1 -> "this machine has guest:0 only";
                    default -> "this machine has guest:0 to guest:" + (guests.size() - 1);
                });
    }

    /// Whether an annotation of the host's table says that `guest` is the VM of this handle: it names the frame at
    /// which
    /// the guest has the page. Kernels from 7.0 on say so of pages that were donated to a protected guest.
    private boolean hasHandle(Machine machine, Guest guest) {
        if (!(machine.host() instanceof Fact.Known<TranslationTable>(TranslationTable host, String _))
                || !(guest.table() instanceof Fact.Known<TranslationTable>(TranslationTable table, String _))) {
            return false;
        }
        for (LeafRun run : LeafRuns.of(host).runs()) {
            if (Descriptor.annotated(run.bits())
                    && Annotation.Format.TYPED.decode(run.bits())
                            instanceof Annotation.OwnedBy(Owner.Guest(int handle, long frame))
                    && handle == number
                    && table.translate(frame << table.geometry().granuleShift()) instanceof Translation.Mapped mapped
                    && mapped.output() == run.start()) {
                return true;
            }
        }
        return false;
    }

    /// The table that is named, or why it is not known.
    ///
    /// @throws NoAnswerException if the machine has no such guest
    public Fact<TranslationTable> of(Machine machine) {
        try {
            return switch (kind) {
                case HOST -> machine.host();
                case HYP -> machine.hyp();
                case HYP_UPPER -> MachineTables.hypUpper(machine.memory(), machine.registers());
                case EL1_LOWER -> MachineTables.el1(machine.memory(), machine.registers(), false);
                case EL1_UPPER -> MachineTables.el1(machine.memory(), machine.registers(), true);
                case GUEST, GUEST_VMID, GUEST_HANDLE -> guest(machine).table();
                case GIVEN -> Fact.known(given.orElseThrow().in(machine.memory()), "the command line");
            };
        } catch (GeometryException e) {
            return Fact.unknown(String.valueOf(e.getMessage()));
        }
    }

    /// The table that is named, if something of it can be read.
    ///
    /// @throws NoAnswerException if the machine has no such table, it is not known where it is, or its root is not in
    ///     the memory
    Fact.Known<TranslationTable> readable(Machine machine) {
        switch (of(machine)) {
            case Fact.Known<TranslationTable> known -> {
                TranslationTable table = known.value();
                long granule = table.geometry().granule();
                long size = Math.min(granule, table.geometry().rootBytes());
                for (int page = 0; page < table.geometry().rootPages(); page++) {
                    if (machine.memory().offset(table.root() + page * granule, size) != PhysicalMemory.ABSENT) {
                        return known;
                    }
                }
                throw new NoAnswerException("the root of the " + label() + " table, 0x"
                        + Long.toHexString(table.root()) + " (" + known.source()
                        + "), is not in this memory; see whether the two belong together");
            }
            case Fact.Unknown<TranslationTable>(String why) ->
                throw new NoAnswerException("the " + label() + " table is not known: " + why);
        }
    }

    /// The name as it is written on the command line.
    public String label() {
        return switch (kind) {
            case HOST -> "host";
            case HYP -> "hyp";
            case HYP_UPPER -> "hyp:upper";
            case EL1_LOWER -> "el1:lower";
            case EL1_UPPER -> "el1:upper";
            case GIVEN -> GIVEN + given.orElseThrow().text();
            case GUEST -> GUEST + Integer.toUnsignedString(number);
            case GUEST_VMID -> VMID + Integer.toUnsignedString(number);
            case GUEST_HANDLE -> HANDLE + "0x" + Integer.toHexString(number);
        };
    }
}
