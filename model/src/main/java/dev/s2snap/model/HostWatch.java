package dev.s2snap.model;

/// Sees what the host of a machine does, from [PkvmModel#hvc], [PkvmModel#read] and [PkvmModel#write]: each hypercall
/// and each access, before it is made and when it is over. One thread only.
public interface HostWatch {
    /// A hypercall, with the registers that it is made with.
    void calls(Cpu cpu);

    /// @param alive whether the hypervisor survived it; then the registers have the answer
    void called(Cpu cpu, boolean alive);

    void reads(long address);

    void writes(long address, long value);

    /// An access is over.
    void accessed(PkvmModel.Access access);
}
