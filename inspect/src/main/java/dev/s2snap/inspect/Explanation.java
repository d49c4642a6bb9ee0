package dev.s2snap.inspect;

import dev.s2snap.pkvm.Violation;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/// Everything about one address: what [TextExplanation] and [JsonExplanation] print.
///
/// @param address what was asked about
/// @param physical the physical address, if it leads to one
/// @param start first address of the page that has it; 0 if there is none
/// @param end exclusive; 0 if there is none
/// @param owner of the page, in the words of `owners`; empty where that is not known
/// @param summary one line, or two
/// @param walks that of the address that was asked about, the host's, then the aliases
/// @param notListed aliases of each table that are not told
/// @param states what the page is to whom
/// @param violations of rules, that have to do with the page
/// @param effects what operations on the page would come to
/// @param release whose checks these are, as a clause
/// @param complete whether every table could be read that could say something about the address
/// @param remarks what was assumed or is missing, one sentence each
public record Explanation(
        ExplainAddress address,
        OptionalLong physical,
        long start,
        long end,
        Optional<String> owner,
        List<String> summary,
        List<ExplainedWalk> walks,
        Map<String, Integer> notListed,
        List<State> states,
        List<Violation> violations,
        List<ExplainedEffect> effects,
        String release,
        boolean complete,
        List<String> remarks) {

    public Explanation {
        summary = List.copyOf(summary);
        walks = List.copyOf(walks);
        states = List.copyOf(states);
        violations = List.copyOf(violations);
        effects = List.copyOf(effects);
        remarks = List.copyOf(remarks);
    }

    /// What the page is to one of those who can have it.
    ///
    /// @param who `host`, `hyp`, `guest:N`, or what else is counted
    /// @param value a page state by its name, or a number; empty if it is not known
    /// @param words for a person
    /// @param place where it is written, as a noun phrase, or why it is not known
    public record State(String who, Optional<String> value, String words, String place) {}
}
