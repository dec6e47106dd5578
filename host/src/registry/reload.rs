//! What makes attempts: the start, a file that changed, other settings, an operator's word, a
//! version that fails.
//!
//! Everything slow happens here, outside the lock of `commit`: reading, compiling, describing.
//! What reads a file holds that file's turn until its attempt is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::FutureExt;
use tokio::sync::mpsc;

use super::agent::AgentVersion;
use super::commit::{Amendment, Attempt, Basis, Outcome, Unity, candidate};
use super::load::{LoadFailure, Prepared};
use super::record::{Cause, Record, Ruling};
use super::snapshot::{AgentEntry, Snapshot};
use super::{Inner, Registry};
use crate::config::{AgentConfig, ReloadConfig};
use crate::domain::{AgentId, AgentScope, Digest, Failure};

/// Attempts that are published together at the most: a batch costs one snapshot.
const PUBLISH_BATCH: usize = 1024;

/// The largest fleet whose examples are learned ahead. In a larger one the router learns about
/// agents as tasks come near them: some milliseconds, once for each.
const LEARN_AHEAD: usize = 500;

/// Agents of one component that are prepared before they are handed over for publishing.
const GROUP: usize = 256;

/// Why an operator's word changed nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    /// There is no such agent.
    #[error("there is no agent `{0}`")]
    Unknown(AgentId),
    /// Nothing of it waits, nor was anything taken back.
    #[error("nothing of agent `{0}` waits for approval, and none of its versions was taken back")]
    NothingWaits(AgentId),
    /// There is no earlier version.
    #[error("no earlier version of agent `{0}` is kept: there is nothing to go back to")]
    NoEarlierVersion(AgentId),
    /// It is registered in agents.toml.
    #[error("agent `{0}` is of agents.toml: change it there")]
    OfTheFile(AgentId),
    /// The version that was meant cannot serve.
    #[error("{0}")]
    Failed(LoadFailure),
    /// Something else changed the agent at the same time.
    #[error("agent `{0}` was changed by somebody else at the same time; look at it, and try again")]
    Overtaken(AgentId),
}

/// What changed from one agents.toml to the next, for the registry.
#[derive(Debug)]
pub struct SettingsChange {
    /// Agents that are new, or that are said something else of.
    pub put: Vec<Arc<AgentConfig>>,
    /// Agents that were registered at run time, and whose settings mean something else now.
    pub registered: Vec<Arc<AgentConfig>>,
    /// Agents that are gone.
    pub removed: Vec<AgentId>,
}

impl SettingsChange {
    /// Whether nothing has to change.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.registered.is_empty() && self.removed.is_empty()
    }
}

/// A version that failed its trial.
pub(super) struct FailedTrial {
    agent: AgentId,
    digest: Digest,
    reason: String,
}

/// Whose turn it is to read a file, and whether it changed again since.
#[derive(Default)]
pub(super) struct Turn {
    holder: tokio::sync::Mutex<()>,
    asked: AtomicBool,
}

