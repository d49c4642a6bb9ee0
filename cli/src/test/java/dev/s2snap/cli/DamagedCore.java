package dev.s2snap.cli;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.random.RandomGenerator;
import java.util.zip.GZIPInputStream;

/// A capture of a real machine in memory, to be changed word by word, and then checked. It walks tables on its own.
///
/// All of these machines have 4K pages. The host's and the guests' tables begin at level 0, but for those of 6.1, which
/// begin at level 1.
final class DamagedCore {
    private static final long VMEMMAP = 0x6000_0000_0000L;

    private final ByteBuffer bytes;
    private final Map<String, Object> registers;
    private final String name;
    private final int hostStart;
    private final int frameSize;

    private DamagedCore(String name, byte[] bytes, Map<String, Object> registers) {
        this.name = name;
        this.bytes = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        this.registers = registers;
        this.hostStart = name.startsWith("deb-6.1-") ? 1 : 0;
        this.frameSize = name.contains("7.3") ? 8 : 4;
    }

    /// @param name of a capture among the test's resources, or of one in samples
    static DamagedCore of(String name) {
        try {
            if (name.startsWith("deb-6.12-")) {
                String stage = name.substring("deb-6.12-".length());
                return new DamagedCore(
                        name,
                        Files.readAllBytes(Run.core(stage)),
                        JsonTree.parse(Files.readAllBytes(Run.registers(stage))));
            }
            try (InputStream core = new GZIPInputStream(resource(name + ".core.gz"));
                    InputStream regs = resource(name + ".regs.json")) {
                return new DamagedCore(name, core.readAllBytes(), JsonTree.parse(regs.readAllBytes()));
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static InputStream resource(String file) {
        return Objects.requireNonNull(DamagedCore.class.getResourceAsStream("/captures/" + file));
    }

    /// Where a physical address is in the file, or -1 (ELF64 program headers).
    private int place(long address) {
        int headers = (int) bytes.getLong(32);
        int size = bytes.getShort(54);
        int count = bytes.getShort(56);
        for (int i = 0; i < count; i++) {
            int header = headers + i * size;
            long start = bytes.getLong(header + 24);
            boolean load = bytes.getInt(header) == 1;
            if (load && address >= start && address < start + bytes.getLong(header + 32)) {
                return (int) (bytes.getLong(header + 8) + address - start);
            }
        }
        return -1;
    }

    long get(long address) {
        return bytes.getLong(place(address));
    }

    void set(long address, long value) {
        if (place(address) < 0) {
            throw new IllegalArgumentException("0x" + Long.toHexString(address) + " is not in " + name);
        }
        bytes.putLong(place(address), value);
    }

    private long register(Map<String, Object> from, String register) {
        return Long.decode((String) Objects.requireNonNull(from.get(register))) & 0xffff_ffff_f000L;
    }

    /// The first address of a table's root.
    long root(String table) {
        return switch (table) {
            case "host" -> register(registers, "VTTBR_EL2");
            case "hyp" -> register(registers, "TTBR0_EL2");
            default ->
                register(
                        JsonTree.object(JsonTree.list(Objects.requireNonNull(registers.get("guests")))
                                .getFirst()),
                        "VTTBR_EL2");
        };
    }

    /// Physical address of the entry of `level` for an input address.
    long entry(String table, long input, int level) {
        int start = table.equals("host") ? hostStart : 0;
        long page = root(table);
        for (int at = start; ; at++) {
            int shift = 12 + 9 * (3 - at);
            // Concatenated roots are numbered through.
            long index = at == start ? input >>> shift : input >>> shift & 511;
            long entry = page + index * 8;
            if (at == level) {
                return entry;
            }
            if ((get(entry) & 3) != 3) {
                throw new IllegalArgumentException("no table at level " + at + " for 0x" + Long.toHexString(input));
            }
            page = get(entry) & 0xffff_ffff_f000L;
        }
    }

    /// The entry at level 3.
    long leaf(String table, long input) {
        return get(entry(table, input, 3));
    }

    DamagedCore leaf(String table, long input, long descriptor) {
        set(entry(table, input, 3), descriptor);
        return this;
    }

    DamagedCore block(String table, long input, long descriptor) {
        set(entry(table, input, 2), descriptor);
        return this;
    }

    DamagedCore change(String table, long input, long clear, long set) {
        return leaf(table, input, (leaf(table, input) & ~clear) | set);
    }

    /// Puts a word that looks like one of the others, or like nothing, anywhere behind the headers.
    DamagedCore scribble(RandomGenerator random) {
        int words = bytes.capacity() / 8 - 512;
        int place = 4096 + random.nextInt(words) / 512 * 4096 + random.nextInt(512) * 8;
        long other = bytes.getLong(4096 + random.nextInt(words) * 8);
        bytes.putLong(
                Math.min(place, bytes.capacity() - 8),
                switch (random.nextInt(4)) {
                    case 0 -> random.nextLong();
                    case 1 -> other;
                    case 2 -> other ^ 1L << random.nextInt(64);
                    default -> (other & ~0xffff_ffff_f000L) | (random.nextLong() & 0x4fff_f000L);
                });
        return this;
    }

    /// Input address of EL2's linear map.
    long linear(long physical) {
        long distance = switch (name) {
            case "deb-7.3-pvm" -> 0xe32e_b14b_f000L - 0x414b_f000L;
            case "deb-7.3-npvm" -> 0xffe8_c549_5000L - 0x4549_5000L;
            case "deb-6.1-host" -> 0xb2d5_20ee_0000L - 0x40ee_0000L;
            case "deb-6.12-host" -> 0x9111_5114_b000L - 0x4114_b000L;
            default -> throw new IllegalArgumentException(name);
        };
        return physical + distance;
    }

    /// Physical address of the entry of a page in the hyp_vmemmap.
    private long frameAddress(long physical) {
        long virtual = VMEMMAP + (physical >>> 12) * frameSize;
        return (leaf("hyp", virtual) & 0xffff_ffff_f000L) + (virtual & 4095);
    }

    long frame(long physical) {
        int place = place(frameAddress(physical));
        return frameSize == 8 ? bytes.getLong(place) : Integer.toUnsignedLong(bytes.getInt(place));
    }

    DamagedCore frame(long physical, long value) {
        int place = place(frameAddress(physical));
        if (frameSize == 8) {
            bytes.putLong(place, value);
        } else {
            bytes.putInt(place, (int) value);
        }
        return this;
    }

    /// Puts states into an entry of 7.3: 0 owned, 1 shared, 2 borrowed, 3 no page.
    DamagedCore states(long physical, int host, int hyp) {
        return frame(physical, (frame(physical) & ~0xff00_0000L) | host << 24 | (long) (hyp ^ 3) << 28);
    }

    /// Runs `s2snap check` on it.
    Run check(Path folder, Object... options) throws IOException {
        return run(folder, "check", options);
    }

    /// Runs a command on it.
    Run run(Path folder, String command, Object... operands) throws IOException {
        Path core = folder.resolve(name + ".core");
        Path regs = folder.resolve(name + ".regs.json");
        Files.write(core, bytes.array());
        Files.write(
                regs,
                name.startsWith("deb-6.12-")
                        ? Files.readAllBytes(Run.registers(name.substring("deb-6.12-".length())))
                        : resource(name + ".regs.json").readAllBytes());
        List<Object> words = new ArrayList<>(List.of(command, core, "--regs", regs));
        words.addAll(List.of(operands));
        return Run.of(words.toArray());
    }
}
