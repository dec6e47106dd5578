//! From a file to a version that can serve: read, compile, check, describe.
//!
//! Shares what agents have in common: one component is loaded once however many agents it
//! serves, and describes itself once for each memory limit.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::agent::{Card, LoadedVersion};
use super::stable;
use super::store::{Store, StoreError};
use crate::capabilities::AgentRights;
use crate::config::{AgentConfig, Overlay};
use crate::domain::{AgentStatus, Approved, Digest};
use crate::engine::{DescribeError, Description, Engine, LinkedComponent, LoadError, Origin, SelfTestError};
use crate::storage::{BlobError, Kept};

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
    /// What is kept is not what was kept, and nobody else has it.
    #[error(
        "{path} is damaged: its content is not that of {digest}, and no agent's file has that content; register the same component again, or restore the file"
    )]
    Damaged {
        /// The component's file.
        path: String,
        /// What it should be.
        digest: Digest,
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
    /// Its own examples say that it does not work.
    #[error("{path}: {reason}")]
    SelfTest {
        /// The component's file.
        path: String,
        /// Which of them, and what to change.
        reason: SelfTestError,
    },
    /// The code was taken back before.
    #[error(
        "{path}: this version was taken back: {reason}. Save another version, or let it in again with `stockade approve {agent}`"
    )]
    TakenBack {
        /// The component's file.
        path: String,
        /// The agent.
        agent: String,
        /// Why it was taken back.
        reason: String,
    },
    /// What was decided cannot be written down, so it does not take effect.
    #[error("{0}; nothing was changed. When that is mended, save the file again, or ask again")]
    NotRecorded(Arc<StoreError>),
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
            | Self::Damaged { .. }
            | Self::Refused { .. }
            | Self::Undescribed { .. }
            | Self::Broken { .. }
            | Self::SelfTest { .. }
            | Self::TakenBack { .. }
            | Self::NotRecorded(_)
            | Self::Interrupted => AgentStatus::Failed,
        }
    }
}

/// A component, and its description under each memory limit that was tried.
pub(super) struct PreparedComponent {
    component: Arc<LinkedComponent>,
    described: Mutex<HashMap<u64, Arc<Described>>>,
    /// How its self-tests ended, under each memory limit and `config` that was tried.
    tested: Mutex<HashMap<TestedUnder, Result<(), SelfTestError>>>,
    /// Told when nothing uses it any more.
    unneeded: Arc<Notify>,
}

impl Drop for PreparedComponent {
    fn drop(&mut self) {
        self.unneeded.notify_one();
    }
}

/// What a self-test depends on beside the code.
type TestedUnder = (u64, BTreeMap<String, String>);

impl PreparedComponent {
    pub(super) fn digest(&self) -> Digest {
        self.component.digest()
    }
}

/// What a component says of itself, in the forms that its agents share.
struct Described {
    description: Description,
    /// The card of an agent whose operator overrides nothing.
    plain: Arc<Card>,
}

impl Described {
    fn new(description: Description) -> Self {
        let plain = Arc::new(Card::new(&description, &Overlay::default()));
        Self { description, plain }
    }
}

/// What it means for an agent that a component which is kept cannot be read.
fn not_read(error: BlobError, digest: Digest) -> LoadFailure {
    match error {
        BlobError::Missing { path } => LoadFailure::Missing { path },
        BlobError::Damaged { path } => LoadFailure::Damaged { path, digest },
        BlobError::TooLarge { path, size, limit } => {
            LoadFailure::Refused { path, reason: LoadError::TooLarge { size, limit } }
        }
        BlobError::Unreadable { path, reason } => {
            LoadFailure::Unreadable { path, reason: reason.to_string() }
        }
    }
}

/// Bytes with their digest: nine milliseconds for 18 MB, not on the threads that answer.
async fn digested(bytes: Arc<[u8]>) -> Result<(Arc<[u8]>, Digest), LoadFailure> {
    let digest = move || {
        let digest = Digest::of(&bytes);
        (bytes, digest)
    };
    tokio::task::spawn_blocking(digest).await.map_err(|_| LoadFailure::Interrupted)
}

/// Loads components; remembers those that are in use.
pub(super) struct Loader {
    engine: Arc<Engine>,
    store: Option<Arc<Store>>,
    in_use: Arc<Mutex<HashMap<Digest, Weak<PreparedComponent>>>>,
    /// Held by whoever keeps a component, until it is known to be in use; by whoever sweeps, alone.
    keeping: Arc<RwLock<()>>,
    /// Told when a component may be needed no longer.
    unneeded: Arc<Notify>,
    /// Components that are held in memory as bytes at once.
    reading: Semaphore,
    /// Told which components came, or came back, to the store.
    brought: mpsc::Sender<Digest>,
}

