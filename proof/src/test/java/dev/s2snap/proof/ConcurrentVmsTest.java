package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.model.Cpu;
import dev.s2snap.model.Errno;
import dev.s2snap.model.GuestCode;
import dev.s2snap.model.HostKernel;
import dev.s2snap.model.Hypercall;
import dev.s2snap.model.Hypercalls;
import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.PkvmModel.Access;
import dev.s2snap.model.Ram;
import dev.s2snap.model.VmStructs;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.EntryVisitor;
import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Phaser;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// CPUs that create, extend, run and tear down VMs at once, by hypercalls, while the last one takes snapshots.
@Timeout(120)
class ConcurrentVmsTest {
    private static final int CPUS = 4;

    /// CPUs that have to do with VMs.
    private static final int HOSTS = CPUS - 1;

    private static final long MILLIS = Long.getLong("s2snap.concurrent.millis", 800);

    /// Behind what the kernel allocates for snapshots, which begins at the beginning of memory.
    private static final long FIRST = 0x4300_0000L;

    private static final int FIRST_HANDLE = 0x1000;
    private static final int SLOTS = 255;

    /// Memory for one VM. All addresses are physical.
    ///
    /// @param kvm struct kvm
    /// @param area for the VM at EL2
    /// @param root for its stage 2
    /// @param vcpus structs kvm_vcpu
    /// @param vcpuAreas for vCPUs at EL2, and one more
    private record Plot(long kvm, long area, long root, List<Long> vcpus, List<Long> vcpuAreas) {}

    /// A machine, and its pages that are handed out one behind the other.
    private static final class Bench implements AutoCloseable {
        final PkvmModel model;
        final Ram ram;
        final long page;
        final int rootPages;
        private final long owned;
        private final long poolPages;
        private long next = FIRST;

        Bench(int pageShift) {
            model = new PkvmModel(
                    ModelConfig.machine(128L << 20, 40, pageShift, 1).cpus(CPUS));
            assertThat(model.init()).isZero();
            ram = (Ram) model.memory();
            page = 1L << pageShift;
            rootPages = model.host().optional().orElseThrow().geometry().rootPages();
            owned = ConcurrentHostTest.adopted(model).owned();
            poolPages = poolPages();
        }

        int pages(long size) {
            return (int) Math.ceilDiv(size, page);
        }

        long take(int pages, int alignment) {
            long base = Math.ceilDiv(next, alignment * page) * alignment * page;
            next = base + pages * page;
            return base;
        }

        List<Long> takeEach(int count, long size) {
            return LongStream.generate(() -> take(pages(size), 1))
                    .limit(count)
                    .boxed()
                    .toList();
        }

        /// A VM's memory, with its structs filled in and shared.
        Plot plot(int vcpus) {
            Plot plot = new Plot(
                    take(pages(VmStructs.KVM_SIZE), 1),
                    take(pages(VmStructs.vmArea(vcpus)), 1),
                    take(rootPages, rootPages),
                    takeEach(vcpus, VmStructs.VCPU_SIZE),
                    takeEach(vcpus + 1, VmStructs.HYP_VCPU_SIZE));
            ram.set(plot.kvm + VmStructs.KVM_CREATED_VCPUS, vcpus);
            share(plot.kvm, VmStructs.KVM_SIZE);
            for (int index = 0; index < vcpus; index++) {
                ram.set(plot.vcpus.get(index) + VmStructs.VCPU_KVM, kern(plot.kvm));
                ram.set(plot.vcpus.get(index) + VmStructs.VCPU_INDEX, index);
                share(plot.vcpus.get(index), VmStructs.VCPU_SIZE);
            }
            return plot;
        }

        private void share(long base, long size) {
            for (long address = base; address < base + size; address += page) {
                assertThat(call(model.cpu(0), Hypercall.PKVM_HOST_SHARE_HYP, frame(address)))
                        .isZero();
            }
        }

