//! An answer on its way out: its body, and what it holds until it is written.
//!
//! Owns the guards, not the counts: the connection's [`Open`], the requests in flight, the [`Room`] of the
//! answer's bytes, and the share of a client behind a proxy.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::activity::Open;
use super::seats::Client;
use super::shares::Room;
use crate::shutdown::InFlight;

/// An answer's body. Its connection knows by it that there is more to come, and drain that it is unfinished.
pub(super) struct Answer {
    /// Its client's share, where a proxy handed the request on.
    pub(super) _client: Option<Client>,
    /// Goes with the bytes.
    pub(super) room: Option<Arc<Room>>,
    pub(super) body: Body,
    /// Dropped with the body: there is no more to come.
    pub(super) open: Option<Open>,
    pub(super) counted: Option<InFlight>,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let Some(room) = &self.room else {
            return Poll::Ready(frame);
        };
        let held = |bytes: Bytes| Bytes::from_owner(Held { bytes, _room: Arc::clone(room) });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(held))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of an answer, and the room that they take until they are written or dropped.
struct Held {
    bytes: Bytes,
    _room: Arc<Room>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
