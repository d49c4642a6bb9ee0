/// An executable pKVM: EL2's host memory protection and the snapshot hypercall, on real bytes in a real physical
/// memory, and the host that calls it.
///
/// The base is Linux 6.12.117 with its own bugs; the snapshot call comes in two variants that stand on it.
///
/// - [PkvmModel]: the machine. It is configured ([ModelConfig]), initialised, called, and read as a
///   [dev.s2snap.pkvm.Machine].
/// - [Ram], [El2Memory]: physical memory, and how EL2 sees it through its own stage 1 and TLB.
/// - [Cpus], [El2Tlb], [HostTlb], [HypLock]: CPUs as threads, what each remembers, and what keeps them apart.
/// - [WriteLog], [HostWatch], [Recorder]: who wants to see what happens.
/// - [AddressMap], [MemoryMap]: EL2's address maps, and the regions of memory.
/// - [Vmemmap], [HypPool], [EarlyAllocator]: struct hyp_page, the buddy allocator, the boot-time one.
/// - [PageTable], [Stage2], [HypStage1]: the generic walker, and the operations on the two kinds of tables.
/// - [MemProtect]: page states and ownership: share, unshare, donate, host faults.
/// - [GuestVms]: VMs and vCPUs, from creation to teardown. [VmStructs]: where their words lie.
/// - [Hypervisor]: all of EL2's state, and its initialisation. [Hypercall]: the table of calls. [Hypercalls]: SMCCC
/// dispatch.
/// - [SnapshotCall]: [PostedSnapshot] is v4 as posted; [CorrectedSnapshot] is what it should have been.
/// - [HostKernel], [HostVm]: the caller's side, of the snapshot and of VMs. [HostKvm] runs guests at EL1, [DebugFs]
/// shows
///   their tables and the host's.
///
/// Everything that EL2 would panic on ends in [HypPanic], which [PkvmModel] turns into a final state.
@NullMarked
package dev.s2snap.model;

import org.jspecify.annotations.NullMarked;
