package dev.s2snap.cli;

import dev.s2snap.capture.CaptureException;
import dev.s2snap.model.Errno;
import dev.s2snap.model.HostGuest;
import dev.s2snap.model.HostGuest.Access;
import dev.s2snap.model.HostGuest.Backing;
import dev.s2snap.model.PkvmModel;

/// A small VM to look at. It does with its memory what the guest of the recorded runs did, so that its table has code,
/// data, a block, read-only pages, and pages whose dirty log was read.
final class DemoGuest {
    private static final int PID = 842;
    private static final int FD = 9;

    private static final long CODE = 0x4000_0000L;
    private static final long LOADED = 0x8000_0000L;
    private static final long READ_ONLY = 0xa000_0000L;
    private static final long LOGGED = 0xb000_0000L;

    private static final int PAGES = 16;
    private static final long STRIDE = 0x1_0000;

    private final HostGuest guest;

    private DemoGuest(HostGuest guest) {
        this.guest = guest;
    }

    /// Makes the VM and lets it run.
    static HostGuest run(PkvmModel model) {
        DemoGuest demo = new DemoGuest(model.hostKernel().kvm().create(PID, FD, 0, 1));
        demo.codeAndData(Backing.BLOCKS);
        demo.special();
        return demo.guest;
    }

    /// The same without the memory that is special in any way, and without blocks.
    static HostGuest runPlain(PkvmModel model) {
        DemoGuest demo = new DemoGuest(model.hostKernel().kvm().create(PID, FD, 0, 1));
        demo.codeAndData(Backing.PAGES);
        return demo.guest;
    }

    private void codeAndData(Backing backing) {
        long page = guest.geometry().granule();
        guest.addMemory(CODE, 4 << 20, Backing.PAGES, false);
        guest.addMemory(LOADED, 4 << 20, backing, false);
        access(CODE, Access.EXECUTE);
        for (int i = 0; i < PAGES; i++) {
            access(CODE + STRIDE + i * page, Access.WRITE);
        }
        for (int i = 0; i < PAGES; i++) {
            access(LOADED + i * page, Access.READ);
        }
    }

    private void special() {
        guest.addMemory(READ_ONLY, 1 << 20, Backing.PAGES, true);
        guest.addMemory(LOGGED, 1 << 20, Backing.PAGES, false);
        guest.logDirtyPages(LOGGED);
        for (int i = 0; i < 4; i++) {
            access(READ_ONLY + i * STRIDE, Access.READ);
        }
        for (int i = 0; i < 5; i++) {
            access(LOGGED + i * STRIDE, Access.READ);
        }
        for (int i = 0; i < 3; i++) {
            access(LOGGED + i * STRIDE, Access.WRITE);
        }
        guest.readDirtyLog(LOGGED);
    }

    private void access(long address, Access access) {
        int error = guest.fault(address, access);
        if (error != 0) {
            throw new CaptureException("model: a VM cannot run on it: " + Errno.name(error));
        }
    }
}
