//! Accepting: from a listening socket to connections, and from there to a good end.
//!
//! Owns the listener. How many connections there may be, and whose, is [`super::seats`]': when all places
//! are taken nothing more is accepted, new connections wait in the operating system's queue, and those that were
//! idle for a second are closed to make room.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::connection::{self, Notice};
use super::seats::Seats;
use super::{Api, RequestIds, router};
use crate::config::ServerConfig;
use crate::shutdown::{Shutdown, Stage};

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

/// What connections stand on, whatever they serve.
#[derive(Clone)]
pub(super) struct Door {
    /// `[server]`, read as each of its times begins.
    pub(super) server: Arc<ArcSwap<ServerConfig>>,
    pub(super) seats: Arc<Seats>,
    pub(super) shutdown: Shutdown,
    pub(super) request_ids: RequestIds,
}

/// Serves `api` on `listener` until its shutdown begins, then drains: nothing more is accepted, idle
/// connections are closed, and requests have the grace period to finish, answers that go on and upgraded
/// sockets too. HTTP/1.1 only.
pub async fn serve(listener: TcpListener, api: &Api) -> Ended {
    let door = Door {
        server: api.server.clone(),
        seats: Seats::new(api.server.clone()),
        shutdown: api.shutdown.clone(),
        request_ids: api.request_ids.clone(),
    };
    serve_router(listener, router(api.clone()), door).await
}

/// Serves `router` behind `door`.
pub(super) async fn serve_router(listener: TcpListener, router: Router, door: Door) -> Ended {
    let (notices, _) = watch::channel(Notice::None);
    let connections = TaskTracker::new();
    let accepting = async {
        loop {
            door.seats.until_room().await;
            let (stream, peer) = accept(&listener).await;
            // A trusted proxy's connections are many clients': each has its share by its requests.
            let address = peer.ip().to_canonical();
            let address =
                Some(address).filter(|address| !door.server.load().trusted_proxies.contains(*address));
            let Some(place) = door.seats.place(address) else {
                continue;
            };
            // An answer is written at once: there is nothing to wait for.
            let _ = stream.set_nodelay(true);
            connections.spawn(connection::serve(
                stream,
                router.clone(),
                door.clone(),
                place,
                notices.subscribe(),
            ));
        }
    };
    tokio::select! {
        () = accepting => {}
        () = relieve(&door.seats, &notices) => {}
        () = door.shutdown.reached(Stage::Draining) => {}
    }
    drop(listener);
    connections.close();
    notices.send_replace(Notice::Drain);
    let grace = door.server.load().grace_period;
    tokio::select! {
        () = connections.wait() => return Ended::Drained,
        () = tokio::time::sleep(grace) => {}
        () = door.shutdown.reached(Stage::Leaving) => {}
    }
    let requests = door.shutdown.in_flight();
    notices.send_replace(Notice::Abandon);
    connections.wait().await;
    if requests == 0 { Ended::Drained } else { Ended::Abandoned { requests } }
}

/// Asks idle connections to go while others want their places.
async fn relieve(seats: &Seats, notices: &watch::Sender<Notice>) {
    let mut was_crowded = false;
    loop {
        tokio::time::sleep(CROWDED_EVERY).await;
        let crowd = seats.crowd();
        let crowded = crowd.is_some();
        if let Some(crowd) = crowd {
            notices.send_replace(Notice::Crowded(Arc::new(crowd)));
        }
        if crowded && !was_crowded {
            tracing::warn!(
                "all connections are taken, or all that one address may have: new ones wait for those that are \
                 idle to go (`max_connections` and `address_connections` in [server])"
            );
        }
        was_crowded = crowded;
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
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
