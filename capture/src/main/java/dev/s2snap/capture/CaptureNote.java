package dev.s2snap.capture;

import dev.s2snap.pkvm.Era;
import dev.s2snap.pkvm.HypVmemmap;
import dev.s2snap.pkvm.MemoryRegion;
import dev.s2snap.pkvm.Registers;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.ObjectWriteContext;

/// The facts about a machine that a capture carries in its note `S2SNAP`, type 1, or that `--machine` names. The
/// descriptor, or the file, is JSON in UTF-8:
///
/// ```json
/// {"schema": 1, "tool": "s2snap 0.1.0", "era": "6.1",
///  "registers": {"VTTBR_EL2": "0x4fac9001"},
///  "guests": [{"VTTBR_EL2": "0x1000043532001"}],
///  "regions": [{"base": "0x40000000", "size": "0x10000000", "flags": 0}],
///  "vmemmap": {"base": "0x400000000000", "entrySize": 8}, "ffa": true}
/// ```
///
/// `schema` comes first and grows when an old reader would misunderstand; unknown keys are skipped, so that adding one
/// needs no new schema. What is not known is null or left out; a note always has `registers`.
///
/// @param tool what wrote the note
/// @param ffa whether the host may share memory with the secure world
record CaptureNote(
        String tool,
        Optional<Era> era,
        Optional<Registers> registers,
        Optional<List<Registers>> guests,
        Optional<List<MemoryRegion>> regions,
        Optional<HypVmemmap> vmemmap,
        Optional<Boolean> ffa) {

    /// A note that says nothing, for what has none.
    static final CaptureNote NONE = new CaptureNote(
            "an unnamed tool",
            Optional.empty(),
            Optional.empty(),
            Optional.empty(),
            Optional.empty(),
            Optional.empty(),
            Optional.empty());

    static final String NAME = "S2SNAP";
    static final int TYPE = 1;
    private static final int SCHEMA = 1;

    byte[] json() {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (JsonGenerator json = Json.FACTORY.createGenerator(ObjectWriteContext.empty(), bytes)) {
            json.writeStartObject();
            json.writeNumberProperty("schema", SCHEMA);
            json.writeStringProperty("tool", tool);
            if (era.isPresent()) {
                json.writeStringProperty("era", era.get().id());
            } else {
                json.writeNullProperty("era");
            }
            json.writeName("registers");
            registers(json, registers.orElseGet(() -> new Registers(Map.of())));
            json.writeArrayPropertyStart("guests");
            guests.orElse(List.of()).forEach(guest -> registers(json, guest));
            json.writeEndArray();
            if (regions.isPresent()) {
                json.writeArrayPropertyStart("regions");
                regions.get().forEach(region -> region(json, region));
                json.writeEndArray();
            } else {
                json.writeNullProperty("regions");
            }
            if (vmemmap.isPresent()) {
                json.writeObjectPropertyStart("vmemmap");
                json.writeStringProperty("base", hex(vmemmap.get().base()));
                json.writeNumberProperty("entrySize", vmemmap.get().entrySize());
                json.writeEndObject();
            } else {
                json.writeNullProperty("vmemmap");
            }
            ffa.ifPresent(value -> json.writeBooleanProperty("ffa", value));
            json.writeEndObject();
        }
        return bytes.toByteArray();
    }

    private static void registers(JsonGenerator json, Registers registers) {
        json.writeStartObject();
        registers.all().forEach((name, value) -> json.writeStringProperty(name, hex(value)));
        json.writeEndObject();
    }

    private static void region(JsonGenerator json, MemoryRegion region) {
        json.writeStartObject();
        json.writeStringProperty("base", hex(region.base()));
        json.writeStringProperty("size", hex(region.size()));
        json.writeNumberProperty("flags", region.flags());
        json.writeEndObject();
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }

    /// The note of a core.
    ///
    /// @param file the name of the file, for messages
    static CaptureNote parse(String file, byte[] json) {
        String name = file + ": note " + NAME;
        CaptureNote note = parse(name, json, "capture again");
        if (note.registers.isEmpty()) {
            throw new CaptureException(name + ": it has no registers; capture again");
        }
        return note;
    }

    /// A file of the same content, written by hand or by another tool. It may say as little as it likes.
    static CaptureNote read(Path path) {
        try {
            return parse(path.toString(), Files.readAllBytes(path), "correct it");
        } catch (IOException e) {
            throw FileTrouble.reading(path, e);
        }
    }

    private static CaptureNote parse(String name, byte[] json, String advice) {
        try (JsonParser parser = Json.parser(json)) {
            Json.expect(parser, parser.nextToken(), JsonToken.START_OBJECT, name);
            CaptureNote note = new Reader(name, parser, advice).read();
            Json.end(parser, name);
            return note;
        } catch (JacksonException e) {
            throw Json.malformed(name, e);
        }
    }

    private static final class Reader {
        private final String name;
        private final JsonParser parser;
        private final String advice;
        private String tool = NONE.tool;
        private Optional<Era> era = Optional.empty();
        private Optional<Registers> registers = Optional.empty();
        private Optional<List<Registers>> guests = Optional.empty();
        private Optional<List<MemoryRegion>> regions = Optional.empty();
        private Optional<HypVmemmap> vmemmap = Optional.empty();
        private Optional<Boolean> ffa = Optional.empty();

        Reader(String name, JsonParser parser, String advice) {
            this.name = name;
            this.parser = parser;
            this.advice = advice;
        }

        /// Reads the rest of the note, whose `{` was read.
        CaptureNote read() {
            parser.nextToken();
            if (!"schema".equals(parser.currentName())) {
                throw new CaptureException(
                        name + ": it does not begin with its schema (\"schema\": " + SCHEMA + "); " + advice);
            }
            Json.expect(parser, parser.nextToken(), JsonToken.VALUE_NUMBER_INT, name + ": schema");
            if (parser.getLongValue() != SCHEMA) {
                throw new CaptureException(name + ": it has schema " + parser.getLongValue()
                        + " and this version of s2snap knows " + SCHEMA + "; use a newer version");
            }
            while (parser.nextToken() != JsonToken.END_OBJECT) {
                member(parser.currentName(), parser.nextToken());
            }
            return new CaptureNote(tool, era, registers, guests, regions, vmemmap, ffa);
        }

        private void member(String key, JsonToken token) {
            String where = name + ": " + key;
            switch (key) {
                case "tool" -> {
                    Json.expect(parser, token, JsonToken.VALUE_STRING, where);
                    tool = parser.getString();
                }
                case "era" -> {
                    if (token != JsonToken.VALUE_NULL) {
                        Json.expect(parser, token, JsonToken.VALUE_STRING, where);
                        era = Optional.of(era(parser.getString()));
                    }
                }
                case "registers" -> {
                    Json.expect(parser, token, JsonToken.START_OBJECT, where);
                    registers = Optional.of(RegisterFile.one(parser, name, "registers."));
                }
                case "guests" -> {
                    Json.expect(parser, token, JsonToken.START_ARRAY, where);
                    guests = Optional.of(RegisterFile.guests(parser, name));
                }
                case "regions" -> {
                    if (token != JsonToken.VALUE_NULL) {
                        Json.expect(parser, token, JsonToken.START_ARRAY, where);
                        regions = Optional.of(regions());
                    }
                }
                case "vmemmap" -> {
                    if (token != JsonToken.VALUE_NULL) {
                        Json.expect(parser, token, JsonToken.START_OBJECT, where);
                        vmemmap = Optional.of(vmemmap(where));
                    }
                }
                case "ffa" -> {
                    if (token != JsonToken.VALUE_NULL) {
                        ffa = Optional.of(truth(token, where));
                    }
                }
                default -> parser.skipChildren();
            }
        }

        private boolean truth(JsonToken token, String where) {
            if (token != JsonToken.VALUE_FALSE) {
                Json.expect(parser, token, JsonToken.VALUE_TRUE, where);
            }
            return token == JsonToken.VALUE_TRUE;
        }

        /// Reads the rest of the object, whose `{` was read.
        private HypVmemmap vmemmap(String where) {
            OptionalLong base = OptionalLong.empty();
            int entrySize = 0;
            while (parser.nextToken() != JsonToken.END_OBJECT) {
                String key = parser.currentName();
                JsonToken token = parser.nextToken();
                switch (key) {
                    case "base" -> base = OptionalLong.of(hexValue(token, where + ".base"));
                    case "entrySize" -> {
                        Json.expect(parser, token, JsonToken.VALUE_NUMBER_INT, where + ".entrySize");
                        entrySize = parser.getIntValue();
                    }
                    default -> parser.skipChildren();
                }
            }
            if (base.isEmpty() || (entrySize != 4 && entrySize != 8)) {
                throw new CaptureException(
                        where + ": it needs a base and an entrySize of 4 or 8, not " + entrySize + "; " + advice);
            }
            return new HypVmemmap(base.getAsLong(), entrySize);
        }

        private Era era(String id) {
            for (Era era : Era.values()) {
                if (era.id().equals(id)) {
                    return era;
                }
            }
            throw new CaptureException(
                    name + ": this version of s2snap does not know era \"" + id + "\"; use a newer version");
        }

        /// Reads the rest of the list, whose `[` was read.
        private List<MemoryRegion> regions() {
            List<MemoryRegion> list = new ArrayList<>();
            for (JsonToken token = parser.nextToken(); token != JsonToken.END_ARRAY; token = parser.nextToken()) {
                String where = name + ": regions[" + list.size() + "]";
                Json.expect(parser, token, JsonToken.START_OBJECT, where);
                MemoryRegion region = region(where);
                if (!list.isEmpty()
                        && Long.compareUnsigned(region.base(), list.getLast().end()) < 0) {
                    throw new CaptureException(where + ": it begins before the end of the one before it; " + advice);
                }
                list.add(region);
            }
            return List.copyOf(list);
        }

        /// Reads the rest of a region, whose `{` was read.
        private MemoryRegion region(String where) {
            long base = -1;
            long size = 0;
            int flags = 0;
            while (parser.nextToken() != JsonToken.END_OBJECT) {
                String key = parser.currentName();
                JsonToken token = parser.nextToken();
                switch (key) {
                    case "base" -> base = hexValue(token, where + ".base");
                    case "size" -> size = hexValue(token, where + ".size");
                    case "flags" -> {
                        Json.expect(parser, token, JsonToken.VALUE_NUMBER_INT, where + ".flags");
                        flags = parser.getIntValue();
                    }
                    default -> parser.skipChildren();
                }
            }
            // The largest physical address has 56 bits; this also keeps the end from wrapping.
            if (base < 0 || size <= 0 || base > 1L << 56 || size > (1L << 56) - base) {
                throw new CaptureException(where + ": base " + hex(base) + " and size " + hex(size)
                        + " are no region of physical memory; " + advice);
            }
            return new MemoryRegion(base, size, flags);
        }

        private long hexValue(JsonToken token, String where) {
            Json.expect(parser, token, JsonToken.VALUE_STRING, where);
            return RegisterFile.value(name, where, parser.getString());
        }
    }
}
