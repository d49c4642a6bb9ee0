import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.lang.classfile.ClassFile;
import java.lang.classfile.ClassFileVersion;
import java.lang.classfile.ClassHierarchyResolver;
import java.lang.classfile.ClassModel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import java.util.zip.ZipOutputStream;

/// Rewrites the jars that are named so that their old classes are Java 8's, with the stack maps that the verifier wants
/// of those: `java build/StackMaps.java JAR...`. `./s2snap` does it to the libraries of its own build, as the JVM's AOT
/// cache leaves out every class of before Java 6 (class files below 50.0), which all of picocli is. What the classes do
/// stays the same. A jar without old classes is not touched.
final class StackMaps {
    private static final int FIRST_CACHED = ClassFile.JAVA_6_VERSION;

    private StackMaps() {}

    public static void main(String[] jars) throws IOException {
        for (String jar : jars) {
            rewrite(Path.of(jar));
        }
    }

    private static void rewrite(Path jar) throws IOException {
        Map<String, byte[]> entries = new LinkedHashMap<>();
        try (ZipFile zip = new ZipFile(jar.toFile())) {
            for (ZipEntry entry : Collections.list(zip.entries())) {
                entries.put(entry.getName(), zip.getInputStream(entry).readAllBytes());
            }
        }
        ClassFile classes = ClassFile.of(
                ClassFile.StackMapsOption.GENERATE_STACK_MAPS,
                // Otherwise code that is not changed is copied as it is.
                ClassFile.ConstantPoolSharingOption.NEW_POOL,
                ClassFile.ClassHierarchyResolverOption.of(ClassHierarchyResolver.ofResourceParsing(type -> {
                            String name = type.descriptorString();
                            byte[] found = entries.get(name.substring(1, name.length() - 1) + ".class");
                            return found == null ? null : new ByteArrayInputStream(found);
                        })
                        .orElse(ClassHierarchyResolver.defaultResolver())));
        Map<String, byte[]> renewed = new LinkedHashMap<>();
        entries.forEach((name, bytes) -> {
            if (name.endsWith(".class")) {
                ClassModel old = classes.parse(bytes);
                if (old.majorVersion() < FIRST_CACHED) {
                    renewed.put(name, classes.transformClass(old, (builder, element) -> {
                        if (element instanceof ClassFileVersion) {
                            builder.withVersion(ClassFile.JAVA_8_VERSION, 0);
                        } else {
                            builder.with(element);
                        }
                    }));
                }
            }
        });
        if (renewed.isEmpty()) {
            return;
        }
        Path part = Path.of(jar + ".part");
        try (ZipOutputStream out = new ZipOutputStream(Files.newOutputStream(part))) {
            for (Map.Entry<String, byte[]> entry : entries.entrySet()) {
                out.putNextEntry(new ZipEntry(entry.getKey()));
                out.write(renewed.getOrDefault(entry.getKey(), entry.getValue()));
                out.closeEntry();
            }
        }
        Files.move(part, jar, StandardCopyOption.ATOMIC_MOVE);
    }
}
