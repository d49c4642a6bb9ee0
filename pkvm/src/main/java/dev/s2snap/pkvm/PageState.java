package dev.s2snap.pkvm;

/// State of a page from the point of view of one component (host, hypervisor, guest).
public enum PageState {
    /// Exclusively ours.
    OWNED("owned"),
    /// Ours, and visible to somebody else.
    SHARED_OWNED("shared"),
    /// Somebody else's, and visible to us.
    SHARED_BORROWED("borrowed"),
    /// An encoding that no kernel writes.
    RESERVED("reserved state 3"),
    /// No access.
    NOPAGE("no page");

    private final String words;

    PageState(String words) {
        this.words = words;
    }

    /// For a person, in lower case.
    public String words() {
        return words;
    }

    /// The state in software bits 56:55 of a valid descriptor, as 6.13 and earlier keep it for host and hypervisor and
    /// all versions for guests (enum pkvm_page_state of 6.1 to 6.13: SW0 = shared and owned, SW1 = borrowed).
    public static PageState ofSoftwareBits(long descriptor) {
        return switch ((int) (descriptor >>> 55) & 3) {
            case 0 -> OWNED;
            case 1 -> SHARED_OWNED;
            case 2 -> SHARED_BORROWED;
            default -> RESERVED;
        };
    }
}
