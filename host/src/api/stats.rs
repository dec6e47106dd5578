//! The fleet in figures: `GET /orchestrator/stats`.
//!
//! Counts only agents that the caller's key may call.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::caller::Caller;
use super::error::ApiError;
use super::{Api, answer};
use crate::domain::rights::Action;
use crate::domain::{AgentStatus, OperationalStatus};

/// The answer.
#[derive(Serialize)]
struct Stats<'a> {
    /// Agents that the caller may call.
    total_agents: usize,
    /// Those of them that serve.
    active_agents: usize,
    /// How many agents each category has.
    categories: BTreeMap<&'a str, usize>,
    /// The mean over the agents that state a cost, as text; `$0.000` if none does.
    average_cost: String,
    /// In a word.
    summary: Summary,
    /// Calls that run now.
    running: u64,
    /// Calls that wait now.
    queued: u64,
    /// Calls since the host started.
    calls: u64,
    /// Those of them that failed.
    errors: u64,
    /// Since the host started.
    uptime_seconds: u64,
}

/// How the fleet does.
#[derive(Serialize)]
struct Summary {
    /// `fully operational`, `degraded` or `stopped`.
    operational_status: OperationalStatus,
}

/// `GET /orchestrator/stats`
pub(super) async fn stats(State(api): State<Api>, caller: Caller) -> Result<Response, ApiError> {
    let snapshot = api.registry.snapshot();
    let mut stats = Stats {
        total_agents: 0,
        active_agents: 0,
        categories: BTreeMap::new(),
        average_cost: String::new(),
        summary: Summary { operational_status: OperationalStatus::FullyOperational },
        running: 0,
        queued: 0,
        calls: 0,
        errors: 0,
        uptime_seconds: api.started.elapsed().as_secs(),
    };
    let mut costs = Vec::new();
    let mut stopped = 0;
    for entry in snapshot.agents_of(&caller.principal.tenant).filter(|entry| caller.may(Action::See, entry)) {
        stats.total_agents += 1;
        stats.active_agents += usize::from(entry.version().is_some());
        stopped += usize::from(entry.status() == AgentStatus::Stopped);
        *stats.categories.entry(&entry.card.category).or_default() += 1;
        costs.extend(entry.card.cost_per_query.as_deref().and_then(dollars));
        let load = api.scheduler.load_of(&entry.key);
        stats.running += u64::from(load.running);
        stats.queued += u64::from(load.queued);
        stats.calls += load.calls;
        stats.errors += load.errors;
    }
    stats.average_cost = average(&costs);
    stats.summary.operational_status = operational(stats.total_agents, stats.active_agents, stopped);
    answer::ok(&stats)
}

fn operational(total: usize, active: usize, stopped: usize) -> OperationalStatus {
    if total > 0 && stopped == total {
        OperationalStatus::Stopped
    } else if active < total {
        OperationalStatus::Degraded
    } else {
        OperationalStatus::FullyOperational
    }
}

fn dollars(text: &str) -> Option<f64> {
    let amount: f64 = text.trim().strip_prefix('$')?.trim().parse().ok()?;
    amount.is_finite().then_some(amount)
}

/// Three decimals as in `$0.001`; up to six where three would not tell.
fn average(costs: &[f64]) -> String {
    let mean = if costs.is_empty() { 0.0 } else { costs.iter().sum::<f64>() / costs.len() as f64 };
    let mut text = format!("${mean:.6}");
    while text.ends_with('0') && text.len() > text.find('.').map_or(0, |dot| dot + 4) {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_text() {
        assert_eq!(dollars("$0.001"), Some(0.001));
        assert_eq!(dollars("free"), None);
        assert_eq!(average(&[]), "$0.000");
        assert_eq!(average(&[0.001]), "$0.001");
        assert_eq!(average(&[0.001, 0.0005]), "$0.00075");
        assert_eq!(average(&[12.0]), "$12.000");
    }

    #[test]
    fn one_agent_that_does_not_serve_degrades_the_fleet() {
        assert_eq!(operational(0, 0, 0), OperationalStatus::FullyOperational);
        assert_eq!(operational(2, 2, 0), OperationalStatus::FullyOperational);
        assert_eq!(operational(2, 1, 1), OperationalStatus::Degraded);
        assert_eq!(operational(2, 0, 2), OperationalStatus::Stopped);
    }
}
