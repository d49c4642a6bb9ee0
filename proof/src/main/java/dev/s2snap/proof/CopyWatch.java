package dev.s2snap.proof;

import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.Ram;
import dev.s2snap.model.SnapshotCall;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationTable;
import java.util.ArrayList;
import java.util.List;

/// Compares a copy with the live table at the moment when the call has made it and still holds the lock: the same
/// entries everywhere, but for the addresses of tables, which lead to pages of the copy (I-52).
final class CopyWatch implements SnapshotCall.Observer {
    private final PkvmModel model;
    private final Ram ram;
    private final TableGeometry shape;
    private final long live;
    private long copy = -1;
    private final List<Long> pages = new ArrayList<>();
    private String difference = "";

    CopyWatch(PkvmModel model) {
        this.model = model;
        ram = (Ram) model.memory();
        TranslationTable host = model.host().optional().orElseThrow();
        shape = host.geometry();
        live = host.root();
    }

    /// A call is coming whose copy gets its root at a physical address.
    void expect(long root) {
        copy = root;
        pages.clear();
        difference = "it was not reported";
        model.observer(this);
    }

    @Override
    public void reached(SnapshotCall.Phase phase) {
        if (phase == SnapshotCall.Phase.COPIED && copy != -1) {
            difference = "";
            for (int page = 0; page < shape.rootPages(); page++) {
                long offset = page * shape.granule();
                compare(live + offset, copy + offset, shape.startLevel());
            }
        }
    }

    private void compare(long from, long to, int level) {
        int count = level == shape.startLevel()
                ? Math.min(shape.rootEntries(), shape.entriesPerTable())
                : shape.entriesPerTable();
        long one = ram.offset(from, shape.granule());
        long other = ram.offset(to, shape.granule());
        for (int index = 0; index < count && difference.isEmpty(); index++) {
            long original = ram.bytes().get(PhysicalMemory.LE64, one + index * 8L);
            long copied = ram.bytes().get(PhysicalMemory.LE64, other + index * 8L);
            if (Descriptor.table(original, level)) {
                long page = shape.tableAddress(copied);
                if (!Descriptor.table(copied, level)) {
                    differs(from, index, original, copied);
                } else {
                    pages.add(page);
                    compare(shape.tableAddress(original), page, level + 1);
                }
            } else if (original != copied) {
                differs(from, index, original, copied);
            }
        }
    }

    private void differs(long page, int index, long original, long copied) {
        difference = "entry " + index + " of the table at 0x" + Long.toHexString(page) + " is 0x"
                + Long.toHexString(original) + ", and in the copy 0x" + Long.toHexString(copied);
    }

    /// How the copy differs from the table as it was, or an empty string.
    String difference() {
        return difference;
    }

    /// Pages of the copy below its root.
    List<Long> pages() {
        return pages;
    }
}
