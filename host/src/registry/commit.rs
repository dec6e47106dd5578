//! The one place where what serves changes: attempts in, the next snapshot out.
//!
//! Holds one lock from looking at the records to swapping the snapshot. The order is what makes a
//! crash harmless: a component is on disk before a record names it, a record is on disk before its
//! version serves. And it makes a fault of our own harmless: whatever can fail is done before anything
//! is written, so that nothing stands between what is written and what serves (`enact`).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::agent::AgentVersion;
use super::load::{LoadFailure, Loader};
use super::outcome::{Outcome, Shown};
use super::probation::{Callers, Probation, Threshold};
use super::record::{Candidate, Cause, Pending, Record, Ruling, settings_text};
use super::retired::Retired;
use super::snapshot::{AgentEntry, Snapshot};
use super::state::LoadAttempt;
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

impl Registry {
    /// Rules on these attempts, in their order; writes down what follows, and publishes it at once.
    pub(super) async fn commit(&self, attempts: Vec<Attempt>, unity: Unity) -> Vec<Outcome> {
        let mut turn = self.inner.changing.clone().lock_owned().await;
        let (inner, current) = (self.inner.clone(), self.snapshot());
        // In a large fleet this takes a while, and it waits for the disk: not on the threads that answer.
        let commit = tokio::task::spawn_blocking(move || {
            let shown: Vec<_> = attempts.iter().map(Shown::of).collect();
            let rule = || inner.rule(&current, &turn, attempts, unity);
            let outcomes = catch_unwind(AssertUnwindSafe(rule)).unwrap_or_else(|_| inner.give_up(&shown));
            inner.tell(&shown, &outcomes);
            // Whoever was removed and came back is remembered by its entry from now on.
            let now = inner.current.load();
            turn.retain(|key| now.agent(key).is_none());
            outcomes
        });
        match commit.await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                tracing::error!(%error, "what serves could not be changed");
                Vec::new()
            }
        }
    }

    /// Changes what `change` gives, without a new version of any agent; returns those that were removed.
    pub(super) async fn amend(
        &self,
        change: impl FnOnce(&Snapshot, &Retired) -> Amendment + Send + 'static,
    ) -> Result<Vec<AgentKey>, LoadFailure> {
        let mut turn = self.inner.changing.clone().lock_owned().await;
        let (inner, current) = (self.inner.clone(), self.snapshot());
        let amend = tokio::task::spawn_blocking(move || {
            let Amendment { put: entries, removed } = change(&current, &turn);
            let now = inner.clock.now();
            let gone: BTreeMap<AgentKey, Record> = removed
                .iter()
                .filter_map(|key| current.agent(key))
                .map(|entry| (entry.key.clone(), entry.record().removed(now)))
                .collect();
            let differs = |entry: &&AgentEntry| {
                current.agent(&entry.key).is_none_or(|old| !Arc::ptr_eq(old.record(), entry.record()))
            };
            let changed = entries.iter().filter(differs).map(|entry| (&entry.key, &**entry.record()));
            let records: Vec<_> =
                changed.chain(&gone).map(|(key, record)| (key.clone(), record.clone())).collect();
            let removed: Vec<AgentKey> = gone.keys().cloned().collect();
            let next = current.with(entries, removed.iter().cloned());
            inner.enact(&current, next, &records)?;
            gone.into_iter().for_each(|(key, record)| turn.insert(key, record));
            let now = inner.current.load();
            turn.retain(|key| now.agent(key).is_none());
            Ok(removed)
        });
        amend.await.unwrap_or(Err(LoadFailure::Interrupted))
    }
}

