//! The one place where what serves changes: attempts in, the next snapshot out.
//!
//! Holds one lock from looking at the records to swapping the snapshot. The order is what makes a
//! crash harmless: a component is on disk before a record names it, a record is on disk before its
//! version serves.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::agent::AgentVersion;
use super::load::{LoadFailure, granted};
use super::record::{Candidate, Cause, Pending, Record, Ruling};
use super::snapshot::{AgentEntry, LoadReport, Snapshot};
use super::trial::{Bound, Trial};
use super::{Inner, Registry};
use crate::config::{AgentConfig, ReloadConfig};
use crate::domain::{AgentId, Digest};

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
    pub(super) removed: Vec<AgentId>,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It serves, as this generation.
    Live(u64),
    /// It is what served already.
    Same,
    /// It waits for the operator because it wants this: capabilities, another category.
    Waits(Vec<String>),
    /// It does not serve; what served serves on.
    Failed(LoadFailure),
    /// The agent's settings changed, or it was removed, while the attempt was made.
    Stale,
}

/// What a commit works on and leaves behind.
struct Draft<'a> {
    current: &'a Snapshot,
    retired: &'a BTreeMap<AgentId, Record>,
    config: &'a ReloadConfig,
    now: SystemTime,
    entries: BTreeMap<AgentId, AgentEntry>,
}