impl Registry {
    /// Loads these agents side by side, publishing each as it is ready or has failed; returns
    /// when the last one is.
    pub async fn load(&self, agents: impl IntoIterator<Item = Arc<AgentConfig>>) {
        let began = Instant::now();
        let mut groups: BTreeMap<PathBuf, Vec<Arc<AgentConfig>>> = BTreeMap::new();
        for config in agents {
            groups.entry(config.component.clone()).or_default().push(config);
        }
        let (sender, mut receiver) = mpsc::unbounded_channel();
        for (path, configs) in groups {
            let (registry, sender) = (self.clone(), sender.clone());
            tokio::spawn(async move {
                let turn = registry.turn(&path);
                let _turn = turn.holder.lock().await;
                let component = registry.inner.loader.file(&path).await;
                // The channel is bounded by the number of agents.
                let (done, wait) = tokio::sync::oneshot::channel::<()>();
                let done = Arc::new(done);
                for configs in configs.chunks(GROUP) {
                    let mut attempts = Vec::new();
                    for config in configs {
                        attempts.extend(registry.attempts(config, &component, began).await);
                    }
                    // The receiver is gone only when the host stops loading altogether.
                    let _ = sender.send((attempts, done.clone()));
                }
                drop(done);
                // The turn is over when everything is committed.
                let _ = wait.await;
            });
        }
        drop(sender);
        let (mut batch, mut again) = (Vec::new(), BTreeSet::new());
        while receiver.recv_many(&mut batch, PUBLISH_BATCH.div_ceil(GROUP) * GROUP).await > 0 {
            let began = Instant::now();
            let (attempts, done): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
            let left = self.commit_each(attempts.into_iter().flatten().collect()).await;
            again.extend(left.into_iter().map(|config| config.component.clone()));
            drop(done);
            // The next batch gathers for as long as this one took: a fleet of any size spends
            // at most half of its time on snapshots.
            tokio::time::sleep(began.elapsed()).await;
        }
        for path in again {
            self.file_changed(&path).await;
        }
        self.inner.loader.unneeded().notify_one();
        self.learn_ahead();
    }

    /// Commits attempts; returns the settings of agents of which an attempt was overtaken by an
    /// operator's word, so that another has to be made. Other settings bring their own.
    async fn commit_each(&self, attempts: Vec<Attempt>) -> Vec<Arc<AgentConfig>> {
        let mut configs: Vec<_> = attempts.iter().map(|attempt| attempt.config.clone()).collect();
        let outcomes = self.commit(attempts, Unity::Each).await;
        let mut stale = outcomes.iter().map(|outcome| matches!(outcome, Outcome::Stale));
        configs.retain(|config| {
            let stands = |entry: Arc<AgentEntry>| Arc::ptr_eq(&entry.config, config);
            stale.next().unwrap_or_default() && self.entry(&config.id).is_ok_and(stands)
        });
        configs.dedup_by(|one, other| one.id == other.id);
        configs
    }

    /// Loads every agent that there is.
    pub async fn load_all(&self) {
        let agents: Vec<_> = self.snapshot().agents().map(|entry| entry.config.clone()).collect();
        self.load(agents).await;
    }

    /// Loads the component in `path` for its agents, because it may have changed. Returns when what
    /// was there at the call, or something later, has been ruled on.
    pub async fn file_changed(&self, path: &Path) {
        let turn = self.turn(path);
        turn.asked.store(true, Ordering::Release);
        let began = Instant::now();
        let held = turn.holder.lock().await;
        // Whoever held the turn before may have read the file after this call.
        if turn.asked.swap(false, Ordering::AcqRel) {
            let configs: Vec<_> = self.snapshot().agents().map(|entry| entry.config.clone()).collect();
            let mine: Vec<_> = configs.into_iter().filter(|config| config.component == path).collect();
            if !mine.is_empty() {
                let component = self.inner.loader.file(path).await;
                let mut left = mine;
                while !left.is_empty() {
                    let mut attempts = Vec::new();
                    for config in &left {
                        attempts.extend(self.attempts(config, &component, began).await);
                    }
                    left = self.commit_each(attempts).await;
                }
                self.learn_ahead();
            }
        }
        drop(held);
        drop(turn);
        self.inner.reading.lock().retain(|_, turn| Arc::strong_count(turn) > 1);
    }

