package dev.s2snap.model;

import static java.util.Map.entry;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.StringReader;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// The model against everything that the real code was recorded to do.
class VectorTest {
    private static final int EPERM = -1;
    private static final int ENOMEM = -12;
    private static final int EINVAL = -22;
    private static final int EOPNOTSUPP = -95;

    /// Normative vectors with a snapshot call.
    private static final int CALLING = 74;

    @Test
    void allVectorsAreThere() {
        assertThat(Vectors.all()).hasSize(Vectors.COUNT);
        assertThat(Vectors.inManifest()).isEqualTo(Vectors.COUNT);
    }

    static Stream<Vectors.Recorded> all() {
        return Vectors.all().stream();
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("all")
    void thePostedVariantDoesLineByLineWhatWasRecorded(Vectors.Recorded vector) throws Exception {
        List<String> lines = vector.lines();
        assertThat(lines).hasSizeGreaterThan(3);
        assertThat(run(lines, SnapshotCall.Variant.POSTED)).isEqualTo(lines);
    }

    /// Those with a snapshot call: to the others the variant is all the same.
    static Stream<Vectors.Recorded> normative() {
        return Vectors.ofKind("normative", "normative-6.12").filter(Vectors.Recorded::callsSnapshot);
    }

    @Test
    void manyNormativeVectorsCallTheSnapshot() {
        assertThat(normative()).hasSize(CALLING);
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("normative")
    void theCorrectedVariantDoesTheSameWhereThatIsRight(Vectors.Recorded vector) throws Exception {
        List<String> lines = vector.lines();
        assertThat(run(lines, SnapshotCall.Variant.CORRECTED)).isEqualTo(lines);
    }

    static Stream<Vectors.Recorded> effects() {
        return Vectors.ofKind("normative-effect");
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("effects")
    void theCorrectedVariantHasTheSameEffectWhereOnlyTheErrnoIsFree(Vectors.Recorded vector) throws Exception {
        List<String> lines = vector.lines();
        assertThat(run(lines, SnapshotCall.Variant.CORRECTED))
                .usingElementComparator((a, b) -> (errno(a) && errno(b)) ? 0 : a.compareTo(b))
                .isEqualTo(lines);
    }

    private static boolean errno(String line) {
        return line.startsWith("< ret -");
    }

    private static List<String> run(List<String> script, SnapshotCall.Variant variant)
            throws IOException, ScriptException {
        List<String> out = new ArrayList<>();
        try (ScriptRunner runner = new ScriptRunner(out::add).variant(variant)) {
            runner.run(new BufferedReader(new StringReader(String.join("\n", script))));
        }
        return out;
    }

    // What the corrected call answers where the posted one shows a defect.

    /// DEFECTS.md section 8, rows 1 to 20, and for the vectors of single defects the rule of section 7 that decides. In
    /// order of the calls, that of the second CPU before the one that it interrupts.
    private static final Map<String, List<Integer>> CORRECTED = Map.ofEntries(
            // Row 2, rule 4: the index comes first, so the host's array is never looked at.
            entry("row02_d01_host_table_page", List.of(EINVAL)),
            entry("row02_d01_hyp_stage1_page", List.of(EINVAL)),
            entry("row02_d01_hyp_stage1_text_table", List.of(EINVAL)),
            entry("d01_array_lists_itself_first", List.of(EINVAL)),
            entry("d01_array_lists_itself_only", List.of(EINVAL)),
            entry("d01_host_page", List.of(EINVAL)),
            entry("d01_hyp_text_page", List.of(EINVAL)),
            entry("d01_index_beyond_array", List.of(EINVAL)),
            entry("d01_listed_twice", List.of(EINVAL)),
            entry("d01_page_of_earlier_donation", List.of(EINVAL)),
            // Row 3, rule 5: no count may be zero.
            entry("row03_d02_host_l2_table", List.of(EINVAL)),
            entry("row03_d02_hyp_l3_table", List.of(EINVAL)),
            entry("row03_d02_readonly_target", List.of(EINVAL)),
            entry("row03_d02_unmapped_target", List.of(EINVAL)),
            entry("row03_d02_vm_table", List.of(EINVAL)),
            entry("d02_d10_d11_shared_page", List.of(EINVAL)),
            entry("d02_other_zero_counts", List.of(EINVAL, EINVAL, EINVAL)),
            entry("kern_hyp_va_aliasing_out_of_ram", List.of(EINVAL, EINVAL)),
            // Row 4, rule 5: nor may its bytes wrap or exceed memory.
            entry("row04_d03a_el2_private_tables", List.of(EINVAL)),
            entry("row04_d03a_vm_table", List.of(EINVAL)),
            entry("row04_d03a_vm_table_16k", List.of(EINVAL)),
            entry("row04_d03a_vm_table_64k", List.of(EINVAL)),
            entry("d03b_overrun_shared", List.of(EINVAL)),
            entry("d03b_overrun_unmapped", List.of(EINVAL)),
            entry("d03c_end_wraps_to_zero", List.of(EINVAL)),
            entry("d03d_used_pages_2pow52", List.of(EINVAL)),
            entry("d03e_large_array_count", List.of(EINVAL)),
            entry("d03e_large_pgd_count", List.of(EINVAL)),
            // The base cannot give back 2 GiB at once.
            entry("d34_snapshot_pgd_2g", List.of(EINVAL)),
            // Rule 7: a range of several pages lies in one region that is not NOMAP.
            entry("d04_into_nomap", List.of(EPERM)),
            entry("d04_pgd_crosses_end_of_ram", List.of(EPERM)),
            // Rows 7 to 11 and 19, rules 7 and 8.
            entry("row07_head_ffa_page", List.of(EPERM)),
            entry("row07_head_host_s2_table_page", List.of(EPERM)),
            entry("row07_head_hyp_table_page", List.of(EPERM)),
            entry("d07_head_ffa_shared", List.of(EPERM)),
            entry("d07_head_mmio", List.of(EPERM)),
            entry("d07_head_shared", List.of(EPERM)),
            entry("row08_head_misaligned", List.of(EINVAL)),
            entry("row08_head_misaligned_hyp_page", List.of(EINVAL)),
            entry("row09_list_one_short", List.of(EPERM)),
            // Where there is memory at 0 the link 0 is a page like any other, and the host owns it.
            entry("row09_list_one_short_ram_at_0", List.of(0)),
            entry("row10_self_link", List.of(EPERM)),
            entry("row10_two_cycle", List.of(EPERM)),
            entry("row11_array_is_memcache", List.of(EPERM)),
            entry("row11_array_is_struct", List.of(EPERM)),
            entry("d06_array_misaligned", List.of(EINVAL)),
            entry("d06_array_refused", List.of(EPERM)),
            entry("d08_last_link_to_array", List.of(EPERM)),
            entry("d08_last_link_to_pgd", List.of(EPERM)),
            entry("d08_last_link_to_struct", List.of(EPERM)),
            entry("d19_link_rewritten_before_donation", List.of(EPERM)),
            entry("row19_two_cpus_same_memcache", List.of(EPERM, 0)),
            // Rule 8: table pages for the donations.
            entry("d09_host_pool_exhausted", List.of(ENOMEM)),
            entry("d09_hpool_exhausted", List.of(ENOMEM)),
            // Rows 15 and 16, rule 9: the array is full.
            entry("row15_one_short_unmapped", List.of(ENOMEM)),
            entry("row16_one_short_before_carveout", List.of(ENOMEM)),
            entry("row16_one_short_list_corrupted", List.of(ENOMEM)),
            entry("row16_one_short_memcache_next", List.of(ENOMEM)),
            entry("row16_one_short_shared_next", List.of(ENOMEM)),
            entry("row16_plus_mmio_block", List.of(ENOMEM)),
            entry("row16_two_short_enomem", List.of(ENOMEM)),
            entry("d05_overflow_entry_swapped", List.of(ENOMEM)),
            // The hypervisor does not know what the host allocated: a defect of the host's side alone.
            entry("d23_neighbour_page_overwritten", List.of(0)),
            // Row 20 and rule 1.
            entry("row20_before_finalise", List.of(EOPNOTSUPP, EOPNOTSUPP)),
            entry("nodebug_not_applicable", List.of(EOPNOTSUPP)));

    /// The rows of section 8 whose vectors are normative: their answer is in the file, and this is what it must be.
    private static final Map<String, List<Integer>> ROWS = Map.ofEntries(
            entry("row01_all_valid", List.of(0)),
            entry("row05_pgd_short", List.of(ENOMEM)),
            entry("row06_memcache_short", List.of(ENOMEM)),
            entry("row12_pgd_is_struct", List.of(EPERM)),
            entry("row13_struct_shared", List.of(EPERM)),
            entry("row14_array_exact", List.of(0)),
            entry("row17_two_cpus_disjoint", List.of(0, 0)),
            entry("row18_two_cpus_same", List.of(EPERM, 0)));

    static Stream<Vectors.Recorded> defects() {
        return Vectors.ofKind("posted-only");
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("defects")
    void theCorrectedVariantRefusesWithoutAnyChange(Vectors.Recorded vector) throws Exception {
        String name = vector.name().substring("posted/".length());
        assertThat(CORRECTED).containsKey(name);
        assertThat(snapshots(vector.lines())).isEqualTo(CORRECTED.get(name));
    }

    static Stream<String> rows() {
        return new TreeMap<>(ROWS).keySet().stream();
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("rows")
    void theCorrectedVariantAnswersTheMatrixOfScenarios(String row) throws Exception {
        Vectors.Recorded vector = Vectors.all().stream()
                .filter(each -> each.name().equals("posted/" + row))
                .findFirst()
                .orElseThrow();
        List<Integer> results = snapshots(vector.lines());
        assertThat(results.subList(0, ROWS.get(row).size())).isEqualTo(ROWS.get(row));
    }

    @Test
    void noDefectIsLeftWithoutAnAnswer() {
        assertThat(defects().map(vector -> vector.name().substring("posted/".length())))
                .containsExactlyInAnyOrderElementsOf(CORRECTED.keySet());
    }

    /// Runs a script with the corrected variant, and watches every snapshot call of the first CPU: the hypervisor
    /// lives,
    /// every page belongs to whom it belonged before, counts and pools are as they were.
    ///
    /// @return what the calls answered, those of the second CPU too
    private static List<Integer> snapshots(List<String> script) throws IOException, ScriptException {
        List<Integer> results = new ArrayList<>();
        List<String> out = new ArrayList<>();
        try (ScriptRunner runner = new ScriptRunner(out::add).variant(SnapshotCall.Variant.CORRECTED)) {
            for (String line : script) {
                PkvmModel model = runner.model();
                boolean call = line.startsWith("> snapshot") && model != null && model.panic() == null;
                Audit before = call && model.el2().finalised() ? Audit.of(model) : null;
                int mark = out.size() + 1;
                runner.run(new BufferedReader(new StringReader(line)));
                if (!call) {
                    continue;
                }
                assertThat(model.panic()).as(line).isNull();
                List<String> answer = out.subList(mark, out.size());
                answer.stream()
                        .filter(each -> snapshotResult(answer, each))
                        .forEach(each -> results.add(Integer.valueOf(each.substring("< ret ".length()))));
                if (before != null) {
                    assertThat(Audit.of(model).since(before)).as(line).isEmpty();
                }
            }
        }
        return results;
    }

    /// The last line is the call's own; of the second CPU's operations only calls count.
    private static boolean snapshotResult(List<String> answer, String line) {
        int index = answer.indexOf(line);
        return line.startsWith("< ret ")
                && (index == answer.size() - 1 || answer.get(index - 1).startsWith("< cpu1 begin snapshot"));
    }
}
