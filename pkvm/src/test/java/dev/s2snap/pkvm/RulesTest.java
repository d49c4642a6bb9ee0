package dev.s2snap.pkvm;

import static dev.s2snap.pkvm.Era.V6_1;
import static dev.s2snap.pkvm.Era.V6_14;
import static dev.s2snap.pkvm.Era.V7_0;
import static dev.s2snap.pkvm.PageState.NOPAGE;
import static dev.s2snap.pkvm.PageState.OWNED;
import static dev.s2snap.pkvm.PageState.SHARED_BORROWED;
import static dev.s2snap.pkvm.PageState.SHARED_OWNED;
import static dev.s2snap.pkvm.Rule.I_1;
import static dev.s2snap.pkvm.Rule.I_10;
import static dev.s2snap.pkvm.Rule.I_11;
import static dev.s2snap.pkvm.Rule.I_12;
import static dev.s2snap.pkvm.Rule.I_13;
import static dev.s2snap.pkvm.Rule.I_14;
import static dev.s2snap.pkvm.Rule.I_15;
import static dev.s2snap.pkvm.Rule.I_16;
import static dev.s2snap.pkvm.Rule.I_2;
import static dev.s2snap.pkvm.Rule.I_20;
import static dev.s2snap.pkvm.Rule.I_21;
import static dev.s2snap.pkvm.Rule.I_22;
import static dev.s2snap.pkvm.Rule.I_23;
import static dev.s2snap.pkvm.Rule.I_24;
import static dev.s2snap.pkvm.Rule.I_25;
import static dev.s2snap.pkvm.Rule.I_26;
import static dev.s2snap.pkvm.Rule.I_27;
import static dev.s2snap.pkvm.Rule.I_28;
import static dev.s2snap.pkvm.Rule.I_29;
import static dev.s2snap.pkvm.Rule.I_3;
import static dev.s2snap.pkvm.Rule.I_4;
import static dev.s2snap.pkvm.Rule.I_5;
import static dev.s2snap.pkvm.Rule.I_6;
import static dev.s2snap.pkvm.Rule.I_7;
import static dev.s2snap.pkvm.SmallMachine.BLOCK;
import static dev.s2snap.pkvm.SmallMachine.BORROWED;
import static dev.s2snap.pkvm.SmallMachine.CARVEOUT;
import static dev.s2snap.pkvm.SmallMachine.DEVICE;
import static dev.s2snap.pkvm.SmallMachine.FREE;
import static dev.s2snap.pkvm.SmallMachine.GIVEN;
import static dev.s2snap.pkvm.SmallMachine.GUEST_BORROWS;
import static dev.s2snap.pkvm.SmallMachine.GUEST_IPA;
import static dev.s2snap.pkvm.SmallMachine.GUEST_OWNS;
import static dev.s2snap.pkvm.SmallMachine.HOST;
import static dev.s2snap.pkvm.SmallMachine.HOSTS;
import static dev.s2snap.pkvm.SmallMachine.HOST_BLOCK;
import static dev.s2snap.pkvm.SmallMachine.HYP;
import static dev.s2snap.pkvm.SmallMachine.LENT;
import static dev.s2snap.pkvm.SmallMachine.LINEAR;
import static dev.s2snap.pkvm.SmallMachine.NOMAP;
import static dev.s2snap.pkvm.SmallMachine.PAGE;
import static dev.s2snap.pkvm.SmallMachine.PRIVATE;
import static dev.s2snap.pkvm.SmallMachine.RAM;
import static dev.s2snap.pkvm.SmallMachine.READ_ONLY;
import static dev.s2snap.pkvm.SmallMachine.SHARED;
import static dev.s2snap.pkvm.SmallMachine.STACK;
import static dev.s2snap.pkvm.SmallMachine.TEXT;
import static dev.s2snap.pkvm.SmallMachine.UNTOUCHED;
import static dev.s2snap.pkvm.SmallMachine.VMEMMAP;
import static dev.s2snap.pkvm.SmallMachine.XN;
import static dev.s2snap.pkvm.SmallMachine.donation;
import static dev.s2snap.pkvm.SmallMachine.hyps;
import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.pkvm.Rules.NotChecked;
import dev.s2snap.pkvm.Rules.Report;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// Each rule on a machine that keeps all of them ([SmallMachine]): with one damage it is this rule that is broken, on
/// this page, and no other; and without the facts that it needs it is not checked, for a reason.
class RulesTest {

    /// @param says what the tables say of it, each `TABLE: CLAUSE`
    record Damage(
            String what, Era era, Consumer<SmallMachine> change, Rule rule, long start, long end, List<String> says) {
        @Override
        public String toString() {
            return rule.id() + ", era " + era.id() + ": " + what;
        }
    }

    private static final List<Damage> DAMAGES = new ArrayList<>();

    /// A damage that breaks `rule` on one page.
    private static void on(Era era, String what, Consumer<SmallMachine> change, Rule rule, long page, String... says) {
        DAMAGES.add(new Damage(what, era, change, rule, page, page + PAGE, List.of(says)));
    }

    /// A damage that breaks `rule` on a block of 2 MiB.
    private static void block(
            Era era, String what, Consumer<SmallMachine> change, Rule rule, long start, String... says) {
        DAMAGES.add(new Damage(what, era, change, rule, start, start + BLOCK, List.of(says)));
    }

    /// Memory of which no table has an entry.
    private static final long EMPTY_SLOT = RAM + BLOCK;

