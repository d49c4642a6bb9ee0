package dev.s2snap.inspect;

import dev.s2snap.pkvm.PageState;
import java.util.OptionalLong;

/// Physical memory whose pages are all owned and shared in the same way.
///
/// @param start first physical address
/// @param end physical address behind the last byte
/// @param host what it is to the host
/// @param hyp what it is to the hypervisor
/// @param guestShares with how many guests the host shares each page; empty where the kernel does not count
public record StateRun(long start, long end, PageState host, PageState hyp, OptionalLong guestShares) {}
