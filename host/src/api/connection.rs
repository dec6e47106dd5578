//! One connection: HTTP/1.1 over a socket, with a bound on every silence.
//!
//! Owns the socket and its one timer; what the connection is doing is an [`Activity`]. hyper parses
//! and writes; this file only watches the bytes pass, so that a client that is slow to send its request's
//! head, idle between requests, or slow to read its answer is cut off. A request's own time belongs to
//! the body's reader and the scheduler: while a handler runs, or while an answer goes on and all of it so far
//! is written, the connection ends early only if its client has left. A socket that is upgraded keeps its place,
//! and is waited for as a request is.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tower_service::Service;

use super::activity::{Activity, Busy, Open, Patience};
use super::client::{Peer, client_address};
use super::front::Refused;
use super::outgoing::Answer;
use super::repoll::Repoll;
use super::seats::{Client, Crowd, NoSeat, Place};
use super::serve::Door;
use super::shares::Room;
use super::socket::{Watched, end, has_left};

/// The largest head of a request, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// The most header fields of a request.
pub(super) const MAX_FIELDS: usize = 100;
/// How long a connection without a seat may take for its request's head.
const RESERVE_HEAD: Duration = Duration::from_secs(2);
/// How long a request waits for a seat.
const SEAT_WAIT: Duration = Duration::from_secs(5);

/// What all connections are told.
#[derive(Debug, Clone)]
pub(super) enum Notice {
    /// Nothing.
    None,
    /// There are too many: those that are idle should go, where that helps.
    Crowded(Arc<Crowd>),
    /// Finish the request at hand, and close.
    Drain,
    /// Close now.
    Abandon,
}

/// Serves one connection to its end.
pub(super) async fn serve(
    stream: TcpStream,
    router: Router,
    door: Door,
    place: Place,
    mut notices: watch::Receiver<Notice>,
) {
    let place = Arc::new(place);
    let activity = Arc::new(Activity::new());
    let peer = stream.peer_addr().ok().map(|address| Peer(address.ip().to_canonical()));
    let stream = Arc::new(Mutex::new(stream));
    // Dropped with the socket, wherever that went.
    let (held, mut gone) = oneshot::channel::<()>();
    let io = Watched::new(Arc::clone(&stream), Arc::clone(&activity), door.request_ids.clone(), held);
    let upgraded = Arc::new(Mutex::new(None));
    let service = service_fn({
        let (activity, door, place) = (Arc::clone(&activity), door.clone(), Arc::clone(&place));
        let upgraded = Arc::clone(&upgraded);
        move |mut request: http::Request<Incoming>| {
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            let busy = Busy::enter(&activity);
            let counted = door.shutdown.enter();
            let (activity, router, place) = (Arc::clone(&activity), router.clone(), Arc::clone(&place));
            let (door, upgraded) = (door.clone(), Arc::clone(&upgraded));
            async move {
                let (response, client) = respond(request, router, &place, &door).await;
                let (mut head, body) = response.into_parts();
                let answer = Answer {
                    _client: client,
                    room: head.extensions.remove::<Arc<Room>>(),
                    body,
                    open: Some(Open::begin(&activity)),
                    counted: Some(counted),
                };
                let response = http::Response::from_parts(head, answer);
                let response = match response.status() {
                    StatusCode::SWITCHING_PROTOCOLS => response.map(|mut answer| {
                        answer.open.take();
                        activity.has_upgraded();
                        *upgraded.lock() = answer.counted.take();
                        answer
                    }),
                    _ => response,
                };
                drop(busy);
                Ok::<_, std::convert::Infallible>(response)
            }
        }
    });
    let mut http = http1::Builder::new();
    http.max_buf_size(MAX_HEAD).max_headers(MAX_FIELDS).header_read_timeout(None);
    let mut connection = pin!(http.serve_connection(TokioIo::new(io), service).with_upgrades());
    let patience = || patience(&door, &place);
    let mut timer = pin!(tokio::time::sleep(patience().head));
    let repoll = Repoll::new();
    // A notice from before this connection counts too.
    notices.mark_changed();
    let mut served = false;
    loop {
        let mut poll_step = |cx: &mut Context<'_>| {
            if !served && connection.as_mut().poll(cx).is_ready() {
                served = true;
            }
            // What is not HTTP's any more lasts until whoever has it lets it go.
            if served && (upgraded.lock().is_none() || Pin::new(&mut gone).poll(cx).is_ready()) {
                return Poll::Ready(Step::Ended);
            }
            let deadline = activity.deadline(patience());
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            timer.as_mut().poll(cx).map(|()| Step::Time)
        };
        let step = poll_fn(|cx| repoll.poll(cx, &mut poll_step));
        let step = tokio::select! {
            biased;
            step = step => step,
            changed = notices.changed() => match changed {
                Ok(()) => Step::Notice,
                Err(_) => Step::Ended,
            },
        };
        match step {
            Step::Ended => break,
            Step::Time => {
                if activity.is_ours() {
                    if !served && has_left(&stream.lock()) {
                        break;
                    }
                    activity.has_looked();
                }
                // The timer runs behind: it is set back only when it fires.
                let deadline = activity.deadline(patience());
                if deadline <= Instant::now() {
                    break;
                }
                timer.as_mut().reset(deadline);
            }
            Step::Notice => {
                let notice = notices.borrow_and_update().clone();
                match notice {
                    Notice::None => {}
                    Notice::Crowded(crowd) => {
                        if place.is_wanted(&crowd) && activity.is_spare(Instant::now()) {
                            break;
                        }
                    }
                    Notice::Drain if !served => connection.as_mut().graceful_shutdown(),
                    Notice::Drain => {}
                    Notice::Abandon => break,
                }
            }
        }
    }
    if served && upgraded.lock().is_some() {
        end(&stream.lock());
    }
}