    /// No memory at all.
    private static final long NOWHERE = 0x7_0000_0000L;

    static {
        // The shape of tables.
        on(
                V7_0,
                "a table that is not there",
                m -> m.put(m.host, EMPTY_SLOT, 2, NOWHERE | 3),
                I_1,
                NOWHERE,
                "host: the pointer");
        on(
                V7_0,
                "a table of EL2 that is not there",
                m -> m.put(m.hyp, LINEAR + EMPTY_SLOT, 2, NOWHERE | 3),
                I_1,
                NOWHERE,
                "hyp: the pointer");
        on(
                V7_0,
                "a table in the hyp_vmemmap",
                m -> m.put(m.host, EMPTY_SLOT, 2, array(m) | 3),
                I_1,
                array(V7_0),
                "host: its table at level 3");
        on(V7_0, "a cycle", m -> m.put(m.host, EMPTY_SLOT, 2, m.host.root() | 3), I_2, root(V7_0), "host: the pointer");
        on(
                V7_0,
                "a table with two parents",
                m -> m.put(m.host, EMPTY_SLOT, 2, m.get(m.host, TEXT, 2)),
                I_2,
                leaves(V7_0),
                "host: the pointer");
        on(
                V7_0,
                "one table in two trees",
                m -> m.put(m.hyp, LINEAR + EMPTY_SLOT, 2, m.get(m.host, TEXT, 2)),
                I_2,
                leaves(V7_0),
                "host: its table at level 3",
                "hyp: its table at level 3");
        on(
                V7_0,
                "a count that is too high",
                m -> m.frame(m.host.root(), m.frame(m.host.root()) + 1),
                I_3,
                root(V7_0),
                "host: the pointer to it",
                "hyp_vmemmap: a level 0 page of the host table with 1 entries and 3 references");
        on(
                V6_1,
                "a count that is too low",
                m -> m.frame(m.host.root(), m.frame(m.host.root()) - 1),
                I_3,
                root(V6_1),
                "host: the pointer to it",
                "hyp_vmemmap: a level 0 page of the host table with 1 entries and 1 references");

        // Bits.
        on(
                V6_1,
                "the contiguous bit",
                m -> m.change(m.host, HOSTS, 0, 1L << 52),
                I_5,
                HOSTS,
                "host: rwx page at level 3");
        on(
                V7_0,
                "a state of the host in a descriptor",
                m -> m.change(m.host, HOSTS, 0, SHARED),
                I_5,
                HOSTS,
                "host: rwx page at level 3, shared");
        on(
                V6_1,
                "state 3 of the host",
                m -> m.change(m.host, LENT, 0, BORROWED),
                I_5,
                LENT,
                "host: rwx page at level 3, reserved state 3");
        on(V6_1, "state 3 of EL2", m -> m.change(m.hyp, LINEAR + LENT, 0, SHARED), I_5, LENT, "hyp: its entry");
        on(
                V7_0,
                "state 3 of the host in the hyp_vmemmap",
                m -> m.frame(HOSTS, 0x0400_0000L),
                I_5,
                HOSTS,
                "host: rwx page at level 3",
                "hyp_vmemmap: host reserved state 3, hyp no page, 0 references");
        on(
                V7_0,
                "state 3 of EL2 in the hyp_vmemmap",
                m -> m.frame(HOSTS, 0x7000_0000L),
                I_5,
                HOSTS,
                "host: rwx page at level 3",
                "hyp_vmemmap: host owned, hyp reserved state 3, 0 references");
        on(
                V7_0,
                "a software bit of EL2",
                m -> m.change(m.hyp, LINEAR + FREE, 0, 1L << 58),
                I_5,
                FREE,
                "hyp: its entry");
        on(
                V7_0,
                "AP[1] of an entry of EL2",
                m -> m.change(m.hyp, LINEAR + FREE, 1 << 6, 0),
                I_5,
                FREE,
                "hyp: its entry");
        on(V7_0, "an access flag of EL2", m -> m.change(m.hyp, LINEAR + FREE, 1 << 10, 0), I_5, FREE, "hyp: its entry");
        on(V7_0, "a memory type of EL2", m -> m.change(m.hyp, LINEAR + FREE, 0, 2 << 2), I_5, FREE, "hyp: its entry");
        on(V7_0, "a shareability of EL2", m -> m.change(m.hyp, LINEAR + FREE, 1 << 8, 0), I_5, FREE, "hyp: its entry");
        on(
                V6_1,
                "an entry of EL2 that is not valid, where it maps nothing",
                m -> m.put(m.hyp, LINEAR + HOSTS, 3, 2),
                I_5,
                HOSTS,
                "hyp: its entry");
        on(
                V7_0,
                "a software bit of a guest",
                m -> m.change(m.guest(), GUEST_IPA, 0, 1L << 58),
                I_5,
                GUEST_BORROWS,
                "guest:0: its entry");
        on(
                V7_0,
                "a memory type of a guest",
                m -> m.change(m.guest(), GUEST_IPA, 1 << 2, 0),
                I_5,
                GUEST_BORROWS,
                "guest:0: its entry");
        on(
                V7_0,
                "a shareability of a guest",
                m -> m.change(m.guest(), GUEST_IPA, 1 << 8, 0),
                I_5,
                GUEST_BORROWS,
                "guest:0: its entry");
        on(
                V7_0,
                "state 3 of a guest",
                m -> m.change(m.guest(), GUEST_IPA, 0, SHARED),
                I_5,
                GUEST_BORROWS,
                "guest:0: its entry");
        on(
                V7_0,
                "a table descriptor with attributes",
                m -> m.put(m.host, TEXT, 2, m.get(m.host, TEXT, 2) | 1L << 59),
                I_5,
                leaves(V7_0),
                "host: the pointer");
        block(
                V7_0,
                "a misaligned block",
                m -> m.put(m.host, EMPTY_SLOT, 2, EMPTY_SLOT | PAGE | (HOST & ~2)),
                I_5,
                EMPTY_SLOT,
                "host: the entry");
        on(
                V7_0,
                "a reserved encoding",
                m -> m.host(UNTOUCHED, UNTOUCHED | (HOST & ~2)),
                I_5,
                UNTOUCHED,
                "host: the entry");
        DAMAGES.add(new Damage(
                "a block at level 0 of a guest",
                V7_0,
                m -> m.put(m.guest(), 1L << 39, 0, 1),
                I_5,
                0,
                1L << 39,
                List.of("guest:0: the entry")));

        // Entries of the host.
        on(
                V7_0,
                "a locked entry",
                m -> m.host(UNTOUCHED, 1L << 60),
                I_6,
                UNTOUCHED,
                "host: annotated at level 3: locked");
        on(
                V6_1,
                "a locked entry",
                m -> m.host(UNTOUCHED, 1 << 10),
                I_6,
                UNTOUCHED,
                "host: annotated at level 3: locked");
        on(
                V7_0,
                "a locked entry of a guest",
                m -> m.put(m.guest(), GUEST_IPA + 8 * PAGE, 3, 1L << 60),
                I_6,
                GUEST_IPA + 8 * PAGE,
                "guest:0: annotated at level 3: locked");
        on(V7_0, "a root within a page", m -> m.vttbr |= 0x800, I_7, root(V7_0), "host: base 0x40800800");
        on(
                V7_0,
                "a page that maps another address",
                m -> m.host(HOSTS, UNTOUCHED | HOST),
                I_10,
                HOSTS,
                "host: rwx page at level 3");
        block(
                V6_1,
                "a block that maps another address",
                m -> m.put(m.host, HOST_BLOCK, 2, EMPTY_SLOT | (HOST & ~2)),
                I_10,
                HOST_BLOCK,
                "host: rwx block at level 2");
        on(
                V7_0,
                "memory that the host can only read",
                m -> m.change(m.host, HOSTS, READ_ONLY, XN),
                I_11,
                HOSTS,
                "host: r-- page at level 3");
        on(
                V7_0,
                "memory that the host cannot execute",
                m -> m.change(m.host, HOSTS, 0, XN),
                I_11,
                HOSTS,
                "host: rw- page at level 3");
        on(
                V7_0,
                "a device that the host can execute",
                m -> m.change(m.host, DEVICE, XN, 0),
                I_11,
                DEVICE,
                "host: rwx page at level 3");
        on(V7_0, "device memory", m -> m.change(m.host, HOSTS, 0xe << 2, 0), I_11, HOSTS, "host: rwx page at level 3");
        on(V7_0, "an access flag", m -> m.change(m.host, HOSTS, 1 << 10, 0), I_11, HOSTS, "host: rwx page at level 3");
        on(
                V7_0,
                "memory that is not shareable",
                m -> m.change(m.host, HOSTS, 3 << 8, 0),
                I_11,
                HOSTS,
                "host: rwx page at level 3");
        block(
                V6_1,
                "an annotated block",
                m -> m.put(m.host, HOST_BLOCK, 2, 4),
                I_12,
                HOST_BLOCK,
                "host: annotated at level 2: the hypervisor's");
        block(
                V6_1,
                "a block that is shared as a whole",
                m -> m.put(m.host, HOST_BLOCK, 2, m.get(m.host, HOST_BLOCK, 2) | SHARED),
                I_12,
                HOST_BLOCK,
                "host: rwx block at level 2, shared");
        block(
                V6_1,
                "a block across the edge of memory",
                m -> m.put(m.host, NOMAP, 2, NOMAP | (HOST & ~2)).count(),
                I_12,
                NOMAP,
                "host: rwx block at level 2");
        on(
                V6_1,
                "an owner that does not exist",
                m -> m.host(FREE, 3 << 2),
                I_13,
                FREE,
                "host: annotated at level 3: 0xc, which no kernel writes");
        on(
                V7_0,
                "an owner that does not exist",
                m -> m.host(FREE, 0x2000_0000_0000_000eL),
                I_13,
                FREE,
                "host: annotated at level 3: 0x200000000000000e, which no kernel writes");
        on(
                V7_0,
                "poison in the host's table",
                m -> m.host(FREE, 3L << 60),
                I_13,
                FREE,
                "host: annotated at level 3: poisoned");
        on(
                V7_0,
                "the host as its own creditor",
                m -> m.host(FREE, 2L << 60),
                I_13,
                FREE,
                "host: annotated at level 3: the host's");

        // Host and hypervisor.
        on(
                V7_0,
                "a host leaf over a page of EL2",
                m -> m.host(FREE, FREE | HOST),
                I_14,
                FREE,
                "host: rwx page at level 3",
                "hyp: rw- page at level 3");
        on(
                V6_1,
                "a host leaf over a page of EL2",
                m -> m.host(FREE, FREE | HOST),
                I_14,
                FREE,
                "host: rwx page at level 3",
                "hyp: rw- page at level 3, owned");
        on(
                V6_1,
                "a host leaf over a page of its own table",
                m -> m.host(m.host.root(), m.host.root() | HOST),
                I_14,
                root(V6_1),
                "host: rwx page at level 3",
                "hyp: rw- page at level 3, owned");
        on(
                V7_0,
                "a host leaf over an EL2 stack",
                m -> m.host(STACK, STACK | HOST),
                I_14,
                STACK,
                "host: rwx page at level 3",
                "hyp: a stack: rw- page at level 3");
        on(
                V7_0,
                "text that the host can execute",
                m -> m.change(m.host, TEXT, XN, 0),
                I_14,
                TEXT,
                "host: r-x page at level 3",
                "hyp: identity map: r-x page at level 3",
                "hyp: r-x page at level 3");
        on(
                V6_1,
                "text that the host can read",
                m -> m.host(TEXT, (TEXT | HOST | XN) & ~READ_ONLY),
                I_14,
                TEXT,
                "host: r-- page at level 3",
                "hyp: identity map: r-x page at level 3, owned",
                "hyp: r-x page at level 3, owned");
        on(
                V7_0,
                "text that the host can write",
                m -> m.change(m.host, TEXT, 0, READ_ONLY),
                I_15,
                TEXT,
                "host: rw- page at level 3",
                "hyp: identity map: r-x page at level 3",
                "hyp: r-x page at level 3");
        on(
                V6_1,
                "text that the host can write",
                m -> m.host(TEXT, TEXT | HOST),
                I_15,
                TEXT,
                "host: rwx page at level 3",
                "hyp: identity map: r-x page at level 3, owned",
                "hyp: r-x page at level 3, owned");
        on(
                V6_1,
                "a device that is annotated",
                m -> m.host(DEVICE, 4),
                I_16,
                DEVICE,
                "host: annotated at level 3: the hypervisor's");
        on(
                V6_1,
                "a device that is shared",
                m -> m.change(m.host, DEVICE, 0, SHARED),
                I_16,
                DEVICE,
                "host: rw- page at level 3, shared");
        on(
                V6_1,
                "NOMAP memory that is shared",
                m -> m.host(NOMAP, NOMAP | HOST | SHARED).count(),
                I_16,
                NOMAP,
                "host: rwx page at level 3, shared");
        on(
                V7_0,
                "NOMAP memory that is annotated",
                m -> m.host(NOMAP, hyps(V7_0)).count(),
                I_16,
                NOMAP,
                "host: annotated at level 3: the hypervisor's");

        // Owners and states.
        on(
                V7_0,
                "two owners in the hyp_vmemmap",
                m -> m.states(FREE, OWNED, OWNED),
                I_20,
                FREE,
                "host: annotated at level 3: the hypervisor's",
                "hyp: rw- page at level 3",
                "hyp_vmemmap: host owned, hyp owned, 0 references");
        on(
                V6_1,
                "a host that owns what EL2 shares with it",
                m -> m.change(m.host, GIVEN, BORROWED, 0),
                I_20,
                GIVEN,
                "host: rwx page at level 3",
                "hyp: rw- page at level 3, shared");
        on(
                V6_1,
                "a host that borrows from nobody",
                m -> m.put(m.hyp, LINEAR + GIVEN, 3, 0),
                I_20,
                GIVEN,
                "host: rwx page at level 3, borrowed");
        on(
                V7_0,
                "a guest that maps a page of EL2",
                m -> m.put(m.guest(), GUEST_IPA + 8 * PAGE, 3, FREE | HOST),
                I_20,
                FREE,
                "host: annotated at level 3: the hypervisor's",
                "hyp: rw- page at level 3",
                "guest:0: rwx page at level 3");
        on(
                V7_0,
                "a guest that has a page twice",
                m -> m.put(m.guest(), GUEST_IPA + 8 * PAGE, 3, GUEST_OWNS | HOST),
                I_20,
                GUEST_OWNS,
                "host: annotated at level 3: of the guest with handle 0x1000 at frame 0x80001",
                "guest:0: rwx page at level 3",
                "guest:0: rwx page at level 3");
        on(
                V7_0,
                "an annotation that is gone",
                m -> m.host(FREE, 0),
                I_21,
                FREE,
                "host: empty entry at level 3",
                "hyp: rw- page at level 3");
        on(
                V6_1,
                "EL2 owns what the host lends it",
                m -> m.change(m.hyp, LINEAR + LENT, BORROWED, 0),
                I_20,
                LENT,
                "host: rwx page at level 3, shared",
                "hyp: rw- page at level 3, owned");
        on(
                V6_1,
                "EL2 borrows what the host owns",
                m -> m.change(m.host, LENT, SHARED, 0),
                I_21,
                LENT,
                "host: rwx page at level 3",
                "hyp: rw- page at level 3, borrowed");
        on(
                V6_14,
                "EL2 borrows what the host owns",
                m -> m.states(LENT, OWNED, NOPAGE),
                I_21,
                LENT,
                "host: rwx page at level 3",
                "hyp: rw- page at level 3, borrowed",
                "hyp_vmemmap: host owned, 0 references");
        on(
                V7_0,
                "a page that EL2 maps and has no state of",
                m -> m.states(FREE, NOPAGE, NOPAGE),
                I_21,
                FREE,
                "host: annotated at level 3: the hypervisor's",
                "hyp: rw- page at level 3",
                "hyp_vmemmap: host no page, hyp no page, 0 references");
        on(
                V6_1,
                "a share with nobody",
                m -> m.change(m.host, HOSTS, 0, SHARED),
                I_22,
                HOSTS,
                "host: rwx page at level 3, shared");
        on(
                V7_0,
                "a share with nobody",
                m -> m.states(HOSTS, SHARED_OWNED, NOPAGE),
                I_22,
                HOSTS,
                "host: rwx page at level 3",
                "hyp_vmemmap: host shared, hyp no page, 0 references");
        on(
                V6_1,
                "an annotation of nobody's",
                m -> m.host(UNTOUCHED, 4),
                I_23,
                UNTOUCHED,
                "host: annotated at level 3: the hypervisor's");
        on(
                V6_1,
                "a page of EL2 that it does not map",
                m -> m.put(m.hyp, LINEAR + FREE, 3, 0),
                I_23,
                FREE,
                "host: annotated at level 3: the hypervisor's",
                "hyp: not mapped by EL2");
        on(
                V7_0,
                "a page of EL2 that it does not map",
                m -> m.put(m.hyp, LINEAR + FREE, 3, 0),
                I_23,
                FREE,
                "host: annotated at level 3: the hypervisor's",
                "hyp: not mapped by EL2");
        on(
                V7_0,
                "an entry of EL2 that lost its valid bit",
                m -> m.change(m.hyp, LINEAR + FREE, 1, 0),
                I_23,
                FREE,
                "host: annotated at level 3: the hypervisor's",
                "hyp: not mapped by EL2");

        // Guests.
        on(
                V7_0,
                "a host leaf over a guest's page",
                m -> m.host(GUEST_OWNS, GUEST_OWNS | HOST),
                I_24,
                GUEST_OWNS,
                "host: rwx page at level 3",
                "guest:0: rwx page at level 3");
        on(
                V7_0,
                "a donated page that is the host's again",
                m -> m.host(GUEST_OWNS, 0),
                I_24,
                GUEST_OWNS,
                "host: empty entry at level 3",
                "guest:0: rwx page at level 3");
        on(
                V7_0,
                "a donation at another frame",
                m -> m.host(GUEST_OWNS, donation(0x1000, 7)),
                I_24,
                GUEST_OWNS,
                "host: annotated at level 3: of the guest with handle 0x1000 at frame 0x7",
                "guest:0: rwx page at level 3");
        on(
                V7_0,
                "a donation to another guest",
                m -> m.host(GUEST_OWNS, donation(0x1001, (GUEST_IPA + PAGE) / PAGE)),
                I_24,
                GUEST_OWNS,
                "host: annotated at level 3: of the guest with handle 0x1001 at frame 0x80001",
                "guest:0: rwx page at level 3");
        on(
                V7_0,
                "a guest that lost a page",
                m -> m.put(m.guest(), GUEST_IPA + PAGE, 3, 0),
                I_24,
                GUEST_OWNS,
                "host: annotated at level 3: of the guest with handle 0x1000 at frame 0x80001",
                "guest:0: empty entry at level 3");
        on(
                V7_0,
                "a guest that shares what the host does not borrow",
                m -> m.change(m.guest(), GUEST_IPA + PAGE, 0, SHARED),
                I_24,
                GUEST_OWNS,
                "host: annotated at level 3: of the guest with handle 0x1000 at frame 0x80001",
                "guest:0: rwx page at level 3, shared");
        on(
                V7_0,
                "a guest that borrows what the host does not share",
                m -> m.put(m.guest(), GUEST_IPA + 8 * PAGE, 3, HOSTS | HOST | BORROWED),
                I_24,
                HOSTS,
                "host: rwx page at level 3",
                "guest:0: rwx page at level 3, borrowed");
        on(
                V7_0,
                "a guest that owns what it borrowed",
                m -> m.change(m.guest(), GUEST_IPA, BORROWED, 0),
                I_24,
                GUEST_BORROWS,
                "host: empty entry at level 3",
                "guest:0: rwx page at level 3");
        on(
                V6_14,
                "a wrong number of guests",
                m -> m.frame(GUEST_BORROWS, m.frame(GUEST_BORROWS) + (1L << 32)),
                I_24,
                GUEST_BORROWS,
                "host: empty entry at level 3",
                "hyp_vmemmap: host shared, shared with 2 guests, 0 references",
                "guest:0: rwx page at level 3, borrowed");
        on(
                V7_0,
                "a number of guests of what is not shared",
                m -> m.frame(HOSTS, m.frame(HOSTS) + (1L << 32)),
                I_24,
                HOSTS,
                "host: rwx page at level 3",
                "hyp_vmemmap: host owned, hyp no page, shared with 1 guests, 0 references");

        // EL2 and the hyp_vmemmap.
        on(
                V6_1,
                "a reference to a page of the host",
                m -> m.frame(HOSTS, 1),
                I_25,
                HOSTS,
                "host: rwx page at level 3",
                "hyp_vmemmap: 1 references");
        on(
                V7_0,
                "a reference to a page of the host",
                m -> m.frame(HOSTS, m.frame(HOSTS) + 1),
                I_25,
                HOSTS,
                "host: rwx page at level 3",
                "hyp_vmemmap: host owned, hyp no page, 1 references");
        on(
                V7_0,
                "data that EL2 can execute",
                m -> m.change(m.hyp, LINEAR + FREE, XN, READ_ONLY),
                I_26,
                FREE,
                "hyp: r-x page at level 3");
        on(
                V7_0,
                "memory that EL2 can write and execute",
                m -> m.change(m.hyp, LINEAR + FREE, XN, 0),
                I_26,
                FREE,
                "hyp: rwx page at level 3");
        on(
                V7_0,
                "text that EL2 can write",
                m -> m.change(m.hyp, LINEAR + TEXT, READ_ONLY, 0),
                I_26,
                TEXT,
                "hyp: rwx page at level 3");
        on(
                V7_0,
                "text that EL2 can write at another address",
                m -> m.put(m.hyp, PRIVATE + 8 * PAGE, 3, TEXT | HYP),
                I_26,
                TEXT,
                "hyp: a stack: rw- page at level 3");
        on(
                V7_0,
                "a page of EL2 at the address of another",
                m -> m.put(m.hyp, LINEAR + FREE, 3, STACK | HYP),
                I_26,
                FREE,
                "hyp: rw- page at level 3");
        on(
                V7_0,
                "a page that nobody owns",
                m -> m.states(HOSTS, NOPAGE, NOPAGE),
                I_27,
                HOSTS,
                "host: rwx page at level 3",
                "hyp_vmemmap: host no page, hyp no page, 0 references");
        on(
                V7_0,
                "a VMID that two guests have",
                m -> m.guest(1, 0, 0).count(),
                I_28,
                nextRoot(V7_0),
                "guest:1: VTTBR_EL2.VMID = 1");
        on(
                V7_0,
                "a guest with the host's VMID",
                m -> m.guest(0, 0, 0).count(),
                I_28,
                nextRoot(V7_0),
                "guest:1: VTTBR_EL2.VMID = 0");
    }

