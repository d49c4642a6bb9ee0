package dev.s2snap.proof;

import java.util.List;

/// What the oracle did not predict, with what a kernel developer needs to see it.
///
/// @param kind what was compared
/// @param page physical address that it is about, or -1
/// @param said what the specification says, one clause
/// @param seen what the machine did, one clause
/// @param evidence what each table says of the page
/// @param call the step, as a line of the vector language
record Finding(Kind kind, long page, String said, String seen, List<String> evidence, String call) {

    enum Kind {
        /// The answer of a call, or of an access of the host.
        ANSWER("wrong answer"),
        /// The hypervisor panicked.
        PANIC("panic"),
        /// The host's table, where it says who owns a page.
        HOST("the host's table"),
        /// The hypervisor's table.
        HYP("the hypervisor's table"),
        /// The TLBs were not told of what was taken away.
        TLB("break before make"),
        /// The number of references to a page.
        COUNT("reference count"),
        /// The hypervisor stored to a page that is neither its own table nor lent to it.
        STORE("store to memory that was not lent"),
        /// The copy is not the table as it was under the lock.
        COPY("the copy"),
        /// The call made a copy for which there is no room, or refused one for which there is.
        ROOM("room for the copy"),
        /// The struct tells the host what it must not know.
        LEAK("leak"),
        /// A buffer that the host reads points to a table that is in use.
        LIVE_TABLE("pointer to a table in use"),
        /// CPUs that did something at the same time got answers that none of them may get.
        CROWD("CPUs at the same time"),
        /// A machine that was brought up call by call is not what it should be.
        BOOT("the boot"),
        /// A rule of the catalogue, the second judge.
        RULE("broken rule"),
        /// The state kept step by step is not the one that all tables together say.
        STATE("state"),
        /// What the machine's own kernel keeps for a guest; the page is the guest's then. No script shows it, because
        /// the kernel's objects are in none.
        GUEST("the kernel's guest");

        private final String words;

        Kind(String words) {
            this.words = words;
        }

        /// Whether the steps of a script show it again. Threads take turns as they like, and other machines and the
        /// kernel's own objects are in no script.
        boolean inScript() {
            return this != CROWD && this != BOOT && this != GUEST;
        }

        String words() {
            return words;
        }
    }

    Finding {
        evidence = List.copyOf(evidence);
    }

    @Override
    public String toString() {
        StringBuilder text = new StringBuilder(kind.words());
        if (page != -1) {
            text.append(" at 0x").append(Long.toHexString(page));
        }
        text.append(": ").append(seen).append("; ").append(said);
        return text.toString();
    }
}
