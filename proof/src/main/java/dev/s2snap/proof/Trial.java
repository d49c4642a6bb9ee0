package dev.s2snap.proof;

import dev.s2snap.model.Cpu;
import dev.s2snap.model.Errno;
import dev.s2snap.model.HostWatch;
import dev.s2snap.model.HypPanic;
import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.PkvmModel.Access;
import dev.s2snap.model.Primitives;
import dev.s2snap.model.Ram;
import dev.s2snap.model.SnapshotStruct;
import dev.s2snap.model.WriteLog;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.TableGeometry;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;

/// One machine from power-on, and the oracle beside it: each step is predicted, made, and compared.
final class Trial implements AutoCloseable {
    private final PkvmModel model;
    private final World world;
    private final WriteLog log = new WriteLog();
    private final Sight sight;
    private final Scene scene;
    private final Oracle oracle;
    private final CopyWatch copies;
    private final TlbWatch tlbs;
    private final Ram ram;
    private final Set<String> bugs = new HashSet<>();
    private final long owned;
    private boolean over;

    private static final long SNAPSHOT = 0xC600_001CL;

    // Of the last step.
    private long answer;
    private long transitions;
    private boolean snapshot;
    private long pgdBefore;
    private long operationsBefore;

    Trial(ModelConfig config) {
        model = new PkvmModel(config);
        int error = model.init();
        if (error != 0) {
            throw new IllegalArgumentException("this machine does not come up: " + Errno.name(error));
        }
        // A TLBI that is missing lets the host reach what it gave away.
        model.keepHostTranslations();
        world = new World(config.regions(), config.pageShift(), model.cpus());
        sight = new Sight(model, world, log);
        scene = new Scene(model, sight);
        oracle = new Oracle(world, scene);
        copies = new CopyWatch(model);
        ram = (Ram) model.memory();
        model.writeLog(log);
        tlbs = new TlbWatch(sight);
        model.recorder(tlbs);
        owned = world.owned();
    }

    World world() {
        return world;
    }

    PkvmModel model() {
        return model;
    }

    /// Whether there can be no further step: the hypervisor panicked, as predicted or not, or a known bug of the base
    /// has made a state that no specification describes.
    boolean over() {
        return over;
    }

    /// What calls find on this machine.
    Scene scene() {
        return scene;
    }

    /// VMIDs of guests whose translations EL2 has invalidated since this was asked last.
    Set<Integer> invalidatedGuests() {
        return tlbs.guests();
    }

    /// Whether the last step was a snapshot call.
    boolean snapshot() {
        return snapshot;
    }

    /// Known bugs of the base that the steps met, by number.
    Set<String> bugs() {
        return bugs;
    }

    /// What the last step answered.
    long answer() {
        return answer;
    }

    /// Single page ownership changes, faults and refusals of the last step.
    long transitions() {
        return transitions;
    }

    boolean possible(Op op) {
        return !over && oracle.possible(op);
    }

    /// Makes one step, which must be possible.
    ///
    /// @return what the oracle did not predict
    List<Finding> step(Op op) {
        Expectation expected = predict(op);
        return judge(op, expected, execute(op));
    }

    /// Lets the machine's own kernel do something: each of its calls and accesses is a step, predicted and judged. It
    /// is not stopped by a finding, but what it does behind one is not judged any more.
    ///
    /// @param action ends by itself, or with the exception of a kernel that cannot go on
    void kernel(Runnable action, Steps steps) {
        model.hostWatch(new Kernel(steps));
        try {
            action.run();
        } finally {
            model.hostWatch(null);
        }
    }

    /// Is told of the steps of [#kernel].
    interface Steps {
        /// A step that is going to be made.
        void begins(Op op);

        /// It was made.
        void ended(List<Finding> findings);
    }

    private final class Kernel implements HostWatch {
        private final Steps steps;
        private @Nullable Op op;
        private @Nullable Expectation expected;

        Kernel(Steps steps) {
            this.steps = steps;
        }

        @Override
        public void calls(Cpu cpu) {
            begins(Op.hvc(cpu.id(), cpu.x(0), cpu.x(1), cpu.x(2), cpu.x(3)));
        }

        @Override
        public void reads(long address) {
            begins(new Op(Op.Kind.READ, address));
        }

        @Override
        public void writes(long address, long value) {
            begins(new Op(Op.Kind.WRITE, address, value));
        }

        private void begins(Op next) {
            if (!over) {
                op = next;
                steps.begins(next);
                expected = predict(next);
            }
        }