/// Components that were brought and not looked at yet; of more at once, those wait for their next load.
const BROUGHT: usize = 1024;

impl Loader {
    /// A loader, and which components come to the store from now on.
    pub(super) fn new(engine: Arc<Engine>, store: Option<Arc<Store>>) -> (Self, mpsc::Receiver<Digest>) {
        let reading = Semaphore::new(engine.config().compile_jobs.max(1) as usize);
        let (in_use, keeping, unneeded) = Default::default();
        let (brought, receiver) = mpsc::channel(BROUGHT);
        (Self { engine, store, in_use, keeping, unneeded, reading, brought }, receiver)
    }

    /// Tells when a component may be needed no longer: it is time to sweep.
    pub(super) fn unneeded(&self) -> Arc<Notify> {
        self.unneeded.clone()
    }

    /// Reads and links the component in `path`.
    pub(super) async fn file(&self, path: &Path) -> Result<Arc<PreparedComponent>, LoadFailure> {
        let _permit = self.reading.acquire().await.map_err(|_| LoadFailure::Interrupted)?;
        let (bytes, digest) = self.read(path).await?;
        self.prepare(bytes, digest, Origin::File(path), path.display().to_string()).await
    }

    /// The same, if it is the component with this digest; `None` if it is another, or none.
    pub(super) async fn file_if(&self, path: &Path, wanted: &Digest) -> Option<Arc<PreparedComponent>> {
        let _permit = self.reading.acquire().await.ok()?;
        let (bytes, digest) = self.read(path).await.ok()?;
        let shown = || path.display().to_string();
        if digest == *wanted {
            self.prepare(bytes, digest, Origin::File(path), shown()).await.ok()
        } else {
            None
        }
    }

    /// Links the component of this digest that the store has, if it has it whole.
    pub(super) async fn stored(&self, wanted: &Digest) -> Result<Arc<PreparedComponent>, LoadFailure> {
        if let Some(prepared) = self.known(wanted) {
            return Ok(prepared);
        }
        let Some(store) = self.store.clone() else {
            return Err(LoadFailure::Missing { path: wanted.to_string() });
        };
        let _permit = self.reading.acquire().await.map_err(|_| LoadFailure::Interrupted)?;
        let (digest, limit) = (*wanted, self.engine.config().max_component_size);
        let path = store.component(&digest).display().to_string();
        let read = tokio::task::spawn_blocking(move || store.read(&digest, limit)).await;
        let bytes = read.map_err(|_| LoadFailure::Interrupted)?.map_err(|error| not_read(error, digest))?;
        self.prepare(bytes.into(), digest, Origin::Kept, path).await
    }

    /// The digest of the component that this path is for, if it is one of the store's.
    pub(super) fn digest_at(&self, path: &Path) -> Option<Digest> {
        self.store.as_ref()?.digest_at(path)
    }

