//! The one place where what serves changes: attempts in, the next snapshot out.
//!
//! A change has its agents to itself (`reserve`) from looking at their records until what it decided serves;
//! changes of other agents go on beside it. The order is what makes a crash harmless: a component is on disk
//! before a record names it, a record is on disk before its version serves. And it makes a fault of our own
//! harmless: the next snapshot is built before anything is written. One lock is held for the swap alone, and
//! nobody who waits for the disk holds it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use super::draft::{Attempt, Draft};
use super::load::LoadFailure;
use super::outcome::{AttemptSummary, Outcome};
use super::record::Record;
use super::reserve::Reservation;
use super::retired::Retired;
use super::snapshot::{AgentEntry, Snapshot};
use super::store::Rows;
use super::{Inner, Registry};
use crate::domain::{AgentKey, Digest};

/// Whether attempts that are committed together depend on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Atomicity {
    /// Each takes effect by itself.
    Independent,
    /// They take effect if every one of them is to serve.
    AllOrNothing,
}

/// What `amend` changes beside versions.
#[derive(Default)]
pub(super) struct Amendment {
    /// Entries to be put in their places.
    pub(super) put: Vec<AgentEntry>,
    /// Agents to be dropped.
    pub(super) removed: Vec<AgentKey>,
}

/// What became of an attempt, and of its agent: nobody else changed that in between.
pub(super) struct Committed {
    pub(super) outcome: Outcome,
    /// The agent as the attempt found it; `None` where it was not there.
    pub(super) before: Option<Arc<AgentEntry>>,
    /// The agent as all attempts that were committed together left it.
    pub(super) after: Option<Arc<AgentEntry>>,
}

/// What was decided on attempts, and what follows.
struct Decision {
    /// How each attempt ends if what follows can be written.
    outcomes: Vec<Outcome>,
    change: Option<Change>,
}

/// A change of what serves, ready to be written and to be published.
struct Change {
    /// Entries to be put in their places.
    entries: Vec<AgentEntry>,
    /// Agents to be dropped, and what is remembered of them.
    removed: BTreeMap<AgentKey, Record>,
    /// The records that have to be on disk first.
    rows: Rows,
    /// The snapshot that it was decided on, and the one that follows.
    base: Arc<Snapshot>,
    next: Snapshot,
}

/// Does `work` on a blocking thread; `None` if it panics, which is in the log then, or the host is stopping.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let work = move || catch_unwind(AssertUnwindSafe(work)).ok();
    tokio::task::spawn_blocking(work).await.ok().flatten()
}

impl Registry {
    /// Rules on these attempts, in their order; writes down what follows, and publishes it at once.
    pub(super) async fn commit(&self, attempts: Vec<Attempt>, atomicity: Atomicity) -> Vec<Committed> {
        let inner = self.inner.clone();
        // Whether or not anybody still waits: what is written has to serve.
        match tokio::spawn(inner.commit(attempts, atomicity)).await {
            Ok(committed) => committed,
            Err(error) => {
                tracing::error!(%error, "what serves could not be changed");
                Vec::new()
            }
        }
    }

    /// Changes what `change` gives, without a new version of any agent; returns those that were removed, as they
    /// were.
    /// It changes no other agents than those that it `touches`.
    pub(super) async fn amend(
        &self,
        touches: impl IntoIterator<Item = AgentKey>,
        change: impl FnOnce(&Snapshot, &Retired) -> Amendment + Send + 'static,
    ) -> Result<Vec<Arc<AgentEntry>>, LoadFailure> {
        let reservation = self.inner.reservations.reserve(touches).await;
        let inner = self.inner.clone();
        let amend = async move {
            let reservation = Arc::new(reservation);
            let (decide, own) = (inner.clone(), reservation.clone());
            let decided = blocking(move || decide.amended(&own, change)).await;
            let change = decided.ok_or(LoadFailure::Interrupted)?;
            let removed = change.removed.keys().filter_map(|key| change.base.agent(key).cloned()).collect();
            inner.enact(change).await?;
            drop(reservation);
            Ok(removed)
        };
        tokio::spawn(amend).await.unwrap_or(Err(LoadFailure::Interrupted))
    }
}

