//! Tasks that run to their end whoever listens.
//!
//! Owns which tasks were started and are not over. It runs nothing in a way of its own: a started task is
//! what [`Scheduler::submit`](super::Scheduler::submit) gives, polled by a task of the runtime instead of
//! by whoever waits for it.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Outcome;

/// A task that was started: whoever has it can wait for its end, and can cancel it. Dropping it changes
/// nothing. A handle, cheap to clone.
#[derive(Debug, Clone)]
pub struct Ticket {
    outcome: watch::Receiver<Option<Arc<Outcome>>>,
    cancel: CancellationToken,
}

impl Ticket {
    /// Waits for the end. Anybody may wait, at any time, as often as they like.
    pub async fn outcome(&self) -> Arc<Outcome> {
        let mut outcome = self.outcome.clone();
        match outcome.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            // Nobody is left who could say.
            Ok(None) | Err(_) => Arc::new(Outcome::unknown()),
        }
    }

    /// The end, if it has come.
    pub fn outcome_now(&self) -> Option<Arc<Outcome>> {
        self.outcome.borrow().clone()
    }

    /// Ends the task as cancelled, unless it has ended. In the queue it gives its place up; its guest is
    /// dropped when it yields next. What it has spent by then is in the outcome.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}

/// The tasks that were started.
#[derive(Debug, Default)]
pub(super) struct Started {
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Started {
    /// Runs what `task` makes of its cancelling.
    pub(super) fn start<F>(&self, task: impl FnOnce(CancellationToken) -> F) -> Ticket
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let cancel = self.cancel.child_token();
        let (ended, outcome) = watch::channel(None);
        let task = task(cancel.clone());
        self.tasks.spawn(async move {
            ended.send_replace(Some(Arc::new(task.await)));
        });
        Ticket { outcome, cancel }
    }

    /// Waits until all have ended; at `until`, or when `at_once` says so, cancels those that have not.
    pub(super) async fn finish(&self, until: Instant, at_once: impl Future<Output = ()>) {
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => return,
            () = tokio::time::sleep_until(until.into()) => {}
            () = at_once => {}
        }
        self.cancel.cancel();
        self.tasks.wait().await;
    }
}
