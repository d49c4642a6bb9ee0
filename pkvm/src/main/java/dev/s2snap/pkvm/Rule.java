package dev.s2snap.pkvm;

/// What holds on every machine that runs protected KVM whenever no operation is going on: the catalogue. The order is
/// that of the ids.
///
/// How each is checked, and from what, is in [Rules].
public enum Rule {
    I_1(
            "I-1",
            Severity.ERROR,
            "every table pointer leads to a table page in memory",
            "what the entry maps is not known, and hardware takes whatever lies there for a table",
            "all"),
    I_2(
            "I-2",
            Severity.ERROR,
            "a table page has one parent, and none is its own ancestor",
            "a change of one mapping changes another one with it",
            "all"),
    I_3(
            "I-3",
            Severity.ERROR,
            "the reference count of a table page is one more than its entries",
            "a count too low frees a table that is in use, one too high never frees it",
            "all"),
    I_4(
            "I-4",
            Severity.ERROR,
            "a free page of a pool is not in use, carries its order, and is empty",
            "a page could be handed out twice",
            "all"),
    I_5(
            "I-5",
            Severity.ERROR,
            "descriptors use the bits, levels and alignments that KVM writes, and no others",
            "hardware or KVM takes the entry for something else than was meant",
            "all"),
    I_6(
            "I-6",
            Severity.ERROR,
            "no entry is locked when no update is going on",
            "the page is unmapped, and the next operation on it fails or stops the machine",
            "all"),
    I_7(
            "I-7",
            Severity.ERROR,
            "a root is aligned to its size",
            "hardware walks from another address than the hypervisor",
            "all"),
    I_10(
            "I-10",
            Severity.CRITICAL,
            "a leaf of the host maps its own address",
            "the host reaches memory that the ownership of this address says nothing about",
            "all"),
    I_11(
            "I-11",
            Severity.ERROR,
            "the host's memory is mapped rwx, normal and inner shareable, anything else rw",
            "the host sees its memory with another type or with other permissions than the hypervisor assumes",
            "all"),
    I_12(
            "I-12",
            Severity.ERROR,
            "annotations and shared pages are at level 3, and a block lies in one region",
            "one entry says something of pages that it was not meant for",
            "all; states until 6.13"),
    I_13(
            "I-13",
            Severity.ERROR,
            "an annotation names an owner that exists",
            "nobody can give the page back",
            "all; guests since 7.0"),
    I_14(
            "I-14",
            Severity.CRITICAL,
            "the host maps no page of the hypervisor",
            "the host can reach memory of the hypervisor",
            "all; since 7.0 it may read the text"),
    I_15(
            "I-15",
            Severity.CRITICAL,
            "the host cannot write the hypervisor's text",
            "the host can run any code at EL2",
            "all"),
    I_16(
            "I-16",
            Severity.ERROR,
            "only memory is annotated or shared, and none that is NOMAP",
            "a device or a page that the kernel must not touch changes hands",
            "all"),
    I_20(
            "I-20",
            Severity.CRITICAL,
            "a page of memory has exactly one owner",
            "two of host, hypervisor and guests can use the page as theirs, or nobody can",
            "all"),
    I_21(
            "I-21",
            Severity.CRITICAL,
            "what is to the hypervisor owned, shared or borrowed is to the host no page, borrowed or shared",
            "one of them reaches a page that the other holds for its own",
            "all"),
    I_22(
            "I-22",
            Severity.WARNING,
            "a page that the host shares is shared with somebody",
            "the page can neither be donated nor shared",
            "all"),
    I_23(
            "I-23",
            Severity.ERROR,
            "what the host's table annotates as the hypervisor's, the hypervisor owns and maps",
            "the page is lost, or the hypervisor faults on it",
            "all"),
    I_24(
            "I-24",
            Severity.CRITICAL,
            "a guest's page is to the host what it is to the guest, at the frame and as often as the guest maps it",
            "host and guest reach one page that each holds for its own, or a guest loses its memory",
            "since 6.14; donations since 7.0"),
    I_25(
            "I-25",
            Severity.WARNING,
            "only pages that host and hypervisor share, and the hypervisor's own, are pinned",
            "the page cannot be taken back",
            "all"),
    I_26(
            "I-26",
            Severity.CRITICAL,
            "EL2 maps memory at its linear address, executes its text only, and nothing that it can write",
            "data can become code at EL2, or EL2 works on another page than it means",
            "all"),
    I_27(
            "I-27",
            Severity.ERROR,
            "the host's state in the hyp_vmemmap agrees with the host's table",
            "the hypervisor decides by the one, hardware by the other",
            "since 6.14"),
    I_28(
            "I-28",
            Severity.CRITICAL,
            "guests have VMIDs of their own, and not the host's",
            "a guest can use translations of another one that are cached",
            "all"),
    I_29(
            "I-29",
            Severity.ERROR,
            "the pages of a memcache that the hypervisor holds are its own",
            "the hypervisor takes a page of somebody else for a table",
            "all");

    private final String id;
    private final Severity severity;
    private final String words;
    private final String meaning;
    private final String releases;

    Rule(String id, Severity severity, String words, String meaning, String releases) {
        this.id = id;
        this.severity = severity;
        this.words = words;
        this.meaning = meaning;
        this.releases = releases;
    }

    /// Stable: programs match on it.
    public String id() {
        return id;
    }

    public Severity severity() {
        return severity;
    }

    /// What holds.
    public String words() {
        return words;
    }

    /// What it means for isolation if it does not.
    public String meaning() {
        return meaning;
    }

    /// The releases of the kernel for which it holds.
    public String releases() {
        return releases;
    }
}
