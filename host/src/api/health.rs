//! Whether the host lives and is ready: open to all, so it names no agent.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::error::ApiError;
use super::{Api, answer};
use crate::shutdown::Stage;

/// Whether `path` is answered for everybody and in any state of the host: also from the connections that
/// are kept in reserve.
pub(super) fn is_open(path: &str) -> bool {
    matches!(path, "/healthz" | "/liveness" | "/health" | "/readyz" | "/readiness")
}

/// The host answers.
#[derive(Serialize)]
struct Alive {
    /// `healthy`.
    status: &'static str,
}

/// Whether tasks should be sent here.
#[derive(Serialize)]
struct Readiness {
    /// All checks are.
    ready: bool,
    /// What was looked at.
    checks: [Check; 2],
}

/// One condition of readiness.
#[derive(Serialize)]
struct Check {
    /// `agents`: every agent that was configured at the start is loaded or has been reported as failed;
    /// agents that come later do not count. `accepting`: the host is not going down.
    name: &'static str,
    /// Whether it holds.
    ok: bool,
}

/// `GET /healthz`, `/liveness`, `/health`
pub(super) async fn alive() -> Result<Response, ApiError> {
    answer::ok(&Alive { status: "healthy" })
}

/// `GET /readyz`, `/readiness`: 503 until every agent that was configured at the start is loaded or has
/// been reported as failed, and again while the host shuts down. A host that serves is ready: what
/// comes later does not change that.
pub(super) async fn ready(State(api): State<Api>) -> Result<Response, ApiError> {
    let serving = api.shutdown.stage() == Stage::Serving && !api.scheduler.is_draining();
    let checks =
        [Check { name: "agents", ok: api.registry.has_started() }, Check { name: "accepting", ok: serving }];
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = answer::json(status, &Readiness { ready, checks })?;
    if !ready {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}
