/// What protected KVM means by the bits that the architecture leaves to software. No behaviour of its own, no I/O.
///
/// - [Machine]: memory, registers and tables of one machine, live model or capture alike.
/// - [Fact]: a value and where it comes from, or why it is not known. Nothing is guessed silently.
/// - [MachineTables]: which registers hold the host's, the hypervisor's and the guests' tables.
/// - [Encodings]: how this kernel writes ownership. They changed piece by piece between releases, so they are
///   composed; an [Era] is a bundle with a name.
/// - [Annotation], [PageState], [Owner]: what an entry says once decoded.
/// - [PageFrames]: the hyp_vmemmap, whose entries a [HypPageLayout] decodes.
/// - [HypPlaces]: what the hypervisor has where, as far as the tables tell.
/// - [Rule]: what has to hold on every machine; [Rules] checks it on a [MachineView] and answers with [Violation]s.
@NullMarked
package dev.s2snap.pkvm;

import org.jspecify.annotations.NullMarked;
