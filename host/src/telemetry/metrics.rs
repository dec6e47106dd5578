//! The metrics that the host shows: every name, what it means, and how a scrape is written.
//!
//! Owns no state: whoever has the figures hands them in at each scrape, so that they cannot drift
//! from what the rest of the interface says.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::domain::AgentKey;

/// The media type of a scrape.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A metric's name and meaning.
#[derive(Debug, Clone, Copy)]
pub struct Name {
    name: &'static str,
    help: &'static str,
    kind: Kind,
}

/// Whether a metric can fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It only grows; `_total` is added to its name.
    Counter,
    /// It moves.
    Gauge,
}

impl Kind {
    fn encode(self, value: f64, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Counter => ConstCounter::new(value).encode(encoder),
            Self::Gauge => ConstGauge::new(value).encode(encoder),
        }
    }
}

const fn counter(name: &'static str, help: &'static str) -> Name {
    Name { name, help, kind: Kind::Counter }
}

const fn gauge(name: &'static str, help: &'static str) -> Name {
    Name { name, help, kind: Kind::Gauge }
}

/// Seconds since the host started.
pub const UPTIME: Name = gauge("stockade_uptime_seconds", "Seconds since the host started");
/// Requests that are being answered.
pub const REQUESTS: Name = gauge("stockade_requests_in_flight", "Requests that are being answered");
/// Calls that began on the thread that accepted them.
pub const INLINE: Name = counter(
    "stockade_calls_begun_inline",
    "Calls that were known to be short, and began on the thread that accepted them",
);
/// Agents in each status.
pub const AGENTS: Name = gauge("stockade_agents", "Agents in each status");
/// Ends of attempts to change what serves.
pub const RELOADS: Name = counter("stockade_reloads", "Ends of attempts to change what an agent serves");
/// Whether an agent's last load failed.
pub const RELOAD_FAILING: Name = gauge(
    "stockade_agent_reload_failing",
    "1 while the last attempt to load the agent failed: the version from before still serves, or none",
);
/// Since when an agent's loads fail.
pub const RELOAD_FAILING_SINCE: Name = gauge(
    "stockade_agent_reload_failing_since_seconds",
    "Unix time since when attempts to load the agent have failed",
);
/// The generation that serves.
pub const GENERATION: Name = gauge("stockade_agent_generation", "The generation that serves");
/// Calls that began.
pub const CALLS: Name = counter("stockade_agent_calls", "Calls that began");
/// Calls without an answer.
pub const ERRORS: Name =
    counter("stockade_agent_errors", "Calls that ended without an answer, or were rejected");
/// Fuel that calls used.
pub const FUEL: Name = counter("stockade_agent_fuel", "Units of fuel that calls used, from when they ended");
/// Time in sandboxes.
pub const SECONDS: Name =
    counter("stockade_agent_seconds", "Seconds that calls were in their sandboxes, from when they ended");
/// Calls that run.
pub const RUNNING: Name = gauge("stockade_agent_running", "Calls that run now");
/// Calls that wait.
pub const QUEUED: Name = gauge("stockade_agent_queued", "Calls that wait now");

/// Lines of the log that were dropped.
pub const LOG_DROPPED: Name = counter(
    "stockade_log_lines_dropped",
    "Lines of the log that were dropped: they came faster than they were read",
);

/// The most agents that have series of their own.
pub const MAX_AGENT_SERIES: usize = 1_000;
/// What all other agents, and their tenants, are shown as together. No agent and no tenant can have this name.
pub const OTHER_AGENTS: &str = "_other";