/// How long each silence may last now: `[server]` as it stands.
fn patience(door: &Door, place: &Place) -> Patience {
    let server = door.server.load();
    let head = if place.is_seat() { server.header_timeout } else { server.header_timeout.min(RESERVE_HEAD) };
    Patience { head, idle: server.idle_timeout }
}

/// Has the request answered, or refused where there is no seat for it, or its client has its share.
async fn respond(
    request: http::Request<Incoming>,
    mut router: Router,
    place: &Place,
    door: &Door,
) -> (Response, Option<Client>) {
    let mut request = request.map(Body::new);
    let mut client = None;
    if !super::is_open(request.uri().path()) {
        let seat = match handed_on(&request, door) {
            Ok(found) => {
                client = found;
                place.seat(SEAT_WAIT).await
            }
            Err(why) => Err(why),
        };
        if let Err(why) = seat {
            request.extensions_mut().insert(Refused(why));
        }
    }
    let mut response = router.call(request).await.unwrap_or_else(|error| match error {});
    if !place.is_seat() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        // For the next who asks.
        place.leave();
    }
    (response, client)
}

/// The share of a client whose request a trusted proxy handed on; others are counted by their connections.
fn handed_on<B>(request: &http::Request<B>, door: &Door) -> Result<Option<Client>, NoSeat> {
    let server = door.server.load();
    let trusted = &server.trusted_proxies;
    let Some(Peer(peer)) = request.extensions().get().copied() else {
        return Ok(None);
    };
    if !trusted.contains(peer) {
        return Ok(None);
    }
    let client = client_address(peer, request.headers(), trusted);
    // A proxy that speaks for itself has no share.
    if trusted.contains(client) {
        return Ok(None);
    }
    door.seats.client(client).map(Some).ok_or(NoSeat::OfAddress)
}

enum Step {
    Ended,
    Time,
    Notice,
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;

    use arc_swap::ArcSwap;
    use axum::extract::Request;
    use axum::routing::get;
    use bytes::Bytes;
    use futures_util::stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tokio::task::JoinHandle;

    use super::super::seats::Seats;
    use super::super::serve::{Ended, serve_router};
    use super::*;
    use crate::config::{Config, ServerConfig};
    use crate::domain::RequestId;
    use crate::shutdown::Shutdown;

    /// A host of a few routes.
    struct House {
        address: SocketAddr,
        shutdown: Shutdown,
        ended: JoinHandle<Ended>,
    }