    /// Takes other settings of agents into effect; what they need is loaded before it returns.
    ///
    /// # Errors
    /// If it cannot be written down. Nothing has changed then.
    pub async fn settings_changed(&self, change: SettingsChange) -> Result<(), LoadFailure> {
        let SettingsChange { put, registered, removed } = change;
        // One that the file names from now on is the file's.
        let registered: Vec<_> =
            registered.into_iter().filter(|config| !put.iter().any(|named| named.id == config.id)).collect();
        let named: BTreeSet<AgentId> = put.iter().map(|config| config.id.clone()).collect();
        let put: Vec<_> = put.into_iter().chain(registered).collect();
        let entries = put.clone();
        let amendment = move |current: &Snapshot, retired: &BTreeMap<AgentId, Record>| {
            let place = |config: &Arc<AgentConfig>| match current.agent(config.id.as_str()) {
                // It was removed or named meanwhile: these settings are not its own any more.
                entry if !named.contains(&config.id) && !entry.is_some_and(|entry| entry.is_registered()) => {
                    None
                }
                Some(entry) => {
                    let mut entry = AgentEntry { config: config.clone(), ..(**entry).clone() };
                    if entry.record.registered.is_some() && named.contains(&config.id) {
                        // The file names it from now on.
                        entry.record = Arc::new(Record { registered: None, ..(*entry.record).clone() });
                    }
                    Some(entry)
                }
                None => {
                    let record = retired.get(config.id.as_str()).cloned().unwrap_or_default();
                    Some(AgentEntry::loading(config.clone(), Arc::new(record)))
                }
            };
            let of_the_file =
                |id: &AgentId| current.agent(id.as_str()).is_some_and(|entry| !entry.is_registered());
            let removed = removed.into_iter().filter(of_the_file).collect();
            Amendment { put: entries.iter().filter_map(place).collect(), removed }
        };
        for id in self.amend(amendment).await? {
            tracing::info!(agent = %id, "agent removed");
        }
        self.load(put).await;
        Ok(())
    }

    /// Lets in what waits, or what was taken back.
    ///
    /// # Errors
    /// [`ChangeError`] says why nothing changed.
    pub async fn approve(&self, id: &AgentId) -> Result<Arc<AgentEntry>, ChangeError> {
        let began = Instant::now();
        let entry = self.entry(id)?;
        let record = &entry.record;
        // Of several that were taken back, the one that came again last.
        let last = entry.last_load.as_ref().and_then(|report| report.digest);
        let blocked = last.and_then(|digest| record.blocked(&digest)).or(record.blocked.first());
        let (digest, wants) = match (&record.pending, blocked) {
            (Some(pending), _) => (pending.digest, pending.wants.clone()),
            (None, Some(blocked)) => (blocked.digest, Vec::new()),
            (None, None) => return Err(ChangeError::NothingWaits(id.clone())),
        };
        // What was taken back may be gone from the store: then it comes from its file.
        let prepared = match self.inner.loader.stored(&digest).await {
            Ok(prepared) => prepared,
            Err(_) => match self.inner.loader.file(&entry.config.component).await {
                Ok(prepared) if prepared.digest() == digest => prepared,
                Ok(_) => return Err(ChangeError::NothingWaits(id.clone())),
                Err(failure) => return Err(ChangeError::Failed(failure)),
            },
        };
        let wants: BTreeSet<String> = wants.into_iter().collect();
        let approved = record.approved.union(&wants).cloned().collect();
        let result = self.inner.loader.agent(&entry.config, &approved, &prepared).await;
        self.settle(id, self.attempt(&entry.config, Cause::Approved(wants), Some(digest), result, began))
            .await
    }

    /// Brings the version back that served before this one, and keeps this one out.
    ///
    /// # Errors
    /// [`ChangeError`] says why nothing changed.
    pub async fn rollback(&self, id: &AgentId, reason: &str) -> Result<Arc<AgentEntry>, ChangeError> {
        let entry = self.entry(id)?;
        let none = || ChangeError::NoEarlierVersion(id.clone());
        let from = entry.record.serving.as_ref().ok_or_else(none)?.digest;
        self.go_back(&entry, from, reason).await
    }

