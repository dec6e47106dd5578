//! Changed settings: what of them changes, and in which order the rooms take their parts.
//!
//! Decides nothing about what a part means; that is its room's. What withdraws a right takes effect first and
//! waits for nothing; what cannot take effect before a restart is kept as it was, and named in the log.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::{Host, authenticator, router_settings, scopes};
use super::Live;
use crate::auth::Authenticator;
use crate::config::diff::{self, Diff};
use crate::config::{AgentConfig, Config, ServerConfig};
use crate::domain::{AgentId, AgentKey};
use crate::registry::{AgentEntry, SettingsChange, Snapshot, Watch, stored_settings};
use crate::telemetry::event::Event;

/// What changes.
struct Change {
    /// The settings as they will be in effect.
    new: Config,
    diff: Diff,
    agents: SettingsChange,
}

impl Change {
    /// What changes for `host` from `old` to `read`. Compares every agent, and reads the settings of
    /// registered ones again.
    fn between(host: &Host, old: &Config, read: Config) -> Self {
        let diff = diff::diff(old, &read);
        let mut new = read;
        // What waits for a restart stays what it is, for whoever asks, and is named at each change until then.
        new.engine = old.engine.clone();
        new.server = ServerConfig {
            listen: old.server.listen,
            data_dir: old.server.data_dir.clone(),
            log_format: old.server.log_format,
            log_level: old.server.log_level,
            ..new.server
        };
        new.reload.watch = old.reload.watch;
        // Against what the registry has, not against `old`: what could not be written down the last
        // time is tried again.
        let agents = agents_change(&host.registry.snapshot(), &new);
        Self { new, diff, agents }
    }

    fn is_empty(&self, old: &Config) -> bool {
        self.diff.is_empty() && old.default_limits == self.new.default_limits && self.agents.is_empty()
    }
}

impl Live {
    /// Has the settings that were `read` take effect, as far as they differ. `Err` says why none of them does.
    pub(super) async fn apply(self: &Arc<Self>, read: Config, watch: &Arc<Watch>) -> Result<(), String> {
        let old = self.host.config();
        let compare = {
            let (host, old) = (self.host.clone(), old.clone());
            // Thousands of agents take a while: not on the threads that answer.
            move || Change::between(&host, &old, read)
        };
        let change = tokio::task::spawn_blocking(compare).await.map_err(|error| error.to_string())?;
        if change.is_empty(&old) {
            return Ok(());
        }
        let Change { new, diff, agents } = change;
        let (keys, own_key) = authenticator(&new, &self.host.folder).map_err(|error| error.to_string())?;
        if let Some(own) = own_key.filter(|_| old.auth != new.auth) {
            tracing::warn!(file = %own.path.display(), "no key is configured any more: the host's own admin key, in this file, is accepted from now on");
        }
        let new = Arc::new(new);
        let to_load = self.distribute(&old, &new, keys, agents).await;
        self.operations.settings_changed(&old, &new, &diff);
        // Files that are new are watched before they are first read.
        let (live, watch) = (self.clone(), watch.clone());
        if tokio::task::spawn_blocking(move || live.rewatch(&watch)).await.is_err() {
            tracing::error!("what is watched could not be changed");
        }
        // Loading takes its time, and whoever changes the settings next does not wait for it.
        tokio::spawn(load(self.host.clone(), to_load, diff));
        Ok(())
    }

    /// Gives each part of the settings to the room that it is for; returns the agents that have to be loaded.
    async fn distribute(
        &self,
        old: &Config,
        new: &Arc<Config>,
        keys: Authenticator,
        agents: SettingsChange,
    ) -> Vec<Arc<AgentConfig>> {
        // Every part has its line here: a new one does not compile until it is named.
        let Config {
            auth,
            server,
            reload,
            agents: _,
            default_limits: _,
            scheduler,
            router,
            engine: _,
            base_dir: _,
        } = &**new;
        let host = &self.host;
        host.config.store(new.clone());
        // Keys and their scopes: at once.
        self.authenticator.store(Arc::new(keys));
        self.server.store(Arc::new(server.clone()));
        host.registry.set_reload(reload.clone());
        if old.auth != *auth {
            host.registry.set_scopes(scopes(new));
        }
        // Agents that are gone, and rights of those that stay; then what agents are told anew.
        let to_load = host.registry.settings_changed(agents).await.unwrap_or_else(|failure| {
            tracing::error!(reason = %failure, "the agents' settings did not take effect, except what they withdraw; save the file again when the cause is removed");
            Vec::new()
        });
        host.scheduler.resize(scheduler);
        if old.router != *router {
            host.registry.set_router(router_settings(router)).await;
        }
        to_load
    }
}

/// What has to change for the agents to be those of `new`.
fn agents_change(snapshot: &Snapshot, new: &Config) -> SettingsChange {
    let stands = |config: &AgentConfig| {
        let entry = snapshot.agent(&config.key);
        entry.is_some_and(|entry| {
            **entry.latest_config() == *config && !entry.is_registered() && !entry.is_unrecorded()
        })
    };
    let put = new.agents.values().filter(|config| !stands(config)).cloned().map(Arc::new).collect();
    let named: HashSet<&AgentKey> = new.agents.values().map(|config| &config.key).collect();
    let of_the_file = snapshot.agents().filter(|entry| !entry.is_registered());
    let removed = of_the_file.map(|entry| entry.key.clone()).filter(|key| !named.contains(key)).collect();
    // Registered agents whose settings mean something else under the new ones.
    let again = |entry: &Arc<AgentEntry>| {
        let text = entry.record().registered.as_deref()?;
        let read = stored_settings(new, &entry.key, text).ok()?;
        (read != **entry.latest_config()).then(|| Arc::new(read))
    };
    SettingsChange { put, registered: snapshot.agents().filter_map(again).collect(), removed }
}

/// Loads what other settings need, and says that they are in effect.
async fn load(host: Arc<Host>, agents: Vec<Arc<AgentConfig>>, diff: Diff) {
    host.registry.load(agents).await;
    // Those that went live have limits of their own.
    host.scheduler.resize(&host.config().scheduler);
    let names = |ids: &[AgentId]| ids.iter().map(AgentId::as_str).collect::<Vec<_>>().join(", ");
    let changed: Vec<AgentId> = diff.changed.iter().map(|change| change.id.clone()).collect();
    tracing::info!(
        name: Event::SettingsApplied.name(),
        added = names(&diff.added),
        changed = names(&changed),
        removed = names(&diff.removed),
        keys = diff.at_once.join(", "),
        "settings applied"
    );
    if !diff.at_restart.is_empty() {
        let keys = diff.at_restart.join(", ");
        tracing::warn!(name: Event::SettingsPending.name(), keys, "settings wait for a restart");
    }
}
