package dev.s2snap.inspect;

/// What an operation on the page would come to.
///
/// @param operation stable: programs match on it
/// @param verdict what it comes to, in kind
/// @param result in a few words: `allowed`, `-EPERM`, ..
/// @param why one sentence without its full stop
public record ExplainedEffect(String operation, Verdict verdict, String result, String why) {

    /// The kinds of results. Ids are stable: programs match on them.
    public enum Verdict {
        ALLOWED("allowed"),
        REFUSED("refused"),
        /// It depends on something that this source does not tell.
        DEPENDS("depends"),
        UNKNOWN("unknown");

        private final String id;

        Verdict(String id) {
            this.id = id;
        }

        public String id() {
            return id;
        }
    }
}
