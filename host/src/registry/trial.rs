//! How a version does: its first calls decide whether it is taken back. Pure but for its counters.
//!
//! One caller's word is not enough where others call as well: of a version's faults, a caller brings
//! at most its share, half of those that are needed. The only caller there is brings all of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::record::TrialSoFar;
use crate::config::ReloadConfig;
use crate::domain::{Digest, Failure, TenantId};

/// How often a trial is written down while it lasts: at each of so many parts of its calls, and of the
/// faults that end it.
const MARKS: u32 = 4;

/// How long a unit of fuel takes, in nanoseconds: about, on an idle processor.
const UNIT: u128 = 1;

/// How a call ended, for the trial of the version that it ran.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
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

impl Ended<'_> {
    /// Who it counts for: the tenant, and among those that have none of their own, the key.
    fn caller(&self) -> &str {
        if self.tenant.is_default() { self.key } else { self.tenant.as_str() }
    }

    /// Whether the code is to blame: it burnt fuel, and where its time was up it did so for half of it
    /// at least. Who waited or starved is not to blame.
    fn is_the_codes(&self) -> bool {
        match self.failure {
            Some(Failure::DeadlineExceeded { queued: false, .. }) => {
                u128::from(self.fuel) * UNIT * 2 >= self.wall.as_nanos()
            }
            Some(failure) => self.fuel > 0 && failure.is_the_codes(),
            None => false,
        }
    }
}

/// What has to be done after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Goes,
    /// How it does so far is to be written down.
    Mark,
    /// The version has failed its trial; said once.
    Failed,
}

/// Whether an agent has more than one caller. Outlives its versions.
#[derive(Debug, Default)]
pub(super) struct Callers {
    first: OnceLock<Box<str>>,
    many: AtomicBool,
}

impl Callers {
    pub(super) fn known_to_be(many: bool) -> Self {
        Self { many: AtomicBool::new(many), ..Self::default() }
    }

    pub(super) fn are_many(&self) -> bool {
        self.many.load(Ordering::Relaxed)
    }

    /// Takes note of one; true once, when it is the second.
    fn note(&self, caller: &str) -> bool {
        !self.are_many()
            && **self.first.get_or_init(|| caller.into()) != *caller
            && !self.many.swap(true, Ordering::Relaxed)
    }
}

/// Counts a version's calls, and those that ended through its own fault.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// Since the start, whoever called.
    calls: AtomicU32,
    faults: AtomicU32,
    callers: Arc<Callers>,
    /// `None` for a version that is not on trial.
    bound: Option<Bound>,
    /// Whether nothing more is counted: it is past its trial, or has failed it.
    over: AtomicBool,
    counted: Mutex<Counted>,
}

/// What counts.
#[derive(Debug, Clone, Default)]
struct Counted {
    calls: u32,
    faults: BTreeMap<String, u32>,
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

    /// The most that one of several callers brings.
    fn share(&self) -> u32 {
        self.faults.div_ceil(2)
    }
}

impl Trial {
    /// A version on trial under `bound`, of an agent with these callers.
    pub(super) fn under(bound: Option<Bound>, callers: Arc<Callers>) -> Self {
        Self { bound, callers, ..Self::default() }
    }

    /// A version whose trial goes on from what was written down.
    pub(super) fn going_on(bound: Option<Bound>, callers: Arc<Callers>, so_far: &TrialSoFar) -> Self {
        let counted = Counted { calls: so_far.calls, faults: so_far.faults.clone() };
        Self { counted: Mutex::new(counted), ..Self::under(bound, callers) }
    }

    pub(super) fn callers(&self) -> &Arc<Callers> {
        &self.callers
    }

    /// What has to be remembered of it, for the version of this digest; `None` where it is not on
    /// trial, or not any more.
    pub(super) fn so_far(&self, digest: Digest) -> Option<TrialSoFar> {
        if self.bound.is_none() || self.over.load(Ordering::Relaxed) {
            return None;
        }
        let Counted { calls, faults } = self.counted.lock().clone();
        Some(TrialSoFar { digest, calls, faults })
    }