    async fn go_back(
        &self,
        entry: &AgentEntry,
        from: Digest,
        reason: &str,
    ) -> Result<Arc<AgentEntry>, ChangeError> {
        let began = Instant::now();
        let mut last = ChangeError::NoEarlierVersion(entry.id.clone());
        for release in &entry.record.previous {
            let loader = &self.inner.loader;
            let version = match loader.stored(&release.digest).await {
                Ok(prepared) => loader.agent(&entry.config, &entry.record.approved, &prepared).await,
                Err(failure) => Err(failure),
            };
            match version {
                Ok(version) => {
                    let cause = Cause::RolledBack { from, reason: reason.to_owned() };
                    let attempt =
                        self.attempt(&entry.config, cause, Some(release.digest), Ok(version), began);
                    return self.settle(&entry.id, attempt).await;
                }
                Err(failure) => last = ChangeError::Failed(failure),
            }
        }
        Err(last)
    }

    /// Commits one attempt of an operator's.
    async fn settle(&self, id: &AgentId, attempt: Attempt) -> Result<Arc<AgentEntry>, ChangeError> {
        match self.commit(vec![attempt], Unity::Each).await.pop() {
            Some(Outcome::Live(_) | Outcome::Same | Outcome::Waits(_)) => {
                self.learn_ahead();
                self.entry(id)
            }
            Some(Outcome::Failed(failure)) => Err(ChangeError::Failed(failure)),
            Some(Outcome::Stale) => Err(ChangeError::Overtaken(id.clone())),
            None => Err(ChangeError::Failed(LoadFailure::Interrupted)),
        }
    }

    /// How a call of `version` ended: a version whose first calls fail is taken back.
    pub fn ended(&self, version: &AgentVersion, failure: Option<&Failure>) {
        if !failure.is_some_and(Failure::is_the_codes) {
            version.trial.ended_well();
            return;
        }
        if version.trial.ended_badly() && self.inner.reload.load().rollback {
            let (calls, faults) = version.trial.counts();
            let code = failure.map_or("", Failure::code);
            let reason = format!("{faults} of its first {calls} calls failed, the last one with {code}");
            let failed = FailedTrial { agent: version.id.clone(), digest: version.digest, reason };
            if self.inner.failing.try_send(failed).is_err() {
                version.trial.was_not_heard();
                tracing::error!(agent = %version.id, "too many versions fail at once: this one is taken back at its next fault");
            }
        }
    }

    /// Other settings of reloading, from the next load on.
    pub fn set_reload(&self, config: ReloadConfig) {
        self.inner.reload.store(Arc::new(config));
    }

    /// Other scopes that keys have.
    pub fn set_scopes(&self, scopes: Vec<AgentScope>) {
        self.inner.scopes.store(Arc::new(scopes));
        self.learn_ahead();
    }

    /// Other settings of the router.
    pub async fn set_router(&self, settings: stockade_router::Settings) {
        let _turn = self.inner.changing.clone().lock_owned().await;
        let inner = self.inner.clone();
        let build = move || inner.publish(inner.current.load().routed_by(settings));
        if let Err(error) = tokio::task::spawn_blocking(build).await {
            tracing::error!(%error, "the router could not be built anew; the last one stays");
        }
        self.learn_ahead();
    }

    pub(super) fn entry(&self, id: &AgentId) -> Result<Arc<AgentEntry>, ChangeError> {
        self.snapshot().agent(id.as_str()).cloned().ok_or_else(|| ChangeError::Unknown(id.clone()))
    }

    fn turn(&self, path: &Path) -> Arc<Turn> {
        self.inner.reading.lock().entry(path.to_owned()).or_default().clone()
    }

