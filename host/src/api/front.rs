//! What every request passes first and last: its id, the browser's rules, panics, its log line.
//!
//! Owns the [`Request`] that handlers note things on while they answer. It never sees keys or
//! bodies, and does not know what any path means.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use hyper::body::Body as _;
use parking_lot::Mutex;

use super::client::{Peer, client_address};
use super::error::ApiError;
use super::seats::NoSeat;
use super::shares::{Room, SMALL, Turn, Upload};
use super::{Api, answer, origins, says_success};
use crate::domain::{Principal, RequestId, text};
use crate::telemetry::event::Event;

/// The header that carries a request's id, both ways.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is logged of a path, in bytes: anybody can send a long one.
const PATH_LOGGED: usize = 512;
/// What is logged of a method, in bytes.
const METHOD_LOGGED: usize = 32;

/// What is logged of an agent's name, in bytes: it may be no id.
const AGENT_LOGGED: usize = 80;

/// Among a request's extensions: its connection found no seat, and it is not to be handled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused(pub(super) NoSeat);

/// What is said where answers that nobody reads have used up their room.
const NO_ROOM: &str = "answers that nobody has read yet leave no room for more: read them, and try again (`key_answers` and `max_answers` in [server])";

/// A request while it is answered: who it is, what the log should say of it, and what it holds.
pub(super) struct Request {
    /// Its id.
    pub(super) id: RequestId,
    /// When it came in.
    pub(super) started: Instant,
    /// Whose it is, as far as addresses tell; `None` where no network is between.
    client: Option<IpAddr>,
    method: Method,
    uri: Uri,
    progress: Mutex<Progress>,
}

/// What is known of a request so far, for its log line, and what it holds of the shares.
#[derive(Default)]
struct Progress {
    status: Option<StatusCode>,
    principal: Option<Arc<Principal>>,
    agent: Option<Box<str>>,
    code: Option<&'static str>,
    detail: Option<String>,
    turn: Option<Arc<Turn>>,
    room: Option<Room>,
    upload: Option<Upload>,
}

impl Request {
    /// The path, as it was sent.
    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    /// Notes who asks, and takes one of the requests that this key may have at once.
    pub(super) fn note_caller(&self, principal: Arc<Principal>, api: &Api) -> Result<(), ApiError> {
        let turn = api.shares.request(&principal.key_id);
        let mut progress = self.progress.lock();
        progress.principal = Some(principal);
        progress.turn = Some(turn.ok_or(ApiError::Overloaded(
            "too many requests of this key are under way: send fewer at once (`key_requests` in [server])",
        ))?);
        Ok(())
    }

    /// What the key has of the host; nothing before its caller is known.
    pub(super) fn turn(&self) -> Option<Arc<Turn>> {
        self.progress.lock().turn.clone()
    }

    /// Refuses to have an answer made while those before it find no reader.
    pub(super) fn expect_room(&self) -> Result<(), ApiError> {
        match self.progress.lock().turn.as_ref().is_some_and(|turn| turn.is_full()) {
            true => Err(ApiError::Overloaded(NO_ROOM)),
            false => Ok(()),
        }
    }

    /// Takes room for an answer of at most so many bytes; waits for it for as long as this.
    pub(super) async fn reserve(&self, bytes: u64, wait: Duration) -> Result<(), ApiError> {
        let Some(turn) = self.turn() else {
            return Ok(());
        };
        let room = turn.room_within(bytes, wait).await.ok_or(ApiError::Overloaded(NO_ROOM))?;
        self.progress.lock().room = Some(room);
        Ok(())
    }

    /// Takes room for a component of so many bytes, of which the largest has `largest`; waits for it for as
    /// long as this.
    pub(super) async fn reserve_upload(
        &self,
        bytes: u64,
        largest: u64,
        wait: Duration,
    ) -> Result<(), ApiError> {
        let Some(turn) = self.turn() else {
            return Ok(());
        };
        let upload = turn.upload_within(bytes, largest, wait).await;
        self.progress.lock().upload = Some(upload.ok_or(ApiError::Overloaded(
            "too many components are being uploaded: send fewer at once, or try again (there is room for two of the \
             largest size for a key and four for all: `max_component_size` in [engine])",
        ))?);
        Ok(())
    }

    /// Takes room for an answer of this size, which is made already. `false`: there is none.
    pub(super) fn make_room(&self, bytes: usize) -> bool {
        let mut progress = self.progress.lock();
        if progress.room.is_none()
            && let Some(turn) = progress.turn.clone()
            && bytes as u64 > SMALL
        {
            progress.room = turn.room(bytes as u64);
            return progress.room.is_some();
        }
        true
    }