    private static long root(Era era) {
        return SmallMachine.of(era).host.root();
    }

    /// The root of a guest that is added.
    private static long nextRoot(Era era) {
        return SmallMachine.of(era).guest(1, 0, 0).guests.getLast().root();
    }

    /// The level 3 page of the host's table that has most of what these tests change.
    private static long leaves(Era era) {
        SmallMachine machine = SmallMachine.of(era);
        return machine.get(machine.host, TEXT, 2) & -PAGE;
    }

    private static long array(Era era) {
        return array(SmallMachine.of(era));
    }

    /// The first page of the hyp_vmemmap.
    private static long array(SmallMachine machine) {
        return machine.get(machine.hyp, VMEMMAP + RAM / PAGE * 8, 3) & 0xffff_f000L;
    }

    static List<Damage> damages() {
        return DAMAGES;
    }

    @ParameterizedTest
    @EnumSource
    void theMachineAsItIsMadeKeepsAllRules(Era era) {
        assertThat(SmallMachine.of(era).check().violations()).isEmpty();
    }

    @ParameterizedTest
    @MethodSource("damages")
    void oneDamageBreaksOneRuleOnOnePageAndNoOther(Damage damage) {
        SmallMachine machine = SmallMachine.of(damage.era);
        damage.change.accept(machine);
        List<Violation> found = machine.check().violations();
        assertThat(found).extracting(RulesTest::place).containsExactly(place(damage.rule, damage.start, damage.end));
        Violation violation = found.getFirst();
        assertThat(violation.message()).isNotBlank();
        assertThat(violation.also()).doesNotContain(damage.rule);
        assertThat(violation.evidence())
                .extracting(evidence -> evidence.table() + ": " + evidence.says())
                .containsAll(damage.says);
        assertThat(violation.evidence())
                .allSatisfy(evidence -> assertThat(evidence.end()).isGreaterThan(evidence.start()));
    }

