//! How a version does: its first calls decide whether it is taken back. Pure but for its counters.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::config::ReloadConfig;

/// Counts a version's calls, and those that ended through its own fault.
#[derive(Debug, Default)]
pub(super) struct Trial {
    calls: AtomicU32,
    faults: AtomicU32,
    /// Whether it was said that it failed.
    failed: AtomicBool,
    /// `None` for a version that is not on trial.
    bound: Option<Bound>,
}

/// When a version has failed its trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound {
    /// So many first calls count.
    calls: u32,
    /// So many faults among them are too many.
    faults: u32,
}

impl Bound {
    /// The operator's; `None` where versions are not taken back.
    pub(super) fn new(config: &ReloadConfig) -> Option<Self> {
        let faults = (f64::from(config.rollback_calls) * config.rollback_error_rate).ceil() as u32;
        config.rollback.then_some(Self { calls: config.rollback_calls, faults: faults.max(1) })
    }
}

impl Trial {
    /// A version on trial under `bound`.
    pub(super) fn under(bound: Option<Bound>) -> Self {
        Self { bound, ..Self::default() }
    }

    /// Counts a call that ended well.
    pub(super) fn ended_well(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call that ended through the code's own fault. True once: when the version has failed
    /// its trial by that.
    pub(super) fn ended_badly(&self) -> bool {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let faults = self.faults.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.bound.is_some_and(|bound| calls <= bound.calls && faults >= bound.faults)
            && !self.failed.swap(true, Ordering::Relaxed)
    }

    /// Nobody could be told that it failed: its next fault says so again.
    pub(super) fn was_not_heard(&self) {
        self.failed.store(false, Ordering::Relaxed);
    }

    /// Whether fewer of its calls failed than a new version's may.
    pub(super) fn is_fine(&self, config: &ReloadConfig) -> bool {
        let (calls, faults) = self.counts();
        calls == 0 || f64::from(faults) < f64::from(calls) * config.rollback_error_rate
    }

    /// Calls that ended, and those of them that the code is to blame for.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.calls.load(Ordering::Relaxed), self.faults.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(calls: u32, rate: f64) -> ReloadConfig {
        ReloadConfig {
            watch: true,
            rollback: true,
            rollback_calls: calls,
            rollback_error_rate: rate,
            keep_versions: 5,
        }
    }

    #[test]
    fn it_fails_once_at_the_fault_that_is_too_many() {
        let trial = Trial::under(Bound::new(&config(4, 0.5)));
        trial.ended_well();
        let verdicts = [trial.ended_badly(), trial.ended_badly(), trial.ended_badly()];
        assert_eq!(verdicts, [false, true, false]);
    }

    #[test]
    fn a_failure_that_nobody_heard_of_is_said_again() {
        let trial = Trial::under(Bound::new(&config(4, 0.5)));
        assert_eq!([trial.ended_badly(), trial.ended_badly()], [false, true]);
        trial.was_not_heard();
        assert_eq!([trial.ended_badly(), trial.ended_badly()], [true, false]);
    }

    #[test]
    fn later_calls_and_versions_without_a_trial_do_not_count() {
        let trial = Trial::under(Bound::new(&config(2, 0.5)));
        trial.ended_well();
        trial.ended_well();
        assert!(!trial.ended_badly());
        assert!(!Trial::default().ended_badly());
        assert_eq!(Bound::new(&ReloadConfig { rollback: false, ..config(1, 1.0) }), None);
    }

    #[test]
    fn a_version_that_was_never_called_is_fine() {
        let trial = Trial::default();
        assert!(trial.is_fine(&config(4, 0.5)));
        trial.ended_badly();
        assert!(!trial.is_fine(&config(4, 0.5)));
    }
}
