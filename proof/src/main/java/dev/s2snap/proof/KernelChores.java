package dev.s2snap.proof;

import dev.s2snap.model.Cpu;
import dev.s2snap.model.DebugFs;
import dev.s2snap.model.Errno;
import dev.s2snap.model.HostGuest;
import dev.s2snap.model.HostKernel;
import dev.s2snap.model.HostKernel.HostException;
import dev.s2snap.model.HostKernel.Lent;
import dev.s2snap.model.HostKernel.Ownership;
import dev.s2snap.model.HostKernel.Touch;
import dev.s2snap.model.HostVm;
import dev.s2snap.model.Hypercalls;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.pkvm.PageState;
import dev.s2snap.proof.KernelHost.Vm;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.LeafRuns;
import dev.s2snap.vmsa.TableCounts;
import dev.s2snap.vmsa.TranslationTable;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;

/// What a [KernelHost] does beside its guests: honest snapshots, files of debugfs, VMs without a table of their own,
/// and memory that is used.
final class KernelChores {
    private static final int SNAPSHOTS = 2;

    private final KernelHost host;
    private final PkvmModel model;
    private final HostKernel kernel;
    private final KernelMemory memory;
    private final SplittableRandom random;
    private final DebugFs debugFs;
    private final List<Lent> snapshots = new ArrayList<>();
    private final List<HostVm> bare = new ArrayList<>();
    private final List<Open> files = new ArrayList<>();

    /// A file of debugfs.
    private static final class Open {
        final DebugFs.OpenFile file;
        final String path;
        /// Null for the host's table.
        final @Nullable Vm vm;

        /// Nothing was read of it since it was opened or rewound.
        boolean fresh = true;

        Open(DebugFs.OpenFile file, String path, @Nullable Vm vm) {
            this.file = file;
            this.path = path;
            this.vm = vm;
        }
    }

    KernelChores(KernelHost host, PkvmModel model, KernelMemory memory, SplittableRandom random) {
        this.host = host;
        this.model = model;
        this.memory = memory;
        this.random = random;
        kernel = model.hostKernel();
        debugFs =
                new DebugFs(model, (table, _, _) -> Long.toString(mapped(table)).getBytes(StandardCharsets.US_ASCII));
    }

    private static long mapped(TranslationTable table) {
        return LeafRuns.of(table).runs().stream()
                .filter(LeafRun::mapped)
                .mapToLong(LeafRun::size)
                .sum();
    }

    private Cpu cpu() {
        return model.cpu(random.nextInt(model.cpus()));
    }

    /// A call that the kernel makes by itself. What it answers is the oracle's.
    void hypercall(int number, long argument) {
        Cpu cpu = cpu();
        cpu.x(0, Hypercalls.id(number));
        cpu.x(1, argument);
        model.hvc(cpu);
    }

    // Snapshots.

    void snapshot() {
        if (snapshots.size() == SNAPSHOTS || (!snapshots.isEmpty() && random.nextBoolean())) {
            host.deed("free a snapshot");
            kernel.free(snapshots.removeFirst());
            return;
        }
        host.deed("snapshot");
        Lent lent;
        try {
            lent = kernel.allocate();
        } catch (HostException e) {
            scarce(e);
            return;
        }
        Ownership hosts = new Ownership(PageState.OWNED, PageState.NOPAGE);
        if (random.nextInt(4) == 0) {
            long frame = lent.struct() >>> model.config().pageShift();
            hypercall(Hypercalls.HOST_SHARE_HYP, frame);
            Ownership shared = new Ownership(PageState.SHARED_OWNED, PageState.SHARED_BORROWED);
            owned(lent, Map.of(hosts, lent.pages() - 1, shared, 1));
            hypercall(Hypercalls.HOST_UNSHARE_HYP, frame);
        }
        int answer = kernel.call(cpu(), lent);
        owned(lent, Map.of(hosts, lent.pages()));
        if (answer == 0) {
            TranslationTable copy = kernel.read(lent);
            LeafRuns.Result result = LeafRuns.of(copy);
            long tables = result.counts().total(TableCounts.Kind.TABLES)
                    - copy.geometry().rootPages();
            if (!result.findings().isEmpty() || tables != kernel.pagesUsed(lent)) {
                host.finds(
                        -1, kernel.pagesUsed(lent) + " tables in a readable copy", tables + ", " + result.findings());
            }
        } else if (answer != Errno.EOPNOTSUPP && !(answer == Errno.ENOMEM && memory.low())) {
            host.finds(-1, "an honest snapshot succeeds", Errno.name(answer));
        }
        snapshots.add(lent);
    }

