//! One call, whichever path asked for it: submitted to the scheduler, then written as an answer.
//!
//! Shared by execute, smart-execute, batch and the agents' own paths. Owns nothing.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Api;
use super::answer;
use super::caller::Caller;
use super::error::ApiError;
use super::route::RankedAgent;
use crate::domain::{AgentId, Denial, Digest, Failure, Receipt, RequestId, TaskText};
use crate::scheduler::{Candidate, Outcome, Submission};

/// What is shown of a text that should have been an agent's id, in characters.
const ID_SHOWN: usize = 80;
/// How many alternatives an answer lists.
pub(super) const ALTERNATIVES: usize = 10;

/// A call, checked as far as the API can.
pub(super) struct Call {
    /// Whom.
    pub(super) agent: AgentId,
    /// What to ask; its default query without.
    pub(super) query: Option<TaskText>,
    /// What belongs to it.
    pub(super) context: Option<Box<RawValue>>,
    /// The request, or the batch's item.
    pub(super) request_id: RequestId,
    /// How the agent was found, where the router found it.
    pub(super) routed: Option<Routed>,
    /// When its time began.
    pub(super) started: Instant,
}

/// How the router came to the agent: the choice first, then who else was near.
pub(super) struct Routed {
    /// Best first.
    pub(super) ranked: Vec<Candidate>,
    /// Whether another was nearly as good.
    pub(super) close: Close,
}

/// Whether the choice was a close one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    /// No.
    Clear,
    /// Yes: the answer says so, with the alternatives.
    Ambiguous,
}

/// What a call came to, beside its answer: told in failures too.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    /// What it spent; `None` where no guest code ran.
    pub(super) receipt: Option<Receipt>,
    /// The capabilities that were refused on the way.
    pub(super) denials: Vec<Denial>,
}

impl Ran {
    fn new(outcome: &mut Outcome) -> Self {
        let receipt = outcome.guest_ran.then_some(outcome.receipt);
        Self { receipt, denials: std::mem::take(&mut outcome.denials) }
    }
}

/// A call that was answered.
pub(super) struct Answered {
    /// Its answer.
    pub(super) json: Vec<u8>,
    /// Who answered.
    pub(super) agent: AgentId,
    /// What it came to.
    pub(super) ran: Ran,
}

/// Runs the call and writes its answer.
pub(super) async fn run(api: &Api, caller: &Caller, call: Call) -> Result<Answered, ApiError> {
    let Call { agent, query, context, request_id, routed, started } = call;
    let outcome = api
        .scheduler
        .submit(Submission {
            principal: Arc::clone(&caller.principal),
            agent: agent.as_str().to_owned(),
            query,
            context: context.map(Into::into),
            request_id: request_id.clone(),
        })
        .await;
    write(outcome, agent, routed.as_ref(), &request_id, started)
}

/// Runs a call that is all of its request, and makes its response.
pub(super) async fn answer(api: &Api, caller: &Caller, call: Call) -> Result<Response, ApiError> {
    caller.request.expect_room()?;
    let Answered { json, agent, ran } = run(api, caller, call).await?;
    if !caller.request.make_room(json.len()) {
        return Err(ApiError::NoRoom { agent: agent.as_str().into(), ran: Box::new(ran) });
    }
    Ok(answer::response(StatusCode::OK, json))
}

/// Reads an agent's id as a client wrote it. What cannot be one is an agent that does not exist.
pub(super) fn agent_id(text: &str) -> Result<AgentId, ApiError> {
    AgentId::parse(text).map_err(|_| {
        let shown: String = text.chars().take(ID_SHOWN).collect();
        ApiError::Call {
            agent: Some(shown.as_str().into()),
            failure: Failure::AgentNotFound(shown),
            ran: None,
        }
    })
}

/// Reads the agent's id in a path. A path that is not text names no agent.
pub(super) fn agent_in_path(id: Result<Path<String>, PathRejection>) -> Result<AgentId, ApiError> {
    match id {
        Ok(Path(id)) => agent_id(&id),
        Err(_) => Err(ApiError::call(Failure::AgentNotFound("?".to_owned()), None)),
    }
}

