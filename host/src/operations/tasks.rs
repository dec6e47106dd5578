//! Giving a task to an agent: one that is named, or one that the router finds.
//!
//! The answer's texts are moved, not copied, from the agent's reply into the response; context and data stay
//! the JSON text that they came as.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stockade_router::Verdict;
use utoipa::ToSchema;

use super::failure::agent_id;
use super::routing::{ALTERNATIVES, RankedAgent, rounded};
use super::{Failure, Operations, Ran, Request};
use crate::domain::{self, AgentId, Denial, Digest, Micros, Principal, Receipt, RequestId, TaskText};
use crate::scheduler::{Candidate, Explain, Outcome, Submission};

/// Gives a task to one agent.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ExecuteRequest<'a> {
    /// The agent's id.
    #[serde(borrow)]
    #[schema(value_type = String)]
    pub agent: Cow<'a, str>,
    /// What to ask: 1 to 5,000 characters.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1)]
    pub query: Cow<'a, str>,
    /// What belongs to it: any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub context: Option<Box<RawValue>>,
}

/// Gives a task to the agent that is named beside it; all of it may be absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ExecuteAgentRequest {
    /// The agent's id: over HTTP, the one in the path.
    #[serde(skip)]
    #[schema(ignore)]
    pub agent: String,
    /// What to ask; the agent's default query without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Another name for `query`, which goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// What belongs to it: any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub context: Option<Box<RawValue>>,
}

/// Gives a task to the agent that fits it best.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct SmartExecuteRequest<'a> {
    /// What is to be done: 1 to 5,000 characters.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1)]
    pub task: Cow<'a, str>,
    /// What belongs to it: any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub context: Option<Box<RawValue>>,
}

/// An agent's answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExecuteResponse {
    /// `true`: failures say `false`.
    pub success: bool,
    /// The id of the agent that answered.
    #[schema(value_type = String)]
    pub agent: AgentId,
    /// Its name.
    #[schema(value_type = String)]
    pub agent_name: Arc<str>,
    /// How sure the router was, 0 to 1; only where it chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// The words that led to the agent; only where the router chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched_keywords: Option<Vec<String>>,
    /// `true` where another agent was nearly as good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambiguous: Option<bool>,
    /// The others, best first; only with `ambiguous`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternatives: Option<Vec<RankedAgent>>,
    /// The agent's words.
    pub response: String,
    /// The agent's data, if it gave any: any JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub data: Option<Box<RawValue>>,
    /// The language model that answered, or that the agent's card names.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub model: Option<Arc<str>>,
    /// Milliseconds from the request to its answer, rounded up.
    pub execution_time_ms: u64,
    /// What the call spent.
    pub receipt: Receipt,
    /// The version that the agent states.
    #[schema(value_type = String)]
    pub agent_version: Arc<str>,
    /// Which of the agent's generations answered.
    pub agent_generation: u64,
    /// The SHA-256 of the component that answered.
    #[schema(value_type = String)]
    pub agent_digest: Digest,
    /// The capabilities that were refused on the way, with what would allow them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub denials: Vec<Denial>,
    /// The request's id.
    #[schema(value_type = String)]
    pub request_id: RequestId,
}

/// A task that was checked, for the agent that it is for.
pub(super) struct Call {
    pub(super) agent: AgentId,
    /// What to ask; its default query without.
    pub(super) query: Option<TaskText>,
    pub(super) context: Option<Box<RawValue>>,
    pub(super) request_id: RequestId,
    /// How the agent was found, where the router found it.
    pub(super) routed: Option<Routed>,
    /// When its time began.
    pub(super) started: Instant,
}

/// How the router came to the agent: the choice first, then who else was near.
pub(super) struct Routed {
    /// Best first.
    ranked: Vec<Candidate>,
    /// Whether another was nearly as good.
    ambiguous: bool,
}

