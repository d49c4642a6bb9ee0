package dev.s2snap.cli;

import dev.s2snap.capture.CaptureException;
import dev.s2snap.model.Errno;
import dev.s2snap.model.HostKernel.HostException;
import dev.s2snap.model.HostKernel.Touch;
import dev.s2snap.model.ModelConfig;
import dev.s2snap.model.PkvmModel;
import dev.s2snap.model.SnapshotCall;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/// The SOURCE `model` or `model:key=value,...`: a machine that is made on the spot, and is the same every time.
///
/// | key | values | default |
/// |---|---|---|
/// | ram | 64M to 1T | 128M |
/// | ipa | 32, 36, 40, 42, 44, 48, 52: physical address bits | the smallest of them from 40 on that is enough |
/// | granule | 4K, 16K, 64K | 4K |
/// | regions | 1 to 128 regions of memory, with gaps | 1 |
/// | variant | posted, corrected: the snapshot call | corrected |
/// | touch | none, boot, pages, random: what the host has used | boot |
/// | seed | of the random mixture | 1 |
/// | script | FILE in the vector language | none |
///
/// Without ram, ipa, granule and regions it is the small machine of the recorded runs. A script with `cfg` lines makes
/// its own machine; one without runs on the machine that the other keys make.
final class ModelSource {
    static final String NAME = "model";

    private static final Set<String> KEYS =
            Set.of("ram", "ipa", "granule", "regions", "variant", "touch", "seed", "script");

    private static final Set<String> MACHINE_KEYS = Set.of("ram", "ipa", "granule", "regions");

    private static final long START = 1L << 30;

    private final String source;
    private final Map<String, String> settings = new LinkedHashMap<>();

    private ModelSource(String source) {
        this.source = source;
        String[] list = source.equals(NAME)
                ? new String[0]
                : source.substring(NAME.length() + 1).split(",", -1);
        for (String setting : list) {
            int equals = setting.indexOf('=');
            String key = equals < 0 ? setting : setting.substring(0, equals);
            if (equals < 0 || !KEYS.contains(key)) {
                throw wrong(
                        "'" + setting + "' is no setting; there are ram, ipa, granule, regions, variant, touch, seed"
                                + " and script, as in model:ram=4G,touch=pages");
            }
            if (settings.put(key, setting.substring(equals + 1)) != null) {
                throw wrong(key + " is given twice; leave one out");
            }
        }
    }

    /// @param variant from the command line, which wins; null if it has none
    static PkvmModel open(String source, SnapshotCall.@Nullable Variant variant) {
        return new ModelSource(source).open(variant);
    }

    /// Makes configurations of the machine that `model:SETTINGS` has; none is the small one.
    static Supplier<ModelConfig> machine(String settings, SnapshotCall.Variant variant) {
        ModelSource source = new ModelSource(settings.isEmpty() ? NAME : NAME + ":" + settings);
        for (String key : source.settings.keySet()) {
            if (!MACHINE_KEYS.contains(key)) {
                throw source.wrong(key + " does not make the machine; there are ram, ipa, granule and regions");
            }
        }
        try {
            source.config();
        } catch (IllegalArgumentException e) {
            throw source.wrong(e.getMessage() + "; change ram, ipa, granule or regions");
        }
        return () -> source.config().variant(variant);
    }

    private CaptureException wrong(String what) {
        return new CaptureException(source + ": " + what);
    }

    private PkvmModel open(SnapshotCall.@Nullable Variant given) {
        SnapshotCall.Variant variant = given != null ? given : variant();
        String script = settings.get("script");
        if (script != null) {
            Script parsed = Script.read(Path.of(script));
            if (parsed.makesItsMachine()) {
                for (String key : settings.keySet()) {
                    if (!key.equals("script") && !key.equals("variant")) {
                        throw wrong(script + " makes its own machine (cfg, init); leave out " + key);
                    }
                }
                return parsed.runAlone(variant);
            }
            PkvmModel model = make(variant);
            parsed.runOn(model);
            return model;
        }
        return make(variant);
    }

    private PkvmModel make(SnapshotCall.Variant variant) {
        PkvmModel model;
        try {
            model = new PkvmModel(config().variant(variant));
        } catch (IllegalArgumentException e) {
            throw wrong(e.getMessage() + "; change ram, ipa, granule or regions");
        }
        boolean ready = false;
        try {
            int error = model.init();
            if (error != 0) {
                throw wrong("the hypervisor does not start on this machine: " + Errno.name(error));
            }
            model.hostKernel().touch(touch(), number("seed", 1));
            ready = true;
        } catch (HostException e) {
            throw new CaptureException(source + ": the host cannot use its memory so: " + e.getMessage(), e);
        } finally {
            if (!ready) {
                model.close();
            }
        }
        return model;
    }

    private ModelConfig config() {
        if (settings.keySet().stream().noneMatch(MACHINE_KEYS::contains)) {
            return ModelConfig.small();
        }
        long ram = size("ram", 128L << 20);
        int regions = (int) Math.min(number("regions", 1), Integer.MAX_VALUE);
        return ModelConfig.machine(ram, addressBits(ram), granuleShift(), regions);
    }

    private int addressBits(long ram) {
        int least = 64 - Long.numberOfLeadingZeros(START + ram + (1L << 28));
        String text = settings.get("ipa");
        if (text == null) {
            return least <= 40 ? 40 : least <= 42 ? 42 : least <= 44 ? 44 : 48;
        }
        return switch (text) {
            case "32", "36", "40", "42", "44", "48", "52" -> Integer.parseInt(text);
            default -> throw wrong("ipa=" + text + " does not exist; it is 32, 36, 40, 42, 44, 48 or 52");
        };
    }

    private int granuleShift() {
        return switch (settings.getOrDefault("granule", "4K").toUpperCase(Locale.ROOT)) {
            case "4K" -> 12;
            case "16K" -> 14;
            case "64K" -> 16;
            default -> throw wrong("granule=" + settings.get("granule") + " does not exist; it is 4K, 16K or 64K");
        };
    }

    private SnapshotCall.Variant variant() {
        try {
            return SnapshotCall.Variant.of(settings.getOrDefault("variant", "corrected"));
        } catch (IllegalArgumentException e) {
            throw wrong(String.valueOf(e.getMessage()));
        }
    }

    private Touch touch() {
        return switch (settings.getOrDefault("touch", "boot")) {
            case "none" -> Touch.NONE;
            case "boot" -> Touch.BOOT;
            case "pages" -> Touch.PAGES;
            case "random" -> Touch.RANDOM;
            default ->
                throw wrong("touch=" + settings.get("touch") + " does not exist; it is none, boot, pages or random");
        };
    }

    private long number(String key, long otherwise) {
        String text = settings.get(key);
        try {
            return text == null ? otherwise : Long.parseLong(text);
        } catch (NumberFormatException e) {
            throw wrong(key + "=" + text + " is no number");
        }
    }

    /// A number with K, M, G or T behind it.
    private long size(String key, long otherwise) {
        String text = settings.get(key);
        if (text == null) {
            return otherwise;
        }
        int unit = text.isEmpty() ? -1 : "KMGT".indexOf(Character.toUpperCase(text.charAt(text.length() - 1)));
        try {
            String digits = unit < 0 ? text : text.substring(0, text.length() - 1);
            return Math.multiplyExact(Long.parseLong(digits), 1L << (10 * (unit + 1)));
        } catch (NumberFormatException | ArithmeticException e) {
            throw wrong(key + "=" + text + " is no size; write 128M or 4G");
        }
    }
}
