/// Benchmarks, beside the house: nothing depends on them, and `.ci/deep` runs them by hand.
///
/// [dev.s2snap.bench.SnapshotBenchmark] is one call end to end, [dev.s2snap.bench.TableCopyBenchmark] the copy against
/// the copy of bare pages, [dev.s2snap.bench.ProtectionBenchmark] faults and shares;
/// `ResidentMemory` is a program of its own. [dev.s2snap.model.Workbench] gives them the inside of the model.
///
/// JMH fills the fields of its states, so null is not tracked here.
@NullUnmarked
package dev.s2snap.bench;

import org.jspecify.annotations.NullUnmarked;
