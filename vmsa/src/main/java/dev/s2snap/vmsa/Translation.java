package dev.s2snap.vmsa;

import java.util.List;

/// The outcome of translating one address through one table.
public sealed interface Translation {

    /// A block or page maps the address.
    ///
    /// @param path descriptors from the root to the leaf
    /// @param output the physical (for stage 1 under stage 2: intermediate physical) address
    record Mapped(List<Finding.Step> path, int level, long descriptor, long output) implements Translation {
        public Mapped {
            path = List.copyOf(path);
        }
    }

    /// An invalid or reserved descriptor: a translation fault at `level`.
    record Fault(List<Finding.Step> path, int level, long descriptor) implements Translation {
        public Fault {
            path = List.copyOf(path);
        }
    }

    /// The address is beyond the input size: a translation fault at level 0 that looks at no descriptor.
    record OutOfRange(int inputBits) implements Translation {}

    /// The descriptor at physical address `missing` is not in the memory, so nothing can be said.
    record Unreadable(List<Finding.Step> path, int level, long missing) implements Translation {
        public Unreadable {
            path = List.copyOf(path);
        }
    }
}
