/// Answers about a machine, whatever it is: only a [dev.s2snap.pkvm.Machine] is seen here, so a model and a capture of
/// it
/// get the same answer.
///
/// - [Reading]: a machine, with how its ownership bits are understood, known or inferred; walks each table once.
/// - [TableSelector]: which table is meant; [TableDump]: one table whole, and who owns what ([StateRun]).
/// - [TextDump], [JsonDump] and [CsvDump]: the same for a person and for programs.
/// - [KernelText]: a stage 2 in the words of a kernel's debugfs; [KernelTextReader] reads such a text as [KernelTable].
/// - [Owners]: all memory by owner. [Check]: the rules that are broken, and [Lint].
/// - [Explain]: everything about one address, as an [Explanation]; [TextExplanation] and [JsonExplanation] print it.
/// - [MachineInfo]: every fact and where it comes from.
///
/// What cannot be answered is a [NoAnswerException] with one sentence. Text is made as bytes, by [ByteText].
@NullMarked
package dev.s2snap.inspect;

import org.jspecify.annotations.NullMarked;
