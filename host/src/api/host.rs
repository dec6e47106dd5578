//! The host over HTTP: its figures, its metrics, its audit, whether it lives and is ready.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, StatusCode, Uri, header};

use super::caller::Caller;
use super::error::ApiError;
use super::{Api, answer, page};
use crate::operations::Operation;
use crate::telemetry::metrics::CONTENT_TYPE;

/// `GET /orchestrator/stats`
pub(super) async fn stats(State(api): State<Api>, caller: Caller) -> Result<Response, ApiError> {
    answer::ok(&api.operations.stats(&caller.principal).await?)
}

/// `GET /metrics`
pub(super) async fn metrics(State(api): State<Api>, caller: Caller) -> Result<Response, ApiError> {
    let metrics = api.operations.metrics(&caller.principal).await?;
    let mut response = Response::new(Body::from(metrics.text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    Ok(response)
}

/// `GET /api/audit`
pub(super) async fn audit(State(api): State<Api>, caller: Caller, uri: Uri) -> Result<Response, ApiError> {
    api.operations.admit(&caller.principal, Operation::Audit, None)?;
    let asked = caller.asks(page::audit(&uri)?);
    page::answer(&uri, &api.operations.audit(&caller.principal, asked).await?)
}

/// `GET /healthz`, `/liveness`, `/health`
pub(super) async fn health(State(api): State<Api>) -> Result<Response, ApiError> {
    answer::ok(&api.operations.health())
}

/// `GET /readyz`, `/readiness`: 503 where the host is not ready.
pub(super) async fn readiness(State(api): State<Api>) -> Result<Response, ApiError> {
    let readiness = api.operations.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = answer::json(status, &readiness)?;
    if !readiness.ready {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}
