//! What takes away what nothing needs any more: components, and records of agents that are gone.
//!
//! Holds nothing. It works under the lock of whoever changes what serves.

use std::sync::Arc;
use std::time::Duration;

use super::retired::Retired;
use super::store::StoreError;
use super::{Inner, Registry};

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
            // What is being decided may name what nobody names now.
            let mut turn = inner.changing.clone().lock_owned().await;
            let sweep = move || {
                if let Err(error) = inner.sweep_retired(&mut turn) {
                    tracing::error!(%error, "what is kept of agents that are gone could not be swept");
                }
                let mut needed = inner.current.load().digests();
                needed.extend(&inner.unread);
                needed.extend(turn.digests());
                inner.loader.sweep(needed);
                drop(turn);
            };
            if let Err(error) = tokio::task::spawn_blocking(sweep).await {
                tracing::error!(%error, "components that nothing needs could not be removed");
            }
        }
    });
}

impl Inner {
    /// Drops what was kept long enough of agents that are gone.
    fn sweep_retired(&self, retired: &mut Retired) -> Result<(), StoreError> {
        let sweep = retired.due(self.clock.now());
        if sweep.is_empty() {
            return Ok(());
        }
        if let Some(store) = &self.store {
            store.write(&sweep.bared)?;
            store.forget(&sweep.forgotten, sweep.floor)?;
        }
        let (bared, forgotten) = (sweep.bared.len(), sweep.forgotten.len());
        tracing::info!(bared, forgotten, "what was kept of agents that are gone is swept");
        retired.apply(sweep);
        Ok(())
    }
}
