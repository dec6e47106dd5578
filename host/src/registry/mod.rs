//! The registry: which agents there are, and which code serves each.
//!
//! Owns the one [`Snapshot`] behind one `ArcSwap`, and what is remembered on disk. Every change
//! builds the next snapshot completely and swaps once (`commit`); a load that fails changes
//! nothing but the agent's report. It never serves a client's task.

mod agent;
mod change;
mod commit;
mod counts;
mod draft;
mod load;
mod outcome;
mod probation;
mod record;
mod register;
mod reload;
mod repair;
mod reserve;
mod retired;
mod schema;
mod snapshot;
mod stable;
mod state;
mod store;
mod sweep;
mod versions;
pub mod watch;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;

pub use agent::{AgentVersion, Card};
pub use change::{Change, ChangeLog, Changed, ChangedBy};
pub use counts::ReloadCounts;
pub use load::LoadFailure;
pub use outcome::Outcome;
pub use probation::CallReport;
pub use record::{Blocked, Pending, ProbationProgress, Record, Release};
pub use register::{
    Component, Generate, MAX_GENERATED, MayPlace, Place, Placing, RegisterError, Registration,
    StoredSettingsError, registered_from_json, stored_settings,
};
pub use reload::SettingsChange;
pub use snapshot::{AgentEntry, Incarnation, Snapshot};
pub use stable::read as read_whole;
pub use state::{AgentState, FailedLoad, FinishedLoad, LoadAttempt, LoadReport};
pub use store::{Store, StoreError, component_in};
pub use versions::ChangeError;
pub use watch::{Changes, Watch, WatchError, WatchProblem};

use crate::config::{AgentConfig, ReloadConfig};
use crate::domain::{AgentKey, AgentScope, Clock, Digest, TenantId};
use crate::engine::Engine;
use counts::Counts;
use load::Loader;
use record::settings_text;
use reserve::Reservations;
use retired::Retired;
use store::Rows;

/// Versions that failed their probation and wait to be rolled back; more at once are rolled back at
/// their next fault.
const FAILED_PROBATIONS: usize = 1024;

/// Probations whose progress is to be saved; that of more at once is saved later.
const CHANGED_PROBATIONS: usize = 4096;

/// A handle to the registry; cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    current: ArcSwap<Snapshot>,
    loader: Loader,
    store: Option<Arc<Store>>,
    clock: Arc<dyn Clock>,
    scopes: ArcSwap<Vec<(TenantId, AgentScope)>>,
    reload: ArcSwap<ReloadConfig>,
    counts: Counts,
    /// Who changes which agents now.
    reservations: Reservations,
    /// What is remembered of agents that are no longer there.
    retired: RwLock<Retired>,
    /// Held by whoever swaps the snapshot for the next one, so that none is lost.
    publishing: Mutex<()>,
    /// Who is told of what changes without anybody's request.
    log: std::sync::OnceLock<Arc<dyn ChangeLog>>,
    /// Whether every agent of the start was loaded, or has failed.
    started: AtomicBool,
    /// Places for requests that register agents, which wait for their versions to be tried.
    registering: tokio::sync::Semaphore,
    /// Held by whoever reads a file for its agents, so that what is read later goes live later.
    reading: Mutex<HashMap<PathBuf, Arc<reload::FileLock>>>,
    failed_probations: mpsc::Sender<versions::FailedProbation>,
    /// Agents whose version's progress in its probation is to be saved.
    changed_probations: mpsc::Sender<AgentKey>,
    /// Components of agents whose records are kept for a host that can read them.
    unread: HashSet<Digest>,
}

/// What the registry needs at the start, beside the agents.
pub struct Settings {
    /// The router's.
    pub router: stockade_router::Settings,
    /// `[reload]`.
    pub reload: ReloadConfig,
    /// Routing for each of these, of that tenant's agents, is prepared before a snapshot is published.
    pub scopes: Vec<(TenantId, AgentScope)>,
}

/// The entry at a start of the agent that `config` describes: under the settings that it served under, until
/// its code goes live with others.
fn entry_at_start(
    config: Arc<AgentConfig>,
    record: Record,
    now: SystemTime,
    store: Option<&Store>,
    read: impl Fn(&AgentKey, &str) -> Result<AgentConfig, StoredSettingsError>,
) -> AgentEntry {
    let kept = |config: &AgentConfig| store.and_then(|store| store.digest_at(&config.component));
    let text = record.under.clone().filter(|text| *text != settings_text(&config, kept(&config)));
    let under = text.map(|text| read(&config.key, &text));
    match under {
        // The same, though its file lies elsewhere by now.
        Some(Ok(under))
            if AgentConfig { component: config.component.clone(), ..under.clone() } == *config =>
        {
            AgentEntry::loading(config, Arc::new(record))
        }
        Some(Ok(under)) => {
            let kept = kept(&under);
            AgentEntry::loading(Arc::new(under), Arc::new(record)).with_latest_config(&config, kept, now)
        }
        Some(Err(reason)) => {
            tracing::warn!(tenant = %config.key.tenant, agent = %config.key.id, %reason, "the settings that the agent served under cannot be read any more: what it serves goes on under those of agents.toml");
            AgentEntry::loading(config, Arc::new(record))
        }
        None => AgentEntry::loading(config, Arc::new(record)),
    }
}

