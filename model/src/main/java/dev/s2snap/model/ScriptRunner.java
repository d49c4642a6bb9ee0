package dev.s2snap.model;

import dev.s2snap.vmsa.Translation;
import dev.s2snap.vmsa.TranslationTable;
import java.io.BufferedReader;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// Runs one script in the vector language, from power-on, and prints the transcript: the script's `>` and `#` lines
/// with the machine's own `<` lines, so that a recorded vector comes out as it is. docs/vector-language.md describes
/// it.
public final class ScriptRunner implements AutoCloseable {
    private final Consumer<String> out;
    private final ModelConfig config = new ModelConfig();
    private final EventCounter events = new EventCounter();
    private final List<Armed> armed = new ArrayList<>();
    private SnapshotCall.@Nullable Variant forced;
    private @Nullable PkvmModel model;
    private boolean borrowed;
    private int lineNumber;

    /// What the second CPU is going to do.
    private record Armed(int release, String operation, int line) {}

    /// @param out takes the lines of the transcript
    public ScriptRunner(Consumer<String> out) {
        this.out = out;
    }

    /// Uses this variant of the snapshot call whatever the script says.
    public ScriptRunner variant(SnapshotCall.Variant variant) {
        forced = variant;
        return this;
    }

    /// Runs on a machine that is there already; the script then has no `cfg` and `init`, and [#close] leaves the
    /// machine to its owner.
    public ScriptRunner on(PkvmModel machine) {
        model = machine;
        borrowed = true;
        config.pageShift = machine.config().pageShift();
        machine.recorder(events);
        return this;
    }

    /// The machine, once the script has initialised it.
    public @Nullable PkvmModel model() {
        return model;
    }

    @Override
    public void close() {
        if (model != null && !borrowed) {
            model.close();
        }
    }

    /// Runs a whole script.
    ///
    /// @throws ScriptException at the first line that cannot be executed
    public void run(BufferedReader script) throws IOException, ScriptException {
        for (String line = script.readLine(); line != null; line = script.readLine()) {
            lineNumber++;
            if (line.startsWith(">")) {
                out.accept(line);
                executeChecked(line.substring(1).strip());
            } else if (line.startsWith("#") || line.isBlank()) {
                out.accept(line);
            } else if (!line.startsWith("<")) {
                throw new ScriptException(lineNumber, "a line starts with '>', '<' or '#', this one is: " + line);
            }
        }
    }

    private void print(String line) {
        out.accept("< " + line);
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }

    /// The words of a line, taken one by one.
    private final class Arguments {
        private final String operation;
        private final Iterator<String> words;

        Arguments(String line) {
            List<String> all = List.of(line.split("\\s+"));
            operation = all.getFirst();
            words = all.subList(1, all.size()).iterator();
        }

        boolean more() {
            return words.hasNext();
        }

        String word() throws ScriptException {
            if (!words.hasNext()) {
                throw new ScriptException(lineNumber, operation + " needs one more argument");
            }
            return words.next();
        }

        long number() throws ScriptException {
            String word = word();
            try {
                return word.startsWith("0x")
                        ? Long.parseUnsignedLong(word.substring(2), 16)
                        : Long.parseUnsignedLong(word);
            } catch (NumberFormatException e) {
                throw new ScriptException(lineNumber, "'" + word + "' is not a number of 64 bits");
            }
        }

        int small(int low, int high) throws ScriptException {
            long number = number();
            if (number < low || number > high) {
                throw new ScriptException(
                        lineNumber, operation + " takes a number from " + low + " to " + high + ", not " + number);
            }
            return (int) number;
        }

        boolean flag() throws ScriptException {
            return small(0, 1) == 1;
        }

        void end() throws ScriptException {
            if (words.hasNext()) {
                throw new ScriptException(lineNumber, operation + " does not take '" + words.next() + "'");
            }
        }
    }

