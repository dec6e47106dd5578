//! The bytes of a connection as they pass between hyper and the socket.
//!
//! Owns no policy: it notes in the [`Activity`] what was read and written, puts our answer in place of
//! hyper's own where hyper refuses a head, and closes without cutting the client off.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::activity::Activity;
use super::{RequestIds, unparsed};

/// How much is read of a connection that is closed, in bytes.
const LINGER_BYTES: usize = 128 * 1024 * 1024;

/// Whether the client has closed its side. hyper notices by itself, but not while bytes that came
/// behind the request lie unread. The system has told of it by then: this neither waits nor reads.
pub(super) fn has_left(stream: &TcpStream) -> bool {
    let ready = stream.ready(Interest::READABLE).now_or_never();
    matches!(ready, Some(Ok(ready)) if ready.is_read_closed())
}

/// A socket that notes what passes through it, and closes without cutting the client off.
pub(super) struct Watched {
    /// Shared with the connection's timer, in one task unless it is upgraded: the lock is hardly ever waited for.
    stream: Arc<Mutex<TcpStream>>,
    activity: Arc<Activity>,
    request_ids: RequestIds,
    /// What is left of an answer of ours that goes out in place of hyper's.
    instead: Vec<u8>,
    /// Whether everything that hyper had to write is written.
    flushed: bool,
    /// Bytes read after the end.
    lingered: usize,
    /// Tells the connection's task that the socket is gone.
    _held: oneshot::Sender<()>,
}

impl Watched {
    /// `held` is dropped with the socket, wherever that goes.
    pub(super) fn new(
        stream: Arc<Mutex<TcpStream>>,
        activity: Arc<Activity>,
        request_ids: RequestIds,
        held: oneshot::Sender<()>,
    ) -> Self {
        Self { stream, activity, request_ids, instead: Vec::new(), flushed: true, lingered: 0, _held: held }
    }

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
            self.instead = unparsed::answer(&self.request_ids);
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
        let mut scratch = [0_u8; 16 * 1024];
        while self.lingered < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut *self.stream.lock()).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                break;
            }
            self.activity.has_read();
            self.lingered += buf.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}

/// Ends a socket that somebody else has: what it reads ends, and what it writes fails.
pub(super) fn end(stream: &TcpStream) {
    let same = stream.as_fd().try_clone_to_owned().map(std::net::TcpStream::from);
    // It may have ended by itself.
    let _ = same.and_then(|same| same.shutdown(std::net::Shutdown::Both));
}