    private static String place(Violation violation) {
        return place(violation.rule(), violation.start(), violation.end());
    }

    private static String place(Rule rule, long start, long end) {
        return rule.id() + " " + Long.toHexString(start) + "-" + Long.toHexString(end);
    }

    @Test
    void eachRuleThatIsCheckedHasItsDamage() {
        Set<Rule> rules = EnumSet.allOf(Rule.class);
        DAMAGES.forEach(damage -> rules.remove(damage.rule));
        // Of these, no table tells.
        assertThat(rules).containsExactly(I_4, I_29);
    }

    // One defect is one violation.

    @Test
    void pagesThatMeetAndHaveOneDefectAreOneViolation() {
        SmallMachine machine = SmallMachine.of(V7_0);
        for (long page = UNTOUCHED; page < UNTOUCHED + 3 * PAGE; page += PAGE) {
            machine.host(page, hyps(V7_0));
        }
        assertThat(machine.check().violations())
                .extracting(RulesTest::place)
                .containsExactly(place(I_23, UNTOUCHED, UNTOUCHED + 3 * PAGE));
    }

    @Test
    void stacksAreToldOneByOne() {
        SmallMachine machine = SmallMachine.of(V6_1).host(STACK, 0);
        machine.put(machine.hyp, PRIVATE + 3 * PAGE, 3, (STACK + PAGE) | HYP).host(STACK + PAGE, 0);
        assertThat(machine.count().check().violations())
                .extracting(RulesTest::place)
                .containsExactly(place(I_20, STACK, STACK + PAGE), place(I_20, STACK + PAGE, STACK + 2 * PAGE));
        assertThat(machine.check().violations())
                .extracting(Violation::message)
                .containsOnly("an EL2 stack is the host's too, which maps it at its first access");
    }

