package dev.s2snap.cli;

import dev.s2snap.cli.DefectsCatalogue.Defect;
import dev.s2snap.cli.DefectsCatalogue.Show;
import dev.s2snap.cli.DefectsRun.Step;
import dev.s2snap.cli.DefectsStory.Side;
import dev.s2snap.cli.DefectsStory.Variation;
import dev.s2snap.cli.DefectsStory.Wide;
import dev.s2snap.model.CallAudit.OwnerChange;
import dev.s2snap.model.CallAudit.Pools;
import dev.s2snap.model.CallAudit.Range;
import dev.s2snap.model.CallAudit.Report;
import dev.s2snap.model.CallAudit.Word;
import java.io.ByteArrayOutputStream;
import java.util.List;
import java.util.TreeMap;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.json.JsonFactory;

/// Stories for programs: one object, schema 1. Addresses and words of memory are strings of lower-case hex with `0x`,
/// ends are exclusive. New keys come behind the others.
final class DefectsJson {
    private static final int SCHEMA = 1;

    private final JsonGenerator json;

    private DefectsJson(JsonGenerator json) {
        this.json = json;
    }

    static byte[] of(List<DefectsStory> stories) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (JsonGenerator generator = new JsonFactory().createGenerator(ObjectWriteContext.empty(), bytes)) {
            DefectsJson json = new DefectsJson(generator);
            generator.writeStartObject();
            generator.writeNumberProperty("schema", SCHEMA);
            generator.writeArrayPropertyStart("defects");
            stories.forEach(json::story);
            generator.writeEndArray();
            generator.writeEndObject();
        }
        bytes.write('\n');
        return bytes.toByteArray();
    }

    private void story(DefectsStory story) {
        Defect defect = story.defect();
        json.writeStartObject();
        json.writeStringProperty("id", defect.id());
        json.writeStringProperty("severity", defect.severity());
        json.writeStringProperty("line", defect.line());
        json.writeStringProperty(
                "status",
                defect.show().shown() ? "shown" : defect.show() == Show.FORWARD ? "notApplicable" : "notShown");
        json.writeStringProperty("note", defect.note());
        strings("scripts", defect.scripts());
        DefectsRun run = story.run();
        json.writeArrayPropertyStart("host");
        for (Step step : run == null ? List.<Step>of() : run.story()) {
            if (step.operation()) {
                json.writeString(step.line().substring(2));
            }
        }
        json.writeEndArray();
        side("posted", story.posted());
        side("corrected", story.corrected());
        json.writeArrayPropertyStart("lines");
        for (Wide wide : story.wide()) {
            json.writeStartObject();
            json.writeStringProperty("posted", wide.posted());
            json.writeStringProperty("right", wide.right());
            json.writeEndObject();
        }
        json.writeEndArray();
        json.writeArrayPropertyStart("variations");
        for (Variation variation : story.variations()) {
            json.writeStartObject();
            json.writeStringProperty("script", variation.run().script());
            json.writeStringProperty("posted", variation.posted());
            json.writeStringProperty("corrected", variation.corrected());
            json.writeEndObject();
        }
        json.writeEndArray();
        json.writeEndObject();
    }

    private void strings(String key, List<String> values) {
        json.writeArrayPropertyStart(key);
        values.forEach(json::writeString);
        json.writeEndArray();
    }

    private void side(String key, Side side) {
        json.writeObjectPropertyStart(key);
        json.writeStringProperty("title", side.title());
        json.writeStringProperty("summary", side.summary());
        strings("numbers", side.numbers());
        json.writeArrayPropertyStart("calls");
        side.audits().forEach(this::audit);
        json.writeEndArray();
        json.writeEndObject();
    }

    private void audit(Report report) {
        json.writeStartObject();
        json.writeStringProperty("answer", DefectsStory.answer(report));
        if (report.result() != null) {
            json.writeNumberProperty("result", report.result().intValue());
        } else {
            json.writeNullProperty("result");
        }
        if (report.panic() != null) {
            json.writeStringProperty("panic", report.panic());
        } else {
            json.writeNullProperty("panic");
        }
        json.writeNumberProperty("lent", report.lent());
        json.writeArrayPropertyStart("owners");
        report.owners().forEach(this::owner);
        json.writeEndArray();
        json.writeNumberProperty("nobody", report.nobody());
        json.writeNumberProperty("two", report.two());
        json.writeNumberProperty("written", report.written());
        words("words", report.words());
        json.writeNumberProperty("el2Addresses", report.el2Addresses());
        json.writeNumberProperty("tableAddresses", report.tableAddresses());
        words("leaks", report.leaks());
        pools(report.pools());
        json.writeObjectPropertyStart("broken");
        new TreeMap<>(report.broken()).forEach((rule, what) -> json.writeStringProperty(rule.id(), what));
        json.writeEndObject();
        json.writeEndObject();
    }

    private void owner(OwnerChange change) {
        json.writeStartObject();
        json.writeStringProperty("from", change.from());
        json.writeStringProperty("to", change.to());
        json.writeNumberProperty("pages", change.pages());
        json.writeArrayPropertyStart("ranges");
        for (Range range : change.ranges()) {
            json.writeStartObject();
            json.writeStringProperty("start", hex(range.start()));
            json.writeStringProperty("end", hex(range.end()));
            json.writeStringProperty("what", range.what());
            json.writeEndObject();
        }
        json.writeEndArray();
        json.writeEndObject();
    }

    private void words(String key, List<Word> words) {
        json.writeArrayPropertyStart(key);
        for (Word word : words) {
            json.writeStartObject();
            json.writeStringProperty("address", hex(word.address()));
            json.writeStringProperty("before", hex(word.before()));
            json.writeStringProperty("after", hex(word.after()));
            json.writeStringProperty("what", word.what());
            json.writeEndObject();
        }
        json.writeEndArray();
    }

    private void pools(Pools pools) {
        json.writeObjectPropertyStart("pools");
        pair("hostFree", pools.hostFreeBefore(), pools.hostFree());
        pair("hostTables", pools.hostTablesBefore(), pools.hostTables());
        pair("hypFree", pools.hypFreeBefore(), pools.hypFree());
        pair("hypTables", pools.hypTablesBefore(), pools.hypTables());
        pair("blocks", pools.blocksBefore(), pools.blocks());
        json.writeNumberProperty("lost", pools.lost());
        json.writeEndObject();
    }

    /// Before and after.
    private void pair(String key, long before, long after) {
        json.writeArrayPropertyStart(key);
        json.writeNumber(before);
        json.writeNumber(after);
        json.writeEndArray();
    }

    private static String hex(long value) {
        return "0x" + Long.toHexString(value);
    }
}