    /// What becomes of an agent whose component's file is this one now: one attempt, and where that
    /// will not serve, a second one with the code that served last, if it does not under these
    /// settings already.
    async fn attempts(
        &self,
        config: &Arc<AgentConfig>,
        component: &Result<Arc<Prepared>, LoadFailure>,
        began: Instant,
    ) -> Vec<Attempt> {
        let Ok(entry) = self.entry(&config.id) else { return Vec::new() };
        let record = &entry.record;
        let loader = &self.inner.loader;
        let (digest, result) = match component {
            Ok(prepared) => {
                let path = || config.component.display().to_string();
                // What serves has passed its tests before.
                let new = record.serving.as_ref().is_none_or(|last| last.digest != prepared.digest());
                let load = async {
                    let version = loader.agent(config, &record.approved, prepared).await?;
                    if new {
                        loader.self_test(config, prepared).await?;
                    }
                    Ok(version)
                };
                let broken = |_| Err(LoadFailure::Broken { path: path() });
                let result = AssertUnwindSafe(load).catch_unwind().await.unwrap_or_else(broken);
                (Some(prepared.digest()), result)
            }
            Err(failure) => (None, Err(failure.clone())),
        };
        let will_serve = result.as_ref().is_ok_and(|version| {
            let now = self.inner.clock.now();
            let ruling = record.judge(&candidate(version, config), &Cause::Proposed, 0, now);
            matches!(ruling, Ruling::Live(_) | Ruling::Same(_))
        });
        let mut attempts = vec![self.attempt(config, Cause::Proposed, digest, result, began)];
        let Some(last) = record.serving.as_ref().filter(|_| !will_serve && self.inner.store.is_some()) else {
            return attempts;
        };
        let version = match loader.stored(&last.digest).await {
            Ok(prepared) => loader.agent(config, &record.approved, &prepared).await,
            Err(failure) => Err(failure),
        };
        let serving = entry.version.as_ref();
        match version {
            Ok(version) if serving.is_some_and(|serving| serving.settings == version.settings) => {}
            Ok(version) => {
                attempts.push(self.attempt(config, Cause::Resumed, Some(last.digest), Ok(version), began));
            }
            Err(failure) => {
                tracing::error!(agent = %config.id, digest = %last.digest, reason = %failure, "what served last cannot serve under these settings");
            }
        }
        attempts
    }

    pub(super) fn attempt(
        &self,
        config: &Arc<AgentConfig>,
        cause: Cause,
        digest: Option<Digest>,
        result: Result<AgentVersion, LoadFailure>,
        began: Instant,
    ) -> Attempt {
        Attempt { config: config.clone(), cause, basis: Basis::Standing, began, digest, result }
    }

    /// Lets the router learn from all examples now, in the background; what a task needs before
    /// that is done is learned as it comes.
    pub(super) fn learn_ahead(&self) {
        let (snapshot, scopes) = (self.snapshot(), self.inner.scopes.load_full());
        if snapshot.agents().len() <= LEARN_AHEAD {
            tokio::task::spawn_blocking(move || {
                scopes.iter().for_each(|scope| snapshot.candidates(scope).warm());
            });
        }
    }
}

/// Takes back each version that fails its trial, as long as the registry is there.
pub(super) fn take_back_what_fails(registry: &Registry, mut failed: mpsc::Receiver<FailedTrial>) {
    let inner = Arc::downgrade(&registry.inner);
    tokio::spawn(async move {
        while let Some(FailedTrial { agent, digest, reason }) = failed.recv().await {
            let Some(inner): Option<Arc<Inner>> = inner.upgrade() else { return };
            Registry { inner }.take_back(&agent, digest, &reason).await;
        }
    });
}

impl Registry {
    /// Takes `digest` back, if it serves still.
    async fn take_back(&self, agent: &AgentId, digest: Digest, reason: &str) {
        loop {
            let Ok(entry) = self.entry(agent) else { return };
            if entry.record.serving.as_ref().is_none_or(|serving| serving.digest != digest) {
                return;
            }
            match self.go_back(&entry, digest, reason).await {
                Ok(_) => return,
                // Other settings, most likely: they change nothing about the code.
                Err(ChangeError::Overtaken(_)) => {}
                Err(error) => {
                    tracing::error!(%agent, %digest, reason, %error, "a version that fails cannot be taken back");
                    return;
                }
            }
        }
    }
}
