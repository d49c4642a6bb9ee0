package dev.s2snap.proof;

import static dev.s2snap.proof.World.NOPAGE;
import static dev.s2snap.proof.World.OWNED;
import static dev.s2snap.proof.World.SHARED;

import dev.s2snap.model.Cpu;
import dev.s2snap.model.Errno;
import dev.s2snap.model.Hypercall;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.PkvmModel.Access;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/// All CPUs of a machine at the same time, as threads, at the end of a trial. Each changes pages of its own, whose
/// neighbours belong to others, so that it knows each answer and each word that it reads; and all contend for a few
/// pages, which one gets and the others do not. In the end all pages are the host's again, and the world is as before.
///
/// Threads take turns as they like: what a crowd finds is seldom found again by the same seed.
final class Crowd {
    private static final int ROUNDS = 60;
    private static final int OWN = 6;
    private static final int COMMON = 3;

    private static final String CALL = "all CPUs at the same time";

    private final PkvmModel model;
    private final World world;
    private final int[] pages;
    private final List<Finding> findings = new ArrayList<>();

    /// @param pages that are the host's alone: some for each CPU, those for all, and one that nobody touches
    private Crowd(PkvmModel model, World world, int[] pages) {
        this.model = model;
        this.world = world;
        this.pages = pages;
    }

    /// Lets the CPUs loose. One in so many machines dies of it: a CPU ends it for all.
    ///
    /// @return what was not as expected; the tables are to be read afresh
    static List<Finding> of(PkvmModel model, World world, SplittableRandom random) {
        int[] pages = freePages(world, OWN * model.cpus() + COMMON + 1, random);
        if (pages.length == 0) {
            return List.of();
        }
        Crowd crowd = new Crowd(model, world, pages);
        int suicidal = random.nextInt(8) == 0 ? random.nextInt(model.cpus()) : -1;
        PkvmModel.Program[] programs = new PkvmModel.Program[model.cpus()];
        for (int cpu = 0; cpu < programs.length; cpu++) {
            SplittableRandom own = random.split();
            boolean dies = cpu == suicidal;
            programs[cpu] = each -> crowd.run(each, own, dies);
        }
        try {
            model.run(programs);
        } catch (IllegalStateException e) {
            // A lock that is held twice, or not at all: the model watches over that itself.
            crowd.found("each CPU holds what it locked, and nothing else", String.valueOf(e.getMessage()));
            return crowd.findings;
        }
        if (suicidal >= 0 && model.panic() == null) {
            crowd.found("a vCPU whose struct EL2 cannot read ends the machine", "it goes on");
        }
        if (suicidal < 0 && model.panic() != null) {
            crowd.found("nothing that is done is fatal", "the hypervisor panicked: " + model.panic());
        }
        return crowd.findings;
    }

    /// Pages that the host may give away and its kernel has no use for, or none if so many are not found.
    private static int[] freePages(World world, int number, SplittableRandom random) {
        int[] pages = new int[number];
        int found = 0;
        int kernel = world.pages / Haunts.KERNEL_SHARE;
        // Neighbours, so that the CPUs meet in the same tables.
        int first = random.nextInt(world.pages - kernel);
        for (int i = 0; i < world.pages - kernel && found < number; i++) {
            int each = kernel + (first + i) % (world.pages - kernel);
            if (world.free(each) && !world.edge(each)) {
                pages[found++] = each;
            }
        }
        return found == number ? pages : new int[0];
    }

    private void found(String said, String seen) {
        synchronized (findings) {
            findings.add(new Finding(Finding.Kind.CROWD, -1, said, seen, List.of(), CALL));
        }
    }

