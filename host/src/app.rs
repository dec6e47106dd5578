//! The composition root: the only file that knows every room.

mod live;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::net::TcpListener;

use crate::api::{self, Api, Ended, Handles};
use crate::auth::{self, AdminKey, Authenticator};
use crate::capabilities::Services;
use crate::config::{self, Config, RouterConfig};
use crate::domain::{
    AgentId, AgentKey, AgentScope, Clock, Digest, Principal, RequestId, SystemClock, TenantId,
};
pub use crate::engine::{Compiler, Refusal as CompileRefusal, compile_here};
use crate::engine::{Engine, EngineError};
use crate::operations::{self, Audit, Operations, RequestIds};
use crate::registry::{self, Registry, Store, StoreError, WatchError};
use crate::scheduler::{self, Scheduler};
use crate::shutdown::{self, Shutdown, Stage};
use crate::storage::{Access, DataFolder, StorageError};
use crate::telemetry::event::Event;

/// At the start, agents that still load keep the host from being ready for as long as in so much time at
/// least one of them got done.
const NO_PROGRESS: Duration = Duration::from_secs(60);

/// How often it is looked whether one did.
const LOOK_AT_START: Duration = Duration::from_millis(500);

/// The audit, in the data folder.
const AUDIT: &str = "audit.db";