    @Test
    void whatADefectDidToTheCountOfItsPageIsPartOfIt() {
        SmallMachine machine = SmallMachine.of(V7_0).host(FREE, 0);
        assertThat(machine.check().violations().getFirst().also()).contains(I_3);
        machine.count();
        assertThat(machine.check().violations().getFirst().also()).doesNotContain(I_3);
    }

    @Test
    void belowATablePointerThatCannotBeRightNothingIsJudged() {
        SmallMachine machine = SmallMachine.of(V7_0);
        machine.put(machine.host, TEXT, 2, NOWHERE | 3);
        assertThat(machine.check().violations())
                .extracting(RulesTest::place)
                .containsExactly(place(I_1, NOWHERE, NOWHERE + PAGE));
    }

    @Test
    void violationsComeByAscendingAddress() {
        SmallMachine machine =
                SmallMachine.of(V7_0).host(FREE, 0).frame(HOSTS, 1).host(UNTOUCHED, 1L << 60);
        assertThat(machine.count().check().violations())
                .extracting(RulesTest::place)
                .containsExactly(
                        place(I_25, HOSTS, HOSTS + PAGE),
                        place(I_6, UNTOUCHED, UNTOUCHED + PAGE),
                        place(I_21, FREE, FREE + PAGE));
    }

