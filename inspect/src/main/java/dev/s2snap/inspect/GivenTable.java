package dev.s2snap.inspect;

import dev.s2snap.vmsa.GeometryException;
import dev.s2snap.vmsa.PhysicalMemory;
import dev.s2snap.vmsa.TableGeometry;
import dev.s2snap.vmsa.TranslationRegime;
import dev.s2snap.vmsa.TranslationTable;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;

/// A table that the user describes: its address and its geometry, as in
/// `0x4fac9000,granule=4K,ia=40,start=1`.
///
/// | key | |
/// |---|---|
/// | `regime` | `stage2` (the default), `el2`, `el2&0`, `el2&0-upper`, `el1&0` or `el1&0-upper` |
/// | `granule` | `4K` (the default), `16K` or `64K` |
/// | `ia` | size of the input address in bits, always needed |
/// | `start` | level of the root, -1 to 3; needed for a stage 2, where a stage 1 follows from `ia` |
/// | `oa` | size of the output address in bits; as many as descriptors carry, if it is not said |
/// | `lpa2` | no value: 52-bit descriptors of 4K and 16K pages (DS) |
///
/// @param text as the user wrote it
public record GivenTable(String text, TableGeometry geometry, long root) {

    private static final Map<String, Integer> GRANULES = Map.of("4K", 12, "16K", 14, "64K", 16);
    private static final List<String> KEYS = List.of("regime", "granule", "ia", "start", "oa", "lpa2");

    /// @param text what stands behind `at:`
    /// @throws IllegalArgumentException if there is no such table; the message is for a person
    static GivenTable parse(String text) {
        String[] parts = text.split(",", -1);
        Map<String, String> values = new TreeMap<>();
        for (String part : List.of(parts).subList(1, parts.length)) {
            int equals = part.indexOf('=');
            String key = equals < 0 ? part : part.substring(0, equals);
            if (!KEYS.contains(key)) {
                throw wrong(text, "\"" + key + "\" is not one of " + String.join(", ", KEYS));
            }
            if (values.put(key, part.substring(equals + 1)) != null) {
                throw wrong(text, key + " is there twice");
            }
        }
        TranslationRegime regime = regime(text, values.getOrDefault("regime", TranslationRegime.STAGE2.id()));
        Integer granule = GRANULES.get(values.getOrDefault("granule", "4K"));
        if (granule == null) {
            throw wrong(text, "granule is 4K, 16K or 64K");
        }
        boolean lpa2 = List.of(parts).contains("lpa2");
        if (!lpa2 && values.containsKey("lpa2")) {
            throw wrong(text, "lpa2 has no value: it is there or not");
        }
        if (!values.containsKey("ia")) {
            throw wrong(text, "ia=BITS is missing, the size of its input addresses");
        }
        int inputBits = number(text, "ia", values.get("ia"));
        if (regime.stage2() && !values.containsKey("start")) {
            throw wrong(text, "start=LEVEL is missing, the level of its root");
        }
        // A stage 1 has as many levels as its input needs (D8.2.1).
        int startLevel = values.containsKey("start")
                ? number(text, "start", values.get("start"))
                : 4 - Math.ceilDiv(inputBits - granule, granule - 3);
        try {
            TableGeometry geometry = values.containsKey("oa")
                    ? new TableGeometry(
                            regime, granule, inputBits, startLevel, lpa2, number(text, "oa", values.get("oa")))
                    : new TableGeometry(regime, granule, inputBits, startLevel, lpa2);
            long root = address(text, parts[0]);
            if ((root & (geometry.rootBytes() - 1)) != 0) {
                throw wrong(
                        text, "the root has " + geometry.rootBytes() + " bytes and its address is no multiple of that");
            }
            return new GivenTable(text, geometry, root);
        } catch (GeometryException e) {
            throw wrong(text, String.valueOf(e.getMessage()));
        }
    }

    private static TranslationRegime regime(String text, String id) {
        for (TranslationRegime regime : TranslationRegime.values()) {
            if (regime.id().equals(id)) {
                return regime;
            }
        }
        throw wrong(
                text,
                "regime is one of "
                        + Arrays.stream(TranslationRegime.values())
                                .map(TranslationRegime::id)
                                .collect(Collectors.joining(", ")));
    }

    private static int number(String text, String key, String value) {
        try {
            return Integer.parseInt(value);
        } catch (NumberFormatException e) {
            throw wrong(text, key + " is a number, not \"" + value + "\"");
        }
    }

    private static long address(String text, String value) {
        try {
            if (value.startsWith("0x")) {
                return Long.parseUnsignedLong(value.substring(2), 16);
            }
        } catch (NumberFormatException e) {
            throw wrong(text, "\"" + value + "\" is no address of at most 64 bits");
        }
        throw wrong(text, "it begins with the address of its root, such as 0x4fac9000");
    }

    private static IllegalArgumentException wrong(String text, String what) {
        return new IllegalArgumentException("\"at:" + text + "\" is no table: " + what);
    }

    TranslationTable in(PhysicalMemory memory) {
        return new TranslationTable(memory, geometry, root);
    }
}