impl Registry {
    /// Rules on these attempts, in their order; writes down what follows, and publishes it at once.
    pub(super) async fn commit(&self, attempts: Vec<Attempt>, unity: Unity) -> Vec<Outcome> {
        let mut turn = self.inner.changing.clone().lock_owned().await;
        let (inner, current) = (self.inner.clone(), self.snapshot());
        // In a large fleet this takes a while, and it waits for the disk: not on the threads that answer.
        let commit = tokio::task::spawn_blocking(move || {
            let shown: Vec<_> = attempts.iter().map(Shown::of).collect();
            let rule = || {
                let (outcomes, next) = inner.rule(&current, &turn, attempts, unity);
                if let Some(next) = next {
                    inner.replace(&current, next);
                    inner.tell(&shown, &outcomes);
                }
                outcomes
            };
            let outcomes =
                catch_unwind(AssertUnwindSafe(rule)).unwrap_or_else(|_| inner.give_up(&current, &shown));
            // Whoever was removed and came back is remembered by its entry from now on.
            turn.retain(|id, _| inner.current.load().agent(id.as_str()).is_none());
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
        change: impl FnOnce(&Snapshot, &BTreeMap<AgentId, Record>) -> Amendment + Send + 'static,
    ) -> Result<Vec<AgentId>, LoadFailure> {
        let mut turn = self.inner.changing.clone().lock_owned().await;
        let (inner, current) = (self.inner.clone(), self.snapshot());
        let amend = tokio::task::spawn_blocking(move || {
            let Amendment { put: entries, removed } = change(&current, &turn);
            let gone: BTreeMap<AgentId, Record> = removed
                .iter()
                .filter_map(|id| current.agent(id.as_str()))
                .map(|entry| (entry.id.clone(), entry.record.removed()))
                .collect();
            let differs = |entry: &&AgentEntry| {
                current.agent(entry.id.as_str()).is_none_or(|old| !Arc::ptr_eq(&old.record, &entry.record))
            };
            let changed = entries.iter().filter(differs).map(|entry| (&entry.id, &*entry.record));
            inner.write(changed.chain(&gone))?;
            for entry in &entries {
                turn.remove(entry.id.as_str());
            }
            let removed: Vec<AgentId> = gone.keys().cloned().collect();
            turn.extend(gone);
            let next = current.with(entries, removed.iter().cloned());
            inner.replace(&current, next);
            Ok(removed)
        });
        amend.await.unwrap_or(Err(LoadFailure::Interrupted))
    }
}

impl Inner {
    /// Decides, and writes the decisions down. `None` where nothing changes.
    fn rule(
        &self,
        current: &Snapshot,
        retired: &BTreeMap<AgentId, Record>,
        attempts: Vec<Attempt>,
        unity: Unity,
    ) -> (Vec<Outcome>, Option<Snapshot>) {
        let config = self.reload.load();
        let now = self.clock.now();
        let mut draft = Draft { current, retired, config: &config, now, entries: BTreeMap::new() };
        let ids: Vec<_> = attempts.iter().map(|attempt| attempt.config.id.clone()).collect();
        let mut outcomes: Vec<Outcome> = attempts.into_iter().map(|attempt| draft.rule(attempt)).collect();
        let will_serve = |outcome: &Outcome| matches!(outcome, Outcome::Live(_) | Outcome::Same);
        let entries = draft.entries;
        if entries.is_empty() || (unity == Unity::AllOrNone && !outcomes.iter().all(will_serve)) {
            return (outcomes, None);
        }
        let differs = |entry: &AgentEntry| {
            current.agent(entry.id.as_str()).is_none_or(|old| old.record != entry.record)
        };
        let (changed, mut entries): (Vec<_>, Vec<_>) = entries.into_values().partition(differs);
        match self.write(changed.iter().map(|entry| (&entry.id, &*entry.record))) {
            Ok(()) => entries.extend(changed),
            Err(failure) => {
                // Nothing that had to be written takes effect, but the report of it.
                let changed: BTreeSet<AgentId> = changed.into_iter().map(|entry| entry.id).collect();
                for (id, outcome) in ids.iter().zip(&mut outcomes) {
                    if changed.contains(id) && !matches!(outcome, Outcome::Stale) {
                        *outcome = Outcome::Failed(failure.clone());
                    }
                }
                let known = changed.iter().filter_map(|id| current.agent(id.as_str()));
                entries.extend(known.map(|entry| (**entry).clone().failed(now, failure.clone())));
            }
        }
        (outcomes, Some(current.with(entries, [])))
    }

    /// The host itself failed on these attempts: they change nothing but the agents' reports.
    fn give_up(&self, current: &Snapshot, shown: &[Shown]) -> Vec<Outcome> {
        let now = self.clock.now();
        let broken = |shown: &Shown| LoadFailure::Broken { path: shown.component.clone() };
        let known = |shown: &Shown| {
            let entry = current.agent(shown.id.as_str())?;
            Some((**entry).clone().failed(now, broken(shown)))
        };
        let next = current.with(shown.iter().filter_map(known).collect::<Vec<_>>(), []);
        let outcomes: Vec<_> = shown.iter().map(|shown| Outcome::Failed(broken(shown))).collect();
        self.current.store(Arc::new(next));
        self.tell(shown, &outcomes);
        outcomes
    }

    /// Says in log and counters how attempts ended.
    fn tell(&self, shown: &[Shown], outcomes: &[Outcome]) {
        let snapshot = self.current.load();
        for (shown, outcome) in shown.iter().zip(outcomes) {
            shown.tell(outcome, &snapshot);
            self.counts.count(outcome);
        }
    }

    /// Writes records down, if there is somewhere to.
    fn write<'a>(&self, records: impl Iterator<Item = (&'a AgentId, &'a Record)>) -> Result<(), LoadFailure> {
        let mut records = records.peekable();
        match &self.store {
            Some(store) if records.peek().is_some() => {
                store.write(records).map_err(|error| LoadFailure::NotRecorded(Arc::new(error)))
            }
            _ => Ok(()),
        }
    }

    /// Swaps the snapshot, with routing prepared for each key.
    pub(super) fn publish(&self, next: Snapshot) {
        for scope in self.scopes.load().iter() {
            next.candidates(scope);
        }
        self.current.store(Arc::new(next));
    }

    /// Publishes `next`, and has components swept away if it names fewer than `current`.
    fn replace(&self, current: &Snapshot, next: Snapshot) {
        let freed = self.store.is_some() && {
            let needed = next.digests();
            current.digests().iter().any(|digest| !needed.contains(digest))
        };
        self.publish(next);
        if freed {
            self.loader.unneeded().notify_one();
        }
    }
}

/// Removes components that nothing needs any more, whenever there may be some, as long as the
/// registry is there.
pub(super) fn sweep_what_goes(registry: &Registry) {
    let unneeded = registry.inner.loader.unneeded();
    let inner = Arc::downgrade(&registry.inner);
    tokio::spawn(async move {
        loop {
            unneeded.notified().await;
            let Some(inner) = inner.upgrade() else { return };
            // What is being decided may name what nobody names now.
            let turn = inner.changing.clone().lock_owned().await;
            let sweep = move || {
                let mut needed = inner.current.load().digests();
                needed.extend(&inner.unread);
                inner.loader.sweep(needed);
                drop(turn);
            };
            if let Err(error) = tokio::task::spawn_blocking(sweep).await {
                tracing::error!(%error, "components that nothing needs could not be removed");
            }
        }
    });
}

impl Snapshot {
    /// The components that an agent may still need.
    fn digests(&self) -> HashSet<Digest> {
        let named = |entry: &Arc<AgentEntry>| {
            // What a registered agent was given last is its file.
            let given = entry.config.component.file_name().filter(|_| entry.is_registered());
            let given = given.and_then(|name| Digest::from_hex(&name.to_string_lossy()));
            entry.record.digests().chain(given).collect::<Vec<_>>()
        };
        self.agents().flat_map(named).collect()
    }
}

impl Draft<'_> {
    fn rule(&mut self, attempt: Attempt) -> Outcome {
        let Attempt { config, cause, basis, began, digest, result } = attempt;
        let id = &config.id;
        let standing = self.entries.get(id).or_else(|| self.current.agent(id.as_str()).map(|entry| &**entry));
        let (entry, registered) = match (standing, basis) {
            (Some(entry), Basis::Standing) if Arc::ptr_eq(&entry.config, &config) => (entry.clone(), None),
            (Some(entry), Basis::Registered { settings, over: Some(over) })
                if Arc::ptr_eq(&entry.config, &over) =>
            {
                (entry.clone(), Some(settings))
            }
            (None, Basis::Registered { settings, over: None }) => {
                let record = self.retired.get(id.as_str()).cloned().unwrap_or_default();
                (AgentEntry::loading(config.clone(), Arc::new(record)), Some(settings))
            }
            _ => return Outcome::Stale,
        };
        if let Cause::RolledBack { from, .. } = &cause
            && entry.record.serving.as_ref().is_none_or(|serving| serving.digest != *from)
        {
            return Outcome::Stale;
        }
        if let (Cause::Approved(_), Some(digest)) = (&cause, &digest)
            && !entry.record.waits(digest)
        {
            // Another version waits by now, and the operator has not seen it.
            return Outcome::Stale;
        }
        let report = |failure| LoadReport {
            at: self.now,
            took: began.elapsed(),
            digest,
            failure,
            failing_since: None,
        };
        let version = match result {
            Ok(version) => version,
            Err(failure) => {
                return self.refuse(entry, registered.is_some(), report(Some(failure.clone())), failure);
            }
        };
        let mut approved = entry.record.approved.clone();
        if let Cause::Approved(capabilities) = &cause {
            approved.extend(capabilities.iter().cloned());
        }
        if config.fingerprint(&granted(&config, &approved)) != version.settings {
            // Something was approved since the version was made: it would serve without.
            return Outcome::Stale;
        }
        let candidate = candidate(&version, &config);
        let keep = self.config.keep_versions as usize;
        let adopt = |mut entry: AgentEntry, record: &mut Record| {
            entry.config = config.clone();
            if let Some(settings) = &registered {
                record.registered = Some(settings.to_string());
            }
            entry
        };
        match entry.record.judge(&candidate, &cause, keep, self.now) {
            Ruling::Same(mut record) => {
                let entry = adopt(entry, &mut record);
                let resumed = cause == Cause::Resumed;
                let entry = match (&entry.version, &record.serving) {
                    (None, Some(serving)) => {
                        let version = version.in_category(serving.category.as_deref());
                        let version = AgentVersion { generation: serving.generation, ..version };
                        let version = Arc::new(AgentVersion { loaded_at: serving.since, ..version });
                        entry.serving(version, record)
                    }
                    _ => AgentEntry { record: Arc::new(record), ..entry },
                };
                // What was resumed is not what was asked for: its report stays.
                let entry = if resumed { entry } else { entry.loaded(report(None)) };
                self.entries.insert(entry.id.clone(), entry);
                Outcome::Same
            }
            Ruling::Live(mut record) => {
                let entry = adopt(entry, &mut record);
                let generation = record.generation;
                let trial = match &entry.version {
                    // Under other settings it is the same code: what it did so far counts.
                    Some(old) if old.digest == candidate.digest => old.trial.clone(),
                    _ => Arc::new(Trial::under(self.bound(&entry, &cause))),
                };
                // As the record has it, so that it is the same after a restart.
                let loaded_at = self.now;
                let category = record.serving.as_ref().and_then(|serving| serving.category.as_deref());
                let version = version.in_category(category);
                let version = Arc::new(AgentVersion { generation, trial, loaded_at, ..version });
                let resumed = cause == Cause::Resumed;
                let entry = entry.serving(version, record);
                let entry = if resumed { entry } else { entry.loaded(report(None)) };
                self.entries.insert(entry.id.clone(), entry);
                Outcome::Live(generation)
            }
            Ruling::Waits(mut record) => {
                let entry = adopt(entry, &mut record);
                let wants = record.pending.as_ref().map(Pending::wants_in_words).unwrap_or_default();
                let entry = AgentEntry { record: Arc::new(record), ..entry }.loaded(report(None));
                self.entries.insert(entry.id.clone(), entry);
                Outcome::Waits(wants)
            }
            Ruling::Blocked(reason) => {
                let failure = LoadFailure::TakenBack {
                    path: config.component.display().to_string(),
                    agent: config.id.to_string(),
                    reason,
                };
                self.refuse(entry, registered.is_some(), report(Some(failure.clone())), failure)
            }
        }
    }

