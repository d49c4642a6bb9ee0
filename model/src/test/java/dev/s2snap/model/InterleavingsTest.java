package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.s2snap.pkvm.MemoryRegion;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import org.jetbrains.lincheck.datastructures.IntGen;
import org.jetbrains.lincheck.datastructures.ModelCheckingOptions;
import org.jetbrains.lincheck.datastructures.Operation;
import org.jetbrains.lincheck.datastructures.Param;
import org.jetbrains.lincheck.datastructures.ThreadIdGen;
import org.jetbrains.lincheck.datastructures.Validate;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.parallel.Isolated;

/// The lock, what it protects in the allocator, and memory itself, under the interleavings that Lincheck tries: those
/// with a few switches of the CPU, at any access to a field. It takes the whole JVM: its agent changes classes while it
/// runs.
@Isolated
@Timeout(300)
class InterleavingsTest {
    private static ModelCheckingOptions options() {
        return new ModelCheckingOptions()
                .threads(2)
                .actorsPerThread(3)
                .actorsBefore(0)
                .actorsAfter(0)
                .iterations(5)
                .invocationsPerIteration(200)
                .minimizeFailedScenario(false);
    }

    /// CPUs whose threads are Lincheck's, which counts them from 1.
    private static final class Scheduled {
        private static final ThreadLocal<Cpu> WHO = new ThreadLocal<>();

        final Cpus cpus = new Cpus(4);

        Scheduled() {
            cpus.scheduled(WHO::get);
        }

        void as(int thread) {
            WHO.set(cpus.get(thread));
        }
    }

    public static class Counter {
        private final Scheduled scheduled = new Scheduled();
        private final HypLock lock = new HypLock("host", HypLock.Rank.HOST, scheduled.cpus);
        private int count;

        @Operation
        public int next(@Param(gen = ThreadIdGen.class) int thread) {
            scheduled.as(thread);
            lock.lock();
            int next = count + 1;
            count = next;
            lock.unlock();
            return next;
        }
    }

    @Test
    void underTheLockThereIsOneCpuAtATime() {
        options().sequentialSpecification(CounterSpec.class).check(Counter.class);
    }

    public static class CounterSpec {
        private int count;

        public int next(int thread) {
            return ++count;
        }
    }

    public static class Unlocked {
        private int count;

        @Operation
        public int next(@Param(gen = ThreadIdGen.class) int thread) {
            int next = count + 1;
            count = next;
            return next;
        }
    }

    @Test
    void withoutTheLockTheSameTestFails() {
        assertThatThrownBy(() ->
                        options().sequentialSpecification(CounterSpec.class).check(Unlocked.class))
                .hasMessageContaining("Invalid execution results");
    }

    /// Two pages of memory and a page of a device, which nobody has touched. Each CPU has a word of its own in each.
    public static class FirstTouch {
        private static final List<MemoryRegion> REGIONS = List.of(new MemoryRegion(0x4000_0000L, 0x2000, 0));
        private static final long[] PAGES = {0x4000_0000L, 0x4000_1000L, 0x0900_0000L};
        private static final AtomicReference<Ram> LAST = new AtomicReference<>(new Ram(REGIONS, 12));

        private final Ram ram = new Ram(REGIONS, 12);

        /// Gives back what the execution before this one had: Lincheck does not say when one is over.
        public FirstTouch() {
            LAST.getAndSet(ram).close();
        }

        @Operation
        public void write(
                @Param(gen = ThreadIdGen.class) int thread, @Param(gen = IntGen.class, conf = "0:2") int page) {
            ram.set(PAGES[page] + 8L * thread, page + 1);
        }

        @Operation
        public long read(
                @Param(gen = IntGen.class, conf = "1:2") int thread,
                @Param(gen = IntGen.class, conf = "0:2") int page) {
            return ram.get(PAGES[page] + 8L * thread);
        }
    }

    public static class FirstTouchSpec {
        private final long[][] words = new long[3][3];

        public void write(int thread, int page) {
            words[page][thread] = page + 1L;
        }

        public long read(int thread, int page) {
            return words[page][thread];
        }
    }

