package dev.s2snap.proof;

import java.util.Arrays;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.LongStream;
import java.util.stream.Stream;

/// One thing that a host does, or that EL2's own code asks of memory protection; a line of the vector language.
///
final class Op {
    private final Kind kind;
    private final long[] arguments;

    /// How many arguments there are says the number; -1 for a hypercall, which has 2 and up.
    enum Kind {
        FAULT("fault", 1),
        IDMAP("idmap", 1),
        SHARE("share_hyp", 1),
        UNSHARE("unshare_hyp", 1),
        DONATE("donate_hyp", 2),
        RETURN("hyp_donate_host", 2),
        SHARE_FFA("share_ffa", 2),
        UNSHARE_FFA("unshare_ffa", 2),
        PIN("pin", 2),
        UNPIN("unpin", 2),
        UNMAP_DEVICES("unmap_dev_all", 0),
        TAKE_HOST_POOL("hostpool_take", 1),
        TAKE_HYP_POOL("hpool_take", 1),
        GIVE_HOST_POOL("hostpool_give", 0),
        GIVE_HYP_POOL("hpool_give", 0),
        READ("read64", 1),
        WRITE("write64", 2),
        /// Links pages of the host to a memcache: page, number, stride in pages, old head.
        LIST("mcbuild", 4),
        /// Fills in a snapshot struct: struct, head, list pages, PGD, its pages, array, its pages, index.
        STRUCT("mksnap", 8),
        /// A hypercall: CPU, x0, ...
        HVC("hvc", -1);

        private final String word;
        private final int arguments;

        Kind(String word, int arguments) {
            this.word = word;
            this.arguments = arguments;
        }
    }

    /// @param arguments as the line has them
    Op(Kind kind, long... arguments) {
        if (kind.arguments >= 0 ? arguments.length != kind.arguments : arguments.length < 2) {
            throw new IllegalArgumentException(kind.word + " with " + arguments.length + " arguments");
        }
        this.kind = kind;
        this.arguments = arguments.clone();
    }

    Kind kind() {
        return kind;
    }

    /// How many arguments there are.
    int size() {
        return arguments.length;
    }

    /// The kind that a word of the language means.
    static Optional<Kind> kind(String word) {
        return Stream.of(Kind.values()).filter(kind -> kind.word.equals(word)).findFirst();
    }

    long argument(int index) {
        return arguments[index];
    }

    static Op hvc(int cpu, long function, long... arguments) {
        long[] all = new long[arguments.length + 2];
        all[0] = cpu;
        all[1] = function;
        System.arraycopy(arguments, 0, all, 2, arguments.length);
        return new Op(Kind.HVC, all);
    }

    Op with(int index, long value) {
        long[] changed = arguments.clone();
        changed[index] = value;
        return new Op(kind, changed);
    }

    /// Counts are decimal and addresses hex, as people write them.
    @Override
    public String toString() {
        return LongStream.of(arguments)
                .mapToObj(value -> value >= 0 && value < 4096 ? Long.toString(value) : "0x" + Long.toHexString(value))
                .collect(Collectors.joining(" ", kind.word + (arguments.length == 0 ? "" : " "), ""));
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Op op && op.kind == kind && Arrays.equals(op.arguments, arguments);
    }

    @Override
    public int hashCode() {
        return kind.hashCode() * 31 + Arrays.hashCode(arguments);
    }
}
