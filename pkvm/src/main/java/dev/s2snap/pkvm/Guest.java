package dev.s2snap.pkvm;

import dev.s2snap.vmsa.TranslationTable;

/// A guest's stage-2 table.
///
/// @param index position in the machine's list of guests
/// @param vmid from VTTBR_EL2, not 0
/// @param table the stage 2 that the CPU walked while it ran the guest, or why it cannot be read
public record Guest(int index, int vmid, Fact<TranslationTable> table) {}
