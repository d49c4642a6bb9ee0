/// The command line: parse, wire, print. The only package that knows all others.
///
/// - [Main]: the commands, exit statuses, and how errors become one line.
/// - [Sources]: from what the user wrote to a [dev.s2snap.pkvm.Machine], with [SourceOptions].
/// - [DumpCommand], [InfoCommand] and others: a command each. [Output] is where they write to.
/// - [CompletionCommand], [HelpCommand]: about the commands themselves.
/// - [Rehearsal]: what the launcher has the JVM remember for quick starts.
@NullMarked
package dev.s2snap.cli;

import org.jspecify.annotations.NullMarked;
