package dev.s2snap.model;

import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The host's KVM at EL1, as far as it is about memory: it makes VMs, each with a stage 2 in the host's own memory
/// ([HostGuest]). The hypervisor keeps metadata of them and runs guests on these tables (6.7 to 6.13).
public final class HostKvm {
    /// The least input size that may be asked for.
    private static final int MIN_IPA_BITS = 32;

    // VTCR_EL2 as KVM programs it (D24.2): RES1 31, HA 21, SH0 13:12 inner, ORGN0 and IRGN0 write-back.
    private static final long VTCR_FIXED = 1L << 31 | 1 << 21 | 3 << 12 | 1 << 10 | 1 << 8;

    private static final long VTCR_DS = 1L << 32;
    private static final long VTCR_VS = 1 << 19;

    final PkvmModel model;
    final HostPages pages;
    final HostTableMemory memory;

    /// All VMs whose memory has not been freed, in the order in which they were made.
    private final List<HostGuest> guests = new ArrayList<>();

    HostKvm(PkvmModel model, HostPages pages, HostTableMemory memory) {
        this.model = model;
        this.pages = pages;
        this.memory = memory;
    }

    /// A VM for a process, as a file that it has open (KVM_CREATE_VM). The hypervisor does not know of it before it
    /// runs.
    ///
    /// @param pid of the process
    /// @param fd the number of the file, by which debugfs tells VMs of one process apart
    /// @param ipaBits bits of guest physical address, 32 up to the host's own, or 0 for the host's. A kernel in
    /// protected
    ///     mode gives every VM the host's (VTCR_EL2 of guest and host are equal in all captures)
    /// @param vcpus how many vCPUs there will be
    /// @throws HostKernel.HostException -EINVAL for an input size that the machine does not have, -ENOMEM
    /// @throws IllegalArgumentException if this process has a file of that number
    public HostGuest create(int pid, int fd, int ipaBits, int vcpus) {
        String name = pid + "-" + fd;
        if (find(name) != null) {
            throw new IllegalArgumentException("process " + pid + " has a file " + fd + " already");
        }
        int limit = model.config().hostInputBits();
        if (ipaBits != 0 && (ipaBits < MIN_IPA_BITS || ipaBits > limit)) {
            throw new HostKernel.HostException(
                    "a guest of " + ipaBits + " address bits; this machine has " + MIN_IPA_BITS + " to " + limit,
                    Errno.EINVAL);
        }
        HostGuest guest = new HostGuest(this, name, geometry(ipaBits == 0 ? limit : ipaBits), vcpus);
        guests.add(guest);
        return guest;
    }

    /// SPEC 1.2: up to four bits more than the tables of the levels resolve go into a concatenated root.
    private TableGeometry geometry(int ipaBits) {
        ModelConfig config = model.config();
        int levels = Math.max(2, (ipaBits - 4 - 4) / (config.pageShift - 3));
        return new TableGeometry(
                TranslationRegime.STAGE2,
                config.pageShift,
                ipaBits,
                TableGeometry.LAST_LEVEL + 1 - levels,
                config.lpa2 && config.pageShift != 16,
                config.hostInputBits());
    }

    /// VTCR_EL2 for a guest. The size of output addresses is the machine's, whatever the input size is.
    long vtcr(TableGeometry geometry) {
        ModelConfig config = model.config();
        int shift = geometry.granuleShift();
        long granule = shift == 12 ? 0 : shift == 14 ? 2 : 1;
        long startLevel = (shift == 12 ? 2L : 3L) - geometry.startLevel();
        return VTCR_FIXED
                | (geometry.lpa2() ? VTCR_DS : 0)
                | (config.vmid16 ? VTCR_VS : 0)
                | (long) Hypervisor.paRangeCode(config.hostInputBits()) << 16
                | granule << 14
                | startLevel << 6
                | (64L - geometry.inputBits());
    }

    /// VMs that something still refers to, in the order in which they were made.
    public List<HostGuest> guests() {
        return List.copyOf(guests);
    }

    /// The VM with this folder in debugfs: its file is still open.
    @Nullable
    HostGuest find(String name) {
        for (HostGuest guest : guests) {
            if (guest.name().equals(name) && !guest.closed()) {
                return guest;
            }
        }
        return null;
    }

    void forget(HostGuest guest) {
        guests.remove(guest);
    }
}
