//! `GET /metrics`: what the host and its agents do, for Prometheus. For operators: it names every agent.
//!
//! Reads one registry snapshot a scrape; owns nothing.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, header};

use super::Api;
use super::caller::Caller;
use super::error::ApiError;
use crate::registry::{AgentEntry, ReloadCounts};
use crate::telemetry;
use crate::telemetry::metrics::{self, Metric, Name};

/// `GET /metrics`
pub(super) async fn metrics(State(api): State<Api>, caller: Caller) -> Result<Response, ApiError> {
    caller.operates()?;
    let snapshot = api.registry.snapshot();
    let mut statuses: BTreeMap<&'static str, f64> = BTreeMap::new();
    for entry in snapshot.agents() {
        *statuses.entry(entry.status().as_str()).or_default() += 1.0;
    }
    let by_status = statuses.into_iter().map(|(word, count)| (vec![("status", word.to_owned())], count));
    let ReloadCounts { live, same, waiting, failed } = api.registry.reload_counts();
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
    let load = |entry: &AgentEntry| api.scheduler.load_of(&entry.key);
    let page = metrics::scrape(vec![
        Metric::single(metrics::UPTIME, api.started.elapsed().as_secs_f64()),
        Metric::single(metrics::REQUESTS, api.shutdown.in_flight() as f64),
        Metric::single(metrics::LOG_DROPPED, telemetry::lines_dropped() as f64),
        Metric { name: metrics::AGENTS, samples: by_status.collect() },
        Metric { name: metrics::RELOADS, samples: outcomes.into() },
        per_agent(metrics::RELOAD_FAILING, &|entry| Some(if failing(entry).is_some() { 1.0 } else { 0.0 })),
        of_one(metrics::RELOAD_FAILING_SINCE, &|entry| failing(entry).and_then(unix)),
        of_one(metrics::GENERATION, &|entry| Some(entry.version()?.generation as f64)),
        per_agent(metrics::CALLS, &|entry| Some(load(entry).calls as f64)),
        per_agent(metrics::ERRORS, &|entry| Some(load(entry).errors as f64)),
        per_agent(metrics::RUNNING, &|entry| Some(f64::from(load(entry).running))),
        per_agent(metrics::QUEUED, &|entry| Some(f64::from(load(entry).queued))),
    ]);
    let page = page.map_err(|error| ApiError::Internal { internal: format!("writing metrics: {error}") })?;
    let mut response = Response::new(Body::from(page));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    Ok(response)
}

fn unix(at: SystemTime) -> Option<f64> {
    Some(at.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}
