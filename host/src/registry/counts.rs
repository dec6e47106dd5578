//! How attempts to change what serves have ended: what metrics show.

use std::sync::atomic::{AtomicU64, Ordering};

use super::outcome::Outcome;

/// How attempts have ended since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReloadCounts {
    /// A version went live.
    pub live: u64,
    /// What came was what served already.
    pub same: u64,
    /// A version waits for approval.
    pub waiting: u64,
    /// A version was refused, and what served serves on.
    pub failed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    live: AtomicU64,
    same: AtomicU64,
    waiting: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    pub(super) fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Live(_) => &self.live,
            Outcome::Same => &self.same,
            Outcome::Waits(_) => &self.waiting,
            Outcome::Failed(_) => &self.failed,
            Outcome::Stale => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> ReloadCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ReloadCounts {
            live: read(&self.live),
            same: read(&self.same),
            waiting: read(&self.waiting),
            failed: read(&self.failed),
        }
    }
}