/// What an agent is asked by name: `query`, for which `task` is another name.
pub(super) fn query_or_task(query: Option<&str>, task: Option<&str>) -> Result<Option<TaskText>, ApiError> {
    match (query, task) {
        (Some(query), _) => text("query", query).map(Some),
        (None, Some(task)) => text("task", task).map(Some),
        (None, None) => Ok(None),
    }
}

/// Checks a task's text; `field` is what the client calls it.
pub(super) fn text(field: &str, text: &str) -> Result<TaskText, ApiError> {
    TaskText::parse(text).map_err(|error| ApiError::field(field, error))
}

fn write(
    mut outcome: Outcome,
    agent: AgentId,
    routed: Option<&Routed>,
    request_id: &RequestId,
    started: Instant,
) -> Result<Answered, ApiError> {
    let ran = Ran::new(&mut outcome);
    let reply = match outcome.result {
        Ok(reply) => reply,
        Err(failure) => return Err(ApiError::ran(failure, &agent, ran)),
    };
    let broken = |internal: String| ApiError::ran(Failure::Internal { internal }, &agent, ran.clone());
    let served = outcome.agent.ok_or_else(|| broken("a reply without the agent that gave it".to_owned()))?;
    let data = reply
        .data
        .as_deref()
        .map(serde_json::from_str::<&RawValue>)
        .transpose()
        .map_err(|error| broken(format!("the reply's data was not JSON: {error}")))?;
    let best = routed.and_then(|routed| routed.ranked.first());
    let ambiguous = routed.filter(|routed| routed.close == Close::Ambiguous);
    let json = answer::to_bytes(&Answer {
        success: true,
        agent: &served.id,
        agent_name: &served.name,
        confidence: best.map(|best| answer::confidence(best.confidence)),
        matched_keywords: best.map(|best| best.matched_keywords.as_slice()),
        ambiguous: ambiguous.map(|_| true),
        alternatives: ambiguous
            .map(|routed| routed.ranked.iter().skip(1).take(ALTERNATIVES).map(RankedAgent::from).collect()),
        response: &reply.response,
        data,
        model: reply.model.as_deref().or(served.model.as_deref()),
        execution_time_ms: answer::whole_millis(started.elapsed()),
        receipt: outcome.receipt,
        agent_version: &served.version,
        agent_generation: served.generation,
        agent_digest: served.digest,
        denials: &ran.denials,
        request_id,
    })?;
    Ok(Answered { json, agent, ran })
}

/// A call's answer.
#[derive(Serialize)]
struct Answer<'a> {
    /// `true`: failures say `false`.
    success: bool,
    /// The id of the agent that answered.
    agent: &'a AgentId,
    /// Its name.
    agent_name: &'a str,
    /// How sure the router was, 0 to 1; only where it chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
    /// The words that led to the agent; only where the router chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    matched_keywords: Option<&'a [String]>,
    /// `true` where another agent was nearly as good.
    #[serde(skip_serializing_if = "Option::is_none")]
    ambiguous: Option<bool>,
    /// The others, best first; only with `ambiguous`.
    #[serde(skip_serializing_if = "Option::is_none")]
    alternatives: Option<Vec<RankedAgent<'a>>>,
    /// The agent's words.
    response: &'a str,
    /// The agent's data, if it gave any: any JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    /// The language model that answered, or that the agent's card names.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    /// Milliseconds from the request to its answer, rounded up.
    execution_time_ms: u64,
    /// What the call spent.
    receipt: Receipt,
    /// The version that the agent states.
    agent_version: &'a str,
    /// Which of the agent's generations answered.
    agent_generation: u64,
    /// The SHA-256 of the component that answered.
    agent_digest: Digest,
    /// The capabilities that were refused on the way, with what would allow them.
    #[serde(skip_serializing_if = "<[Denial]>::is_empty")]
    denials: &'a [Denial],
    /// The request's id.
    request_id: &'a RequestId,
}
