package dev.s2snap.vmsa;

import java.lang.foreign.MemorySegment;

/// What a walk calls, in ascending input address, parents before children. It is called per table page and per
/// span of entries between table pointers, never per entry: the loop over a span belongs to the visitor.
public interface EntryVisitor {

    /// A table page is entered. Each page of a concatenated root is entered on its own.
    ///
    /// @param address physical address of the page
    /// @param inputAddress first address that it covers
    default void table(long address, int level, long inputAddress) {}

    /// A span of entries of one page, none of which is a table pointer: valid leaves, annotations, empty ones and
    /// reserved encodings. Adjacent spans of a page are separated by tables.
    ///
    /// @param bytes the memory's segment
    /// @param offset place of the first entry in `bytes`
    /// @param count number of entries, at least 1
    /// @param inputAddress first address that the first entry covers
    void entries(MemorySegment bytes, long offset, int count, int level, long inputAddress);

    /// Whether the visitor has seen for itself that the span which it was just given has nothing to report: no reserved
    /// encoding and none of [TableGeometry#suspectBits] in a valid entry. Otherwise the walk looks for these.
    default boolean clean() {
        return false;
    }

    /// Something that the architecture does not allow, or a page that is not there. The walk goes on behind it.
    /// Called for the first [TranslationTable#LISTED_FINDINGS] of each rule.
    default void finding(Finding finding) {}

    /// At the end of the walk: `number` more findings of `rule`, which were not passed on.
    default void unlisted(Finding.Rule rule, long number) {}

    /// At the end of the walk, if it is not 0: [Descriptor#TABLE_ATTRIBUTES] of all table descriptors, or-ed together.
    default void tableAttributes(long bits) {}

    /// What a range of input addresses maps is not known: its table could not be entered. There is a finding for it
    /// too.
    default void unread(long inputAddress, long size) {}
}
