package dev.s2snap.pkvm;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.pkvm.Annotation.Format;
import dev.s2snap.pkvm.Annotation.Locked;
import dev.s2snap.pkvm.Annotation.OwnedBy;
import dev.s2snap.pkvm.Annotation.Poisoned;
import dev.s2snap.pkvm.Annotation.Unknown;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// The values are the examples of SPEC 1.5, computed from kernel headers.
class AnnotationTest {

    @Test
    void ownerIdsAreInBits9To2UntilRelease618() {
        assertThat(Format.OWNER_ID.decode(0x4)).isEqualTo(new OwnedBy(Owner.HYP));
        assertThat(Format.OWNER_ID.decode(0x400)).isEqualTo(new Locked());
        assertThat(Format.OWNER_ID.words()).isEqualTo("owner id in bits 9:2");
    }

    /// KVM_MAX_OWNER_ID is 1, so no other owner can be stored; neither does any other bit mean anything.
    @ParameterizedTest
    @ValueSource(longs = {0x2, 0x6, 0x8, 0x3fc, 0x404, 0x800, 1L << 55, 1L << 63, 0x2000_0000_0000_0002L, -2})
    void anythingElseInThatFormatIsUnknown(long descriptor) {
        assertThat(Format.OWNER_ID.decode(descriptor)).isEqualTo(new Unknown(descriptor));
    }

    @Test
    void typesAreInBits63To60FromRelease70() {
        assertThat(Format.TYPED.decode(0x2000_0000_0000_0002L)).isEqualTo(new OwnedBy(Owner.HYP));
        assertThat(Format.TYPED.decode(0x2000_0000_0000_0000L)).isEqualTo(new OwnedBy(Owner.HOST));
        assertThat(Format.TYPED.decode(0x1000_0000_0000_0000L)).isEqualTo(new Locked());
        assertThat(Format.TYPED.decode(0x3000_0000_0000_0000L)).isEqualTo(new Poisoned());
        assertThat(Format.TYPED.words()).isEqualTo("type in bits 63:60");
    }

    @Test
    void aDonationToAGuestNamesItsHandleAndFrame() {
        assertThat(Format.TYPED.decode(0x2000_0080_0001_0004L))
                .isEqualTo(new OwnedBy(new Owner.Guest(0x1000, 0x8_0000)));
        // All bits of both fields: handle in extra 15:0, frame in extra 55:16.
        assertThat(Format.TYPED.decode(0x2fff_ffff_ffff_fff4L))
                .isEqualTo(new OwnedBy(new Owner.Guest(0xffff, 0xff_ffff_ffffL)));
        assertThat(Format.TYPED.decode(0x2000_0000_0000_0004L)).isEqualTo(new OwnedBy(new Owner.Guest(0, 0)));
        assertThat(Format.TYPED.decode(0x2000_0000_0010_0004L)).isEqualTo(new OwnedBy(new Owner.Guest(0, 1)));
        assertThat(Format.TYPED.decode(0x2000_0000_000f_fff4L)).isEqualTo(new OwnedBy(new Owner.Guest(0xffff, 0)));
    }

    @ParameterizedTest
    @ValueSource(
            longs = {
                // Types that there are not.
                0x0000_0000_0000_0004L,
                0x0000_0000_0000_0400L,
                0x4000_0000_0000_0000L,
                0xf000_0000_0000_0002L,
                // Payload where there is none.
                0x1000_0000_0000_0002L,
                0x3000_0000_0000_0010L,
                0x1fff_ffff_ffff_fffeL,
                // An extra field for the host or the hypervisor.
                0x2000_0000_0001_0000L,
                0x2000_0000_0000_0012L,
                0x2800_0000_0000_0002L,
                // Owners that there are not.
                0x2000_0000_0000_0006L,
                0x2000_0000_0000_000eL,
            })
    void anythingElseThatIsTypedIsUnknown(long descriptor) {
        assertThat(Format.TYPED.decode(descriptor)).isEqualTo(new Unknown(descriptor));
    }
}