impl Registry {
    /// A registry in which each of `agents` is `loading` until [`Registry::load`] has seen to it.
    /// With a store it remembers what serves, and brings back what was registered at run time:
    /// `read` is [`stored_settings`] under the settings file. Call it within a runtime.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn new(
        engine: Arc<Engine>,
        settings: Settings,
        clock: Arc<dyn Clock>,
        store: Option<Store>,
        agents: impl IntoIterator<Item = Arc<AgentConfig>>,
        read: impl Fn(&AgentKey, &str) -> Result<AgentConfig, StoredSettingsError>,
    ) -> Result<Self, StoreError> {
        let (mut records, floor) = match &store {
            Some(store) => (store.records()?, store.floor()?),
            None => (BTreeMap::new(), 0),
        };
        let new = || Record { generation: floor, ..Record::default() };
        let mut entries = Vec::new();
        // Records that differ from now on from what is stored.
        let mut changed = BTreeMap::new();
        for config in agents {
            let known = records.remove(&config.key);
            let mut record = known.as_ref().map_or_else(new, Record::returned);
            if known.is_some_and(|known| known.removed.is_some()) {
                changed.insert(config.key.clone(), record.clone());
            }
            if let Some(text) = record.registered.take() {
                record.under = Some(text);
                tracing::warn!(tenant = %config.key.tenant, agent = %config.key.id, "agents.toml names an agent that was registered at run time: the file's word counts from now on");
                if let Some(store) = &store {
                    store.write_at_start(Rows::of([(&config.key, &record)]))?;
                }
            }
            entries.push(entry_at_start(config, record, clock.now(), store.as_ref(), &read));
        }
        let (registered, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            records.into_iter().partition(|(_, record)| record.registered.is_some());
        let mut retired = Retired::new(floor);
        // What agents.toml lost while no host ran is gone since now.
        let now = clock.now();
        for (key, record) in gone {
            let removed = if record.removed.is_some() {
                record
            } else {
                let removed = record.removed(now);
                changed.insert(key.clone(), removed.clone());
                removed
            };
            retired.insert(key, removed);
        }
        if let Some(store) = &store {
            store.write_at_start(Rows::of(&changed))?;
        }
        let mut unread = HashSet::new();
        for (key, record) in registered {
            match read(&key, record.registered.as_deref().unwrap_or_default()) {
                Ok(config) => entries.push(AgentEntry::loading(Arc::new(config), Arc::new(record))),
                // It stays on disk as it is, for a host that can read it.
                Err(reason) => {
                    tracing::error!(tenant = %key.tenant, agent = %key.id, %reason, "an agent that was registered at run time cannot be brought back; it comes back at a start at which agents.toml allows for its settings");
                    unread.extend(record.digests());
                    retired.insert(key, record.bare());
                }
            }
        }
        let current = ArcSwap::from_pointee(Snapshot::empty(settings.router).with(entries, []));
        let store = store.map(Arc::new);
        let (loader, brought) = Loader::new(engine, store.clone());
        let (failed_probations, failed) = mpsc::channel(FAILED_PROBATIONS);
        let (changed_probations, changed) = mpsc::channel(CHANGED_PROBATIONS);
        let inner = Inner {
            current,
            loader,
            store,
            clock,
            scopes: ArcSwap::from_pointee(settings.scopes),
            reload: ArcSwap::from_pointee(settings.reload),
            counts: Counts::default(),
            reservations: Reservations::default(),
            retired: RwLock::new(retired),
            publishing: Mutex::default(),
            registering: tokio::sync::Semaphore::new(register::MAX_REGISTERING),
            log: std::sync::OnceLock::new(),
            started: AtomicBool::new(false),
            reading: Mutex::default(),
            failed_probations,
            changed_probations,
            unread,
        };
        let registry = Self { inner: Arc::new(inner) };
        versions::roll_back_failed(&registry, failed);
        versions::save_changed_probations(&registry, changed);
        if registry.inner.store.is_some() {
            sweep::sweep_what_goes(&registry);
            repair::load_what_is_repaired(&registry, brought);
        }
        Ok(registry)
    }

    /// What serves now. Hold it no longer than a decision takes; a call holds its
    /// [`AgentVersion`] instead.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.current.load_full()
    }

    /// How attempts to change what serves have ended since the start.
    pub fn reload_counts(&self) -> ReloadCounts {
        self.inner.counts.read()
    }
}