    /// Sends the answer's room along with it.
    fn hand_over(&self, response: &mut Response) -> Result<(), ApiError> {
        let bytes = response.body().size_hint().lower();
        if !self.make_room(usize::try_from(bytes).unwrap_or(usize::MAX)) {
            return Err(ApiError::Overloaded(NO_ROOM));
        }
        if let Some(mut room) = self.progress.lock().room.take() {
            room.shrink(bytes);
            response.extensions_mut().insert(Arc::new(room));
        }
        Ok(())
    }

    /// Notes which agent answers.
    pub(super) fn note_agent(&self, agent: &str) {
        self.progress.lock().agent = Some(text::beginning(agent, AGENT_LOGGED).into());
    }

    /// Notes a failure.
    pub(super) fn note_failure(&self, error: &ApiError) {
        let mut progress = self.progress.lock();
        progress.code = Some(error.code());
        progress.detail = error.internal();
        if let Some(agent) = error.agent() {
            progress.agent = Some(agent.into());
        }
    }
}

/// The log line is written when nobody holds the request any more: also when its client left.
impl Drop for Request {
    fn drop(&mut self) {
        let progress = self.progress.get_mut();
        let request_id = self.id.as_str();
        let method = text::beginning(self.method.as_str(), METHOD_LOGGED);
        let path = text::beginning(self.uri.path(), PATH_LOGGED);
        let client = self.client.map(tracing::field::display);
        let ms = answer::millis(self.started.elapsed());
        let key = progress.principal.as_ref().map(|principal| &*principal.key_id);
        let agent = progress.agent.as_deref();
        let Some(status) = progress.status.map(|status| status.as_u16()) else {
            tracing::info!(
                request_id,
                method,
                path,
                client,
                ms,
                key,
                agent,
                "the request ended before its answer: its client left, or the host did"
            );
            return;
        };
        let (code, detail) = (progress.code, progress.detail.as_deref());
        if status == 500 {
            tracing::error!(
                name: Event::RequestEnded.name(),
                request_id, method, path, client, status, ms, key, agent, code, detail, "request"
            );
        } else {
            tracing::info!(name: Event::RequestEnded.name(), request_id, method, path, client, status, ms, key, agent, code, detail, "request");
        }
    }
}

/// Wraps every handler.
pub(super) async fn front(
    State(api): State<Api>,
    mut request: axum::extract::Request,
    next: Next,
) -> Response {
    let this = Arc::new(Request {
        id: request_id(request.headers(), &api),
        started: Instant::now(),
        client: client_of(&request, &api),
        method: request.method().clone(),
        uri: request.uri().clone(),
        progress: Mutex::default(),
    });
    let origin = request.headers().get(http::header::ORIGIN).cloned();
    let refused = request.extensions().get::<Refused>().copied();
    let mut response = if let Some(Refused(why)) = refused {
        ApiError::Overloaded(match why {
            NoSeat::OfAddress => "too many connections of this address are open: close some, or reuse them (`address_connections` in [server])",
            NoSeat::OfAll => "too many connections are open: try again (`max_connections` in [server])",
        })
        .into_response()
    } else if origins::is_preflight(&request) {
        origins::preflight()
    } else {
        request.extensions_mut().insert(Arc::clone(&this));
        match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => ApiError::panicked(&*panic).into_response(),
        }
    };
    if let Err(error) = this.hand_over(&mut response) {
        response = error.into_response();
    }
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        this.note_failure(&error);
        response = error.render(this.path(), this.id.as_str(), says_success(this.path()));
    }
    if let Ok(id) = HeaderValue::from_str(this.id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    origins::sign(&api.server.load().allowed_origins, origin.as_ref(), response.headers_mut());
    this.progress.lock().status = Some(response.status());
    response
}

/// Answers where nothing is served.
pub(super) async fn not_found() -> ApiError {
    ApiError::NotFound
}

/// Answers where the path does not take the method; axum adds `Allow`.
pub(super) async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

fn client_of<B>(request: &http::Request<B>, api: &Api) -> Option<IpAddr> {
    let Peer(peer) = *request.extensions().get()?;
    Some(client_address(peer, request.headers(), &api.server.load().trusted_proxies))
}

fn request_id(headers: &HeaderMap, api: &Api) -> RequestId {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .and_then(RequestId::from_client)
        .unwrap_or_else(|| (api.request_ids)())
}