    /// A page that two CPUs touch first has one frame, else the word of one of them is lost; and no frame is that of
    /// two pages.
    @Test
    void aPageThatSeveralCpusTouchFirstHasOneFrame() {
        options()
                .iterations(10)
                .invocationsPerIteration(100)
                .sequentialSpecification(FirstTouchSpec.class)
                .check(FirstTouch.class);
    }

    /// The buddy allocator with four pages, so that blocks are split and joined, and sometimes there is none left.
    public static class Pool {
        private static final ModelConfig CONFIG = config();
        private static final AddressMap MAP = new AddressMap(CONFIG);
        private static final Ram RAM = new Ram(CONFIG.regions(), 12);
        private static final long BASE = 0x4000_0000L;

        private final Scheduled scheduled = new Scheduled();
        private final HypPool pool;
        private final List<Deque<Long>> held = List.of(new ArrayDeque<>(), new ArrayDeque<>(), new ArrayDeque<>());
        private final Set<Long> taken = ConcurrentHashMap.newKeySet();

        private static ModelConfig config() {
            ModelConfig config = new ModelConfig();
            config.pageShift = 12;
            config.addRegion(BASE, 64L << 20, 0);
            return config;
        }

        /// Starts with memory as it is at power-on.
        public Pool() {
            scheduled.as(3);
            El2Memory memory = new El2Memory(RAM, MAP, 12, scheduled.cpus);
            Vmemmap vmemmap = new Vmemmap(memory, MAP, 12);
            for (int page = 0; page < 4; page++) {
                vmemmap.clear(BASE + ((long) page << 12));
                memory.zeroPages(MAP.hypVa(BASE + ((long) page << 12)), 1 << 12);
            }
            pool = new HypPool(0, memory, MAP, vmemmap, 12, BASE, 4, 0);
        }

        /// Whether there was a page; it is zeroed, and nobody else's.
        @Operation
        public boolean allocate(@Param(gen = ThreadIdGen.class) int thread) {
            scheduled.as(thread);
            long page = pool.allocate(0);
            if (page == 0) {
                return false;
            }
            if (!taken.add(page) || RAM.get(page) != 0 || RAM.get(page + 8) != 0) {
                throw new IllegalStateException("page 0x" + Long.toHexString(page) + " is in use");
            }
            RAM.set(page, -1);
            RAM.set(page + 8, -1);
            held.get(thread).push(page);
            return true;
        }

        @Operation
        public boolean put(@Param(gen = ThreadIdGen.class) int thread) {
            scheduled.as(thread);
            Long page = held.get(thread).poll();
            if (page == null) {
                return false;
            }
            taken.remove(page);
            pool.put(page);
            return true;
        }
    }

    public static class PoolSpec {
        private final int[] held = new int[3];

        public boolean allocate(int thread) {
            if (held[1] + held[2] == 4) {
                return false;
            }
            held[thread]++;
            return true;
        }

        public boolean put(int thread) {
            if (held[thread] == 0) {
                return false;
            }
            held[thread]--;
            return true;
        }
    }

    @Test
    void theAllocatorGivesAPageToOneCpuOnly() {
        options().sequentialSpecification(PoolSpec.class).check(Pool.class);
    }

    /// One machine for all, because it takes long to come up; every execution starts with pages that are the host's.
    private static final class Shared {
        static final ThreadLocal<Cpu> WHO = new ThreadLocal<>();
        static final PkvmModel MODEL = new PkvmModel(ModelConfig.small().cpus(4));
        static final long FRAME = 0x4_1000L;

        static {
            WHO.set(MODEL.cpu(3));
            if (MODEL.init() != 0) {
                throw new IllegalStateException("init");
            }
            // The tables are there before; splitting a block is many steps, and no interleaving differs by it.
            MODEL.primitives().shareHyp(FRAME + 16);
            MODEL.primitives().unshareHyp(FRAME + 16);
            MODEL.allCpus().scheduled(WHO::get);
        }

        static Primitives as(int thread) {
            WHO.set(MODEL.cpu(thread));
            return MODEL.primitives();
        }
    }

