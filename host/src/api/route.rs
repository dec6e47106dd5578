//! Which agent a task is for, without running it: `POST /orchestrator/route`.

use std::borrow::Cow;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use stockade_router::Verdict;

use super::call::{self, ALTERNATIVES};
use super::caller::Caller;
use super::error::ApiError;
use super::{Api, answer, body};
use crate::domain::AgentId;
use crate::scheduler::{Candidate, Explain};

/// The body of `POST /orchestrator/route`. Its `context` is accepted and does not count.
#[derive(Deserialize)]
struct RouteRequest<'a> {
    /// What is to be done: 1 to 5,000 characters.
    #[serde(borrow)]
    task: Cow<'a, str>,
    /// `false`: only list who could.
    #[serde(default)]
    auto_select: Option<bool>,
    /// `true`: say how the decision came about.
    #[serde(default)]
    explain: Option<bool>,
}

/// The answer.
#[derive(Serialize)]
struct RouteAnswer<'a> {
    /// `routed`, `ambiguous` or `no_match`.
    status: &'static str,
    /// The best agent; `null` if none matched or none was to be picked.
    agent: Option<RankedAgent<'a>>,
    /// Who else could, best first, at most ten.
    alternatives: Vec<RankedAgent<'a>>,
    /// Milliseconds from the request to its answer, rounded up.
    execution_time_ms: u64,
    /// How the decision came about, if asked for; its shape is the router's.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<&'a serde_json::Value>,
}

/// An agent as the router ranks it.
#[derive(Serialize)]
pub(super) struct RankedAgent<'a> {
    /// Its id.
    agent_id: &'a AgentId,
    /// Its name.
    agent_name: &'a str,
    /// 0 to 1, at most four decimals.
    confidence: f64,
    /// The words of the task that spoke for it.
    matched_keywords: &'a [String],
}

impl<'a> From<&'a Candidate> for RankedAgent<'a> {
    fn from(candidate: &'a Candidate) -> Self {
        Self {
            agent_id: &candidate.id,
            agent_name: &candidate.name,
            confidence: answer::confidence(candidate.confidence),
            matched_keywords: &candidate.matched_keywords,
        }
    }
}

/// `POST /orchestrator/route`
pub(super) async fn route(
    State(api): State<Api>,
    mut caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body::read(&api, &mut caller, request).await?;
    let asked: RouteRequest<'_> = body::parse_object(&api.server.load(), &body)?;
    let task = call::text("task", &asked.task)?;
    let explain = if asked.explain.unwrap_or(false) { Explain::Yes } else { Explain::No };
    let routing = api.scheduler.route(&caller.principal, &task, explain).await;
    let matched = routing.verdict != Verdict::NoMatch;
    let pick = matched && asked.auto_select.unwrap_or(true);
    let best = routing.ranked.first().filter(|_| pick);
    if let Some(best) = best {
        caller.request.note_agent(&best.id);
    }
    let others = routing.ranked.get(usize::from(best.is_some())..).unwrap_or_default();
    answer::ok(&RouteAnswer {
        status: match routing.verdict {
            Verdict::NoMatch => "no_match",
            Verdict::Ambiguous => "ambiguous",
            Verdict::Routed => {
                if pick {
                    "routed"
                } else {
                    "ambiguous"
                }
            }
        },
        agent: best.map(RankedAgent::from),
        alternatives: others.iter().take(ALTERNATIVES).map(RankedAgent::from).collect(),
        execution_time_ms: answer::whole_millis(caller.request.started.elapsed()),
        explanation: routing.explanation.as_ref(),
    })
}
