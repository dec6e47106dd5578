//! What takes away what nothing needs any more: components, and records of agents that are gone.
//!
//! Holds nothing. It keeps nobody from changing what serves, but those whose records it takes away.

use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use super::Registry;
use super::store::{Rows, StoreError};

/// How often records of agents that are gone are looked at: whether their time is up.
const LOOK_AT_RETIRED: Duration = Duration::from_secs(60 * 60);

/// Removes components that nothing needs any more, whenever there may be some, and what is kept of
/// agents that are gone when its time is up, as long as the registry is there.
pub(super) fn sweep_what_goes(registry: &Registry) {
    let unneeded = registry.inner.loader.unneeded();
    let inner = Arc::downgrade(&registry.inner);
    tokio::spawn(async move {
        loop {
            // Either is a reason to look.
            let _ = tokio::time::timeout(LOOK_AT_RETIRED, unneeded.notified()).await;
            let Some(inner) = inner.upgrade() else { return };
            if let Err(error) = inner.sweep_retired().await {
                tracing::error!(%error, "what is kept of agents that are gone could not be swept");
            }
            let sweep = move || inner.loader.sweep(|| inner.needed());
            if let Err(error) = tokio::task::spawn_blocking(sweep).await {
                tracing::error!(%error, "components that nothing needs could not be removed");
            }
        }
    });
}

impl Inner {
    /// Drops what was kept long enough of agents that are gone.
    async fn sweep_retired(&self) -> Result<(), StoreError> {
        let due = self.retired.read().due(self.clock.now());
        if due.is_empty() {
            return Ok(());
        }
        let own = self.reservations.reserve(due.keys().cloned()).await;
        // Some may have come back meanwhile.
        let mut sweep = self.retired.read().due(self.clock.now());
        sweep.retain(|key| own.has(key));
        if let Some(store) = &self.store {
            store.forget(Rows::of(&sweep.reduced), sweep.forgotten.clone(), sweep.floor).await?;
        }
        let (reduced, forgotten) = (sweep.reduced.len(), sweep.forgotten.len());
        tracing::info!(reduced, forgotten, "what was kept of agents that are gone is swept");
        self.retired.write().apply(sweep);
        Ok(())
    }
}
