package dev.s2snap.pkvm;

/// How a kernel lays out `struct hyp_page`, the entry that the hyp_vmemmap has for each page frame. Little-endian.
///
/// | releases | bytes | |
/// |---|---|---|
/// | 6.1 to 6.13 | 4 | u16 reference count, u16 order |
/// | 6.14 to 6.16 | 8 | u16 reference count, u8 order, u8 host state, u32 number of guests that share it |
/// | 6.17 and later | 8 | the same, but that byte is 4 bits of host state and 4 bits of inverted hypervisor state |
public enum HypPageLayout {
    /// Counts only: the page states are in descriptors.
    COUNTS(4) {
        @Override
        public int order(long entry) {
            int order = (int) (entry >>> 16) & 0xffff;
            return order == 0xffff ? NO_ORDER : order;
        }

        @Override
        public PageState hostState(long entry) {
            throw new UnsupportedOperationException("no states in this layout");
        }

        @Override
        public long guestShares(long entry) {
            return 0;
        }
    },

    /// With the host's state: e94a7dea2972, 6.14. NOPAGE is 4, a bit of its own.
    HOST_STATE(8) {
        @Override
        public PageState hostState(long entry) {
            return switch ((int) (entry >>> 24) & 0xff) {
                case 0 -> PageState.OWNED;
                case 1 -> PageState.SHARED_OWNED;
                case 2 -> PageState.SHARED_BORROWED;
                case 4 -> PageState.NOPAGE;
                default -> PageState.RESERVED;
            };
        }
    },

    /// With both states, 6.17. NOPAGE is 3; the hypervisor's state is stored xor 3, so that an entry of zeros says
    /// owned
    /// by the host and not mapped at EL2.
    BOTH_STATES(8) {
        @Override
        public PageState hostState(long entry) {
            return ofBits((int) (entry >>> 24) & 0xf);
        }

        @Override
        public PageState hypState(long entry) {
            return ofBits(((int) (entry >>> 28) & 0xf) ^ 3);
        }

        private static PageState ofBits(int bits) {
            return switch (bits) {
                case 0 -> PageState.OWNED;
                case 1 -> PageState.SHARED_OWNED;
                case 2 -> PageState.SHARED_BORROWED;
                case 3 -> PageState.NOPAGE;
                default -> PageState.RESERVED;
            };
        }
    };

    /// The order of a page that is not the head of a free or allocated block.
    public static final int NO_ORDER = -1;

    private final int entrySize;

    HypPageLayout(int entrySize) {
        this.entrySize = entrySize;
    }

    /// Bytes of an entry. The methods below take them as the low bytes of a `long`.
    public int entrySize() {
        return entrySize;
    }

    public int refcount(long entry) {
        return (int) entry & 0xffff;
    }

    /// log2 of the pages of the block that begins with this page, or [#NO_ORDER].
    public int order(long entry) {
        int order = (int) (entry >>> 16) & 0xff;
        return order == 0xff ? NO_ORDER : order;
    }

    /// What the page is to the host.
    ///
    /// @throws UnsupportedOperationException if the layout has no host states
    public abstract PageState hostState(long entry);

    /// What the page is to the hypervisor.
    ///
    /// @throws UnsupportedOperationException if the layout has no hypervisor states
    public PageState hypState(long entry) {
        throw new UnsupportedOperationException("no hypervisor states in this layout");
    }

    /// With how many guests the host shares the page (host_share_guest_count); 0 in layouts that do not count.
    public long guestShares(long entry) {
        return entry >>> 32;
    }
}