    /// A file's bytes, and their digest.
    async fn read(&self, path: &Path) -> Result<(Arc<[u8]>, Digest), LoadFailure> {
        let shown = || path.display().to_string();
        match stable::read(path, self.engine.config().max_component_size).await {
            Ok(bytes) => digested(bytes.into()).await,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(LoadFailure::Missing { path: shown() })
            }
            Err(error) => Err(LoadFailure::Unreadable { path: shown(), reason: error.to_string() }),
        }
    }

    /// Links the component that these bytes are, which somebody sent for an agent.
    pub(super) async fn bytes(
        &self,
        bytes: Arc<[u8]>,
        from: Origin<'_>,
    ) -> Result<Arc<PreparedComponent>, LoadFailure> {
        let _permit = self.reading.acquire().await.map_err(|_| LoadFailure::Interrupted)?;
        let (bytes, digest) = digested(bytes).await?;
        self.prepare(bytes, digest, from, "the component".to_owned()).await
    }

    async fn prepare(
        &self,
        bytes: Arc<[u8]>,
        digest: Digest,
        origin: Origin<'_>,
        shown: String,
    ) -> Result<Arc<PreparedComponent>, LoadFailure> {
        if let Some(prepared) = self.known(&digest) {
            // It serves; what is kept of it may be damaged all the same.
            self.keep(digest, bytes, || ()).await?;
            return Ok(prepared);
        }
        let component = match self.engine.load(bytes.clone(), digest, origin).await {
            Ok(component) => Arc::new(component),
            Err(reason) => {
                // What was compiled of it serves nobody.
                self.engine.forget([&digest]);
                return Err(LoadFailure::Refused { path: shown, reason });
            }
        };
        let (described, tested) = Default::default();
        let unneeded = self.unneeded.clone();
        let prepared = Arc::new(PreparedComponent { component, described, tested, unneeded });
        let in_use = self.in_use.clone();
        let use_it = move |prepared: &Arc<PreparedComponent>| {
            let mut in_use = in_use.lock();
            in_use.retain(|_, known| known.strong_count() > 0);
            in_use.insert(digest, Arc::downgrade(prepared));
        };
        let kept = prepared.clone();
        self.keep(digest, bytes, move || use_it(&kept)).await?;
        Ok(prepared)
    }

    /// Keeps a component, if there is somewhere to, and then does `then`.
    async fn keep(
        &self,
        digest: Digest,
        bytes: Arc<[u8]>,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<(), LoadFailure> {
        let Some(store) = self.store.clone() else {
            then();
            return Ok(());
        };
        let keeping = self.keeping.clone();
        let keep = move || {
            // What is swept between the two would be known and gone.
            let _held = keeping.read();
            let kept = store.keep(&digest, &bytes)?;
            then();
            Ok(kept)
        };
        let kept = tokio::task::spawn_blocking(keep).await.map_err(|_| LoadFailure::Interrupted)?;
        match kept.map_err(|error| LoadFailure::NotRecorded(Arc::new(error)))? {
            Kept::Existing => {}
            // An agent may have waited for it.
            Kept::New | Kept::Repaired => drop(self.brought.try_send(digest)),
        }
        Ok(())
    }

    fn known(&self, digest: &Digest) -> Option<Arc<PreparedComponent>> {
        self.in_use.lock().get(digest).and_then(Weak::upgrade)
    }

    /// Removes the components that neither `needed` names nor anything uses, and their compiled code. What
    /// is in use is looked at first: what comes into use after that is kept again, which waits for this.
    pub(super) fn sweep(&self, needed: impl FnOnce() -> HashSet<Digest>) {
        let Some(store) = &self.store else { return };
        let _alone = self.keeping.write();
        let mut stays: HashSet<Digest> = {
            let in_use = self.in_use.lock();
            let used = in_use.iter().filter(|(_, known)| known.strong_count() > 0);
            used.map(|(digest, _)| *digest).collect()
        };
        stays.extend(needed());
        self.engine.forget(&store.sweep(&stays));
    }

    /// Runs the examples of the agent that `config` describes as its tests.
    pub(super) async fn self_test(
        &self,
        config: &AgentConfig,
        prepared: &Arc<PreparedComponent>,
    ) -> Result<(), LoadFailure> {
        let failed = |reason| LoadFailure::SelfTest { path: config.component.display().to_string(), reason };
        let under: TestedUnder = (config.limits.memory, config.config.clone());
        let known = prepared.tested.lock().get(&under).cloned();
        if let Some(tested) = known {
            return tested.map_err(failed);
        }
        let described = self.describe(config, prepared).await?;
        let component = prepared.component.clone();
        let examples = &described.description.examples;
        let tested =
            self.engine.self_test(component, &config.key.id, &config.limits, &config.config, examples);
        let tested = tested.await.ok_or(LoadFailure::Interrupted)?;
        prepared.tested.lock().insert(under, tested.clone());
        tested.map_err(failed)
    }

    /// Makes a version of the agent that `config` describes, with what an operator approved beside it.
    pub(super) async fn version(
        &self,
        config: &AgentConfig,
        approved: &Approved,
        prepared: &Arc<PreparedComponent>,
    ) -> Result<LoadedVersion, LoadFailure> {
        let component = prepared.component.clone();
        let described = self.describe(config, prepared).await?;
        let card = if config.overlay == Overlay::default() {
            described.plain.clone()
        } else {
            Arc::new(Card::new(&described.description, &config.overlay))
        };
        let grants = config.grants.with_approved(approved);
        let settings = config.fingerprint(&grants);
        let rights = AgentRights { id: config.key.id.clone(), grants, config: config.config.clone() };
        Ok(LoadedVersion {
            key: config.key.clone(),
            digest: component.digest(),
            card,
            limits: config.limits,
            settings,
            component,
            rights: Arc::new(rights),
            max_concurrent: config.max_concurrent,
            queue: config.queue,
            context_schema: described.description.context_schema.clone(),
            prepared: prepared.clone(),
        })
    }

    async fn describe(
        &self,
        config: &AgentConfig,
        prepared: &Arc<PreparedComponent>,
    ) -> Result<Arc<Described>, LoadFailure> {
        let memory = config.limits.memory;
        let known = prepared.described.lock().get(&memory).cloned();
        if let Some(described) = known {
            return Ok(described);
        }
        let component = prepared.component.clone();
        let path = || config.component.display().to_string();
        let described = match self.engine.describe(component, &config.key.id, &config.limits).await {
            Some(Ok(description)) => Arc::new(Described::new(description)),
            Some(Err(reason)) => return Err(LoadFailure::Undescribed { path: path(), reason }),
            None => return Err(LoadFailure::Interrupted),
        };
        prepared.described.lock().insert(memory, described.clone());
        Ok(described)
    }
}
