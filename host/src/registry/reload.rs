//! What makes attempts: the start, a file that changed, other settings, an operator's decision, a
//! version that fails.
//!
//! Everything slow happens here, outside the lock of `commit`: reading, compiling, describing.
//! What reads a file holds that file's lock until its attempt is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::FutureExt;
use tokio::sync::mpsc;

use super::Registry;
use super::agent::LoadedVersion;
use super::change::{Change, ChangedBy};
use super::commit::{Amendment, Atomicity, Committed};
use super::draft::{Attempt, Basis};
use super::load::{LoadFailure, PreparedComponent};
use super::outcome::Outcome;
use super::record::{Admission, Cause, Record};
use super::retired::Retired;
use super::snapshot::{AgentEntry, Snapshot};
use super::versions::ChangeError;
use crate::config::{AgentConfig, ReloadConfig};
use crate::domain::{AgentKey, AgentScope, Digest, TenantId};
use crate::telemetry::event::Event;

/// Attempts that are published together at the most: a batch costs one snapshot.
const PUBLISH_BATCH: usize = 1024;

/// The largest fleet whose examples are learned ahead. In a larger one the router learns about
/// agents as tasks come near them: some milliseconds, once for each.
const LEARN_AHEAD: usize = 500;

/// Agents of one component that are prepared before they are handed over for publishing.
const GROUP: usize = 256;

/// What changed from one agents.toml to the next, for the registry.
#[derive(Debug)]
pub struct SettingsChange {
    /// Agents that are new, or whose settings changed.
    pub put: Vec<Arc<AgentConfig>>,
    /// Agents that were registered at run time, and whose settings mean something else now.
    pub registered: Vec<Arc<AgentConfig>>,
    /// Agents that are gone.
    pub removed: Vec<AgentKey>,
}

impl SettingsChange {
    /// Whether nothing has to change.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.registered.is_empty() && self.removed.is_empty()
    }
}

/// Held by whoever reads a file for its agents; and whether it changed again since.
#[derive(Default)]
pub(super) struct FileLock {
    reading: tokio::sync::Mutex<()>,
    changed: AtomicBool,
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
                let lock = registry.file_lock(&path);
                let _reading = lock.reading.lock().await;
                let component = registry.read(&path).await;
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
                // The file is locked until everything is committed.
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
    /// operator's decision, so that another has to be made. Other settings bring their own.
    async fn commit_each(&self, attempts: Vec<Attempt>) -> Vec<Arc<AgentConfig>> {
        let mut configs: Vec<_> = attempts.iter().map(|attempt| attempt.config.clone()).collect();
        let committed = self.commit(attempts, Atomicity::Independent).await;
        let stale: Vec<_> = committed.iter().map(|one| matches!(one.outcome, Outcome::Stale)).collect();
        let mut stale = stale.into_iter();
        let live = configs.iter().zip(committed).filter(|(_, one)| matches!(one.outcome, Outcome::Live(_)));
        let changes = live.map(|(config, Committed { before, after, .. })| Change {
            key: config.key.clone(),
            by: ChangedBy::File,
            before,
            after,
        });
        self.note_changes(changes.collect());
        configs.retain(|config| {
            let stands = |entry: Arc<AgentEntry>| Arc::ptr_eq(entry.latest_config(), config);
            stale.next().unwrap_or_default() && self.entry(&config.key).is_ok_and(stands)
        });
        configs.dedup_by(|one, other| one.key == other.key);
        configs
    }

    /// Loads every agent that there is.
    pub async fn load_all(&self) {
        let agents: Vec<_> = self.snapshot().agents().map(|entry| entry.latest_config().clone()).collect();
        self.load(agents).await;
        self.inner.started.store(true, Ordering::Release);
    }

    /// Whether the start is over: every agent that there was then is loaded, or was reported as failed.
    /// It stays over, whatever comes later.
    pub fn has_started(&self) -> bool {
        let started = &self.inner.started;
        let now = started.load(Ordering::Acquire) || self.snapshot().settled();
        if now {
            started.store(true, Ordering::Release);
        }
        now
    }

    /// The start is over, whoever is still loading: agents that take too long keep no others waiting.
    pub fn start_is_over(&self) {
        self.inner.started.store(true, Ordering::Release);
    }

