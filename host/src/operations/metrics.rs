//! What the host and its agents do, for Prometheus. For operators: it names every agent.
//!
//! Reads one registry snapshot a scrape.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Failure, Operation, Operations};
use crate::domain::Principal;
use crate::registry::{AgentEntry, ReloadCounts};
use crate::telemetry;
use crate::telemetry::metrics::{self, Metric, Name};

/// A scrape, in the text format of OpenMetrics.
#[derive(Debug, Clone)]
pub struct MetricsResponse {
    /// The page.
    pub text: String,
}

impl Operations {
    /// What the host and its agents do.
    ///
    /// # Errors
    /// For whoever is no operator.
    pub async fn metrics(&self, who: &Arc<Principal>) -> Result<MetricsResponse, Failure> {
        self.admit(who, Operation::Metrics, None)?;
        let (registry, scheduler) = (self.registry(), self.scheduler());
        let snapshot = registry.snapshot();
        let mut statuses: BTreeMap<&'static str, f64> = BTreeMap::new();
        for entry in snapshot.agents() {
            *statuses.entry(entry.status().as_str()).or_default() += 1.0;
        }
        let by_status = statuses.into_iter().map(|(word, count)| (vec![("status", word.to_owned())], count));
        let ReloadCounts { live, same, waiting, failed } = registry.reload_counts();
        let outcomes = [("live", live), ("same", same), ("waiting", waiting), ("failed", failed)];
        let outcomes = outcomes.map(|(word, count)| (vec![("outcome", word.to_owned())], count as f64));
        let per_agent = |name: Name, value: &dyn Fn(&AgentEntry) -> Option<f64>| {
            let values = snapshot.agents().filter_map(|entry| Some((&entry.key, value(entry)?)));
            Metric::of_agents(name, values)
        };
        // Neither a generation nor a time has a sum.
        let of_one = |name: Name, value: &dyn Fn(&AgentEntry) -> Option<f64>| {
            let shown = snapshot.agents().take(metrics::MAX_AGENT_SERIES);
            Metric::of_agents(name, shown.filter_map(|entry| Some((&entry.key, value(entry)?))))
        };
        let failing = |entry: &AgentEntry| entry.last_load().and_then(|load| load.failing_since);
        let load = |entry: &AgentEntry| scheduler.load_of(&entry.key);
        let page = metrics::scrape(vec![
            Metric::single(metrics::UPTIME, self.handles.started.elapsed().as_secs_f64()),
            Metric::single(metrics::REQUESTS, self.handles.shutdown.in_flight() as f64),
            Metric::single(metrics::LOG_DROPPED, telemetry::lines_dropped() as f64),
            Metric::single(metrics::INLINE, scheduler.inline_turns() as f64),
            Metric { name: metrics::AGENTS, samples: by_status.collect() },
            Metric { name: metrics::RELOADS, samples: outcomes.into() },
            per_agent(metrics::RELOAD_FAILING, &|entry| {
                Some(if failing(entry).is_some() { 1.0 } else { 0.0 })
            }),
            of_one(metrics::RELOAD_FAILING_SINCE, &|entry| failing(entry).and_then(unix)),
            of_one(metrics::GENERATION, &|entry| Some(entry.version()?.generation as f64)),
            per_agent(metrics::CALLS, &|entry| Some(load(entry).calls as f64)),
            per_agent(metrics::ERRORS, &|entry| Some(load(entry).errors as f64)),
            per_agent(metrics::FUEL, &|entry| Some(load(entry).fuel as f64)),
            per_agent(metrics::SECONDS, &|entry| Some(load(entry).wall.as_secs_f64())),
            per_agent(metrics::RUNNING, &|entry| Some(f64::from(load(entry).running))),
            per_agent(metrics::QUEUED, &|entry| Some(f64::from(load(entry).queued))),
        ]);
        let text =
            page.map_err(|error| Failure::Internal { internal: format!("writing metrics: {error}") })?;
        Ok(MetricsResponse { text })
    }
}

fn unix(at: SystemTime) -> Option<f64> {
    Some(at.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}