impl Inner {
    /// Decides, writes the decisions down, and publishes what follows.
    fn rule(
        &self,
        current: &Snapshot,
        retired: &Retired,
        attempts: Vec<Attempt>,
        unity: Unity,
    ) -> Vec<Outcome> {
        let config = self.reload.load();
        let now = self.clock.now();
        let mut draft =
            Draft { loader: &self.loader, current, retired, config: &config, now, entries: BTreeMap::new() };
        let keys: Vec<_> = attempts.iter().map(|attempt| attempt.config.key.clone()).collect();
        let mut outcomes: Vec<Outcome> = attempts.into_iter().map(|attempt| draft.rule(attempt)).collect();
        let will_serve = |outcome: &Outcome| matches!(outcome, Outcome::Live(_) | Outcome::Same);
        let entries = draft.entries;
        if entries.is_empty() || (unity == Unity::AllOrNone && !outcomes.iter().all(will_serve)) {
            return outcomes;
        }
        let differs =
            |entry: &AgentEntry| current.agent(&entry.key).is_none_or(|old| old.record() != entry.record());
        let entries: Vec<AgentEntry> = entries.into_values().collect();
        let (changed, unchanged): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| differs(entry));
        let records: Vec<_> =
            changed.iter().map(|entry| (entry.key.clone(), (**entry.record()).clone())).collect();
        let unchanged: Vec<AgentEntry> = unchanged.into_iter().cloned().collect();
        if let Err(failure) = self.enact(current, current.with(entries, []), &records) {
            // Nothing that had to be written takes effect, but the report of it.
            let changed: BTreeSet<AgentKey> = records.into_iter().map(|(key, _)| key).collect();
            for (key, outcome) in keys.iter().zip(&mut outcomes) {
                if changed.contains(key) && !matches!(outcome, Outcome::Stale) {
                    *outcome = Outcome::Failed(failure.clone());
                }
            }
            let known = changed.iter().filter_map(|key| current.agent(key));
            let reports = known.map(|entry| (**entry).clone().failed(now, failure.clone()));
            let next = current.with(unchanged.into_iter().chain(reports), []);
            self.publish(self.ready(next));
        }
        outcomes
    }

    /// The host itself failed on these attempts: they change nothing but the agents' reports. What
    /// serves is what was published last, whatever the fault came after.
    fn give_up(&self, shown: &[Shown]) -> Vec<Outcome> {
        let now = self.clock.now();
        let current = self.current.load();
        let broken = |shown: &Shown| LoadFailure::Broken { path: shown.component.clone() };
        let known = |shown: &Shown| {
            let entry = current.agent(&shown.key)?;
            Some((**entry).clone().failed(now, broken(shown)))
        };
        let next = current.with(shown.iter().filter_map(known).collect::<Vec<_>>(), []);
        self.publish(next);
        shown.iter().map(|shown| Outcome::Failed(broken(shown))).collect()
    }

    /// Says in log and counters how attempts ended.
    fn tell(&self, shown: &[Shown], outcomes: &[Outcome]) {
        let snapshot = self.current.load();
        for (shown, outcome) in shown.iter().zip(outcomes) {
            shown.tell(outcome, &snapshot);
            self.counts.count(outcome);
        }
    }

    /// Makes `next` what serves once `records` are on disk, and has components swept away if it names
    /// fewer than `current`. On an error nothing has changed.
    fn enact(
        &self,
        current: &Snapshot,
        next: Snapshot,
        records: &[(AgentKey, Record)],
    ) -> Result<(), LoadFailure> {
        // All that can fail comes first: between what is written and what serves is one swap.
        let next = self.ready(next);
        let freed = self.store.is_some() && {
            let needed = next.digests();
            current.digests().iter().any(|digest| !needed.contains(digest))
        };
        self.write(records)?;
        self.publish(next);
        if freed {
            self.loader.unneeded().notify_one();
        }
        Ok(())
    }

    /// Writes records down, if there is somewhere to.
    fn write(&self, records: &[(AgentKey, Record)]) -> Result<(), LoadFailure> {
        let Some(store) = self.store.as_ref().filter(|_| !records.is_empty()) else { return Ok(()) };
        let Err(error) = store.write(records.iter().map(|(key, record)| (key, record))) else {
            return Ok(());
        };
        // A write that fails at its end may be there all the same: what is on disk counts.
        let there = |known: BTreeMap<AgentKey, Record>| {
            records.iter().all(|(key, record)| known.get(key) == Some(record))
        };
        if store.records().is_ok_and(there) {
            tracing::warn!(%error, "writing what serves was reported as failed, and is on disk");
            return Ok(());
        }
        Err(LoadFailure::NotRecorded(Arc::new(error)))
    }

    /// The snapshot with routing prepared for each key.
    pub(super) fn ready(&self, next: Snapshot) -> Snapshot {
        for (tenant, scope) in self.scopes.load().iter() {
            next.candidates(tenant, scope);
        }
        next
    }

    /// Swaps the snapshot.
    pub(super) fn publish(&self, next: Snapshot) {
        self.current.store(Arc::new(next));
    }
}

impl Snapshot {
    /// The components that an agent may still need.
    pub(super) fn digests(&self) -> HashSet<Digest> {
        let named = |entry: &Arc<AgentEntry>| {
            // What a registered agent was given last is its file.
            let given = entry.config.component.file_name().filter(|_| entry.is_registered());
            let given = given.and_then(|name| Digest::from_hex(&name.to_string_lossy()));
            entry.record().digests().chain(given).collect::<Vec<_>>()
        };
        self.agents().flat_map(named).collect()
    }
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
