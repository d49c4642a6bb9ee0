package dev.s2snap.proof;

import java.util.List;

/// A finding that was shrunk: the steps that it needs, as a script in the vector language.
///
/// @param id of the known defect that it shows, or what kind of finding it is
/// @param witness what was found, a line for each finding with its evidence indented below
/// @param script lines, from configuration to the step that shows it
/// @param steps number of steps in it
/// @param before number of steps before it was shrunk
/// @param calls steps of the campaign until it was found, all trials together
/// @param nanoseconds the same in time
public record Discovery(
        String id, List<String> witness, List<String> script, int steps, int before, long calls, long nanoseconds) {
    public Discovery {
        witness = List.copyOf(witness);
        script = List.copyOf(script);
    }
}
