//! A version's probation: its first calls decide whether it is rolled back. Pure but for its counters.
//!
//! One caller's failures are not enough where others call as well: of the faults that are needed, one of
//! several callers counts for at most half. The only caller there is counts for all of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::record::ProbationProgress;
use crate::config::ReloadConfig;
use crate::domain::{Digest, Failure, TenantId};

/// How often progress is saved during a probation: after each of so many parts of its calls, and of the
/// faults that end it.
const SAVES: u32 = 4;

/// How long a unit of fuel takes, in nanoseconds: about, on an idle processor.
const NANOSECONDS_PER_FUEL: u128 = 1;

/// How a call ended, for the probation of the version that it ran.
#[derive(Debug, Clone, Copy)]
pub struct CallReport<'a> {
    /// Whose call it was.
    pub tenant: &'a TenantId,
    /// The name of the key that it came with.
    pub key: &'a str,
    /// Why there was no answer; `None` where there was one.
    pub failure: Option<&'a Failure>,
    /// Units of fuel that the guest burnt.
    pub fuel: u64,
    /// How long it ran, from its start to its end.
    pub wall: Duration,
}

impl CallReport<'_> {
    /// Who it counts for: the tenant, and among those that have none of their own, the key.
    fn caller(&self) -> &str {
        if self.tenant.is_default() { self.key } else { self.tenant.as_str() }
    }

    /// Whether the failure is the code's: it burnt fuel, and where its time was up it did so for half of it
    /// at least. Code that waited, or had no processor, is not at fault.
    fn is_a_fault(&self) -> bool {
        match self.failure {
            Some(Failure::DeadlineExceeded { queued: false, .. }) => {
                u128::from(self.fuel) * NANOSECONDS_PER_FUEL * 2 >= self.wall.as_nanos()
            }
            Some(failure) => self.fuel > 0 && failure.is_the_codes(),
            None => false,
        }
    }
}

/// What has to be done after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Nothing.
    Continue,
    /// The progress is to be saved.
    Save,
    /// The version has failed its probation and is to be rolled back. Returned once.
    RollBack,
}

/// Whether an agent has more than one caller. Outlives its versions.
#[derive(Debug, Default)]
pub(super) struct Callers {
    first: OnceLock<Box<str>>,
    many: AtomicBool,
}

impl Callers {
    /// With what was remembered of earlier callers.
    pub(super) fn restored(many: bool) -> Self {
        Self { many: AtomicBool::new(many), ..Self::default() }
    }

    pub(super) fn are_many(&self) -> bool {
        self.many.load(Ordering::Relaxed)
    }

    /// Adds one; true once, when it is the second.
    fn add(&self, caller: &str) -> bool {
        !self.are_many()
            && **self.first.get_or_init(|| caller.into()) != *caller
            && !self.many.swap(true, Ordering::Relaxed)
    }
}

/// Counts a version's calls, and those that ended through its own fault.
#[derive(Debug, Default)]
pub(super) struct Probation {
    /// Since the start, whoever called.
    calls: AtomicU32,
    faults: AtomicU32,
    callers: Arc<Callers>,
    /// `None` for a version that is not on probation.
    threshold: Option<Threshold>,
    /// Whether nothing more is counted: it has passed, or failed.
    over: AtomicBool,
    counted: Mutex<Counted>,
}

/// What counts.
#[derive(Debug, Clone, Default)]
struct Counted {
    calls: u32,
    faults: BTreeMap<String, u32>,
}

/// When a version has failed its probation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Threshold {
    /// So many first calls count.
    calls: u32,
    /// So many faults among them are too many.
    faults: u32,
}

impl Threshold {
    /// By these settings; `None` where versions are not rolled back.
    pub(super) fn new(config: &ReloadConfig) -> Option<Self> {
        let faults = (f64::from(config.rollback_calls) * config.rollback_error_rate).ceil() as u32;
        config.rollback.then_some(Self { calls: config.rollback_calls, faults: faults.max(1) })
    }

    /// The most faults of one of several callers that count.
    fn share(&self) -> u32 {
        self.faults.div_ceil(2)
    }
}

impl Probation {
    /// A version on probation until `threshold`, of an agent with these callers.
    pub(super) fn new(threshold: Option<Threshold>, callers: Arc<Callers>) -> Self {
        Self { threshold, callers, ..Self::default() }
    }

    /// A version whose probation goes on from what was saved.
    pub(super) fn resumed(
        threshold: Option<Threshold>,
        callers: Arc<Callers>,
        saved: &ProbationProgress,
    ) -> Self {
        let counted = Counted { calls: saved.calls, faults: saved.faults.clone() };
        Self { counted: Mutex::new(counted), ..Self::new(threshold, callers) }
    }

    pub(super) fn callers(&self) -> &Arc<Callers> {
        &self.callers
    }

    /// What has to be saved of it, for the version of this digest; `None` where it is not on probation,
    /// or not any more.
    pub(super) fn progress(&self, digest: Digest) -> Option<ProbationProgress> {
        if self.threshold.is_none() || self.over.load(Ordering::Relaxed) {
            return None;
        }
        let Counted { calls, faults } = self.counted.lock().clone();
        Some(ProbationProgress { digest, calls, faults })
    }

