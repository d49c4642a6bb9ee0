package dev.s2snap.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/// The defects of v4 of the series by their numbers, and how each is shown.
final class DefectsCatalogue {
    /// How a defect is shown.
    enum Show {
        /// A script that calls the hypervisor, with an audit of the call.
        CALL,
        /// The host's allocator, and a script for what the hypervisor makes of it.
        ALLOCATION,
        /// The host's allocator alone.
        FREEING,
        /// The posted parser over a copy that a call made.
        PARSER,
        /// Not at all: no defect on this base.
        FORWARD,
        /// Not at all: it is in code that is no part of the model.
        HIDDEN;

        boolean shown() {
            return this != FORWARD && this != HIDDEN;
        }
    }

    /// One defect.
    ///
    /// @param severity A isolation, B panic, C wrong result or leak, D robustness, F forward port, H host side
    /// @param line what is wrong, in a line
    /// @param scripts names in samples/defects, the main one first
    /// @param note why it is not shown, or what cannot be seen; may be empty
    record Defect(String id, String severity, String line, Show show, List<String> scripts, String note) {}

    private static final String NOT_MODELLED = "EL1 kernel code that is no part of the model: ";

    static final List<Defect> ALL = List.of(
            call("D-01", "A", "teardown gives back whatever pages the host lists", "D-01-text-table", "D-01-twice"),
            call("D-02", "A", "an array of no pages: one free 8-byte write at EL2", "D-02-vm-table"),
            call(
                    "D-03",
                    "A",
                    "page counts that wrap: the root is copied anywhere",
                    "D-03-el2-stacks",
                    "D-03-overrun",
                    "D-03-wrap"),
            call("D-04", "C", "a range may run past the end of memory", "D-04-nomap"),
            call("D-05", "A/B", "one entry is written behind the end of the array", "D-05-swapped", "D-05-abort"),
            call("D-06", "B", "the rollback never ends"),
            call("D-07", "A/B", "the rollback begins with the page that was refused", "D-07-shared", "D-07-two-cpus"),
            call(
                    "D-08",
                    "B",
                    "circles, aliases, miscounts: noticed, and fatal",
                    "D-08-array-is-struct",
                    "D-08-miscount"),
            call("D-09", "B", "a donation out of table pages dies half-way", "D-09-host-pool"),
            call("D-10", "C", "an EL2 address stays in the struct after -ENOMEM"),
            call("D-11", "C", "a half-done copy points to live tables"),
            noted(
                    "D-12",
                    "C",
                    "the copy shows the hypervisor's pages, by design",
                    "Not changed: a correct call shows it."),
            call("D-13", "D", "one errno for every mistake"),
            noted(
                    "D-14",
                    "D",
                    "work that grows with memory, interrupts masked",
                    "Not changed: the corrected call does the same work. How long it takes on hardware cannot be seen."),
            noted(
                    "D-15",
                    "D",
                    "blocks under the buffers are lost for good",
                    "Not changed: the base splits them and never joins them again."),
            noted(
                    "D-16",
                    "D",
                    "the worst case is demanded for the memcache",
                    "Not changed: the recorded runs ask for it."),
            call("D-17", "D", "callable before there is a protected mode"),
            noted(
                    "D-18",
                    "D",
                    "leaves are visited for nothing; a dead callback",
                    "The model copies whole pages in both variants, so the visits are counted from the table; the"
                            + " time they take and the callback that is never called cannot be seen."),
            new Defect(
                    "D-19",
                    "D",
                    "cache maintenance, and races that are sound",
                    Show.CALL,
                    List.of("D-19", "D-19-late-store"),
                    "Caches and DMA are not modelled: that pages are returned without a clean to PoC, and that a device"
                            + " could write them, cannot be seen."),
            forward(
                    "D-20",
                    "clears hyp_page, which later holds the page states",
                    "page states are in descriptors here; from 6.14 they are in struct hyp_page"),
            forward(
                    "D-21",
                    "the struct embeds a kernel type that changes",
                    "one layout only on this base; the type changed in 6.8 and later"),
            forward(
                    "D-22",
                    "takes links and numbers as they were in 6.7",
                    "memcache links carry no flags here, and the call table is that of 6.7"),
            new Defect(
                    "D-23",
                    "H",
                    "allocates bytes where pages are meant",
                    Show.ALLOCATION,
                    List.of("D-23"),
                    "A defect of the host alone: the right side is the corrected host."),
            new Defect("D-24", "H", "frees bytes where pages are meant", Show.FREEING, List.of(), ""),
            hidden("D-25", "the debugfs file leaks its seq_file", NOT_MODELLED + "seq_file and debugfs"),
            call("D-26", "H", "NOT_SUPPORTED is taken for a result"),
            hidden(
                    "D-27",
                    "a guest's file takes struct kvm for its record",
                    NOT_MODELLED + "the layout of struct kvm, and debugfs"),
            parser("D-28", "level names: index behind the end of the list"),
            parser("D-29", "BLK is printed for invalid entries"),
            parser("D-30", "the token for FF-A is never printed"),
            parser("D-31", "the token for NOPAGE is never printed"),
            parser("D-32", "the last region is never printed"),
            hidden(
                    "D-33",
                    "a guest's private data is read as a snapshot",
                    NOT_MODELLED + "the private pointers of debugfs files"),
            call("D-34", "B", "2 GiB and more can be lent and not given back"));

    private DefectsCatalogue() {}

    private static Defect call(String id, String severity, String line, String... more) {
        List<String> scripts = new ArrayList<>(List.of(id));
        scripts.addAll(List.of(more));
        return new Defect(id, severity, line, Show.CALL, List.copyOf(scripts), "");
    }

    private static Defect noted(String id, String severity, String line, String note) {
        return new Defect(id, severity, line, Show.CALL, List.of(id), note);
    }

    private static Defect parser(String id, String line) {
        return new Defect(id, "H", line, Show.PARSER, List.of(id), "");
    }

    private static Defect forward(String id, String line, String why) {
        return new Defect(id, "F", line, Show.FORWARD, List.of(), why);
    }

    private static Defect hidden(String id, String line, String why) {
        return new Defect(id, "H", line, Show.HIDDEN, List.of(), why);
    }

    /// @param id as it is written, or in lower case, or without the leading zero
    static Optional<Defect> find(String id) {
        String upper = id.toUpperCase(Locale.ROOT);
        String full = upper.matches("D-\\d") ? "D-0" + upper.charAt(2) : upper;
        return ALL.stream().filter(defect -> defect.id().equals(full)).findFirst();
    }

    /// A severity in words.
    static String words(String severity) {
        return switch (severity) {
            case "A" -> "isolation is broken while the hypervisor goes on running";
            case "A/B" -> "isolation is broken, or the hypervisor panics";
            case "B" -> "the hypervisor panics at what a host says";
            case "C" -> "a wrong result, or information leaks";
            case "D" -> "robustness or speed";
            case "F" -> "a trap for who ports it to a later kernel";
            default -> "host side";
        };
    }
}