    /// What served serves on; the failure stands on the agent's page, unless it is the answer to
    /// whoever registers.
    fn refuse(
        &mut self,
        entry: AgentEntry,
        registers: bool,
        report: LoadReport,
        failure: LoadFailure,
    ) -> Outcome {
        if !registers {
            let entry = entry.loaded(report);
            self.entries.insert(entry.id.clone(), entry);
        }
        Outcome::Failed(failure)
    }

    /// When the new version is taken back, if it is to be watched at all: other code than what
    /// served, in the place of code that did well.
    fn bound(&self, entry: &AgentEntry, cause: &Cause) -> Option<Bound> {
        let old = entry.version.as_ref()?;
        let watched = matches!(cause, Cause::Proposed | Cause::Approved(_)) && old.trial.is_fine(self.config);
        if watched { Bound::new(self.config) } else { None }
    }
}

/// What the records need to know of a version.
pub(super) fn candidate(version: &AgentVersion, config: &AgentConfig) -> Candidate {
    let ungranted = version.capabilities.iter().filter(|(_, granted)| !**granted);
    Candidate {
        digest: version.digest,
        settings: version.settings,
        version: version.card.version.to_string(),
        capabilities: version.capabilities.keys().map(|name| (*name).to_owned()).collect(),
        ungranted: ungranted.map(|(name, _)| (*name).to_owned()).collect(),
        // The settings' word is the operator's: there is nothing to ask.
        category: config.overlay.category.is_none().then(|| version.card.category.clone()),
    }
}

