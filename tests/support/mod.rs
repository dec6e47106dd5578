//! What the topics share. Owns no state but what is built once: guests, and the code compiled of them.

pub(crate) mod command;
pub(crate) mod fleet;
pub(crate) mod guests;
pub(crate) mod random;
pub(crate) mod server;
pub(crate) mod wire;
pub(crate) mod written;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) use fleet::Fleet;
pub(crate) use server::Server;
pub(crate) use wire::{Connection, Reply, Request};

/// How long anything may take before its test fails; far beyond what any of it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder above tests/").to_owned()
}

/// Asks until there is an answer; fails the test if that takes too long.
pub(crate) fn poll_until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
