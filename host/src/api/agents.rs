//! The agents over HTTP: the list, one in full, where each stands, and an operator's word on versions.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::Uri;
use serde::de::DeserializeOwned;

use super::caller::Caller;
use super::error::ApiError;
use super::{Api, answer, body, page, path};
use crate::domain::AgentId;
use crate::operations::{AgentPageRequest, ApproveRequest, Operation, RemoveRequest, RollBackRequest};

/// `GET /orchestrator/agents`
pub(super) async fn list(State(api): State<Api>, caller: Caller, uri: Uri) -> Result<Response, ApiError> {
    let asked = caller.asks(page::agents(&uri)?);
    page::answer(&uri, &api.operations.list_agents(&caller.principal, asked).await?)
}

/// `GET /api/agents/status` and `GET /agents/status`
pub(super) async fn status(State(api): State<Api>, caller: Caller, uri: Uri) -> Result<Response, ApiError> {
    let asked = caller.asks(page::agents(&uri)?);
    page::answer(&uri, &api.operations.agent_status(&caller.principal, asked).await?)
}

/// `GET /orchestrator/agents/{id}`
pub(super) async fn one(
    State(api): State<Api>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let id = path::agent(id)?;
    caller.request.note_agent(id.as_str());
    let asked = caller.asks(AgentPageRequest { agent: id.to_string() });
    answer::ok(&api.operations.agent(&caller.principal, asked).await?)
}

/// `POST /api/agents/{id}/approve`
pub(super) async fn approve(
    State(api): State<Api>,
    mut caller: Caller,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let id = admitted(&api, &caller, Operation::Approve, id)?;
    let asked: ApproveRequest = read_any(&api, &mut caller, request).await?;
    let asked = caller.asks(ApproveRequest { agent: id.to_string(), ..asked });
    answer::ok(&api.operations.approve(&caller.principal, asked).await?)
}

/// `POST /api/agents/{id}/rollback`
pub(super) async fn roll_back(
    State(api): State<Api>,
    mut caller: Caller,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let id = admitted(&api, &caller, Operation::RollBack, id)?;
    let asked: RollBackRequest = read_any(&api, &mut caller, request).await?;
    let asked = caller.asks(RollBackRequest { agent: id.to_string(), ..asked });
    answer::ok(&api.operations.roll_back(&caller.principal, asked).await?)
}

/// `DELETE /api/agents/{id}`
pub(super) async fn remove(
    State(api): State<Api>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let id = admitted(&api, &caller, Operation::Remove, id)?;
    let asked = caller.asks(RemoveRequest { agent: id.to_string() });
    answer::ok(&api.operations.remove(&caller.principal, asked).await?)
}

/// The agent in the path, where the caller's request about it is admitted.
pub(super) fn admitted(
    api: &Api,
    caller: &Caller,
    operation: Operation,
    id: Result<Path<String>, PathRejection>,
) -> Result<AgentId, ApiError> {
    // A role that is not enough is not told what names an agent.
    api.operations.admit(&caller.principal, operation, None)?;
    let id = path::agent(id)?;
    caller.request.note_agent(id.as_str());
    api.operations.admit(&caller.principal, operation, Some(&id))?;
    Ok(id)
}

/// Reads a body that may be absent.
async fn read_any<T: DeserializeOwned + Default>(
    api: &Api,
    caller: &mut Caller,
    request: Request,
) -> Result<T, ApiError> {
    let body = body::read(api, caller, request).await?;
    if body.is_empty() {
        return Ok(T::default());
    }
    body::parse_object(&api.server.load(), &body)
}
