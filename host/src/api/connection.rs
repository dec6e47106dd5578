//! One connection: HTTP/1.1 over a socket, with a bound on every silence.
//!
//! Owns the socket and its one timer; what the connection is doing is an [`Activity`]. hyper parses
//! and writes; this file only watches the bytes pass, so that a client that is slow to send its request's
//! head, idle between requests, or slow to read its answer is cut off. A request's own time belongs to
//! the body's reader and the scheduler: while a handler runs, it ends early only if its client has left.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tower_service::Service;

use super::activity::{Activity, Busy, Patience};
use super::client::Peer;
use super::{Api, unparsed};

/// The largest head of a request, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// The most header fields of a request.
pub(super) const MAX_FIELDS: usize = 100;
/// How much is read of a connection that is closed, in bytes.
const LINGER_BYTES: usize = 8 * 1024 * 1024;

/// What all connections are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// Nothing.
    None,
    /// There are too many: those that are idle should go. The number only tells one time from the next.
    Crowded(u64),
    /// Finish the request at hand, and close.
    Drain,
    /// Close now.
    Abandon,
}

/// Serves one connection to its end.
pub(super) async fn serve(
    stream: TcpStream,
    router: Router,
    api: Api,
    patience: Patience,
    mut notices: watch::Receiver<Notice>,
) {
    let activity = Arc::new(Activity::new());
    let peer = stream.peer_addr().ok().map(|address| Peer(address.ip().to_canonical()));
    let stream = Arc::new(Mutex::new(stream));
    let io = TokioIo::new(Watched {
        stream: Arc::clone(&stream),
        activity: Arc::clone(&activity),
        api: api.clone(),
        instead: Vec::new(),
        flushed: true,
        lingered: 0,
    });
    let service = service_fn({
        let activity = Arc::clone(&activity);
        move |mut request: http::Request<Incoming>| {
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            let busy = Busy::enter(&activity);
            let counted = api.shutdown.enter();
            let response = router.clone().call(request);
            async move {
                let response = response.await;
                drop((busy, counted));
                response
            }
        }
    });
    let mut http = http1::Builder::new();
    http.max_buf_size(MAX_HEAD).max_headers(MAX_FIELDS).header_read_timeout(None);
    let mut connection = pin!(http.serve_connection(io, service).with_upgrades());
    let mut timer = pin!(tokio::time::sleep(patience.head));
    // A notice from before this connection counts too.
    notices.mark_changed();
    loop {
        let step = poll_fn(|cx| {
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Step::Ended);
            }
            let deadline = activity.deadline(patience);
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            timer.as_mut().poll(cx).map(|()| Step::Time)
        });
        let step = tokio::select! {
            biased;
            step = step => step,
            changed = notices.changed() => match changed {
                Ok(()) => Step::Notice,
                Err(_) => Step::Ended,
            },
        };
        match step {
            Step::Ended => return,
            Step::Time => {
                if activity.is_busy() {
                    if has_left(&stream.lock()) {
                        return;
                    }
                    activity.has_looked();
                }
                // The timer runs behind: it is set back only when it fires.
                let deadline = activity.deadline(patience);
                if deadline <= Instant::now() {
                    return;
                }
                timer.as_mut().reset(deadline);
            }
            Step::Notice => {
                let notice = *notices.borrow_and_update();
                match notice {
                    Notice::None => {}
                    Notice::Crowded(_) => {
                        if activity.is_spare(Instant::now()) {
                            return;
                        }
                    }
                    Notice::Drain => connection.as_mut().graceful_shutdown(),
                    Notice::Abandon => return,
                }
            }
        }
    }
}

enum Step {
    Ended,
    Time,
    Notice,
}

/// Whether the client has closed its side. hyper notices by itself, but not while bytes that came
/// behind the request lie unread. The system has told of it by then: this neither waits nor reads.
fn has_left(stream: &TcpStream) -> bool {
    let ready = stream.ready(Interest::READABLE).now_or_never();
    matches!(ready, Some(Ok(ready)) if ready.is_read_closed())
}

/// A socket that notes what passes through it, and closes without cutting the client off.
struct Watched {
    /// Shared with the connection's timer, in one task: the lock is never waited for.
    stream: Arc<Mutex<TcpStream>>,
    activity: Arc<Activity>,
    api: Api,
    /// What is left of an answer of ours that goes out in place of hyper's.
    instead: Vec<u8>,
    /// Whether everything that hyper had to write is written.
    flushed: bool,
    /// Bytes read after the end.
    lingered: usize,
}

impl Watched {
    /// Writes our answer, then says that all `pretended` bytes of hyper's were written.
    fn write_instead(&mut self, cx: &mut Context<'_>, pretended: usize) -> Poll<io::Result<usize>> {
        while !self.instead.is_empty() {
            let written = ready!(Pin::new(&mut *self.stream.lock()).poll_write(cx, &self.instead))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.drain(..written);
        }
        Poll::Ready(Ok(pretended))
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(bytes)) => self.activity.has_written(*bytes),
            Poll::Pending => self.activity.has_written(0),
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut *self.stream.lock()).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.has_read();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // A handler's answer never begins while a head is read, nor behind unwritten bytes.
        let begins = self.flushed && self.activity.is_head();
        self.flushed = false;
        if begins && self.instead.is_empty() && unparsed::is_hypers_own(buf) {
            self.instead = unparsed::answer(&self.api);
        }
        if !self.instead.is_empty() {
            return self.write_instead(cx, buf.len());
        }
        let written = Pin::new(&mut *self.stream.lock()).poll_write(cx, buf);
        self.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        self.flushed = false;
        let written = Pin::new(&mut *self.stream.lock()).poll_write_vectored(cx, bufs);
        self.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.lock().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut *self.stream.lock()).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.flushed = true;
            self.activity.has_flushed();
        }
        flushed
    }

    /// Says that nothing more comes, then reads until the client says so too: a socket that is
    /// closed over unread bytes is reset, and the reset can overtake the answer.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.activity.is_lingering() {
            ready!(Pin::new(&mut *self.stream.lock()).poll_shutdown(cx))?;
            self.activity.begin_lingering();
        }
        let mut scratch = [0_u8; 4096];
        while self.lingered < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut *self.stream.lock()).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                break;
            }
            self.lingered += buf.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}