    /// What a machine cannot be made of, and what it does not model, is an error of the line that asks for it.
    private void executeChecked(String line) throws ScriptException {
        try {
            execute(line);
        } catch (ArmedException e) {
            throw e.script;
        } catch (UnsupportedOperationException | IllegalStateException | IllegalArgumentException e) {
            throw new ScriptException(lineNumber, String.valueOf(e.getMessage()));
        }
    }

    private void execute(String line) throws ScriptException {
        Arguments arguments = new Arguments(line);
        switch (arguments.operation) {
            case "cfg" -> configure(arguments);
            case "init" -> init(arguments);
            case "arm" -> arm(arguments);
            default -> {
                PkvmModel machine = model;
                if (machine == null) {
                    throw new ScriptException(lineNumber, "'" + arguments.operation + "' before 'init'");
                }
                if (!query(machine, arguments)) {
                    step(machine, arguments);
                }
            }
        }
    }

    // Configuration.

    private void configure(Arguments arguments) throws ScriptException {
        if (model != null) {
            throw new ScriptException(lineNumber, "cfg after init");
        }
        String key = arguments.word();
        switch (key) {
            case "page_shift" -> config.pageShift = oneOf(arguments.small(12, 16), 12, 14, 16);
            case "parange" -> config.paRange = oneOf(arguments.small(32, 52), 32, 36, 40, 42, 44, 48, 52);
            case "region" -> region(arguments);
            case "carveout" -> {
                config.carveout = arguments.number();
                if (arguments.more()) {
                    config.carveoutSize = arguments.number();
                }
            }
            case "va_bits" -> config.vaBits = arguments.small(36, 52);
            case "hyp_va_bits" -> config.hypVaBits = arguments.small(36, 52);
            case "tag" -> config.tag = arguments.number();
            case "memstart" -> config.memstart = arguments.number();
            case "cpus" -> config.cpus = arguments.small(0, 4096);
            case "text" -> config.text = range(arguments);
            case "rodata" -> config.rodata = range(arguments);
            case "bss" -> config.bss = range(arguments);
            case "idmap" -> config.idmap = range(arguments);
            case "percpu" -> config.percpu = range(arguments);
            case "stack" -> config.stack = arguments.number();
            case "vgic" -> config.vgic = range(arguments);
            case "lpa2" -> config.lpa2 = arguments.flag();
            case "pa52" -> config.pa52 = arguments.flag();
            case "variant" -> variantLine(arguments);
            default -> {
                ModelConfig.Feature feature = ModelConfig.Feature.of(key)
                        .orElseThrow(() -> new ScriptException(lineNumber, "no configuration key '" + key + "'"));
                config.with(feature, arguments.flag());
            }
        }
        arguments.end();
    }

    private int oneOf(int value, int... allowed) throws ScriptException {
        for (int each : allowed) {
            if (value == each) {
                return value;
            }
        }
        throw new ScriptException(lineNumber, value + " is not one of " + Arrays.toString(allowed));
    }

    private void region(Arguments arguments) throws ScriptException {
        long base = arguments.number();
        long size = arguments.number();
        try {
            config.addRegion(base, size, arguments.small(0, 7));
        } catch (IllegalArgumentException e) {
            throw new ScriptException(lineNumber, String.valueOf(e.getMessage()));
        }
    }

    private static ModelConfig.Range range(Arguments arguments) throws ScriptException {
        long base = arguments.number();
        return new ModelConfig.Range(base, arguments.number());
    }

    private void variantLine(Arguments arguments) throws ScriptException {
        try {
            config.variant = SnapshotCall.Variant.of(arguments.word());
        } catch (IllegalArgumentException e) {
            throw new ScriptException(lineNumber, String.valueOf(e.getMessage()));
        }
    }

