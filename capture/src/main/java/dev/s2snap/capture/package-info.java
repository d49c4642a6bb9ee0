/// Machines found: what files and running machines say, as a [dev.s2snap.pkvm.Machine].
///
/// - [CapturedMachine]: the machine in a file, ready to be asked. It joins the memory with the registers.
/// - [ElfCore]: physical memory in an ELF core, mapped and never read whole. [ElfHeaders] decodes and distrusts its
///   headers, [CorePieces] settles where they overlap.
/// - [RegisterFile]: the JSON that `--regs` names.
/// - [CaptureNote]: the note by which a capture of ours carries its registers and facts with it; the same JSON is in
/// the
///   file that `--machine` names.
/// - [CaptureWriter]: writes such a capture, all table pages at their own addresses, through an [AtomicFile].
///
/// Whatever is wrong with an input is a [CaptureException] with one sentence for a person.
@NullMarked
package dev.s2snap.capture;

import org.jspecify.annotations.NullMarked;