    private void owned(Lent lent, Map<Ownership, Integer> said) {
        Map<Ownership, Integer> owners = kernel.owners(lent);
        if (!owners.equals(said)) {
            host.finds(-1, "the lent pages are owned so: " + said, owners.toString());
        }
    }

    /// The kernel has no memory, which it says.
    private void scarce(HostException e) {
        if (model.panic() != null) {
            throw e;
        }
        if (!memory.low()) {
            host.finds(-1, "there is memory", String.valueOf(e.getMessage()));
        }
    }

    // VMs as the hypervisor knows them.

    void bareVm() {
        if (!bare.isEmpty() && random.nextBoolean()) {
            HostVm vm = bare.removeFirst();
            host.deed("destroy a VM without a table");
            vm.destroy();
            if (vm.handle() != 0 || !vm.vcpus().isEmpty() || vm.drained().isEmpty()) {
                host.finds(-1, "a VM that is destroyed has given its memory back", "handle " + vm.handle());
            }
            return;
        }
        host.deed("create a VM without a table");
        try {
            HostVm vm = kernel.createVm(cpu(), 1 + random.nextInt(2));
            bare.add(vm);
            int answer = vm.run(random.nextInt(vm.vcpus().size()));
            if (answer != 0) {
                host.finds(-1, "it runs", Errno.name(answer));
            }
        } catch (HostException e) {
            if (!host.spoiling()) {
                scarce(e);
            }
        }
    }

    // Files.

    void hostFile() {
        for (Open open : files) {
            if (open.vm == null) {
                use(open);
                return;
            }
        }
        host.deed("open " + DebugFs.HOST_TABLE);
        DebugFs.Opening opening = debugFs.open(DebugFs.HOST_TABLE);
        if (opening instanceof DebugFs.OpenFile file) {
            files.add(new Open(file, DebugFs.HOST_TABLE, null));
        } else if (opening instanceof DebugFs.Refused(int error)
                && error != Errno.EOPNOTSUPP
                && !(error == Errno.ENOMEM && memory.low())) {
            host.finds(-1, "a file", Errno.name(error));
        }
    }

    /// Opens a file of a VM's folder, or does something with one that is open.
    void guestFile(Vm vm) {
        List<Open> open = files.stream().filter(file -> file.vm == vm).toList();
        if (!open.isEmpty() && (vm.guest.closed() || random.nextInt(3) != 0)) {
            use(open.get(random.nextInt(open.size())));
            return;
        }
        String folder = DebugFs.ROOT + "/" + vm.guest.name() + "/";
        String path = switch (random.nextInt(8)) {
            case 0 -> folder + "none";
            case 1 -> "other/" + vm.guest.name() + "/" + DebugFs.LEVELS;
            case 2 -> DebugFs.ROOT + "/1-0/" + DebugFs.LEVELS;
            case 3 -> folder + DebugFs.LEVELS;
            case 4 -> folder + DebugFs.IPA_RANGE;
            default -> folder + DebugFs.GUEST_TABLE;
        };
        if (random.nextInt(16) == 0) {
            path = DebugFs.ROOT;
        }
        host.deed("open " + path);
        boolean there = !vm.guest.closed() && path.startsWith(folder) && !path.endsWith("none");
        DebugFs.Opening opening = debugFs.open(path);
        if (opening instanceof DebugFs.OpenFile file) {
            files.add(new Open(file, path, vm));
            vm.files++;
        }
        boolean right = there ? opening instanceof DebugFs.OpenFile : opening.equals(new DebugFs.Refused(Errno.ENOENT));
        if (!right) {
            host.finds(-1, there ? "a file" : "-ENOENT", opening.toString());
        }
    }

    private void use(Open open) {
        switch (random.nextInt(3)) {
            case 0 -> release(open);
            case 1 -> {
                open.file.rewind();
                open.fresh = true;
                read(open);
            }
            default -> read(open);
        }
    }

