package dev.s2snap.cli;

import dev.s2snap.inspect.Reading;
import dev.s2snap.inspect.TableDump;
import dev.s2snap.inspect.TableSelector;
import dev.s2snap.inspect.TextDump;
import dev.s2snap.model.Errno;
import dev.s2snap.model.HostKernel;
import dev.s2snap.model.HostKernel.Lent;
import dev.s2snap.model.HostKernel.Ownership;
import dev.s2snap.model.Hypercalls;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.SnapshotCall;
import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.Fact;
import dev.s2snap.pkvm.Guest;
import dev.s2snap.pkvm.HypVmemmap;
import dev.s2snap.pkvm.Machine;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.PageState;
import dev.s2snap.pkvm.Registers;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableCounts;
import dev.s2snap.vmsa.TranslationTable;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// One snapshot call on a model, told in the six steps of the seed's diagram while they happen. Who owns the lent pages
/// is read from the machine's tables each time.
final class SnapshotStory {
    private static final String HYP = "        ";

    private final PkvmModel model;
    private final StringBuilder text;
    private final HostKernel host;
    private final SourceOptions options;
    private final CopiedMachine copied = new CopiedMachine();
    private final ByteArrayOutputStream dump = new ByteArrayOutputStream();
    private @Nullable Reading reading;

    SnapshotStory(PkvmModel model, SourceOptions options, StringBuilder text) {
        this.model = model;
        this.options = options;
        this.text = text;
        this.host = model.hostKernel();
    }

    /// The dump of the copy, once it was taken.
    byte[] dump() {
        return dump.toByteArray();
    }

    private void line(String line) {
        text.append(line).append('\n');
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }

    /// @return whether the call succeeded
    boolean tell() throws IOException {
        line("[--- HOST ---]");
        line("(1) allocate memory for the snapshot");
        Lent lent = host.allocate();
        line("      struct     " + pages(1) + hex(lent.struct()));
        line("      PGD        " + pages(lent.pgdPages()) + hex(lent.pgd()));
        line("      memcache   " + pages(lent.list().size()) + "list from "
                + hex(lent.list().getFirst()));
        line("      used pages " + pages(lent.arrayPages()) + hex(lent.array()));
        owners("      ", lent);
        line("(2) invoke the __pkvm_host_stage2_snapshot(snapshot) interface");
        line("      hvc x0=" + hex(Hypercalls.id(Hypercalls.HOST_STAGE2_SNAPSHOT)) + " x1="
                + hex(model.addresses().kern(lent.struct())));
        line("    |____");
        line("    [--- HYP ---]");
        model.observer(phase -> reached(phase, lent));
        int error = host.call(model.cpu(0), lent);
        model.observer(null);
        line("    [--- return from HYP: " + Errno.name(error) + " ---]");
        line("[--- HOST ---]");
        if (error == 0) {
            readCopy(lent);
        }
        line("(6) free the memory for the snapshot");
        host.free(lent);
        line("      " + host.pagesAvailable() + " pages free");
        line("");
        return error == 0;
    }

    private static String pages(int count) {
        String number = String.valueOf(count);
        return " ".repeat(Math.max(0, 5 - number.length())) + number + (count == 1 ? " page   " : " pages  ");
    }

    private void reached(SnapshotCall.Phase phase, Lent lent) {
        switch (phase) {
            case DONATED -> {
                line("    (3) donate the snapshot from HOST -> HYP");
                owners(HYP, lent);
            }
            case COPIED -> {
                line("    (4) save the host stage-2 pagetables in the snapshot");
                owners(HYP, lent);
                // What the copy says about the hypervisor is true of its table now: it unmaps the lent pages next.
                Reading now = options.reading(copied);
                model.hyp().optional().ifPresent(now::walk);
                reading = now;
            }
            case RETURNED -> {
                line("    (5) donate the snapshot from HYP -> HOST");
                owners(HYP, lent);
            }
        }
    }

    private void owners(String indent, Lent lent) {
        for (Map.Entry<Ownership, Integer> entry : host.owners(lent).entrySet()) {
            line(indent + entry.getValue() + " pages: host "
                    + words(entry.getKey().host()) + ", hyp "
                    + words(entry.getKey().hyp()));
        }
    }

    private static String words(PageState state) {
        return state == PageState.NOPAGE ? "has no access" : "state " + state.words();
    }

    private void readCopy(Lent lent) throws IOException {
        TranslationTable copy = host.read(lent);
        copied.host = Fact.known(copy, "the snapshot");
        long used = host.pagesUsed(lent);
        LeafRuns.Result runs = LeafRuns.of(copy);
        line("    read the copy: root at " + hex(copy.root()) + ", " + used + " of "
                + lent.list().size() + " memcache pages used");
        line("      " + runs.counts().total(TableCounts.Kind.TABLES) + " tables, "
                + runs.counts().total(TableCounts.Kind.LEAVES) + " leaves, "
                + runs.counts().total(TableCounts.Kind.ANNOTATED) + " annotations, in "
                + runs.runs().size()
                + " runs; the lent pages are in it as the hypervisor's");
        if (reading != null) {
            TextDump.write(TableDump.of(reading, TableSelector.HOST), dump);
        }
    }

    /// The model with the copy in the place of the host's table.
    private final class CopiedMachine implements Machine {
        private Fact<TranslationTable> host = Fact.unknown("the copy has not been made");

        @Override
        public PhysicalMemory memory() {
            return model.memory();
        }

        @Override
        public Registers registers() {
            return model.registers();
        }

        @Override
        public List<Registers> guestRegisters() {
            return model.guestRegisters();
        }

        @Override
        public Fact<List<MemoryRegion>> regions() {
            return model.regions();
        }

        @Override
        public Fact<TranslationTable> host() {
            return host;
        }

        @Override
        public Fact<TranslationTable> hyp() {
            return model.hyp();
        }

        @Override
        public List<Guest> guests() {
            return model.guests();
        }

        @Override
        public Fact<HypVmemmap> vmemmap() {
            return model.vmemmap();
        }

        @Override
        public Fact<Era> era() {
            return model.era();
        }
    }
}
