//! Changes while the host runs: files that are saved, agents.toml among them.
//!
//! Owns the watch of files, and the turn of whoever reads the settings. What changed settings are worth is in
//! [`settings`]; a component's file is the registry's.

mod settings;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Host, SettingsFile, StartError};
use crate::api::Api;
use crate::auth::Authenticator;
use crate::config::ServerConfig;
use crate::operations::Operations;
use crate::registry::{Changes, Watch};
use crate::telemetry::event::Event;

/// A host whose files are followed.
pub(super) struct Live {
    host: Arc<Host>,
    file: Arc<SettingsFile>,
    authenticator: Arc<ArcSwap<Authenticator>>,
    server: Arc<ArcSwap<ServerConfig>>,
    operations: Operations,
    /// Held by whoever reads the settings, so that what is read later takes effect later.
    reading: tokio::sync::Mutex<()>,
}

impl Live {
    pub(super) fn new(host: Arc<Host>, file: Arc<SettingsFile>, api: &Api) -> Arc<Self> {
        let (authenticator, server) = (api.authenticator.clone(), api.server.clone());
        let operations = api.operations.clone();
        Arc::new(Self {
            host,
            file,
            authenticator,
            server,
            operations,
            reading: tokio::sync::Mutex::default(),
        })
    }

    /// Watches the settings and every component's file from now on; the future that it returns handles
    /// what changes.
    pub(super) fn follow(self: Arc<Self>) -> Result<impl Future<Output = ()> + Send + 'static, StartError> {
        let (watch, changes) = Watch::start()?;
        let watch = Arc::new(watch);
        self.rewatch(&watch);
        Ok(self.handle(watch, changes))
    }

    async fn handle(self: Arc<Self>, watch: Arc<Watch>, mut changes: Changes) {
        let settings = self.settings_path();
        // What was saved since the host read its settings, and before they were watched: `dev` builds
        // in between.
        tokio::spawn(self.clone().settings_changed(watch.clone()));
        while let Some(paths) = changes.next().await {
            for path in paths {
                // Side by side: a component that compiles for long keeps no other waiting.
                if path == settings {
                    tokio::spawn(self.clone().settings_changed(watch.clone()));
                } else {
                    let registry = self.host.registry.clone();
                    tokio::spawn(async move { registry.file_changed(&path).await });
                }
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

    /// Reads the settings and has what changed take effect.
    async fn settings_changed(self: Arc<Self>, watch: Arc<Watch>) {
        let _turn = self.reading.lock().await;
        let changed = match self.file.read().await {
            Ok(new) => self.apply(new, &watch).await,
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = changed {
            tracing::error!(
                name: Event::SettingsRejected.name(),
                reason,
                "the changed settings are rejected: those from before stay in effect"
            );
        }
    }
}
