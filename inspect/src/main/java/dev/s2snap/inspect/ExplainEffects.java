package dev.s2snap.inspect;

import dev.s2snap.inspect.ExplainPage.Memory;
import dev.s2snap.inspect.ExplainedEffect.Verdict;
import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.PageState;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.TableGeometry;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/// What the host's accesses to a page and its calls about it would come to, and which check says so.
///
/// The handler of the host's faults and the transitions of ownership are known of 6.12 (era 6.1) and of 7.3 (era 7.0).
/// What lies between them is said not to be known.
final class ExplainEffects {
    private static final String NOT_READ = "how kernels 6.14 to 6.19 check this is not known here";

    private final ExplainPage page;
    private final Optional<Era> era;
    private final TableGeometry geometry;
    private final List<ExplainedEffect> effects = new ArrayList<>();

    private ExplainEffects(ExplainPage page, TableGeometry geometry) {
        this.page = page;
        this.era = page.era().optional();
        this.geometry = geometry;
    }

    /// @param geometry of the host's table
    static List<ExplainedEffect> of(ExplainPage page, ExplainedWalk host, TableGeometry geometry, String permissions) {
        ExplainEffects effects = new ExplainEffects(page, geometry);
        effects.access("host read", 'r', host, permissions);
        effects.access("host write", 'w', host, permissions);
        effects.access("host execute", 'x', host, permissions);
        effects.calls();
        return List.copyOf(effects.effects);
    }

    private void add(String operation, Verdict verdict, String result, String why) {
        effects.add(new ExplainedEffect(operation, verdict, result, why));
    }

    // Accesses.

    private void access(String operation, char letter, ExplainedWalk walk, String permissions) {
        switch (walk.outcome()) {
            case MAPPED -> mapped(operation, letter, walk, permissions);
            case EMPTY -> empty(operation, letter);
            case INVALID -> annotated(operation);
            case RESERVED, ADDRESS_SIZE -> valid(operation, "a stage-2 fault: the walk " + walk.says());
            case BEYOND -> add(operation, Verdict.REFUSED, "fault", "the address is beyond the host's stage 2");
            case UNREADABLE -> add(operation, Verdict.UNKNOWN, "not known", "the walk " + walk.says());
        }
    }

    private void mapped(String operation, char letter, ExplainedWalk walk, String permissions) {
        long descriptor = walk.steps().getLast().descriptor();
        if ((descriptor & Descriptor.AF) == 0) {
            valid(operation, "an access flag fault, unless hardware sets the flag");
            return;
        }
        // Of a stage 2 whose levels differ, what EL1 may is in front of the slash.
        String el1 = permissions.split("/", -1)[0];
        if (el1.equals("???") || (letter == 'x' && el1.charAt(2) == '?')) {
            add(
                    operation,
                    Verdict.DEPENDS,
                    "not known",
                    "what the entry permits depends on a register that is not known");
            return;
        }
        // Without read permission nothing can be fetched (D8.4.2).
        boolean allowed = el1.indexOf(letter) >= 0 && (letter != 'x' || el1.charAt(0) == 'r');
        if (!allowed) {
            valid(operation, "a stage-2 permission fault: the entry permits " + el1);
            return;
        }
        String where = walk.output().orElseThrow() == walk.input() ? "" : ", and reaches another page";
        add(operation, Verdict.ALLOWED, "allowed", "the entry permits it" + where);
    }

    /// The handler finds an entry that is valid: it has nothing to map, and lets the host try again.
    private void valid(String operation, String fault) {
        if (era.isEmpty() || era.get() == Era.V6_14 || era.get() == Era.V6_17) {
            add(operation, Verdict.REFUSED, "fault", fault + "; what the hypervisor does about it is not known here");
            return;
        }
        String errno = era.get() == Era.V6_1 ? "-EAGAIN" : "-EEXIST";
        add(
                operation,
                Verdict.REFUSED,
                "fault",
                fault + "; the hypervisor finds a valid entry (" + errno
                        + "), changes nothing and returns, and the access faults again");
    }

    private void empty(String operation, char letter) {
        String fault = "a stage-2 translation fault: the entry is empty";
        if (page.memory() == Memory.UNKNOWN) {
            String device = letter == 'x' ? "rw without execute, and the access faults again, if not" : "rw if not";
            add(
                    operation,
                    Verdict.DEPENDS,
                    letter == 'x' ? "allowed in memory" : "allowed",
                    fault + ", and the hypervisor maps it: rwx if it is memory, " + device
                            + "; the memory map is not known");
            return;
        }
        boolean memory = page.memory() == Memory.YES;
        String mapped = fault + ", and the hypervisor maps " + range() + (memory ? " rwx" : " rw")
                + (memory ? ": it is memory" : ": it is no memory");
        if (letter == 'x' && !memory) {
            valid(operation, mapped + "; then a permission fault");
        } else {
            add(operation, Verdict.ALLOWED, "allowed", mapped);
        }
    }

