package dev.s2snap.proof;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/// A branch of the model that no campaign can take, and why: three lines of `unreached.txt`, which are class and method
/// with the number of branches, the line of the source, and the reason.
///
/// @param method class and method, as in `Vmemmap.increment`
/// @param branches how many of the line's
/// @param line without the blanks around it
record Unreached(String method, int branches, String line, String reason) {
    static List<Unreached> list() throws IOException {
        try (InputStream in = Unreached.class.getResourceAsStream("unreached.txt")) {
            if (in == null) {
                throw new IOException("unreached.txt is missing");
            }
            List<String> lines = new String(in.readAllBytes(), StandardCharsets.UTF_8)
                    .lines()
                    .filter(line -> !line.isBlank() && !line.startsWith("#"))
                    .toList();
            List<Unreached> list = new ArrayList<>();
            for (int i = 0; i < lines.size(); i += 3) {
                String head = lines.get(i);
                int blank = head.indexOf(' ');
                list.add(new Unreached(
                        head.substring(0, blank),
                        Integer.parseInt(head.substring(blank + 1)),
                        lines.get(i + 1).strip(),
                        lines.get(i + 2).strip()));
            }
            return list;
        }
    }
}
