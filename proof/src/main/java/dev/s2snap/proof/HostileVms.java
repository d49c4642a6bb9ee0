package dev.s2snap.proof;

import dev.s2snap.model.AddressMap;
import dev.s2snap.model.VmStructs;
import dev.s2snap.proof.World.Vcpu;
import dev.s2snap.proof.World.Vm;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/// What a hostile host does with VMs: it makes, runs and ends them, mostly as it should be; it passes memory that it
/// may not give, pointers to where nothing is, and indices and handles of others.
final class HostileVms {
    private static final int SHARE_HYP = 9;
    private static final int UNSHARE_HYP = 10;
    private static final int VCPU_RUN = 12;
    private static final int FLUSH_VMID_IPA = 14;
    private static final int FLUSH_CPU_CONTEXT = 18;
    private static final int INIT_VM = 25;
    private static final int INIT_VCPU = 26;
    private static final int TEARDOWN_VM = 27;

    private static final int FIRST_HANDLE = 0x1000;

    /// VMs at a time, but for a flood.
    private static final int USUAL = 6;

    private final World world;
    private final AddressMap map;
    private final Haunts haunts;
    private final Plan plan;
    private final SplittableRandom random;
    private final int rootPages;

    /// VMs that are still to be made.
    private int flood;

    HostileVms(World world, AddressMap map, Haunts haunts, Plan plan, int rootPages, SplittableRandom random) {
        this.world = world;
        this.map = map;
        this.haunts = haunts;
        this.plan = plan;
        this.rootPages = rootPages;
        this.random = random;
    }

    void idea() {
        if (flood > 0) {
            flood--;
            create(false);
            return;
        }
        List<Vm> vms = new ArrayList<>(world.vms.values());
        if (vms.isEmpty() || (vms.size() < USUAL && random.nextInt(3) == 0)) {
            create(random.nextInt(8) == 0);
            return;
        }
        Vm vm = vms.get(random.nextInt(vms.size()));
        switch (random.nextInt(8)) {
            case 0, 1 -> plan.hypercall(TEARDOWN_VM, handle(vm) + (random.nextInt(8) == 0 ? 1 : 0));
            case 2, 3 -> run(vm);
            case 4 -> flush(vm);
            default -> addVcpu(vm);
        }
    }

    /// From now on nothing but new VMs, till there are more than there are slots for.
    void flood() {
        flood = 2 * VmOracle.SLOTS;
    }

    boolean flooding() {
        return flood > 0;
    }

    private static long handle(Vm vm) {
        return (long) FIRST_HANDLE + vm.slot();
    }

    private long kern(int page) {
        return map.kern(world.address(page));
    }

    private long pagesOf(long size) {
        return (size + (1L << world.shift) - 1) >>> world.shift;
    }

    private void create(boolean wrong) {
        int kvm = haunts.freePages(1, 1);
        int vcpus = random.nextInt(8) == 0 ? 0 : 1 + random.nextInt(3);
        long areaPages = pagesOf(VmStructs.vmArea(vcpus));
        int area = haunts.freePages(areaPages, 1);
        int root = haunts.freePages(rootPages, rootPages);
        if (!world.accessible(kvm)) {
            return;
        }
        plan.add(Op.Kind.WRITE, world.address(kvm) + VmStructs.KVM_CREATED_VCPUS, vcpus);
        if (random.nextInt(16) != 0) {
            plan.hypercall(SHARE_HYP, world.address(kvm) >>> world.shift);
        }
        long areaAddress = kern(area);
        long rootAddress = kern(root);
        if (wrong) {
            switch (random.nextInt(6)) {
                case 0 -> areaAddress += 8;
                case 1 -> areaAddress = kern(random.nextBoolean() ? haunts.systemPage() : haunts.page());
                case 2 -> rootAddress += 16;
                case 3 -> rootAddress = kern(random.nextBoolean() ? haunts.systemPage() : haunts.page());
                case 4 -> rootAddress = areaAddress;
                default -> plan.add(Op.Kind.WRITE, world.address(kvm) + VmStructs.KVM_CREATED_VCPUS, random.nextInt());
            }
        }
        long rootMask = ((long) rootPages << world.shift) - 1;
        boolean aligned = (map.hypPa(map.kernHypVa(rootAddress)) & rootMask) == 0;
        // A root that is not aligned to its size, and else right, is the end (B-22).
        if (aligned || (wrong && random.nextInt(HostileHost.SUICIDAL / 256) == 0)) {
            plan.hypercall(INIT_VM, kern(kvm), areaAddress, rootAddress);
        }
    }

