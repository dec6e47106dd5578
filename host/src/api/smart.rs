//! Route and execute in one: `POST /orchestrator/smart-execute`.

use std::borrow::Cow;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use stockade_router::Verdict;

use super::call::{self, Call, Close, Routed};
use super::caller::Caller;
use super::error::ApiError;
use super::{Api, body};
use crate::domain::{RequestId, TaskText};
use crate::scheduler::Explain;

/// The body of `POST /orchestrator/smart-execute`.
#[derive(Deserialize)]
struct SmartExecuteRequest<'a> {
    /// What is to be done: 1 to 5,000 characters.
    #[serde(borrow)]
    task: Cow<'a, str>,
    /// What belongs to it: any JSON.
    #[serde(default)]
    context: Option<Box<RawValue>>,
}

/// `POST /orchestrator/smart-execute`
pub(super) async fn smart_execute(
    State(api): State<Api>,
    mut caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body::read(&api, &mut caller, request).await?;
    let asked: SmartExecuteRequest<'_> = body::parse_object(&api.server.load(), &body)?;
    let task = call::text("task", &asked.task)?;
    let id = caller.request.id.clone();
    let call = choose(&api, &caller, task, asked.context, id, caller.request.started).await?;
    drop(body);
    caller.request.note_agent(&call.agent);
    call::answer(&api, &caller, call).await
}

/// Finds the agent for a task: a close call goes to the best.
pub(super) async fn choose(
    api: &Api,
    caller: &Caller,
    task: TaskText,
    context: Option<Box<RawValue>>,
    request_id: RequestId,
    started: Instant,
) -> Result<Call, ApiError> {
    let routing = api.scheduler.route(&caller.principal, &task, Explain::No).await;
    let close = match routing.verdict {
        Verdict::NoMatch => return Err(ApiError::NoAgentMatched),
        Verdict::Ambiguous => Close::Ambiguous,
        Verdict::Routed => Close::Clear,
    };
    let best = routing.ranked.first().ok_or(ApiError::NoAgentMatched)?;
    Ok(Call {
        agent: best.id.clone(),
        query: Some(task),
        context,
        request_id,
        routed: Some(Routed { ranked: routing.ranked, close }),
        started,
    })
}
