package dev.s2snap.model;

/// `struct kvm_pgtable_snapshot` of v4 01/10 with the page-table object of 6.8 and later: 104 bytes at offset 0 of a
/// page, shared by host and hypervisor. Offsets in bytes.
///
/// | offset | size | field            | written by |
/// |--------|------|------------------|------------|
/// | 0      | 4    | pgtable.ia_bits  | hyp        |
/// | 4      | 1    | pgtable.start_level | hyp     |
/// | 8      | 8    | pgtable.pgd      | hyp        |
/// | 16     | 8    | pgtable.mm_ops   | hyp        |
/// | 24     | 8    | pgtable.mmu      | nobody     |
/// | 32     | 4    | pgtable.flags    | hyp        |
/// | 40     | 8    | pgtable.force_pte_cb | nobody |
/// | 48     | 8    | mc.head          | host, hyp  |
/// | 56     | 8    | mc.nr_pages      | host, hyp  |
/// | 64     | 8    | pgd_hva          | host       |
/// | 72     | 8    | pgd_pages        | host       |
/// | 80     | 8    | used_pages_hva   | host       |
/// | 88     | 8    | num_used_pages   | host       |
/// | 96     | 8    | used_pages_indx  | host, hyp  |
public final class SnapshotStruct {
    public static final int IA_BITS = 0;
    public static final int START_LEVEL = 4;
    public static final int PGD = 8;
    public static final int MM_OPS = 16;
    public static final int MMU = 24;
    public static final int FLAGS = 32;
    public static final int FORCE_PTE_CB = 40;
    public static final int MC_HEAD = 48;
    public static final int MC_NR_PAGES = 56;
    public static final int PGD_HVA = 64;
    public static final int PGD_PAGES = 72;
    public static final int USED_PAGES_HVA = 80;
    public static final int NUM_USED_PAGES = 88;
    public static final int USED_PAGES_INDX = 96;
    public static final int SIZE = 104;

    private SnapshotStruct() {}
}
