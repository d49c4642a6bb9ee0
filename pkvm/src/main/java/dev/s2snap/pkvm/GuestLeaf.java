package dev.s2snap.pkvm;

import dev.s2snap.pkvm.MachineView.GuestTable;
import dev.s2snap.vmsa.LeafRun;

/// What a guest maps, by physical address.
///
/// @param start first physical address
/// @param end exclusive
record GuestLeaf(long start, long end, LeafRun run, GuestTable guest) {
    long input(long physical) {
        return run.start() + (physical - start);
    }

    PageState state() {
        return PageState.ofSoftwareBits(run.bits());
    }
}