        @Override
        public void called(Cpu cpu, boolean alive) {
            ended(answer(cpu, alive));
        }

        @Override
        public void accessed(Access access) {
            ended(outcome(access));
        }

        private void ended(long answer) {
            Op made = op;
            Expectation prediction = expected;
            if (made != null && prediction != null) {
                op = null;
                steps.ended(judge(made, prediction, answer));
            }
        }
    }

    /// What the oracle says of a step that is going to be made.
    private Expectation predict(Op op) {
        Expectation expected = oracle.of(op);
        int struct = expected.snapshot();
        pgdBefore = struct < 0 ? 0 : ram.get(world.address(struct) + SnapshotStruct.PGD);
        operationsBefore = struct < 0 ? 0 : ram.get(world.address(struct) + SnapshotStruct.MM_OPS);
        if (expected.room() >= 0) {
            copies.expect(world.address(expected.root()));
        }
        log.clear();
        tlbs.begin();
        return expected;
    }

    /// What of a step the oracle did not predict.
    private List<Finding> judge(Op op, Expectation expected, long made) {
        answer = made;
        int struct = expected.snapshot();
        transitions = expected.transitions();
        snapshot = op.kind() == Op.Kind.HVC && (op.argument(1) & ~(1L << 16)) == SNAPSHOT;
        List<Finding> findings = new ArrayList<>();
        if (answer == Expectation.PANIC) {
            over = true;
            if (!dead()) {
                findings.add(new Finding(
                        Finding.Kind.PANIC,
                        -1,
                        "a machine that has panicked answers nobody",
                        "it answers",
                        List.of(),
                        op.toString()));
            }
            if (!expected.allows(answer)) {
                findings.add(new Finding(
                        Finding.Kind.PANIC,
                        -1,
                        "the answer is " + name(expected.answer()),
                        "the hypervisor panicked: " + panic(),
                        List.of(),
                        op.toString()));
            }
        } else if (expected.answer() != Oracle.ANY && !expected.allows(answer)) {
            findings.add(wrongAnswer(op, expected));
        }
        if (!expected.bug().isEmpty() && expected.allows(answer)) {
            bugs.add(expected.bug());
        }
        // What is the hypervisor's then is no memory, and no world has it.
        boolean straddles = expected.isUnknowable() || (expected.bug().equals("B-03") && answer == 0);
        over |= straddles;
        if (straddles || (model.panic() != null && findings.isEmpty())) {
            return findings;
        }
        expected.happened(expected.answer() == Oracle.ANY ? 0 : answer);
        world.apply(expected);
        switch (op.kind()) {
            case TAKE_HOST_POOL -> world.hostPoolHeld = true;
            case TAKE_HYP_POOL -> world.hypPoolHeld = true;
            case GIVE_HOST_POOL -> world.hostPoolHeld = false;
            case GIVE_HYP_POOL -> world.hypPoolHeld = false;
            default -> over |= world.edgeGiven();
        }
        findings.addAll(tlbs.end(op));
        findings.addAll(sight.compare(expected, op));
        if (struct >= 0 && model.panic() == null) {
            snapshot(op, expected, struct, findings);
        }
        // Another errno, and all is as it was: that is no reason to stop.
        boolean errnoOnly = findings.size() == 1
                && findings.getFirst().kind() == Finding.Kind.ANSWER
                && answer < 0
                && expected.answer() < 0;
        over |= !findings.isEmpty() && !errnoOnly;
        return findings;
    }

    /// Which known defects the findings of the last step show.
    Set<String> diagnosis(List<Finding> findings) {
        return snapshot
                ? Diagnosis.of(findings, oracle.asked(), world)
                : Set.of(findings.getFirst().kind().name());
    }

    /// How bad the findings of the last step are.
    String gravity(List<Finding> findings) {
        return Diagnosis.gravity(findings, world);
    }

    private Finding wrongAnswer(Op op, Expectation expected) {
        return new Finding(
                Finding.Kind.ANSWER,
                -1,
                "the answer is " + name(expected.answer())
                        + (expected.also() == Expectation.NONE ? "" : " or " + name(expected.also())),
                "it is " + name(answer),
                List.of(),
                op.toString());
    }

    /// What the oracle says of a step, without making it. Good until the next question.
    Expectation expected(Op op) {
        return oracle.of(op);
    }

    private String panic() {
        HypPanic panic = model.panic();
        return panic == null ? "" : String.valueOf(panic.getMessage());
    }

