package dev.s2snap.proof;

import java.io.IOException;
import java.io.InputStream;
import java.util.Collection;
import org.jacoco.core.analysis.Analyzer;
import org.jacoco.core.analysis.CoverageBuilder;
import org.jacoco.core.analysis.IClassCoverage;
import org.jacoco.core.data.ExecutionDataStore;
import org.jacoco.core.data.SessionInfoStore;
import org.jacoco.core.instr.Instrumenter;
import org.jacoco.core.runtime.LoggerRuntime;
import org.jacoco.core.runtime.RuntimeData;

/// The house once more, in which it is counted what runs: of the model, and of nothing else. What other tests reach
/// does not count here.
final class MeasuredHouse extends ClassLoader implements AutoCloseable {
    private static final String HOUSE = "dev.s2snap.";
    private static final String MODEL = "dev.s2snap.model.";

    private final LoggerRuntime runtime = new LoggerRuntime();
    private final RuntimeData data = new RuntimeData();
    private final Instrumenter instrumenter = new Instrumenter(runtime);

    MeasuredHouse() throws Exception {
        super(MeasuredHouse.class.getClassLoader());
        runtime.startup(data);
    }

    /// Runs something of the tests, made anew in this house.
    void run(Class<? extends Runnable> what) throws ReflectiveOperationException {
        Class<?> here = loadClass(what.getName());
        ((Runnable) here.getDeclaredConstructor().newInstance()).run();
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

    private byte[] code(String name) throws IOException {
        try (InputStream in = getParent().getResourceAsStream(name.replace('.', '/') + ".class")) {
            if (in == null) {
                throw new IOException("no class " + name);
            }
            return in.readAllBytes();
        }
    }

    private Class<?> define(String name) throws ClassNotFoundException {
        try {
            byte[] code = code(name);
            if (name.startsWith(MODEL)) {
                code = instrumenter.instrument(code, name);
            }
            return defineClass(name, code, 0, code.length);
        } catch (IOException e) {
            throw new ClassNotFoundException(name, e);
        }
    }

    /// What ran of the classes in these files; classes that were never loaded count as well.
    ///
    /// @param names of all classes of the model
    Collection<IClassCoverage> coverage(Collection<String> names) throws IOException {
        ExecutionDataStore store = new ExecutionDataStore();
        data.collect(store, new SessionInfoStore(), false);
        CoverageBuilder builder = new CoverageBuilder();
        Analyzer analyzer = new Analyzer(store, builder);
        for (String name : names) {
            analyzer.analyzeClass(code(name), name);
        }
        return builder.getClasses();
    }

    @Override
    public void close() {
        runtime.shutdown();
    }
}
