package dev.s2snap.model;

import java.util.List;

/// How the host's side as posted (v4 03/10) asks its allocator: page counts where `alloc_pages_exact` and
/// `free_pages_exact` want bytes (D-23, D-24). A specimen, beside [HostKernel] that does it right.
public final class PostedHostKernel {
    private final HostPages pages;
    private final long pageSize;
    private final int pgdPages;
    private final int arrayPages;

    /// One request as it was made.
    ///
    /// @param announced pages that the hypervisor is told of
    /// @param bytes what the allocator was asked for
    /// @param got pages that it gave
    /// @param address first byte
    /// @param next address of the page that the next caller of the allocator gets
    public record Request(String buffer, int announced, long bytes, long got, long address, long next) {}

    /// @param taken pages that a correct allocation took
    /// @param back pages that came back when they were freed as posted
    public record Balance(long taken, long back) {}

    public PostedHostKernel(PkvmModel model) {
        ModelConfig config = model.config();
        pages = new HostPages(config);
        pageSize = config.pageSize();
        pgdPages = model.hostTable().geometry().rootPages();
        arrayPages = Math.toIntExact(Math.ceilDiv(model.el2().hostTablePages() * Long.BYTES, pageSize));
    }

    /// PGD and array, allocated with their page counts for bytes.
    public List<Request> allocate() {
        return List.of(request("PGD", pgdPages), request("array", arrayPages));
    }

    private Request request(String buffer, int announced) {
        long address = exact(announced);
        return new Request(buffer, announced, announced, pagesOf(announced), address, exact(pageSize));
    }

    /// PGD and array, allocated in bytes as they have to be, and freed as posted.
    public Balance allocateAndFree() {
        long before = pages.available();
        long pgd = exact(pgdPages * pageSize);
        long array = exact(arrayPages * pageSize);
        long taken = before - pages.available();
        pages.free(pgd, pagesOf(pgdPages));
        pages.free(array, pagesOf(arrayPages));
        return new Balance(taken, taken - (before - pages.available()));
    }

    private long pagesOf(long bytes) {
        return Math.ceilDiv(bytes, pageSize);
    }

    private long exact(long bytes) {
        return pages.allocate(pagesOf(bytes), pageSize);
    }
}
