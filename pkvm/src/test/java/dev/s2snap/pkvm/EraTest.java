package dev.s2snap.pkvm;

import static dev.s2snap.pkvm.Encodings.StateLocation.DESCRIPTOR;
import static dev.s2snap.pkvm.Encodings.StateLocation.VMEMMAP;
import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class EraTest {

    @Test
    void statesMovedToTheVmemmapBeforeAnnotationsGotTypes() {
        assertThat(Era.V6_1.encodings())
                .isEqualTo(new Encodings(Annotation.Format.OWNER_ID, DESCRIPTOR, DESCRIPTOR, HypPageLayout.COUNTS));
        assertThat(Era.V6_14.encodings())
                .isEqualTo(new Encodings(Annotation.Format.OWNER_ID, VMEMMAP, DESCRIPTOR, HypPageLayout.HOST_STATE));
        assertThat(Era.V6_17.encodings())
                .isEqualTo(new Encodings(Annotation.Format.OWNER_ID, VMEMMAP, VMEMMAP, HypPageLayout.BOTH_STATES));
        assertThat(Era.V7_0.encodings())
                .isEqualTo(new Encodings(Annotation.Format.TYPED, VMEMMAP, VMEMMAP, HypPageLayout.BOTH_STATES));
    }

    @Test
    void anEraIsNamedAfterItsFirstRelease() {
        assertThat(Era.values()).extracting(Era::id).containsExactly("6.1", "6.14", "6.17", "7.0");
        assertThat(Era.values()).allMatch(era -> era.releases().startsWith(era.id()));
        assertThat(DESCRIPTOR.words()).isEqualTo("descriptor bits 56:55");
        assertThat(VMEMMAP.words()).isEqualTo("hyp_vmemmap");
    }
}
