package dev.s2snap.capture;

import dev.s2snap.pkvm.Registers;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.regex.Pattern;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;

/// Registers in JSON: a flat object, register name to hex string. `guests` is a list of such objects, one per CPU that
/// was running a guest. Other keys whose values are not strings are none of our business.
///
/// @param guests empty if the file does not say
public record RegisterFile(Registers host, Optional<List<Registers>> guests) {

    private static final Pattern HEX = Pattern.compile("0[xX]0*([0-9a-fA-F]{0,16})");

    /// A name that can only be a register's, so that a number behind it is an error rather than another key.
    private static final Pattern REGISTER = Pattern.compile("[A-Z0-9_]+_EL[0-3]|VMID|pc|sp|cpsr");

    /// @throws CaptureException if the file cannot be read, is not JSON, or a register is not a 0x hex string
    public static RegisterFile read(Path path) {
        byte[] bytes;
        try {
            bytes = Files.readAllBytes(path);
        } catch (IOException e) {
            throw FileTrouble.reading(path, e);
        }
        return parse(path.toString(), bytes);
    }

    /// @param name of the source, for messages
    static RegisterFile parse(String name, byte[] json) {
        try (JsonParser parser = Json.parser(json)) {
            Json.expect(parser, parser.nextToken(), JsonToken.START_OBJECT, name);
            RegisterFile registers = object(parser, name, "");
            Json.end(parser, name);
            return registers;
        } catch (JacksonException e) {
            throw Json.malformed(name, e);
        }
    }

    /// Reads the rest of an object whose `{` was read.
    private static RegisterFile object(JsonParser parser, String name, String where) {
        Map<String, Long> values = new TreeMap<>();
        Optional<List<Registers>> guests = Optional.empty();
        while (parser.nextToken() != JsonToken.END_OBJECT) {
            String key = parser.currentName();
            JsonToken token = parser.nextToken();
            if (token == JsonToken.VALUE_STRING) {
                values.put(key, value(name, where + key, parser.getString()));
            } else if (where.isEmpty() && key.equals("guests")) {
                Json.expect(parser, token, JsonToken.START_ARRAY, name + ": " + key);
                guests = Optional.of(guests(parser, name));
            } else if (REGISTER.matcher(key).matches()) {
                throw notHex(name, where + key, "it is not a string");
            } else {
                parser.skipChildren();
            }
        }
        return new RegisterFile(new Registers(values), guests);
    }

    /// Reads the rest of an array whose `[` was read.
    static List<Registers> guests(JsonParser parser, String name) {
        List<Registers> guests = new ArrayList<>();
        for (JsonToken token = parser.nextToken(); token != JsonToken.END_ARRAY; token = parser.nextToken()) {
            String where = "guests[" + guests.size() + "].";
            Json.expect(parser, token, JsonToken.START_OBJECT, name + ": " + where);
            guests.add(object(parser, name, where).host);
        }
        return List.copyOf(guests);
    }

    /// Reads the rest of an object whose `{` was read, as the registers of one CPU.
    static Registers one(JsonParser parser, String name, String where) {
        return object(parser, name, where).host;
    }

    static long value(String name, String key, String text) {
        var matcher = HEX.matcher(text);
        if (text.length() < 3 || !matcher.matches()) {
            throw notHex(name, key, "\"" + text + "\" is not");
        }
        String digits = matcher.group(1);
        return digits.isEmpty() ? 0 : Long.parseUnsignedLong(digits, 16);
    }

    private static CaptureException notHex(String name, String key, String what) {
        return new CaptureException(
                name + ": " + key + ": " + what + "; write a hex string of at most 64 bits such as \"0x802d3590\"");
    }
}