/// What the log says of an attempt.
struct Shown {
    id: AgentId,
    component: String,
    digest: Option<Digest>,
    cause: Cause,
    began: Instant,
}

impl Shown {
    fn of(attempt: &Attempt) -> Self {
        Self {
            id: attempt.config.id.clone(),
            component: attempt.config.component.display().to_string(),
            digest: attempt.digest,
            cause: attempt.cause.clone(),
            began: attempt.began,
        }
    }

    fn tell(&self, outcome: &Outcome, next: &Snapshot) {
        let agent = &self.id;
        let ms = self.began.elapsed().as_millis() as u64;
        let version = next.agent(agent.as_str()).and_then(|entry| entry.version.as_ref());
        match (outcome, version) {
            (Outcome::Live(generation), Some(version)) => {
                if let Cause::RolledBack { from, reason } = &self.cause {
                    tracing::warn!(%agent, %from, to = %version.digest, reason, generation, "agent was rolled back");
                }
                tracing::info!(%agent, version = %version.card.version, generation, digest = %version.digest, ms, "agent is live");
                for (capability, _) in version.capabilities.iter().filter(|(_, granted)| !**granted) {
                    tracing::warn!(%agent, capability, "agent imports a capability that it is not granted; calls to it are refused until agents.toml has `[agents.{agent}.grants] {capability} = true`");
                }
            }
            (Outcome::Same, Some(version)) => {
                tracing::debug!(%agent, version = %version.card.version, generation = version.generation, digest = %version.digest, ms, "agent serves as before");
            }
            (Outcome::Waits(wants), _) => {
                let digest = self.digest.map(|digest| digest.to_string());
                tracing::warn!(%agent, digest, wants = wants.join(", "), "agent waits for approval: its new version wants what its agent does not have; `stockade approve {agent}` lets it in, or agents.toml that says so");
            }
            (Outcome::Failed(failure), _) => {
                tracing::error!(%agent, component = self.component, reason = %failure, "agent was not loaded");
            }
            (Outcome::Stale, _) => tracing::debug!(%agent, "a load was overtaken"),
            (Outcome::Live(_) | Outcome::Same, None) => {}
        }
    }
}
