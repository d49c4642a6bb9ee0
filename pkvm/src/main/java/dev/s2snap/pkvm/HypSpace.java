package dev.s2snap.pkvm;

import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// What EL2 maps, by physical address, and what for.
///
/// The linear map is the distance of virtual to physical address under which EL2 maps most. The hyp_vmemmap begins in
/// the middle of a quarter of the address space, and private mappings (stacks, fixmap slots, devices) lie below it in
/// the same quarter (`__io_map_base`, all releases). The text is what the linear map has executable around the identity
/// map's page: that page is part of the text (`.hyp.idmap.text`, all releases).
final class HypSpace {

    /// What a mapping is for, from its virtual address.
    enum Kind {
        LINEAR,
        IDENTITY,
        PRIVATE,
        VMEMMAP,
        /// In none of these places.
        STRAY
    }

    /// @param start first physical address
    /// @param end exclusive
    /// @param stack whether it is a stack: private, writable memory with nothing mapped below
    record Mapping(
            long start,
            long end,
            LeafRun run,
            Kind kind,
            boolean writable,
            boolean executable,
            boolean device,
            boolean stack) {

        long virtual(long physical) {
            return run.start() + (physical - start);
        }

        PageState state() {
            return PageState.ofSoftwareBits(run.bits());
        }
    }

    /// A range of physical addresses.
    record Range(long start, long end) {}

    private final TableGeometry geometry;
    private final long linear;
    private final boolean anyLinear;
    private final boolean privilegedBit;
    private final Optional<Range> privateSpace;
    private final long vmemmapEnd;
    private final List<Mapping> mappings = new ArrayList<>();
    private final List<Range> text = new ArrayList<>();

    HypSpace(TableAudit audit, Optional<HypVmemmap> vmemmap) {
        geometry = audit.table().geometry();
        long half = 1L << (geometry.inputBits() - 3);
        privateSpace = vmemmap.map(known -> new Range(known.base() & -(2 * half), known.base()));
        vmemmapEnd = vmemmap.map(known -> known.base() + half).orElse(0L);
        List<LeafRun> runs = audit.runs();
        // Kernels that write both execute-never bits of EL2&0 write them everywhere but in the text.
        privilegedBit = geometry.regime() == TranslationRegime.EL2_0
                && runs.stream().anyMatch(run -> run.mapped() && (run.bits() >>> 53 & 1) != 0);
        Map<Long, Long> distances = new HashMap<>();
        for (LeafRun run : runs) {
            if (run.mapped() && !special(run)) {
                distances.merge(run.start() - run.output(), run.size(), Long::sum);
            }
        }
        anyLinear = !distances.isEmpty();
        linear = distances.entrySet().stream()
                .max(Map.Entry.<Long, Long>comparingByValue().thenComparing(Map.Entry.comparingByKey()))
                .map(Map.Entry::getKey)
                .orElse(0L);
        long below = -1;
        for (LeafRun run : runs) {
            if (run.mapped()) {
                add(run, below);
            }
            below = run.end();
        }
        mappings.sort(Comparator.comparingLong(Mapping::start));
        findText();
    }

    private boolean special(LeafRun run) {
        return run.start() == run.output() || inPrivateSpace(run.start()) || inVmemmap(run.start());
    }

    /// @param below end of the run before, mapped or not
    private void add(LeafRun run, long below) {
        boolean writable = (run.bits() >>> 7 & 1) == 0;
        boolean device = (run.bits() >>> 2 & 7) >= 3;
        Kind kind = inVmemmap(run.start())
                ? Kind.VMEMMAP
                : inPrivateSpace(run.start())
                        ? Kind.PRIVATE
                        : run.start() - run.output() == linear
                                ? Kind.LINEAR
                                : run.start() == run.output() && executable(run.bits()) ? Kind.IDENTITY : Kind.STRAY;
        boolean stack = kind == Kind.PRIVATE && writable && !device && below != run.start();
        mappings.add(new Mapping(
                run.output(), run.output() + run.size(), run, kind, writable, executable(run.bits()), device, stack));
    }

    private void findText() {
        List<Range> executable = new ArrayList<>();
        for (Mapping mapping : mappings) {
            if (mapping.kind == Kind.LINEAR && mapping.executable) {
                Range last = executable.isEmpty() ? null : executable.getLast();
                if (last != null && last.end == mapping.start) {
                    executable.set(executable.size() - 1, new Range(last.start, mapping.end));
                } else {
                    executable.add(new Range(mapping.start, mapping.end));
                }
            }
        }
        for (Range range : executable) {
            boolean withIdentity = mappings.stream()
                    .anyMatch(mapping ->
                            mapping.kind == Kind.IDENTITY && mapping.start >= range.start && mapping.end <= range.end);
            if (withIdentity) {
                text.add(range);
            }
        }
    }

    /// Whether EL2 may execute it. Bit 54 is XN with one exception level and UXN with two; kernels before 7.0 write
    /// only that one with two as well, and mean EL2 by it.
    boolean executable(long bits) {
        boolean xn = (bits >>> 54 & 1) != 0;
        return !xn || (privilegedBit && (bits >>> 53 & 1) == 0);
    }

    boolean inPrivateSpace(long virtual) {
        return privateSpace.isPresent() && virtual >= privateSpace.get().start && virtual < privateSpace.get().end;
    }

    boolean inVmemmap(long virtual) {
        return privateSpace.isPresent() && virtual >= privateSpace.get().end && virtual < vmemmapEnd;
    }

    /// Whether it is known which addresses are private.
    boolean divided() {
        return privateSpace.isPresent() && anyLinear;
    }

    /// Whether the hypervisor's text was found.
    boolean textKnown() {
        return !text.isEmpty();
    }

    boolean inText(long start, long end) {
        return text.stream().anyMatch(range -> start >= range.start && end <= range.end);
    }

    /// Virtual address in the linear map.
    long linear(long physical) {
        return physical + linear;
    }

    /// Physical address of one in the linear map.
    long physical(long virtual) {
        return virtual - linear;
    }

    TableGeometry geometry() {
        return geometry;
    }

    /// All of them, by ascending physical address.
    List<Mapping> mappings() {
        return mappings;
    }
}