impl Operations {
    /// Gives a task to one agent. What the request borrows is read before this returns: the future holds none
    /// of it.
    ///
    /// # Errors
    /// If the task is wrong, if `who` may not call the agent, and however the call fails.
    pub fn execute<'s>(
        &'s self,
        who: &Arc<Principal>,
        request: Request<ExecuteRequest<'_>>,
    ) -> impl Future<Output = Result<ExecuteResponse, Failure>> + Send + use<'s> {
        let Request { id, started, held: _, body } = request;
        let call = text("query", &body.query).and_then(|query| {
            let agent = agent_id(&body.agent)?;
            let (query, context) = (Some(query), body.context);
            Ok(Call { agent, query, context, request_id: id, routed: None, started })
        });
        let who = Arc::clone(who);
        async move { self.call(who, call?, true).await }
    }

    /// Gives a task to the agent that is named beside it.
    ///
    /// # Errors
    /// As [`Operations::execute`].
    pub async fn execute_agent(
        &self,
        who: &Arc<Principal>,
        request: Request<ExecuteAgentRequest>,
    ) -> Result<ExecuteResponse, Failure> {
        let Request { id, started, held: _, body } = request;
        let ExecuteAgentRequest { agent, query, task, context } = body;
        let agent = agent_id(&agent)?;
        let query = query_or_task(query.as_deref(), task.as_deref())?;
        let call = Call { agent, query, context, request_id: id, routed: None, started };
        self.call(Arc::clone(who), call, true).await
    }

    /// Gives a task to the agent that fits it best. What the request borrows is read before this returns.
    ///
    /// # Errors
    /// If the task is wrong, if no agent fits it, and however the call fails.
    pub fn smart_execute<'s>(
        &'s self,
        who: &Arc<Principal>,
        request: Request<SmartExecuteRequest<'_>>,
    ) -> impl Future<Output = Result<ExecuteResponse, Failure>> + Send + use<'s> {
        let Request { id, started, held: _, body } = request;
        let task = text("task", &body.task);
        let (who, context) = (Arc::clone(who), body.context);
        async move {
            let call = self.choose(&who, task?, context, id, started).await?;
            self.call(who, call, true).await
        }
    }

    /// Finds the agent for a task: a close call goes to the best.
    pub(super) async fn choose(
        &self,
        who: &Principal,
        task: TaskText,
        context: Option<Box<RawValue>>,
        request_id: RequestId,
        started: Instant,
    ) -> Result<Call, Failure> {
        let routing = self.scheduler().route(who, &task, Explain::No).await;
        let ambiguous = match routing.verdict {
            Verdict::NoMatch => return Err(Failure::NoAgentMatched),
            Verdict::Ambiguous => true,
            Verdict::Routed => false,
        };
        let best = routing.ranked.first().ok_or(Failure::NoAgentMatched)?;
        let agent = best.id.clone();
        let routed = Some(Routed { ranked: routing.ranked, ambiguous });
        Ok(Call { agent, query: Some(task), context, request_id, routed, started })
    }

    /// Runs a call. The scheduler decides whether the caller may, now and again when it gets its permit.
    /// `alone` is one beside which its request waits for nothing.
    pub(super) async fn call(
        &self,
        who: Arc<Principal>,
        call: Call,
        alone: bool,
    ) -> Result<ExecuteResponse, Failure> {
        let Call { agent, query, context, request_id, routed, started } = call;
        let outcome = self
            .scheduler()
            .submit(Submission {
                caller: who.into(),
                agent: agent.as_str().to_owned(),
                query,
                context: context.map(Into::into),
                alone,
                request_id: request_id.clone(),
                timeout: None,
            })
            .await;
        answer(outcome, agent, routed, request_id, started)
    }
}

fn answer(
    outcome: Outcome,
    agent: AgentId,
    routed: Option<Routed>,
    request_id: RequestId,
    started: Instant,
) -> Result<ExecuteResponse, Failure> {
    let Outcome { agent: served, result, guest_ran, receipt, denials, .. } = outcome;
    let failed = |failure: domain::Failure, denials| {
        let receipt = guest_ran.then_some(receipt);
        Failure::ran(failure, &agent, Ran { receipt, denials })
    };
    let broken = |internal: String| domain::Failure::Internal { internal };
    let reply = match result {
        Ok(reply) => reply,
        Err(failure) => return Err(failed(failure, denials)),
    };
    let Some(served) = served else {
        return Err(failed(broken("a reply without the agent that gave it".to_owned()), denials));
    };
    let data = match reply.data.map(RawValue::from_string).transpose() {
        Ok(data) => data,
        Err(error) => {
            return Err(failed(broken(format!("the reply's data was not JSON: {error}")), denials));
        }
    };
    let (mut confidence, mut matched_keywords, mut ambiguous, mut alternatives) = (None, None, None, None);
    if let Some(routed) = routed {
        let mut ranked = routed.ranked.into_iter();
        if let Some(best) = ranked.next() {
            confidence = Some(rounded(best.confidence));
            matched_keywords = Some(best.matched_keywords);
        }
        if routed.ambiguous {
            ambiguous = Some(true);
            alternatives = Some(ranked.take(ALTERNATIVES).map(RankedAgent::from).collect());
        }
    }
    Ok(ExecuteResponse {
        success: true,
        agent: served.id,
        agent_name: served.name,
        confidence,
        matched_keywords,
        ambiguous,
        alternatives,
        response: reply.response,
        data,
        model: reply.model.map(Into::into).or(served.model),
        execution_time_ms: Micros::from(started.elapsed()).whole_ms(),
        receipt,
        agent_version: served.version,
        agent_generation: served.generation,
        agent_digest: served.digest,
        denials,
        request_id,
    })
}

/// What an agent is asked by name: `query`, for which `task` is another name.
pub(super) fn query_or_task(query: Option<&str>, task: Option<&str>) -> Result<Option<TaskText>, Failure> {
    match (query, task) {
        (Some(query), _) => text("query", query).map(Some),
        (None, Some(task)) => text("task", task).map(Some),
        (None, None) => Ok(None),
    }
}

/// Checks a task's text; `field` is what the client calls it.
pub(super) fn text(field: &str, text: &str) -> Result<TaskText, Failure> {
    TaskText::parse(text).map_err(|error| Failure::field(field, error))
}