    /// How much the handler maps at once (host_stage2_adjust_range). Until 6.15 the test for block support looks one
    /// level too deep, which lets an entry of a level without blocks pass as a whole; 6.16 corrected that
    /// (e728e705802f).
    private String range() {
        int level = page.walk().orElseThrow().steps().getLast().level();
        if (level == TableGeometry.LAST_LEVEL) {
            return "this page";
        }
        Optional<List<MemoryRegion>> regions = page.regions().optional();
        if (regions.isEmpty() || era.isEmpty() || era.get() == Era.V6_14) {
            return "it, as a page or with a block around it,";
        }
        long from = 0;
        long to = geometry.inputSize();
        for (MemoryRegion region : regions.get()) {
            if (region.contains(page.address())) {
                from = region.base();
                to = region.end();
                break;
            }
            if (region.base() > page.address()) {
                to = region.base();
                break;
            }
            from = region.end();
        }
        int first = geometry.granuleShift() == 12 ? 1 : 2;
        for (; level < TableGeometry.LAST_LEVEL; level++) {
            long size = geometry.entrySize(level);
            long start = page.address() & -size;
            boolean blocks = (era.get() == Era.V6_1 ? level + 1 : level) >= first;
            if (blocks && start >= from && start + size <= to) {
                break;
            }
        }
        return "the " + ByteText.size(geometry.entrySize(level)) + " around it";
    }

    private void annotated(String operation) {
        String fault =
                "a stage-2 translation fault: the entry is annotated, so the hypervisor refuses to map it (-EPERM)";
        if (era.isPresent() && era.get() == Era.V6_1) {
            add(operation, Verdict.REFUSED, "panic", fault + ", and takes that for a defect: it panics");
        } else if (era.isPresent() && era.get() == Era.V7_0) {
            add(operation, Verdict.REFUSED, "abort", fault + ", and injects an abort into the host");
        } else {
            add(
                    operation,
                    Verdict.REFUSED,
                    "fault",
                    fault
                            + "; whether it panics, as until 6.13, or injects an abort, as from 7.0 on, is not known here");
        }
    }

    // Calls.

    private void calls() {
        String[] names = {
            "host_share_hyp", "host_unshare_hyp", "host_donate_hyp", "host_share_guest", "host_donate_guest"
        };
        if (era.isEmpty() || era.get() == Era.V6_14 || era.get() == Era.V6_17) {
            String why = era.isEmpty() ? "the kernel's release is not known" : NOT_READ;
            for (String name : names) {
                add(name, Verdict.UNKNOWN, "not known", why);
            }
            return;
        }
        boolean old = era.get() == Era.V6_1;
        share(old);
        unshare(old);
        donate(old);
        if (old) {
            String why = "kernels 6.1 to 6.13 have no such call: the host's KVM writes the guests' tables";
            add(names[3], Verdict.REFUSED, "no call", why);
            add(names[4], Verdict.REFUSED, "no call", why);
        } else {
            shareGuest();
            donateGuest();
        }
    }

    /// The first check of all: the host's state.
    ///
    /// @return whether it passes for certain; otherwise the answer is given
    private boolean hostIs(String call, PageState wanted) {
        Optional<PageState> state = page.host();
        if (page.memory() == Memory.NO || page.nomap()) {
            String what = page.nomap() ? "memory that is marked NOMAP" : "no memory";
            add(
                    call,
                    Verdict.REFUSED,
                    "-EPERM",
                    "the host's state has to be " + wanted.words() + ", and this is " + what);
            return false;
        }
        if (state.isEmpty()) {
            add(call, Verdict.UNKNOWN, "not known", "the host's state is not known");
            return false;
        }
        if (state.get() != wanted) {
            add(
                    call,
                    Verdict.REFUSED,
                    "-EPERM",
                    "the host's state has to be " + wanted.words() + ", and is "
                            + state.get().words());
            return false;
        }
        return true;
    }

