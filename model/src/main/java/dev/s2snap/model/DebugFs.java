package dev.s2snap.model;

import dev.s2snap.vmsa.GeometryException;
import dev.s2snap.vmsa.TranslationTable;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The files of the host's debugfs that show stage-2 tables, as patches 02, 03 and 10 of the series register them,
/// without their defects.
///
/// | file | opened | read |
/// |---|---|---|
/// | kvm/host_page_tables | a snapshot is taken, by the hypercall | the copy as text |
/// | kvm/PID-FD/stage2_page_tables | a reference on the VM is taken | its table as text, as it is then |
/// | kvm/PID-FD/ipa_range | the same | bits of guest physical address |
/// | kvm/PID-FD/stage2_levels | the same | levels of the table |
///
/// What a file needs is taken when it is opened and given back when it is released, on every path: D-25, where the
/// posted files leak on release. Each open file has a record of its own and none is taken for another (D-27, D-33).
///
/// Not thread-safe: no files while programs run on several CPUs.
public final class DebugFs {
    public static final String ROOT = "kvm";

    /// D-33: the code of the series says host_page_tables and its cover letter host_stage2_page_tables.
    public static final String HOST_TABLE = ROOT + "/host_page_tables";

    /// In the folder of a VM: its table as text.
    public static final String GUEST_TABLE = "stage2_page_tables";

    /// In the folder of a VM: bits of guest physical address.
    public static final String IPA_RANGE = "ipa_range";

    /// In the folder of a VM: levels of its table.
    public static final String LEVELS = "stage2_levels";

    /// Makes the text of a table. What the text depends on is said by who owns the table (D-33).
    @FunctionalInterface
    public interface TableText {
        /// @param host the host's table, with page states in it; else a guest's
        /// @param forcedWriteBack memory attributes have the encoding of FEAT_S2FWB
        byte[] of(TranslationTable table, boolean host, boolean forcedWriteBack);
    }

    private final PkvmModel model;
    private final HostKernel host;
    private final TableText text;

    public DebugFs(PkvmModel model, TableText text) {
        this.model = model;
        this.host = model.hostKernel();
        this.text = text;
    }

    /// What is in each folder, from the root on, by path: names of files and folders.
    public Map<String, List<String>> folders() {
        Map<String, List<String>> folders = new LinkedHashMap<>();
        List<String> top = new ArrayList<>(List.of("host_page_tables"));
        folders.put(ROOT, top);
        for (HostGuest guest : host.kvm().guests()) {
            if (!guest.closed()) {
                top.add(guest.name());
                folders.put(ROOT + "/" + guest.name(), List.of(IPA_RANGE, LEVELS, GUEST_TABLE));
            }
        }
        return folders;
    }

    /// What [#open] answers.
    public sealed interface Opening permits OpenFile, Refused {}

    /// The file could not be opened, and nothing is different from before.
    ///
    /// @param error an errno
    public record Refused(int error) implements Opening {}

    /// Opens a file.
    ///
    /// @param path such as `kvm/host_page_tables`
    /// @return the file; or -ENOENT if there is none, or its VM is going away; -ENOMEM; for the host's table also
    ///     -EOPNOTSUPP if the hypervisor does not have the call, or what else it answers
    /// @throws HostKernel.HostException if the hypervisor panicked, which is the end of the host
    public Opening open(String path) {
        if (path.equals(HOST_TABLE)) {
            return openHostTable();
        }
        String[] parts = path.split("/", -1);
        HostGuest guest =
                parts.length == 3 && parts[0].equals(ROOT) ? host.kvm().find(parts[1]) : null;
        if (guest == null) {
            return new Refused(Errno.ENOENT);
        }
        return switch (parts[2]) {
            case GUEST_TABLE -> openGuest(guest, new GuestTable(guest));
            // What these say is known when they are opened, and stays so.
            case IPA_RANGE ->
                openGuest(
                        guest, new Line(String.format("%2d\n", guest.geometry().inputBits())));
            case LEVELS -> openGuest(guest, new Line(4 - guest.geometry().startLevel() + "\n"));
            default -> new Refused(Errno.ENOENT);
        };
    }

    private Opening openGuest(HostGuest guest, Content content) {
        // D-27: the posted file has no reference, and outlives the VM.
        return guest.get() ? new OpenFile(content, guest::put) : new Refused(Errno.ENOENT);
    }

    private Opening openHostTable() {
        HostKernel.Lent lent;
        try {
            lent = host.allocate();
        } catch (HostKernel.HostException e) {
            if (e.error() == 0) {
                throw e;
            }
            return new Refused(e.error());
        }
        int error = host.call(model.cpu(0), lent);
        if (error == 0) {
            try {
                TranslationTable copy = host.read(lent);
                return new OpenFile(() -> text.of(copy, true, false), () -> host.free(lent));
            } catch (GeometryException e) {
                error = Errno.EINVAL;
            }
        }
        host.free(lent);
        return new Refused(error);
    }

    // Contents.

    /// What stands in a file.
    private interface Content {
        /// Makes it, anew each time; null if there is nothing to make it of any more.
        byte @Nullable [] show();
    }

    private record Line(String line) implements Content {
        @Override
        public byte[] show() {
            return line.getBytes(StandardCharsets.US_ASCII);
        }
    }

    /// A guest's table, in the words of its own encoding (D-33: the posted parser takes the VM for a snapshot).
    private final class GuestTable implements Content {
        private final HostGuest guest;

        GuestTable(HostGuest guest) {
            this.guest = guest;
        }

        @Override
        public byte @Nullable [] show() {
            TranslationTable table = guest.table();
            return table == null ? null : text.of(table, false, guest.forcedWriteBack());
        }
    }

    /// An open file. The text is made when its beginning is read.
    public static final class OpenFile implements Opening {
        private final Content content;
        private final Runnable releasing;
        private byte @Nullable [] shown;
        private int position;
        private boolean released;

        private OpenFile(Content content, Runnable releasing) {
            this.content = content;
            this.releasing = releasing;
        }

        /// Reads on.
        ///
        /// @return number of bytes, 0 at the end; or -ENOENT if the table is gone because the process died
        public int read(byte[] into) {
            requireOpen();
            byte[] bytes = shown;
            if (bytes == null) {
                bytes = content.show();
                if (bytes == null) {
                    return Errno.ENOENT;
                }
                shown = bytes;
            }
            int count = Math.min(into.length, bytes.length - position);
            System.arraycopy(bytes, position, into, 0, count);
            position += count;
            return count;
        }

        /// Goes back to the beginning; the text is made again when it is read.
        public void rewind() {
            requireOpen();
            shown = null;
            position = 0;
        }

        /// Closes the file and gives back what it holds (D-25).
        ///
        /// @throws IllegalStateException if that was done: what it held may be somebody else's by now
        public void release() {
            requireOpen();
            released = true;
            shown = null;
            releasing.run();
        }

        private void requireOpen() {
            if (released) {
                throw new IllegalStateException("the file has been released");
            }
        }
    }
}
