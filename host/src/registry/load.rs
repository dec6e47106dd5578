//! From a file to a version that can serve: read, compile, check, describe.
//!
//! Shares what agents have in common: one component is loaded once however many agents it
//! serves, and describes itself once for each memory limit.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;

use super::agent::{AgentVersion, Card, ContextSchema};
use crate::capabilities::AgentRights;
use crate::config::{AgentConfig, Overlay};
use crate::domain::{AgentStatus, Clock, Digest};
use crate::engine::{DescribeError, Description, Engine, LinkedComponent, LoadError};

/// Why an agent has no new version. Each message says what to change.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadFailure {
    /// There is no such file.
    #[error("{path} is not there; build the plugin (`stockade build`), or correct `component`")]
    Missing {
        /// The component's file.
        path: String,
    },
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The component's file.
        path: String,
        /// The operating system's words.
        reason: String,
    },
    /// The component is refused.
    #[error("{path}: {reason}")]
    Refused {
        /// The component's file.
        path: String,
        /// What is wrong with it.
        reason: LoadError,
    },
    /// The component does not describe itself.
    #[error("{path}: {reason}")]
    Undescribed {
        /// The component's file.
        path: String,
        /// What is wrong with it.
        reason: DescribeError,
    },
    /// The host itself failed on it.
    #[error("{path}: the host failed on this component; its log says how. Please report it")]
    Broken {
        /// The component's file.
        path: String,
    },
    /// The host is stopping.
    #[error("loading was interrupted; the host is stopping")]
    Interrupted,
}

impl LoadFailure {
    /// The status of an agent that has nothing else to serve.
    pub fn status(&self) -> AgentStatus {
        match self {
            Self::Missing { .. } => AgentStatus::Missing,
            Self::Unreadable { .. }
            | Self::Refused { .. }
            | Self::Undescribed { .. }
            | Self::Broken { .. }
            | Self::Interrupted => AgentStatus::Failed,
        }
    }
}

/// A component, and what it said of itself under each memory limit that was tried.
pub(super) struct Prepared {
    component: Arc<LinkedComponent>,
    described: Mutex<HashMap<u64, Arc<Described>>>,
}

/// What a component said of itself, in the forms that its agents share.
struct Described {
    said: Description,
    /// The card of an agent whose operator adds nothing.
    plain: Arc<Card>,
    context_schema: Option<Arc<ContextSchema>>,
}

impl Described {
    fn new(said: Description) -> Self {
        let plain = Arc::new(Card::new(&said, &Overlay::default()));
        // The engine has checked that the schema is one.
        let context_schema = said.context_schema.as_ref().and_then(ContextSchema::new).map(Arc::new);
        Self { said, plain, context_schema }
    }
}

/// Loads components; remembers those that are in use.
pub(super) struct Loader {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    in_use: Mutex<HashMap<Digest, Weak<Prepared>>>,
    /// Components that are held in memory as bytes at once.
    reading: Semaphore,
}

/// Reads a file of at most `limit` bytes, and one more, so that it is known to be too large.
async fn read_component(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let metadata = tokio::fs::metadata(path).await?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    let file = tokio::fs::File::open(path).await?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(limit)).unwrap_or(0) + 1);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

impl Loader {
    pub(super) fn new(engine: Arc<Engine>, clock: Arc<dyn Clock>) -> Self {
        let reading = Semaphore::new(engine.config().compile_jobs.max(1) as usize);
        Self { engine, clock, in_use: Mutex::default(), reading }
    }

    /// Reads and links the component in `path`.
    pub(super) async fn component(&self, path: &Path) -> Result<Arc<Prepared>, LoadFailure> {
        let shown = || path.display().to_string();
        let _permit = self.reading.acquire().await.map_err(|_| LoadFailure::Interrupted)?;
        let limit = self.engine.config().max_component_size;
        let bytes: Arc<[u8]> = match read_component(path, limit).await {
            Ok(bytes) => bytes.into(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(LoadFailure::Missing { path: shown() });
            }
            Err(error) => {
                return Err(LoadFailure::Unreadable { path: shown(), reason: error.to_string() });
            }
        };
        let digest = Digest::of(&bytes);
        if let Some(prepared) = self.in_use.lock().get(&digest).and_then(Weak::upgrade) {
            return Ok(prepared);
        }
        let refused = |reason| LoadFailure::Refused { path: shown(), reason };
        let component = Arc::new(self.engine.load(bytes).await.map_err(refused)?);
        let prepared = Arc::new(Prepared { component, described: Mutex::default() });
        let mut in_use = self.in_use.lock();
        in_use.retain(|_, known| known.strong_count() > 0);
        in_use.insert(digest, Arc::downgrade(&prepared));
        Ok(prepared)
    }

    /// Makes a version of the agent that `config` describes.
    pub(super) async fn agent(
        &self,
        config: &AgentConfig,
        prepared: &Arc<Prepared>,
        generation: u64,
    ) -> Result<AgentVersion, LoadFailure> {
        let component = prepared.component.clone();
        let described = self.describe(config, prepared).await?;
        let card = if config.overlay == Overlay::default() {
            described.plain.clone()
        } else {
            Arc::new(Card::new(&described.said, &config.overlay))
        };
        let capabilities = component
            .capabilities()
            .iter()
            .map(|name| (*name, config.grants.0.get(*name) == Some(&true)))
            .collect();
        let rights = AgentRights {
            id: config.id.clone(),
            grants: config.grants.clone(),
            config: config.config.clone(),
        };
        Ok(AgentVersion {
            id: config.id.clone(),
            generation,
            digest: component.digest(),
            card,
            limits: config.limits,
            capabilities,
            loaded_at: self.clock.now(),
            component,
            rights: Arc::new(rights),
            max_concurrent: config.max_concurrent,
            queue: config.queue,
            context_schema: described.context_schema.clone(),
            _prepared: prepared.clone(),
        })
    }

    async fn describe(
        &self,
        config: &AgentConfig,
        prepared: &Arc<Prepared>,
    ) -> Result<Arc<Described>, LoadFailure> {
        let memory = config.limits.memory;
        let known = prepared.described.lock().get(&memory).cloned();
        if let Some(said) = known {
            return Ok(said);
        }
        let component = prepared.component.clone();
        let (engine, id, limits) = (self.engine.clone(), config.id.clone(), config.limits);
        let describe = async move { engine.describe(component, &id, &limits).await };
        let path = || config.component.display().to_string();
        let said = match self.engine.spawn(describe).await {
            Some(Ok(said)) => Arc::new(Described::new(said)),
            Some(Err(reason)) => return Err(LoadFailure::Undescribed { path: path(), reason }),
            None => return Err(LoadFailure::Interrupted),
        };
        prepared.described.lock().insert(memory, said.clone());
        Ok(said)
    }
}