    /// The second check: the hypervisor's state. Until 6.13 only with CONFIG_NVHE_EL2_DEBUG.
    private boolean hypIs(String call, PageState wanted, boolean debugOnly) {
        if (page.hyp().isEmpty()) {
            add(call, Verdict.UNKNOWN, "not known", "the host's state passes, and the hypervisor's is not known");
            return false;
        }
        PageState state = page.hyp().get();
        if (state == wanted) {
            return true;
        }
        // Unmapping nothing is -EFAULT, of which 6.12 makes a WARN, and that is a panic at EL2.
        String without = wanted == PageState.SHARED_BORROWED && state == PageState.NOPAGE
                ? ": without it the unmapping fails, and the hypervisor panics"
                : "";
        String why = "the hypervisor's state has to be " + wanted.words() + ", and is " + state.words();
        if (debugOnly) {
            add(
                    call,
                    Verdict.DEPENDS,
                    "-EPERM with CONFIG_NVHE_EL2_DEBUG",
                    "the host's state passes; " + why + ", which is looked at with that option only" + without);
        } else {
            add(call, Verdict.REFUSED, "-EPERM", "the host's state passes; " + why);
        }
        return false;
    }

    private void allowed(String call, boolean checked, String then) {
        boolean certain = page.memory() == Memory.YES;
        String states = checked ? "both states pass" : "the host's state passes";
        add(
                call,
                certain ? Verdict.ALLOWED : Verdict.DEPENDS,
                certain ? "0" : "0 if it is memory",
                states + (certain ? "" : "; -EPERM if it is no memory, which the memory map would tell") + "; then "
                        + then);
    }

    private void share(boolean old) {
        String call = "host_share_hyp";
        if (hostIs(call, PageState.OWNED) && hypIs(call, PageState.NOPAGE, old)) {
            allowed(
                    call,
                    true,
                    "it is shared to the host and borrowed to the hypervisor, which maps it rw"
                            + (old ? "" : " when it pins it"));
        }
    }

    private void unshare(boolean old) {
        String call = "host_unshare_hyp";
        if (!hostIs(call, PageState.SHARED_OWNED)) {
            return;
        }
        boolean unknown = page.references().isEmpty();
        long references = page.references().orElse(0);
        // 6.12 looks at the count first, 7.3 last.
        if (old && references != 0) {
            add(call, Verdict.REFUSED, "-EBUSY", "the host's state passes; " + pinned(references));
            return;
        }
        if (!hypIs(call, PageState.SHARED_BORROWED, old)) {
            return;
        }
        if (unknown) {
            add(
                    call,
                    Verdict.DEPENDS,
                    "0 without references",
                    "both states pass; -EBUSY if there are references to it, of which this source does not tell");
        } else if (references != 0) {
            add(call, Verdict.REFUSED, "-EBUSY", "both states pass; " + pinned(references));
        } else {
            allowed(call, true, "it is the host's alone, and the hypervisor does not map it");
        }
    }

    private static String pinned(long references) {
        return references == 1 ? "there is 1 reference to it" : "there are " + references + " references to it";
    }

    private void donate(boolean old) {
        String call = "host_donate_hyp";
        if (hostIs(call, PageState.OWNED) && hypIs(call, PageState.NOPAGE, old)) {
            allowed(
                    call,
                    true,
                    "the host's entry is annotated, and the hypervisor owns it and maps it rw; no hypercall of its own, but"
                            + " part of those with which the host hands in memory, such as __pkvm_init_vm");
        }
    }

    private void shareGuest() {
        String call = "host_share_guest";
        long shares = page.shares().orElse(0);
        boolean again = page.host().isPresent() && page.host().get() == PageState.SHARED_OWNED && shares > 0;
        if (again || hostIs(call, PageState.OWNED)) {
            add(
                    call,
                    Verdict.DEPENDS,
                    "0 if the guest's side passes",
                    (again
                                    ? "the host shares it with " + shares + " already, so it may share it once more"
                                    : "the host's state passes")
                            + "; the guest must not be protected, must have nothing at the frame, and its memcache must be"
                            + " full enough (-ENOMEM)");
        }
    }

    private void donateGuest() {
        String call = "host_donate_guest";
        if (hostIs(call, PageState.OWNED)) {
            add(
                    call,
                    Verdict.DEPENDS,
                    "0 if the guest's side passes",
                    "the host's state passes; the guest must be protected, must have nothing at the frame, and its memcache"
                            + " must be full enough (-ENOMEM)");
        }
    }

    /// The releases whose checks these are.
    static String release(Optional<Era> era) {
        return era.map(known -> switch (known) {
                    case V6_1 -> "as 6.12 checks";
                    case V7_0 -> "as 7.3 checks";
                    default -> String.format(Locale.ROOT, "of kernels %s", known.releases());
                })
                .orElse("kernel not known");
    }
}