    static String name(long answer) {
        return answer == Expectation.PANIC
                ? "a panic"
                : answer == Oracle.NOT_SUPPORTED ? "not supported" : Errno.name(answer);
    }

    /// Everything read afresh, at the end of a trial and now and then.
    List<Finding> all(String line) {
        List<Finding> findings = new ArrayList<>(sight.all(line));
        snapshot = false;
        if (findings.isEmpty()) {
            findings.addAll(Judge.judge(model, line));
        }
        if (findings.isEmpty() && world.owned() != owned) {
            findings.add(new Finding(
                    Finding.Kind.STATE,
                    -1,
                    owned + " pages have an owner",
                    "now it is " + world.owned(),
                    List.of(),
                    line));
        }
        over |= !findings.isEmpty();
        return findings;
    }

    /// Whether the machine is dead and answers nobody any more.
    private boolean dead() {
        if (model.panic() == null) {
            return false;
        }
        try {
            model.hvc(model.cpu(0));
            return false;
        } catch (IllegalStateException e) {
            return true;
        }
    }

    /// Lets all CPUs loose at the same time, which ends the trial.
    List<Finding> crowd(SplittableRandom random) {
        snapshot = false;
        over = true;
        model.writeLog(null);
        model.recorder(null);
        List<Finding> findings = new ArrayList<>(Crowd.of(model, world, random));
        if (model.panic() == null && findings.isEmpty()) {
            findings.addAll(sight.afresh("after all CPUs at the same time"));
            findings.addAll(Judge.judge(model, "after all CPUs at the same time"));
        }
        return findings;
    }

    // Steps.

    private long execute(Op op) {
        Primitives el2 = model.primitives();
        return switch (op.kind()) {
            case FAULT -> el2.fault(op.argument(0));
            case IDMAP -> el2.idmap(op.argument(0));
            case SHARE -> el2.shareHyp(op.argument(0));
            case UNSHARE -> el2.unshareHyp(op.argument(0));
            case DONATE -> el2.donateHyp(op.argument(0), op.argument(1));
            case RETURN -> el2.hypDonateHost(op.argument(0), op.argument(1));
            case SHARE_FFA -> el2.shareFfa(op.argument(0), op.argument(1));
            case UNSHARE_FFA -> el2.unshareFfa(op.argument(0), op.argument(1));
            case PIN -> el2.pin(op.argument(0), op.argument(1));
            case UNPIN -> el2.unpin(op.argument(0), op.argument(1));
            case UNMAP_DEVICES -> el2.unmapDevices();
            case TAKE_HOST_POOL -> el2.takeFromHostPool(op.argument(0));
            case TAKE_HYP_POOL -> el2.takeFromHypPool(op.argument(0));
            case GIVE_HOST_POOL -> el2.giveToHostPool();
            case GIVE_HYP_POOL -> el2.giveToHypPool();
            case READ -> outcome(model.read(op.argument(0)));
            case WRITE -> outcome(model.write(op.argument(0), op.argument(1)));
            case LIST -> list(op);
            case STRUCT -> struct(op);
            case HVC -> hypercall(op);
        };
    }

    /// No answer that anybody expects.
    private static final int LIVELOCK = -1000;

    private long outcome(Access access) {
        return switch (access) {
            case Access.Done(long _) -> 0;
            case Access.Refused(int _) -> Expectation.PANIC;
            case Access.Livelock() -> LIVELOCK;
        };
    }

    private long hypercall(Op op) {
        Cpu cpu = model.cpu((int) op.argument(0));
        for (int i = 1; i < op.size(); i++) {
            cpu.x(i - 1, op.argument(i));
        }
        return answer(cpu, model.hvc(cpu));
    }

    private static long answer(Cpu cpu, boolean alive) {
        return !alive ? Expectation.PANIC : cpu.x(0) == 0 ? cpu.x(1) : Oracle.NOT_SUPPORTED;
    }

    private long list(Op op) {
        long page = op.argument(0);
        long head = op.argument(3);
        for (long i = 0; i < op.argument(1); i++) {
            ram.set(page, head);
            head = page;
            page += op.argument(2) << world.shift;
        }
        return 0;
    }

