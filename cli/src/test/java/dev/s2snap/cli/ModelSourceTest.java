package dev.s2snap.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ModelSourceTest {
    @TempDir
    private Path folder;

    @ParameterizedTest
    @ValueSource(
            strings = {
                "model",
                "model:variant=posted",
                "model:touch=none",
                "model:ram=64M,touch=pages",
                "model:ram=256M,touch=random,seed=7",
                "model:ram=1G,regions=128",
                "model:granule=16K,ipa=36",
                "model:granule=16K,ipa=48,ram=256M",
                "model:granule=64K,ipa=52,ram=256M",
                "model:ipa=52",
                "model:ipa=32,ram=1G",
                "model:ram=64G",
            })
    void everyMachineTakesASnapshotOfItself(String source) {
        assertThat(Run.of("snapshot", source).succeeds().text()).contains("return from HYP: 0", "findings   none");
    }

    @Test
    void terabyteMachineIsDumpedWithoutTouchingItsMemory() {
        assertThat(Run.of("dump", "model:ram=1T,ipa=48").succeeds().text())
                .contains("tables     2579", "findings   none");
    }

    @Test
    void sameSourceIsTheSameMachineAndAnotherSeedIsNot() {
        String first = Run.of("dump", "model:touch=random,seed=3").succeeds().text();
        assertThat(Run.of("dump", "model:touch=random,seed=3").succeeds().text())
                .isEqualTo(first);
        assertThat(Run.of("dump", "model:touch=random,seed=4").succeeds().text())
                .isNotEqualTo(first);
    }

    @Test
    void scriptMakesItsOwnMachineOrRunsOnTheOneGiven() throws IOException {
        Path seed = Path.of("..", "samples", "seed.txt");
        assertThat(Run.of("dump", "model:script=" + seed).succeeds().text()).contains("root 0x4626a000");

        Path steps = Files.writeString(folder.resolve("steps.txt"), "> donate_hyp 0x41000 16\n");
        assertThat(Run.of("dump", "model:touch=none,script=" + steps).succeeds().text())
                .contains("0x0041000000-0x0041010000    64K  3 annotated");
        assertThat(Run.of("dump", "model:ram=1G,script=" + seed).isRefused().err())
                .contains("makes its own machine (cfg, init); leave out ram");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '"',
            value = {
                "model:foo=1|'foo=1' is no setting",
                "model:ram|'ram' is no setting",
                "model:|no setting",
                "model:ram=1G,ram=2G|ram is given twice",
                "model:ram=32M|64M to 1T",
                "model:ram=2T|64M to 1T",
                "model:ram=1X|ram=1X is no size",
                "model:ram=99999999999999G|is no size",
                "model:ram=1T,ipa=40|do not fit into 40 bits",
                "model:ipa=41|ipa=41 does not exist",
                "model:granule=8K|granule=8K does not exist",
                "model:regions=0|1 to 128 regions",
                "model:regions=129|1 to 128 regions",
                "model:ram=64M,regions=128,granule=64K|too many",
                "model:touch=some|touch=some does not exist",
                "model:seed=x|seed=x is no number",
                "model:variant=v5|no snapshot variant 'v5'",
                "model:script=/none|there is no such script",
            })
    void wrongSettingIsOneLine(String source, String message) {
        assertThat(Run.of("dump", source).isRefused().err()).contains(message);
    }
}
