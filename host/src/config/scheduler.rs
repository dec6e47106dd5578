//! `[scheduler]`: how many calls compute, run and wait.

use std::time::Duration;

use super::EngineConfig;
use super::key::{HOUR, Key, count, time};
use super::report::Report;
use super::section::Section;

/// `[scheduler]`
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulerConfig {
    /// `max_concurrent`: calls that compute at once over all agents; at most `engine.max_instances`. Those that
    /// wait for the host do not count. Default 128.
    pub max_concurrent: u32,
    /// `agent_concurrent`: calls of one agent that run at once, those that wait for the host included, unless
    /// the agent says. Default 64.
    pub agent_concurrent: u32,
    /// `agent_queue`: calls of one agent that wait, unless the agent says. Default 1,000.
    pub agent_queue: u32,
    /// `queue_timeout`: how long a call waits before it is rejected. Default 10 s.
    pub queue_timeout: Duration,
}

/// The keys of `[scheduler]`.
pub(super) const KEYS: &[Key] = &[
    Key::new(
        "max_concurrent",
        count(1, 65_536, 128),
        "calls that compute at once over all agents, of which one in eight is kept for agents that do not compute; a call that waits for the host does not count, and has a sandbox of `engine.max_instances` all the same, which is the most that this can be",
    ),
    Key::new(
        "agent_concurrent",
        count(1, 65_536, 64),
        "calls of one agent that run at once, those that wait for the host included, unless the agent says",
    ),
    Key::new(
        "agent_queue",
        count(0, 1_000_000, 1_000),
        "calls of one agent that wait, unless the agent says",
    ),
    Key::new("queue_timeout", time(1, HOUR, 10_000), "how long a call waits before it is rejected"),
];

/// Reads `[scheduler]`.
pub(super) fn read(
    report: &mut Report<'_>,
    section: &Section<'_, '_>,
    engine: &EngineConfig,
) -> SchedulerConfig {
    let config = SchedulerConfig {
        max_concurrent: section.count(report, "max_concurrent"),
        agent_concurrent: section.count(report, "agent_concurrent"),
        agent_queue: section.count(report, "agent_queue"),
        queue_timeout: section.duration(report, "queue_timeout"),
    };
    let (wanted, most) = (config.max_concurrent, engine.max_instances);
    match section.get("max_concurrent") {
        None => SchedulerConfig { max_concurrent: wanted.min(most), ..config },
        Some(entry) => {
            let judged = !report.is_wrong(&entry.path) && !report.is_wrong("engine.max_instances");
            if judged && wanted > most {
                report.wrong_in_context(
                    entry.value.span(),
                    &entry.path,
                    format!("`{}` is {wanted}, but `engine.max_instances` is {most}", entry.path),
                    format!("lower it to {most}, or raise `max_instances` in [engine] to {wanted}"),
                );
            }
            config
        }
    }
}
