//! The registry: which agents there are, and which code serves each.
//!
//! Owns the one [`Snapshot`] behind one `ArcSwap`. Every change builds the next snapshot
//! completely and swaps once; a load that fails changes nothing but the agent's report.
//! It never serves a client's task.

mod agent;
mod load;
mod snapshot;
#[cfg_attr(not(test), expect(dead_code, reason = "`load` reads components through it"))]
mod stable;
pub mod watch;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use tokio::sync::mpsc;

pub use agent::{AgentVersion, Card};
pub use load::LoadFailure;
pub use snapshot::{AgentEntry, LoadReport, Snapshot};
pub use watch::{Changes, Watch, WatchError, WatchProblem};

use crate::config::AgentConfig;
use crate::domain::{AgentId, AgentScope, Clock};
use crate::engine::Engine;
use load::Loader;

/// Loads that are published together at the most: a batch costs one snapshot.
const PUBLISH_BATCH: usize = 1024;

/// The largest fleet whose examples are learned ahead. In a larger one the router learns about
/// agents as tasks come near them: some milliseconds, once for each.
const LEARN_AHEAD: usize = 500;

/// A handle to the registry; cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    current: ArcSwap<Snapshot>,
    loader: Loader,
    clock: Arc<dyn Clock>,
    scopes: Arc<[AgentScope]>,
    /// Held by whoever builds the next snapshot, so that none is lost.
    publishing: tokio::sync::Mutex<()>,
}

impl Registry {
    /// A registry in which each of `agents` is `loading` until [`Registry::load`] has seen to it.
    /// Routing for each of `scopes` is prepared before a snapshot is published.
    pub fn new<'a>(
        engine: Arc<Engine>,
        router: stockade_router::Settings,
        clock: Arc<dyn Clock>,
        scopes: impl IntoIterator<Item = AgentScope>,
        agents: impl IntoIterator<Item = &'a AgentConfig>,
    ) -> Self {
        let now = clock.now();
        let loading = agents.into_iter().map(|config| AgentEntry::loading(config, now)).collect();
        let current = ArcSwap::from_pointee(Snapshot::empty(router).with(loading));
        let loader = Loader::new(engine, clock.clone());
        let publishing = tokio::sync::Mutex::default();
        let scopes = scopes.into_iter().collect();
        Self { inner: Arc::new(Inner { current, loader, clock, scopes, publishing }) }
    }

    /// What serves now. Hold it no longer than a decision takes; a call holds its
    /// [`AgentVersion`] instead.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.current.load_full()
    }

    /// Loads these agents side by side, publishing each as it is ready or has failed; returns
    /// when the last one is.
    pub async fn load(&self, agents: impl IntoIterator<Item = Arc<AgentConfig>>) {
        let mut groups: BTreeMap<PathBuf, Vec<Arc<AgentConfig>>> = BTreeMap::new();
        for config in agents {
            groups.entry(config.component.clone()).or_default().push(config);
        }
        let (sender, mut receiver) = mpsc::unbounded_channel();
        for (path, configs) in groups {
            let (registry, sender) = (self.clone(), sender.clone());
            tokio::spawn(async move {
                registry.load_group(path, configs, &sender).await;
            });
        }
        drop(sender);
        let mut batch = Vec::new();
        while receiver.recv_many(&mut batch, PUBLISH_BATCH).await > 0 {
            let began = Instant::now();
            self.publish(std::mem::take(&mut batch)).await;
            // The next batch gathers for as long as this one took: a fleet of any size spends
            // at most half of its time on snapshots.
            tokio::time::sleep(began.elapsed()).await;
        }
        self.learn_ahead();
    }

    /// Loads the agents that share one component's file. The channel is bounded by their number.
    async fn load_group(
        &self,
        path: PathBuf,
        configs: Vec<Arc<AgentConfig>>,
        done: &mpsc::UnboundedSender<AgentEntry>,
    ) {
        let component = self.inner.loader.component(&path).await;
        for config in configs {
            let generation = self.generation_after(&config.id);
            let loaded = match &component {
                Ok(component) => {
                    let load = self.inner.loader.agent(&config, component, generation);
                    let broken = |_| Err(LoadFailure::Broken { path: path.display().to_string() });
                    AssertUnwindSafe(load).catch_unwind().await.unwrap_or_else(broken)
                }
                Err(failure) => Err(failure.clone()),
            };
            let now = self.inner.clock.now();
            let entry = match loaded {
                Ok(version) => {
                    tracing::info!(agent = %config.id, version = %version.card.version, digest = %version.digest, "agent is active");
                    for (capability, granted) in &version.capabilities {
                        if !granted {
                            tracing::warn!(agent = %config.id, capability, "agent imports a capability that it is not granted; calls to it are refused until agents.toml has `[agents.{}.grants] {capability} = true`", config.id);
                        }
                    }
                    AgentEntry::active(&config, Arc::new(version), now)
                }
                Err(failure) => {
                    tracing::error!(agent = %config.id, component = %path.display(), "agent was not loaded: {failure}");
                    AgentEntry::failed(&config, &failure, now)
                }
            };
            // The receiver is gone only when the host stops loading altogether.
            let _ = done.send(entry);
        }
    }

    /// The generation of the version that follows what serves now.
    fn generation_after(&self, id: &AgentId) -> u64 {
        let snapshot = self.snapshot();
        let serving = snapshot.agent(id.as_str()).and_then(|entry| entry.version.as_ref());
        serving.map_or(1, |version| version.generation + 1)
    }

    /// Builds the next snapshot from these entries and swaps once.
    async fn publish(&self, entries: Vec<AgentEntry>) {
        let _turn = self.inner.publishing.lock().await;
        let (current, scopes) = (self.snapshot(), self.inner.scopes.clone());
        // In a large fleet this takes a while: not on the threads that answer.
        let next = tokio::task::spawn_blocking(move || {
            let next = current.with(entries);
            for scope in scopes.iter() {
                next.candidates(scope);
            }
            next
        });
        match next.await {
            Ok(next) => self.inner.current.store(Arc::new(next)),
            Err(error) => tracing::error!(%error, "the next snapshot could not be built; the last one stays"),
        }
    }

    /// Lets the router learn from all examples now, in the background; what a task needs before
    /// that is done is learned as it comes.
    fn learn_ahead(&self) {
        let (snapshot, scopes) = (self.snapshot(), self.inner.scopes.clone());
        if snapshot.agents().len() <= LEARN_AHEAD {
            tokio::task::spawn_blocking(move || {
                scopes.iter().for_each(|scope| snapshot.candidates(scope).warm());
            });
        }
    }
}
