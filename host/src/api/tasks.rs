//! Tasks over HTTP: `POST /orchestrator/route`, `execute`, `smart-execute`, `batch` and
//! `POST /api/agents/{id}/execute`.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::value::RawValue;

use super::caller::Caller;
use super::error::ApiError;
use super::{Api, answer, body, path};
use crate::operations::{
    BatchItem, BatchRequest, ExecuteAgentRequest, ExecuteRequest, ExecuteResponse, Failure,
    MAX_BATCH_ANSWERS, Ran, RouteRequest, SmartExecuteRequest,
};

/// `POST /orchestrator/route`
pub(super) async fn route(
    State(api): State<Api>,
    mut caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body::read(&api, &mut caller, request).await?;
    let asked: RouteRequest<'_> = body::parse_object(&api.server.load(), &body)?;
    let routed = api.operations.route(&caller.principal, caller.asks(asked)).await?;
    if let Some(best) = &routed.agent {
        caller.request.note_agent(best.agent_id.as_str());
    }
    answer::ok(&routed)
}

/// `POST /orchestrator/execute`
pub(super) async fn execute(
    State(api): State<Api>,
    mut caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body::read(&api, &mut caller, request).await?;
    let asked: ExecuteRequest<'_> = body::parse_object(&api.server.load(), &body)?;
    caller.request.note_agent(&asked.agent);
    let executed = api.operations.execute(&caller.principal, caller.asks(asked));
    // The body has said all it had to: a call that waits should not hold it.
    drop(body);
    caller.request.expect_room()?;
    answer_call(&caller, executed.await?)
}

/// `POST /api/agents/{id}/execute`
pub(super) async fn execute_agent(
    State(api): State<Api>,
    mut caller: Caller,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let agent = path::agent(id)?;
    let body = body::read(&api, &mut caller, request).await?;
    let asked = if body.is_empty() {
        ExecuteAgentRequest::default()
    } else {
        body::parse_object(&api.server.load(), &body)?
    };
    drop(body);
    caller.request.note_agent(agent.as_str());
    caller.request.expect_room()?;
    let asked = ExecuteAgentRequest { agent: agent.to_string(), ..asked };
    answer_call(&caller, api.operations.execute_agent(&caller.principal, caller.asks(asked)).await?)
}

/// `POST /orchestrator/smart-execute`
pub(super) async fn smart_execute(
    State(api): State<Api>,
    mut caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body::read(&api, &mut caller, request).await?;
    let asked: SmartExecuteRequest<'_> = body::parse_object(&api.server.load(), &body)?;
    let executed = api.operations.smart_execute(&caller.principal, caller.asks(asked));
    drop(body);
    caller.request.expect_room()?;
    let executed = executed.await?;
    caller.request.note_agent(executed.agent.as_str());
    answer_call(&caller, executed)
}

/// Writes an agent's answer, if there is room for it.
fn answer_call(caller: &Caller, executed: ExecuteResponse) -> Result<Response, ApiError> {
    let json = answer::to_bytes(&executed)?;
    if !caller.request.make_room(json.len()) {
        let ran = Box::new(Ran::of(&executed));
        return Err(ApiError::NoRoom { agent: executed.agent.as_str().into(), ran });
    }
    Ok(answer::response(StatusCode::OK, json))
}

/// `POST /orchestrator/batch`
pub(super) async fn batch(
    State(api): State<Api>,
    mut caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body::read(&api, &mut caller, request).await?;
    let items: Vec<&RawValue> = body::parse_list(&api.server.load(), &body)?;
    api.operations.admit_batch(items.len())?;
    if !items.is_empty() {
        // What the answers may come to is taken before anything runs.
        let wait = api.config.load().scheduler.queue_timeout;
        caller.request.reserve(MAX_BATCH_ANSWERS as u64, wait).await?;
    }
    let asked = BatchRequest { items: items.iter().map(|item| batch_item(item.get())).collect() };
    drop(body);
    let path = caller.request.path();
    let answers = api.operations.batch(&caller.principal, caller.asks(asked), |id, ended| {
        let text = match ended {
            Ok(executed) => answer::to_bytes(executed),
            Err(failure) => {
                if let Some(internal) = failure.internal() {
                    let (request_id, agent) = (id.as_str(), failure.agent());
                    tracing::warn!(request_id, agent, internal, "an item of a batch failed");
                }
                ApiError::from(failure.clone()).item(path, id.as_str())
            }
        };
        // Strings and numbers always become JSON: the fallback is for the compiler.
        text.unwrap_or_else(|_| b"null".to_vec())
    });
    let answers = answers.await?;
    let mut json = Vec::with_capacity(answers.iter().map(|answer| answer.len() + 1).sum::<usize>() + 2);
    json.push(b'[');
    for answer in answers {
        if json.len() > 1 {
            json.push(b',');
        }
        json.extend_from_slice(&answer);
    }
    json.push(b']');
    Ok(answer::response(StatusCode::OK, json))
}

/// Reads an item; one that cannot be read is its own failure.
fn batch_item(item: &str) -> Result<BatchItem, Failure> {
    let read = match item.as_bytes().first() {
        Some(b'"') => body::part(item.as_bytes())
            .map(|task: String| BatchItem { task: Some(task), ..BatchItem::default() }),
        Some(b'{') => body::part(item.as_bytes()),
        _ => {
            let message = "an item must be a text or an object with `task`, or `agent` and `query`";
            return Err(Failure::Invalid { field: None, message: message.to_owned() });
        }
    };
    read.map_err(|error| match error {
        ApiError::Operation(failure) => failure,
        other => Failure::Invalid { field: None, message: other.to_string() },
    })
}
