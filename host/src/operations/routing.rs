//! Which agent a task is for, without running it.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stockade_router::Verdict;
use utoipa::ToSchema;

use super::{Failure, Operations, Request, tasks};
use crate::domain::{AgentId, Micros, Principal};
use crate::scheduler::{Candidate, Explain};

/// How many alternatives an answer lists.
pub(super) const ALTERNATIVES: usize = 10;

/// Asks which agent a task is for. A `context` is accepted and does not count.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct RouteRequest<'a> {
    /// What is to be done: 1 to 5,000 characters.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1)]
    pub task: Cow<'a, str>,
    /// `false`: only list who could.
    #[serde(default)]
    pub auto_select: Option<bool>,
    /// `true`: say how the decision came about.
    #[serde(default)]
    pub explain: Option<bool>,
}

/// What came of routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteStatus {
    /// One agent is the right one.
    Routed,
    /// Several could be, or none was to be picked.
    Ambiguous,
    /// None is.
    NoMatch,
}

/// Which agent a task is for.
#[derive(Debug, Serialize, ToSchema)]
pub struct RouteResponse {
    /// `routed`, `ambiguous` or `no_match`.
    pub status: RouteStatus,
    /// The best agent; `null` if none matched or none was to be picked.
    #[schema(required)]
    pub agent: Option<RankedAgent>,
    /// Who else could, best first, at most ten.
    pub alternatives: Vec<RankedAgent>,
    /// Milliseconds from the request to its answer, rounded up.
    pub execution_time_ms: u64,
    /// How the decision came about, if asked for; its shape is the router's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<serde_json::Value>,
}

/// An agent as the router ranks it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RankedAgent {
    /// Its id.
    #[schema(value_type = String)]
    pub agent_id: AgentId,
    /// Its name.
    #[schema(value_type = String)]
    pub agent_name: Arc<str>,
    /// 0 to 1, at most four decimals.
    pub confidence: f64,
    /// The words of the task that spoke for it.
    pub matched_keywords: Vec<String>,
}

impl From<Candidate> for RankedAgent {
    fn from(candidate: Candidate) -> Self {
        let Candidate { id, name, confidence, matched_keywords } = candidate;
        Self { agent_id: id, agent_name: name, confidence: rounded(confidence), matched_keywords }
    }
}

/// A confidence with at most four decimals.
pub(super) fn rounded(confidence: f64) -> f64 {
    (confidence * 1e4).round() / 1e4
}

impl Operations {
    /// Says which of the agents that `who` may call a task is for.
    ///
    /// # Errors
    /// If the task is no text of the right length.
    pub async fn route(
        &self,
        who: &Arc<Principal>,
        request: Request<RouteRequest<'_>>,
    ) -> Result<RouteResponse, Failure> {
        let Request { started, body, .. } = request;
        let task = tasks::text("task", &body.task)?;
        let explain = if body.explain.unwrap_or(false) { Explain::Yes } else { Explain::No };
        let pick = body.auto_select.unwrap_or(true);
        let routing = self.scheduler().route(who, &task, explain).await;
        let pick = pick && routing.verdict != Verdict::NoMatch;
        let mut ranked = routing.ranked.into_iter().map(RankedAgent::from);
        let agent = if pick { ranked.next() } else { None };
        Ok(RouteResponse {
            status: match routing.verdict {
                Verdict::NoMatch => RouteStatus::NoMatch,
                Verdict::Routed if pick => RouteStatus::Routed,
                Verdict::Routed | Verdict::Ambiguous => RouteStatus::Ambiguous,
            },
            agent,
            alternatives: ranked.take(ALTERNATIVES).collect(),
            execution_time_ms: Micros::from(started.elapsed()).whole_ms(),
            explanation: routing.explanation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidences_have_few_decimals() {
        assert_eq!(rounded(0.123_456), 0.1235);
    }
}
