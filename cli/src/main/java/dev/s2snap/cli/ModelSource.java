package dev.s2snap.cli;

import dev.s2snap.capture.CaptureException;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.SnapshotCall;
import org.jspecify.annotations.Nullable;

/// The SOURCE `model`: a small machine that has just booted.
///
/// 128 MiB at 1 GiB, two CPUs; its host has touched all of its memory and a serial port, and shares three pages with the
/// hypervisor. It is the same at every call.
final class ModelSource {
    static final String NAME = "model";

    /// Where the `virt` machine of QEMU has its serial port.
    private static final long SERIAL_PORT = 0x0900_0000L;

    private static final int SHARED_PAGES = 3;

    private ModelSource() {}

    static PkvmModel open(String source, SnapshotCall.@Nullable Variant variant) {
        if (!source.equals(NAME)) {
            throw new CaptureException(source + ": the model takes no settings yet; write 'model'");
        }
        PkvmModel model = PkvmModel.small(variant == null ? SnapshotCall.Variant.CORRECTED : variant);
        model.hostKernel().boot(SERIAL_PORT, SHARED_PAGES);
        return model;
    }
}
