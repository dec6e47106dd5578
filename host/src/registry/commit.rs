//! The one place where what serves changes: attempts in, the next snapshot out.
//!
//! A change has its agents to itself (`reserve`) from looking at their records until what it decided serves;
//! changes of other agents go on beside it. The order is what makes a crash harmless: a component is on disk
//! before a record names it, a record is on disk before its version serves. And it makes a fault of our own
//! harmless: the next snapshot is built before anything is written. One lock is held for the swap alone, and
//! nobody who waits for the disk holds it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::agent::AgentVersion;
use super::load::{LoadFailure, Loader};
use super::outcome::{Outcome, Shown};
use super::probation::{Callers, Probation, Threshold};
use super::record::{Candidate, Cause, Pending, Record, Ruling, settings_text};
use super::reserve::Reservation;
use super::retired::Retired;
use super::snapshot::{AgentEntry, Snapshot};
use super::state::LoadAttempt;
use super::store::Rows;
use super::{Inner, Registry};
use crate::config::{AgentConfig, ReloadConfig};
use crate::domain::{AgentKey, Digest};

/// A version that was made for an agent, or why none could be.
pub(super) struct Attempt {
    /// The settings that it was made under.
    pub(super) config: Arc<AgentConfig>,
    pub(super) cause: Cause,
    pub(super) basis: Basis,
    /// When the news came.
    pub(super) began: Instant,
    /// The component, where it could be read.
    pub(super) digest: Option<Digest>,
    pub(super) result: Result<AgentVersion, LoadFailure>,
}

/// Whether an attempt's settings are the agent's already.
#[derive(Clone)]
pub(super) enum Basis {
    /// They were when it began; if they are no longer, somebody else makes another attempt.
    Standing,
    /// They wait with the code, as this JSON text.
    Waiting { settings: Arc<str> },
    /// They come with it, as this JSON text, in the place of `over`.
    Registered { settings: Arc<str>, over: Option<Arc<AgentConfig>> },
}

/// Whether attempts that are committed together depend on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unity {
    /// Each takes effect by itself.
    Each,
    /// They take effect if every one of them is to serve.
    AllOrNone,
}

/// What `amend` changes beside versions.
#[derive(Default)]
pub(super) struct Amendment {
    /// Entries to be put in their places.
    pub(super) put: Vec<AgentEntry>,
    /// Agents to be dropped.
    pub(super) removed: Vec<AgentKey>,
}

/// What a commit works on and leaves behind.
struct Draft<'a> {
    loader: &'a Loader,
    current: &'a Snapshot,
    retired: &'a Retired,
    config: &'a ReloadConfig,
    now: SystemTime,
    entries: BTreeMap<AgentKey, AgentEntry>,
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
    pub(super) async fn commit(&self, attempts: Vec<Attempt>, unity: Unity) -> Vec<Outcome> {
        let inner = self.inner.clone();
        // Whether or not anybody still waits: what is written has to serve.
        match tokio::spawn(inner.commit(attempts, unity)).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                tracing::error!(%error, "what serves could not be changed");
                Vec::new()
            }
        }
    }

    /// Changes what `change` gives, without a new version of any agent; returns those that were removed.
    /// It changes no other agents than those that it `touches`.
    pub(super) async fn amend(
        &self,
        touches: impl IntoIterator<Item = AgentKey>,
        change: impl FnOnce(&Snapshot, &Retired) -> Amendment + Send + 'static,
    ) -> Result<Vec<AgentKey>, LoadFailure> {
        let reservation = self.inner.reservations.reserve(touches).await;
        let inner = self.inner.clone();
        let amend = async move {
            let reservation = Arc::new(reservation);
            let (decide, own) = (inner.clone(), reservation.clone());
            let decided = blocking(move || decide.amended(&own, change)).await;
            let change = decided.ok_or(LoadFailure::Interrupted)?;
            let removed = change.removed.keys().cloned().collect();
            inner.enact(change).await?;
            drop(reservation);
            Ok(removed)
        };
        tokio::spawn(amend).await.unwrap_or(Err(LoadFailure::Interrupted))
    }
}

impl Inner {
    async fn commit(self: Arc<Self>, attempts: Vec<Attempt>, unity: Unity) -> Vec<Outcome> {
        let keys: Vec<_> = attempts.iter().map(|attempt| attempt.config.key.clone()).collect();
        let shown: Arc<[Shown]> = attempts.iter().map(Shown::of).collect();
        let reservation = self.reservations.reserve(keys.iter().cloned()).await;
        reservation.names(attempts.iter().filter_map(|attempt| attempt.digest));
        // In a large fleet this takes a while: not on the threads that answer.
        let inner = self.clone();
        let decided = blocking(move || inner.decide(attempts, unity)).await;
        let Some(Decision { mut outcomes, change }) = decided else {
            return self.told(shown.clone(), self.give_up(&shown)).await;
        };
        if let Some(change) = change {
            let (entries, base) = (change.entries.clone(), change.base.clone());
            if let Err(failure) = self.clone().enact(change).await {
                self.clone().report(&keys, &mut outcomes, entries, base, failure).await;
            }
        }
        drop(reservation);
        self.told(shown, outcomes).await
    }