    @Test
    void aPageThatIsMemoryInPartMayBeMappedAsEither() {
        SmallMachine machine = SmallMachine.of(V6_1);
        long edge = RAM + (15 << 20);
        machine.regions = Fact.known(List.of(new MemoryRegion(RAM, (15 << 20) + 0x800, 0)), "test");
        assertThat(machine.host(edge, edge | HOST).count().check().violations()).isEmpty();
        assertThat(machine.host(edge, edge | HOST | XN).count().check().violations())
                .isEmpty();
        assertThat(machine.host(edge + PAGE, (edge + PAGE) | HOST)
                        .count()
                        .check()
                        .violations())
                .extracting(RulesTest::place)
                .containsExactly(place(I_11, edge + PAGE, edge + 2 * PAGE));
    }

    @Test
    void theTypeOfMemoryIsTheOneThatTheRegisterForces() {
        SmallMachine machine = SmallMachine.of(V7_0);
        machine.forcedWriteBack = true;
        assertThat(machine.check().violations()).isNotEmpty().allMatch(violation -> violation.rule() == I_11);
    }

    @Test
    void aPageOfEl2ThatIsADeviceIsNobodysMatter() {
        SmallMachine machine = SmallMachine.of(V6_1);
        machine.put(machine.hyp, PRIVATE + 8 * PAGE, 3, (DEVICE + PAGE) | HYP | 4 << 2);
        assertThat(machine.count().check().violations()).isEmpty();
    }

