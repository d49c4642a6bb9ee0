package dev.s2snap.pkvm;

/// Meaning of an invalid, non-zero stage-2 entry.
public sealed interface Annotation {

    /// The page, or what is left of the block, belongs to `owner`.
    record OwnedBy(Owner owner) implements Annotation {}

    /// A break-before-make was going on.
    record Locked() implements Annotation {}

    /// A guest page that was taken back by force, 7.0 and later.
    record Poisoned() implements Annotation {}

    /// A value that this encoding does not have.
    record Unknown(long value) implements Annotation {}

    /// How a kernel writes annotations.
    enum Format {
        /// Owner id in bits 9:2 (KVM_INVALID_PTE_OWNER_MASK), bit 10 locked; 6.1 to 6.18.
        OWNER_ID("owner id in bits 9:2") {
            @Override
            public Annotation decode(long descriptor) {
                if (descriptor == LOCKED_BIT) {
                    return new Locked();
                }
                return descriptor == 1 << 2 ? new OwnedBy(Owner.HYP) : new Unknown(descriptor);
            }
        },
        /// Type in bits 63:60, payload in 59:1 (kvm_invalid_pte_type); 7.0 and later.
        TYPED("type in bits 63:60") {
            @Override
            public Annotation decode(long descriptor) {
                long payload = descriptor & 0x0fff_ffff_ffff_ffffL;
                return switch ((int) (descriptor >>> 60)) {
                    case 1 -> payload == 0 ? new Locked() : new Unknown(descriptor);
                    case 2 -> donation(descriptor);
                    case 3 -> payload == 0 ? new Poisoned() : new Unknown(descriptor);
                    default -> new Unknown(descriptor);
                };
            }

            private Annotation donation(long descriptor) {
                long meta = descriptor >>> 4 & (1L << 56) - 1;
                return switch ((int) (descriptor >>> 1) & 7) {
                    case 0 -> meta == 0 ? new OwnedBy(Owner.HOST) : new Unknown(descriptor);
                    case 1 -> meta == 0 ? new OwnedBy(Owner.HYP) : new Unknown(descriptor);
                    case 2 -> new OwnedBy(new Owner.Guest((int) meta & 0xffff, meta >>> 16));
                    default -> new Unknown(descriptor);
                };
            }
        };

        private static final long LOCKED_BIT = 1 << 10;

        private final String words;

        Format(String words) {
            this.words = words;
        }

        public String words() {
            return words;
        }

        /// Decodes an entry whose bit 0 is clear and which is not zero.
        public abstract Annotation decode(long descriptor);
    }
}
