/// Translation tables as the Arm architecture defines them, and nothing that Linux adds to them.
///
/// A tour, in the order in which things are used:
///
/// - [PhysicalMemory]: where the tables lie. Reads only; an address that is not there is an answer.
/// - [TableGeometry]: regime, granule, input size, start level and root, decoded from a control register.
/// - [Descriptor]: one 64-bit entry. [LeafAttributes] says in words what a leaf allows.
/// - [TranslationTable]: a root in a memory with a geometry. It can be walked ([EntryVisitor]) and
///   asked to translate one address ([Translation]).
/// - [LeafRuns]: the walk as maximal runs of equal leaves, with [TableCounts].
/// - [TableCopy]: an isomorphic copy of a tree in other pages, as the snapshot call makes it.
/// - [Finding]: what a table says that the architecture does not allow, or that could not be read.
///
/// Addresses and descriptors are unsigned 64-bit values in a `long`; ends are exclusive. Section
/// numbers refer to the Arm Architecture Reference Manual for A-profile (DDI 0487), chapter D8.
@NullMarked
package dev.s2snap.vmsa;

import org.jspecify.annotations.NullMarked;