    /// Counts a call that ended. One in which the guest burnt nothing (its context was refused, say) tells
    /// nothing of the version, and does not count.
    pub(super) fn ended(&self, ended: &Ended<'_>) -> Verdict {
        if ended.fuel == 0 {
            return Verdict::Goes;
        }
        let fault = ended.is_the_codes();
        self.calls.fetch_add(1, Ordering::Relaxed);
        if fault {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
        let second = self.callers.note(ended.caller());
        let marked = if second { Verdict::Mark } else { Verdict::Goes };
        match self.bound {
            Some(bound) if !self.over.load(Ordering::Relaxed) => {
                match self.count(bound, ended.caller(), fault) {
                    Verdict::Goes => marked,
                    verdict => verdict,
                }
            }
            _ => marked,
        }
    }

    fn count(&self, bound: Bound, caller: &str, fault: bool) -> Verdict {
        let many = self.callers.are_many();
        let mut counted = self.counted.lock();
        if self.over.load(Ordering::Relaxed) {
            return Verdict::Goes;
        }
        let passes = |count: u32, of: u32| (count * MARKS / of) > ((count - 1) * MARKS / of);
        let mut mark = false;
        if fault {
            let own = counted.faults.get(caller).copied().unwrap_or(0);
            // Who has said what it has to say is not counted any more; others decide.
            let counts = !many || own < bound.share();
            if counts {
                counted.faults.insert(caller.to_owned(), own + 1);
            }
            let share = if many { bound.share() } else { bound.faults };
            let faults: u32 = counted.faults.values().map(|faults| (*faults).min(share)).sum();
            if faults >= bound.faults && !(many && counted.faults.len() < 2) {
                self.over.store(true, Ordering::Relaxed);
                return Verdict::Failed;
            }
            if !counts {
                return Verdict::Goes;
            }
            mark = passes(faults.max(1), bound.faults);
        }
        counted.calls += 1;
        if counted.calls >= bound.calls {
            self.over.store(true, Ordering::Relaxed);
            return Verdict::Mark;
        }
        if mark || passes(counted.calls, bound.calls) { Verdict::Mark } else { Verdict::Goes }
    }

    /// Nobody could be told that it failed: its next fault says so again.
    pub(super) fn was_not_heard(&self) {
        self.over.store(false, Ordering::Relaxed);
    }

    /// What speaks against it: its faults, its calls up to then, and how many callers had them.
    pub(super) fn account(&self) -> (u32, u32, usize) {
        let counted = self.counted.lock();
        (counted.faults.values().sum(), counted.calls + 1, counted.faults.len())
    }

    /// Whether fewer of its calls failed than a new version's may.
    pub(super) fn is_fine(&self, config: &ReloadConfig) -> bool {
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

    fn trial(calls: u32, rate: f64) -> Trial {
        Trial::under(Bound::new(&config(calls, rate)), Arc::default())
    }

    fn call(trial: &Trial, key: &str, failure: Option<&Failure>, fuel: u64) -> Verdict {
        let tenant = TenantId::default_tenant();
        trial.ended(&Ended { tenant: &tenant, key, failure, fuel, wall: Duration::from_millis(10) })
    }

    fn good(trial: &Trial, key: &str) -> Verdict {
        call(trial, key, None, 5)
    }

    fn bad(trial: &Trial, key: &str) -> Verdict {
        call(trial, key, Some(&Failure::AgentFailed("x".to_owned())), 5)
    }

    fn failed(verdicts: &[Verdict]) -> usize {
        verdicts.iter().filter(|verdict| **verdict == Verdict::Failed).count()
    }

    #[test]
    fn the_only_caller_decides_alone_and_it_fails_once() {
        let trial = trial(4, 0.5);
        good(&trial, "one");
        let verdicts = [bad(&trial, "one"), bad(&trial, "one"), bad(&trial, "one")];
        assert_eq!(verdicts.map(|verdict| verdict == Verdict::Failed), [false, true, false]);
        assert_eq!(trial.account(), (2, 3, 1));
    }

    #[test]
    fn one_of_several_callers_takes_nothing_back() {
        let trial = trial(20, 0.5);
        good(&trial, "other");
        let alone: Vec<_> = (0..1000).map(|_| bad(&trial, "one")).collect();
        assert_eq!(failed(&alone), 0);
        // What it says beyond its share does not end the trial, either: others still decide.
        assert_eq!(failed(&[bad(&trial, "other"); 1]), 0);
        let others: Vec<_> = (0..4).map(|_| bad(&trial, "other")).collect();
        assert_eq!(failed(&others), 1, "{others:?}");
    }

    #[test]
    fn callers_are_known_from_earlier_versions_and_faults_of_before_count_as_a_share() {
        let known: Arc<Callers> = Arc::default();
        let before = Trial::under(None, known.clone());
        assert_eq!([good(&before, "one"), good(&before, "two")], [Verdict::Goes, Verdict::Mark]);
        let next = Trial::under(Bound::new(&config(4, 0.25)), before.callers().clone());
        assert_eq!(failed(&[bad(&next, "one"), bad(&next, "one")]), 0, "even where one fault is enough");
        assert_eq!(bad(&next, "two"), Verdict::Failed);
        // The second comes while the first has said more than its share already.
        let trial = trial(20, 0.5);
        (0..9).for_each(|_| assert_ne!(bad(&trial, "one"), Verdict::Failed));
        let others: Vec<_> = (0..5).map(|_| bad(&trial, "two")).collect();
        assert_eq!(failed(&others[..4]), 0);
        assert_eq!(others[4], Verdict::Failed);
    }

    #[test]
    fn keys_of_one_tenant_count_as_one_caller() {
        let trial = trial(4, 0.5);
        let tenant = TenantId::parse("acme").expect("a tenant");
        let failure = Failure::AgentFailed("x".to_owned());
        let ended = |key| Ended {
            tenant: &tenant,
            key,
            failure: Some(&failure),
            fuel: 5,
            wall: Duration::from_millis(1),
        };
        good(&trial, "other");
        let verdicts = [trial.ended(&ended("one")), trial.ended(&ended("two")), trial.ended(&ended("three"))];
        assert_eq!(failed(&verdicts), 0, "they are one tenant's keys");
    }

    #[test]
    fn who_starved_or_waited_is_not_to_blame() {
        let limit = Duration::from_millis(10);
        let up = |queued| Failure::DeadlineExceeded { limit, queued };
        let trial = trial(100, 0.02);
        let harmless = [
            call(&trial, "one", Some(&up(true)), 0),
            // It ran for ten milliseconds, and burnt what takes one.
            call(&trial, "one", Some(&up(false)), 1_000_000),
            call(&trial, "one", Some(&Failure::Trapped { internal: String::new() }), 0),
            call(&trial, "one", Some(&Failure::Draining), 5),
            call(&trial, "one", Some(&Failure::InvalidInput("x".to_owned())), 5),
        ];
        assert_eq!(failed(&harmless), 0);
        assert_eq!(trial.account().0, 0);
        let spun = call(&trial, "one", Some(&up(false)), 8_000_000);
        assert_ne!(spun, Verdict::Failed);
        assert_eq!(bad(&trial, "one"), Verdict::Failed);
    }

    #[test]
    fn calls_in_which_no_guest_ran_end_no_trial() {
        let trial = trial(4, 0.5);
        let refused = Failure::InvalidContext("x".to_owned());
        let calls: Vec<_> = (0..100).map(|_| call(&trial, "other", Some(&refused), 0)).collect();
        assert!(calls.iter().all(|verdict| *verdict == Verdict::Goes), "{calls:?}");
        assert_eq!(failed(&[bad(&trial, "one"), bad(&trial, "one")]), 1);
    }

    #[test]
    fn it_goes_on_from_what_was_written_down_and_is_written_down_a_few_times() {
        let digest = Digest::of(b"x");
        let first = trial(1000, 0.5);
        let marks = (0..999).filter(|_| good(&first, "one") == Verdict::Mark).count();
        assert!((1..=4).contains(&marks), "{marks}");
        assert_eq!(good(&first, "one"), Verdict::Mark, "it is past its trial");
        assert_eq!(first.so_far(digest), None);
        let first = trial(4, 0.5);
        assert_eq!(bad(&first, "one"), Verdict::Mark);
        let so_far = first.so_far(digest).expect("it goes on");
        assert_eq!((so_far.calls, so_far.faults.get("one")), (1, Some(&1)));
        let next = Trial::going_on(Bound::new(&config(4, 0.5)), Arc::default(), &so_far);
        assert_eq!(bad(&next, "one"), Verdict::Failed);
    }

    #[test]
    fn a_failure_that_nobody_heard_of_is_said_again() {
        let trial = trial(4, 0.5);
        assert_eq!(failed(&[bad(&trial, "one"), bad(&trial, "one")]), 1);
        trial.was_not_heard();
        assert_eq!(bad(&trial, "one"), Verdict::Failed);
        assert_ne!(bad(&trial, "one"), Verdict::Failed);
    }

    #[test]
    fn later_calls_and_versions_without_a_trial_do_not_count() {
        let over = trial(2, 0.5);
        assert_eq!([good(&over, "one"), good(&over, "one")], [Verdict::Mark; 2]);
        assert_eq!(bad(&over, "one"), Verdict::Goes);
        assert_eq!(bad(&Trial::default(), "one"), Verdict::Goes);
        assert_eq!(Bound::new(&ReloadConfig { rollback: false, ..config(1, 1.0) }), None);
    }

    #[test]
    fn a_version_that_was_never_called_is_fine() {
        let trial = Trial::default();
        assert!(trial.is_fine(&config(4, 0.5)));
        bad(&trial, "one");
        assert!(!trial.is_fine(&config(4, 0.5)));
    }
}