    /// One page that two CPUs want.
    public static class OnePage {
        public OnePage() {
            Primitives el2 = Shared.as(3);
            el2.unshareHyp(Shared.FRAME);
            el2.hypDonateHost(Shared.FRAME, 1);
        }

        @Operation
        public int share(@Param(gen = ThreadIdGen.class) int thread) {
            return Shared.as(thread).shareHyp(Shared.FRAME);
        }

        @Operation
        public int unshare(@Param(gen = ThreadIdGen.class) int thread) {
            return Shared.as(thread).unshareHyp(Shared.FRAME);
        }

        @Operation
        public int donate(@Param(gen = ThreadIdGen.class) int thread) {
            return Shared.as(thread).donateHyp(Shared.FRAME, 1);
        }

        @Operation
        public int giveBack(@Param(gen = ThreadIdGen.class) int thread) {
            return Shared.as(thread).hypDonateHost(Shared.FRAME, 1);
        }
    }

    public static class OnePageSpec {
        private String state = "host";

        private int turn(String from, String to) {
            if (!state.equals(from)) {
                return Errno.EPERM;
            }
            state = to;
            return 0;
        }

        public int share(int thread) {
            return turn("host", "both");
        }

        public int unshare(int thread) {
            return turn("both", "host");
        }

        public int donate(int thread) {
            return turn("host", "hyp");
        }

        public int giveBack(int thread) {
            return turn("hyp", "host");
        }
    }

    @Test
    void transitionsOfAPageAreOneStepEach() {
        options()
                .iterations(4)
                .invocationsPerIteration(150)
                .sequentialSpecification(OnePageSpec.class)
                .check(OnePage.class);
    }

    /// Two snapshot calls that were lent the same memcache, of two pages. That is too little, -ENOMEM, but first all is
    /// donated, as far as it goes, and then given back.
    public static class OneMemcache {
        private static final long LIST = Shared.FRAME + 12;

        public OneMemcache() {
            Shared.as(3);
            for (int thread = 1; thread <= 2; thread++) {
                long struct = (Shared.FRAME + thread * 3) << 12;
                AddressMap map = Shared.MODEL.addresses();
                Ram ram = Shared.MODEL.ram();
                ram.set(struct + SnapshotStruct.MC_HEAD, LIST << 12);
                ram.set(struct + SnapshotStruct.MC_NR_PAGES, 2);
                ram.set(struct + SnapshotStruct.PGD_HVA, map.kern(struct + 0x1000));
                ram.set(struct + SnapshotStruct.PGD_PAGES, 1);
                ram.set(struct + SnapshotStruct.USED_PAGES_HVA, map.kern(struct + 0x2000));
                ram.set(struct + SnapshotStruct.NUM_USED_PAGES, 1);
                ram.set(struct + SnapshotStruct.USED_PAGES_INDX, 0);
                ram.set(LIST << 12, (LIST + 1) << 12);
            }
        }

        @Operation
        public int call(@Param(gen = ThreadIdGen.class) int thread) {
            Primitives el2 = Shared.as(thread);
            int result = el2.snapshot(Shared.MODEL.addresses().kern((Shared.FRAME + thread * 3) << 12));
            // All that was this call's alone is the host's again.
            for (long page = Shared.FRAME + thread * 3; page < Shared.FRAME + thread * 3 + 3; page++) {
                if (el2.shareHyp(page) != 0 || el2.unshareHyp(page) != 0) {
                    return Errno.EFAULT;
                }
            }
            return result;
        }

        @Validate
        public void theMemcacheIsTheHosts() {
            Primitives el2 = Shared.as(3);
            for (long page = LIST; page < LIST + 2; page++) {
                if (el2.shareHyp(page) != 0 || el2.unshareHyp(page) != 0) {
                    throw new IllegalStateException("a page of the memcache did not come back");
                }
            }
        }
    }

    public static class OneMemcacheSpec {
        public int call(int thread) {
            return Errno.ENOMEM;
        }
    }

    @Test
    void aMemcacheThatWasLentTwiceComesBackOnce() {
        options()
                .actorsPerThread(1)
                .iterations(1)
                .invocationsPerIteration(200)
                .sequentialSpecification(OneMemcacheSpec.class)
                .check(OneMemcache.class);
    }
}