    private void run(Cpu cpu, SplittableRandom random, boolean dies) {
        byte[] state = new byte[OWN];
        long[] word = new long[OWN];
        boolean[] written = new boolean[OWN];
        for (int round = 0; round < ROUNDS && model.panic() == null; round++) {
            if (dies && round == ROUNDS / 2) {
                // The call follows a pointer into memory that EL2 does not map.
                call(cpu, Hypercall.KVM_VCPU_RUN, model.addresses().kern(world.address(pages[pages.length - 1])));
                return;
            }
            int own = random.nextInt(OWN);
            int page = pages[own * model.cpus() + cpu.id()];
            switch (random.nextInt(8)) {
                case 0 -> state[own] = change(cpu, Hypercall.PKVM_HOST_SHARE_HYP, page, state[own], OWNED, SHARED);
                case 1 -> state[own] = change(cpu, Hypercall.PKVM_HOST_UNSHARE_HYP, page, state[own], SHARED, OWNED);
                case 2 -> state[own] = donation(page, state[own]);
                case 3 -> {
                    if (state[own] != NOPAGE) {
                        word[own] = random.nextLong();
                        written[own] = true;
                        access(model.write(cpu, world.address(page), word[own]), word[own], page);
                    }
                }
                case 4 -> {
                    if (state[own] != NOPAGE && written[own]) {
                        access(model.read(cpu, world.address(page)), word[own], page);
                    }
                }
                case 5 -> fault(page, state[own]);
                default -> contend(cpu, pages[OWN * model.cpus() + random.nextInt(COMMON)]);
            }
        }
        for (int own = 0; own < OWN && model.panic() == null; own++) {
            int page = pages[own * model.cpus() + cpu.id()];
            if (state[own] == SHARED) {
                change(cpu, Hypercall.PKVM_HOST_UNSHARE_HYP, page, SHARED, SHARED, OWNED);
            } else if (state[own] == NOPAGE) {
                donation(page, NOPAGE);
            }
        }
    }

    private long frame(int page) {
        return world.address(page) >>> world.shift;
    }

    /// @return the answer, or [Expectation#PANIC]
    private long call(Cpu cpu, Hypercall call, long argument) {
        cpu.x(0, call.id());
        cpu.x(1, argument);
        return model.hvc(cpu) ? cpu.x(1) : Expectation.PANIC;
    }

    private byte change(Cpu cpu, Hypercall call, int page, byte state, byte from, byte to) {
        return answered(call.symbol(), call(cpu, call, frame(page)), page, state, from, to);
    }

    /// EL2's own code takes the page, or gives it back.
    private byte donation(int page, byte state) {
        return state == NOPAGE
                ? answered(
                        "hyp_donate_host", model.primitives().hypDonateHost(frame(page), 1), page, state, NOPAGE, OWNED)
                : answered("donate_hyp", model.primitives().donateHyp(frame(page), 1), page, state, OWNED, NOPAGE);
    }

    private byte answered(String what, long answer, int page, byte state, byte from, byte to) {
        long wanted = state == from ? 0 : Errno.EPERM;
        if (answer != wanted && model.panic() == null) {
            found(
                    what + " of a page that nobody else uses: " + Trial.name(wanted),
                    Trial.name(answer) + " for 0x" + Long.toHexString(world.address(page)));
        }
        return answer == 0 ? to : state;
    }

    private void access(Access access, long word, int page) {
        boolean good = access instanceof Access.Done(long value) && value == word;
        if (!good && model.panic() == null) {
            found(
                    "a page of its own holds what the CPU wrote, 0x" + Long.toHexString(word),
                    access + " at 0x" + Long.toHexString(world.address(page)));
        }
    }

    private void fault(int page, byte state) {
        int answer = model.primitives().idmap(world.address(page));
        boolean good = state == NOPAGE ? answer == Errno.EPERM : answer == 0 || answer == Errno.EAGAIN;
        if (!good && model.panic() == null) {
            found(
                    "a fault in a page that the host " + (state == NOPAGE ? "lent" : "has"),
                    Trial.name(answer) + " for 0x" + Long.toHexString(world.address(page)));
        }
    }

    /// Who shares the page takes it back; who does not was too late.
    private void contend(Cpu cpu, int page) {
        long answer = call(cpu, Hypercall.PKVM_HOST_SHARE_HYP, frame(page));
        if (answer == 0) {
            answer = call(cpu, Hypercall.PKVM_HOST_UNSHARE_HYP, frame(page));
            if (answer != 0 && model.panic() == null) {
                found("who shared a page can take it back", Trial.name(answer));
            }
        } else if (answer != Errno.EPERM && model.panic() == null) {
            found("a page is shared once, then it is -EPERM", Trial.name(answer));
        }
    }
}
