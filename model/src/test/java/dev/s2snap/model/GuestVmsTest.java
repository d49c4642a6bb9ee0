package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.LongSupplier;
import java.util.stream.LongStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// The life of VMs at EL2: what each call takes, refuses and gives back.
class GuestVmsTest {
    private static final long DEVICE = 0x0900_0000L;

    // Creation.

    @Test
    void aNewVmHasTheFirstSlotAndOwnsWhatWasDonated() {
        try (VmRig rig = new VmRig()) {
            long kvm = rig.kvm(3);
            long area = rig.allocateVmArea(3);
            long root = rig.allocateRoot();
            rig.model.ram().set(area + 0x10, 77);
            rig.model.ram().set(root + 0x1008, 77);
            assertThat(rig.initVm(kvm, area, root)).isEqualTo(0x1000);
            assertThat(rig.model.el2().guests.live()).containsExactly(new GuestVms.Live(0x1000, 1, area, root, 0));
            Audit audit = Audit.of(rig.model);
            for (long page : List.of(area, area + 0x1000, root, root + 0x1000)) {
                assertThat(audit.host(page)).isEqualTo(Audit.NOPAGE);
                assertThat(audit.hyp(page)).isEqualTo(Audit.OWNED);
            }
            // One reference each for the pages of the root, which is empty; one pin on the struct kvm.
            assertThat(rig.rootPages()).isEqualTo(2);
            assertThat(audit.count(root)).isEqualTo(1);
            assertThat(audit.count(root + 0x1000)).isEqualTo(1);
            assertThat(rig.zero(root, 0x2000)).isTrue();
            assertThat(audit.count(area)).isZero();
            assertThat(audit.count(kvm)).isEqualTo(1);
            // The words that are there to be read.
            Ram ram = rig.model.ram();
            AddressMap map = rig.model.addresses();
            assertThat(ram.get(rig.model.el2().layout().vmTable())).isEqualTo(map.hypVa(area));
            assertThat(ram.get(area + VmStructs.HYP_VM_HOST_KVM)).isEqualTo(map.hypVa(kvm));
            assertThat(ram.get(area + VmStructs.HYP_VM_CREATED_VCPUS)).isEqualTo(3);
            assertThat(ram.get(area + VmStructs.HYP_VM_VTCR))
                    .isEqualTo(rig.model.el2().vtcr());
        }
    }

    @Test
    void vcpusAreRegisteredInTheOrderOfTheirIndices() {
        try (VmRig rig = new VmRig()) {
            long kvm = rig.kvm(2);
            long handle = rig.vm(kvm, 2);
            long area = rig.model.el2().guests.live().getFirst().area();
            for (int index = 0; index < 2; index++) {
                long vcpu = rig.vcpu(kvm, index);
                long vcpuArea = rig.allocateVcpuArea();
                rig.model.ram().set(vcpuArea + 0x800, 77);
                assertThat(rig.initVcpu(handle, vcpu, vcpuArea)).isZero();
                assertThat(rig.model.ram().get(vcpuArea + 0x800)).isZero();
                assertThat(rig.model.ram().get(vcpuArea + VmStructs.HYP_VCPU_HOST_VCPU))
                        .isEqualTo(rig.model.addresses().hypVa(vcpu));
                assertThat(rig.model.ram().get(area + VmStructs.HYP_VM_VCPU_ARRAY + index * 8L))
                        .isEqualTo(rig.model.addresses().hypVa(vcpuArea));
                Audit audit = Audit.of(rig.model);
                assertThat(audit.host(vcpuArea + 0x1000)).isEqualTo(Audit.NOPAGE);
                assertThat(audit.count(vcpu)).isEqualTo(1);
                assertThat(audit.count(vcpu + 0x1000)).isEqualTo(1);
            }
            assertThat(rig.model.el2().guests.live().getFirst().vcpus()).isEqualTo(2);
        }
    }

    // Refusals. Each is an errno, and everything is as it was.

    /// One way to be refused: makes ready, and returns the call.
    private interface Setup {
        LongSupplier ready(VmRig rig);
    }

    private static Arguments refusal(String what, int error, Setup setup) {
        return Arguments.of(what, error, setup);
    }

