package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.StringReader;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/// What a real host asked and what its hypervisor answered: Debian 6.12.107 on two CPUs under QEMU (Neoverse N1, 256
/// MiB, 4K pages), which boots, runs one VM with one vCPU, and tears it down. Addresses are the recorded ones; the
/// numbers of the calls that 6.12 has shifted are those of 6.7. Of the runs and clock offsets, one of each is kept;
/// the exit code of a run that is not 0 for an interrupt depends on the guest, which the model does not execute.
class VmTraceTest {
    private static final String MACHINE = """
            > cfg page_shift 12
            > cfg parange 48
            > cfg va_bits 48
            > cfg hyp_va_bits 48
            > cfg region 0x40000000 0x10000000 0
            > cfg carveout 0x4f800000 0x600000
            > cfg memstart 0x40000000
            > cfg cpus 2
            > cfg percpu 0x4ff40000 0x4000
            > cfg stack 0x4ff50000
            > init none
            """;

    /// Registers x0 to x7 of a call, and what x0 to x3 were then.
    private static final String CALLS = """
            > hvc 0 0xc6000002 0x4f800000 0x600000 0x2 0x9d8441f07000 0x30
            < 0x0 0x0 0x600000 0x2
            > hvc 0 0xc6000004 0x2 0xffff7fff8dfb3000 0x2
            < 0x0 0x0 0xffff7fff8dfb3000 0x2
            > hvc 0 0xc6000001 0x0 0xffff7fff8dfb3000 0x2
            < 0x0 0x6 0xffff7fff8dfb3000 0x2
            > hvc 1 0xc6000004 0x2 0xffff7fff8dfd5000 0x1
            < 0x0 0x0 0xffff7fff8dfd5000 0x1
            > hvc 1 0xc6000001 0x0 0xffff7fff8dfd5000 0x1
            < 0x0 0x6 0xffff7fff8dfd5000 0x1
            > hvc 0 0xc6000007 0x1 0x2 0xffff00000ff51fc8
            < 0x0 0x90b80003 0x2 0xffff00000ff51fc8
            > hvc 0 0xc6000008 0x0 0xffff80008203eaf8 0x0
            < 0x0 0x0 0xffff80008203eaf8 0x0
            > hvc 1 0xc6000008 0x2 0x40 0xffff800080f7f648
            < 0x0 0x0 0x40 0xffff800080f7f648
            > hvc 0 0xc6000009 0x433b6 0x1 0xffff00000323d880
            < 0x0 0x0 0x1 0xffff00000323d880
            > hvc 0 0xc6000009 0x43a51 0x1 0x1
            < 0x0 0x0 0x1 0x1
            > hvc 0 0xc6000009 0x43a52 0x1 0xffff00000323d890
            < 0x0 0x0 0x1 0xffff00000323d890
            > hvc 0 0xc6000009 0x43a53 0x1 0xffff00000323d110
            < 0x0 0x0 0x1 0xffff00000323d110
            > hvc 0 0xc6000019 0xffff0000033b6000 0xffff000003350000 0xffff000003174000
            < 0x0 0x1000 0xffff000003350000 0xffff000003174000
            > hvc 0 0xc600001a 0x1000 0xffff000003a51b90 0xffff000003352000
            < 0x0 0x0 0xffff000003a51b90 0xffff000003352000
            > hvc 0 0xc6000012 0xffff0000033b69c8 0x0 0x2
            < 0x0 0xffff0000033b69c8 0x0 0x2
            > hvc 0 0xc6000013 0xf4fa221 0x1320 0xffff00000ff1b340
            < 0x0 0xf4fa221 0x1320 0xffff00000ff1b340
            > hvc 0 0xc600000c 0xffff000003a51b90 0x0 0x0
            < 0x0 0x0 0x0 0x0
            > hvc 0 0xc6000013 0x0 0xffff000003a52eb0 0x1320
            < 0x0 0x0 0xffff000003a52eb0 0x1320
            > hvc 0 0xc600001b 0x1000 0x0 0x0
            < 0x0 0x0 0x0 0x0
            > hvc 0 0xc600000a 0x43a51 0x1 0xa62
            < 0x0 0x0 0x1 0xa62
            > hvc 0 0xc600000a 0x43a52 0x1 0xa63
            < 0x0 0x0 0x1 0xa63
            > hvc 0 0xc600000a 0x43a53 0x1 0xa64
            < 0x0 0x0 0x1 0xa64
            > hvc 0 0xc600000a 0x433b6 0x1 0xa65
            < 0x0 0x0 0x1 0xa65
            """;

    private static final long KVM = 0x433b_6000L;
    private static final long VCPU = 0x43a5_1b90L;

    /// The pages in which the host faulted right after the teardown, in that order: it takes them from the memcache.
    private static final List<Long> TAKEN_BACK =
            List.of(0x4335_1000L, 0x4335_0000L, 0x4335_3000L, 0x4335_2000L, 0x4317_4000L);

    private static void feed(ScriptRunner runner, String lines) throws Exception {
        runner.run(new BufferedReader(new StringReader(lines)));
    }

    @Test
    void theRecordedCallsHaveTheRecordedResults() throws Exception {
        List<String> out = new ArrayList<>();
        try (ScriptRunner runner = new ScriptRunner(out::add)) {
            feed(runner, MACHINE);
            PkvmModel model = runner.model();
            // What the host's memory held is not recorded: the words that the hypervisor looks at.
            model.ram().set(KVM + VmStructs.KVM_CREATED_VCPUS, 1);
            model.ram().set(VCPU + VmStructs.VCPU_KVM, model.addresses().kern(KVM));
            model.ram().set(KVM + VmStructs.KVM_HANDLE, 0x1000);
            out.clear();
            int unshare = CALLS.indexOf("> hvc 0 0xc600000a");
            feed(runner, CALLS.substring(0, unshare));
            assertThat(memcache(model)).isEqualTo(TAKEN_BACK);
            feed(runner, CALLS.substring(unshare));
            assertThat(out).isEqualTo(CALLS.lines().toList());
            Audit audit = Audit.of(model);
            for (long page : TAKEN_BACK) {
                assertThat(audit.host(page)).isEqualTo(Audit.OWNED);
            }
        }
    }

    private static List<Long> memcache(PkvmModel model) {
        List<Long> list = new ArrayList<>();
        long page = model.ram().get(KVM + VmStructs.KVM_TEARDOWN_HEAD);
        for (long left = model.ram().get(KVM + VmStructs.KVM_TEARDOWN_PAGES); left > 0; left--) {
            list.add(page);
            page = model.ram().get(page);
        }
        return list;
    }

    /// The sizes that were chosen need the pages that were recorded.
    @Test
    void theChosenStructuresFillTheRecordedPages() {
        long page = 0x1000;
        assertThat(Math.ceilDiv((long) VmStructs.KVM_SIZE, page)).isEqualTo(1);
        assertThat(VmStructs.KVM_TEARDOWN_PAGES).isLessThan(VmStructs.KVM_SIZE);
        assertThat(Math.ceilDiv((VCPU & page - 1) + VmStructs.VCPU_SIZE, page)).isEqualTo(3);
        assertThat(Math.ceilDiv(VmStructs.vmArea(1), page)).isEqualTo(2);
        assertThat(Math.ceilDiv((long) VmStructs.HYP_VCPU_SIZE, page)).isEqualTo(2);
        assertThat(KVM + VmStructs.KVM_MMU).isEqualTo(0x433b_69c8L);
    }
}
