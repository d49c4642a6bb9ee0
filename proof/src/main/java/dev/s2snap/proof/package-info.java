/// What tries to break the model.
///
/// A {@link dev.s2snap.proof.Trial} is one machine with an oracle beside it. Before each step the
/// {@link dev.s2snap.proof.Oracle} says what must happen to the abstract state, the {@link dev.s2snap.proof.World};
/// behind it {@link dev.s2snap.proof.Sight} reads what the step stored, and says what is not so: a
/// {@link dev.s2snap.proof.Finding}. {@link dev.s2snap.proof.HostileHost} makes up steps, {@link
/// dev.s2snap.proof.KernelHost} lets the machine's own kernel work, {@link dev.s2snap.proof.Machines} are what they run
/// on. {@link dev.s2snap.proof.Campaign} runs trials, and {@link dev.s2snap.proof.Shrinker} leaves of a finding's steps
/// those that it needs, as a script.
@NullMarked
package dev.s2snap.proof;

import org.jspecify.annotations.NullMarked;
