package dev.s2snap.proof;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.StringWriter;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BiFunction;
import javax.tools.FileObject;
import javax.tools.ForwardingJavaFileManager;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileManager;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.ToolProvider;

/// The house once more, with one class of the model compiled from a source in which one line is another. Nothing of it
/// is written to a file, and the classes of the running tests stay what they are.
final class MutantHouse extends ClassLoader {
    private static final Path MODEL = Path.of("..", "model", "src", "main", "java", "dev", "s2snap", "model");
    private static final String HOUSE = "dev.s2snap.";

    private final Map<String, byte[]> compiled;

    private MutantHouse(Map<String, byte[]> compiled) {
        super(MutantHouse.class.getClassLoader());
        this.compiled = compiled;
    }

    /// @param line as it is in the source, blanks in front and all; it must be there once
    static MutantHouse with(String file, String line, String instead) throws IOException {
        String[] lines = Files.readString(MODEL.resolve(file)).split("\n", -1);
        assertThat(lines).as("lines of %s", file).containsOnlyOnce(line);
        String source = String.join(
                "\n",
                Arrays.stream(lines)
                        .map(each -> each.equals(line) ? instead : each)
                        .toList());
        return new MutantHouse(compile(file, source));
    }

    /// The tests' own side of a mutant: made anew in this house.
    BiFunction<String, long[], String> hunt() throws ReflectiveOperationException {
        @SuppressWarnings("unchecked") // MutantHunt is one
        BiFunction<String, long[], String> hunt = (BiFunction<String, long[], String>)
                loadClass(HOUSE + "proof.MutantHunt").getDeclaredConstructor().newInstance();
        return hunt;
    }

    @Override
    protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
        if (!name.startsWith(HOUSE)) {
            return super.loadClass(name, resolve);
        }
        synchronized (getClassLoadingLock(name)) {
            Class<?> known = findLoadedClass(name);
            return known != null ? known : define(name);
        }
    }

    private Class<?> define(String name) throws ClassNotFoundException {
        byte[] code = compiled.get(name);
        if (code == null) {
            try (InputStream in = getParent().getResourceAsStream(name.replace('.', '/') + ".class")) {
                if (in == null) {
                    throw new ClassNotFoundException(name);
                }
                code = in.readAllBytes();
            } catch (IOException e) {
                throw new ClassNotFoundException(name, e);
            }
        }
        return defineClass(name, code, 0, code.length);
    }

    // The compiler.

    private static Map<String, byte[]> compile(String file, String source) throws IOException {
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        StringWriter messages = new StringWriter();
        try (Classes classes = new Classes(compiler.getStandardFileManager(null, null, null))) {
            List<String> options =
                    List.of("-proc:none", "-implicit:none", "-classpath", System.getProperty("java.class.path"));
            boolean good = compiler.getTask(messages, classes, null, options, null, List.of(new Source(file, source)))
                    .call();
            assertThat(good).as("%s compiles: %s", file, messages).isTrue();
            return classes.code();
        }
    }

    private static final class Source extends SimpleJavaFileObject {
        private final String text;

        Source(String file, String text) {
            super(URI.create("mutant:///" + file), Kind.SOURCE);
            this.text = text;
        }

        @Override
        public CharSequence getCharContent(boolean ignoreEncodingErrors) {
            return text;
        }
    }

    private static final class Code extends SimpleJavaFileObject {
        final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

        Code(String name) {
            super(URI.create("mutant:///" + name), Kind.CLASS);
        }

        @Override
        public OutputStream openOutputStream() {
            return bytes;
        }
    }

    private static final class Classes extends ForwardingJavaFileManager<JavaFileManager> {
        private final Map<String, Code> made = new HashMap<>();

        Classes(JavaFileManager files) {
            super(files);
        }

        @Override
        public JavaFileObject getJavaFileForOutput(
                Location location, String name, JavaFileObject.Kind kind, FileObject sibling) {
            return made.computeIfAbsent(name, Code::new);
        }

        Map<String, byte[]> code() {
            Map<String, byte[]> code = new HashMap<>();
            made.forEach((name, each) -> code.put(name, each.bytes.toByteArray()));
            return code;
        }
    }
}
