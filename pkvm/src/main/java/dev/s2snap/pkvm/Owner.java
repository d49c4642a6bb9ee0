package dev.s2snap.pkvm;

/// Who can own a page under pKVM.
public sealed interface Owner {

    /// Owner id 0.
    record Host() implements Owner {}

    /// Owner id 1.
    record Hyp() implements Owner {}

    /// A protected guest, 7.0 and later.
    ///
    /// @param handle VM handle
    /// @param frame guest frame number at which the guest has the page
    record Guest(int handle, long frame) implements Owner {}

    Owner HOST = new Host();
    Owner HYP = new Hyp();
}
