package dev.s2snap.bench;

import dev.s2snap.model.HostKernel.Touch;
import dev.s2snap.model.Workbench;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;

/// Resident memory of a process with a machine of 64 GiB that has booted: the hypervisor is initialised, and the host
/// has touched all of its memory, in blocks. What counts is everything: heap, code, off-heap, files mapped.
final class ResidentMemory {
    private static final double MIB = 1 << 10;

    private ResidentMemory() {}

    public static void main(String[] args) throws IOException {
        long before = kibibytes("VmRSS");
        try (Workbench bench = new Workbench(64L << 30)) {
            bench.model().hostKernel().touch(Touch.BOOT, 0);
            new Result("resident-64GiB")
                    .with("tablesMiB", bench.tableBytes() / (double) (1 << 20))
                    .with("emptyJvmMiB", before / MIB)
                    .with("residentMiB", kibibytes("VmRSS") / MIB)
                    .with("anonymousMiB", kibibytes("RssAnon") / MIB)
                    .with("fileMiB", (kibibytes("RssFile") + kibibytes("RssShmem")) / MIB)
                    .with("peakMiB", kibibytes("VmHWM") / MIB)
                    .print(bench.checksum());
        }
    }

    /// A line of /proc/self/status, which counts shared mappings too.
    private static long kibibytes(String field) throws IOException {
        try (Stream<String> lines = Files.lines(Path.of("/proc/self/status"))) {
            return lines.filter(line -> line.startsWith(field + ":"))
                    .mapToLong(line -> Long.parseLong(line.replaceAll("\\D", "")))
                    .findFirst()
                    .orElseThrow();
        }
    }
}
