//! Trials: what a new version is asked before it serves, in a small share of sandboxes of its own.
//!
//! Owns the places. However many versions wait in their trials, the sandboxes of calls are free.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Engine, RunClock};

/// How long a trial may wait for something else than its turn, over all: what is asked in it needs
/// computing alone.
pub(super) const MAX_IDLE: Duration = Duration::from_secs(1);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How much longer than its own clock a trial that holds its thread is waited for.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Why a trial has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialError {
    /// It waited too long for something else than its turn.
    Idle,
    /// Its time was up, by the clock of who asked.
    TimedOut,
    /// The guests' threads are closed.
    Closed,
}

impl Engine {
    /// Runs a trial of at most `time` on the guests' threads, once one of `trial_instances` places is
    /// free. Dropping the future ends it.
    ///
    /// # Errors
    /// [`TrialError`] if it did not end by itself.
    pub async fn try_out<T: Send + 'static>(
        &self,
        time: Duration,
        trial: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, TrialError> {
        let place = self.trials.clone().acquire_owned().await.map_err(|_| TrialError::Closed)?;
        let clock = Arc::<RunClock>::default();
        let until = Instant::now() + time + LAST_WORD;
        // The place is the guest's until it is gone.
        let guest = async move {
            let _place = place;
            trial.await
        };
        let mut guest = self.spawn_timed(guest, clock.clone());
        loop {
            match tokio::time::timeout(LOOK_EVERY, &mut guest).await {
                Ok(ended) => return ended.ok_or(TrialError::Closed),
                Err(_) if clock.idled() > MAX_IDLE => return Err(TrialError::Idle),
                Err(_) if Instant::now() > until => return Err(TrialError::TimedOut),
                Err(_) => {}
            }
        }
    }
}
