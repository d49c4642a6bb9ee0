package dev.s2snap.model;

import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// Counts events, and prints them while a trace is on: the `ev` and `events` lines of the vector language.
final class EventCounter implements Recorder {
    /// Lines of one trace.
    private static final int TRACE_LIMIT = 400;

    private enum Event {
        DSB,
        ISB,
        STORE,
        STOREREL,
        TLBI_IPA,
        TLBI_RANGE,
        TLBI_VMID,
        TLBI_VALE2IS,
        TLBI_VAE2IS,
        TLBI_IPA_NSH,
        TLBI_VMID_NSH,
        TLBI_ALL,
        DC_CIVAC,
        IC_IVAU
    }

    private final long[] counts = new long[Event.values().length];
    private @Nullable Consumer<String> trace;
    private int traced;

    /// Prints each event from now on; null stops.
    void trace(@Nullable Consumer<String> out) {
        trace = out;
        traced = 0;
    }

    /// The counters since the last call, those that are not zero.
    String take() {
        StringBuilder out = new StringBuilder("events");
        for (Event event : Event.values()) {
            long count = counts[event.ordinal()];
            if (count != 0) {
                out.append(' ').append(event).append('=').append(count);
            }
            counts[event.ordinal()] = 0;
        }
        return out.toString();
    }

    private void count(Event event) {
        counts[event.ordinal()]++;
    }

    private boolean tracing() {
        return trace != null && traced < TRACE_LIMIT;
    }

    private void print(String text) {
        Consumer<String> out = trace;
        if (out != null) {
            traced++;
            out.accept("ev " + text);
        }
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }

    private static String owner(int vmid) {
        return vmid == 0 ? "host" : "vmid" + vmid;
    }

    @Override
    public void store(long address, long before, long after, boolean release) {
        Event event = release ? Event.STOREREL : Event.STORE;
        count(event);
        if (tracing()) {
            print(event + " pa=" + hex(address) + " " + hex(before) + "->" + hex(after));
        }
    }

    @Override
    public void dsb(String domain) {
        count(Event.DSB);
        if (tracing()) {
            print("DSB " + domain);
        }
    }

    @Override
    public void isb() {
        count(Event.ISB);
        if (tracing()) {
            print("ISB ");
        }
    }

    @Override
    public void tlbiIpa(int vmid, long ipa, int level) {
        count(Event.TLBI_IPA);
        if (tracing()) {
            print("TLBI_IPA " + owner(vmid) + " ipa=" + hex(ipa) + " level=" + level);
        }
    }

    @Override
    public void tlbiRange(int vmid, long ipa, long pages) {
        count(Event.TLBI_RANGE);
        if (tracing()) {
            print("TLBI_RANGE " + owner(vmid) + " ipa=" + hex(ipa) + " pages=" + pages);
        }
    }

    @Override
    public void tlbiVmid(int vmid) {
        count(Event.TLBI_VMID);
        if (tracing()) {
            print("TLBI_VMID " + owner(vmid));
        }
    }

    @Override
    public void tlbiIpaNonShareable(int vmid, long ipa, int level) {
        count(Event.TLBI_IPA_NSH);
        if (tracing()) {
            print("TLBI_IPA_NSH " + owner(vmid) + " ipa=" + hex(ipa) + " level=" + level);
        }
    }

    @Override
    public void tlbiVmidNonShareable(int vmid) {
        count(Event.TLBI_VMID_NSH);
        if (tracing()) {
            print("TLBI_VMID_NSH " + owner(vmid));
        }
    }

    @Override
    public void tlbiAll() {
        count(Event.TLBI_ALL);
        if (tracing()) {
            print("TLBI_ALL");
        }
    }

    @Override
    public void cleanInvalidate(long physical, long bytes) {
        count(Event.DC_CIVAC);
        if (tracing()) {
            print("DC_CIVAC pa=" + hex(physical) + " bytes=" + bytes);
        }
    }

    @Override
    public void invalidateInstructions(long physical, long bytes) {
        count(Event.IC_IVAU);
        if (tracing()) {
            print("IC_IVAU pa=" + hex(physical) + " bytes=" + bytes);
        }
    }

    @Override
    public void tlbiEl2(long va, int level, boolean leaf) {
        count(leaf ? Event.TLBI_VALE2IS : Event.TLBI_VAE2IS);
        if (tracing()) {
            print((leaf ? "TLBI_vale2is" : "TLBI_vae2is") + " va=" + hex(va) + " level=" + level);
        }
    }
}
