package dev.s2snap.inspect;

import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.vmsa.TranslationTable;
import java.util.List;

/// Names one table of a machine: `host`, `hyp`, `guest:N` or `guest:vmid=N`.
///
/// @param number index of the guest, or its VMID; 0 for the others
public record TableSelector(Kind kind, int number) {

    /// What is named.
    public enum Kind {
        HOST,
        HYP,
        GUEST,
        GUEST_VMID
    }

    public static final TableSelector HOST = new TableSelector(Kind.HOST, 0);
    public static final TableSelector HYP = new TableSelector(Kind.HYP, 0);

    private static final String GUEST = "guest:";
    private static final String VMID = "guest:vmid=";

    /// The guest at place `index` of [Machine#guests()].
    public static TableSelector guest(int index) {
        return new TableSelector(Kind.GUEST, index);
    }

    /// @throws IllegalArgumentException if `text` names no table; the message is for a person
    public static TableSelector parse(String text) {
        if (text.equals("host")) {
            return HOST;
        }
        if (text.equals("hyp")) {
            return HYP;
        }
        try {
            if (text.startsWith(VMID)) {
                return new TableSelector(Kind.GUEST_VMID, number(text.substring(VMID.length())));
            }
            if (text.startsWith(GUEST)) {
                return guest(number(text.substring(GUEST.length())));
            }
        } catch (NumberFormatException e) {
            throw new IllegalArgumentException("\"" + text + "\" is no table: behind the colon belongs a number", e);
        }
        throw new IllegalArgumentException(
                "\"" + text + "\" is no table; there are host, hyp, guest:N and guest:vmid=N");
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
            if (number == (kind == Kind.GUEST ? guest.index() : guest.vmid())) {
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

    /// The table that is named, or why it is not known.
    ///
    /// @throws NoAnswerException if the machine has no such guest
    public Fact<TranslationTable> of(Machine machine) {
        return switch (kind) {
            case HOST -> machine.host();
            case HYP -> machine.hyp();
            case GUEST, GUEST_VMID -> guest(machine).table();
        };
    }

    /// The name as it is written on the command line.
    public String label() {
        return switch (kind) {
            case HOST -> "host";
            case HYP -> "hyp";
            case GUEST -> GUEST + Integer.toUnsignedString(number);
            case GUEST_VMID -> VMID + Integer.toUnsignedString(number);
        };
    }
}
