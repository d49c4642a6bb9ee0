package dev.s2snap.model;

/// A machine on its way up. Configurations and the parts of initialisation are nobody else's business, so it is in this
/// package.
public final class Startup {
    private Startup() {}

    /// A machine without an identity map at EL2. That is what EL2 maps first; without it the first thing that happens
    /// to its table is a barrier, and [FailingPages#ofInit] sees each allocation behind that.
    public static ModelConfig config(int pageShift) {
        ModelConfig config = ModelConfig.machine(2L << 30, 40, pageShift, 1);
        config.idmap = new ModelConfig.Range(0, 0);
        return config;
    }

    /// `__pkvm_init` and no more: no CPU has its prot_finalize behind it.
    public static int init(PkvmModel model) {
        Integer answer = model.atEl2(() -> model.el2().init());
        if (answer == null) {
            throw new IllegalStateException("panic during initialisation: " + model.panic());
        }
        return answer;
    }
}