/// Why the host does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The engine could not be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The data folder, or what is kept in it, cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {listen}: {reason}; stop what listens there, or choose another address with `--listen`"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the operating system says.
        reason: std::io::Error,
    },
    /// Keys and address do not go together.
    #[error(transparent)]
    Refused(#[from] auth::Refusal),
    /// The host's own key cannot be had.
    #[error(transparent)]
    AdminKey(#[from] auth::AdminKeyError),
    /// No key can be made.
    #[error(transparent)]
    Random(#[from] auth::RandomError),
    /// What the registry remembers cannot be had.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Files cannot be watched.
    #[error("{0}; or set `watch = false` in [reload]")]
    Watch(#[from] WatchError),
    /// Signals cannot be caught.
    #[error("cannot catch signals: {0}")]
    Signals(std::io::Error),
}

/// What a host is for.
#[derive(Debug, Clone)]
pub enum Purpose {
    /// One command: it loads agents.toml's agents, in this process, remembers nothing and changes nothing.
    Ask,
    /// To serve: it remembers what serves, and is the data folder's only one.
    Serve(Compiler),
}

/// A host without its HTTP side: agents and what runs them.
pub struct Host {
    /// Which agents there are.
    pub registry: Registry,
    /// What runs them.
    pub scheduler: Scheduler,
    /// What compiles and sandboxes them.
    pub engine: Arc<Engine>,
    config: Arc<ArcSwap<Config>>,
    audit: Audit,
    /// Where everything is kept; with a host that serves, its lock.
    folder: DataFolder,
}

impl Host {
    /// Puts the rooms together. No agent is loaded yet.
    ///
    /// # Errors
    /// If the engine, the data folder or what is remembered in it cannot be had.
    pub fn new(config: Config, purpose: Purpose) -> Result<Self, StartError> {
        let access = match purpose {
            Purpose::Ask => Access::Shared,
            Purpose::Serve(_) => Access::Exclusive,
        };
        let folder = DataFolder::open(&config.server.data_dir, access)?;
        Self::on(folder, config, purpose)
    }

    /// The same in a data folder that is open.
    fn on(folder: DataFolder, config: Config, purpose: Purpose) -> Result<Self, StartError> {
        let (store, compiler) = match purpose {
            Purpose::Ask => (None, Compiler::InProcess),
            Purpose::Serve(compiler) => (Some(Store::open(&folder)?), compiler),
        };
        let records = match &store {
            None => None,
            Some(_) => Some(folder.database(AUDIT, &operations::audit::SCHEMA)?),
        };
        let data_dir = folder.path();
        let services = Arc::new(Services::default());
        let runtime = tokio::runtime::Handle::current();
        let engine = Arc::new(Engine::new(&config.engine, Some(data_dir), compiler, services, runtime)?);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let settings = registry::Settings {
            router: router_settings(&config.router),
            reload: config.reload.clone(),
            scopes: scopes(&config),
        };
        let agents: Vec<_> = config.agents.values().cloned().map(Arc::new).collect();
        let read = |key: &AgentKey, text: &str| registry::stored_settings(&config, key, text);
        let registry = Registry::new(engine.clone(), settings, clock.clone(), store, agents, read)?;
        let scheduler = Scheduler::new(registry.clone(), engine.clone(), &config.scheduler);
        let config = Arc::new(ArcSwap::from_pointee(config));
        let audit = Audit::new(records, config.clone(), clock);
        audit.settle(&registry)?;
        registry.follow(Arc::new(audit.clone()));
        Ok(Self { registry, scheduler, engine, config, audit, folder })
    }

    /// The settings that hold now.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Loads every agent.
    pub async fn load_all(&self) {
        let began = Instant::now();
        self.registry.load_all().await;
        let snapshot = self.registry.snapshot();
        let agents = snapshot.agents().count();
        let failed = snapshot.agents().filter(|entry| entry.version().is_none()).count();
        tracing::info!(name: Event::AgentsLoaded.name(), agents, failed, ms = began.elapsed().as_millis() as u64, "agents are loaded");
    }

    /// Everything that may be asked, for a command that asks in this process: of whoever runs it, who has no key.
    pub fn in_process(&self) -> Operations {
        self.operations(Arc::new(Unchanging), random_request_ids(), Shutdown::new())
    }

    fn api(&self, authenticator: Authenticator, shutdown: Shutdown) -> Api {
        let authenticator = Arc::new(ArcSwap::from_pointee(authenticator));
        let (keys, request_ids) = (Arc::new(KeysNow(authenticator.clone())), random_request_ids());
        self.scheduler.follow_keys(keys.clone());
        Api::new(Handles {
            operations: self.operations(keys, request_ids.clone(), shutdown.clone()),
            config: self.config.clone(),
            authenticator,
            server: Arc::new(ArcSwap::from_pointee(self.config.load().server.clone())),
            request_ids,
            shutdown,
        })
    }

    /// Everything that may be asked of this host, with the keys that `keys` knows.
    fn operations(
        &self,
        keys: Arc<dyn scheduler::Keys>,
        request_ids: RequestIds,
        shutdown: Shutdown,
    ) -> Operations {
        Operations::new(operations::Handles {
            registry: self.registry.clone(),
            scheduler: self.scheduler.clone(),
            config: self.config.clone(),
            keys,
            request_ids,
            audit: self.audit.clone(),
            shutdown,
            started: Instant::now(),
        })
    }

    /// Loads one agent of agents.toml. `false` if there is none of this id.
    pub async fn load_one(&self, id: &AgentId) -> bool {
        let tenant = TenantId::default_tenant();
        let config =
            self.registry.snapshot().find(&tenant, id.as_str()).map(|entry| entry.latest_config().clone());
        let known = config.is_some();
        self.registry.load(config).await;
        known
    }
}

/// No key comes or goes while a command runs.
struct Unchanging;

impl scheduler::Keys for Unchanging {
    fn holding(&self, _: Option<&Digest>) -> Option<Arc<Principal>> {
        None
    }

    fn current(&self, principal: &Principal) -> Option<Arc<Principal>> {
        Some(Arc::new(principal.clone()))
    }
}

/// The keys that hold now, for tasks that waited.
struct KeysNow(Arc<ArcSwap<Authenticator>>);

impl scheduler::Keys for KeysNow {
    fn holding(&self, key: Option<&Digest>) -> Option<Arc<Principal>> {
        self.0.load().holding(key)
    }
}

/// What each key may call: worked out before its first task.
fn scopes(config: &Config) -> Vec<(TenantId, AgentScope)> {
    let tenant = TenantId::default_tenant();
    let scopes = config.auth.keys.iter().map(|key| key.scope.clone()).chain([AgentScope::all()]);
    scopes.map(|scope| (tenant.clone(), scope)).collect()
}

/// `[router]` as the router takes it.
pub fn router_settings(config: &RouterConfig) -> stockade_router::Settings {
    stockade_router::Settings {
        threshold: config.threshold,
        margin: config.margin,
        language: config.language,
        ..stockade_router::Settings::default()
    }
}

/// Where settings come from, so that they can be read again.
pub struct SettingsFile {
    /// agents.toml.
    pub path: PathBuf,
    /// What the command line says otherwise.
    pub adjust: Box<dyn Fn(&mut Config) + Send + Sync>,
}

impl SettingsFile {
    /// What the file, the environment and the command line say now: the file when it is whole and at
    /// rest, as far as reading can tell. Parsed on the blocking threads.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub async fn read(self: &Arc<Self>) -> Result<Config, config::LoadError> {
        let bytes = registry::read_whole(&self.path, config::MAX_FILE).await;
        // An editor may empty a file before it writes it.
        let bytes = bytes.and_then(|bytes| match bytes.is_empty() {
            true => Err(std::io::Error::other(EMPTY)),
            false => Ok(bytes),
        });
        let file = self.clone();
        let parse = move || {
            let mut config = config::load_read(&file.path, bytes, &config::ProcessEnvironment)?;
            (file.adjust)(&mut config);
            Ok(config)
        };
        let stopping = |error| {
            let error = std::io::Error::other(error);
            Err(config::LoadError::Unreadable { path: self.path.clone(), error })
        };
        tokio::task::spawn_blocking(parse).await.unwrap_or_else(stopping)
    }
}

const EMPTY: &str =
    "the file is empty: it may be being written; if no agent is to serve, leave a comment in it";

/// A host that listens.
pub struct Server {
    host: Host,
    file: SettingsFile,
    listener: TcpListener,
    api: Api,
    shutdown: Shutdown,
    /// The address that it listens on.
    pub address: SocketAddr,
    /// The host's own admin key, where no other is configured.
    pub admin_key: Option<AdminKey>,
}

impl Server {
    /// Binds the address and puts the rooms together; no agent is loaded and nothing answered
    /// before [`Server::run`]. `config` is what `file` says.
    ///
    /// # Errors
    /// [`StartError`] says what to change.
    pub async fn bind(config: Config, file: SettingsFile, compiler: Compiler) -> Result<Self, StartError> {
        let listen = config.server.listen;
        // Nothing is made in a folder that is another host's, or of a newer program.
        let folder = DataFolder::open(&config.server.data_dir, Access::Exclusive)?;
        let (authenticator, admin_key) = authenticator(&config, &folder)?;
        let bound = TcpListener::bind(listen).await.and_then(|l| Ok((l.local_addr()?, l)));
        let (address, listener) = bound.map_err(|reason| StartError::Listen { listen, reason })?;
        let host = Host::on(folder, config, Purpose::Serve(compiler))?;
        let shutdown = Shutdown::new();
        let api = host.api(authenticator, shutdown.clone());
        Ok(Self { host, file, listener, api, shutdown, address, admin_key })
    }

    /// What ends [`Server::run`].
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Serves until a signal, or [`Server::shutdown`]. Requests are answered from the first
    /// moment; `/readyz` says when every agent is loaded. Files are watched before they are first
    /// read, so that no change is missed.
    ///
    /// # Errors
    /// If signals cannot be caught, or files not be watched.
    pub async fn run(self) -> Result<Ended, StartError> {
        let signals = shutdown::on_signals(self.shutdown.clone()).map_err(StartError::Signals)?;
        let signals = tokio::spawn(signals);
        let host = Arc::new(self.host);
        let live = live::Live::new(host.clone(), Arc::new(self.file), &self.api);
        let following = match host.config().reload.watch {
            true => Some(tokio::spawn(live.follow()?)),
            false => None,
        };
        let loading = tokio::spawn({
            let host = host.clone();
            async move { tokio::join!(host.load_all(), say_when_started(&host.registry)) }
        });
        let draining = tokio::spawn({
            let shutdown = self.shutdown.clone();
            async move {
                shutdown.reached(Stage::Draining).await;
                Instant::now()
            }
        });
        let ended = api::serve(self.listener, &self.api).await;
        loading.abort();
        if let Some(following) = following {
            following.abort();
        }
        // Tasks that were started have the grace period as well.
        let since = draining.await.unwrap_or_else(|_| Instant::now());
        let until = since + host.config().server.grace_period;
        host.scheduler.finish(until, self.shutdown.reached(Stage::Leaving)).await;
        signals.abort();
        // What was counted since it was last written down.
        host.registry.save_probations(None).await;
        Ok(ended)
    }
}

/// Which keys are accepted under `config`: the host's own where there is no other.
fn authenticator(
    config: &Config,
    folder: &DataFolder,
) -> Result<(Authenticator, Option<AdminKey>), StartError> {
    let startup = auth::startup(config.server.listen, &config.auth)?;
    for warning in &startup.warnings {
        tracing::warn!("{warning}");
    }
    let admin_key = match startup.needs_admin_key {
        true => Some(auth::load_or_create(folder)?),
        false => None,
    };
    let secret = admin_key.as_ref().map(|key| &key.secret);
    Ok((Authenticator::new(&config.auth, secret), admin_key))
}

/// Ends the start where nothing comes of waiting any longer.
async fn say_when_started(registry: &Registry) {
    let (mut left, mut since) = (usize::MAX, Instant::now());
    while !registry.has_started() {
        let loading = registry.snapshot().loading();
        if loading.count < left {
            (left, since) = (loading.count, Instant::now());
        } else if since.elapsed() >= NO_PROGRESS {
            let agents = loading.first.join(", ");
            tracing::warn!(
                loading = loading.count,
                agents,
                "the host is ready without these agents, which are still loading"
            );
            return registry.start_is_over();
        }
        tokio::time::sleep(LOOK_AT_START).await;
    }
}

/// Ids of 128 random bits; the operating system is asked once for many.
fn random_request_ids() -> RequestIds {
    let pool = parking_lot::Mutex::new(Vec::new());
    Arc::new(move || {
        let mut pool = pool.lock();
        if pool.is_empty() {
            let mut bytes = [0_u8; 4096];
            if getrandom::fill(&mut bytes).is_err() {
                // Ids need to differ, not to be secret.
                let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                return RequestId::from_random(time.map_or(0, |time| time.as_nanos()));
            }
            pool.extend(bytes.as_chunks::<16>().0.iter().map(|bits| u128::from_le_bytes(*bits)));
        }
        RequestId::from_random(pool.pop().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use super::*;

    #[tokio::test]
    async fn settings_are_parsed_away_from_the_threads_that_answer() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agents.toml");
        std::fs::write(&path, "[server]\nmax_batch = 7\n").expect("settings");
        let parsed: Arc<parking_lot::Mutex<Option<ThreadId>>> = Arc::default();
        let note = parsed.clone();
        let adjust = Box::new(move |_: &mut Config| *note.lock() = Some(thread::current().id()));
        let file = Arc::new(SettingsFile { path: path.clone(), adjust });
        assert_eq!(file.read().await.expect("settings").server.max_batch, 7);
        let parsed = parsed.lock().expect("it was adjusted");
        assert_ne!(parsed, thread::current().id());
        std::fs::remove_file(&path).expect("it goes");
        assert!(matches!(file.read().await, Err(config::LoadError::Missing(_))));
    }
}
