package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import java.io.IOException;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.IntSupplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// CPUs as threads, and what they may do to each other: locks (I-45), panics, failures.
@Timeout(60)
class CpusTest {
    private static final long FRAME = 0x4_1000L;

    private static PkvmModel small() {
        return PkvmModel.small(SnapshotCall.Variant.CORRECTED);
    }

    @Test
    void aLockIsTakenBehindThoseThatComeBeforeItOnly() {
        Cpus cpus = new Cpus(1);
        HypLock[] locks = new HypLock[HypLock.Rank.values().length];
        for (HypLock.Rank rank : HypLock.Rank.values()) {
            locks[rank.ordinal()] = new HypLock(rank.name(), rank, cpus);
        }
        for (HypLock.Rank first : HypLock.Rank.values()) {
            for (HypLock.Rank second : HypLock.Rank.values()) {
                HypLock another = new HypLock("another", second, cpus);
                locks[first.ordinal()].lock();
                if (first.compareTo(second) < 0) {
                    another.lock();
                    another.unlock();
                } else {
                    assertThatThrownBy(another::lock)
                            .isInstanceOf(IllegalStateException.class)
                            .hasMessage("lock order: another lock taken under " + first);
                }
                locks[first.ordinal()].unlock();
            }
        }
    }

    @Test
    void nobodyReleasesALockThatItDoesNotHold() {
        Cpus cpus = new Cpus(2);
        HypLock lock = new HypLock("host", HypLock.Rank.HOST, cpus);
        assertThatThrownBy(lock::unlock).hasMessage("host lock released by CPU 0, which does not hold it");
        lock.lock();
        Cpu before = cpus.enter(cpus.get(1));
        assertThatThrownBy(lock::unlock).hasMessage("host lock released by CPU 1, which does not hold it");
        // Nobody else runs who could release it.
        assertThatThrownBy(lock::lock).hasMessage("deadlock: host lock taken twice");
        cpus.leave(before);
        lock.unlock();
    }

    @Test
    void noLockIsHeldWhenEl2Returns() {
        try (PkvmModel model = small()) {
            assertThatThrownBy(() -> model.atEl2(() -> {
                        model.el2().hostLock.lock();
                        return 0;
                    }))
                    .hasMessage("EL2 returns with a lock held, or without one that it came with");
        }
    }

    @Test
    void aCpuWaitsForALockThatAnotherHolds() {
        try (PkvmModel model = small()) {
            HypLock lock = model.el2().hostLock;
            CountDownLatch taken = new CountDownLatch(1);
            AtomicReference<String> order = new AtomicReference<>("");
            model.run(
                    _ -> {
                        lock.lock();
                        taken.countDown();
                        // Long enough for the other one to spin and to sleep.
                        Thread.sleep(50);
                        order.accumulateAndGet("released", String::concat);
                        lock.unlock();
                    },
                    _ -> {
                        taken.await();
                        lock.lock();
                        order.accumulateAndGet(" taken", String::concat);
                        lock.unlock();
                    });
            assertThat(order).hasValue("released taken");
        }
    }

    /// Devices are unmapped in the middle of a transition, or between two.
    @Test
    void unmappingDevicesWaitsForTheTransitionOfAnotherCpu() {
        try (PkvmModel model = small()) {
            HypLock lock = model.el2().hostLock;
            CountDownLatch taken = new CountDownLatch(1);
            AtomicReference<String> order = new AtomicReference<>("");
            model.run(
                    _ -> {
                        lock.lock();
                        taken.countDown();
                        Thread.sleep(50);
                        order.accumulateAndGet("transition", String::concat);
                        lock.unlock();
                    },
                    _ -> {
                        taken.await();
                        assertThat(model.primitives().unmapDevices()).isZero();
                        order.accumulateAndGet(" unmapped", String::concat);
                    });
            assertThat(order).hasValue("transition unmapped");
        }
    }

