package dev.s2snap.pkvm;

import dev.s2snap.pkvm.PageView.Memory;
import dev.s2snap.vmsa.Descriptor;
import dev.s2snap.vmsa.LeafRun;
import dev.s2snap.vmsa.TableGeometry;

/// The rules about entries of the host's table, each on its own (I-5, I-6, I-10 to I-13, I-16).
final class HostEntryRules {
    /// MemAttr, S2AP, SH, AF and XN: what an entry of the host allows, and as what (D8.3.1).
    private static final long STAGE2_ATTRIBUTES = 0xf << 2 | 3 << 6 | 3 << 8 | Descriptor.AF | 3L << 53;

    private static final long EXECUTE_NEVER = 1L << 54;

    private final PageView view;

    HostEntryRules(PageView view) {
        this.view = view;
    }

    void check(Stretch stretch, Memory memory) {
        LeafRun run = stretch.host;
        if (run == null || stretch.hostUnknown) {
            return;
        }
        if (run.mapped()) {
            leaf(stretch, run, memory);
        } else {
            annotated(stretch, run, memory);
        }
    }

    /// A block or page of the host (I-5, I-10, I-11, I-12, I-16).
    private void leaf(Stretch stretch, LeafRun run, Memory memory) {
        if (run.output() != run.start()) {
            stretch.breaks(Rule.I_10);
            stretch.say("the host reaches 0x"
                    + Long.toHexString(run.output() + (stretch.start - run.start())) + " at 0x"
                    + Long.toHexString(stretch.start));
            return;
        }
        String odd = TableRules.stage2Bits(view.geometry(), run);
        PageState bits = PageState.ofSoftwareBits(run.bits());
        if (odd.isEmpty() && view.hostInFrames() && bits != PageState.OWNED) {
            odd = "a page state, which this kernel keeps in the hyp_vmemmap";
        }
        if (!odd.isEmpty()) {
            stretch.breaks(Rule.I_5);
            stretch.say("an entry of the host table has " + odd);
            return;
        }
        if (!view.hostInFrames() && bits != PageState.OWNED) {
            boolean nomap = stretch.nomap();
            if (memory == Memory.NO || nomap) {
                stretch.breaks(Rule.I_16);
                stretch.say("the host shares " + (nomap ? "NOMAP memory" : "what is no memory"));
            } else if (run.level() != TableGeometry.LAST_LEVEL) {
                stretch.breaks(Rule.I_12);
                stretch.say("a block of the host is " + bits.words() + " as a whole");
            }
        }
        attributes(stretch, run, memory);
    }

    private void attributes(Stretch stretch, LeafRun run, Memory memory) {
        long attributes = run.bits() & STAGE2_ATTRIBUTES;
        int type = (int) (attributes >>> 2) & 0xf;
        // 0xf is normal write-back without FWB; with it 6 is, and 7 leaves it to stage 1, as 7.3 does.
        boolean goodType = view.host()
                .forcedWriteBack()
                .map(forced -> forced ? type == 6 || type == 7 : type == 0xf)
                .orElse(type == 0xf || type == 6 || type == 7);
        boolean inner = view.geometry().lpa2() || (attributes >>> 8 & 3) == 3;
        boolean accessed = (attributes & Descriptor.AF) != 0;
        String permissions = Witness.stage2Permissions(run.bits());
        boolean mayBeMemory = memory != Memory.NO;
        boolean mayBeDevice = memory != Memory.YES;
        boolean readable = view.era() == Era.V7_0
                && permissions.equals("r--")
                && (view.space().inText(stretch.start, stretch.end)
                        || !view.space().textKnown());
        boolean plain = (permissions.equals("rwx") && mayBeMemory && (attributes & 3L << 53) == 0)
                || (permissions.equals("rw-") && mayBeDevice && (attributes & 3L << 53) == EXECUTE_NEVER);
        if (!(goodType && inner && accessed && (plain || readable))) {
            stretch.breaks(Rule.I_11);
            stretch.say("the host maps " + (memory == Memory.NO ? "what is no memory" : "memory") + " "
                    + (!goodType
                            ? "with memory type 0x" + Integer.toHexString(type)
                            : !inner ? "not inner shareable" : !accessed ? "without access flag" : permissions));
        }
    }

    /// An entry of the host that is neither valid nor zero (I-6, I-12, I-13, I-16).
    private void annotated(Stretch stretch, LeafRun run, Memory memory) {
        boolean nomap = stretch.nomap();
        Annotation annotation = view.era().encodings().annotations().decode(run.bits());
        if (annotation instanceof Annotation.Locked) {
            stretch.breaks(Rule.I_6);
            stretch.say("an entry of the host table is locked, as if an update were going on");
        } else if (memory == Memory.NO || nomap) {
            stretch.breaks(Rule.I_16);
            stretch.say("the host table annotates " + (nomap ? "NOMAP memory" : "what is no memory"));
        } else if (!(annotation instanceof Annotation.OwnedBy(Owner owner)) || owner instanceof Owner.Host) {
            stretch.breaks(Rule.I_13);
            stretch.say("an annotation of the host table is " + Witness.words(annotation));
        } else if (run.level() != TableGeometry.LAST_LEVEL) {
            stretch.breaks(Rule.I_12);
            stretch.say("an annotation is at level " + run.level() + ", not of a page");
        }
    }
}
