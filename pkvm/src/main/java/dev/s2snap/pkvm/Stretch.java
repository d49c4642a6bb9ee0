package dev.s2snap.pkvm;

import dev.s2snap.pkvm.HypSpace.Mapping;
import dev.s2snap.vmsa.LeafRun;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// A stretch of physical memory of which everybody says one thing, and the rules that it breaks.
final class Stretch {
    long start;
    long end;

    /// Whether the host's table cannot be judged here.
    boolean hostUnknown;

    /// The host's entries; null where they are empty.
    @Nullable
    LeafRun host;

    /// Whether the linear map of EL2's table cannot be judged here.
    boolean hypUnknown;

    /// What EL2 maps here.
    List<Mapping> mappings = List.of();

    List<GuestLeaf> guests = List.of();

    /// What is known of this being memory; null outside.
    @Nullable
    MemoryPages memory;

    /// Whether the hyp_vmemmap has entries for it, and whether they are at hand.
    boolean inFrames;

    boolean frameKnown;
    long frame;

    private long broken;
    private String message = "";

    long size() {
        return end - start;
    }

    void breaks(Rule rule) {
        broken |= 1L << rule.ordinal();
    }

    boolean broke(Rule... rules) {
        boolean any = false;
        for (Rule rule : rules) {
            any |= (broken >>> rule.ordinal() & 1) != 0;
        }
        return any;
    }

    boolean sound() {
        return broken == 0;
    }

    /// The first thing that is said of it is the violation's sentence.
    void say(String words) {
        if (message.isEmpty()) {
            message = words;
        }
    }

    boolean saysNothing() {
        return message.isEmpty();
    }

    String message() {
        return message;
    }

    boolean nomap() {
        return memory != null && memory.nomap();
    }

    /// Whether `next` goes on with the same defect.
    boolean goesOnIn(Stretch next) {
        return end == next.start
                && broken == next.broken
                && message.equals(next.message)
                && stacks().equals(next.stacks())
                && guests.equals(next.guests)
                && kind(host) == kind(next.host);
    }

    /// Stacks are told one by one.
    private List<Mapping> stacks() {
        return mappings.stream().filter(Mapping::stack).toList();
    }

    private static int kind(@Nullable LeafRun run) {
        return run == null ? 0 : run.mapped() ? 1 : 2;
    }
}