    private void init(Arguments arguments) throws ScriptException {
        boolean none = arguments.more();
        if (none && !arguments.word().equals("none")) {
            throw new ScriptException(lineNumber, "init takes 'none' or nothing");
        }
        arguments.end();
        if (model != null) {
            throw new ScriptException(lineNumber, "init twice");
        }
        if (forced != null) {
            config.variant = forced;
        }
        PkvmModel machine;
        try {
            machine = new PkvmModel(config);
        } catch (IllegalArgumentException e) {
            throw new ScriptException(lineNumber, String.valueOf(e.getMessage()));
        }
        model = machine;
        machine.recorder(events);
        if (none) {
            print("ret 0");
            return;
        }
        Integer result = machine.atEl2(machine::bringUp);
        if (result == null) {
            printPanic(machine);
            return;
        }
        print("ret " + result);
        if (result == 0) {
            printLayout(machine);
        }
    }

    private void printLayout(PkvmModel machine) {
        AddressMap map = machine.addresses();
        Hypervisor el2 = machine.el2();
        Hypervisor.Layout layout = el2.layout();
        CarveoutSizes sizes = el2.sizes();
        PageTable host = el2.host.table();
        PageTable hyp = el2.hyp.table();
        long size = config.carveoutBytes();
        print("layout va_mask=" + hex(map.vaMask()) + " tag=" + hex(map.tag()) + " physvirt_offset="
                + hex(map.physvirtOffset()) + " kern_base=" + hex(map.kernBase()) + " memstart=" + hex(map.memstart()));
        print("carveout " + hex(config.carveout) + " size " + hex(size) + " vmemmap=" + hex(layout.vmemmap())
                + " vm_table=" + hex(layout.vmTable()) + " hyp_s1=" + hex(layout.hypStage1()) + " host_s2="
                + hex(layout.hostStage2()) + " ffa=" + hex(layout.ffa()));
        print("pages vmemmap=" + sizes.vmemmap() + " vm_table=" + sizes.vmTable() + " hyp_s1=" + sizes.hypStage1()
                + " host_s2=" + sizes.hostStage2() + " ffa=" + sizes.ffa() + " hyp_s1_early_used="
                + layout.earlyUsed());
        print("host vtcr=" + hex(el2.vtcr()) + " ia_bits=" + host.geometry().inputBits() + " start="
                + host.geometry().startLevel() + " pgd=" + hex(host.root()) + " pgd_pages="
                + host.geometry().rootPages());
        print("hyp vmemmap_va=" + hex(map.vmemmapBase()) + " start="
                + hyp.geometry().startLevel() + " pgd=" + hex(hyp.root()));
        for (int cpu = 0; cpu < layout.stackTops().size(); cpu++) {
            print("cpu " + cpu + " stack_top_va=" + hex(layout.stackTops().get(cpu)));
        }
    }

    private void printPanic(PkvmModel machine) {
        HypPanic panic = machine.panic();
        print("HYP_PANIC " + (panic == null ? "" : panic.getMessage()));
    }

    // The second CPU.

    private void arm(Arguments arguments) throws ScriptException {
        int release = arguments.small(1, Integer.MAX_VALUE);
        StringBuilder operation = new StringBuilder(arguments.word());
        while (arguments.more()) {
            operation.append(' ').append(arguments.word());
        }
        armed.add(new Armed(release, operation.toString(), lineNumber));
    }

    /// Wraps a failure of the second CPU's script line, which surfaces inside the first CPU's operation.
    private static final class ArmedException extends RuntimeException {
        private static final long serialVersionUID = 1;

        private final ScriptException script;

        ArmedException(ScriptException script) {
            super(script);
            this.script = script;
        }
    }

    /// One operation of CPU 0, with what CPU 1 does in between.
    private void step(PkvmModel machine, Arguments arguments) throws ScriptException {
        if (machine.panic() != null) {
            armed.clear();
            print("DEAD");
            return;
        }
        List<Armed> pending = List.copyOf(armed);
        armed.clear();
        int[] releases = new int[1];
        boolean[] inside = new boolean[1];
        if (!pending.isEmpty()) {
            machine.el2().hostLock.onRelease(() -> {
                if (inside[0]) {
                    return;
                }
                releases[0]++;
                for (Armed other : pending) {
                    if (other.release == releases[0]) {
                        inside[0] = true;
                        runSecond(machine, other);
                        inside[0] = false;
                    }
                }
            });
        }
        try {
            operate(machine, arguments);
        } finally {
            machine.el2().hostLock.onRelease(null);
        }
    }

