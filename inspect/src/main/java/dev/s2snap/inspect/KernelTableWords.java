package dev.s2snap.inspect;

import java.util.HashMap;
import java.util.Map;

/// Says in words what a kernel's text tells about a region, and with `?` what it does not.
final class KernelTableWords {
    private static final String ANNOTATED = "annotated";

    private final KernelTable table;
    private final Map<KernelTable.Told, String> memory = new HashMap<>();

    KernelTableWords(KernelTable table) {
        this.table = table;
    }

    /// Read, write and execute as `rwx`, empty for what maps nothing. Where EL1 and EL0 differ it is both, with a slash
    /// (D8.4.2). Of the dialects that tell bit 54 alone that bit decides: their kernels never set bit 53.
    String permissions(KernelTable.Region region) {
        if (!region.kind().mapped()) {
            return "";
        }
        KernelTable.Told told = region.told();
        String access = letter(told, KernelTextDialect.READ, 'r') + letter(told, KernelTextDialect.WRITE, 'w');
        boolean xn = (told.bits() & KernelTextDialect.XN) != 0;
        if ((told.bits() & KernelTextDialect.XN0) != 0) {
            return access + (xn ? 'x' : '-') + "/" + access + (xn ? '-' : 'x');
        }
        return access + (!told.tells(KernelTextDialect.XN) ? '?' : xn ? '-' : 'x');
    }

    private static String letter(KernelTable.Told told, long bit, char letter) {
        return String.valueOf(!told.tells(bit) ? '?' : (told.bits() & bit) != 0 ? letter : '-');
    }

    /// The memory type where a word tells it, and what else is set.
    String memory(KernelTable.Region region) {
        return region.kind().mapped() ? memory.computeIfAbsent(region.told(), KernelTableWords::describe) : "";
    }

    private static String describe(KernelTable.Told told) {
        StringBuilder words = new StringBuilder();
        append(words, told.words().contains(" DEVICE/nGnRE"), "device nGnRE");
        // MemAttr 0xf, or 6 with FEAT_S2FWB (D8.6.5, D8.6.6).
        append(words, told.words().contains(" MEM/NORMAL"), "normal WB");
        append(words, told.tells(KernelTextDialect.AF) && (told.bits() & KernelTextDialect.AF) == 0, "no-AF");
        append(words, (told.bits() & KernelTextDialect.FNXS) != 0, "FnXS");
        append(words, (told.bits() & KernelTextDialect.CONTIGUOUS) != 0, "contiguous");
        return words.toString();
    }

    private static void append(StringBuilder words, boolean told, String word) {
        if (told) {
            words.append(words.isEmpty() ? "" : " ").append(word);
        }
    }

    /// Who owns it, empty where nothing is told about that.
    String owner(KernelTable.Region region) {
        KernelTable.Told told = region.told();
        if (region.kind() == KernelTable.Kind.EMPTY) {
            return "";
        }
        if ((told.bits() & KernelTextDialect.VALID) == 0) {
            return told.words().contains(" HYP")
                    ? "hyp"
                    : told.words().contains(" FF-A") ? "FF-A" : told.words().contains(" GUEST") ? "guest" : ANNOTATED;
        }
        if (table.host() && table.dialect() == KernelTextDialect.V4) {
            if (!told.tells(KernelTextDialect.STATE)) {
                return "! reserved state 3";
            }
            return switch ((int) (told.bits() >>> 55) & 3) {
                case 0 -> "host";
                case 1 -> "host, shared";
                case 2 -> "borrowed by the host";
                default -> "! reserved state 3";
            };
        }
        long software = told.bits() >>> 55 & 0xf;
        return software == 0 ? "" : "software bits 0x" + Long.toHexString(software);
    }
}
