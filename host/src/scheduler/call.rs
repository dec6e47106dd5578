//! One call from its acceptance to its end, which is written down once.
//!
//! Whichever way it ends (answer, trap, timeout, a client that left, no permit, threads that
//! closed), counters, the agent's lines and the log get its receipt as the call is dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::gate::Permit;
use super::outcome::{Outcome, Served};
use super::stats::{AgentStats, Used};
use super::{Inner, Submission, Time};
use crate::capabilities::Source;
use crate::config::Limits;
use crate::domain::{CapabilityScope, Failure, Micros, Principal, Receipt, Reply, RequestId, Task, TenantId};
use crate::engine::{Invocation, Paced, RunClock, Spent};
use crate::registry::{self, AgentVersion};
use crate::telemetry::event::{AGENT_LOG, Event};

/// A call that was accepted.
pub(super) struct Call {
    host: Arc<Inner>,
    request: RequestId,
    key: Arc<str>,
    tenant: TenantId,
    /// The agent, as the client wrote it.
    agent: String,
    accepted: Instant,
    /// Whether it was cancelled, where that can be said to it.
    cancel: Option<CancellationToken>,
    /// The agent's counters, once the caller is known to reach it.
    pub(super) stats: Option<Arc<AgentStats>>,
    /// What it has from when it may run.
    running: Option<Running>,
    spent: Spent,
    /// How it ended; a call that is dropped without was cancelled, or late.
    end: Option<Result<(), Failure>>,
}

struct Running {
    version: Arc<AgentVersion>,
    /// What the caller's key lends it.
    caller: CapabilityScope,
    queued: Duration,
    time: Time,
    clock: Arc<RunClock>,
    /// Settled when the guest is gone, which may be after its caller was answered.
    permit: Permit,
}

/// What its caller sees of a call that runs, and is told if its guest is not gone in time.
pub(super) struct Watch {
    pub(super) clock: Arc<RunClock>,
    version: Arc<AgentVersion>,
    accepted: Instant,
    queued: Duration,
    since: Instant,
}

impl Call {
    /// A call begins its life.
    pub(super) fn accept(
        host: Arc<Inner>,
        submission: &Submission,
        accepted: Instant,
        cancel: Option<CancellationToken>,
    ) -> Self {
        Self {
            host,
            request: submission.request_id.clone(),
            key: submission.caller.key_id().clone(),
            tenant: submission.caller.tenant().clone(),
            agent: submission.agent.clone(),
            accepted,
            cancel,
            stats: None,
            running: None,
            spent: Spent::default(),
            end: None,
        }
    }

    /// It may run, with the rights that its caller's key has now. From here on it counts as a call, also
    /// where its caller leaves before its first turn.
    pub(super) fn admit(
        &mut self,
        principal: &Principal,
        version: Arc<AgentVersion>,
        permit: Permit,
        time: Time,
    ) -> Watch {
        let since = Instant::now();
        let queued = since.saturating_duration_since(self.accepted);
        let lane = self.stats.as_ref().map(|stats| {
            stats.began();
            stats.lane.clone()
        });
        let clock = Arc::new(RunClock::of(lane.unwrap_or_default(), Some(permit.slot())));
        let watch =
            Watch { clock: clock.clone(), version: version.clone(), accepted: self.accepted, queued, since };
        let caller = principal.capability_scope.clone();
        self.running = Some(Running { version, caller, queued, time, clock, permit });
        watch
    }

    /// Runs the task. Poll it on the guests' threads.
    pub(super) async fn run(mut self, task: Task) -> Outcome {
        let result = match self.cancel.clone() {
            None => self.work(task).await,
            Some(cancel) => tokio::select! {
                biased;
                result = self.work(task) => result,
                () = cancel.cancelled() => Err(Failure::Cancelled),
            },
        };
        self.end(result)
    }

