package dev.s2snap.model;

/// A pool that has no page when it is asked for the n-th time, whatever it said it has. It lies: the call that asks has
/// counted free pages just before, under the same lock.
///
/// It takes the place of the pool behind a table, so that the hypervisor needs no code for it. It is in this package
/// because a table's pages are nobody else's business.
public final class FailingPages implements PageTable.Pages {
    private PageTable.Pages pages;
    private long asked;
    private long first = Long.MAX_VALUE;
    private long second = Long.MAX_VALUE;

    private FailingPages(PageTable.Pages pages) {
        this.pages = pages;
    }

    /// The pages of the host's table.
    public static FailingPages ofHost(PkvmModel model) {
        return behind(model.el2().host.table());
    }

    /// The pages of EL2's own table.
    public static FailingPages ofHyp(PkvmModel model) {
        return behind(model.el2().hyp.table());
    }

    private static FailingPages behind(PageTable table) {
        FailingPages failing = new FailingPages(table.pages());
        table.init(table.geometry(), table.root(), failing);
        return failing;
    }

    /// The pages of a table of a machine that is not up yet. It gets them while it comes up, EL2's own twice: first of
    /// an early allocator, then of the pool. Takes their place each time, before the table asks for one, and goes on
    /// counting.
    ///
    /// It looks for them at the barriers of the table, so nobody else can record.
    ///
    /// @param host of the host's table, else of EL2's
    public static FailingPages ofInit(PkvmModel model, boolean host) {
        PageTable table = host ? model.el2().host.table() : model.el2().hyp.table();
        FailingPages failing = new FailingPages(NONE);
        model.recorder(new Recorder() {
            @Override
            public void dsb(String domain) {
                if (table.root() != 0 && table.pages() != failing) {
                    failing.pages = table.pages();
                    table.init(table.geometry(), table.root(), failing);
                }
            }
        });
        return failing;
    }

    private static final PageTable.Pages NONE = new PageTable.Pages() {
        @Override
        public long allocate() {
            return 0;
        }

        @Override
        public void get(long page) {}

        @Override
        public void put(long page) {}

        @Override
        public int count(long page) {
            return 0;
        }
    };

    /// Counts from 0 again.
    ///
    /// @param one number of an allocation that fails
    /// @param other number of another one
    public FailingPages fail(long one, long other) {
        asked = 0;
        first = one;
        second = other;
        return this;
    }

    /// Counts from 0 again and fails once.
    public FailingPages fail(long one) {
        return fail(one, Long.MAX_VALUE);
    }

    /// How many allocations there were since it counts.
    public long asked() {
        return asked;
    }

    @Override
    public long allocate() {
        long number = asked++;
        return number == first || number == second ? 0 : pages.allocate();
    }

    @Override
    public void get(long page) {
        pages.get(page);
    }

    @Override
    public void put(long page) {
        pages.put(page);
    }

    @Override
    public int count(long page) {
        return pages.count(page);
    }
}
