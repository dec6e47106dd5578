//! Changes while the host runs: files that are saved, and settings that are changed.
//!
//! Owns nothing but the turn of whoever reads the settings. Each change goes to the room that it is
//! for; what cannot take effect before a restart is said in the log.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Host, SettingsFile, StartError, authenticator, router_settings, scopes};
use crate::api::Api;
use crate::auth::Authenticator;
use crate::config::diff::{self, Diff};
use crate::config::{AgentConfig, Config, ServerConfig};
use crate::domain::{AgentId, AgentKey};
use crate::registry::{Changes, SettingsChange, Watch, registered_from_json};

/// A host whose files are followed.
pub(super) struct Live {
    host: Arc<Host>,
    file: Arc<SettingsFile>,
    authenticator: Arc<ArcSwap<Authenticator>>,
    server: Arc<ArcSwap<ServerConfig>>,
    /// Held by whoever reads the settings, so that what is read later takes effect later.
    reading: tokio::sync::Mutex<()>,
}

impl Live {
    pub(super) fn new(host: Arc<Host>, file: Arc<SettingsFile>, api: &Api) -> Arc<Self> {
        let (authenticator, server) = (api.authenticator.clone(), api.server.clone());
        Arc::new(Self { host, file, authenticator, server, reading: tokio::sync::Mutex::default() })
    }

