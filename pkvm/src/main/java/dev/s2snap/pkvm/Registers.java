package dev.s2snap.pkvm;

import java.util.Collections;
import java.util.Map;
import java.util.OptionalLong;
import java.util.SortedMap;
import java.util.TreeMap;

/// System registers of one CPU by their Arm names ("VTTBR_EL2"). Immutable.
public final class Registers {
    private final SortedMap<String, Long> values;

    public Registers(Map<String, Long> values) {
        this.values = Collections.unmodifiableSortedMap(new TreeMap<>(values));
    }

    public OptionalLong get(String name) {
        Long value = values.get(name);
        return value == null ? OptionalLong.empty() : OptionalLong.of(value);
    }

    /// All of them, sorted by name.
    public SortedMap<String, Long> all() {
        return values;
    }
}
