//! What every request passes first and last: its id, the browser's rules, panics, its log line.
//!
//! Owns the [`Request`] that handlers note things on while they answer. It never sees keys or
//! bodies, and does not know what any path means.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use parking_lot::Mutex;

use super::client::{Peer, client_address};
use super::error::ApiError;
use super::{Api, answer, origins, says_success};
use crate::domain::{AgentId, Principal, RequestId};

/// The header that carries a request's id, both ways.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request while it is answered: who it is, and what the log should say of it.
#[derive(Debug)]
pub(super) struct Request {
    /// Its id.
    pub(super) id: RequestId,
    /// When it came in.
    pub(super) started: Instant,
    /// Whose it is, as far as addresses tell; `None` where no network is between.
    client: Option<IpAddr>,
    method: Method,
    uri: Uri,
    noted: Mutex<Noted>,
}

/// What was found out on the way.
#[derive(Debug, Default)]
struct Noted {
    status: Option<StatusCode>,
    principal: Option<Arc<Principal>>,
    agent: Option<Box<str>>,
    code: Option<&'static str>,
    detail: Option<String>,
}

impl Request {
    /// The path, as it was sent.
    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    /// Notes who asks.
    pub(super) fn note_caller(&self, principal: Arc<Principal>) {
        self.noted.lock().principal = Some(principal);
    }

    /// Notes which agent answers.
    pub(super) fn note_agent(&self, agent: &AgentId) {
        self.noted.lock().agent = Some(agent.as_str().into());
    }

    /// Notes a failure.
    pub(super) fn note_failure(&self, error: &ApiError) {
        let mut noted = self.noted.lock();
        noted.code = Some(error.code());
        noted.detail = error.internal();
        if let Some(agent) = error.agent() {
            noted.agent = Some(agent.into());
        }
    }
}

/// The log line is written when nobody holds the request any more: also when its client left.
impl Drop for Request {
    fn drop(&mut self) {
        let noted = self.noted.get_mut();
        let request_id = self.id.as_str();
        let method = self.method.as_str();
        let path = self.uri.path();
        let client = self.client.map(tracing::field::display);
        let ms = answer::millis(self.started.elapsed());
        let key = noted.principal.as_ref().map(|principal| &*principal.key_id);
        let agent = noted.agent.as_deref();
        let Some(status) = noted.status.map(|status| status.as_u16()) else {
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
        let (code, detail) = (noted.code, noted.detail.as_deref());
        if status == 500 {
            tracing::error!(
                request_id, method, path, client, status, ms, key, agent, code, detail, "request"
            );
        } else {
            tracing::info!(request_id, method, path, client, status, ms, key, agent, code, detail, "request");
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
        noted: Mutex::default(),
    });
    let origin = request.headers().get(http::header::ORIGIN).cloned();
    let mut response = if origins::is_preflight(&request) {
        origins::preflight()
    } else {
        request.extensions_mut().insert(Arc::clone(&this));
        match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => ApiError::panicked(&*panic).into_response(),
        }
    };
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        this.note_failure(&error);
        response = error.render(this.path(), this.id.as_str(), says_success(this.path()));
    }
    if let Ok(id) = HeaderValue::from_str(this.id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    origins::sign(&api.server.load().allowed_origins, origin.as_ref(), response.headers_mut());
    this.noted.lock().status = Some(response.status());
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
