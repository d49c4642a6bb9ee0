package dev.s2snap.bench;

import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.util.Arrays;
import java.util.Locale;

/// What a benchmark says besides JMH's own table: one line that begins with `RESULT`, with the checksum of what was
/// computed, so that a figure cannot come from work that was not done. `.ci/deep` keeps these lines.
///
/// Its figures are medians of CPU time: what else the machine does costs them caches, but not time.
final class Result {
    private static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();

    private final StringBuilder line = new StringBuilder("RESULT ");

    Result(String name) {
        line.append(name);
    }

    Result with(String key, double value) {
        line.append(String.format(Locale.ROOT, " %s=%.3f", key, value));
        return this;
    }

    Result with(String key, long value) {
        line.append(' ').append(key).append('=').append(value);
        return this;
    }

    void print(long checksum) {
        System.out.println();
        System.out.println(line.append(String.format(Locale.ROOT, " checksum=%016x", checksum)));
    }

    /// CPU time of this thread in nanoseconds.
    static long cpuTime() {
        return THREADS.getCurrentThreadCpuTime();
    }

    /// A list of doubles that answers with its median.
    static final class Series {
        private double[] values = new double[64];
        private int size;

        void add(double value) {
            if (size == values.length) {
                values = Arrays.copyOf(values, 2 * size);
            }
            values[size++] = value;
        }

        void clear() {
            size = 0;
        }

        int size() {
            return size;
        }

        double median() {
            double[] sorted = Arrays.copyOf(values, size);
            Arrays.sort(sorted);
            return sorted[size / 2];
        }
    }
}