impl Inner {
    async fn commit(self: Arc<Self>, attempts: Vec<Attempt>, atomicity: Atomicity) -> Vec<Committed> {
        let keys: Vec<_> = attempts.iter().map(|attempt| attempt.config.key.clone()).collect();
        let summaries: Arc<[AttemptSummary]> = attempts.iter().map(AttemptSummary::of).collect();
        let reservation = self.reservations.reserve(keys.iter().cloned()).await;
        reservation.names(attempts.iter().filter_map(|attempt| attempt.digest));
        let before = self.entries(&keys);
        // In a large fleet this takes a while: not on the threads that answer.
        let inner = self.clone();
        let decided = blocking(move || inner.decide(attempts, atomicity)).await;
        let outcomes = match decided {
            None => self.give_up(&summaries),
            Some(Decision { outcomes, change: None }) => outcomes,
            Some(Decision { mut outcomes, change: Some(change) }) => {
                let (entries, base) = (change.entries.clone(), change.base.clone());
                if let Err(failure) = self.clone().enact(change).await {
                    self.clone().report(&keys, &mut outcomes, entries, base, failure).await;
                }
                outcomes
            }
        };
        let after = self.entries(&keys);
        drop(reservation);
        let outcomes = self.log_outcomes(summaries, outcomes).await.into_iter();
        let states = before.into_iter().zip(after);
        outcomes.zip(states).map(|(outcome, (before, after))| Committed { outcome, before, after }).collect()
    }

    /// These agents as they are now.
    fn entries(&self, keys: &[AgentKey]) -> Vec<Option<Arc<AgentEntry>>> {
        let current = self.current.load();
        keys.iter().map(|key| current.agent(key).cloned()).collect()
    }

    /// Decides on attempts, and makes what follows ready to be written and published.
    fn decide(&self, attempts: Vec<Attempt>, atomicity: Atomicity) -> Decision {
        let (config, base) = (self.reload.load(), self.current.load_full());
        let (now, entries) = (self.clock.now(), BTreeMap::new());
        let kept = |path: &Path| self.loader.digest_at(path);
        let retired = self.retired.read();
        let mut draft =
            Draft { current: &base, retired: &retired, config: &config, now, kept: &kept, entries };
        let outcomes: Vec<Outcome> = attempts.into_iter().map(|attempt| draft.apply(attempt)).collect();
        let entries: Vec<AgentEntry> = draft.entries.into_values().collect();
        drop(retired);
        let will_serve = |outcome: &Outcome| matches!(outcome, Outcome::Live(_) | Outcome::Same);
        if entries.is_empty() || (atomicity == Atomicity::AllOrNothing && !outcomes.iter().all(will_serve)) {
            return Decision { outcomes, change: None };
        }
        let changed = entries.iter().filter(|entry| differs(entry, &base));
        let rows = self.rows(changed.map(|entry| (&entry.key, &**entry.record())));
        let next = self.ready(base.with(entries.iter().cloned(), []));
        Decision { outcomes, change: Some(Change { entries, removed: BTreeMap::new(), rows, base, next }) }
    }

    /// Makes an amendment ready to be written and published.
    fn amended(&self, own: &Reservation, change: impl FnOnce(&Snapshot, &Retired) -> Amendment) -> Change {
        let base = self.current.load_full();
        let Amendment { put: mut entries, removed } = change(&base, &self.retired.read());
        entries.retain(|entry| own.has(&entry.key));
        let now = self.clock.now();
        let removed: BTreeMap<AgentKey, Record> = removed
            .iter()
            .filter_map(|key| base.agent(key).filter(|_| own.has(key)))
            .map(|entry| (entry.key.clone(), entry.record().removed(now)))
            .collect();
        let changed = entries.iter().filter(|entry| differs(entry, &base));
        let rows = self.rows(changed.map(|entry| (&entry.key, &**entry.record())).chain(&removed));
        let next = self.ready(base.with(entries.iter().cloned(), removed.keys().cloned()));
        Change { entries, removed, rows, base, next }
    }

