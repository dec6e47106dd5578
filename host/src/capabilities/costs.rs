//! What the functions of WASI cost that are given something of any length: each has a word here.
//!
//! A function that is not listed is given numbers and handles alone, and costs what a call does. The
//! tests read the library's interfaces and demand a word for the others.

/// How a function that is given a text, a list or a length is kept from working for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// It is charged by that length.
    Charged,
    /// The length is bounded to a few bytes before anything is done with it.
    Bounded,
    /// It is a method of what no guest can have: a folder, a file, a socket. Its call ends in a trap.
    OutOfReach,
}

/// The word on each such function: its interface, its name or `*` for all of them, the word.
const COSTS: &[(&str, &str, Cost)] = &[
    ("wasi:io/poll", "poll", Cost::Charged),
    // A stream takes what it permitted, and is charged for it (`log.rs`).
    ("wasi:io/streams", "write", Cost::Charged),
    ("wasi:io/streams", "blocking-write-and-flush", Cost::Charged),
    ("wasi:io/streams", "write-zeroes", Cost::Charged),
    ("wasi:io/streams", "blocking-write-zeroes-and-flush", Cost::Charged),
    // The one stream to read from is closed.
    ("wasi:io/streams", "read", Cost::Bounded),
    ("wasi:io/streams", "blocking-read", Cost::Bounded),
    ("wasi:io/streams", "skip", Cost::Bounded),
    ("wasi:io/streams", "blocking-skip", Cost::Bounded),
    ("wasi:io/streams", "splice", Cost::Bounded),
    ("wasi:io/streams", "blocking-splice", Cost::Bounded),
    ("wasi:random/random", "get-random-bytes", Cost::Charged),
    ("wasi:random/insecure", "get-insecure-random-bytes", Cost::Charged),
    ("wasi:sockets/ip-name-lookup", "resolve-addresses", Cost::Charged),
    ("wasi:filesystem/types", "*", Cost::OutOfReach),
    ("wasi:sockets/tcp", "*", Cost::OutOfReach),
    ("wasi:sockets/udp", "*", Cost::OutOfReach),
];

/// The word on a function that is given something of any length; `None` if there is none.
pub fn cost(interface: &str, function: &str) -> Option<Cost> {
    let named = |(of, name, _): &&(&str, &str, Cost)| *of == interface && (*name == function || *name == "*");
    COSTS.iter().find(named).map(|(_, _, cost)| *cost)
}