    async fn work(&mut self, task: Task) -> Result<Reply, Failure> {
        let Some(running) = &self.running else {
            return Err(Failure::Internal { internal: "a call ran without a permit".to_owned() });
        };
        let limit = running.time.limit;
        let invocation = Invocation {
            component: running.version.component.clone(),
            rights: running.version.rights.clone(),
            caller: running.caller.clone(),
            limits: Limits { timeout: limit, ..running.version.limits },
        };
        let engine = &self.host.engine;
        if let Some(schema) = &running.version.context_schema {
            let check = engine.check_context(schema, task.context.as_deref());
            let checked = tokio::time::timeout_at(task.deadline.into(), check).await;
            checked.unwrap_or(Err(Failure::DeadlineExceeded { limit, queued: true }))?;
        }
        engine.call(&invocation, task, &mut self.spent).await
    }

    /// Ends it: with its guest's word, or without that it ran.
    pub(super) fn end(mut self, result: Result<Reply, Failure>) -> Outcome {
        self.end = Some(result.as_ref().map(|_| ()).map_err(Failure::clone));
        Outcome {
            agent: self.running.as_ref().map(|running| Served::from(&*running.version)),
            result,
            guest_ran: self.guest_ran(),
            receipt: self.receipt(),
            denials: self.spent.denials.clone(),
            elapsed: self.accepted.elapsed().into(),
        }
    }

    fn guest_ran(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.clock.guest_ran())
    }

    /// Its version learns how long it was.
    fn note_pace(&self) {
        let Some(running) = self.running.as_ref().filter(|running| running.clock.has_begun()) else { return };
        let answered = match &self.end {
            Some(Ok(())) => true,
            Some(Err(failure)) => failure.is_the_agents_word(),
            None => false,
        };
        running.version.pace.note(Paced {
            answered,
            turns: running.clock.turns(),
            fuel: self.spent.fuel,
            peak_memory: self.spent.peak_memory,
            wall: self.spent.wall,
        });
    }

    fn receipt(&self) -> Receipt {
        let (queued, run_queue) = match &self.running {
            Some(running) => (running.queued, running.clock.waited()),
            None => (self.accepted.elapsed(), Duration::ZERO),
        };
        Receipt {
            fuel: self.spent.fuel,
            peak_memory_bytes: self.spent.peak_memory,
            wall: self.spent.wall.into(),
            queue: queued.into(),
            run_queue: run_queue.into(),
            output_bytes: self.spent.output_bytes,
            host_calls: self.spent.host_calls,
            host_bytes: self.spent.host_bytes,
        }
    }
}

impl Watch {
    /// What the caller of a call is told that has not ended: with what was seen last of what it spent.
    pub(super) fn outcome(self, failure: Failure) -> Outcome {
        let clock = &self.clock;
        let waited = clock.waited();
        let wall =
            if clock.has_begun() { self.since.elapsed().saturating_sub(waited) } else { Duration::ZERO };
        let progress = clock.progress();
        let receipt = Receipt {
            fuel: progress.fuel,
            peak_memory_bytes: progress.peak_memory,
            wall: wall.into(),
            queue: self.queued.into(),
            run_queue: waited.into(),
            output_bytes: 0,
            host_calls: progress.host_calls,
            host_bytes: progress.host_bytes,
        };
        Outcome {
            agent: Some(Served::from(&*self.version)),
            result: Err(failure),
            guest_ran: clock.guest_ran(),
            receipt,
            denials: Vec::new(),
            elapsed: Micros::from(self.accepted.elapsed()),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Its caller may have been told already that it was late; its guest is gone only now.
        if self.end.is_none()
            && let Some(running) = &self.running
            && Instant::now() >= running.time.deadline
        {
            let (limit, queued) = (running.time.limit, !running.clock.has_begun());
            self.end = Some(Err(Failure::DeadlineExceeded { limit, queued }));
        }
        self.note_pace();
        let receipt = self.receipt();
        let failure = self.end.as_ref().and_then(|end| end.as_ref().err());
        if let Some(stats) = &self.stats {
            stats.ended(failure, &self.spent.denials);
        }
        let is_cancelled = matches!(self.end, None | Some(Err(Failure::Cancelled)));
        let Some(running) = &self.running else { return self.log_rejected(&receipt, is_cancelled) };
        // A call in which no code of the agent ran says nothing of the version, and one that was cut off
        // neither.
        if !is_cancelled && running.clock.guest_ran() {
            let wall = self.accepted.elapsed().saturating_sub(running.queued);
            let (tenant, key, fuel) = (&self.tenant, &*self.key, self.spent.fuel);
            let report = registry::CallReport { tenant, key, failure, fuel, wall };
            self.host.registry.call_ended(&running.version, &report);
        }
        let Some(Running { version, permit, .. }) = self.running.take() else { return };
        permit.settle(Used { fuel: receipt.fuel, wall: receipt.wall });
        self.log_lines(&version);
        self.log_end(&version, &receipt);
    }
}

impl Call {
    /// The word for how it ended.
    fn code(&self) -> &'static str {
        match &self.end {
            Some(Ok(())) => "ok",
            Some(Err(failure)) => failure.code(),
            None => Failure::Cancelled.code(),
        }
    }

