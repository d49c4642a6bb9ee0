package dev.s2snap.capture;

import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.ObjectReadContext;
import tools.jackson.core.StreamReadFeature;
import tools.jackson.core.json.JsonFactory;

/// How all JSON here is read: a key twice is an error, so is something behind the end, and errors have one line.
final class Json {
    static final JsonFactory FACTORY = JsonFactory.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .build();

    private Json() {}

    static JsonParser parser(byte[] json) {
        return FACTORY.createParser(ObjectReadContext.empty(), json);
    }

    static void expect(JsonParser parser, JsonToken is, JsonToken wanted, String where) {
        if (is != wanted) {
            throw new CaptureException(where + ": expected " + words(wanted) + " in line "
                    + parser.currentTokenLocation().getLineNr());
        }
    }

    static void end(JsonParser parser, String where) {
        if (parser.nextToken() != null) {
            throw new CaptureException(where + ": there is something behind the end of the JSON, in line "
                    + parser.currentTokenLocation().getLineNr());
        }
    }

    static CaptureException malformed(String where, JacksonException e) {
        String line =
                e.getLocation() == null ? "" : " in line " + e.getLocation().getLineNr();
        return new CaptureException(where + ": it is not the expected JSON" + line + ": " + e.getOriginalMessage(), e);
    }

    private static String words(JsonToken token) {
        return switch (token) {
            case START_OBJECT -> "an object";
            case START_ARRAY -> "a list";
            case VALUE_STRING -> "a string";
            case VALUE_NUMBER_INT -> "a whole number";
            default -> token.toString();
        };
    }
}
