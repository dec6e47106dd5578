//! The fleet in figures. Counts only agents that the caller may call.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Failure, Operations, may};
use crate::domain::rights::Action;
use crate::domain::{AgentStatus, OperationalStatus, Principal};

/// The fleet in figures.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatsResponse {
    /// Agents that the caller may call.
    pub total_agents: usize,
    /// Those of them that serve.
    pub active_agents: usize,
    /// How many agents each category has.
    pub categories: BTreeMap<String, usize>,
    /// The mean over the agents that state a cost, as text; `$0.000` if none does.
    pub average_cost: String,
    /// In a word.
    pub summary: StatsSummary,
    /// Calls that run now.
    pub running: u64,
    /// Calls that wait now.
    pub queued: u64,
    /// Calls since the host started.
    pub calls: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Seconds since the host started.
    pub uptime_seconds: u64,
}

/// How the fleet does.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatsSummary {
    /// `fully operational`, `degraded` or `stopped`.
    pub operational_status: OperationalStatus,
}

impl Operations {
    /// The figures of the agents that `who` may call.
    ///
    /// # Errors
    /// None so far: whoever has a key may ask.
    pub async fn stats(&self, who: &Arc<Principal>) -> Result<StatsResponse, Failure> {
        let snapshot = self.registry().snapshot();
        let mut stats = StatsResponse {
            total_agents: 0,
            active_agents: 0,
            categories: BTreeMap::new(),
            average_cost: String::new(),
            summary: StatsSummary { operational_status: OperationalStatus::FullyOperational },
            running: 0,
            queued: 0,
            calls: 0,
            errors: 0,
            uptime_seconds: self.handles.started.elapsed().as_secs(),
        };
        let mut costs = Vec::new();
        let mut stopped = 0;
        for entry in snapshot.agents_of(&who.tenant).filter(|entry| may(who, Action::See, entry)) {
            stats.total_agents += 1;
            stats.active_agents += usize::from(entry.version().is_some());
            stopped += usize::from(entry.status() == AgentStatus::Stopped);
            match stats.categories.get_mut(&entry.card.category) {
                Some(count) => *count += 1,
                None => drop(stats.categories.insert(entry.card.category.clone(), 1)),
            }
            costs.extend(entry.card.cost_per_query.as_deref().and_then(dollars));
            let load = self.scheduler().load_of(&entry.key);
            stats.running += u64::from(load.running);
            stats.queued += u64::from(load.queued);
            stats.calls += load.calls;
            stats.errors += load.errors;
        }
        stats.average_cost = average(&costs);
        stats.summary.operational_status = operational(stats.total_agents, stats.active_agents, stopped);
        Ok(stats)
    }
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
