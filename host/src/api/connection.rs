//! One connection: HTTP/1.1 over a socket, with a bound on every silence.
//!
//! Owns what a connection is doing now ([`Activity`]) and its one timer. hyper parses and writes;
//! this file only watches the bytes pass, so that a client that is slow to send its request's head, idle
//! between requests, or slow to read its answer is cut off. A request's own time belongs to the
//! body's reader and the scheduler: while a handler runs, no timer does.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tower_service::Service;

use super::{Api, unparsed};

/// The largest head of a request, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// The most header fields of a request.
pub(super) const MAX_FIELDS: usize = 100;
/// How long a closed connection is read on, so that a client that is still sending gets its answer
/// instead of a reset.
const LINGER: Duration = Duration::from_secs(1);
/// How much of that is read, in bytes.
const LINGER_BYTES: usize = 8 * 1024 * 1024;
/// How long a connection must be idle to be closed in favour of one that waits.
const SPARE_AFTER: Duration = Duration::from_secs(1);

/// How long each silence may last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From a request's first byte to the end of its head.
    pub(super) head: Duration,
    /// Between requests, and while an answer finds no reader.
    pub(super) idle: Duration,
}

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
    let io = TokioIo::new(Watched {
        stream,
        activity: Arc::clone(&activity),
        api: api.clone(),
        instead: Vec::new(),
        flushed: true,
        lingered: 0,
    });
    let service = service_fn({
        let activity = Arc::clone(&activity);
        move |request: http::Request<Incoming>| {
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
            if let Some(deadline) = activity.deadline(patience)
                && deadline < timer.deadline()
            {
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
                // The timer runs behind: it is set back only when it fires.
                let now = Instant::now();
                match activity.deadline(patience) {
                    Some(deadline) if deadline <= now => return,
                    Some(deadline) => timer.as_mut().reset(deadline),
                    None => timer.as_mut().reset(now + patience.idle),
                }
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

/// What a connection is doing, and since when. Written and read by the connection's own task only;
/// the atomics are for the compiler.
#[derive(Debug)]
struct Activity {
    opened: Instant,
    phase: AtomicU8,
    /// Microseconds after `opened`.
    since: AtomicU64,
}

/// Waits for the rest of a head; a new connection too.
const HEAD: u8 = 0;
/// Waits for the next request, or for the client to read its answer.
const IDLE: u8 = 1;
/// A handler runs.
const BUSY: u8 = 2;
/// Has said everything, and reads what is still under way.
const LINGERING: u8 = 3;

impl Activity {
    fn new() -> Self {
        Self { opened: Instant::now(), phase: AtomicU8::new(HEAD), since: AtomicU64::new(0) }
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    fn since(&self) -> Instant {
        self.opened + Duration::from_micros(self.since.load(Ordering::Relaxed))
    }

    fn begin(&self, phase: u8) {
        let since = self.opened.elapsed().as_micros();
        self.since.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }

    fn has_read(&self) {
        if self.phase() == IDLE {
            self.begin(HEAD);
        }
    }

    fn has_written(&self) {
        if self.phase() == IDLE {
            self.begin(IDLE);
        }
    }

    fn deadline(&self, patience: Patience) -> Option<Instant> {
        match self.phase() {
            BUSY => None,
            HEAD => Some(self.since() + patience.head),
            LINGERING => Some(self.since() + LINGER),
            _ => Some(self.since() + patience.idle),
        }
    }

    /// Whether it can be closed for another: nothing is under way, and nothing was for a while.
    fn is_spare(&self, now: Instant) -> bool {
        let quiet = now.saturating_duration_since(self.since()) >= SPARE_AFTER;
        quiet && matches!(self.phase(), IDLE | HEAD)
    }
}

/// A handler that runs.
struct Busy(Arc<Activity>);

impl Busy {
    fn enter(activity: &Arc<Activity>) -> Self {
        activity.begin(BUSY);
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.begin(IDLE);
    }
}

/// A socket that notes what passes through it, and closes without cutting the client off.
struct Watched {
    stream: TcpStream,
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
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.instead))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.drain(..written);
        }
        Poll::Ready(Ok(pretended))
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(bytes)) if *bytes > 0) {
            self.activity.has_written();
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.has_read();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // A handler's answer never begins while a head is read, nor behind unwritten bytes.
        let begins = self.flushed && self.activity.phase() == HEAD;
        self.flushed = false;
        if begins && self.instead.is_empty() && unparsed::is_hypers_own(buf) {
            self.instead = unparsed::answer(&self.api);
        }
        if !self.instead.is_empty() {
            return self.write_instead(cx, buf.len());
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
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
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushed = true;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Says that nothing more comes, then reads until the client says so too: a socket that is
    /// closed over unread bytes is reset, and the reset can overtake the answer.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.phase() != LINGERING {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.activity.begin(LINGERING);
        }
        let mut scratch = [0_u8; 4096];
        while self.lingered < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                break;
            }
            self.lingered += buf.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { head: Duration::from_secs(10), idle: Duration::from_secs(60) };

    #[test]
    fn each_phase_has_its_deadline() {
        let activity = Arc::new(Activity::new());
        let left = || activity.deadline(PATIENCE).map(|deadline| deadline - activity.since());
        assert_eq!(left(), Some(PATIENCE.head));
        let busy = Busy::enter(&activity);
        assert_eq!(left(), None);
        activity.has_read();
        assert_eq!(left(), None);
        drop(busy);
        assert_eq!(left(), Some(PATIENCE.idle));
        activity.has_written();
        assert_eq!(left(), Some(PATIENCE.idle));
        activity.has_read();
        assert_eq!(left(), Some(PATIENCE.head));
        let since = activity.since();
        activity.has_read();
        activity.has_written();
        assert_eq!(activity.since(), since, "more bytes of a head buy no more time");
    }

    #[test]
    fn only_quiet_connections_are_spare() {
        let activity = Arc::new(Activity::new());
        let later = Instant::now() + SPARE_AFTER * 2;
        assert!(!activity.is_spare(Instant::now()));
        assert!(activity.is_spare(later));
        let busy = Busy::enter(&activity);
        assert!(!activity.is_spare(later));
        drop(busy);
        assert!(activity.is_spare(later));
    }
}
