//! A call on its way: it holds the permit and the version, and lands with a receipt.
//!
//! Whichever way it ends (answer, trap, timeout, a client that left), counters and log get
//! its receipt as it is dropped.

use std::sync::Arc;
use std::time::Duration;

use super::gate::Permit;
use super::stats::AgentStats;
use crate::capabilities::Source;
use crate::domain::{CapabilityScope, Denial, Failure, Receipt, Reply, RequestId, Task};
use crate::engine::{Engine, Invocation, Spent};
use crate::registry::{AgentVersion, Registry};

/// What a call needs to run.
pub(super) struct Flight {
    pub(super) engine: Arc<Engine>,
    pub(super) registry: Registry,
    pub(super) version: Arc<AgentVersion>,
    pub(super) caller: CapabilityScope,
    pub(super) key: Arc<str>,
    pub(super) queued: Duration,
    pub(super) stats: Arc<AgentStats>,
    /// Given back as the flight is dropped.
    pub(super) _permit: Permit,
}

/// How it ended.
pub(super) struct Landed {
    pub(super) result: Result<Reply, Failure>,
    pub(super) receipt: Receipt,
    pub(super) denials: Vec<Denial>,
}

impl Landed {
    /// A call whose threads were closed under it: its guest may have begun.
    pub(super) fn cut_off() -> Self {
        let internal = "the host left before it ended".to_owned();
        Self { result: Err(Failure::Exited { internal }), receipt: Receipt::default(), denials: Vec::new() }
    }
}

/// What is written down as the call ends.
struct Record {
    flight: Flight,
    request: RequestId,
    spent: Spent,
    /// How it ended; a record that is dropped without was cancelled.
    end: Option<Result<(), Failure>>,
}

impl Flight {
    /// Runs the task. Poll it on the guests' threads.
    pub(super) async fn run(self, task: Task) -> Landed {
        let invocation = Invocation {
            component: self.version.component.clone(),
            rights: self.version.rights.clone(),
            caller: self.caller.clone(),
            limits: self.version.limits,
        };
        let engine = self.engine.clone();
        let request = task.request_id.clone();
        let mut record = Record { flight: self, request, spent: Spent::default(), end: None };
        record.flight.stats.began();
        let result = engine.call(&invocation, task, &mut record.spent).await;
        record.end = Some(result.as_ref().map(|_| ()).map_err(Failure::clone));
        let receipt = record.receipt();
        let denials = record.spent.denials.clone();
        drop(record);
        Landed { result, receipt, denials }
    }
}

impl Record {
    fn receipt(&self) -> Receipt {
        Receipt {
            fuel: self.spent.fuel,
            peak_memory_bytes: self.spent.peak_memory,
            wall_ms: milliseconds(self.spent.wall),
            queue_ms: milliseconds(self.flight.queued),
            output_bytes: self.spent.output_bytes,
            host_calls: self.spent.host_calls,
            host_bytes: self.spent.host_bytes,
        }
    }
}

/// Milliseconds to three places: what is finer is noise.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

impl Drop for Record {
    fn drop(&mut self) {
        let failure = self.end.as_ref().and_then(|end| end.as_ref().err());
        let code = match &self.end {
            Some(Ok(())) => "ok",
            Some(Err(failure)) => failure.code(),
            None => "cancelled",
        };
        let receipt = self.receipt();
        let agent = &self.flight.version.id;
        self.flight.stats.ended(failure, &self.spent.denials);
        if self.end.is_some() {
            self.flight.registry.ended(&self.flight.version, failure);
        }
        for line in &self.spent.lines {
            let text = &line.text;
            match line.source {
                Source::Logged(tracing::Level::ERROR) => {
                    tracing::error!(target: "agent", %agent, request = %self.request, "{text}")
                }
                Source::Logged(tracing::Level::WARN) => {
                    tracing::warn!(target: "agent", %agent, request = %self.request, "{text}")
                }
                Source::Logged(tracing::Level::INFO) => {
                    tracing::info!(target: "agent", %agent, request = %self.request, "{text}")
                }
                Source::Logged(_) => {
                    tracing::debug!(target: "agent", %agent, request = %self.request, "{text}")
                }
                Source::Stdout => {
                    tracing::info!(target: "agent", %agent, request = %self.request, stream = "stdout", "{text}")
                }
                Source::Stderr => {
                    tracing::info!(target: "agent", %agent, request = %self.request, stream = "stderr", "{text}")
                }
            }
        }
        if self.spent.lines_left_out > 0 {
            tracing::warn!(target: "agent", %agent, request = %self.request, lines = self.spent.lines_left_out, "lines left out: the log of a call is bounded by `limits.log`");
        }
        for denial in &self.spent.denials {
            tracing::warn!(%agent, request = %self.request, capability = denial.capability, key_to_add = denial.key_to_add, "capability refused");
        }
        tracing::info!(
            request = %self.request,
            key = %self.flight.key,
            %agent,
            generation = self.flight.version.generation,
            code,
            reason = failure.map(Failure::internal),
            fuel = receipt.fuel,
            peak_memory_bytes = receipt.peak_memory_bytes,
            wall_ms = receipt.wall_ms,
            queue_ms = receipt.queue_ms,
            output_bytes = receipt.output_bytes,
            host_calls = receipt.host_calls,
            "task ended"
        );
    }
}