    /// Counts a call that ended. One in which the guest burnt nothing (its context was refused, say) tells
    /// nothing of the version, and does not count.
    pub(super) fn count(&self, call: &CallReport<'_>) -> NextStep {
        if call.fuel == 0 {
            return NextStep::Continue;
        }
        let fault = call.is_a_fault();
        self.calls.fetch_add(1, Ordering::Relaxed);
        if fault {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
        let second = self.callers.add(call.caller());
        let next = if second { NextStep::Save } else { NextStep::Continue };
        match self.threshold {
            Some(threshold) if !self.over.load(Ordering::Relaxed) => {
                match self.count_towards(threshold, call.caller(), fault) {
                    NextStep::Continue => next,
                    step => step,
                }
            }
            _ => next,
        }
    }

    fn count_towards(&self, threshold: Threshold, caller: &str, fault: bool) -> NextStep {
        let many = self.callers.are_many();
        let mut counted = self.counted.lock();
        if self.over.load(Ordering::Relaxed) {
            return NextStep::Continue;
        }
        let passes = |count: u32, of: u32| (count * SAVES / of) > ((count - 1) * SAVES / of);
        let mut save = false;
        if fault {
            let own = counted.faults.get(caller).copied().unwrap_or(0);
            // A caller that has its share already is not counted any more; others decide.
            let counts = !many || own < threshold.share();
            if counts {
                counted.faults.insert(caller.to_owned(), own + 1);
            }
            let share = if many { threshold.share() } else { threshold.faults };
            let faults: u32 = counted.faults.values().map(|faults| (*faults).min(share)).sum();
            if faults >= threshold.faults && !(many && counted.faults.len() < 2) {
                self.over.store(true, Ordering::Relaxed);
                return NextStep::RollBack;
            }
            if !counts {
                return NextStep::Continue;
            }
            save = passes(faults.max(1), threshold.faults);
        }
        counted.calls += 1;
        if counted.calls >= threshold.calls {
            self.over.store(true, Ordering::Relaxed);
            return NextStep::Save;
        }
        if save || passes(counted.calls, threshold.calls) { NextStep::Save } else { NextStep::Continue }
    }

    /// The rollback could not be started: its next fault asks for it again.
    pub(super) fn reopen(&self) {
        self.over.store(false, Ordering::Relaxed);
    }

    /// Why it failed: its faults, its calls up to then, and how many callers had them.
    pub(super) fn summary(&self) -> (u32, u32, usize) {
        let counted = self.counted.lock();
        (counted.faults.values().sum(), counted.calls + 1, counted.faults.len())
    }

    /// Whether fewer of its calls failed than a new version's may.
    pub(super) fn is_healthy(&self, config: &ReloadConfig) -> bool {
        let (calls, faults) = (self.calls.load(Ordering::Relaxed), self.faults.load(Ordering::Relaxed));
        calls == 0 || f64::from(faults) < f64::from(calls) * config.rollback_error_rate
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

    fn probation(calls: u32, rate: f64) -> Probation {
        Probation::new(Threshold::new(&config(calls, rate)), Arc::default())
    }

    fn call(probation: &Probation, key: &str, failure: Option<&Failure>, fuel: u64) -> NextStep {
        let tenant = TenantId::default_tenant();
        probation.count(&CallReport { tenant: &tenant, key, failure, fuel, wall: Duration::from_millis(10) })
    }

    fn good(probation: &Probation, key: &str) -> NextStep {
        call(probation, key, None, 5)
    }

    fn bad(probation: &Probation, key: &str) -> NextStep {
        call(probation, key, Some(&Failure::AgentFailed("x".to_owned())), 5)
    }

    fn failed(steps: &[NextStep]) -> usize {
        steps.iter().filter(|step| **step == NextStep::RollBack).count()
    }

    #[test]
    fn the_only_caller_decides_alone_and_it_fails_once() {
        let probation = probation(4, 0.5);
        good(&probation, "one");
        let steps = [bad(&probation, "one"), bad(&probation, "one"), bad(&probation, "one")];
        assert_eq!(steps.map(|step| step == NextStep::RollBack), [false, true, false]);
        assert_eq!(probation.summary(), (2, 3, 1));
    }

    #[test]
    fn one_of_several_callers_takes_nothing_back() {
        let probation = probation(20, 0.5);
        good(&probation, "other");
        let alone: Vec<_> = (0..1000).map(|_| bad(&probation, "one")).collect();
        assert_eq!(failed(&alone), 0);
        // What it says beyond its share does not end the probation, either: others still decide.
        assert_eq!(failed(&[bad(&probation, "other"); 1]), 0);
        let others: Vec<_> = (0..4).map(|_| bad(&probation, "other")).collect();
        assert_eq!(failed(&others), 1, "{others:?}");
    }

    #[test]
    fn callers_are_known_from_earlier_versions_and_faults_of_before_count_as_a_share() {
        let known: Arc<Callers> = Arc::default();
        let before = Probation::new(None, known.clone());
        assert_eq!([good(&before, "one"), good(&before, "two")], [NextStep::Continue, NextStep::Save]);
        let next = Probation::new(Threshold::new(&config(4, 0.25)), before.callers().clone());
        assert_eq!(failed(&[bad(&next, "one"), bad(&next, "one")]), 0, "even where one fault is enough");
        assert_eq!(bad(&next, "two"), NextStep::RollBack);
        // The second comes while the first has said more than its share already.
        let probation = probation(20, 0.5);
        (0..9).for_each(|_| assert_ne!(bad(&probation, "one"), NextStep::RollBack));
        let others: Vec<_> = (0..5).map(|_| bad(&probation, "two")).collect();
        assert_eq!(failed(&others[..4]), 0);
        assert_eq!(others[4], NextStep::RollBack);
    }

    #[test]
    fn keys_of_one_tenant_count_as_one_caller() {
        let probation = probation(4, 0.5);
        let tenant = TenantId::parse("acme").expect("a tenant");
        let failure = Failure::AgentFailed("x".to_owned());
        let ended = |key| CallReport {
            tenant: &tenant,
            key,
            failure: Some(&failure),
            fuel: 5,
            wall: Duration::from_millis(1),
        };
        good(&probation, "other");
        let steps = [
            probation.count(&ended("one")),
            probation.count(&ended("two")),
            probation.count(&ended("three")),
        ];
        assert_eq!(failed(&steps), 0, "they are one tenant's keys");
    }

    #[test]
    fn who_starved_or_waited_is_not_to_blame() {
        let limit = Duration::from_millis(10);
        let up = |queued| Failure::DeadlineExceeded { limit, queued };
        let probation = probation(100, 0.02);
        let harmless = [
            call(&probation, "one", Some(&up(true)), 0),
            // It ran for ten milliseconds, and burnt what takes one.
            call(&probation, "one", Some(&up(false)), 1_000_000),
            call(&probation, "one", Some(&Failure::Trapped { internal: String::new() }), 0),
            call(&probation, "one", Some(&Failure::Draining), 5),
            call(&probation, "one", Some(&Failure::InvalidInput("x".to_owned())), 5),
        ];
        assert_eq!(failed(&harmless), 0);
        assert_eq!(probation.summary().0, 0);
        let spun = call(&probation, "one", Some(&up(false)), 8_000_000);
        assert_ne!(spun, NextStep::RollBack);
        assert_eq!(bad(&probation, "one"), NextStep::RollBack);
    }

    #[test]
    fn calls_in_which_no_guest_ran_end_no_probation() {
        let probation = probation(4, 0.5);
        let refused = Failure::InvalidContext("x".to_owned());
        let calls: Vec<_> = (0..100).map(|_| call(&probation, "other", Some(&refused), 0)).collect();
        assert!(calls.iter().all(|step| *step == NextStep::Continue), "{calls:?}");
        assert_eq!(failed(&[bad(&probation, "one"), bad(&probation, "one")]), 1);
    }

    #[test]
    fn it_goes_on_from_what_was_written_down_and_is_written_down_a_few_times() {
        let digest = Digest::of(b"x");
        let first = probation(1000, 0.5);
        let saves = (0..999).filter(|_| good(&first, "one") == NextStep::Save).count();
        assert!((1..=4).contains(&saves), "{saves}");
        assert_eq!(good(&first, "one"), NextStep::Save, "it is past its probation");
        assert_eq!(first.progress(digest), None);
        let first = probation(4, 0.5);
        assert_eq!(bad(&first, "one"), NextStep::Save);
        let saved = first.progress(digest).expect("it goes on");
        assert_eq!((saved.calls, saved.faults.get("one")), (1, Some(&1)));
        let next = Probation::resumed(Threshold::new(&config(4, 0.5)), Arc::default(), &saved);
        assert_eq!(bad(&next, "one"), NextStep::RollBack);
    }

    #[test]
    fn a_failure_that_nobody_heard_of_is_said_again() {
        let probation = probation(4, 0.5);
        assert_eq!(failed(&[bad(&probation, "one"), bad(&probation, "one")]), 1);
        probation.reopen();
        assert_eq!(bad(&probation, "one"), NextStep::RollBack);
        assert_ne!(bad(&probation, "one"), NextStep::RollBack);
    }

    #[test]
    fn later_calls_and_versions_without_a_probation_do_not_count() {
        let over = probation(2, 0.5);
        assert_eq!([good(&over, "one"), good(&over, "one")], [NextStep::Save; 2]);
        assert_eq!(bad(&over, "one"), NextStep::Continue);
        assert_eq!(bad(&Probation::default(), "one"), NextStep::Continue);
        assert_eq!(Threshold::new(&ReloadConfig { rollback: false, ..config(1, 1.0) }), None);
    }

    #[test]
    fn a_version_that_was_never_called_is_fine() {
        let probation = Probation::default();
        assert!(probation.is_healthy(&config(4, 0.5)));
        bad(&probation, "one");
        assert!(!probation.is_healthy(&config(4, 0.5)));
    }
}