    /// Decides on attempts, and makes what follows ready to be written and published.
    fn decide(&self, attempts: Vec<Attempt>, unity: Unity) -> Decision {
        let (config, base) = (self.reload.load(), self.current.load_full());
        let (loader, now, entries) = (&self.loader, self.clock.now(), BTreeMap::new());
        let retired = self.retired.read();
        let mut draft = Draft { loader, current: &base, retired: &retired, config: &config, now, entries };
        let outcomes: Vec<Outcome> = attempts.into_iter().map(|attempt| draft.rule(attempt)).collect();
        let entries: Vec<AgentEntry> = draft.entries.into_values().collect();
        drop(retired);
        let will_serve = |outcome: &Outcome| matches!(outcome, Outcome::Live(_) | Outcome::Same);
        if entries.is_empty() || (unity == Unity::AllOrNone && !outcomes.iter().all(will_serve)) {
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
    fn give_up(&self, shown: &[Shown]) -> Vec<Outcome> {
        let now = self.clock.now();
        let broken = |shown: &Shown| LoadFailure::Broken { path: shown.component.clone() };
        self.change_now(|current| {
            let known = |shown: &Shown| {
                let entry = current.agent(&shown.key)?;
                Some((**entry).clone().failed(now, broken(shown)))
            };
            current.with(shown.iter().filter_map(known), [])
        });
        shown.iter().map(|shown| Outcome::Failed(broken(shown))).collect()
    }

    /// Says in log and counters how attempts ended.
    async fn told(self: &Arc<Self>, shown: Arc<[Shown]>, outcomes: Vec<Outcome>) -> Vec<Outcome> {
        let snapshot = self.current.load();
        for (shown, outcome) in shown.iter().zip(&outcomes) {
            shown.tell(outcome, &snapshot);
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

impl Draft<'_> {
    fn rule(&mut self, attempt: Attempt) -> Outcome {
        let Attempt { config, cause, basis, began, digest, result } = attempt;
        let key = &config.key;
        let standing = self.entries.get(key).or_else(|| self.current.agent(key).map(|entry| &**entry));
        let is_latest = |entry: &AgentEntry| Arc::ptr_eq(entry.latest_config(), &config);
        let stands = |entry: &AgentEntry| match &cause {
            // What a file holds is proposed with what was said last.
            Cause::Proposed { .. } => is_latest(entry),
            Cause::Registered | Cause::Approved { .. } | Cause::Resumed | Cause::RolledBack { .. } => {
                is_latest(entry) || Arc::ptr_eq(&entry.config, &config)
            }
        };
        let (entry, registered) = match (standing, basis) {
            (Some(entry), Basis::Standing) if stands(entry) => (entry.clone(), None),
            // The operator has seen what waits, with the settings that wait with it.
            (Some(entry), Basis::Waiting { settings })
                if entry.is_registered() && waits_with(entry, &settings) =>
            {
                (entry.clone(), Some(settings))
            }
            // The file may name it by now, or its settings mean something else.
            (Some(entry), Basis::Registered { settings, over: Some(over) })
                if entry.is_registered() && Arc::ptr_eq(entry.latest_config(), &over) =>
            {
                (entry.clone(), Some(settings))
            }
            (None, Basis::Registered { settings, over: None }) => {
                let record = self.retired.registered(key);
                (AgentEntry::loading(config.clone(), Arc::new(record)), Some(settings))
            }
            _ => return Outcome::Stale,
        };
        if !entry.record().stands(&cause, digest) {
            return Outcome::Stale;
        }
        let attempt = LoadAttempt { at: self.now, took: began.elapsed(), digest };
        let version = match result {
            Ok(version) => version,
            Err(failure) => {
                return self.refuse(entry, registered.is_some(), attempt, failure);
            }
        };
        let mut approved = entry.record().approved.clone();
        if let Cause::Approved { grants, .. } = &cause {
            approved.extend(grants.clone());
        }
        if config.fingerprint(&config.grants.with_approved(&approved)) != version.settings {
            // Something was approved since the version was made: it would serve without.
            return Outcome::Stale;
        }
        let kept = self.loader.digest_at(&config.component);
        let with = match &registered {
            Some(settings) => Some(settings.to_string()),
            None => (*config != *entry.config).then(|| settings_text(&config, kept)),
        };
        let candidate = Candidate { with, ..candidate(&version, &config) };
        let keep = self.config.keep_versions as usize;
        let latest = is_latest(&entry) || registered.is_some();
        let adopt = |mut entry: AgentEntry, record: &mut Record| {
            entry.config = config.clone();
            if latest {
                entry.proposed = None;
                // What waits has settings of its own no longer: they serve.
                if cause == Cause::Resumed
                    && !entry.is_registered()
                    && let Some(pending) = &mut record.pending
                {
                    pending.settings = None;
                }
            }
            match &registered {
                Some(settings) => record.registered = Some(settings.to_string()),
                None => record.remember(&config, kept),
            }
            entry
        };
        match entry.record().judge(&candidate, &cause, keep, self.now) {
            Ruling::Same(mut record) => {
                let entry = adopt(entry, &mut record);
                let resumed = cause == Cause::Resumed && !entry.is_registered();
                let entry = match (entry.version(), &record.serving) {
                    (None, Some(serving)) => {
                        let probation = self.probation(&entry, &candidate, &cause);
                        let version = version.in_category(serving.category.as_deref());
                        let version = AgentVersion { generation: serving.generation, probation, ..version };
                        let version = Arc::new(AgentVersion { loaded_at: serving.since, ..version });
                        entry.went_live(version, record)
                    }
                    _ => entry.with_record(record),
                };
                // What was resumed is not what was asked for: its report stays.
                let entry = if resumed { entry } else { entry.load_finished(attempt, Ok(())) };
                self.entries.insert(entry.key.clone(), entry);
                Outcome::Same
            }
            Ruling::Live(mut record) => {
                let entry = adopt(entry, &mut record);
                let generation = record.generation;
                let probation = self.probation(&entry, &candidate, &cause);
                record.probation = probation.progress(candidate.digest);
                record.many_callers |= probation.callers().are_many();
                // As the record has it, so that it is the same after a restart.
                let loaded_at = self.now;
                let category = record.serving.as_ref().and_then(|serving| serving.category.as_deref());
                let version = version.in_category(category);
                let version = Arc::new(AgentVersion { generation, probation, loaded_at, ..version });
                let resumed = cause == Cause::Resumed && !entry.is_registered();
                let entry = entry.went_live(version, record);
                let entry = if resumed { entry } else { entry.load_finished(attempt, Ok(())) };
                self.entries.insert(entry.key.clone(), entry);
                Outcome::Live(generation)
            }
            Ruling::Waits(record) => {
                // Its settings wait with it: what serves keeps its own.
                let wants = record.pending.as_ref().map(Pending::wants_in_words).unwrap_or_default();
                let entry = entry.with_record(record).load_finished(attempt, Ok(()));
                self.entries.insert(entry.key.clone(), entry.proposal_waits_with_code());
                Outcome::Waits(wants)
            }
            Ruling::Stale => Outcome::Stale,
            Ruling::Blocked(reason) => {
                let failure = LoadFailure::TakenBack {
                    path: config.component.display().to_string(),
                    agent: config.key.id.to_string(),
                    reason,
                };
                self.refuse(entry, registered.is_some(), attempt, failure)
            }
        }
    }

    /// What served serves on; the failure stands on the agent's page, unless it is the answer to
    /// whoever registers.
    fn refuse(
        &mut self,
        entry: AgentEntry,
        registers: bool,
        attempt: LoadAttempt,
        failure: LoadFailure,
    ) -> Outcome {
        if !registers {
            let entry = entry.load_finished(attempt, Err(failure.clone())).proposal_waits_with_code();
            self.entries.insert(entry.key.clone(), entry);
        }
        Outcome::Failed(failure)
    }

    /// The probation of a version that serves from now on.
    fn probation(&self, entry: &AgentEntry, candidate: &Candidate, cause: &Cause) -> Arc<Probation> {
        let record = entry.record();
        let Some(old) = entry.version() else {
            let callers = Arc::new(Callers::restored(record.many_callers));
            let threshold = Threshold::new(self.config);
            return Arc::new(match &record.probation {
                // The start of a host ends no probation.
                Some(saved) if saved.digest == candidate.digest => {
                    Probation::resumed(threshold, callers, saved)
                }
                _ => Probation::new(None, callers),
            });
        };
        if old.digest == candidate.digest {
            // Under other settings it is the same code: what it did so far counts.
            return old.probation.clone();
        }
        // Other code than what served, in the place of code that did well, is watched.
        let watched = match cause {
            Cause::Proposed { .. } | Cause::Registered | Cause::Approved { .. } => {
                old.probation.is_healthy(self.config)
            }
            Cause::Resumed | Cause::RolledBack { .. } => false,
        };
        let threshold = Threshold::new(self.config).filter(|_| watched);
        Arc::new(Probation::new(threshold, old.probation.callers().clone()))
    }
}

/// Whether something waits for the operator with these settings.
fn waits_with(entry: &AgentEntry, settings: &str) -> bool {
    let pending = entry.record().pending.as_ref();
    pending.and_then(|pending| pending.settings.as_deref()) == Some(settings)
}

/// What the records need to know of a version.
pub(super) fn candidate(version: &AgentVersion, config: &AgentConfig) -> Candidate {
    Candidate {
        digest: version.digest,
        settings: version.settings,
        settings_of_0_1: config.fingerprint_of_0_1(&version.rights.grants),
        version: version.card.version.to_string(),
        with: None,
        capabilities: version.component.capabilities().clone(),
        ungranted: version.ungranted(),
        // The settings' word is the operator's: there is nothing to ask.
        category: config.overlay.category.is_none().then(|| version.card.category.clone()),
    }
}