    @Test
    void aFixmapSlotThatIsNotInUseIsSound() {
        SmallMachine machine = SmallMachine.of(V6_1);
        machine.put(machine.hyp, PRIVATE + 8 * PAGE, 3, HYP & ~1);
        assertThat(machine.count().check().violations()).isEmpty();
    }

    // What is missing.

    /// @param lack what is taken away from the machine
    record Missing(String what, Era era, Consumer<SmallMachine> lack, Set<Rule> rules, String reason) {
        @Override
        public String toString() {
            return rules + " without " + what;
        }
    }

    private static final Set<Rule> OF_PAGES =
            EnumSet.of(I_6, I_10, I_11, I_12, I_13, I_14, I_15, I_16, I_20, I_21, I_22, I_23, I_24, I_25, I_26, I_27);

    private static final Set<Rule> OF_SHAPE = EnumSet.of(I_1, I_2, I_5, I_7);

    static List<Missing> missing() {
        return List.of(
                new Missing(
                        "a place where pools are told",
                        V7_0,
                        _ -> {},
                        Set.of(I_1, I_7),
                        "from which pool a table page is: where pools are is in the hypervisor's data section"),
                new Missing(
                        "lists of free pages",
                        V7_0,
                        _ -> {},
                        Set.of(I_4),
                        "which pages are free is in lists of the hypervisor's data section"),
                new Missing(
                        "structures of VMs",
                        V7_0,
                        _ -> {},
                        Set.of(I_29),
                        "memcaches are in structures of VMs that no table leads to"),
                new Missing(
                        "host table", V7_0, m -> m.withHost = false, OF_PAGES, "there is no host table: nobody asked"),
                new Missing(
                        "host table",
                        V7_0,
                        m -> m.withHost = false,
                        OF_SHAPE,
                        "of the host table, which is not known: nobody asked"),
                new Missing("EL2 table", V7_0, m -> m.withHyp = false, OF_PAGES, "there is no EL2 table: nobody asked"),
                new Missing(
                        "EL2 table",
                        V7_0,
                        m -> m.withHyp = false,
                        OF_SHAPE,
                        "of the EL2 table, which is not known: nobody asked"),
                new Missing(
                        "release",
                        V7_0,
                        m -> m.releases = Fact.unknown("nobody said"),
                        OF_PAGES,
                        "it is not known how this kernel writes ownership: nobody said"),
                new Missing(
                        "memory map",
                        V7_0,
                        m -> m.regions = Fact.unknown("nobody said"),
                        Set.of(I_16),
                        "it is not known what is memory: nobody said"),
                new Missing(
                        "memory map",
                        V7_0,
                        m -> m.regions = Fact.unknown("nobody said"),
                        Set.of(I_11),
                        "whether what is mapped rw is a device: it is not known what is memory"),
                new Missing(
                        "memory map",
                        V6_1,
                        m -> m.regions = Fact.unknown("nobody said"),
                        Set.of(I_12),
                        "whether blocks lie in one region: it is not known what is memory"),
                new Missing(
                        "hyp_vmemmap",
                        V7_0,
                        m -> m.framesKnown = false,
                        Set.of(I_20, I_21, I_22, I_24, I_27),
                        "page states are in the hyp_vmemmap: nobody asked"),
                new Missing(
                        "hyp_vmemmap",
                        V6_1,
                        m -> m.framesKnown = false,
                        Set.of(I_3, I_25),
                        "counts are in the hyp_vmemmap: nobody asked"),
                new Missing(
                        "pages of the hyp_vmemmap",
                        V7_0,
                        RulesTest::withoutArray,
                        Set.of(I_21),
                        "of 1024K: the pages of the hyp_vmemmap are not in this memory"),
                new Missing(
                        "pages of the hyp_vmemmap",
                        V7_0,
                        RulesTest::withoutArray,
                        Set.of(I_3),
                        "of 25 table pages: their entries of the hyp_vmemmap are not in this memory"),
                new Missing(
                        "counts of EL2's private range",
                        V6_1,
                        RulesTest::withoutPrivateCounts,
                        Set.of(I_3),
                        "of EL2's tables beside the linear map: this kernel does not count their entries"),
                new Missing(
                        "the list of all findings",
                        V7_0,
                        RulesTest::manyReserved,
                        Set.of(I_5),
                        "3 more findings (reserved-encoding) of the host table are not listed"),
                new Missing(
                        "word of the secure world",
                        V6_1,
                        m -> {
                            m.ffa = true;
                            m.change(m.host, HOSTS, 0, SHARED);
                        },
                        Set.of(I_22),
                        "of 4K: the secure world may have them (FF-A)"),
                new Missing(
                        "guests at EL2", V6_1, _ -> {}, Set.of(I_24), "this kernel leaves guests' tables to the host"),
                new Missing(
                        "guests",
                        V6_14,
                        m -> m.guests.clear(),
                        Set.of(I_24),
                        "of 4K shared with guests: not all of their tables are known"),
                new Missing(
                        "guests",
                        V7_0,
                        m -> m.guests.clear(),
                        Set.of(I_24),
                        "of 4K donated to guests: their tables are not known"),
                new Missing(
                        "a lender",
                        V7_0,
                        m -> {
                            m.guests.clear();
                            m.put(m.hyp, LINEAR + GIVEN, 3, 0)
                                    .states(GIVEN, SHARED_BORROWED, NOPAGE)
                                    .count();
                        },
                        Set.of(I_24),
                        "of 8K shared with guests: not all of their tables are known"),
                new Missing(
                        "states in the hyp_vmemmap",
                        V6_1,
                        _ -> {},
                        Set.of(I_27),
                        "this kernel keeps no page states in the hyp_vmemmap"),
                new Missing(
                        "a guest's table",
                        V7_0,
                        m -> m.guestsUnread = List.of("the table of guest:1 is not known: no register"),
                        Set.of(I_28),
                        "the table of guest:1 is not known: no register"));
    }