        void unshare(Plot plot) {
            Cpu cpu = model.cpu(0);
            assertThat(call(cpu, Hypercall.PKVM_HOST_UNSHARE_HYP, frame(plot.kvm)))
                    .isZero();
            for (long vcpu : plot.vcpus) {
                for (long address = vcpu; address < vcpu + VmStructs.VCPU_SIZE; address += page) {
                    assertThat(call(cpu, Hypercall.PKVM_HOST_UNSHARE_HYP, frame(address)))
                            .isZero();
                }
            }
        }

        long kern(long physical) {
            return model.addresses().kern(physical);
        }

        long frame(long physical) {
            return physical >>> model.config().pageShift();
        }

        // Calls.

        /// Makes a call.
        ///
        /// @return whether the hypervisor lives
        boolean issue(Cpu cpu, Hypercall call, long... arguments) {
            cpu.x(0, call.id());
            for (int i = 0; i < arguments.length; i++) {
                cpu.x(i + 1, arguments[i]);
            }
            return model.hvc(cpu);
        }

        /// The answer to a call that the hypervisor survives.
        long call(Cpu cpu, Hypercall call, long... arguments) {
            assertThat(issue(cpu, call, arguments))
                    .as("%s; panic: %s", call, model.panic())
                    .isTrue();
            assertThat(cpu.x(0)).isEqualTo(Hypercalls.SUCCESS);
            return cpu.x(1);
        }

        long create(Cpu cpu, long kvm, long area, long root) {
            return call(cpu, Hypercall.PKVM_INIT_VM, kern(kvm), kern(area), kern(root));
        }

        long extend(Cpu cpu, long handle, long vcpu, long area) {
            return call(cpu, Hypercall.PKVM_INIT_VCPU, handle, kern(vcpu), kern(area));
        }

        // What a VM leaves behind.

        /// The pages of a VM that was torn down, in the order of the host's list: the last one on top.
        List<Long> expected(Plot plot, int vcpus) {
            List<Long> pages = new ArrayList<>();
            add(pages, plot.root, rootPages);
            for (int index = 0; index < vcpus; index++) {
                add(pages, plot.vcpuAreas.get(index), pages(VmStructs.HYP_VCPU_SIZE));
            }
            add(pages, plot.area, pages(VmStructs.vmArea(plot.vcpus.size())));
            return pages.reversed();
        }

        private void add(List<Long> list, long base, int pages) {
            for (int i = 0; i < pages; i++) {
                list.add(base + i * page);
            }
        }

        long load(Cpu cpu, long address) {
            return value(model.read(cpu, address));
        }

        void store(Cpu cpu, long address, long value) {
            value(model.write(cpu, address, value));
        }

        private static long value(Access access) {
            if (access instanceof Access.Done(long value)) {
                return value;
            }
            throw new AssertionError("access of the host: " + access);
        }

        /// The host takes what it is given back out of its list: all pages of the VM, which are empty but for the link.
        void drain(Cpu cpu, Plot plot, int vcpus) {
            List<Long> drained = new ArrayList<>();
            long head = load(cpu, plot.kvm + VmStructs.KVM_TEARDOWN_HEAD);
            for (long left = load(cpu, plot.kvm + VmStructs.KVM_TEARDOWN_PAGES); left > 0; left--) {
                drained.add(head);
                for (long offset = Long.BYTES; offset < page; offset += page / 16) {
                    assertThat(load(cpu, head + offset)).isZero();
                }
                head = load(cpu, head);
            }
            assertThat(drained).isEqualTo(expected(plot, vcpus));
            store(cpu, plot.kvm + VmStructs.KVM_TEARDOWN_HEAD, 0);
            store(cpu, plot.kvm + VmStructs.KVM_TEARDOWN_PAGES, 0);
        }

        // Snapshots.

        /// Takes one, and looks whether what is donated and given back in one step is in it in one piece.
        void snapshot(Cpu cpu, List<Plot> plots) {
            HostKernel kernel = model.hostKernel();
            HostKernel.Lent lent = kernel.allocate();
            assertThat(kernel.call(cpu, lent)).isZero();
            TranslationTable copy = kernel.read(lent);
            for (Plot plot : plots) {
                long end = plot.area + VmStructs.vmArea(plot.vcpus.size());
                boolean first = away(copy, plot.area);
                for (long address = plot.area + page; address < end; address += page) {
                    assertThat(away(copy, address)).isEqualTo(first);
                }
            }
            kernel.free(lent);
        }

