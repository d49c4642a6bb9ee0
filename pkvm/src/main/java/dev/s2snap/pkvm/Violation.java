package dev.s2snap.pkvm;

import java.util.List;

/// A rule that is broken, where, and what the tables say there.
///
/// @param start first physical address
/// @param end exclusive
/// @param message one sentence for a person
/// @param also other rules that are broken by the same thing
public record Violation(Rule rule, long start, long end, String message, List<Rule> also, List<Evidence> evidence) {
    public Violation {
        also = List.copyOf(also);
        evidence = List.copyOf(evidence);
    }
}