    /// VMs and vCPUs come, run and go under the lock of their table.
    @Test
    void callsAboutVmsWaitForTheLockOfTheirTable() {
        try (VmRig rig = new VmRig()) {
            long kvm = rig.kvm(1);
            long vcpu = rig.vcpu(kvm, 0);
            GuestVms vms = rig.model.el2().guests;
            long area = rig.allocateVmArea(1);
            long root = rig.allocateRoot();
            long vcpuArea = rig.allocateVcpuArea();
            rig.model.ram().set(kvm + VmStructs.KVM_HANDLE, GuestVms.FIRST_HANDLE);
            List<IntSupplier> calls = List.of(
                    () -> vms.initVm(rig.kern(kvm), rig.kern(area), rig.kern(root)),
                    () -> vms.initVcpu(GuestVms.FIRST_HANDLE, rig.kern(vcpu), rig.kern(vcpuArea)),
                    () -> vms.vcpuRun(rig.kern(vcpu)),
                    () -> vms.teardownVm(GuestVms.FIRST_HANDLE));
            AtomicReference<String> order = new AtomicReference<>();
            vms.guest(() -> order.accumulateAndGet(" loaded", String::concat));
            for (IntSupplier call : calls) {
                CountDownLatch taken = new CountDownLatch(1);
                order.set("");
                rig.model.run(
                        _ -> {
                            vms.tableLock.lock();
                            taken.countDown();
                            Thread.sleep(20);
                            order.accumulateAndGet("released", String::concat);
                            vms.tableLock.unlock();
                        },
                        _ -> {
                            taken.await();
                            assertThat(rig.model.atEl2(call::getAsInt)).isNotNegative();
                            order.accumulateAndGet(" called", String::concat);
                        });
                assertThat(order.get().replace(" loaded", "")).isEqualTo("released called");
                assertThat(order.get().contains("released loaded called")).isEqualTo(call.equals(calls.get(2)));
            }
        }
    }

    @Test
    void aTlbiWaitsForAnAccessOfAnotherCpuThatIsUnderWay() {
        try (PkvmModel model = small()) {
            assertThat(model.read(FRAME << 12)).isInstanceOf(PkvmModel.Access.Done.class);
            CountDownLatch begun = new CountDownLatch(1);
            AtomicReference<String> order = new AtomicReference<>("");
            model.run(
                    _ -> {
                        begun.await();
                        assertThat(model.primitives().donateHyp(FRAME, 1)).isZero();
                        order.accumulateAndGet(" donated", String::concat);
                    },
                    cpu -> {
                        synchronized (cpu.translation) {
                            begun.countDown();
                            Thread.sleep(50);
                            order.accumulateAndGet("accessed", String::concat);
                        }
                    });
            assertThat(order).hasValue("accessed donated");
        }
    }

    @Test
    void aPanicOfOneCpuIsTheEndOfAll() {
        try (PkvmModel model = small()) {
            assertThat(model.primitives().donateHyp(FRAME, 1)).isZero();
            CountDownLatch busy = new CountDownLatch(1);
            model.run(
                    cpu -> {
                        busy.await();
                        // The host's own fault: this page is the hypervisor's.
                        assertThat(model.read(cpu, FRAME << 12)).isEqualTo(new PkvmModel.Access.Refused(Errno.EPERM));
                    },
                    cpu -> {
                        long calls = 0;
                        do {
                            cpu.x(0, Hypercalls.id(Hypercalls.HOST_SHARE_HYP));
                            cpu.x(1, FRAME + 1 + calls++ % 0x100);
                            busy.countDown();
                        } while (model.hvc(cpu));
                        assertThat(model.primitives().shareHyp(FRAME)).isEqualTo(Primitives.PANICKED);
                        assertThat(model.write(cpu, 0x4300_0000L, 1)).isEqualTo(new PkvmModel.Access.Refused(0));
                    });
            assertThat(String.valueOf(model.panic())).contains("handle_host_mem_abort");
            assertThatThrownBy(() -> model.hvc(model.cpu(1)))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("has panicked");
        }
    }

    /// The lock is the dead CPU's for ever.
    @Test
    void aCpuThatWaitsForALockOfOneThatPanicsIsStopped() {
        try (PkvmModel model = small()) {
            CountDownLatch taken = new CountDownLatch(1);
            model.run(
                    _ -> assertThat(model.<Integer>atEl2(() -> {
                                model.el2().hypLock.lock();
                                taken.countDown();
                                throw HypPanic.bug("on purpose");
                            }))
                            .isNull(),
                    _ -> {
                        taken.await();
                        assertThat(model.primitives().shareHyp(FRAME)).isEqualTo(Primitives.PANICKED);
                    });
            assertThat(String.valueOf(model.panic())).contains("on purpose");
        }
    }