    private void runSecond(PkvmModel machine, Armed other) {
        print("cpu1 begin " + other.operation);
        try {
            Arguments arguments = new Arguments(other.operation);
            if (!query(machine, arguments)) {
                operate(machine, arguments);
            }
        } catch (ScriptException | UnsupportedOperationException | IllegalStateException | IllegalArgumentException e) {
            throw new ArmedException(new ScriptException(other.line, String.valueOf(e.getMessage())));
        }
        HypPanic panic = machine.panic();
        if (panic != null) {
            throw panic;
        }
        print("cpu1 end");
    }

    // Operations.

    /// Prints the result of a primitive, or the panic.
    private void ret(PkvmModel machine, int result) {
        if (result == Primitives.PANICKED) {
            announce(machine);
        } else {
            print("ret " + result);
        }
    }

    /// A panic of the second CPU is printed once, where it happens.
    private void announce(PkvmModel machine) {
        HypPanic panic = machine.panic();
        if (panic != announced) {
            announced = panic;
            printPanic(machine);
        }
    }

    private @Nullable HypPanic announced;

    private void operate(PkvmModel machine, Arguments arguments) throws ScriptException {
        Primitives el2 = machine.primitives();
        switch (arguments.operation) {
            case "fault", "idmap", "hostabort" -> fault(machine, arguments.operation, arguments.number());
            case "share_hyp" -> ret(machine, el2.shareHyp(arguments.number()));
            case "unshare_hyp" -> ret(machine, el2.unshareHyp(arguments.number()));
            case "donate_hyp" -> ret(machine, el2.donateHyp(arguments.number(), arguments.number()));
            case "hyp_donate_host" -> ret(machine, el2.hypDonateHost(arguments.number(), arguments.number()));
            case "share_ffa" -> ret(machine, el2.shareFfa(arguments.number(), arguments.number()));
            case "unshare_ffa" -> ret(machine, el2.unshareFfa(arguments.number(), arguments.number()));
            case "pin" -> ret(machine, el2.pin(arguments.number(), arguments.number()));
            case "unpin" -> ret(machine, el2.unpin(arguments.number(), arguments.number()));
            case "unmap_dev_all" -> ret(machine, el2.unmapDevices());
            case "hostpool_take" -> ret(machine, el2.takeFromHostPool(arguments.number()));
            case "hpool_take" -> ret(machine, el2.takeFromHypPool(arguments.number()));
            case "hostpool_give" -> ret(machine, el2.giveToHostPool());
            case "hpool_give" -> ret(machine, el2.giveToHypPool());
            case "write64" -> access(machine, machine.write(arguments.number(), arguments.number()), false);
            case "read64" -> {
                long address = arguments.number();
                // Recorded random runs carry the value of a store here, which a load ignores.
                if (arguments.more()) {
                    arguments.number();
                }
                access(machine, machine.read(address), true);
            }
            case "snapshot" -> ret(machine, el2.snapshot(machine.addresses().kern(arguments.number())));
            case "snapshot_hva" -> ret(machine, el2.snapshot(arguments.number()));
            case "hvc" -> hvc(machine, arguments);
            default -> throw new ScriptException(lineNumber, "no operation '" + arguments.operation + "'");
        }
        arguments.end();
    }

    private void fault(PkvmModel machine, String operation, long address) {
        MemProtect protect = machine.el2().memProtect;
        Integer result =
                machine.atEl2(() -> operation.equals("idmap") ? protect.idmap(address) : protect.fault(address));
        if (result == null) {
            announce(machine);
            return;
        }
        boolean abort = operation.equals("hostabort");
        if (!abort) {
            print("ret " + result);
        }
        if (!operation.equals("idmap")) {
            Integer handled = machine.atEl2(() -> {
                MemProtect.requireHandled(result);
                return 0;
            });
            if (handled == null) {
                announce(machine);
            } else if (abort) {
                print("ret 0");
            }
        }
    }