    async fn open(router: Router, change: impl FnOnce(&mut ServerConfig)) -> House {
        let mut server = Config::defaults(std::path::Path::new("/")).server;
        change(&mut server);
        let server = Arc::new(ArcSwap::from_pointee(server));
        let shutdown = Shutdown::new();
        let door = Door {
            seats: Seats::new(server.clone()),
            server,
            shutdown: shutdown.clone(),
            request_ids: Arc::new(|| RequestId::from_random(1)),
        };
        let router = router.route("/healthz", get(async || "well"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("its address");
        House { address, shutdown, ended: tokio::spawn(serve_router(listener, router, door)) }
    }

    /// A route whose answer is what is sent here, for as long as the sender lives.
    fn streaming() -> (Router, mpsc::UnboundedSender<&'static str>) {
        let (words, said) = mpsc::unbounded_channel();
        let said = Arc::new(Mutex::new(Some(said)));
        let answer = async move || {
            let said = said.lock().take().expect("asked once");
            let next = async |mut said: mpsc::UnboundedReceiver<&'static str>| {
                said.recv().await.map(|word| (Ok::<_, io::Error>(Bytes::from_static(word.as_bytes())), said))
            };
            Response::new(Body::from_stream(stream::unfold(said, next)))
        };
        (Router::new().route("/stream", get(answer)), words)
    }

    async fn ask(house: &House, path: &str) -> TcpStream {
        let mut client = TcpStream::connect(house.address).await.expect("a connection");
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        client.write_all(head.as_bytes()).await.expect("sent");
        client
    }

    /// Reads until these bytes have come; `false` if the connection ends before.
    async fn reads(client: &mut TcpStream, wanted: &str) -> bool {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(wanted) {
            match client.read_buf(&mut seen).await {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        true
    }

    /// Waits until a connection that is idle is closed: `idle_timeout` has passed since it began.
    async fn idle_timeout_passes(house: &House) {
        let mut idle = ask(house, "/healthz").await;
        let mut all = Vec::new();
        let _ = idle.read_to_end(&mut all).await;
        assert!(String::from_utf8_lossy(&all).contains("well"));
    }

    fn impatient(server: &mut ServerConfig) {
        server.idle_timeout = Duration::from_millis(50);
    }

    #[tokio::test]
    async fn an_answer_that_goes_on_may_be_silent_for_longer_than_an_idle_connection() {
        let (router, words) = streaming();
        let house = open(router, impatient).await;
        let mut client = ask(&house, "/stream").await;
        words.send("first").expect("it is asked for");
        assert!(reads(&mut client, "first").await);
        for _ in 0..3 {
            idle_timeout_passes(&house).await;
        }
        assert_eq!(house.shutdown.in_flight(), 1, "it counts as a request");
        words.send("second").expect("it is asked for");
        assert!(reads(&mut client, "second").await, "it was cut off");
        drop(words);
        // The answer ends well, and then the connection is idle.
        assert!(reads(&mut client, "0\r\n\r\n").await);
        assert!(!reads(&mut client, "more").await, "the host closes");
    }

    #[tokio::test]
    async fn drain_waits_for_an_answer_that_goes_on() {
        let (router, words) = streaming();
        let house = open(router, impatient).await;
        let mut client = ask(&house, "/stream").await;
        words.send("first").expect("it is asked for");
        assert!(reads(&mut client, "first").await);
        house.shutdown.drain();
        while TcpStream::connect(house.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!house.ended.is_finished());
        words.send("second").expect("it is asked for");
        assert!(reads(&mut client, "second").await);
        drop(words);
        assert_eq!(house.ended.await.expect("it ends"), Ended::Drained);
        assert!(reads(&mut client, "0\r\n\r\n").await);
    }

    #[tokio::test]
    async fn an_answer_that_never_ends_is_ended_when_the_grace_is_over() {
        let (router, words) = streaming();
        let house = open(router, |server| server.grace_period = Duration::from_millis(50)).await;
        let mut client = ask(&house, "/stream").await;
        words.send("first").expect("it is asked for");
        assert!(reads(&mut client, "first").await);
        house.shutdown.drain();
        assert_eq!(house.ended.await.expect("it ends"), Ended::Abandoned { requests: 1 });
        assert!(!reads(&mut client, "more").await);
    }

    #[tokio::test]
    async fn a_stream_whose_client_has_left_or_does_not_read_is_ended() {
        let (router, words) = streaming();
        let house = open(router, impatient).await;
        let client = ask(&house, "/stream").await;
        drop(client);
        // Nobody writes: that it left is found by looking.
        words.closed().await;

        static MUCH: [u8; 1 << 20] = [b'x'; 1 << 20];
        let (alive, mut ended) = mpsc::channel::<()>(1);
        let alive = Arc::new(Mutex::new(Some(alive)));
        let endless = async move || {
            let alive = alive.lock().take();
            let more = stream::repeat_with(move || {
                let _alive = &alive;
                Ok::<_, io::Error>(Bytes::from_static(&MUCH))
            });
            Response::new(Body::from_stream(more))
        };
        let router = Router::new().route("/endless", get(endless));
        let house = open(router, impatient).await;
        let _client = ask(&house, "/endless").await;
        assert_eq!(ended.recv().await, None, "the answer is dropped");
    }

    #[tokio::test]
    async fn an_upgraded_socket_is_quiet_and_is_waited_for_and_ended() {
        let echo = async |request: Request| {
            let upgrade = hyper::upgrade::on(request);
            tokio::spawn(async move {
                let mut socket = TokioIo::new(upgrade.await.expect("an upgrade"));
                let mut bytes = [0_u8; 64];
                while let Ok(read @ 1..) = socket.read(&mut bytes).await {
                    socket.write_all(&bytes[..read]).await.expect("written");
                }
            });
            let mut response: Response = Response::default();
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("echo"));
            response
        };
        let house = open(Router::new().route("/echo", get(echo)), |server| {
            impatient(server);
            server.grace_period = Duration::from_millis(50);
        })
        .await;
        let begin = async || {
            let mut client = TcpStream::connect(house.address).await.expect("a connection");
            let head = "GET /echo HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
            client.write_all(head.as_bytes()).await.expect("sent");
            assert!(reads(&mut client, "\r\n\r\n").await);
            client
        };
        let mut client = begin().await;
        for _ in 0..3 {
            idle_timeout_passes(&house).await;
        }
        client.write_all(b"hello").await.expect("sent");
        assert!(reads(&mut client, "hello").await, "it was cut off");
        assert_eq!(house.shutdown.in_flight(), 1);
        drop(client);
        while house.shutdown.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
        let mut client = begin().await;
        house.shutdown.drain();
        assert_eq!(house.ended.await.expect("it ends"), Ended::Abandoned { requests: 1 });
        assert!(!reads(&mut client, "more").await);
    }
}