    private long struct(Op op) {
        long struct = op.argument(0);
        for (int offset = 0; offset < SnapshotStruct.SIZE; offset += Long.BYTES) {
            ram.set(struct + offset, 0);
        }
        ram.set(struct + SnapshotStruct.MC_HEAD, op.argument(1));
        ram.set(struct + SnapshotStruct.MC_NR_PAGES, op.argument(2));
        ram.set(struct + SnapshotStruct.PGD_HVA, model.addresses().kern(op.argument(3)));
        ram.set(struct + SnapshotStruct.PGD_PAGES, op.argument(4));
        ram.set(struct + SnapshotStruct.USED_PAGES_HVA, model.addresses().kern(op.argument(5)));
        ram.set(struct + SnapshotStruct.NUM_USED_PAGES, op.argument(6));
        ram.set(struct + SnapshotStruct.USED_PAGES_INDX, op.argument(7));
        return 0;
    }

    // What a snapshot leaves behind.

    private void snapshot(Op op, Expectation expected, int struct, List<Finding> findings) {
        long address = world.address(struct);
        long pgd = ram.get(address + SnapshotStruct.PGD);
        long operations = ram.get(address + SnapshotStruct.MM_OPS);
        if (answer == 0) {
            if (expected.room() >= 0) {
                long tables = scene.tablePages();
                if (tables > expected.room()) {
                    findings.add(new Finding(
                            Finding.Kind.ROOM,
                            -1,
                            "there is room for " + expected.room() + " tables: -ENOMEM",
                            "a copy of " + tables + " tables",
                            List.of(),
                            op.toString()));
                }
                copy(op, expected, tables, findings);
                if (pgd != world.address(expected.root())) {
                    leak(op, Finding.Kind.LEAK, address, "pgtable.pgd is the root's address", pgd, findings);
                }
            }
        } else {
            if (expected.room() >= 0 && answer == Errno.ENOMEM) {
                enoughRoom(op, expected, findings);
            }
            if (pgd != 0 && pgd != pgdBefore) {
                leak(op, Finding.Kind.LEAK, address, "a call that fails tells no address", pgd, findings);
            }
            if (answer == Errno.ENOMEM) {
                liveTables(op, findings);
            }
        }
        // Without table pages for the struct itself the call has not begun, and what the host had there is there.
        boolean untouched = answer == Errno.ENOMEM && operations == operationsBefore;
        if (operations != 0 && !untouched) {
            leak(op, Finding.Kind.LEAK, address, "pgtable.mm_ops is 0", operations, findings);
        }
    }

    private void enoughRoom(Op op, Expectation expected, List<Finding> findings) {
        long tables = scene.tablePages();
        if (tables <= expected.room() && !world.poolsHeld()) {
            findings.add(new Finding(
                    Finding.Kind.ROOM,
                    -1,
                    "there is room for " + expected.room() + " tables, and there are " + tables + ": 0",
                    "-ENOMEM",
                    List.of(),
                    op.toString()));
        }
    }

    private void copy(Op op, Expectation expected, long tables, List<Finding> findings) {
        String difference = copies.difference();
        Set<Long> distinct = new HashSet<>(copies.pages());
        if (difference.isEmpty() && (distinct.size() != tables || copies.pages().size() != tables)) {
            difference = "it has " + distinct.size() + " pages, and the table " + tables;
        }
        for (long page : distinct) {
            if (difference.isEmpty() && !sight.lent(world.number(page))) {
                difference = "its table at 0x" + Long.toHexString(page) + " was not lent";
            }
        }
        if (!difference.isEmpty()) {
            findings.add(new Finding(
                    Finding.Kind.COPY,
                    world.address(expected.root()),
                    "the copy is the table as it was under the lock",
                    difference,
                    List.of(),
                    op.toString()));
        }
    }

    private void leak(Op op, Finding.Kind kind, long address, String said, long value, List<Finding> findings) {
        findings.add(new Finding(
                kind, address, said, "the host reads 0x" + Long.toHexString(value), List.of(), op.toString()));
    }

    /// Pointers to tables that are in use, in pages that the call filled and the host can read now.
    private void liveTables(Op op, List<Finding> findings) {
        TableGeometry shape = model.host().optional().orElseThrow().geometry();
        for (int i = 0; i < log.size(); i++) {
            long page = model.addresses().hypPa(log.address(i));
            int number = world.number(page);
            if (log.bytes(i) < shape.granule() || number < 0 || !world.accessible(number)) {
                continue;
            }
            for (long at = page; at < page + shape.granule(); at += Long.BYTES) {
                long word = ram.get(at);
                if (Descriptor.table(word, shape.startLevel()) && sight.isTable(shape.tableAddress(word))) {
                    leak(op, Finding.Kind.LIVE_TABLE, page, "a call that fails shows none", word, findings);
                    return;
                }
            }
        }
    }

    @Override
    public void close() {
        model.close();
    }
}