    private void addVcpu(Vm vm) {
        int host = haunts.freePages(2, 1);
        long area = kern(haunts.freePages(pagesOf(VmStructs.HYP_VCPU_SIZE), 1));
        if (!haunts.run(host, 2) || !world.accessible(world.number(vm.kvm()))) {
            return;
        }
        // A wrong index leaves a pin behind for ever (B-12); not too often, or no page is left.
        int index = random.nextInt(64) == 0 ? 7 : vm.vcpus().size();
        plan.add(Op.Kind.WRITE, world.address(host) + VmStructs.VCPU_KVM, map.kern(vm.kvm()));
        plan.add(Op.Kind.WRITE, world.address(host) + VmStructs.VCPU_INDEX, index);
        plan.add(Op.Kind.WRITE, vm.kvm() + VmStructs.KVM_HANDLE, handle(vm));
        int shared = random.nextInt(16) == 0 ? 1 : 2;
        for (int page = host; page < host + shared; page++) {
            plan.hypercall(SHARE_HYP, world.address(page) >>> world.shift);
        }
        if (random.nextInt(16) == 0) {
            area = random.nextBoolean() ? area + 8 : kern(haunts.page());
        }
        plan.hypercall(INIT_VCPU, handle(vm) + (random.nextInt(16) == 0 ? 3 : 0), kern(host), area);
        if (random.nextBoolean()) {
            plan.hypercall(UNSHARE_HYP, world.address(host) >>> world.shift);
        }
    }

    /// Runs a vCPU. EL2 follows pointers in the host's structures, so that a wrong one is the end, unless it leads to
    /// memory that EL2 can read.
    private void run(Vm vm) {
        if (vm.vcpus().isEmpty()) {
            plan.hypercall(INIT_VCPU, handle(vm), kern(haunts.page()), kern(haunts.page()));
            return;
        }
        Vcpu vcpu = vm.vcpus().get(random.nextInt(vm.vcpus().size()));
        long struct = world.address(vcpu.host().first());
        switch (random.nextInt(8)) {
            case 0 -> plan.add(Op.Kind.WRITE, struct + VmStructs.VCPU_INDEX, random.nextInt(4));
            case 1 ->
                plan.add(
                        Op.Kind.WRITE,
                        struct + VmStructs.VCPU_KVM,
                        kern(
                                random.nextInt(16) == 0
                                        ? haunts.systemPage()
                                        : vcpu.host().first()));
            case 2 -> plan.add(Op.Kind.WRITE, vm.kvm() + VmStructs.KVM_HANDLE, random.nextInt(FIRST_HANDLE + USUAL));
            default -> {
                plan.add(Op.Kind.WRITE, struct + VmStructs.VCPU_KVM, map.kern(vm.kvm()));
                plan.add(
                        Op.Kind.WRITE, struct + VmStructs.VCPU_INDEX, vm.vcpus().indexOf(vcpu));
                plan.add(Op.Kind.WRITE, vm.kvm() + VmStructs.KVM_HANDLE, handle(vm));
            }
        }
        if (random.nextInt(HostileHost.SUICIDAL / 256) == 0) {
            plan.hypercall(VCPU_RUN, random.nextBoolean() ? kern(haunts.page()) : random.nextLong());
            return;
        }
        // Not aligned, the pointer in the struct may lie across its pages.
        boolean across = random.nextInt(16) == 0 && vcpu.host().pages() > 1;
        if (across) {
            plan.add(Op.Kind.WRITE, struct + (1L << world.shift) - 4, map.kern(vm.kvm()));
        }
        plan.hypercall(VCPU_RUN, map.kern(struct) + (across ? (1L << world.shift) - 4 : 0));
    }

    /// TLB invalidation for the VMID in a struct of the host, by levels that are and that are not.
    private void flush(Vm vm) {
        int call = FLUSH_VMID_IPA - 1 + random.nextInt(FLUSH_CPU_CONTEXT - FLUSH_VMID_IPA + 2);
        plan.add(Op.Kind.WRITE, vm.kvm() + VmStructs.KVM_MMU + VmStructs.MMU_VMID, random.nextInt(1 << 20));
        boolean wrong = random.nextInt(HostileHost.SUICIDAL / 256) == 0;
        plan.hypercall(
                call,
                wrong ? random.nextLong() : map.kern(vm.kvm()) + VmStructs.KVM_MMU,
                random.nextLong(1L << 40),
                random.nextLong(7) - 2);
    }
}