        /// Whether a copy shows a page as the hypervisor's.
        private static boolean away(TranslationTable copy, long address) {
            return copy.translate(address) instanceof Translation.Fault fault
                    && Descriptor.annotated(fault.descriptor());
        }

        // The end.

        private long poolPages() {
            return model.primitives().hostPoolFree()
                    + model.primitives().hypPoolFree()
                    + tables(model.host().optional().orElseThrow())
                    + tables(model.hyp().optional().orElseThrow());
        }

        private static long tables(TranslationTable table) {
            long[] count = new long[1];
            table.walk(new EntryVisitor() {
                @Override
                public void table(long address, int level, long inputAddress) {
                    count[0]++;
                }

                @Override
                public void entries(MemorySegment bytes, long offset, int count, int level, long inputAddress) {}
            });
            return count[0];
        }

        /// There is no VM, and nothing shared or pinned: the machine is as it was.
        void nothingIsLeft() {
            assertThat(model.panic()).isNull();
            for (int slot = 0; slot < SLOTS; slot++) {
                assertThat(call(model.cpu(0), Hypercall.PKVM_TEARDOWN_VM, FIRST_HANDLE + slot))
                        .isEqualTo(Errno.ENOENT);
            }
            World world = ConcurrentHostTest.adopted(model);
            assertThat(world.owned()).isEqualTo(owned);
            assertThat(world.pins).containsOnly((char) 0);
            for (long address = FIRST; address < next; address += page) {
                assertThat(world.free(world.number(address)))
                        .as("page 0x%x", address)
                        .isTrue();
            }
            assertThat(poolPages()).isEqualTo(poolPages);
            assertThat(Judge.judge(model, "the end")).isEmpty();
        }

        @Override
        public void close() {
            model.close();
        }
    }

    /// Says when time is up.
    private static final class Clock {
        private final long end;

        Clock(long millis) {
            end = System.nanoTime() + millis * 1_000_000;
        }

        boolean runs() {
            return System.nanoTime() < end;
        }
    }

    // Pages of one's own.

    /// A CPU of the host that nobody else's VMs have anything to do with, so that it knows each answer.
    private static final class Tenant {
        private final Bench bench;
        private final List<Plot> plots;
        private final Set<Long> handles;
        private final SplittableRandom random;
        private final long[] handle;
        private final int[] vcpus;
        private long calls;

        /// @param handles of all VMs of all tenants
        Tenant(Bench bench, int id, List<Plot> plots, Set<Long> handles) {
            this.bench = bench;
            this.plots = plots;
            this.handles = handles;
            random = new SplittableRandom(id);
            handle = new long[plots.size()];
            vcpus = new int[plots.size()];
        }

        void step(Cpu cpu) {
            int number = random.nextInt(plots.size());
            Plot plot = plots.get(number);
            boolean lives = handle[number] != 0;
            calls++;
            switch (random.nextInt(8)) {
                case 0, 1 -> create(cpu, number, plot);
                case 2, 3 -> extend(cpu, number, plot);
                case 4, 5 -> {
                    int index = random.nextInt(plot.vcpus.size());
                    assertThat(bench.call(cpu, Hypercall.KVM_VCPU_RUN, bench.kern(plot.vcpus.get(index))))
                            .isEqualTo(index < vcpus[number] ? 0 : Errno.EINVAL);
                }
                case 6 -> {
                    // What a VM has pinned cannot be taken back.
                    long frame = bench.frame(plot.kvm);
                    assertThat(bench.call(cpu, Hypercall.PKVM_HOST_UNSHARE_HYP, frame))
                            .isEqualTo(lives ? Errno.EBUSY : 0);
                    if (!lives) {
                        assertThat(bench.call(cpu, Hypercall.PKVM_HOST_SHARE_HYP, frame))
                                .isZero();
                    }
                }
                default -> {
                    if (lives) {
                        end(cpu, number, plot);
                    } else {
                        assertThat(bench.call(cpu, Hypercall.PKVM_TEARDOWN_VM, 0))
                                .isEqualTo(Errno.ENOENT);
                    }
                }
            }
        }