    private void access(PkvmModel machine, PkvmModel.Access access, boolean read) {
        switch (access) {
            case PkvmModel.Access.Done(long value) -> print(read ? "val " + hex(value) : "ret 0");
            case PkvmModel.Access.Refused(int error) -> {
                print("ret " + error);
                announce(machine);
            }
            case PkvmModel.Access.Livelock() -> print("HOST_LIVELOCK");
        }
    }

    private void hvc(PkvmModel machine, Arguments arguments) throws ScriptException {
        Cpu cpu = machine.cpu(arguments.small(0, machine.cpus() - 1));
        cpu.x(0, arguments.number());
        for (int register = 1; arguments.more(); register++) {
            if (register == Cpu.REGISTERS) {
                throw new ScriptException(lineNumber, "hvc passes x0 to x" + (Cpu.REGISTERS - 1));
            }
            cpu.x(register, arguments.number());
        }
        if (machine.hvc(cpu)) {
            print(hex(cpu.x(0)) + " " + hex(cpu.x(1)) + " " + hex(cpu.x(2)) + " " + hex(cpu.x(3)));
        } else {
            announce(machine);
        }
    }

    // Queries, and what bypasses the machine.

    /// @return false if the operation is no query
    private boolean query(PkvmModel machine, Arguments arguments) throws ScriptException {
        Ram ram = machine.ram();
        switch (arguments.operation) {
            case "state" -> state(machine, arguments.number());
            case "leaf" -> {
                if (!leaf(machine, "leaf", arguments.number())) {
                    return true;
                }
            }
            case "hleaf" -> {
                long address = arguments.number() << config.pageShift;
                if (!leaf(machine, "hleaf", machine.addresses().hypVa(address))) {
                    return true;
                }
            }
            case "host_sees" -> hostSees(machine, arguments.number());
            case "hypwalk" -> hypWalk(machine, arguments.number());
            case "mem" -> {
                long address = arguments.number();
                int count = arguments.small(1, 1 << 24);
                StringBuilder line = new StringBuilder("mem :");
                RunLength.append(line, count, false, i -> ram.get(address + (long) i * Long.BYTES));
                print(line.toString());
            }
            case "memsha" -> {
                long address = arguments.number();
                int length = arguments.small(1, 1 << 30);
                print("memsha " + memorySha(ram, address, length));
            }
            case "poke64" -> {
                long address = arguments.number();
                ram.set(address, arguments.number());
                print("ret 0");
            }
            case "peek64" -> print("val " + hex(ram.get(arguments.number())));
            case "mcbuild" -> buildMemcache(ram, arguments);
            case "mksnap" -> buildStruct(machine, arguments);
            case "sizes" -> {
                CarveoutSizes sizes = machine.el2().sizes();
                print("sizes hyp_s1=" + sizes.hypStage1() + " host_s2=" + sizes.hostStage2() + " vmemmap="
                        + sizes.vmemmap() + " pgd_pages="
                        + machine.el2().host.table().geometry().rootPages());
            }
            case "snapres" -> new StateDump(machine, this::print).snapshotResult(arguments.number());
            case "sha" -> new StateDump(machine, this::print).sha();
            case "dump" -> new StateDump(machine, this::print).dump();
            case "events" -> print(events.take());
            case "trace" -> {
                String word = arguments.word();
                boolean on = word.equals("on");
                if (!on && !word.equals("off")) {
                    throw new ScriptException(lineNumber, "trace takes 'on' or 'off', not '" + word + "'");
                }
                events.trace(on ? this::print : null);
            }
            default -> {
                return false;
            }
        }
        arguments.end();
        return true;
    }

    private static String name(Object side) {
        return side instanceof Integer error ? "err" + error : side.toString();
    }

