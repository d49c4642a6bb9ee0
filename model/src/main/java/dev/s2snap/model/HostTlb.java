package dev.s2snap.model;

import dev.s2snap.vmsa.TableGeometry;
import java.util.HashMap;
import java.util.Map;

/// Translations of the host's stage 2 that one CPU remembers: leaves, each for the whole range that it maps, till they
/// are invalidated. A larger TLB than any machine has, which never forgets by itself: the worst that software has to
/// live with (D8.16).
final class HostTlb {
    /// By [#span].
    private final Map<Long, Long> leaves = new HashMap<>();

    private final TableGeometry geometry;

    HostTlb(TableGeometry geometry) {
        this.geometry = geometry;
    }

    /// What a leaf of a level maps: its first address, and the level in bits that no first address has.
    private long span(long ipa, int level) {
        return (ipa & -geometry.entrySize(level)) | (level - TableGeometry.FIRST_LEVEL);
    }

    private static int level(long span) {
        return (int) (span & LEVEL_BITS) + TableGeometry.FIRST_LEVEL;
    }

    private static final long LEVEL_BITS = 7;

    void put(long ipa, int level, long descriptor) {
        leaves.put(span(ipa, level), descriptor);
    }

    /// Where an access goes that needs the permissions `needed` of a descriptor, or -1 if that is not known here.
    long output(long ipa, long needed) {
        for (int level = geometry.startLevel(); level <= TableGeometry.LAST_LEVEL; level++) {
            Long descriptor = leaves.get(span(ipa, level));
            if (descriptor != null && (descriptor & needed) != 0) {
                return geometry.outputAddress(descriptor, level) | (ipa & (geometry.entrySize(level) - 1));
            }
        }
        return -1;
    }

    /// @param level the level of the leaf, which a TLBI with a hint has to name rightly, or [Recorder#LEVEL_UNKNOWN]
    void remove(long ipa, int level) {
        if (level != Recorder.LEVEL_UNKNOWN) {
            leaves.remove(span(ipa, level));
            return;
        }
        for (int each = geometry.startLevel(); each <= TableGeometry.LAST_LEVEL; each++) {
            leaves.remove(span(ipa, each));
        }
    }

    void removeRange(long ipa, long size) {
        leaves.keySet().removeIf(span -> {
            long first = span & ~LEVEL_BITS;
            return first < ipa + size && ipa < first + geometry.entrySize(level(span));
        });
    }

    void clear() {
        leaves.clear();
    }
}