    private void read(Open open) {
        host.deed("read " + open.path);
        StringBuilder text = new StringBuilder();
        byte[] some = new byte[1 + random.nextInt(8)];
        int count = open.file.read(some);
        while (count > 0) {
            text.append(new String(some, 0, count, StandardCharsets.US_ASCII));
            count = open.file.read(some);
        }
        Vm vm = open.vm;
        boolean gone = open.fresh && vm != null && vm.killed && open.path.endsWith(DebugFs.GUEST_TABLE);
        if (count != (gone ? Errno.ENOENT : 0)) {
            host.finds(-1, gone ? "-ENOENT: the process is dead" : "its end", Errno.name(count));
        }
        String said = gone || !open.fresh ? "" : vm == null ? null : says(open.path, vm);
        if (said == null ? text.isEmpty() : !said.contentEquals(text)) {
            host.finds(-1, "in the file is " + (said == null ? "a table" : said), text.toString());
        }
        open.fresh &= gone;
    }

    private static String says(String path, Vm vm) {
        if (path.endsWith(DebugFs.IPA_RANGE)) {
            return vm.guest.geometry().inputBits() + "\n";
        }
        if (path.endsWith(DebugFs.LEVELS)) {
            return 4 - vm.guest.geometry().startLevel() + "\n";
        }
        return Long.toString(
                vm.book.leaves().stream().mapToLong(GuestBook.Leaf::size).sum());
    }

    private void release(Open open) {
        host.deed("release " + open.path);
        files.remove(open);
        open.file.release();
        if (open.vm != null) {
            open.vm.files--;
        }
        if (!KernelHost.refused(IllegalStateException.class, open.file::release)) {
            host.finds(-1, "a file is released once", "it was released twice");
        }
    }

    /// Releases all files of a VM.
    void release(Vm vm) {
        List.copyOf(files).stream().filter(open -> open.vm == vm).forEach(this::release);
    }

    /// Looks what folders there are.
    void folders(List<Vm> vms) {
        host.deed("folders of debugfs");
        List<String> said = vms.stream()
                .map(vm -> vm.guest)
                .filter(guest -> !guest.closed())
                .map(HostGuest::name)
                .toList();
        Map<String, List<String>> folders = debugFs.folders();
        List<String> top = folders.getOrDefault(DebugFs.ROOT, List.of());
        if (!top.subList(Math.min(1, top.size()), top.size()).equals(said) || folders.size() != said.size() + 1) {
            host.finds(-1, "folders of " + said, folders.toString());
        }
    }

    // Memory.

    /// Uses what is cheap to use.
    void touch() {
        touch(random.nextInt(6) == 0 ? Touch.BOOT : Touch.NONE);
    }

    /// Uses memory while there are few pages: all of them, one by one, or some, or one that is refused.
    void touchFew() {
        memory.squeeze(4 + random.nextInt(24));
        try {
            switch (random.nextInt(8)) {
                case 0 -> touch(Touch.RANDOM);
                case 1, 2, 3 -> {
                    long page = memory.next(1);
                    long frame = page >>> model.config().pageShift();
                    if (page != -1) {
                        hypercall(Hypercalls.HOST_SHARE_HYP, frame);
                        refusedTouch();
                        hypercall(Hypercalls.HOST_UNSHARE_HYP, frame);
                    }
                }
                default -> touch(Touch.PAGES);
            }
        } finally {
            memory.relax();
        }
    }

    private void refusedTouch() {
        host.deed("touch a page that is shared already");
        try {
            kernel.touch(Touch.PAGES, 0);
            host.finds(-1, "it is refused", "it was shared twice");
        } catch (HostException e) {
            if (model.panic() != null) {
                throw e;
            }
        }
    }

    private void touch(Touch how) {
        host.deed("touch " + how);
        long before = kernel.pagesAvailable();
        if (before == 0) {
            return;
        }
        try {
            kernel.touch(how, random.nextLong());
        } catch (HostException e) {
            scarce(e);
        } finally {
            memory.lost(before - kernel.pagesAvailable());
        }
    }

    // The end.

    /// Whether nothing of this is in use.
    boolean idle() {
        return snapshots.isEmpty() && bare.isEmpty() && files.isEmpty();
    }

    void end() {
        List.copyOf(files).forEach(this::release);
        host.deed("free all");
        snapshots.forEach(kernel::free);
        snapshots.clear();
        for (HostVm vm : List.copyOf(bare)) {
            bare.remove(vm);
            vm.destroy();
        }
    }
}