        private void create(Cpu cpu, int number, Plot plot) {
            long answer = bench.create(cpu, plot.kvm, plot.area, plot.root);
            if (handle[number] != 0) {
                assertThat(answer).isEqualTo(Errno.ENOMEM);
                return;
            }
            assertThat(answer).isBetween((long) FIRST_HANDLE, (long) FIRST_HANDLE + SLOTS - 1);
            assertThat(handles.add(answer)).as("handle 0x%x is new", answer).isTrue();
            handle[number] = answer;
            bench.store(cpu, plot.kvm + VmStructs.KVM_HANDLE, answer);
        }

        private void extend(Cpu cpu, int number, Plot plot) {
            int index = vcpus[number];
            if (handle[number] != 0 && index < plot.vcpus.size()) {
                assertThat(bench.extend(cpu, handle[number], plot.vcpus.get(index), plot.vcpuAreas.get(index)))
                        .isZero();
                vcpus[number]++;
                return;
            }
            // What a refused call gives back it has cleared.
            long area = plot.vcpuAreas.get(plot.vcpus.size());
            bench.store(cpu, area + 16, calls);
            assertThat(bench.extend(cpu, handle[number], plot.vcpus.get(0), area))
                    .isEqualTo(handle[number] == 0 ? Errno.ENOENT : Errno.EINVAL);
            assertThat(bench.load(cpu, area + 16)).isZero();
        }

        private void end(Cpu cpu, int number, Plot plot) {
            // The handle can be somebody else's before the call is over.
            handles.remove(handle[number]);
            assertThat(bench.call(cpu, Hypercall.PKVM_TEARDOWN_VM, handle[number]))
                    .isZero();
            bench.store(cpu, plot.kvm + VmStructs.KVM_HANDLE, 0);
            bench.drain(cpu, plot, vcpus[number]);
            handle[number] = 0;
            vcpus[number] = 0;
        }