    static Stream<Arguments> refusals() {
        return Stream.of(
                refusal("init_vm: struct kvm not shared", Errno.EPERM, rig -> {
                    long kvm = rig.allocate(1);
                    rig.model.ram().set(kvm + VmStructs.KVM_CREATED_VCPUS, 1);
                    long area = rig.allocateVmArea(1);
                    long root = rig.allocateRoot();
                    return () -> rig.initVm(kvm, area, root);
                }),
                refusal("init_vm: struct kvm in a device", Errno.EPERM, rig -> {
                    long area = rig.allocateVmArea(1);
                    long root = rig.allocateRoot();
                    return () -> rig.initVm(DEVICE, area, root);
                }),
                refusal("init_vm: struct kvm runs into a page that is not shared", Errno.EPERM, rig -> {
                    long kvm = rig.allocate(2);
                    rig.share(kvm, 1);
                    long area = rig.allocateVmArea(1);
                    long root = rig.allocateRoot();
                    return () -> rig.initVm(kvm + 8, area, root);
                }),
                refusal("init_vm: no vCPUs", Errno.EINVAL, rig -> {
                    long kvm = rig.kvm(0);
                    long area = rig.allocateVmArea(1);
                    long root = rig.allocateRoot();
                    return () -> rig.initVm(kvm, area, root);
                }),
                refusal("init_vm: more vCPUs than there is memory", Errno.ENOMEM, rig -> {
                    long kvm = rig.kvm(0xffff_ffffL);
                    long area = rig.allocateVmArea(1);
                    long root = rig.allocateRoot();
                    return () -> rig.initVm(kvm, area, root);
                }),
                refusal("init_vm: VM area misaligned", Errno.ENOMEM, rig -> {
                    long kvm = rig.kvm(1);
                    long area = rig.allocateVmArea(1);
                    long root = rig.allocateRoot();
                    return () -> rig.initVm(kvm, area + 8, root);
                }),
                refusal("init_vm: second page of the VM area shared", Errno.ENOMEM, rig -> {
                    long kvm = rig.kvm(1);
                    long area = rig.allocateVmArea(1);
                    rig.share(area + 0x1000, 1);
                    long root = rig.allocateRoot();
                    return () -> rig.initVm(kvm, area, root);
                }),
                refusal("init_vm: VM area is the hypervisor's", Errno.ENOMEM, rig -> {
                    long kvm = rig.kvm(1);
                    long root = rig.allocateRoot();
                    return () -> rig.initVm(kvm, rig.model.config().carveout, root);
                }),
                refusal("init_vm: PGD misaligned to a page", Errno.ENOMEM, rig -> {
                    long kvm = rig.kvm(1);
                    long area = rig.allocateVmArea(1);
                    long root = rig.allocateRoot();
                    return () -> rig.initVm(kvm, area, root + 0x10);
                }),
                refusal("init_vm: PGD shared", Errno.ENOMEM, rig -> {
                    long kvm = rig.kvm(1);
                    long area = rig.allocateVmArea(1);
                    long root = rig.allocateRoot();
                    rig.share(root + 0x1000, 1);
                    return () -> rig.initVm(kvm, area, root);
                }),
                refusal("init_vm: PGD is the VM area", Errno.ENOMEM, rig -> {
                    long kvm = rig.kvm(1);
                    long area = rig.allocateRoot();
                    return () -> rig.initVm(kvm, area, area);
                }),
                refusal("init_vm: VM area is the struct kvm", Errno.ENOMEM, rig -> {
                    long kvm = rig.kvm(1);
                    long root = rig.allocateRoot();
                    return () -> rig.initVm(kvm, kvm, root);
                }),
                refusal("init_vcpu: area misaligned", Errno.ENOMEM, rig -> {
                    long kvm = rig.kvm(1);
                    long handle = rig.vm(kvm, 1);
                    long vcpu = rig.vcpu(kvm, 0);
                    long area = rig.allocateVcpuArea();
                    return () -> rig.initVcpu(handle, vcpu, area + 0x800);
                }),
                refusal("init_vcpu: area shared", Errno.ENOMEM, rig -> {
                    long kvm = rig.kvm(1);
                    long handle = rig.vm(kvm, 1);
                    long vcpu = rig.vcpu(kvm, 0);
                    return () -> rig.initVcpu(handle, vcpu, vcpu);
                }),
                refusal("init_vcpu: one too many", Errno.EINVAL, rig -> {
                    long kvm = rig.kvm(1);
                    long handle = rig.vm(kvm, 1);
                    assertThat(rig.initVcpu(handle, rig.vcpu(kvm, 0), rig.allocateVcpuArea()))
                            .isZero();
                    // What the host writes now does not count.
                    rig.model.ram().set(kvm + VmStructs.KVM_CREATED_VCPUS, 2);
                    long vcpu = rig.vcpu(kvm, 1);
                    long area = rig.allocateVcpuArea();
                    return () -> rig.initVcpu(handle, vcpu, area);
                }),
                refusal("init_vcpu: struct kvm_vcpu not shared", Errno.EBUSY, rig -> {
                    long kvm = rig.kvm(1);
                    long handle = rig.vm(kvm, 1);
                    long vcpu = rig.allocate(2);
                    rig.share(vcpu, 1);
                    long area = rig.allocateVcpuArea();
                    return () -> rig.initVcpu(handle, vcpu, area);
                }),
                refusal("init_vcpu: struct kvm_vcpu is the area", Errno.EBUSY, rig -> {
                    long kvm = rig.kvm(1);
                    long handle = rig.vm(kvm, 1);
                    long area = rig.allocateVcpuArea();
                    return () -> rig.initVcpu(handle, area, area);
                }),
                refusal("vcpu_run: handle never given", Errno.EINVAL, rig -> {
                    long kvm = rig.kvm(1);
                    long vcpu = rig.vcpu(kvm, 0);
                    return () -> rig.call(Hypercall.KVM_VCPU_RUN, rig.kern(vcpu));
                }),
                refusal("vcpu_run: index not initialised", Errno.EINVAL, rig -> {
                    long kvm = rig.kvm(2);
                    long handle = rig.vm(kvm, 2);
                    assertThat(rig.initVcpu(handle, rig.vcpu(kvm, 0), rig.allocateVcpuArea()))
                            .isZero();
                    long vcpu = rig.vcpu(kvm, 1);
                    return () -> rig.call(Hypercall.KVM_VCPU_RUN, rig.kern(vcpu));
                }),
                refusal("vcpu_run: negative index", Errno.EINVAL, rig -> {
                    long kvm = rig.kvm(1);
                    rig.vm(kvm, 1);
                    long vcpu = rig.vcpu(kvm, -1);
                    return () -> rig.call(Hypercall.KVM_VCPU_RUN, rig.kern(vcpu));
                }));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("refusals")
    void aRefusalChangesNothing(String what, int error, Setup setup) {
        try (VmRig rig = new VmRig()) {
            LongSupplier call = setup.ready(rig);
            List<GuestVms.Live> live = rig.model.el2().guests.live();
            Audit before = Audit.of(rig.model);
            assertThat(call.getAsLong()).as(what).isEqualTo(error);
            assertThat(Audit.of(rig.model).since(before)).isEmpty();
            assertThat(rig.model.el2().guests.live()).isEqualTo(live);
            // Nor the second time.
            assertThat(call.getAsLong()).as(what).isEqualTo(error);
            assertThat(Audit.of(rig.model).since(before)).isEmpty();
        }
    }

    @ParameterizedTest
    @ValueSource(longs = {0, 0xfff, 0x1001, 0x10fe, 0x10ff, 0x1100, 0x7fff_ffffL, 0x8000_1000L, 0xffff_ffffL, -1})
    void anUnknownHandleIsRefused(long handle) {
        try (VmRig rig = new VmRig()) {
            long kvm = rig.kvm(1);
            assertThat(rig.vm(kvm, 1)).isEqualTo(0x1000);
            long vcpu = rig.vcpu(kvm, 0);
            long area = rig.allocateVcpuArea();
            Audit before = Audit.of(rig.model);
            assertThat(rig.initVcpu(handle, vcpu, area)).isEqualTo(Errno.ENOENT);
            assertThat(rig.teardown(handle)).isEqualTo(Errno.ENOENT);
            assertThat(Audit.of(rig.model).since(before)).isEmpty();
        }
    }

    @Test
    void whatIsGivenBackAfterARefusalIsCleared() {
        try (VmRig rig = new VmRig()) {
            long kvm = rig.kvm(1);
            long handle = rig.vm(kvm, 1);
            long area = rig.allocateVmArea(1);
            rig.model.ram().set(area + 0x1ff8, 77);
            rig.record();
            assertThat(rig.initVm(kvm, area, kvm)).isEqualTo(Errno.ENOMEM);
            assertThat(rig.zero(area, 0x2000)).isTrue();
            long vcpuArea = rig.allocateVcpuArea();
            rig.model.ram().set(vcpuArea + 0x1ff8, 77);
            assertThat(rig.initVcpu(handle, area, vcpuArea)).isEqualTo(Errno.EBUSY);
            assertThat(rig.zero(vcpuArea, 0x2000)).isTrue();
            assertThat(rig.events)
                    .contains(
                            "clean " + Long.toHexString(area) + " 8192",
                            "clean " + Long.toHexString(vcpuArea) + " 8192");
        }
    }

    // What 6.12 does wrong.

    @Test
    void b12TheWrongIndexLeavesTheVcpuPinnedForEver() {
        try (VmRig rig = new VmRig()) {
            long kvm = rig.kvm(2);
            long handle = rig.vm(kvm, 2);
            long vcpu = rig.vcpu(kvm, 1);
            long area = rig.allocateVcpuArea();
            Audit before = Audit.of(rig.model);
            assertThat(rig.initVcpu(handle, vcpu, area)).isEqualTo(Errno.EINVAL);
            assertThat(Audit.of(rig.model).since(before))
                    .hasSize(2)
                    .allMatch(line -> line.startsWith("hyp_page of 0x" + Long.toHexString(vcpu >>> 16)));
            assertThat(rig.pins(vcpu)).isEqualTo(1);
            assertThat(rig.teardown(handle)).isZero();
            assertThat(rig.call(Hypercall.PKVM_HOST_UNSHARE_HYP, vcpu >>> 12)).isEqualTo(Errno.EBUSY);
            assertThat(rig.call(Hypercall.PKVM_HOST_UNSHARE_HYP, kvm >>> 12)).isZero();
        }
    }

    @Test
    void b22AMisalignedRootIsFatal() {
        try (VmRig rig = new VmRig()) {
            long kvm = rig.kvm(1);
            long area = rig.allocateVmArea(1);
            long root = rig.pages.allocate(4, 4 * 0x1000) + 0x1000;
            rig.cpu.x(0, Hypercall.PKVM_INIT_VM.id());
            rig.cpu.x(1, rig.kern(kvm));
            rig.cpu.x(2, rig.kern(area));
            rig.cpu.x(3, rig.kern(root));
            assertThat(rig.model.hvc(rig.cpu)).isFalse();
            assertThat(rig.model.panic().reason()).isEqualTo(HypPanic.Reason.ABORT);
        }
    }

    // Running.

    @Test
    void aRunHoldsAReferenceAndNoLock() {
        try (VmRig rig = new VmRig()) {
            long kvm = rig.kvm(1);
            long handle = rig.vm(kvm, 1);
            long vcpu = rig.vcpu(kvm, 0);
            assertThat(rig.initVcpu(handle, vcpu, rig.allocateVcpuArea())).isZero();
            GuestVms guests = rig.model.el2().guests;
            long area = guests.live().getFirst().area();
            List<Integer> seen = new ArrayList<>();
            guests.guest(() -> {
                assertThat(guests.tableLock.held()).isFalse();
                seen.add(rig.model.el2().vmemmap.refcount(area));
                // Everybody else's calls go on meanwhile.
                assertThat(guests.initVm(rig.kern(kvm), 8, 8)).isEqualTo(Errno.ENOMEM);
            });
            Audit before = Audit.of(rig.model);
            assertThat(rig.call(Hypercall.KVM_VCPU_RUN, rig.kern(vcpu))).isEqualTo(GuestVms.EXIT_IRQ);
            assertThat(seen).containsExactly(1);
            assertThat(Audit.of(rig.model).since(before)).isEmpty();
            assertThat(rig.teardown(handle)).isZero();
        }
    }

    @Test
    void teardownOfAVmWithALoadedVcpuIsFatal() {
        try (VmRig rig = new VmRig()) {
            long kvm = rig.kvm(1);
            long handle = rig.vm(kvm, 1);
            long vcpu = rig.vcpu(kvm, 0);
            assertThat(rig.initVcpu(handle, vcpu, rig.allocateVcpuArea())).isZero();
            GuestVms guests = rig.model.el2().guests;
            guests.guest(() -> guests.teardownVm((int) handle));
            rig.cpu.x(0, Hypercall.KVM_VCPU_RUN.id());
            rig.cpu.x(1, rig.kern(vcpu));
            assertThat(rig.model.hvc(rig.cpu)).isFalse();
            assertThat(rig.model.panic().reason()).isEqualTo(HypPanic.Reason.WARN);
            assertThat(rig.model.panic().where()).isEqualTo("__pkvm_teardown_vm");
        }
    }

    @Test
    void aRunThroughAPointerThatEl2DoesNotMapAborts() {
        try (VmRig rig = new VmRig()) {
            rig.cpu.x(0, Hypercall.KVM_VCPU_RUN.id());
            rig.cpu.x(1, rig.kern(rig.allocate(1)));
            assertThat(rig.model.hvc(rig.cpu)).isFalse();
            assertThat(rig.model.panic().reason()).isEqualTo(HypPanic.Reason.ABORT);
        }
    }

    // Teardown.

    @Test
    void teardownListsTheRootThenTheVcpusThenTheVmAndThePagesAreEmpty() {
        try (VmRig rig = new VmRig()) {
            long kvm = rig.kvm(2);
            long area = rig.allocateVmArea(2);
            long root = rig.allocateRoot();
            long handle = rig.initVm(kvm, area, root);
            long[] vcpuAreas = new long[2];
            for (int i = 0; i < 2; i++) {
                vcpuAreas[i] = rig.allocateVcpuArea();
                assertThat(rig.initVcpu(handle, rig.vcpu(kvm, i), vcpuAreas[i])).isZero();
            }
            // What the host has in its list already stays under the new pages.
            rig.model.ram().set(kvm + VmStructs.KVM_TEARDOWN_HEAD, 0x4123_4000L);
            rig.record();
            assertThat(rig.teardown(handle)).isZero();
            List<Long> list = rig.memcache(kvm);
            assertThat(list)
                    .containsExactly(
                            area + 0x1000,
                            area,
                            vcpuAreas[1] + 0x1000,
                            vcpuAreas[1],
                            vcpuAreas[0] + 0x1000,
                            vcpuAreas[0],
                            root + 0x1000,
                            root);
            assertThat(rig.model.ram().get(root)).isEqualTo(0x4123_4000L);
            Audit audit = Audit.of(rig.model);
            for (long page : list) {
                assertThat(rig.zero(page + 8, 0xff8)).isTrue();
                assertThat(audit.host(page)).isEqualTo(Audit.OWNED);
                assertThat(audit.hyp(page)).isEqualTo(Audit.NOPAGE);
                assertThat(audit.count(page)).isZero();
            }
            assertThat(audit.count(kvm)).isZero();
            // The VMID before all else; then areas are cleaned while they are still the hypervisor's.
            assertThat(rig.events.stream().filter(event -> !event.startsWith("ipa 0") && !event.startsWith("range 0")))
                    .containsExactly(
                            "vmid 1",
                            "clean " + Long.toHexString(vcpuAreas[0]) + " 8192",
                            "clean " + Long.toHexString(vcpuAreas[1]) + " 8192",
                            "clean " + Long.toHexString(area) + " 8192");
        }
    }

    @Test
    void teardownUnpinsWhatTheVmHadPinned() {
        try (VmRig rig = new VmRig()) {
            long kvm = rig.kvm(1);
            long vcpu = rig.vcpu(kvm, 0);
            Audit before = Audit.of(rig.model);
            long handle = rig.vm(kvm, 1);
            assertThat(rig.initVcpu(handle, vcpu, rig.allocateVcpuArea())).isZero();
            assertThat(rig.call(Hypercall.PKVM_HOST_UNSHARE_HYP, kvm >>> 12)).isEqualTo(Errno.EBUSY);
            assertThat(rig.call(Hypercall.PKVM_HOST_UNSHARE_HYP, (vcpu + 0x1000) >>> 12))
                    .isEqualTo(Errno.EBUSY);
            assertThat(rig.teardown(handle)).isZero();
            assertThat(Audit.of(rig.model).since(before)).isEmpty();
            assertThat(rig.teardown(handle)).isEqualTo(Errno.ENOENT);
            assertThat(rig.call(Hypercall.PKVM_HOST_UNSHARE_HYP, kvm >>> 12)).isZero();
            assertThat(rig.call(Hypercall.PKVM_HOST_UNSHARE_HYP, (vcpu + 0x1000) >>> 12))
                    .isZero();
        }
    }

    @Test
    void aStructThatCrossesPagesIsPinnedInAllOfThem() {
        try (VmRig rig = new VmRig()) {
            long base = rig.allocate(2);
            rig.share(base, 2);
            long kvm = base + 0x123 * 8;
            rig.model.ram().set(kvm + VmStructs.KVM_CREATED_VCPUS, 1);
            long handle = rig.vm(kvm, 1);
            assertThat(rig.pins(base)).isEqualTo(1);
            assertThat(rig.pins(base + 0x1000)).isEqualTo(1);
            assertThat(rig.teardown(handle)).isZero();
            assertThat(rig.memcache(kvm)).hasSize(4);
            assertThat(rig.pins(base)).isZero();
            assertThat(rig.pins(base + 0x1000)).isZero();
        }
    }

    // Slots.

    @Test
    void thereAre255SlotsAndTheLowestFreeOneIsUsed() {
        try (VmRig rig = new VmRig()) {
            long kvm = rig.kvm(1);
            for (int slot = 0; slot < 255; slot++) {
                assertThat(rig.vm(kvm, 1)).isEqualTo(0x1000 + slot);
            }
            List<GuestVms.Live> live = rig.model.el2().guests.live();
            Set<Integer> vmids = new HashSet<>();
            live.forEach(vm -> {
                assertThat(vm.vmid()).isEqualTo(vm.handle() - 0x1000 + 1);
                vmids.add(vm.vmid());
            });
            assertThat(vmids).hasSize(255).doesNotContain(0);
            assertThat(rig.pins(kvm)).isEqualTo(255);
            long area = rig.allocateVmArea(1);
            long root = rig.allocateRoot();
            rig.model.ram().set(root + 0x10, 77);
            Audit before = Audit.of(rig.model);
            assertThat(rig.initVm(kvm, area, root)).isEqualTo(Errno.ENOMEM);
            assertThat(Audit.of(rig.model).since(before)).isEmpty();
            // Of the VM that was almost made the host sees nothing, least of all an address of EL2.
            assertThat(rig.zero(area, 0x2000)).isTrue();
            assertThat(rig.zero(root, 0x2000)).isTrue();
            assertThat(rig.teardown(0x1000 + 200)).isZero();
            assertThat(rig.teardown(0x1000 + 7)).isZero();
            assertThat(rig.initVm(kvm, area, root)).isEqualTo(0x1007);
            assertThat(rig.vm(kvm, 1)).isEqualTo(0x1000 + 200);
            assertThat(rig.vm(kvm, 1)).isEqualTo(Errno.ENOMEM);
        }
    }

    @Test
    void theVmidIsInvalidatedBeforeItsSlotIsFree() {
        try (VmRig rig = new VmRig()) {
            long kvm = rig.kvm(1);
            rig.vm(kvm, 1);
            long handle = rig.vm(kvm, 1);
            long slot = rig.model.el2().layout().vmTable() + 8;
            List<Map.Entry<Integer, Boolean>> flushed = new ArrayList<>();
            rig.model.recorder(new Recorder() {
                @Override
                public void tlbiVmid(int vmid) {
                    flushed.add(Map.entry(vmid, rig.model.ram().get(slot) != 0));
                }
            });
            assertThat(rig.teardown(handle)).isZero();
            assertThat(flushed).containsExactly(Map.entry(2, true));
            assertThat(rig.model.ram().get(slot)).isZero();
        }
    }

    // Locks.

    @Test
    void donationsAreMadeBeforeTheTableLockIsTakenAndPinsOfVcpusUnderIt() {
        try (VmRig rig = new VmRig()) {
            Hypervisor el2 = rig.model.el2();
            long kvm = rig.kvm(1);
            long vcpu = rig.vcpu(kvm, 0);
            assertThat(underHostLock(el2, () -> rig.vm(kvm, 1))).containsExactly(false, false, false);
            assertThat(underHostLock(el2, () -> rig.initVcpu(0x1000, vcpu, rig.allocateVcpuArea())))
                    .containsExactly(false, true);
            // Two pages of the root, the vCPU's pins and area, the VM's area and the pin.
            assertThat(underHostLock(el2, () -> rig.teardown(0x1000)))
                    .containsExactly(false, false, false, false, false, false);
        }
    }

    /// Whether the table lock was held, each time the host lock was released.
    private static List<Boolean> underHostLock(Hypervisor el2, Executable call) {
        List<Boolean> held = new ArrayList<>();
        el2.hostLock.onRelease(() -> {
            held.add(el2.guests.tableLock.held());
            assertThat(el2.hypLock.held()).isFalse();
        });
        try {
            call.execute();
        } catch (Throwable e) {
            throw new AssertionError(e);
        } finally {
            el2.hostLock.onRelease(null);
        }
        assertThat(el2.guests.tableLock.held()).isFalse();
        return held;
    }

    // Other machines.

    @ParameterizedTest
    @CsvSource({"12,36", "12,40", "12,44", "12,48", "14,36", "14,40", "14,48", "16,40", "16,48"})
    void everyGeometryGivesEverythingBack(int pageShift, int paRange) {
        for (boolean debug : new boolean[] {true, false}) {
            ModelConfig config = VmRig.config(pageShift, paRange);
            config.debug = debug;
            try (VmRig rig = new VmRig(config)) {
                Audit before = Audit.of(rig.model);
                long available = rig.pages.available();
                HostVm vm = HostVm.create(rig.model, rig.pages, rig.cpu, 2);
                assertThat(vm.handle()).isEqualTo(0x1000);
                assertThat(vm.run(1)).isEqualTo(GuestVms.EXIT_IRQ);
                GuestVms.Live live = rig.model.el2().guests.live().getFirst();
                for (long page = 0; page < rig.rootPages(); page++) {
                    assertThat(rig.pins(live.root() + page * rig.pageSize())).isEqualTo(1);
                }
                vm.destroy();
                long expected =
                        rig.rootPages() + rig.pagesOf(VmStructs.vmArea(2)) + 2 * rig.pagesOf(VmStructs.HYP_VCPU_SIZE);
                assertThat(vm.drained()).hasSize((int) expected);
                assertThat(rig.pages.available()).isEqualTo(available);
                assertThat(Audit.of(rig.model).since(before)).isEmpty();
            }
        }
    }

    // The host's side.

    @Test
    void theHostGetsEveryPageBackAndTheSlotIsReused() {
        try (VmRig rig = new VmRig()) {
            Audit before = Audit.of(rig.model);
            long available = rig.pages.available();
            for (int round = 0; round < 3; round++) {
                HostVm first = HostVm.create(rig.model, rig.pages, rig.cpu, 4);
                HostVm second = HostVm.create(rig.model, rig.pages, rig.model.cpu(1), 1);
                assertThat(first.handle()).isEqualTo(0x1000);
                assertThat(second.handle()).isEqualTo(0x1001);
                assertThat(first.run(3)).isZero();
                first.destroy();
                assertThat(first.handle()).isZero();
                second.destroy();
            }
            assertThat(rig.pages.available()).isEqualTo(available);
            assertThat(Audit.of(rig.model).since(before)).isEmpty();
        }
    }

    /// However little memory there is: a VM or an exception, and nothing is lost.
    @Test
    void aHostThatRunsOutOfMemoryLosesNone() {
        try (VmRig rig = new VmRig()) {
            long need = 1 + 2 + 2 + 2 * (2 + 2);
            int failures = 0;
            for (long left = 0; left <= need; left++) {
                List<Long> taken = new ArrayList<>();
                while (rig.pages.available() > left) {
                    taken.add(rig.pages.allocate(1, 0x1000));
                }
                Audit before = Audit.of(rig.model);
                try {
                    HostVm.create(rig.model, rig.pages, rig.cpu, 2).destroy();
                } catch (HostKernel.HostException e) {
                    assertThat(e).hasMessageContaining("contiguous pages left");
                    failures++;
                }
                assertThat(rig.pages.available()).isEqualTo(left);
                assertThat(Audit.of(rig.model).since(before)).isEmpty();
                taken.forEach(page -> rig.pages.free(page, 1));
            }
            assertThat(failures).isBetween((int) need, (int) need + 1);
        }
    }

    @Test
    void aHostWhoseVmIsRefusedGetsItsMemoryBack() {
        try (VmRig rig = new VmRig()) {
            long kvm = rig.kvm(1);
            LongStream.range(0, 255).forEach(_ -> rig.vm(kvm, 1));
            Audit before = Audit.of(rig.model);
            long available = rig.pages.available();
            assertThatThrownBy(() -> HostVm.create(rig.model, rig.pages, rig.cpu, 1))
                    .isInstanceOf(HostKernel.HostException.class)
                    .hasMessage("__pkvm_init_vm: -ENOMEM");
            assertThat(rig.pages.available()).isEqualTo(available);
            assertThat(Audit.of(rig.model).since(before)).isEmpty();
        }
    }
}
