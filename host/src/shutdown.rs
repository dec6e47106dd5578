//! Shutting down: one handle starts it, everything else watches it.
//!
//! Owns the stage of the shutdown and the count of requests in flight. The stage only moves
//! forward: serving, draining (accept nothing, finish what was accepted), leaving (now). It does
//! not touch sockets, instances or queues: their owners watch the stage.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// The stage of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// No shutdown.
    Serving,
    /// Nothing new is accepted; what was accepted is finished.
    Draining,
    /// The host leaves at once, whatever is unfinished.
    Leaving,
}

/// The handle that starts a shutdown, and knows its stage. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stage: watch::Sender<Stage>,
    in_flight: AtomicUsize,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A host that serves.
    pub fn new() -> Self {
        let (stage, _) = watch::channel(Stage::Serving);
        Self { shared: Arc::new(Shared { stage, in_flight: AtomicUsize::new(0) }) }
    }

    /// Begins to drain. Does nothing if that has begun already.
    pub fn drain(&self) {
        self.advance(Stage::Draining);
    }

    /// Gives up on what is unfinished.
    pub fn leave(&self) {
        self.advance(Stage::Leaving);
    }

    /// One step further: what a signal does. The first one drains, the second one leaves.
    pub fn step(&self) -> Stage {
        match self.stage() {
            Stage::Serving => self.drain(),
            Stage::Draining | Stage::Leaving => self.leave(),
        }
        self.stage()
    }

    /// The stage of the shutdown.
    pub fn stage(&self) -> Stage {
        *self.shared.stage.borrow()
    }

    /// Waits until the shutdown has reached `stage`, or a later one.
    pub async fn reached(&self, stage: Stage) {
        let mut stages = self.shared.stage.subscribe();
        // The sender lives as long as `self`: this cannot fail.
        let _ = stages.wait_for(|now| *now >= stage).await;
    }

    /// Counts a request until the guard is dropped.
    pub fn enter(&self) -> InFlight {
        self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { shared: Arc::clone(&self.shared) }
    }

    /// Requests that are being answered.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    fn advance(&self, to: Stage) {
        self.shared.stage.send_if_modified(|stage| {
            let further = to > *stage;
            if further {
                *stage = to;
            }
            further
        });
    }
}

/// A request that is being answered; dropped when its answer is made, or nobody waits for it.
#[derive(Debug)]
pub struct InFlight {
    shared: Arc<Shared>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Catches SIGINT and SIGTERM from now on: each takes `shutdown` one step further. Spawn the
/// future that it returns; it ends when the host is to leave at once.
///
/// # Errors
/// Where the handlers cannot be installed.
#[cfg(unix)]
pub fn on_signals(shutdown: Shutdown) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        loop {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            if announce(&shutdown, name) == Stage::Leaving {
                return;
            }
        }
    })
}

/// Catches Ctrl-C from now on: each takes `shutdown` one step further. Spawn the future that it
/// returns; it ends when the host is to leave at once.
///
/// # Errors
/// None on this platform before the first Ctrl-C.
#[cfg(not(unix))]
pub fn on_signals(shutdown: Shutdown) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if announce(&shutdown, "Ctrl-C") == Stage::Leaving {
                return;
            }
        }
    })
}

fn announce(shutdown: &Shutdown, signal: &str) -> Stage {
    let stage = shutdown.step();
    let in_flight = shutdown.in_flight();
    match stage {
        Stage::Serving => {}
        Stage::Draining => {
            tracing::info!(
                signal,
                in_flight,
                "shutting down: finishing what was accepted; once more to leave at once"
            );
        }
        Stage::Leaving => tracing::warn!(signal, in_flight, "leaving at once"),
    }
    stage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stage_only_moves_forward() {
        let shutdown = Shutdown::new();
        assert_eq!(shutdown.stage(), Stage::Serving);
        assert_eq!(shutdown.step(), Stage::Draining);
        shutdown.drain();
        assert_eq!(shutdown.stage(), Stage::Draining);
        assert_eq!(shutdown.step(), Stage::Leaving);
        shutdown.drain();
        assert_eq!(shutdown.stage(), Stage::Leaving);
    }

    #[test]
    fn a_guard_counts_until_it_is_dropped() {
        let shutdown = Shutdown::new();
        let first = shutdown.enter();
        let second = shutdown.clone().enter();
        assert_eq!(shutdown.in_flight(), 2);
        drop((first, second));
        assert_eq!(shutdown.in_flight(), 0);
    }

    #[tokio::test]
    async fn whoever_waits_for_a_stage_is_woken_by_a_later_one() {
        let shutdown = Shutdown::new();
        let waiter = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.reached(Stage::Draining).await }
        });
        shutdown.leave();
        waiter.await.expect("the waiter ends");
        shutdown.reached(Stage::Serving).await;
    }
}