        void endAll(Cpu cpu) {
            for (int number = 0; number < handle.length; number++) {
                if (handle[number] != 0) {
                    end(cpu, number, plots.get(number));
                }
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {12, 16})
    void eachCpuGetsTheAnswersItWouldGetAloneWhereNobodyElseUsesItsPages(int pageShift) {
        try (Bench bench = new Bench(pageShift)) {
            List<List<Plot>> plots = IntStream.range(0, HOSTS)
                    .mapToObj(_ -> List.of(bench.plot(1), bench.plot(2), bench.plot(3)))
                    .toList();
            List<Plot> all = plots.stream().flatMap(List::stream).toList();
            Set<Long> handles = ConcurrentHashMap.newKeySet();
            AtomicLong calls = new AtomicLong();
            AtomicLong snapshots = new AtomicLong();
            Clock clock = new Clock(MILLIS);
            PkvmModel.Program tenant = cpu -> {
                Tenant mine = new Tenant(bench, cpu.id(), plots.get(cpu.id()), handles);
                while (clock.runs()) {
                    mine.step(cpu);
                }
                mine.endAll(cpu);
                calls.addAndGet(mine.calls);
            };
            bench.model.run(tenant, tenant, tenant, cpu -> {
                while (clock.runs()) {
                    bench.snapshot(cpu, all);
                    snapshots.incrementAndGet();
                }
            });
            assertThat(calls).hasValueGreaterThan(1000);
            assertThat(snapshots).hasPositiveValue();
            all.forEach(bench::unshare);
            bench.nothingIsLeft();
        }
    }

    // Rounds, in which several CPUs want the same.

    /// Lets CPUs begin each part of a round at the same time.
    private static final class Starter {
        private final Phaser phaser;

        Starter(int cpus) {
            phaser = new Phaser(cpus);
        }

        /// @return false if another CPU has left
        boolean go() {
            return phaser.arriveAndAwaitAdvance() >= 0;
        }

        /// Whoever leaves lets nobody wait for it.
        PkvmModel.Program leaving(PkvmModel.Program program) {
            return cpu -> {
                try {
                    program.run(cpu);
                } finally {
                    phaser.forceTermination();
                }
            };
        }
    }

    /// What the CPUs that create a VM at the same time have in common.
    private enum Overlap {
        AREA,
        ROOT,
        /// What is one CPU's area is the root of another.
        CROSSED,
        ALL
    }

    /// CPUs each of which wants to be the one to create a VM, then to give it its only vCPU, then to tear it down.
    private static final class Contest {
        private final Bench bench;
        private final List<Plot> plots;
        private final long[] answers = new long[HOSTS];
        private long round;
        private int part;
        private long handle;

        /// What the winners brought.
        private Plot vm;

        Contest(Bench bench, List<Plot> plots) {
            this.bench = bench;
            this.plots = plots;
            vm = plots.getFirst();
        }

        private Overlap overlap() {
            return Overlap.values()[(int) (round % Overlap.values().length)];
        }

        /// Whether all bring the same memory for the vCPU, or each its own.
        private boolean sameVcpuArea() {
            return round % 3 != 0;
        }

        /// The memory that a CPU brings in this round.
        private Plot brought(int id) {
            Plot mine = plots.get(id);
            Plot first = plots.getFirst();
            List<Long> vcpuAreas = sameVcpuArea() ? first.vcpuAreas : mine.vcpuAreas;
            return switch (overlap()) {
                case AREA -> new Plot(mine.kvm, first.area, mine.root, mine.vcpus, vcpuAreas);
                case ROOT -> new Plot(mine.kvm, mine.area, first.root, mine.vcpus, vcpuAreas);
                case CROSSED -> new Plot(mine.kvm, mine.root, plots.get((id + 1) % HOSTS).root, mine.vcpus, vcpuAreas);
                case ALL -> new Plot(first.kvm, first.area, first.root, mine.vcpus, vcpuAreas);
            };
        }

        void act(Cpu cpu) {
            Plot mine = brought(cpu.id());
            answers[cpu.id()] = switch (part) {
                case 0 -> bench.create(cpu, mine.kvm, mine.area, mine.root);
                case 1 -> bench.extend(cpu, handle, mine.vcpus.get(0), mine.vcpuAreas.get(0));
                default -> bench.call(cpu, Hypercall.PKVM_TEARDOWN_VM, handle);
            };
        }

        /// While the others wait.
        void judge(Cpu cpu) {
            int[] winners =
                    IntStream.range(0, HOSTS).filter(id -> answers[id] >= 0).toArray();
            assertThat(winners)
                    .as("round %d, part %d: %s", round, part, Arrays.toString(answers))
                    .hasSizeBetween(part == 0 && overlap() == Overlap.CROSSED ? 0 : 1, 1);
            int refusal = switch (part) {
                case 0 -> Errno.ENOMEM;
                case 1 -> sameVcpuArea() ? Errno.ENOMEM : Errno.EINVAL;
                default -> Errno.ENOENT;
            };
            assertThat(Arrays.stream(answers).filter(answer -> answer < 0)).containsOnly((long) refusal);
            if (winners.length == 0) {
                // They want each other's pages: it can be that none gets what it needs.
                round++;
                return;
            }
            Plot won = brought(winners[0]);
            switch (part) {
                case 0 -> {
                    handle = answers[winners[0]];
                    assertThat(handle).isEqualTo(FIRST_HANDLE);
                    vm = won;
                }
                case 1 -> vm = new Plot(vm.kvm, vm.area, vm.root, vm.vcpus, won.vcpuAreas);
                default -> {
                    bench.drain(cpu, vm, 1);
                    round++;
                }
            }
            part = (part + 1) % 3;
        }

        boolean betweenRounds() {
            return part == 0;
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {12, 16})
    void ofSeveralCpusThatWantTheSameOneGetsItAndTheOthersAreRefused(int pageShift) {
        try (Bench bench = new Bench(pageShift)) {
            List<Plot> plots = List.of(bench.plot(1), bench.plot(1), bench.plot(1));
            Contest contest = new Contest(bench, plots);
            Starter starter = new Starter(HOSTS);
            AtomicBoolean over = new AtomicBoolean();
            Clock clock = new Clock(MILLIS);
            PkvmModel.Program contestant = starter.leaving(cpu -> {
                while (starter.go() && !over.get()) {
                    contest.act(cpu);
                    if (starter.go() && cpu.id() == 0) {
                        contest.judge(cpu);
                        over.set(contest.betweenRounds() && !clock.runs());
                    }
                }
            });
            bench.model.run(contestant, contestant, contestant, cpu -> {
                while (clock.runs()) {
                    bench.snapshot(cpu, List.of());
                }
            });
            assertThat(contest.round).isGreaterThan(20);
            plots.forEach(bench::unshare);
            bench.nothingIsLeft();
        }
    }

    /// What a VM gives back is the next one's before its teardown is over. All have a struct kvm of their own.
    @Test
    void aVmCanBeMadeOfTheMemoryOfOneThatIsStillOnItsWayOut() {
        try (Bench bench = new Bench(12)) {
            List<Plot> plots = List.of(bench.plot(1), bench.plot(1), bench.plot(1));
            Plot memory = plots.getFirst();
            AtomicLong vms = new AtomicLong();
            Clock clock = new Clock(MILLIS);
            PkvmModel.Program tenant = cpu -> {
                Plot mine = plots.get(cpu.id());
                while (clock.runs()) {
                    long handle = bench.create(cpu, mine.kvm, memory.area, memory.root);
                    if (handle == Errno.ENOMEM) {
                        continue;
                    }
                    // There is no other now, and the slot is free before the memory is.
                    assertThat(handle).isEqualTo(FIRST_HANDLE);
                    assertThat(bench.extend(cpu, handle, mine.vcpus.get(0), memory.vcpuAreas.get(0)))
                            .isZero();
                    assertThat(bench.call(cpu, Hypercall.PKVM_TEARDOWN_VM, handle))
                            .isZero();
                    // The pages can be somebody else's, so that the host may not follow the list.
                    assertThat(bench.load(cpu, mine.kvm + VmStructs.KVM_TEARDOWN_PAGES))
                            .isEqualTo(bench.expected(memory, 1).size());
                    bench.store(cpu, mine.kvm + VmStructs.KVM_TEARDOWN_PAGES, 0);
                    vms.incrementAndGet();
                }
            };
            bench.model.run(tenant, tenant, tenant, cpu -> {
                while (clock.runs()) {
                    bench.snapshot(cpu, plots);
                }
            });
            assertThat(vms).hasValueGreaterThan(100);
            plots.forEach(bench::unshare);
            bench.nothingIsLeft();
        }
    }

    // The end of a VM that is in use.

    /// A VM with two vCPUs at most, of which one CPU runs both, another registers the second, and a third tears it
    /// down. Who comes first is open; what each may be answered is not.
    private static final class Race {
        private final Bench bench;
        private final Plot plot;
        private final SplittableRandom random;
        private long handle;
        private long extended;
        private boolean cutOff;

        Race(Bench bench, Plot plot, long seed) {
            this.bench = bench;
            this.plot = plot;
            random = new SplittableRandom(seed);
        }

        void begin(Cpu cpu) {
            handle = bench.create(cpu, plot.kvm, plot.area, plot.root);
            assertThat(handle).isEqualTo(FIRST_HANDLE);
            bench.store(cpu, plot.kvm + VmStructs.KVM_HANDLE, handle);
            assertThat(bench.extend(cpu, handle, plot.vcpus.get(0), plot.vcpuAreas.get(0)))
                    .isZero();
        }

        /// @return false if that was the end of the hypervisor
        boolean tearDown(Cpu cpu) {
            for (int left = random.nextInt(2000); left > 0; left--) {
                Thread.onSpinWait();
            }
            if (!bench.issue(cpu, Hypercall.PKVM_TEARDOWN_VM, handle)) {
                return false;
            }
            assertThat(cpu.x(1)).isZero();
            return true;
        }

        boolean extend(Cpu cpu) {
            bench.store(cpu, plot.vcpuAreas.get(1) + 16, 1);
            if (!bench.issue(
                    cpu,
                    Hypercall.PKVM_INIT_VCPU,
                    handle,
                    bench.kern(plot.vcpus.get(1)),
                    bench.kern(plot.vcpuAreas.get(1)))) {
                return false;
            }
            extended = cpu.x(1);
            assertThat(extended).isIn(0L, (long) Errno.ENOENT);
            return true;
        }

        /// Runs both vCPUs till the VM is gone. The first is there until then. The second comes and goes once.
        boolean runBoth(Cpu cpu) {
            boolean gone = false;
            boolean secondWas = false;
            boolean secondGone = false;
            while (!gone) {
                if (!run(cpu, 0)) {
                    return false;
                }
                gone = cpu.x(1) != 0;
                if (!run(cpu, 1)) {
                    return false;
                }
                boolean second = cpu.x(1) == 0;
                assertThat(second && (gone || secondGone)).isFalse();
                secondGone |= secondWas && !second;
                secondWas |= second;
            }
            return true;
        }

        private boolean run(Cpu cpu, int index) {
            if (!bench.issue(cpu, Hypercall.KVM_VCPU_RUN, bench.kern(plot.vcpus.get(index)))) {
                cutOff = true;
                return false;
            }
            assertThat(cpu.x(1)).isIn(0L, (long) Errno.EINVAL);
            return true;
        }

        /// The second vCPU was there before the VM was gone and is given back with it, or it came too late.
        void end(Cpu cpu) {
            assertThat(bench.call(cpu, Hypercall.PKVM_TEARDOWN_VM, handle)).isEqualTo(Errno.ENOENT);
            bench.drain(cpu, plot, extended == 0 ? 2 : 1);
            assertThat(bench.load(cpu, plot.vcpuAreas.get(1) + 16)).isZero();
        }
    }

    /// One machine, until the time is over or the hypervisor panics because a vCPU was loaded (`WARN_ON` of 6.12,
    /// nominally -EBUSY).
    ///
    /// @param guest what is between loading and putting a vCPU
    /// @return rounds without a panic
    private static long race(Clock clock, long seed, Runnable guest) {
        try (Bench bench = new Bench(12)) {
            GuestCode.of(bench.model, guest);
            Plot plot = bench.plot(2);
            Race race = new Race(bench, plot, seed);
            Starter starter = new Starter(HOSTS);
            AtomicBoolean over = new AtomicBoolean();
            AtomicLong rounds = new AtomicLong();
            bench.model.run(
                    starter.leaving(cpu -> {
                        race.begin(cpu);
                        while (starter.go() && race.tearDown(cpu) && starter.go()) {
                            race.end(cpu);
                            rounds.incrementAndGet();
                            if (!clock.runs()) {
                                over.set(true);
                                return;
                            }
                            race.begin(cpu);
                        }
                    }),
                    starter.leaving(cpu -> {
                        while (starter.go() && race.extend(cpu) && starter.go()) {}
                    }),
                    starter.leaving(cpu -> {
                        while (starter.go() && race.runBoth(cpu) && starter.go()) {}
                    }),
                    cpu -> {
                        try {
                            while (!over.get()) {
                                bench.snapshot(cpu, List.of(plot));
                            }
                        } catch (HostKernel.HostException e) {
                            assertThat(bench.model.panic()).as(e.getMessage()).isNotNull();
                        }
                    });
            if (bench.model.panic() == null) {
                bench.unshare(plot);
                bench.nothingIsLeft();
            } else {
                assertThat(bench.model.panic()).hasMessage("WARN __pkvm_teardown_vm");
                assertThat(race.cutOff).as("a vCPU was loaded").isTrue();
            }
            return rounds.get();
        }
    }

    @Test
    void aTeardownThatRacesWithRunsAndNewVcpusTakesAllOrIsFatalForALoadedVcpu() {
        Clock clock = new Clock(MILLIS);
        for (long machine = 0; clock.runs(); machine++) {
            race(clock, machine, machine % 4 == 3 ? Thread::yield : () -> {});
        }
    }

    /// While a vCPU is loaded all other calls go on: another CPU loads it too, and one more, and the VM gets a third.
    /// When all are put, the VM can go.
    @Test
    void whatOthersDoWhileAVcpuIsLoadedTakesEffect() {
        try (Bench bench = new Bench(12)) {
            Plot plot = bench.plot(3);
            Cpu cpu = bench.model.cpu(0);
            long handle = bench.create(cpu, plot.kvm, plot.area, plot.root);
            bench.store(cpu, plot.kvm + VmStructs.KVM_HANDLE, handle);
            for (int index = 0; index < 2; index++) {
                assertThat(bench.extend(cpu, handle, plot.vcpus.get(index), plot.vcpuAreas.get(index)))
                        .isZero();
            }
            CountDownLatch loaded = new CountDownLatch(3);
            CountDownLatch done = new CountDownLatch(1);
            GuestCode.of(bench.model, () -> {
                loaded.countDown();
                await(done);
            });
            PkvmModel.Program first =
                    each -> assertThat(bench.call(each, Hypercall.KVM_VCPU_RUN, bench.kern(plot.vcpus.get(0))))
                            .isZero();
            bench.model.run(
                    first,
                    first,
                    each -> assertThat(bench.call(each, Hypercall.KVM_VCPU_RUN, bench.kern(plot.vcpus.get(1))))
                            .isZero(),
                    each -> {
                        await(loaded);
                        assertThat(bench.extend(each, handle, plot.vcpus.get(2), plot.vcpuAreas.get(2)))
                                .isZero();
                        bench.snapshot(each, List.of(plot));
                        done.countDown();
                    });
            GuestCode.of(bench.model, () -> {});
            assertThat(bench.call(cpu, Hypercall.KVM_VCPU_RUN, bench.kern(plot.vcpus.get(2))))
                    .isZero();
            assertThat(bench.call(cpu, Hypercall.PKVM_TEARDOWN_VM, handle)).isZero();
            bench.drain(cpu, plot, 3);
            bench.unshare(plot);
            bench.nothingIsLeft();
        }
    }

    /// The CPU that has the vCPU loaded never comes back from its call, and no other CPU gets past the table lock.
    @Test
    void aTeardownUnderALoadedVcpuIsTheEndOfAllCpus() {
        try (Bench bench = new Bench(12)) {
            Plot plot = bench.plot(2);
            Cpu cpu = bench.model.cpu(0);
            long handle = bench.create(cpu, plot.kvm, plot.area, plot.root);
            bench.store(cpu, plot.kvm + VmStructs.KVM_HANDLE, handle);
            assertThat(bench.extend(cpu, handle, plot.vcpus.get(0), plot.vcpuAreas.get(0)))
                    .isZero();
            CountDownLatch loaded = new CountDownLatch(1);
            CountDownLatch over = new CountDownLatch(1);
            GuestCode.of(bench.model, () -> {
                loaded.countDown();
                await(over);
            });
            bench.model.run(
                    each -> assertThat(bench.issue(each, Hypercall.KVM_VCPU_RUN, bench.kern(plot.vcpus.get(0))))
                            .isFalse(),
                    each -> {
                        await(loaded);
                        assertThat(bench.issue(each, Hypercall.PKVM_TEARDOWN_VM, handle))
                                .isFalse();
                        over.countDown();
                    },
                    each -> {
                        await(over);
                        assertThat(bench.issue(
                                        each,
                                        Hypercall.PKVM_INIT_VCPU,
                                        handle,
                                        bench.kern(plot.vcpus.get(1)),
                                        bench.kern(plot.vcpuAreas.get(1))))
                                .isFalse();
                    });
            assertThat(bench.model.panic()).hasMessage("WARN __pkvm_teardown_vm");
        }
    }

    private static void await(CountDownLatch latch) {
        try {
            assertThat(latch.await(60, TimeUnit.SECONDS)).isTrue();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
