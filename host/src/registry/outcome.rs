//! How attempts to change what serves end, and what the log says of it.

use std::time::Instant;

use super::draft::Attempt;
use super::load::LoadFailure;
use super::record::Cause;
use super::snapshot::Snapshot;
use crate::domain::{AgentKey, Digest};
use crate::telemetry::event::Event;

/// How an attempt ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It serves, as this generation.
    Live(u64),
    /// It is what served already.
    Same,
    /// It waits for the operator because it wants this: capabilities, another category.
    Waits(Vec<String>),
    /// It does not serve; what served serves on.
    Failed(LoadFailure),
    /// The agent's settings changed, or it was removed, while the attempt was made.
    Stale,
}

/// What the log says of an attempt, kept apart from it.
pub(super) struct AttemptSummary {
    pub(super) key: AgentKey,
    pub(super) component: String,
    digest: Option<Digest>,
    cause: Cause,
    began: Instant,
}

impl AttemptSummary {
    pub(super) fn of(attempt: &Attempt) -> Self {
        Self {
            key: attempt.config.key.clone(),
            component: attempt.config.component.display().to_string(),
            digest: attempt.digest,
            cause: attempt.cause.clone(),
            began: attempt.began,
        }
    }

    /// Writes the log line of how it ended.
    pub(super) fn log(&self, outcome: &Outcome, next: &Snapshot) {
        let AgentKey { tenant, id: agent } = &self.key;
        let ms = self.began.elapsed().as_millis() as u64;
        let version = next.agent(&self.key).and_then(|entry| entry.version());
        match (outcome, version) {
            (Outcome::Live(generation), Some(version)) => {
                if let Cause::RolledBack { from, reason } = &self.cause {
                    tracing::warn!(name: Event::AgentRolledBack.name(), %tenant, %agent, %from, to = %version.digest, reason, generation, "agent was rolled back");
                }
                tracing::info!(name: Event::AgentLive.name(), %tenant, %agent, version = %version.card.version, generation, digest = %version.digest, ms, "agent is live");
                for capability in version.ungranted() {
                    tracing::warn!(%tenant, %agent, capability = capability.as_str(), "agent imports a capability that it is not granted; calls to it are refused until agents.toml has `[agents.{agent}.grants] {capability} = true`");
                }
            }
            (Outcome::Same, Some(version)) => {
                tracing::debug!(%tenant, %agent, version = %version.card.version, generation = version.generation, digest = %version.digest, ms, "agent serves as before");
            }
            (Outcome::Waits(wants), _) => {
                let digest = self.digest.map(|digest| digest.to_string());
                tracing::warn!(name: Event::AgentPending.name(), %tenant, %agent, digest, wants = wants.join(", "), "agent waits for approval: its new version wants what its agent does not have; `stockade approve {agent}` lets it in, or agents.toml that says so");
            }
            (Outcome::Failed(failure), _) => {
                tracing::error!(name: Event::AgentFailed.name(), %tenant, %agent, component = self.component, reason = %failure, "agent was not loaded");
            }
            (Outcome::Stale, _) => tracing::debug!(%tenant, %agent, "a load was overtaken"),
            (Outcome::Live(_) | Outcome::Same, None) => {}
        }
    }
}