/// What a scrape shows of one metric: a value for each set of labels.
#[derive(Debug)]
pub struct Metric {
    /// Which.
    pub name: Name,
    /// Its values; an empty list of metrics is left out.
    pub samples: Vec<(Vec<(&'static str, String)>, f64)>,
}

impl Metric {
    /// A metric without labels.
    pub fn single(name: Name, value: f64) -> Self {
        Self { name, samples: vec![(Vec::new(), value)] }
    }

    /// A metric of each agent, in the order of their keys: of so many as have series of their own, and
    /// the sum of all others.
    pub fn of_agents<'a>(name: Name, values: impl Iterator<Item = (&'a AgentKey, f64)>) -> Self {
        let labels =
            |tenant: &str, agent: &str| vec![("tenant", tenant.to_owned()), ("agent", agent.to_owned())];
        let mut samples = Vec::new();
        let mut other = None;
        for (key, value) in values {
            if samples.len() < MAX_AGENT_SERIES {
                samples.push((labels(key.tenant.as_str(), key.id.as_str()), value));
            } else {
                *other.get_or_insert(0.0) += value;
            }
        }
        samples.extend(other.map(|sum| (labels(OTHER_AGENTS, OTHER_AGENTS), sum)));
        Self { name, samples }
    }
}

/// Writes a scrape in the OpenMetrics text format.
///
/// # Errors
/// None in fact: what is written to is text in memory.
pub fn scrape(metrics: Vec<Metric>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(metrics)));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

#[derive(Debug)]
struct Scrape(Vec<Metric>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for Metric { name: Name { name, help, kind }, samples } in &self.0 {
            let kind_of = match kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            if samples.is_empty() {
                continue;
            }
            let mut metric = encoder.encode_descriptor(name, help, None, kind_of)?;
            if let [(labels, value)] = samples.as_slice()
                && labels.is_empty()
            {
                kind.encode(*value, metric)?;
                continue;
            }
            for (labels, value) in samples {
                kind.encode(*value, metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AgentId, TenantId};

    fn key(tenant: &str, id: &str) -> AgentKey {
        let tenant = TenantId::parse(tenant).expect("a tenant");
        AgentKey { tenant, id: AgentId::parse(id).expect("an id") }
    }

    #[test]
    fn agents_past_a_thousand_share_their_series() {
        let keys: Vec<_> = (0..1_500).map(|number| key("default", &format!("agent-{number:04}"))).collect();
        let metric = Metric::of_agents(CALLS, keys.iter().map(|key| (key, 2.0)));
        assert_eq!(metric.samples.len(), MAX_AGENT_SERIES + 1);
        let page = scrape(vec![metric]).expect("text");
        assert!(
            page.contains("stockade_agent_calls_total{tenant=\"default\",agent=\"agent-0999\"} 2.0"),
            "{page}"
        );
        assert!(
            page.contains("stockade_agent_calls_total{tenant=\"_other\",agent=\"_other\"} 1000.0"),
            "{page}"
        );
        assert!(!page.contains("agent-1000"), "{page}");
    }

    #[test]
    fn two_tenants_agents_of_one_id_have_each_a_series() {
        let keys = [key("acme", "echo"), key("default", "echo")];
        let metric = Metric::of_agents(CALLS, keys.iter().zip([1.0, 2.0]));
        let page = scrape(vec![metric]).expect("text");
        assert!(page.contains("calls_total{tenant=\"acme\",agent=\"echo\"} 1.0"), "{page}");
        assert!(page.contains("calls_total{tenant=\"default\",agent=\"echo\"} 2.0"), "{page}");
    }

    #[test]
    fn a_scrape_has_names_labels_and_values() {
        let failed = Metric { name: RELOADS, samples: vec![(vec![("outcome", "failed".to_owned())], 2.0)] };
        let page = scrape(vec![Metric::single(UPTIME, 1.5), failed]).expect("text");
        assert!(page.contains("# TYPE stockade_reloads counter"), "{page}");
        assert!(page.contains("stockade_reloads_total{outcome=\"failed\"} 2.0"), "{page}");
        assert!(page.contains("stockade_uptime_seconds 1.5"), "{page}");
        assert!(page.ends_with("# EOF\n"), "{page}");
    }
}