    /// These records as they are to be written; none where there is nowhere to.
    fn rows<'a>(&self, records: impl Iterator<Item = (&'a AgentKey, &'a Record)>) -> Rows {
        if self.store.is_some() { Rows::of(records) } else { Rows::default() }
    }

    /// Makes a change what serves once its records are on disk. On an error nothing has changed.
    async fn enact(self: Arc<Self>, mut change: Change) -> Result<(), LoadFailure> {
        let rows = std::mem::take(&mut change.rows);
        if let Some(store) = self.store.as_ref().filter(|_| !rows.is_empty()) {
            store.write(rows).await.map_err(|error| LoadFailure::NotRecorded(Arc::new(error)))?;
        }
        // It may have to be built again, and what nothing uses any more is dropped there.
        let publish = move || self.publish_change(change);
        blocking(publish).await.ok_or(LoadFailure::Interrupted)
    }

    /// Swaps the snapshot for the one that a change leads to. Where another change went live since it was
    /// decided, the snapshot is built again from the same entries: the agents are its own, so that they are
    /// what they were.
    fn publish_change(&self, change: Change) {
        let Change { entries, removed, rows: _, base, next } = change;
        let mut freed = false;
        let mut digests = |entry: &AgentEntry, stays: Option<&AgentEntry>| {
            let stays: Vec<Digest> = stays.into_iter().flat_map(digests_of).collect();
            freed |= digests_of(entry).any(|digest| !stays.contains(&digest));
        };
        for entry in &entries {
            base.agent(&entry.key).into_iter().for_each(|old| digests(old, Some(entry)));
        }
        removed.keys().filter_map(|key| base.agent(key)).for_each(|old| digests(old, None));
        let publishing = self.publishing.lock();
        let current = self.current.load_full();
        let next = match Arc::ptr_eq(&current, &base) {
            true => next,
            false => self.ready(current.with(entries.iter().cloned(), removed.keys().cloned())),
        };
        let mut retired = self.retired.write();
        self.publish(next);
        // Who was removed and came back is remembered by its entry from now on.
        entries.iter().for_each(|entry| retired.remove(&entry.key));
        removed.into_iter().for_each(|(key, record)| retired.insert(key, record));
        drop((retired, publishing));
        if freed && self.store.is_some() {
            self.loader.unneeded().notify_one();
        }
    }

    /// What was decided could not be written, because of `failure`: of `entries`, only those take effect that
    /// had nothing to be written, and the others' reports.
    async fn report(
        self: Arc<Self>,
        keys: &[AgentKey],
        outcomes: &mut [Outcome],
        entries: Vec<AgentEntry>,
        base: Arc<Snapshot>,
        failure: LoadFailure,
    ) {
        let (changed, unchanged): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| differs(entry, &base));
        let changed: BTreeSet<AgentKey> = changed.into_iter().map(|entry| entry.key).collect();
        for (key, outcome) in keys.iter().zip(outcomes) {
            if changed.contains(key) && !matches!(outcome, Outcome::Stale) {
                *outcome = Outcome::Failed(failure.clone());
            }
        }
        let now = self.clock.now();
        let publish = move || {
            self.change_now(|current| {
                let known = changed.iter().filter_map(|key| current.agent(key));
                let reports = known.map(|entry| (**entry).clone().failed(now, failure.clone()));
                current.with(unchanged.into_iter().chain(reports), [])
            });
        };
        if blocking(publish).await.is_none() {
            tracing::error!("agents' reports could not be published");
        }
    }

    /// The host itself failed on these attempts: they change nothing but the agents' reports.
    fn give_up(&self, summaries: &[AttemptSummary]) -> Vec<Outcome> {
        let now = self.clock.now();
        let broken = |attempt: &AttemptSummary| LoadFailure::Broken { path: attempt.component.clone() };
        self.change_now(|current| {
            let known = |attempt: &AttemptSummary| {
                let entry = current.agent(&attempt.key)?;
                Some((**entry).clone().failed(now, broken(attempt)))
            };
            current.with(summaries.iter().filter_map(known), [])
        });
        summaries.iter().map(|attempt| Outcome::Failed(broken(attempt))).collect()
    }

    /// Says in log and counters how attempts ended.
    async fn log_outcomes(
        self: &Arc<Self>,
        summaries: Arc<[AttemptSummary]>,
        outcomes: Vec<Outcome>,
    ) -> Vec<Outcome> {
        let snapshot = self.current.load();
        for (summary, outcome) in summaries.iter().zip(&outcomes) {
            summary.log(outcome, &snapshot);
            self.counts.count(outcome);
        }
        outcomes
    }

    /// Publishes what `build` makes of what serves, without writing anything. Blocking.
    pub(super) fn change_now(&self, build: impl FnOnce(&Snapshot) -> Snapshot) {
        let _publishing = self.publishing.lock();
        let next = self.ready(build(&self.current.load_full()));
        self.publish(next);
    }

    /// The snapshot with routing prepared for each key.
    fn ready(&self, next: Snapshot) -> Snapshot {
        for (tenant, scope) in self.scopes.load().iter() {
            next.candidates(tenant, scope);
        }
        next
    }

    /// Swaps the snapshot. `publishing` is held.
    fn publish(&self, next: Snapshot) {
        self.current.store(Arc::new(next));
    }

    /// The components that may still be needed by what serves, by agents that are gone, or by a change that is
    /// being made.
    pub(super) fn needed(&self) -> HashSet<Digest> {
        // A change moves them from one of these to another while it holds this.
        let _publishing = self.publishing.lock();
        let mut needed: HashSet<Digest> =
            self.current.load().agents().flat_map(|entry| digests_of(entry)).collect();
        needed.extend(&self.unread);
        needed.extend(self.retired.read().digests());
        needed.extend(self.reservations.named());
        needed
    }
}

/// Whether an agent's record is another than the one that is written down.
fn differs(entry: &AgentEntry, base: &Snapshot) -> bool {
    base.agent(&entry.key)
        .is_none_or(|old| !Arc::ptr_eq(old.record(), entry.record()) && old.record() != entry.record())
}

/// The components that an agent may still need.
fn digests_of(entry: &AgentEntry) -> impl Iterator<Item = Digest> + '_ {
    // What a registered agent was given last is its file.
    let given = entry.config.component.file_name().filter(|_| entry.is_registered());
    let given = given.and_then(|name| Digest::from_hex(&name.to_string_lossy()));
    entry.record().digests().chain(given)
}
