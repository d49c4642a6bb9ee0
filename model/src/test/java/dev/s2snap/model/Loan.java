package dev.s2snap.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.s2snap.vmsa.PhysicalMemory;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/// What a host lends to one snapshot call, good or bad: fields are changed at will before [#write]. All addresses are
/// physical.
final class Loan {
    /// In every word of a lent page that means nothing, so that it is seen what the call wrote.
    static final long MARK = 0x5a5a_0000_1234_5678L;

    final PkvmModel model;
    final long page;
    private final MemorySegment marks;
    long struct;
    long pgd;
    long pgdPages;
    long array;
    long arrayPages;
    long index;
    long[] list;
    long head;
    long listPages;

    private Loan(PkvmModel model) {
        this.model = model;
        page = 1L << model.config().pageShift();
        long[] words = new long[(int) (page / 8)];
        Arrays.fill(words, MARK);
        marks = MemorySegment.ofArray(words);
    }

    /// An honest host's buffers, one behind the other from `at` on: struct, PGD, array, list.
    static Loan honest(PkvmModel model, long at) {
        Loan loan = new Loan(model);
        loan.struct = at;
        loan.pgd = at + loan.page;
        loan.pgdPages = model.hostTable().geometry().rootPages();
        loan.array = loan.pgd + loan.pgdPages * loan.page;
        long demand = model.el2().hostTablePages();
        loan.arrayPages = Math.ceilDiv(demand * 8, loan.page);
        loan.list(loan.array + loan.arrayPages * loan.page, (int) demand, 1);
        return loan;
    }

    /// Puts the list elsewhere: `count` pages from `at` on, each `stride` pages behind the one before it.
    Loan list(long at, int count, int stride) {
        list = new long[count];
        for (int i = 0; i < count; i++) {
            list[i] = at + i * stride * page;
        }
        head = list[0];
        listPages = count;
        return this;
    }

    /// Fills memory as the host would, past its stage 2.
    Loan write() {
        Ram ram = model.ram();
        for (long each : pages()) {
            MemorySegment.copy(marks, 0, ram.bytes(), ram.place(each), page);
        }
        for (int i = 0; i < list.length; i++) {
            ram.set(list[i], i + 1 < list.length ? list[i + 1] : 0);
        }
        AddressMap map = model.addresses();
        ram.set(struct + SnapshotStruct.MC_HEAD, head);
        ram.set(struct + SnapshotStruct.MC_NR_PAGES, listPages);
        ram.set(struct + SnapshotStruct.PGD_HVA, map.kern(pgd));
        ram.set(struct + SnapshotStruct.PGD_PAGES, pgdPages);
        ram.set(struct + SnapshotStruct.USED_PAGES_HVA, map.kern(array));
        ram.set(struct + SnapshotStruct.NUM_USED_PAGES, arrayPages);
        ram.set(struct + SnapshotStruct.USED_PAGES_INDX, index);
        return this;
    }

    /// Calls; the hypervisor must survive.
    int call() {
        long pointer = model.addresses().kern(struct);
        Integer result = model.atEl2(() -> model.snapshotCall().call(pointer));
        assertThat(model.panic()).isNull();
        assertThat(model.el2().hostLock.held()).isFalse();
        assertThat(model.el2().hypLock.held()).isFalse();
        return result;
    }

    /// All pages that an honest host would mean, each once.
    List<Long> pages() {
        List<Long> pages = new ArrayList<>();
        pages.add(struct);
        add(pages, pgd, Math.min(pgdPages, 64));
        add(pages, array, Math.min(arrayPages, 64));
        for (long each : list) {
            pages.add(each);
        }
        return pages.stream()
                .filter(model.el2().regions::isAllowedMemory)
                .distinct()
                .toList();
    }

    private void add(List<Long> pages, long at, long count) {
        for (long i = 0; i < count; i++) {
            pages.add((at & -page) + i * page);
        }
    }

    long field(int offset) {
        return model.ram().get(struct + offset);
    }

    long word(long address) {
        return model.ram().get(address);
    }

    /// All words of a page.
    long[] words(long address) {
        return model.ram().bytes().asSlice(model.ram().place(address), page).toArray(PhysicalMemory.LE64);
    }

    boolean zero(long address, long pages) {
        for (long at = address; at < address + pages * page; at += page) {
            if (Arrays.stream(words(at)).anyMatch(word -> word != 0)) {
                return false;
            }
        }
        return true;
    }
}
