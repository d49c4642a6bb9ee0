package dev.s2snap.inspect;

import static dev.s2snap.inspect.MadeMachine.HOST_PAGE;
import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.inspect.DiffSource.OfMachine;
import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.vmsa.Finding.Step;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.util.BitSet;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Two machines that were edited apart at random differ in exactly those pages of which a look at each says so.
class DiffPropertyTest {
    private static final long FRAMES = 0x6000_0000_0000L;
    private static final long MEMORY = 0x4000_0000L;
    private static final int PAGES = 1600;

    private static MadeMachine machine(Random random, int edits) {
        MadeMachine machine = new MadeMachine().era(Era.V7_0).vmemmap(FRAMES, 8);
        for (int page = 0; page < PAGES; page += 500) {
            machine.frame(FRAMES, 8, MEMORY + page * 4096L, 0);
        }
        if (random.nextBoolean()) {
            machine.hostBlock(MEMORY + 0x60_0000);
        }
        edit(machine, random, edits);
        return machine;
    }

    private static void edit(MadeMachine machine, Random random, int edits) {
        for (int i = 0; i < edits; i++) {
            long first = random.nextInt(1500);
            for (long page = first; page < Math.min(1500, first + 1 + random.nextInt(4)); page++) {
                edit(machine, random.nextInt(9), MEMORY + page * 4096);
            }
        }
    }

    private static void edit(MadeMachine machine, int what, long address) {
        switch (what) {
            case 0 -> machine.hostEntry(address, 3, 0);
            case 1 -> machine.hostEntry(address, 3, address | HOST_PAGE);
            case 2 -> machine.hostEntry(address, 3, address | (HOST_PAGE & ~0x80L));
            case 3 -> machine.hostEntry(address, 3, 0x2000_0000_0000_0002L);
            case 4 -> machine.hostEntry(address, 3, 0x2000_0080_0000_0004L | address >>> 12 << 20);
            case 5 -> machine.frame(FRAMES, 8, address, 0x1100_0001L);
            case 6 -> machine.frame(FRAMES, 8, address, 0x3300_0005L);
            case 7 -> machine.frame(FRAMES, 8, address, 7);
            default -> machine.frame(FRAMES, 8, address, 0);
        }
    }

    /// @param page of the region
    private static String said(MadeMachine machine, long page) {
        long address = MEMORY + page * 4096;
        String frame = "none";
        if (translate(machine.hyp().optional().orElseThrow(), FRAMES + (address >>> 12) * 8)
                instanceof Translation.Mapped mapped) {
            frame = Long.toHexString(machine.load64(mapped.output()) >>> 24);
        }
        return frame
                + switch (translate(machine.host().optional().orElseThrow(), address)) {
                    case Translation.Mapped(List<Step> _, int level, long descriptor, long output) ->
                        " " + level + " " + Long.toHexString(descriptor & 0x7ff) + " " + output;
                    case Translation.Fault(List<Step> _, int _, long descriptor) -> " " + Long.toHexString(descriptor);
                    default -> throw new AssertionError("all of it can be read");
                };
    }

    private static Translation translate(TranslationTable table, long address) {
        return table.translate(address);
    }

    private static BitSet pages(Diff diff) {
        BitSet pages = new BitSet();
        for (Diff.Group group : diff.groups()) {
            if (group.table().equals("host")) {
                for (Diff.Change change : group.changes()) {
                    int from = (int) ((change.start() - MEMORY) / 4096);
                    int to = (int) ((change.end() - MEMORY) / 4096);
                    assertThat(pages.get(from, to).isEmpty())
                            .as("no page is listed twice")
                            .isTrue();
                    pages.set(from, to);
                }
            }
        }
        return pages;
    }

    private static Diff diff(MadeMachine a, MadeMachine b) {
        return Diff.of(new OfMachine(Reading.of(a)), new OfMachine(Reading.of(b)), Optional.of(TableSelector.HOST));
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 2, 3, 10, 60})
    void thePagesThatDifferAreThoseThatSayOtherThings(int edits) {
        for (int seed = 0; seed < 40; seed++) {
            MadeMachine a = machine(new Random(seed), 40);
            MadeMachine b = machine(new Random(seed), 40);
            edit(b, new Random(1000 + seed), edits);
            long memory = PAGES * 4096L;
            a.regions(new MemoryRegion(MEMORY, memory, 0));
            b.regions(new MemoryRegion(MEMORY, memory, 0));
            BitSet expected = new BitSet();
            for (int page = 0; page < PAGES; page++) {
                expected.set(page, !said(a, page).equals(said(b, page)));
            }
            Diff bulk = diff(a, b);
            assertThat(pages(bulk)).as("seed %d", seed).isEqualTo(expected);
            assertThat(bulk.tables()).containsExactly(new Diff.Table("host", true));
            assertThat(bulk.equal()).isEqualTo(expected.isEmpty());
            // Without one memory map for both, bytes are not compared, and the answer is the same.
            b.regions(new MemoryRegion(MEMORY, memory, 0), new MemoryRegion(1L << 40, 4096, MemoryRegion.NOMAP));
            a.regions(new MemoryRegion(MEMORY, memory, 0), new MemoryRegion(1L << 40, 4096, MemoryRegion.NOMAP + 1));
            Diff runs = diff(a, b);
            assertThat(runs.tables()).containsExactly(new Diff.Table("host", false));
            assertThat(lines(runs)).as("seed %d", seed).isEqualTo(lines(bulk));
        }
    }

    private static List<String> lines(Diff diff) {
        return diff.groups().stream()
                .flatMap(group -> group.changes().stream()
                        .map(change -> group.meaning() + " " + change.start() + " " + change.end()))
                .toList();
    }
}
