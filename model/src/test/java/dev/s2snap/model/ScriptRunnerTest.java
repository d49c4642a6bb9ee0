package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.StringReader;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class ScriptRunnerTest {
    private static final String MACHINE = """
            > cfg page_shift 12
            > cfg region 0x40000000 0x8000000 0
            > cfg carveout 0x46000000
            > cfg cpus 2
            > cfg bss 0x4001a000 0x3000
            > cfg percpu 0x40020000 0x2000
            > cfg stack 0x40028000
            """;

    private static final String INIT = MACHINE + "> init\n";

    /// Lines of [#INIT].
    private static final int LINES = 8;

    private static List<String> run(String script) throws IOException, ScriptException {
        List<String> out = new ArrayList<>();
        try (ScriptRunner runner = new ScriptRunner(out::add)) {
            runner.run(new BufferedReader(new StringReader(script)));
        }
        return out;
    }

    /// What the operations behind the initialisation print.
    private static List<String> answers(String script) throws IOException, ScriptException {
        List<String> out = run(INIT + script);
        List<String> own = out.subList(out.lastIndexOf("> init") + 1, out.size());
        return own.stream()
                .dropWhile(line -> line.startsWith("<"))
                .filter(line -> line.startsWith("<"))
                .toList();
    }

    static Stream<Arguments> badConfigurations() {
        return Stream.of(
                Arguments.of("foo", 1, "a line starts with '>', '<' or '#', this one is: foo"),
                Arguments.of("# x\n\n< y\n foo", 4, "a line starts with '>', '<' or '#', this one is:  foo"),
                Arguments.of("> cfg", 1, "cfg needs one more argument"),
                Arguments.of("> cfg page_shift", 1, "cfg needs one more argument"),
                Arguments.of("> cfg page_shift twelve", 1, "'twelve' is not a number of 64 bits"),
                Arguments.of("> cfg page_shift 0xg", 1, "'0xg' is not a number of 64 bits"),
                Arguments.of("> cfg tag 0x10000000000000000", 1, "'0x10000000000000000' is not a number of 64 bits"),
                Arguments.of("> cfg tag -1", 1, "'-1' is not a number of 64 bits"),
                Arguments.of("> cfg page_shift 11", 1, "cfg takes a number from 12 to 16, not 11"),
                Arguments.of("# one\n> cfg page_shift 12 13", 2, "cfg does not take '13'"),
                Arguments.of("> cfg parange 41", 1, "41 is not one of [32, 36, 40, 42, 44, 48, 52]"),
                Arguments.of("> cfg debug 2", 1, "cfg takes a number from 0 to 1, not 2"),
                Arguments.of("> cfg colour red", 1, "no configuration key 'colour'"),
                Arguments.of("> cfg variant fixed", 1, "no snapshot variant 'fixed': posted or corrected"),
                Arguments.of("> cfg region 0x40000000 0 0", 1, "region of size 0x0"),
                Arguments.of("> cfg region 0x40000000 0x1000", 1, "cfg needs one more argument"),
                Arguments.of(
                        "> cfg region 0x40000000 0x1000 0\n> cfg region 0x40000000 0x1000 0",
                        2,
                        "regions must be ascending and must not overlap"),
                Arguments.of("> state 0x40000", 1, "'state' before 'init'"),
                Arguments.of("> frobnicate", 1, "'frobnicate' before 'init'"),
                Arguments.of("> init", 1, "cfg page_shift is missing (12, 14 or 16)"),
                Arguments.of("> cfg page_shift 12\n> init", 2, "cfg region is missing"),
                Arguments.of("> arm", 1, "arm needs one more argument"),
                Arguments.of("> arm 0 fault 0", 1, "arm takes a number from 1 to 2147483647, not 0"));
    }

    @ParameterizedTest
    @MethodSource("badConfigurations")
    void aBadConfigurationIsToldWithItsLine(String script, int line, String message) {
        assertThatThrownBy(() -> run(script)).isInstanceOfSatisfying(ScriptException.class, e -> {
            assertThat(e).hasMessage(message);
            assertThat(e.line()).isEqualTo(line);
        });
    }

    static Stream<Arguments> badOperations() {
        return Stream.of(
                Arguments.of("> cfg debug 1", 1, "cfg after init"),
                Arguments.of("> init", 1, "init twice"),
                Arguments.of("> frobnicate 1 2", 1, "no operation 'frobnicate'"),
                Arguments.of("> fault", 1, "fault needs one more argument"),
                Arguments.of("> fault 0 0", 1, "fault does not take '0'"),
                Arguments.of("> state", 1, "state needs one more argument"),
                Arguments.of("> state 1 2", 1, "state does not take '2'"),
                Arguments.of("# a\n# b\n> donate_hyp 0x41000", 3, "donate_hyp needs one more argument"),
                Arguments.of("> mem 0x40000000 0", 1, "mem takes a number from 1 to 16777216, not 0"),
                Arguments.of("> hvc 2 0", 1, "hvc takes a number from 0 to 1, not 2"),
                Arguments.of("> hvc 0 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18", 1, "hvc passes x0 to x17"),
                // An error of the second CPU is one of the line that armed it.
                Arguments.of("> arm 1 frobnicate\n# b\n> share_hyp 0x41000", 1, "no operation 'frobnicate'"),
                Arguments.of("> arm 1 state\n> share_hyp 0x41000", 1, "state needs one more argument"),
                Arguments.of("> arm 1 share_hyp 5 5\n> share_hyp 0x41000", 1, "share_hyp does not take '5'"),
                Arguments.of("> arm 1 arm 1 dump\n> share_hyp 0x41000", 1, "no operation 'arm'"));
    }

    @ParameterizedTest
    @MethodSource("badOperations")
    void aBadOperationIsToldWithItsLine(String script, int line, String message) {
        assertThatThrownBy(() -> run(INIT + script)).isInstanceOfSatisfying(ScriptException.class, e -> {
            assertThat(e).hasMessage(message);
            assertThat(e.line()).isEqualTo(LINES + line);
        });
    }

    /// A machine that was not brought up as the host does it.
    @ParameterizedTest
    @ValueSource(strings = {"> hvc 0 0xc6000008", "> arm 1 hvc 1 0xc6000008\n# b\n> share_hyp 0x41000"})
    void whatIsNotModelledIsToldWithTheLineThatAskedForIt(String script) {
        assertThatThrownBy(() -> run(MACHINE + "> init none\n" + script))
                .isInstanceOfSatisfying(ScriptException.class, e -> {
                    assertThat(e).hasMessageStartingWith("__pkvm_prot_finalize before __pkvm_init");
                    assertThat(e.line()).isEqualTo(LINES + 1);
                });
    }

    /// Whatever a script says, it ends with a transcript or with a ScriptException that knows the line.
    @ParameterizedTest
    @ValueSource(
            strings = {
                "> init none\n> host_sees 0x40000000",
                "> init none\n> sizes",
                "> init none\n> snapres 0x40000000",
                "> init none\n> read64 0x40000000",
                "> init none\n> leaf 0x40000000",
                "> init none\n> hleaf 0x40000",
                "> init none\n> hostpool_take 1",
                "> init none\n> dump",
                "> init none\n> state 0x40000",
                "> init none\n> hypwalk 0x4000000000",
                "> init\n> snapres 0x41000000",
                "> init\n> poke64 0x41000060 0xffffffffffffffff\n> snapres 0x41000000",
                "> init\n> mcbuild 0x100000000 20000 1",
                "> init\n> mcbuild 0x41000000 0xffffffffffffffff 0",
                "> init\n> memsha 0x100000000 0x5000000",
                "> cfg hyp_va_bits 52\n> init",
                "> cfg hyp_va_bits 36\n> init",
                "> cfg lpa2 1\n> cfg parange 52\n> init",
                "> init maybe",
                "> init none none",
                "> init\n> trace maybe",
                "> cfg page_shift 13\n> init",
                "> cfg carveout 0x46000800\n> init",
                "> cfg carveout 0xfffffffffffff000\n> init",
                "> cfg carveout 0x46000000 0x1000\n> init",
                "> cfg carveout 0x46000000 0xfffffffffffff000\n> init",
                "> cfg percpu 0x40020000 0xfffffffffffff000\n> init",
                "> cfg stack 0x1\n> init",
                "> cfg vgic 0x10 0x10\n> init",
                "> cfg va_bits 52\n> cfg memstart 0x123\n> init",
                "> cfg tag 0xffffffffffffffff\n> init\n> dump",
            })
    void noScriptMakesTheRunnerFallOver(String script) throws IOException {
        try {
            run(MACHINE + script);
        } catch (ScriptException e) {
            assertThat(e.line()).isBetween(LINES, LINES + 3);
            assertThat(e).message().isNotBlank();
        }
    }

    /// Words that mean nothing are not passed over.
    @ParameterizedTest
    @ValueSource(strings = {"> init maybe", "> init\n> trace maybe", "> cfg page_shift 13"})
    void aWordThatMeansNothingIsAnError(String script) {
        assertThatThrownBy(() -> run(MACHINE + script)).isInstanceOf(ScriptException.class);
    }

    @Test
    void theTranscriptHasTheScriptsOwnLinesAndNewAnswers() throws Exception {
        assertThat(run("# a comment\n\n" + INIT + "> share_hyp 0x41000\n< ret 42\n# the end\n"))
                .containsSubsequence("# a comment", "", "> cfg page_shift 12", "> init", "< ret 0")
                .endsWith("> share_hyp 0x41000", "< ret 0", "# the end")
                .doesNotContain("< ret 42");
    }

    @Test
    void aHypercallGoesThroughDispatchAndPrintsFourRegisters() throws Exception {
        assertThat(answers("""
                        > hvc 0 0xc6000009 0x41000 7 8
                        > state 0x41000
                        > hvc 1 0xc6010009 0x41000
                        > hvc 0 1
                        > hvc 0 0xc6000008 1 2 3
                        """))
                .containsExactly(
                        "< 0x0 0x0 0x7 0x8",
                        "< state host=SHARED_OWNED hyp=SHARED_BORROWED ref=0",
                        "< 0x0 0xffffffffffffffff 0x0 0x0",
                        "< 0xffffffffffffffff 0x0 0x7 0x8",
                        "< 0x0 0xffffffffffffffff 0x2 0x3");
    }

    @Test
    void afterAPanicOperationsAreDeadAndQueriesAreNot() throws Exception {
        assertThat(answers("""
                        > hvc 0 0xc6000009 0x41000
                        > unpin 0x41000 1
                        > share_hyp 0x41001
                        > hvc 0 0xc6000009 0x41000
                        > leaf 0x41000000
                        > state 0x41000
                        > peek64 0x41000000
                        """))
                .containsExactly(
                        "< 0x0 0x0 0x0 0x0",
                        "< HYP_PANIC BUG hyp_page_ref_dec",
                        "< DEAD",
                        "< DEAD",
                        "< DEAD",
                        "< state host=SHARED_OWNED hyp=SHARED_BORROWED ref=0",
                        "< val 0x0");
    }

    @Test
    void aHypercallThatPanicsSaysWhy() throws Exception {
        List<String> out = run(MACHINE.replace("> cfg cpus", "> cfg variant posted\n> cfg cpus") + "> init\n"
                + "> mksnap 0x41000000 0x9000000 1 0x41001000 2 0x41003000 1 0\n"
                + "> hvc 0 0xc600001c 0xffffff8001000000\n> hvc 0 1\n");
        assertThat(out.subList(out.size() - 3, out.size()))
                .satisfiesExactly(
                        line -> assertThat(line).startsWith("< HYP_PANIC ABORT read "),
                        line -> assertThat(line).isEqualTo("> hvc 0 1"),
                        line -> assertThat(line).isEqualTo("< DEAD"));
    }

    @Test
    void theCorrectedVariantIsTheDefaultAndTheCommandLineWins() throws Exception {
        String call = "> hvc 0 0xc600001c 0xffffff8001000001\n";
        // A misaligned struct is -EINVAL when corrected, -EPERM as posted.
        assertThat(answers(call)).containsExactly("< 0x0 0xffffffffffffffea 0x0 0x0");
        String posted = INIT.replace("> init", "> cfg variant posted\n> init") + call;
        assertThat(run(posted).getLast()).isEqualTo("< 0x0 0xffffffffffffffff 0x0 0x0");
        List<String> out = new ArrayList<>();
        try (ScriptRunner runner = new ScriptRunner(out::add).variant(SnapshotCall.Variant.CORRECTED)) {
            runner.run(new BufferedReader(new StringReader(posted)));
            assertThat(runner.model().config().variant()).isEqualTo(SnapshotCall.Variant.CORRECTED);
        }
        assertThat(out.getLast()).isEqualTo("< 0x0 0xffffffffffffffea 0x0 0x0");
    }

    @Test
    void aTraceEndsWhereItIsSwitchedOffOrAfter400Lines() throws Exception {
        assertThat(answers("> trace on\n> share_hyp 0x41000\n> trace off\n> share_hyp 0x41001\n"))
                .filteredOn(line -> line.startsWith("< ev "))
                .isNotEmpty()
                .hasSizeLessThan(40);
        assertThat(answers("> trace on\n> donate_hyp 0x41000 512\n"))
                .filteredOn(line -> line.startsWith("< ev "))
                .hasSize(400);
    }

    @Test
    void theSecondCpuRunsBetweenTwoStepsOfTheFirst() throws Exception {
        assertThat(answers("""
                        > arm 1 state 0x41000
                        > arm 2 share_hyp 0x41001
                        > arm 9 share_hyp 0x41002
                        > share_hyp 0x41000
                        > share_hyp 0x41002
                        """))
                .containsExactly(
                        "< cpu1 begin state 0x41000",
                        "< state host=SHARED_OWNED hyp=SHARED_BORROWED ref=0",
                        "< cpu1 end",
                        "< ret 0",
                        // The release that was waited for did not come; the operation is forgotten.
                        "< ret 0");
    }

    @Test
    void aPanicOfTheSecondCpuIsPrintedOnce() throws Exception {
        assertThat(answers("> arm 1 unpin 0x41000 1\n> share_hyp 0x41000\n> fault 0\n"))
                .containsExactly("< cpu1 begin unpin 0x41000 1", "< HYP_PANIC BUG hyp_page_ref_dec", "< DEAD");
    }

    @Test
    void aPartOfAScriptGoesOnWhereTheLastOneEnded() throws Exception {
        List<String> out = new ArrayList<>();
        try (ScriptRunner runner = new ScriptRunner(out::add)) {
            assertThat(runner.model()).isNull();
            runner.run(new BufferedReader(new StringReader(INIT)));
            assertThat(runner.model()).isNotNull();
            assertThatThrownBy(() -> runner.run(new BufferedReader(new StringReader("> fault 0\nfoo"))))
                    .isInstanceOfSatisfying(
                            ScriptException.class, e -> assertThat(e.line()).isEqualTo(LINES + 2));
        }
    }

    @Test
    void aMachineThatIsThereAlreadyIsLeftToItsOwner() throws Exception {
        List<String> out = new ArrayList<>();
        try (PkvmModel model = PkvmModel.small(SnapshotCall.Variant.CORRECTED)) {
            try (ScriptRunner runner = new ScriptRunner(out::add).on(model)) {
                runner.run(new BufferedReader(new StringReader("> share_hyp 0x41000\n> events\n")));
                assertThat(out).startsWith("> share_hyp 0x41000", "< ret 0").hasSize(4);
                assertThat(out.getLast()).contains("STORE");
                assertThatThrownBy(() -> runner.run(new BufferedReader(new StringReader("> cfg cpus 1"))))
                        .hasMessage("cfg after init");
            }
            assertThat(Audit.of(model).host(0x4100_0000L)).isEqualTo(Audit.SHARED);
        }
    }
}
