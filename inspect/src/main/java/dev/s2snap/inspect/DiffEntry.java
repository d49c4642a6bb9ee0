package dev.s2snap.inspect;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;

/// What one source says of a range of input addresses: the entries that translate it, and who has the memory.
///
/// @param form what the entries are
/// @param level of the entries; empty where a text does not tell it
/// @param shift log2 of what one of them covers; empty where the granule is not known
/// @param distance from the input to the output address; empty where nothing is mapped, or a text does not tell
/// @param bits the descriptors without their output address
/// @param mask which of the bits are known: all of a table that was read
/// @param permissions empty where nothing is mapped
/// @param memory type of memory and flags, empty where nothing is mapped
/// @param owner in words; empty where it is not known
/// @param holder empty where it is not known
record DiffEntry(
        Form form,
        OptionalInt level,
        OptionalInt shift,
        OptionalLong distance,
        long bits,
        long mask,
        String permissions,
        String memory,
        TextDump.Ownership owner,
        Optional<DiffHolder> holder) {

    /// What entries are.
    enum Form {
        EMPTY("empty", "empty"),
        BLOCK("block", "block"),
        PAGE("page", "page"),
        /// Not valid and not empty, of a stage 1, where that means nothing.
        INVALID("invalid", "invalid"),
        /// The same of a stage 2.
        ANNOTATED("invalid", "annotated"),
        RESERVED("invalid", "reserved"),
        /// A pointer to a next table, of which only what is beside the address matters.
        TABLE("table", "table");

        private final String id;
        private final String words;

        Form(String id, String words) {
            this.id = id;
            this.words = words;
        }

        String id() {
            return id;
        }
    }

    /// A table descriptor of `level`.
    static DiffEntry table(int level, long bits) {
        return new DiffEntry(
                Form.TABLE,
                OptionalInt.of(level),
                OptionalInt.empty(),
                OptionalLong.empty(),
                bits,
                -1,
                "",
                "",
                new TextDump.Ownership(""),
                Optional.empty());
    }

    boolean mapped() {
        return form == Form.BLOCK || form == Form.PAGE;
    }

    boolean empty() {
        return form == Form.EMPTY;
    }

    /// Whether all bits are known.
    boolean whole() {
        return mask == -1;
    }

    /// Whether the two say different things, as far as both say anything.
    ///
    /// @param bitsMeanTheSame whether both were written by kernels that use the bits alike
    boolean differs(DiffEntry other, boolean bitsMeanTheSame) {
        if (!whole() || !other.whole()) {
            return ((bits ^ other.bits) & mask & other.mask) != 0 || (mapped() && other.mapped() && otherLevel(other));
        }
        if (form != other.form || !distance.equals(other.distance)) {
            return true;
        }
        if (!empty() && !shift.equals(other.shift)) {
            return true;
        }
        if (mapped() && (!permissions.equals(other.permissions) || !memory.equals(other.memory))) {
            return true;
        }
        if (bitsMeanTheSame && bits != other.bits) {
            return true;
        }
        boolean otherWords = !owner.words().equals(other.owner.words());
        if (holder.isPresent() && other.holder.isPresent()) {
            return !holder.equals(other.holder) || otherWords;
        }
        // Where only one knows who has it, there is nothing to compare but what an invalid entry says.
        boolean sayable = (!mapped() && !empty()) || holder.equals(other.holder);
        return !bitsMeanTheSame && sayable && otherWords;
    }

    /// Whether both tell their level, and not the same.
    private boolean otherLevel(DiffEntry other) {
        return level.isPresent() && other.level.isPresent() && level.getAsInt() != other.level.getAsInt();
    }

    /// Whether a range of this goes on in a neighbour that has `next`.
    boolean goesOnIn(DiffEntry next) {
        return form == next.form
                && shift.equals(next.shift)
                && level.equals(next.level)
                && distance.equals(next.distance)
                && permissions.equals(next.permissions)
                && memory.equals(next.memory)
                && owner.owner().equals(next.owner.owner())
                && holder.equals(next.holder)
                && (!mapped() || bits == next.bits);
    }

    /// What is not the same in `other`, as words of this one.
    ///
    /// @param start where the range of this begins
    String unlike(DiffEntry other, long start) {
        boolean bothWhole = whole() && other.whole();
        boolean onlyHere = mapped() && !other.mapped();
        List<String> words = new ArrayList<>();
        if (form != other.form || (!empty() && otherLevel(other))) {
            words.add(kind());
        }
        if (onlyHere || !permissions.equals(other.permissions)) {
            words.add(permissions);
        }
        if (bothWhole && !onlyHere && other.mapped() && !memory.equals(other.memory)) {
            words.add(memory);
        }
        if (mapped() && other.distance.isPresent() && distance.isPresent() && !distance.equals(other.distance)) {
            words.add("to 0x" + Long.toHexString(start + distance.getAsLong()));
        }
        if (bothWhole && !owner.owner().equals(other.owner.owner())) {
            words.add(owner.owner());
        } else if (bothWhole && !owner.words().equals(other.owner.words())) {
            words.add(owner.words());
        }
        words.removeIf(String::isEmpty);
        return String.join(", ", words);
    }

    /// The bits, as far as the other one tells them too.
    String bitsBeside(DiffEntry other) {
        return "bits 0x" + Long.toHexString(bits & mask & other.mask);
    }

    /// Level and form, such as `2 block`.
    String kind() {
        return empty() || level.isEmpty() ? form.words : level.getAsInt() + " " + form.words;
    }
}