    /// Watches the settings and every component's file from now on; what the future that it returns
    /// does is to see to what changes.
    pub(super) fn follow(self: Arc<Self>) -> Result<impl Future<Output = ()> + Send + 'static, StartError> {
        let (watch, changes) = Watch::start()?;
        let watch = Arc::new(watch);
        self.rewatch(&watch);
        Ok(self.see_to(watch, changes))
    }

    async fn see_to(self: Arc<Self>, watch: Arc<Watch>, mut changes: Changes) {
        let settings = self.settings_path();
        // What was saved since the host read its settings, and before they were watched: `dev` builds
        // in between.
        tokio::spawn({
            let (live, watch) = (self.clone(), watch.clone());
            async move { live.settings_changed(&watch).await }
        });
        while let Some(paths) = changes.next().await {
            for path in paths {
                let (live, watch) = (self.clone(), watch.clone());
                let is_settings = path == settings;
                // Side by side: a component that compiles for long keeps no other waiting.
                tokio::spawn(async move {
                    if is_settings {
                        live.settings_changed(&watch).await;
                    } else {
                        live.host.registry.file_changed(&path).await;
                    }
                });
            }
        }
    }

    fn settings_path(&self) -> PathBuf {
        std::path::absolute(&self.file.path).unwrap_or_else(|_| self.file.path.clone())
    }

    /// Watches what matters now. Waits for the watcher.
    fn rewatch(&self, watch: &Watch) {
        let config = self.host.config();
        let components = config.agents.values().map(|agent| agent.component.clone());
        let files: BTreeSet<PathBuf> = components.collect();
        for problem in watch.files(files).into_iter().chain(watch.whole([self.settings_path()])) {
            tracing::warn!("{problem}");
        }
    }

    async fn settings_changed(self: &Arc<Self>, watch: &Arc<Watch>) {
        let _turn = self.reading.lock().await;
        let new = match self.file.read().await {
            Ok(new) => new,
            Err(error) => {
                tracing::error!(reason = %error, "settings not applied: what held before holds on");
                return;
            }
        };
        let old = self.host.config();
        // Thousands of agents are compared here, and registered ones read again: not on the threads
        // that answer.
        let compare = {
            let (live, old) = (self.clone(), old.clone());
            move || {
                let diff = diff::diff(&old, &new);
                let mut new = new;
                // What waits for a restart stays what it is, for whoever asks.
                new.engine = old.engine.clone();
                new.server.listen = old.server.listen;
                new.server.data_dir = old.server.data_dir.clone();
                // What could not be written down the last time is tried again.
                let change = live.agents_change(&new);
                (diff, new, change)
            }
        };
        let Ok((diff, new, change)) = tokio::task::spawn_blocking(compare).await else { return };
        if diff.is_empty() && old.default_limits == new.default_limits && change.is_empty() {
            return;
        }
        if let Err(error) = self.apply(&old, new, diff, change, watch).await {
            tracing::error!(reason = %error, "settings not applied: what held before holds on");
        }
    }

    async fn apply(
        self: &Arc<Self>,
        old: &Config,
        new: Config,
        diff: Diff,
        change: SettingsChange,
        watch: &Arc<Watch>,
    ) -> Result<(), StartError> {
        let (known, own) = authenticator(&new)?;
        if let Some(own) = own.filter(|_| old.auth != new.auth) {
            tracing::warn!(file = %own.path.display(), "no key is configured any more: the host's own admin key holds, which this file has");
        }
        let new = Arc::new(new);
        // What is withdrawn is withdrawn first, and waits for nothing: keys and their scopes, then agents
        // that are gone and rights of those that stay.
        let host = &self.host;
        host.config.store(new.clone());
        self.authenticator.store(Arc::new(known));
        self.server.store(Arc::new(new.server.clone()));
        host.registry.set_reload(new.reload.clone());
        if old.auth != new.auth {
            host.registry.set_scopes(scopes(&new));
        }
        let to_load = host.registry.settings_changed(change).await.unwrap_or_else(|failure| {
            tracing::error!(reason = %failure, "the agents' settings were not applied, but for what they withdraw; save the file again once this is mended");
            Vec::new()
        });
        host.scheduler.resize(&new.scheduler);
        if old.router != new.router {
            host.registry.set_router(router_settings(&new.router)).await;
        }
        // Files that are new are watched before they are first read.
        let (live, watch) = (self.clone(), watch.clone());
        if tokio::task::spawn_blocking(move || live.rewatch(&watch)).await.is_err() {
            tracing::error!("what is watched could not be changed");
        }
        // Loading takes its time, and whoever changes the settings next does not wait for it.
        tokio::spawn(load(host.clone(), to_load, diff));
        Ok(())
    }
    /// What has to change for the agents to be those of `new`.
    fn agents_change(&self, new: &Config) -> SettingsChange {
        let snapshot = self.host.registry.snapshot();
        let stands = |config: &AgentConfig| {
            let entry = snapshot.agent(&config.key);
            entry.is_some_and(|entry| **entry.latest_config() == *config && !entry.is_registered())
        };
        let put = new.agents.values().filter(|config| !stands(config)).cloned().map(Arc::new).collect();
        let gone = snapshot.agents().filter(|entry| !entry.is_registered());
        let named: HashSet<&AgentKey> = new.agents.values().map(|config| &config.key).collect();
        let gone = gone.map(|entry| entry.key.clone()).filter(|key| !named.contains(key));
        SettingsChange { put, registered: self.registered_again(new), removed: gone.collect() }
    }

    /// The agents that were registered at run time and whose settings mean something else under `new`.
    fn registered_again(&self, new: &Config) -> Vec<Arc<AgentConfig>> {
        let snapshot = self.host.registry.snapshot();
        let again = snapshot.agents().filter_map(|entry| {
            let text = entry.record().registered.as_deref()?;
            let read = registered(new, &entry.key, text).ok()?;
            (read != **entry.latest_config()).then(|| Arc::new(read))
        });
        again.collect()
    }
}

/// Loads what other settings need, and says that they are applied.
async fn load(host: Arc<Host>, agents: Vec<Arc<AgentConfig>>, diff: Diff) {
    host.registry.load(agents).await;
    // Those that went live have limits of their own.
    host.scheduler.resize(&host.config().scheduler);
    let names = |ids: &[AgentId]| ids.iter().map(AgentId::as_str).collect::<Vec<_>>().join(", ");
    let changed: Vec<AgentId> = diff.changed.iter().map(|change| change.id.clone()).collect();
    tracing::info!(
        added = names(&diff.added),
        changed = names(&changed),
        removed = names(&diff.removed),
        keys = diff.at_once.join(", "),
        "settings applied"
    );
    if !diff.at_restart.is_empty() {
        tracing::warn!(keys = diff.at_restart.join(", "), "settings wait for a restart");
    }
}

/// The settings of an agent that was registered at run time, from the text that was kept.
pub(super) fn registered(config: &Config, key: &AgentKey, text: &str) -> Result<AgentConfig, String> {
    let settings = serde_json::from_str(text).map_err(|error| error.to_string())?;
    registered_from_json(config, key, &settings).map_err(|problems| problems.to_string())
}
