//! Components that the data folder has lost or damaged, and whoever still has them.
//!
//! Holds nothing. What is kept is believed by its digest alone; the right bytes can be in the file of
//! an agent of agents.toml, or come with whoever registers the same component again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::load::{LoadFailure, PreparedComponent};
use super::{Inner, Registry};
use crate::domain::Digest;

impl Registry {
    /// Reads and links the component in `path`: a file of somebody's, or one that is kept here.
    pub(super) async fn read(&self, path: &Path) -> Result<Arc<PreparedComponent>, LoadFailure> {
        match self.inner.loader.digest_at(path) {
            Some(digest) => self.stored(&digest).await,
            None => self.inner.loader.file(path).await,
        }
    }

    /// Links the component of this digest that is kept; where it is damaged or gone, the one of an
    /// agent's file that has the same content, which is kept from then on.
    pub(super) async fn stored(&self, digest: &Digest) -> Result<Arc<PreparedComponent>, LoadFailure> {
        let failure = match self.inner.loader.stored(digest).await {
            Err(failure @ (LoadFailure::Damaged { .. } | LoadFailure::Missing { .. })) => failure,
            other => return other,
        };
        for file in self.files_that_may_be(digest) {
            if let Some(prepared) = self.inner.loader.file_if(&file, digest).await {
                tracing::warn!(%digest, file = %file.display(), "a component that was kept is taken from an agent's file again");
                return Ok(prepared);
            }
        }
        Err(failure)
    }

    /// The files of agents of which a version with this digest is remembered.
    fn files_that_may_be(&self, digest: &Digest) -> BTreeSet<PathBuf> {
        let snapshot = self.snapshot();
        let named = snapshot.agents().filter(|entry| entry.record().digests().any(|known| known == *digest));
        let files = named.map(|entry| entry.config.component.clone());
        files.filter(|file| self.inner.loader.digest_at(file).is_none()).collect()
    }
}

/// Loads agents that do not serve for want of a component, when that is brought, as long as the
/// registry is there.
pub(super) fn load_what_is_repaired(registry: &Registry, mut brought: mpsc::Receiver<Digest>) {
    let inner = Arc::downgrade(&registry.inner);
    tokio::spawn(async move {
        while let Some(digest) = brought.recv().await {
            let Some(inner): Option<Arc<Inner>> = inner.upgrade() else { return };
            let Some(path) = inner.store.as_ref().map(|store| store.component(&digest)) else { continue };
            let failed = inner.current.load().agents().any(|entry| {
                entry.version().is_none() && entry.last_load().is_some() && entry.config.component == path
            });
            if failed {
                Registry { inner }.file_changed(&path).await;
            }
        }
    });
}