    /// Loads the component in `path` for its agents, because it may have changed. Returns when what
    /// was there at the call, or something later, has been decided.
    pub async fn file_changed(&self, path: &Path) {
        let lock = self.file_lock(path);
        lock.changed.store(true, Ordering::Release);
        let began = Instant::now();
        let reading = lock.reading.lock().await;
        // Whoever held the lock before may have read the file after this call.
        if lock.changed.swap(false, Ordering::AcqRel) {
            let configs: Vec<_> =
                self.snapshot().agents().map(|entry| entry.latest_config().clone()).collect();
            let mine: Vec<_> = configs.into_iter().filter(|config| config.component == path).collect();
            if !mine.is_empty() {
                let component = self.read(path).await;
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
        drop(reading);
        drop(lock);
        self.inner.reading.lock().retain(|_, lock| Arc::strong_count(lock) > 1);
    }

    /// Takes at once what needs no loading of other settings of agents: who is removed goes, and rights
    /// that are withdrawn end. Returns what has to be loaded for the rest.
    ///
    /// # Errors
    /// If it cannot be written down. What is withdrawn is withdrawn all the same, as the next start would do
    /// it; nothing else has changed then.
    pub async fn settings_changed(
        &self,
        change: SettingsChange,
    ) -> Result<Vec<Arc<AgentConfig>>, LoadFailure> {
        let now = self.inner.clock.now();
        let SettingsChange { put, registered, removed } = change;
        // One that the file names from now on is the file's.
        let registered: Vec<_> = registered
            .into_iter()
            .filter(|config| !put.iter().any(|named| named.key == config.key))
            .collect();
        let named: BTreeSet<AgentKey> = put.iter().map(|config| config.key.clone()).collect();
        let put: Vec<_> = put.into_iter().chain(registered).collect();
        let entries = put.clone();
        let withdrawn = (put.clone(), removed.clone());
        let touches: Vec<_> = put.iter().map(|config| &config.key).chain(&removed).cloned().collect();
        let store = self.inner.store.clone();
        let amendment = move |current: &Snapshot, retired: &Retired| {
            let place = |config: &Arc<AgentConfig>| match current.agent(&config.key) {
                // It was removed or named meanwhile: these settings are not its own any more.
                entry
                    if !named.contains(&config.key) && !entry.is_some_and(|entry| entry.is_registered()) =>
                {
                    None
                }
                Some(entry) => {
                    let mut entry = (**entry).clone();
                    if entry.is_registered() && named.contains(&config.key) {
                        // The file names it from now on.
                        let record = (**entry.record()).clone();
                        let under = record.registered.clone();
                        entry = entry.with_record(Record { registered: None, under, ..record });
                    }
                    let kept = store.as_ref().and_then(|store| store.digest_at(&entry.config.component));
                    Some(entry.with_latest_config(config, kept, now))
                }
                None => {
                    let record = retired.of_the_file(&config.key);
                    Some(AgentEntry::loading(config.clone(), Arc::new(record)))
                }
            };
            let of_the_file = |key: &AgentKey| current.agent(key).is_some_and(|entry| !entry.is_registered());
            let removed = removed.into_iter().filter(of_the_file).collect();
            Amendment { put: entries.iter().filter_map(place).collect(), removed }
        };
        match self.amend(touches, amendment).await {
            Ok(removed) => {
                for entry in removed {
                    let AgentKey { tenant, id: agent } = &entry.key;
                    tracing::info!(name: Event::AgentRemoved.name(), %tenant, %agent, "agent removed");
                }
                Ok(put)
            }
            Err(failure) => {
                let (put, removed) = withdrawn;
                self.withdraw(put, removed).await;
                Err(failure)
            }
        }
    }

    /// Takes away what these settings withdraw, without writing anything down: a right that ends waits for no
    /// disk.
    async fn withdraw(&self, put: Vec<Arc<AgentConfig>>, removed: Vec<AgentKey>) {
        let keys = put.iter().map(|config| &config.key).chain(&removed).cloned();
        let own = self.inner.reservations.reserve(keys).await;
        let inner = self.inner.clone();
        let withdraw = move || {
            let now = inner.clock.now();
            inner.change_now(|current| {
                let of_the_file = |key: &AgentKey| current.agent(key).filter(|entry| !entry.is_registered());
                let gone: Vec<_> = removed.iter().filter_map(of_the_file).collect();
                let fewer = put.iter().filter_map(|config| {
                    let entry = current.agent(&config.key)?;
                    (**entry).clone().without_withdrawn_rights(config)
                });
                let keys = gone.iter().map(|entry| entry.key.clone());
                let next = current.with(fewer.collect::<Vec<_>>(), keys);
                let mut retired = inner.retired.write();
                for entry in gone {
                    retired.insert(entry.key.clone(), entry.record().removed(now));
                }
                next
            });
            drop(own);
        };
        if let Err(error) = tokio::task::spawn_blocking(withdraw).await {
            tracing::error!(%error, "rights that end could not be withdrawn");
        }
    }

    /// Other settings of reloading, from the next load on.
    pub fn set_reload(&self, config: ReloadConfig) {
        self.inner.reload.store(Arc::new(config));
    }

    /// Other scopes that keys have, each with its tenant.
    pub fn set_scopes(&self, scopes: Vec<(TenantId, AgentScope)>) {
        self.inner.scopes.store(Arc::new(scopes));
        self.learn_ahead();
    }

    /// Other settings of the router.
    pub async fn set_router(&self, settings: stockade_router::Settings) {
        let inner = self.inner.clone();
        let build = move || inner.change_now(|current| current.routed_by(settings));
        if let Err(error) = tokio::task::spawn_blocking(build).await {
            tracing::error!(%error, "the router could not be built again; the previous one stays in use");
        }
        self.learn_ahead();
    }

    pub(super) fn entry(&self, key: &AgentKey) -> Result<Arc<AgentEntry>, ChangeError> {
        self.snapshot().agent(key).cloned().ok_or_else(|| ChangeError::Unknown(key.id.clone()))
    }

    fn file_lock(&self, path: &Path) -> Arc<FileLock> {
        self.inner.reading.lock().entry(path.to_owned()).or_default().clone()
    }

    /// What becomes of an agent whose component's file is this one now: one attempt, and where that
    /// will not serve, a second one with the code that served last, if it does not serve already as it
    /// should.
    async fn attempts(
        &self,
        config: &Arc<AgentConfig>,
        component: &Result<Arc<PreparedComponent>, LoadFailure>,
        began: Instant,
    ) -> Vec<Attempt> {
        let Ok(entry) = self.entry(&config.key) else { return Vec::new() };
        let record = entry.record();
        let loader = &self.inner.loader;
        let last = record.serving.as_ref().filter(|_| self.inner.store.is_some());
        if let Some(last) = last.filter(|_| entry.is_registered()) {
            // It has no file of its own: what serves is what was put last and let in.
            return vec![self.resume(config, record, last.digest, component, began).await];
        }
        let beside = record.serving_digest();
        let (digest, result) = match component {
            Ok(prepared) => {
                let path = || config.component.display().to_string();
                // What serves has passed its tests before.
                let new = beside != Some(prepared.digest());
                let load = async {
                    let version = loader.version(config, &record.approved, prepared).await?;
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
        let cause = Cause::Proposed { beside };
        let will_serve = result.as_ref().is_ok_and(|version| {
            let admission = record.admit(&version.candidate(config), &cause, 0, self.inner.clock.now());
            matches!(admission, Admission::Live(..) | Admission::Same(..))
        });
        let mut attempts = vec![self.attempt(config, cause, digest, result, began)];
        let Some(last) = last.filter(|_| !will_serve) else { return attempts };
        // Settings that came for the code that serves reach it, though its file holds other code: what
        // that is was known before. Those that came with other code wait for it.
        let for_serving_code = entry.proposed.as_ref().is_none_or(|proposed| proposed.for_serving_code);
        let under = if for_serving_code && is_known(&entry, digest) { config } else { &entry.config };
        if Arc::ptr_eq(under, &entry.config) && entry.version().is_some() {
            return attempts;
        }
        let resumed = self.resume(under, record, last.digest, component, began).await;
        match &resumed.result {
            Ok(_) => attempts.push(resumed),
            Err(failure) => {
                tracing::error!(tenant = %config.key.tenant, agent = %config.key.id, digest = %last.digest, reason = %failure, "what served last cannot serve under these settings");
            }
        }
        attempts
    }

    /// An attempt to go on with what served last.
    async fn resume(
        &self,
        config: &Arc<AgentConfig>,
        record: &Record,
        last: Digest,
        component: &Result<Arc<PreparedComponent>, LoadFailure>,
        began: Instant,
    ) -> Attempt {
        let loader = &self.inner.loader;
        let prepared = match component {
            Ok(prepared) if prepared.digest() == last => Ok(prepared.clone()),
            _ => self.stored(&last).await,
        };
        let result = match prepared {
            Ok(prepared) => loader.version(config, &record.approved, &prepared).await,
            Err(failure) => Err(failure),
        };
        self.attempt(config, Cause::Resumed, Some(last), result, began)
    }

    pub(super) fn attempt(
        &self,
        config: &Arc<AgentConfig>,
        cause: Cause,
        digest: Option<Digest>,
        result: Result<LoadedVersion, LoadFailure>,
        began: Instant,
    ) -> Attempt {
        Attempt { config: config.clone(), cause, basis: Basis::Standing, began, digest, result }
    }

    /// Lets the router learn from all examples now, in the background; what a task needs before
    /// that is done is learned as it comes.
    pub(super) fn learn_ahead(&self) {
        let (snapshot, scopes) = (self.snapshot(), self.inner.scopes.load_full());
        if snapshot.agents().count() <= LEARN_AHEAD {
            tokio::task::spawn_blocking(move || {
                for (tenant, scope) in scopes.iter() {
                    snapshot.candidates(tenant, scope).warm();
                }
            });
        }
    }
}

/// Whether the code that an agent's file holds is what it held before: what waits, what was taken back,
/// or what failed to load the last time.
fn is_known(entry: &AgentEntry, digest: Option<Digest>) -> bool {
    let last = entry.last_load().filter(|report| report.failure.is_some());
    digest.is_some_and(|digest| {
        let waits = entry.record().pending.as_ref().is_some_and(|pending| pending.digest == digest);
        waits || entry.record().blocked(&digest).is_some()
    }) || last.is_some_and(|report| report.digest == digest)
}
