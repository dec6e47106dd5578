//! Every WIT interface that a guest can import, and what is decided about it: one row each.
//!
//! A row says whether the interface is gated, and by which capability, and how each function is paid for
//! that is given something of any length. An import without a row refuses the component at load. Pure; the
//! tests read the WIT files, the library's too, and demand a row for each interface and a cost for each function.

use crate::domain::Capability;

/// What is decided about an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The contract that an agent exports: it imports types alone of it.
    Contract,
    /// Linked and inert: every language's runtime imports it, and it reaches nothing.
    Ambient,
    /// Reaches only what is the agent's own: its log, its table `config`. Needs no grant.
    Own,
    /// Needs a grant of this capability.
    Gated(Capability),
}

/// How a function that is given a text, a list or a length is kept from working for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// It is charged by that length.
    Charged,
    /// The length is bounded to little before anything is done with it.
    Bounded,
    /// It is a method of what no guest can have: a folder, a file, a socket. Its call ends in a trap.
    OutOfReach,
}

/// What is decided about one interface.
#[derive(Debug, Clone, Copy)]
pub struct Interface {
    /// Its name, without the version.
    pub name: &'static str,
    /// What it is.
    pub decision: Decision,
    /// Its functions that are given something of any length, or `*` for all of them. One that is not here is
    /// given numbers and handles alone, and costs what a call does.
    costs: &'static [(&'static str, Cost)],
}

impl Interface {
    const fn new(name: &'static str, decision: Decision) -> Self {
        Self { name, decision, costs: &[] }
    }

    const fn costs(self, costs: &'static [(&'static str, Cost)]) -> Self {
        Self { costs, ..self }
    }

    /// How this function of it is paid for; `None` where nothing is said.
    pub fn cost(&self, function: &str) -> Option<Cost> {
        let named = |(name, _): &&(&str, Cost)| *name == function || *name == "*";
        self.costs.iter().find(named).map(|(_, cost)| *cost)
    }
}

use Cost::{Bounded, Charged, OutOfReach};
use Decision::{Ambient, Contract, Gated, Own};

/// Every interface that a guest can import.
pub const INTERFACES: &[Interface] = &[
    Interface::new("stockade:agent/agent", Contract),
    Interface::new("stockade:agent/health", Contract),
    Interface::new("stockade:system/system", Gated(Capability::System)),
    Interface::new("wasi:cli/environment", Ambient),
    Interface::new("wasi:cli/exit", Ambient),
    Interface::new("wasi:cli/stderr", Ambient),
    Interface::new("wasi:cli/stdin", Ambient),
    Interface::new("wasi:cli/stdout", Ambient),
    Interface::new("wasi:cli/terminal-input", Ambient),
    Interface::new("wasi:cli/terminal-output", Ambient),
    Interface::new("wasi:cli/terminal-stderr", Ambient),
    Interface::new("wasi:cli/terminal-stdin", Ambient),
    Interface::new("wasi:cli/terminal-stdout", Ambient),
    Interface::new("wasi:clocks/monotonic-clock", Ambient),
    Interface::new("wasi:clocks/wall-clock", Ambient),
    Interface::new("wasi:config/store", Own).costs(&[("get", Charged)]),
    Interface::new("wasi:filesystem/preopens", Ambient),
    Interface::new("wasi:filesystem/types", Ambient).costs(&[("*", OutOfReach)]),
    Interface::new("wasi:io/error", Ambient),
    Interface::new("wasi:io/poll", Ambient).costs(&[("poll", Charged)]),
    Interface::new("wasi:io/streams", Ambient).costs(&[
        // A stream takes what it permitted, and is charged for it (`log.rs`).
        ("write", Charged),
        ("blocking-write-and-flush", Charged),
        ("write-zeroes", Charged),
        ("blocking-write-zeroes-and-flush", Charged),
        // The one stream to read from is closed.
        ("read", Bounded),
        ("blocking-read", Bounded),
        ("skip", Bounded),
        ("blocking-skip", Bounded),
        ("splice", Bounded),
        ("blocking-splice", Bounded),
    ]),
    Interface::new("wasi:logging/logging", Own).costs(&[("log", Charged)]),
    Interface::new("wasi:random/insecure", Ambient).costs(&[("get-insecure-random-bytes", Charged)]),
    Interface::new("wasi:random/insecure-seed", Ambient),
    Interface::new("wasi:random/random", Ambient).costs(&[("get-random-bytes", Charged)]),
    Interface::new("wasi:sockets/instance-network", Ambient),
    Interface::new("wasi:sockets/ip-name-lookup", Ambient).costs(&[("resolve-addresses", Charged)]),
    Interface::new("wasi:sockets/network", Ambient),
    Interface::new("wasi:sockets/tcp", Ambient).costs(&[("*", OutOfReach)]),
    Interface::new("wasi:sockets/tcp-create-socket", Ambient),
    Interface::new("wasi:sockets/udp", Ambient).costs(&[("*", OutOfReach)]),
    Interface::new("wasi:sockets/udp-create-socket", Ambient),
];

/// The interface of this name, with or without its version (`wasi:cli/exit@0.2.6`); `None` if there is none.
pub fn interface(name: &str) -> Option<&'static Interface> {
    let name = name.split('@').next().unwrap_or(name);
    INTERFACES.iter().find(|interface| interface.name == name)
}

/// What is decided about an import; `None` if nothing is.
pub fn decision(import: &str) -> Option<Decision> {
    interface(import).map(|interface| interface.decision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interface_has_one_row_and_each_capability_an_interface() {
        let names: Vec<&str> = INTERFACES.iter().map(|interface| interface.name).collect();
        assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
        let gated: Vec<Capability> = INTERFACES
            .iter()
            .filter_map(|interface| match interface.decision {
                Gated(capability) => Some(capability),
                Contract | Ambient | Own => None,
            })
            .collect();
        assert!(gated.iter().all(|capability| Capability::ALL.contains(capability)), "{gated:?}");
        assert!(Capability::ALL.iter().all(|capability| gated.contains(capability)), "{gated:?}");
    }

    #[test]
    fn versions_do_not_matter_and_strangers_are_unknown() {
        assert_eq!(decision("wasi:cli/exit@0.2.6"), Some(Ambient));
        assert_eq!(decision("stockade:system/system@0.1.0"), Some(Gated(Capability::System)));
        assert_eq!(decision("wasi:http/outgoing-handler@0.2.6"), None);
        assert_eq!(decision(""), None);
    }
}