    /// The page of the array that has the carve-out's first 2 MiB is somewhere else.
    private static void withoutArray(SmallMachine machine) {
        machine.put(machine.hyp, VMEMMAP + CARVEOUT / PAGE * 8, 3, NOWHERE | HYP);
    }

    /// Pages of EL2's table have no references but their own, unless they are of the linear map.
    private static void withoutPrivateCounts(SmallMachine machine) {
        TableAudit audit = TableAudit.of(machine.hyp);
        for (int page = 0; page < audit.pages(); page++) {
            boolean linear = audit.input(page) >= LINEAR && audit.input(page) < PRIVATE && audit.level(page) > 0;
            if (!linear) {
                machine.frame(audit.address(page), 1);
            }
        }
    }

    /// More reserved encodings than are listed one by one.
    private static void manyReserved(SmallMachine machine) {
        for (int page = 0; page < 1003; page++) {
            machine.host(RAM + (32L << 20) + page * PAGE, HOST & ~2);
        }
    }

    @ParameterizedTest
    @MethodSource("missing")
    void aRuleWhoseFactsAreMissingIsNotCheckedForAReason(Missing missing) {
        SmallMachine machine = SmallMachine.of(missing.era);
        missing.lack.accept(machine);
        Report report = machine.check();
        assertThat(report.notChecked())
                .containsAll(missing.rules.stream()
                        .map(rule -> new NotChecked(rule, missing.reason))
                        .toList());
        assertThat(report.notChecked()).isSortedAccordingTo((a, b) -> a.rule().compareTo(b.rule()));
    }

    @ParameterizedTest
    @MethodSource("missing")
    void whatIsMissingIsNoViolation(Missing missing) {
        SmallMachine machine = SmallMachine.of(missing.era);
        missing.lack.accept(machine);
        if (!missing.rules.contains(I_5) || missing.rules.size() > 1) {
            assertThat(machine.check().violations()).isEmpty();
        }
    }

    @Test
    void eachRuleSaysWhenItIsNotChecked() {
        Set<Rule> rules = EnumSet.allOf(Rule.class);
        missing().forEach(missing -> rules.removeAll(missing.rules));
        assertThat(rules).isEmpty();
    }
}
