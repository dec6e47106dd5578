//! Calls to an agent by name: `POST /orchestrator/execute` and `POST /api/agents/{id}/execute`.

use std::borrow::Cow;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::call::{self, Call};
use super::caller::Caller;
use super::error::ApiError;
use super::{Api, body};

/// The body of `POST /orchestrator/execute`.
#[derive(Deserialize)]
struct ExecuteRequest<'a> {
    /// The agent's id.
    #[serde(borrow)]
    agent: Cow<'a, str>,
    /// What to ask: 1 to 5,000 characters.
    #[serde(borrow)]
    query: Cow<'a, str>,
    /// What belongs to it: any JSON.
    #[serde(default)]
    context: Option<Box<RawValue>>,
}

/// The body of `POST /api/agents/{id}/execute`; all of it may be absent.
#[derive(Default, Deserialize)]
struct AgentExecuteRequest {
    /// What to ask; the agent's default query without it.
    #[serde(default)]
    query: Option<String>,
    /// Another name for `query`, which goes first.
    #[serde(default)]
    task: Option<String>,
    /// What belongs to it: any JSON.
    #[serde(default)]
    context: Option<Box<RawValue>>,
}

/// `POST /orchestrator/execute`
pub(super) async fn execute(
    State(api): State<Api>,
    mut caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body::read(&api, &mut caller, request).await?;
    let asked: ExecuteRequest<'_> = body::parse_object(&api.server.load(), &body)?;
    let query = call::text("query", &asked.query)?;
    let call = Call {
        agent: call::agent_id(&asked.agent)?,
        query: Some(query),
        context: asked.context,
        request_id: caller.request.id.clone(),
        routed: None,
        started: caller.request.started,
    };
    // The body has said all it had to: a call that waits should not hold it.
    drop(body);
    answer_call(&api, &caller, call).await
}

/// `POST /api/agents/{id}/execute`
pub(super) async fn execute_agent(
    State(api): State<Api>,
    mut caller: Caller,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let agent = call::agent_in_path(id)?;
    let body = body::read(&api, &mut caller, request).await?;
    let asked = if body.is_empty() {
        AgentExecuteRequest::default()
    } else {
        body::parse_object(&api.server.load(), &body)?
    };
    let call = Call {
        agent,
        query: call::query_or_task(asked.query.as_deref(), asked.task.as_deref())?,
        context: asked.context,
        request_id: caller.request.id.clone(),
        routed: None,
        started: caller.request.started,
    };
    drop(body);
    answer_call(&api, &caller, call).await
}

async fn answer_call(api: &Api, caller: &Caller, call: Call) -> Result<Response, ApiError> {
    caller.request.note_agent(&call.agent);
    call::answer(api, caller, call).await
}