    private void state(PkvmModel machine, long frame) {
        Hypervisor el2 = machine.el2();
        try {
            MemProtect.States states = el2.memProtect.states(frame);
            TranslationTable live = el2.memory.table();
            long entry = el2.vmemmap.entry(frame << config.pageShift);
            boolean covered = live != null && live.translate(entry) instanceof Translation.Mapped;
            String count = covered ? String.valueOf(el2.vmemmap.refcount(frame << config.pageShift)) : "-";
            print("state host=" + name(states.host()) + " hyp=" + name(states.hyp()) + " ref=" + count);
        } catch (HypPanic unreadable) {
            // EL2 cannot read its own table any more, which is what there is to know; a query kills nobody.
            print("state unreadable");
        }
    }

    /// @return false if EL2 could not read the table, which is a panic: it walks its own tables for this
    private boolean leaf(PkvmModel machine, String name, long address) {
        PageTable table = name.equals("leaf")
                ? machine.el2().host.table()
                : machine.el2().hyp.table();
        if (machine.panic() != null) {
            print("DEAD");
            return false;
        }
        PageTable.Leaf leaf = machine.atEl2(() -> table.leaf(address));
        if (leaf == null) {
            announce(machine);
            return false;
        }
        boolean found = leaf.error == 0;
        print(name + " ret=" + leaf.error + " pte=" + hex(found ? leaf.descriptor : 0) + " level="
                + (found ? leaf.level : 0));
        return true;
    }

    private void hostSees(PkvmModel machine, long address) {
        if (machine.hostTable().translate(address) instanceof Translation.Mapped(var _, int _, long _, long output)) {
            print("host pa " + hex(output) + " val " + hex(machine.ram().get(output)));
        } else {
            print("host no-mapping");
        }
    }

    private void hypWalk(PkvmModel machine, long va) {
        TranslationTable live = machine.el2().memory.table();
        if (live != null
                && live.translate(va) instanceof Translation.Mapped(var _, int _, long descriptor, long output)) {
            print("hyp pa " + hex(output) + ((descriptor & El2Memory.READ_ONLY) == 0 ? " rw" : " ro"));
        } else {
            print("hyp no-mapping");
        }
    }

    private static String memorySha(Ram ram, long address, int length) {
        byte[] bytes = new byte[length];
        for (int i = 0; i < length; i++) {
            bytes[i] = ram.getByte(address + i);
        }
        StateHash hash = new StateHash();
        hash.add(bytes);
        return hash.finish();
    }

    private void buildMemcache(Ram ram, Arguments arguments) throws ScriptException {
        long page = arguments.number();
        long count = arguments.small(0, 1 << 24);
        long stride = arguments.more() ? arguments.number() : 1;
        long head = arguments.more() ? arguments.number() : 0;
        for (long i = 0; i < count; i++) {
            ram.set(page, head);
            head = page;
            page += stride << config.pageShift;
        }
        print("head " + hex(head));
    }

    private void buildStruct(PkvmModel machine, Arguments arguments) throws ScriptException {
        Ram ram = machine.ram();
        AddressMap map = machine.addresses();
        long struct = arguments.number();
        for (int offset = 0; offset < SnapshotStruct.SIZE; offset += Long.BYTES) {
            ram.set(struct + offset, 0);
        }
        ram.set(struct + SnapshotStruct.MC_HEAD, arguments.number());
        ram.set(struct + SnapshotStruct.MC_NR_PAGES, arguments.number());
        ram.set(struct + SnapshotStruct.PGD_HVA, map.kern(arguments.number()));
        ram.set(struct + SnapshotStruct.PGD_PAGES, arguments.number());
        ram.set(struct + SnapshotStruct.USED_PAGES_HVA, map.kern(arguments.number()));
        ram.set(struct + SnapshotStruct.NUM_USED_PAGES, arguments.number());
        ram.set(struct + SnapshotStruct.USED_PAGES_INDX, arguments.number());
        print("ret 0");
    }
}
