package dev.s2snap.inspect;

import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;

/// What a kernel's text says of a table: some bits of each entry, and no output address.
final class DiffTextTrack implements DiffTrack {
    private final List<KernelTable.Region> regions;
    private final KernelTableWords words;
    private final boolean complete;
    private int index;

    DiffTextTrack(KernelTable table) {
        regions = table.regions();
        words = new KernelTableWords(table);
        complete = table.complete();
    }

    @Override
    public void seek(long address) {
        while (index < regions.size() && regions.get(index).end() <= address) {
            index++;
        }
    }

    @Override
    public long end() {
        return index < regions.size() ? regions.get(index).end() : Long.MAX_VALUE;
    }

    @Override
    public String unread() {
        return complete || index < regions.size() ? "" : "the text tells nothing about what is behind its last line";
    }

    @Override
    public DiffEntry entry() {
        if (index == regions.size()) {
            return entry(DiffEntry.Form.EMPTY, OptionalInt.empty(), 0, -1, "", "", "");
        }
        KernelTable.Region region = regions.get(index);
        return entry(
                switch (region.kind()) {
                    case EMPTY -> DiffEntry.Form.EMPTY;
                    case BLOCK -> DiffEntry.Form.BLOCK;
                    case PAGE -> DiffEntry.Form.PAGE;
                    case INVALID ->
                        (region.told().bits() & KernelTextDialect.VALID) == 0
                                ? DiffEntry.Form.ANNOTATED
                                : DiffEntry.Form.RESERVED;
                },
                region.level().number(),
                region.told().bits(),
                region.told().mask(),
                words.permissions(region),
                words.memory(region),
                words.owner(region));
    }

    private static DiffEntry entry(
            DiffEntry.Form form,
            OptionalInt level,
            long bits,
            long mask,
            String permissions,
            String memory,
            String owner) {
        return new DiffEntry(
                form,
                level,
                OptionalInt.empty(),
                OptionalLong.empty(),
                bits,
                mask,
                permissions,
                memory,
                new TextDump.Ownership(owner),
                Optional.empty());
    }
}
