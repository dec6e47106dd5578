//! Accepting: from a listening socket to connections, and from there to a good end.
//!
//! Owns the listener and the bound on open connections. When that bound is reached nothing more is
//! accepted: new connections wait in the operating system's queue, while those that were idle for
//! a second are closed to make room.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::task::TaskTracker;

use super::activity::Patience;
use super::connection::{self, Notice};
use super::{Api, router};
use crate::shutdown::Stage;

/// How often idle connections are asked to go while others wait.
const CROWDED_EVERY: Duration = Duration::from_millis(250);
/// How long accepting rests when the system has no more sockets to give.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every request that was accepted was answered.
    Drained,
    /// The grace period ended first, or the host was told to leave at once.
    Abandoned {
        /// Requests that were cut off.
        requests: usize,
    },
}

/// Serves `api` on `listener` until its shutdown begins, then drains: nothing more is accepted, idle
/// connections are closed, and requests have the grace period to finish. HTTP/1.1 only.
///
/// The settings of connections are those of `[server]` at this moment: later changes need a restart.
pub async fn serve(listener: TcpListener, api: &Api) -> Ended {
    let server = api.server.load_full();
    let shutdown = &api.shutdown;
    let router = router(api.clone());
    let patience = Patience { head: server.header_timeout, idle: server.idle_timeout };
    let slots = Arc::new(Semaphore::new(server.max_connections.max(1) as usize));
    let (notices, _) = watch::channel(Notice::None);
    let connections = TaskTracker::new();
    let accepting = async {
        loop {
            let slot = free_slot(&slots, &notices).await;
            let stream = accept(&listener).await;
            // An answer is written at once: there is nothing to wait for.
            let _ = stream.set_nodelay(true);
            let (router, api, notices) = (router.clone(), api.clone(), notices.subscribe());
            connections.spawn(async move {
                connection::serve(stream, router, api, patience, notices).await;
                drop(slot);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown.reached(Stage::Draining) => {}
    }
    drop(listener);
    connections.close();
    notices.send_replace(Notice::Drain);
    tokio::select! {
        () = connections.wait() => return Ended::Drained,
        () = tokio::time::sleep(server.grace_period) => {}
        () = shutdown.reached(Stage::Leaving) => {}
    }
    let requests = shutdown.in_flight();
    notices.send_replace(Notice::Abandon);
    connections.wait().await;
    if requests == 0 { Ended::Drained } else { Ended::Abandoned { requests } }
}

/// Waits for room for one more connection.
async fn free_slot(slots: &Arc<Semaphore>, notices: &watch::Sender<Notice>) -> OwnedSemaphorePermit {
    let mut waiting = std::pin::pin!(Arc::clone(slots).acquire_owned());
    let mut asked = 0;
    loop {
        tokio::select! {
            biased;
            slot = &mut waiting => match slot {
                Ok(slot) => return slot,
                // Nobody closes the semaphore; and without it there would be no bound.
                Err(_) => std::future::pending().await,
            },
            () = tokio::time::sleep(CROWDED_EVERY) => {
                asked += 1;
                if asked == 1 {
                    tracing::warn!("all connections are taken: new ones wait (`max_connections` in [server])");
                }
                notices.send_replace(Notice::Crowded(asked));
            }
        }
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => match error.kind() {
                // The client was gone before it was accepted.
                io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::Interrupted => {}
                _ => {
                    tracing::warn!(%error, "a connection could not be accepted; trying again");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            },
        }
    }
}