    @Test
    void whatAProgramThrowsIsThrown() {
        try (PkvmModel model = small()) {
            AssertionError failed = new AssertionError("here");
            assertThatThrownBy(() -> model.run(_ -> {
                        throw failed;
                    }))
                    .isSameAs(failed);
            assertThatThrownBy(() -> model.run(_ -> {
                        throw new IOException("there");
                    }))
                    .isInstanceOf(IllegalStateException.class)
                    .hasCauseInstanceOf(IOException.class);
            assertThatThrownBy(() -> model.run(_ -> model.cpu(7))).isInstanceOf(IndexOutOfBoundsException.class);
            assertThat(model.primitives().shareHyp(FRAME)).isZero();
        }
    }

    @Test
    void aCpuThatWaitsForALockOfAProgramThatFailedIsStopped() {
        try (PkvmModel model = small()) {
            CountDownLatch taken = new CountDownLatch(1);
            assertThatThrownBy(() -> model.run(
                            _ -> {
                                model.el2().hostLock.lock();
                                taken.countDown();
                                throw new IllegalArgumentException("first");
                            },
                            _ -> {
                                taken.await();
                                model.primitives().shareHyp(FRAME);
                            }))
                    .hasMessage("first");
        }
    }

    @Test
    void aThreadIsTheCpuThatItsProgramRunsOn() {
        try (PkvmModel model = small()) {
            model.run(
                    cpu -> assertThatThrownBy(() -> model.hvc(model.cpu(1 - cpu.id())))
                            .hasMessage("CPU 1 is another thread than this, CPU 0"),
                    cpu -> assertThatThrownBy(() -> model.read(model.cpu(0), 0x4100_0000L))
                            .hasMessage("CPU 0 is another thread than this, CPU 1"));
            model.run(_ -> {
                AtomicReference<Throwable> thrown = new AtomicReference<>();
                Thread stranger = new Thread(
                        () -> thrown.set(catchThrowable(() -> model.primitives().shareHyp(FRAME))), "stranger");
                stranger.start();
                stranger.join();
                assertThat(thrown.get())
                        .hasMessage("thread stranger is no CPU of this machine, which runs its programs");
            });
        }
    }

    @Test
    void thereIsAProgramForEachCpuAtMostAndOneSetAtATime() {
        try (PkvmModel model = small()) {
            assertThatThrownBy(() -> model.run(_ -> {}, _ -> {}, _ -> {}))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("3 programs on 2 CPUs; configure more CPUs");
            model.run(_ -> assertThatThrownBy(() -> model.run(_ -> {})).hasMessage("the CPUs run programs already"));
            model.writeLog(new WriteLog());
            assertThatThrownBy(() -> model.run(_ -> {}))
                    .hasMessageStartingWith("a write log and a watch are kept for one thread");
            assertThatThrownBy(() -> ModelConfig.small().cpus(5)).hasMessage("a machine has 1 to 4 CPUs, not 5");
        }
    }

    @Test
    void whoIsInterruptedWhileProgramsRunLeavesThemBehind() throws Exception {
        try (PkvmModel model = small()) {
            CountDownLatch end = new CountDownLatch(1);
            AtomicReference<Throwable> thrown = new AtomicReference<>();
            Thread caller =
                    new Thread(() -> thrown.set(catchThrowable(() -> model.run(_ -> end.await(30, TimeUnit.SECONDS)))));
            caller.start();
            caller.interrupt();
            caller.join();
            assertThat(thrown.get()).hasMessage("interrupted while programs ran");
            end.countDown();
        }
    }

    /// A CPU at EL2 has a TLB of its own, and a TLBI reaches all of them.
    @Test
    void eachCpuLearnsForItselfAndForgetsWithTheOthers() {
        try (PkvmModel model = small()) {
            long va = model.addresses().hypVa(FRAME << 12);
            long number = va >>> 12;
            assertThat(model.primitives().donateHyp(FRAME, 1)).isZero();
            model.run(
                    cpu -> {
                        model.el2().memory.read64(va);
                        assertThat(cpu.el2Tlb.get(number)).isNotEqualTo(El2Tlb.MISS);
                    },
                    cpu -> assertThat(cpu.el2Tlb.get(number)).isEqualTo(El2Tlb.MISS));
            model.run(_ -> {}, _ -> model.el2().memory.read64(va));
            assertThat(model.cpu(1).el2Tlb.get(number)).isNotEqualTo(El2Tlb.MISS);
            assertThat(model.primitives().hypDonateHost(FRAME, 1)).isZero();
            assertThat(model.cpu(0).el2Tlb.get(number)).isEqualTo(El2Tlb.MISS);
            assertThat(model.cpu(1).el2Tlb.get(number)).isEqualTo(El2Tlb.MISS);
        }
    }
}