    /// It had no permit.
    fn log_rejected(&self, receipt: &Receipt, is_cancelled: bool) {
        let Self { request, key, tenant, agent, .. } = self;
        let (code, queue_ms) = (self.code(), receipt.queue.as_ms());
        if is_cancelled {
            tracing::info!(name: Event::TaskEnded.name(), %request, %key, %tenant, agent, code, queue_ms, "task ended");
        } else {
            tracing::info!(name: Event::TaskRejected.name(), %request, %key, %tenant, agent, code, queue_ms, "task rejected");
        }
    }

    /// What its guest wrote, and what was refused.
    fn log_lines(&self, version: &AgentVersion) {
        let (request, tenant, agent) = (&self.request, &version.key.tenant, &version.key.id);
        for line in &self.spent.lines {
            let text = &line.text;
            match line.source {
                Source::Logged(tracing::Level::ERROR) => {
                    tracing::error!(target: AGENT_LOG, %tenant, %agent, %request, "{text}")
                }
                Source::Logged(tracing::Level::WARN) => {
                    tracing::warn!(target: AGENT_LOG, %tenant, %agent, %request, "{text}")
                }
                Source::Logged(tracing::Level::INFO) => {
                    tracing::info!(target: AGENT_LOG, %tenant, %agent, %request, "{text}")
                }
                Source::Logged(_) => {
                    tracing::debug!(target: AGENT_LOG, %tenant, %agent, %request, "{text}")
                }
                Source::Stdout => {
                    tracing::info!(target: AGENT_LOG, %tenant, %agent, %request, stream = "stdout", "{text}")
                }
                Source::Stderr => {
                    tracing::info!(target: AGENT_LOG, %tenant, %agent, %request, stream = "stderr", "{text}")
                }
            }
        }
        if self.spent.lines_left_out > 0 {
            tracing::warn!(target: AGENT_LOG, %tenant, %agent, %request, lines = self.spent.lines_left_out, "lines left out: the log of a call is bounded by `limits.log`");
        }
        for denial in &self.spent.denials {
            tracing::warn!(name: Event::CapabilityDenied.name(), %tenant, %agent, %request, capability = denial.capability.as_str(), key_to_add = denial.key_to_add, "capability refused");
        }
    }

    fn log_end(&self, version: &AgentVersion, receipt: &Receipt) {
        let (request, tenant, agent) = (&self.request, &version.key.tenant, &version.key.id);
        let failure = self.end.as_ref().and_then(|end| end.as_ref().err());
        tracing::info!(
            name: Event::TaskEnded.name(),
            %request,
            key = %self.key,
            %tenant,
            %agent,
            generation = version.generation,
            code = self.code(),
            reason = failure.map(Failure::internal),
            fuel = receipt.fuel,
            peak_memory_bytes = receipt.peak_memory_bytes,
            wall_ms = receipt.wall.as_ms(),
            queue_ms = receipt.queue.as_ms(),
            run_queue_ms = receipt.run_queue.as_ms(),
            output_bytes = receipt.output_bytes,
            host_calls = receipt.host_calls,
            "task ended"
        );
    }
}
